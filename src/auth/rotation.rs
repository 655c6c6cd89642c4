//! Rotation of the master key: data keys are wrapped anew, and nothing else changes.

use bytes::Bytes;

use super::changes::{Change, rewrite};
use super::envelope::{Envelope, EnvelopeEncryptor};
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::{find, user_by_id};
use super::realm::{read_realm, realm_place, write_realm};
use super::records::{ApiKeyRecord, UserRecord};
use super::service::AuthService;
use super::{api_keys, users};
use crate::command::{Command, Guard};
use crate::engine::KvEngine;
use crate::error::Result;

/// Records that are looked at together; their metadata is in memory meanwhile.
const ROWS_AT_ONCE: usize = 64;

/// A record as far as rotation looks at it: its id, and the master key that it needs, if any.
type Needs = (String, Option<u32>);

/// What is done about a record that needs another key than the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// See whether it can be wrapped anew.
    Try,
    /// Wrap it anew.
    Write,
}

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// Wraps every data key by the current master key that another one wraps, one command for each
    /// record. Returns how many. After a crash, or an error, do it again: what is done is kept.
    ///
    /// The first record is the one that says which key is in force. Before it all others are
    /// tried: where one needs a key that is not in the keyring, such as that of a rotation before
    /// which was not finished, nothing is changed.
    ///
    /// # On several nodes, one after the other
    ///
    /// First every node is restarted with **both** keys in its keyring and the old one current:
    /// then all can open what any will wrap by the new one. When that is done everywhere, every
    /// node is restarted with the new one current and the old one still there. When that is done
    /// everywhere, one node calls this, until it returns 0. After that no node needs the old key.
    /// The same holds for one node that is restarted: both keys until this has returned.
    ///
    /// Whoever leaves out the first round has nodes that cannot open what others write,
    /// `UnknownKey`; whoever calls this before the second is over has nodes that still wrap by the
    /// old key, and may have records that need it after this has returned.
    ///
    /// From then on services are made with `AesGcmEncryptor::with_keyring` and the new id:
    /// `AesGcmEncryptor::new`, and with it `into_argon2_hasher_aes_gcm_auth_service`, gives its key
    /// the id 1.
    ///
    /// # Errors
    /// `UnknownKey`: a record needs a key that is not in the keyring. `Crypto`: the current key
    /// has wrapped too often. Those of a write.
    pub fn rotate_master_key(&self) -> Result<u64> {
        // What needs a third key is found before the new one is in force. From then on the one
        // before it is another, and who gives these two could finish neither rotation.
        self.rewrap_records(Step::Try)?;
        let realm = u64::from(self.rewrap_realm()?);
        Ok(realm + self.rewrap_records(Step::Write)?)
    }

    /// Goes through the users and the keys. Returns how many were wrapped anew.
    fn rewrap_records(&self, step: Step) -> Result<u64> {
        let user = |bytes: &[u8]| {
            let user = UserRecord::from_bytes(bytes)?;
            Ok((user.user_id, user.metadata.map(|envelope| envelope.key_id)))
        };
        let rewrap_user = |id: &str| self.rewrap_user(id, step);
        let users = self.rewrap_all(&keyspace::user(""), user, rewrap_user)?;
        let key = |bytes: &[u8]| {
            let key = ApiKeyRecord::from_bytes(bytes)?;
            Ok((key.key_id, key.metadata.map(|envelope| envelope.key_id)))
        };
        let rewrap_api_key = |id: &str| self.rewrap_api_key(id, step);
        Ok(users + self.rewrap_all(&keyspace::api_key(""), key, rewrap_api_key)?)
    }

    /// Goes through the records below a prefix, page by page, each of its own state.
    fn rewrap_all(
        &self,
        prefix: &[u8],
        needs: impl Fn(&[u8]) -> Result<Needs>,
        rewrap: impl Fn(&str) -> Result<bool>,
    ) -> Result<u64> {
        let current = self.shared.encryptor.current_key_id();
        let (mut rewrapped, mut after): (u64, Option<Bytes>) = (0, None);
        loop {
            let rows = self.view()?.reserved().rows(prefix, after.as_deref(), ROWS_AT_ONCE)?;
            let Some((last, _)) = rows.last() else { return Ok(rewrapped) };
            after = Some(last.clone());
            let needs =
                rows.iter().map(|(_, row)| needs(&row.value)).collect::<Result<Vec<_>>>()?;
            // Ids alone are kept while records are written.
            drop(rows);
            for (id, key) in needs {
                if key.is_some_and(|key| key != current) {
                    rewrapped += u64::from(rewrap(&id)?);
                }
            }
        }
    }

    fn rewrap(&self, place: &[u8], envelope: &Envelope) -> Result<Option<Envelope>> {
        self.shared.encryptor.rewrap(place, envelope, &*self.shared.env.rng)
    }

    fn rewrap_realm(&self) -> Result<bool> {
        let mut wraps = 0;
        self.change(|view| {
            let key = keyspace::realm();
            let Some(found) = find(view, &key, read_realm)? else { return Ok((None, false)) };
            let (id, envelope) = found.record;
            let place = realm_place(&id);
            let Some(envelope) = self.rewrap(&place, &envelope)? else {
                return Ok((None, false));
            };
            wraps += 1;
            let change = Change {
                guards: vec![Guard::version_equals(key.clone(), found.version)],
                commands: vec![Command::set(key, write_realm(&id, &envelope))],
                action: "realm.rewrap",
                subject: "realm".to_owned(),
                wraps,
            };
            Ok((Some(change), true))
        })
    }

    fn rewrap_user(&self, id: &str, step: Step) -> Result<bool> {
        let realm = self.realm()?;
        let mut wraps = 0;
        self.change(|view| {
            let Some(mut found) = user_by_id(view, id)? else { return Ok((None, false)) };
            let Some(envelope) = &found.record.metadata else { return Ok((None, false)) };
            let place = realm.metadata_place(users::KIND, id, found.record.metadata_version);
            let envelope = self.rewrap(&place, envelope)?;
            let Some(envelope) = envelope.filter(|_| step == Step::Write) else {
                return Ok((None, false));
            };
            wraps += 1;
            found.record.metadata = Some(envelope);
            Ok((Some(Change { wraps, ..rewrite(&found, "user.rewrap") }), true))
        })
    }

    fn rewrap_api_key(&self, id: &str, step: Step) -> Result<bool> {
        let (realm, key) = (self.realm()?, keyspace::api_key(id));
        let mut wraps = 0;
        self.change(|view| {
            let Some(mut found) = find(view, &key, ApiKeyRecord::from_bytes)? else {
                return Ok((None, false));
            };
            let Some(envelope) = &found.record.metadata else { return Ok((None, false)) };
            let place = realm.metadata_place(api_keys::KIND, id, found.record.metadata_version);
            let envelope = self.rewrap(&place, envelope)?;
            let Some(envelope) = envelope.filter(|_| step == Step::Write) else {
                return Ok((None, false));
            };
            wraps += 1;
            found.record.metadata = Some(envelope);
            let change = Change {
                guards: vec![Guard::version_equals(key.clone(), found.version)],
                commands: vec![Command::set(key.clone(), found.record.to_bytes())],
                action: "apikey.rewrap",
                subject: id.to_owned(),
                wraps,
            };
            Ok((Some(change), true))
        })
    }
}
