//! API keys: issue, check, list, revoke.

use super::changes::Change;
use super::envelope::{EnvelopeEncryptor, derive};
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::{api_key_ids, find, user_by_id};
use super::records::{ApiKeyRecord, UserRecord};
use super::service::AuthService;
use super::stored_hash::StoredHash;
use super::token::{self, ApiToken};
use super::users::no_such_user;
use crate::command::{Command, Guard};
use crate::engine::KvEngine;
use crate::error::Result;
use crate::types::Timestamp;

/// What keys are called where their metadata is bound to its place.
pub(super) const KIND: &str = "api key";
/// A use is written down at most once in so long.
const USED_EVERY_MICROS: u64 = 60_000_000;
/// Keys whose last use is remembered, so that it is not written again too soon.
const USED_KEPT_MAX: usize = 100_000;

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// Issues a key to a user. The token is given here and never again.
    ///
    /// # Errors
    /// `NotFound`: there is no such user; those of a write.
    pub fn create_api_key(
        &self,
        owner_id: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(ApiKeyRecord, ApiToken)> {
        self.create_api_key_with_metadata(owner_id, expires_at, None)
    }

    /// As [`Self::create_api_key`], with metadata that is stored encrypted.
    ///
    /// # Errors
    /// Those of [`Self::create_api_key`]; `Crypto`.
    pub fn create_api_key_with_metadata(
        &self,
        owner_id: &str,
        expires_at: Option<Timestamp>,
        metadata: Option<&[u8]>,
    ) -> Result<(ApiKeyRecord, ApiToken)> {
        let (id, key_id) = self.new_id()?;
        let secret = self.secret()?;
        let secret_hash = self.hash_of_secret(&key_id, &secret)?;
        let place = self.realm()?.metadata_place(KIND, &key_id, 1);
        let metadata = self.seal(&place, metadata)?;
        let (created_at, owner_id) = (self.now()?, owner_id.to_owned());
        let record = ApiKeyRecord {
            key_id,
            owner_id,
            secret_hash,
            created_at,
            expires_at,
            metadata_version: 1,
            metadata,
        };
        self.change(|view| {
            user_by_id(view, &record.owner_id)?.ok_or_else(no_such_user)?;
            let (id, owner) = (&record.key_id, &record.owner_id);
            let change = Change {
                guards: vec![
                    Guard::present(keyspace::user(owner)),
                    Guard::absent(keyspace::api_key(id)),
                ],
                commands: vec![
                    Command::set(keyspace::api_key(id), record.to_bytes()),
                    Command::set(keyspace::api_key_by_user(owner, id), id.clone().into_bytes()),
                ],
                action: "apikey.create",
                subject: id.clone(),
                wraps: u64::from(record.metadata.is_some()),
            };
            Ok((Some(change), ()))
        })?;
        Ok((record, ApiToken::new(id, &secret)))
    }

    /// The key that a token is of, if it is valid now: not revoked, not expired, its owner there
    /// and enabled. Reads two rows, linearizably, and computes one HMAC; a token with a wrong
    /// checksum is refused without either. At most once a minute it writes down that the key was
    /// used, without waiting for that.
    ///
    /// # Errors
    /// Those of a read.
    pub fn authenticate_api_key(&self, token: &str) -> Result<Option<ApiKeyRecord>> {
        let Some((id, secret)) = token::parse(token) else { return Ok(None) };
        let computed = self.hash_of_secret(id, &secret)?;
        let view = self.view()?;
        let Some(row) = view.reserved().get(&keyspace::api_key(id))? else { return Ok(None) };
        let key = ApiKeyRecord::from_bytes(&row.value)?;
        if computed != key.secret_hash {
            return Ok(None);
        }
        let now = view.timestamp().max(self.shared.env.clock.now());
        let Some(owner) = view.reserved().get(&keyspace::user(&key.owner_id))? else {
            return Ok(None);
        };
        let is_disabled = UserRecord::from_bytes(&owner.value)?.disabled;
        if is_disabled || key.expires_at.is_some_and(|end| end <= now) {
            return Ok(None);
        }
        self.note_use(id, now);
        Ok(Some(key))
    }

    /// Ends a key: when this has returned no node accepts it. False when there is none.
    ///
    /// # Errors
    /// Those of a write.
    pub fn revoke_api_key(&self, key_id: &str) -> Result<bool> {
        self.change(|view| {
            let Some(found) = find(view, &keyspace::api_key(key_id), ApiKeyRecord::from_bytes)?
            else {
                return Ok((None, false));
            };
            let change = Change {
                guards: vec![Guard::version_equals(keyspace::api_key(key_id), found.version)],
                commands: vec![
                    Command::delete(keyspace::api_key(key_id)),
                    Command::delete(keyspace::api_key_by_user(&found.record.owner_id, key_id)),
                    Command::delete(keyspace::api_key_used(key_id)),
                ],
                action: "apikey.revoke",
                subject: key_id.to_owned(),
                wraps: 0,
            };
            Ok((Some(change), true))
        })
    }

    /// The keys of a user, by id, expired ones included.
    ///
    /// # Errors
    /// Those of a read.
    pub fn list_api_keys(&self, user_id: &str) -> Result<Vec<ApiKeyRecord>> {
        let mut found = Vec::new();
        for id in api_key_ids(&self.view()?, user_id)? {
            let record = find(&self.view()?, &keyspace::api_key(&id), ApiKeyRecord::from_bytes)?;
            found.extend(record.map(|found| found.record));
        }
        Ok(found)
    }

    /// When a key was used last, to the minute; `None` when it never was.
    ///
    /// # Errors
    /// Those of a read.
    pub fn api_key_last_used(&self, key_id: &str) -> Result<Option<Timestamp>> {
        let view = self.view()?;
        Ok(view.reserved().get(&keyspace::api_key_used(key_id))?.map(|row| row.timestamp))
    }

    /// The metadata that the key was issued with.
    ///
    /// # Errors
    /// `UnknownKey`; `Crypto`: it was changed, or is another record's.
    pub fn decrypt_api_key_metadata(&self, key: &ApiKeyRecord) -> Result<Option<Vec<u8>>> {
        let place = self.realm()?.metadata_place(KIND, &key.key_id, key.metadata_version);
        self.open(&place, key.metadata.as_ref())
    }

    fn hash_of_secret(&self, id: &str, secret: &[u8; 32]) -> Result<StoredHash<[u8; 32]>> {
        let key = self.realm()?.token_key;
        derive(key.as_ref(), &[id.as_bytes(), secret]).map(|hash| StoredHash::new(*hash))
    }

    /// Writes down that a key was used, unless that was done within the last minute.
    fn note_use(&self, id: &str, now: Timestamp) {
        let mut used = self.shared.used.lock();
        if used.get(id).is_some_and(|last| now.0.saturating_sub(last.0) < USED_EVERY_MICROS) {
            return;
        }
        if used.len() >= USED_KEPT_MAX {
            used.clear();
        }
        used.insert(id.to_owned(), now);
        drop(used);
        // A key that was revoked meanwhile gets no record.
        let guard = Guard::present(keyspace::api_key(id));
        let set = Command::set(keyspace::api_key_used(id), now.0.to_le_bytes().to_vec());
        drop(self.shared.engine.submit_async(Command::reserved([guard], [set])));
    }
}
