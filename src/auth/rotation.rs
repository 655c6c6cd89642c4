//! Rotation of the master key: data keys are wrapped anew, and nothing else changes.

use super::changes::{Change, rewrite};
use super::envelope::{Envelope, EnvelopeEncryptor};
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::{find, find_all, user_by_id};
use super::realm::{read_realm, realm_place, write_realm};
use super::records::{ApiKeyRecord, UserRecord};
use super::service::AuthService;
use super::{api_keys, users};
use crate::command::{Command, Guard};
use crate::engine::KvEngine;
use crate::error::Result;

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// Wraps every data key by the current master key that another one wraps, one command for each
    /// record. Returns how many. After a crash, or an error, do it again: what is done is kept.
    /// When this has returned, the other master keys are needed no more.
    ///
    /// # Errors
    /// `UnknownKey`: a record needs a key that is not in the keyring. Those of a write.
    pub fn rotate_master_key(&self) -> Result<u64> {
        let mut rewrapped = u64::from(self.rewrap_realm()?);
        for user in self.list_users()? {
            rewrapped += u64::from(self.rewrap_user(&user.user_id)?);
        }
        let prefix = keyspace::api_key("");
        let keys = find_all(&self.view()?, &prefix, |_, bytes| ApiKeyRecord::from_bytes(bytes))?;
        for key in keys {
            rewrapped += u64::from(self.rewrap_api_key(&key.key_id)?);
        }
        Ok(rewrapped)
    }

    fn rewrap(&self, place: &[u8], envelope: &Envelope) -> Result<Option<Envelope>> {
        self.shared.encryptor.rewrap(place, envelope, &*self.shared.env.rng)
    }

    fn rewrap_realm(&self) -> Result<bool> {
        self.change(|view| {
            let key = keyspace::realm();
            let Some(found) = find(view, &key, read_realm)? else { return Ok((None, false)) };
            let (id, envelope) = found.record;
            let place = realm_place(&id);
            let Some(envelope) = self.rewrap(&place, &envelope)? else {
                return Ok((None, false));
            };
            let change = Change {
                guards: vec![Guard::version_equals(key.clone(), found.version)],
                commands: vec![Command::set(key, write_realm(&id, &envelope))],
                action: "realm.rewrap",
                subject: "realm".to_owned(),
            };
            Ok((Some(change), true))
        })
    }

    fn rewrap_user(&self, id: &str) -> Result<bool> {
        let realm = self.realm()?;
        self.change(|view| {
            let Some(mut found) = user_by_id(view, id)? else { return Ok((None, false)) };
            let Some(envelope) = &found.record.metadata else { return Ok((None, false)) };
            let place = realm.metadata_place(users::KIND, id, found.record.metadata_version);
            let Some(envelope) = self.rewrap(&place, envelope)? else {
                return Ok((None, false));
            };
            found.record.metadata = Some(envelope);
            debug_assert!(UserRecord::from_bytes(&found.record.to_bytes()).is_ok());
            Ok((Some(rewrite(&found, "user.rewrap")), true))
        })
    }

    fn rewrap_api_key(&self, id: &str) -> Result<bool> {
        let (realm, key) = (self.realm()?, keyspace::api_key(id));
        self.change(|view| {
            let Some(mut found) = find(view, &key, ApiKeyRecord::from_bytes)? else {
                return Ok((None, false));
            };
            let Some(envelope) = &found.record.metadata else { return Ok((None, false)) };
            let place = realm.metadata_place(api_keys::KIND, id, found.record.metadata_version);
            let Some(envelope) = self.rewrap(&place, envelope)? else {
                return Ok((None, false));
            };
            found.record.metadata = Some(envelope);
            let change = Change {
                guards: vec![Guard::version_equals(key.clone(), found.version)],
                commands: vec![Command::set(key.clone(), found.record.to_bytes())],
                action: "apikey.rewrap",
                subject: id.to_owned(),
            };
            Ok((Some(change), true))
        })
    }
}
