//! API keys: issue, check, list, revoke.

use std::sync::Arc;

use super::api_key_options::{ApiKeyOptions, KEYS_MAX};
use super::changes::Change;
use super::coalesced::{WRITTEN_EVERY, is_recent, write_down};
use super::envelope::{EnvelopeEncryptor, derive};
use super::hasher::SecretHasher;
use super::key_cache::CheckedKey;
use super::keyspace;
use super::lookup::{Found, api_key_ids, find, user_by_id};
use super::realm::Realm;
use super::record_codec::{Reader, Writer};
use super::records::ApiKeyRecord;
use super::sealing::check_metadata;
use super::service::AuthService;
use super::stored_hash::StoredHash;
use super::token::{self, ApiToken};
use super::users::no_such_user;
use crate::command::{Command, Guard};
use crate::engine::{KvEngine, StateView};
use crate::error::{Error, Result};
use crate::types::Timestamp;

/// What keys are called where their metadata is bound to its place.
pub(super) const KIND: &str = "api key";
const COUNT_VERSION: u8 = 1;

/// How many keys a user has, and the guard that it is still so many.
fn key_count(view: &StateView, owner: &str) -> Result<(u64, Guard)> {
    let at = keyspace::api_key_count(owner);
    let read = |bytes: &[u8]| {
        let mut from = Reader::new(bytes, COUNT_VERSION)?;
        let count = from.number()?;
        from.finish().map(|()| count)
    };
    Ok(match find(view, &at, read)? {
        None => (0, Guard::absent(at)),
        Some(Found { record, version }) => (record, Guard::version_equals(at, version)),
    })
}

fn set_key_count(owner: &str, count: u64) -> Command {
    let record = Writer::new(COUNT_VERSION).number(count).finish();
    Command::set(keyspace::api_key_count(owner), record)
}

fn hash_of_secret(realm: &Realm, id: &str, secret: &[u8; 32]) -> Result<StoredHash<[u8; 32]>> {
    let key = realm.token_key.as_ref();
    derive(key, &[id.as_bytes(), secret]).map(|hash| StoredHash::new(*hash))
}

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// Issues a key to a user. The token is given here and never again.
    ///
    /// # Errors
    /// `NotFound`: there is no such user; `Conflict`: the user has 10,000 keys; those of a write.
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
    /// Those of [`Self::create_api_key_with`].
    pub fn create_api_key_with_metadata(
        &self,
        owner_id: &str,
        expires_at: Option<Timestamp>,
        metadata: Option<&[u8]>,
    ) -> Result<(ApiKeyRecord, ApiToken)> {
        let options = ApiKeyOptions { expires_at, ..ApiKeyOptions::new() };
        let options = match metadata {
            None => options,
            Some(metadata) => options.metadata(metadata),
        };
        self.create_api_key_with(owner_id, &options)
    }

    /// As [`Self::create_api_key`], with a label, an end, grants and metadata. A user has at most
    /// 10,000 keys, expired ones included: revoke those that are needed no more.
    ///
    /// # Errors
    /// Those of [`Self::create_api_key`]; `TooLarge`; `ReservedKey` for the prefix of a grant;
    /// `Crypto`.
    pub fn create_api_key_with(
        &self,
        owner_id: &str,
        options: &ApiKeyOptions,
    ) -> Result<(ApiKeyRecord, ApiToken)> {
        options.check()?;
        let (id, key_id) = self.new_id()?;
        let secret = self.secret()?;
        let metadata = options.metadata.as_ref().map(|it| it.as_slice());
        check_metadata(metadata)?;
        let realm = self.realm()?;
        let secret_hash = hash_of_secret(&realm, &key_id, &secret)?;
        let metadata = self.seal(&realm.metadata_place(KIND, &key_id, 1), metadata)?;
        let (created_at, owner_id) = (self.now()?, owner_id.to_owned());
        let record = ApiKeyRecord {
            key_id,
            owner_id,
            label: options.label.clone(),
            secret_hash,
            created_at,
            expires_at: options.expires_at,
            grants: options.grants.clone(),
            metadata_version: 1,
            metadata,
        };
        self.change(|view| {
            user_by_id(view, &record.owner_id)?.ok_or_else(no_such_user)?;
            let (id, owner) = (&record.key_id, &record.owner_id);
            let (count, same_count) = key_count(view, owner)?;
            if count >= KEYS_MAX {
                return Err(Error::Conflict(format!("the user has {KEYS_MAX} keys")));
            }
            let change = Change {
                guards: vec![
                    Guard::present(keyspace::user(owner)),
                    Guard::absent(keyspace::api_key(id)),
                    same_count,
                ],
                commands: vec![
                    Command::set(keyspace::api_key(id), record.to_bytes()),
                    Command::set(keyspace::api_key_by_user(owner, id), id.clone().into_bytes()),
                    set_key_count(owner, count + 1),
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
    /// and enabled. Looks two rows up in one linearizable state and computes one HMAC; a token with
    /// a wrong checksum is refused without either. What it has decoded it keeps for the next check,
    /// which uses it if both rows are the same still: see the guide.
    ///
    /// Once a minute and key it writes down that the key was used, without waiting for that; only a
    /// store with `worker_threads = 0`, which has no thread for it, does it here, within the call.
    ///
    /// # Errors
    /// Those of a read.
    pub fn authenticate_api_key(&self, token: &str) -> Result<Option<ApiKeyRecord>> {
        let Some((id, secret)) = token::parse(token) else { return Ok(None) };
        // Without a realm there is no key, and looking for one writes none.
        let Some(realm) = self.known_realm()? else { return Ok(None) };
        let computed = hash_of_secret(&realm, id, &secret)?;
        let view = self.view()?;
        let Some(key) = self.current_key(&view, id)? else { return Ok(None) };
        if computed != key.record.secret_hash {
            return Ok(None);
        }
        let now = self.shared.keys.time(view.timestamp().max(self.shared.env.clock.now()));
        let Some(key) = self.key_with_owner(&view, key)? else { return Ok(None) };
        if !key.is_enabled() {
            return Ok(None);
        }
        match key.record.expires_at {
            Some(end) if end <= now => {
                self.note_expiry(&key, &view, now);
                Ok(None)
            }
            _ => {
                self.note_use(&key, &view, now);
                Ok(Some(key.record.clone()))
            }
        }
    }

    /// The key of an id as the state has it, decoded now or before.
    fn current_key(&self, view: &StateView, id: &str) -> Result<Option<Arc<CheckedKey>>> {
        let Some(row) = view.reserved().get(&keyspace::api_key(id))? else {
            self.shared.keys.forget(id);
            return Ok(None);
        };
        match self.shared.keys.get(id) {
            Some(key) if key.is_of(&row) => Ok(Some(key)),
            _ => CheckedKey::read(&row).map(|key| Some(Arc::new(key))),
        }
    }

    /// The key with its owner as the state has it; `None` without one. Only for a key whose secret
    /// was shown: it is kept from here on.
    fn key_with_owner(
        &self,
        view: &StateView,
        key: Arc<CheckedKey>,
    ) -> Result<Option<Arc<CheckedKey>>> {
        let Some(row) = view.reserved().get(&key.owner)? else { return Ok(None) };
        if key.is_of_owner(&row) {
            return Ok(Some(key));
        }
        let key = Arc::new(key.with_owner(&row)?);
        self.shared.keys.put(&key);
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
            let owner = &found.record.owner_id;
            let (count, same_count) = key_count(view, owner)?;
            let change = Change {
                guards: vec![
                    Guard::version_equals(keyspace::api_key(key_id), found.version),
                    same_count,
                ],
                commands: vec![
                    Command::delete(keyspace::api_key(key_id)),
                    Command::delete(keyspace::api_key_by_user(owner, key_id)),
                    Command::delete(keyspace::api_key_used(key_id)),
                    set_key_count(owner, count.saturating_sub(1)),
                ],
                action: "apikey.revoke",
                subject: key_id.to_owned(),
                wraps: 0,
            };
            Ok((Some(change), true))
        })
    }

    /// How many keys a user has, expired ones included. Cost: one row is read.
    ///
    /// # Errors
    /// Those of a read.
    pub fn count_api_keys(&self, user_id: &str) -> Result<u64> {
        key_count(&self.view()?, user_id).map(|(count, _)| count)
    }

    /// The keys of a user, by id, expired ones included, of one state, with metadata as it is
    /// stored: with many keys see [`Self::list_api_keys_after`].
    ///
    /// # Errors
    /// Those of a read.
    pub fn list_api_keys(&self, user_id: &str) -> Result<Vec<ApiKeyRecord>> {
        let (view, mut found) = (self.view()?, Vec::new());
        for id in api_key_ids(&view, user_id)? {
            let record = find(&view, &keyspace::api_key(&id), ApiKeyRecord::from_bytes)?;
            found.extend(record.map(|found| found.record));
        }
        Ok(found)
    }

    /// At most `limit` keys of a user whose ids stand behind `after`, by id: one page, each of its
    /// own state. The next begins behind the last id of this one; an empty page is the end.
    ///
    /// # Errors
    /// Those of a read.
    pub fn list_api_keys_after(
        &self,
        user_id: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ApiKeyRecord>> {
        let (view, prefix) = (self.view()?, keyspace::api_key_by_user(user_id, ""));
        let after = after.map(|id| keyspace::api_key_by_user(user_id, id));
        let rows = view.reserved().rows(&prefix, after.as_deref(), limit)?;
        let mut keys = Vec::with_capacity(rows.len());
        for (_, id) in rows {
            // A key and its row below the owner are written and removed together.
            let at = keyspace::api_key(&String::from_utf8_lossy(&id.value));
            let found = find(&view, &at, ApiKeyRecord::from_bytes)?;
            keys.extend(found.map(|found| found.record));
        }
        Ok(keys)
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
        let of = |realm: &Realm| realm.metadata_place(KIND, &key.key_id, key.metadata_version);
        self.open(of, key.metadata.as_ref())
    }

    /// Writes down that a key was used, unless any node did so within the last minute. Nothing is
    /// waited for, and what becomes of it is not asked: the next minute tells it again.
    fn note_use(&self, key: &CheckedKey, view: &StateView, now: Timestamp) {
        if !key.use_told.is_taken(now, WRITTEN_EVERY) {
            return;
        }
        let id = &key.record.key_id;
        let at = keyspace::api_key_used(id);
        let Ok(before) = view.reserved().get(&at) else { return };
        if let Some(row) = before.as_ref().filter(|row| is_recent(row.timestamp, now)) {
            key.use_told.count_from(row.timestamp);
            return;
        }
        // A key that was revoked meanwhile gets no record.
        let command = write_down(at, before.as_ref(), keyspace::api_key(id));
        drop(self.shared.engine.submit_async(command));
    }

    /// Lets the log tell that it is past the end of a key, so that no node accepts the key when it
    /// is restarted with a clock that went back. An entry that changes nothing does that.
    fn note_expiry(&self, key: &CheckedKey, view: &StateView, now: Timestamp) {
        let is_known = key.record.expires_at.is_some_and(|end| end <= view.timestamp());
        if !is_known && key.end_told.is_taken(now, WRITTEN_EVERY) {
            let guard = Guard::present(keyspace::api_key(&key.record.key_id));
            drop(self.shared.engine.submit_async(Command::reserved([guard], [])));
        }
    }
}
