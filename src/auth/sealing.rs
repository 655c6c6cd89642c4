//! The service's secrets: its realm, encrypted metadata, random ids.

use zeroize::Zeroizing;

use super::audit::check_actor;
use super::envelope::{Envelope, EnvelopeEncryptor, random};
use super::hasher::SecretHasher;
use super::lookup::find;
use super::realm::{Realm, read_realm, realm_place, write_realm};
use super::service::AuthService;
use super::{base62, keyspace, token, wraps};
use crate::command::{Command, Guard};
use crate::engine::{KvEngine, StateView};
use crate::error::{Error, Result};

/// Most bytes of metadata of one record.
const METADATA_BYTES_MAX: usize = 64 << 10;
/// How often the realm is looked for again because another node was faster.
const ATTEMPTS_MAX: usize = 100;

/// Whether a record may have this metadata.
///
/// # Errors
/// `TooLarge`.
pub(super) fn check_metadata(plain: Option<&[u8]>) -> Result<()> {
    let (limit, got) = (METADATA_BYTES_MAX as u64, plain.map_or(0, <[u8]>::len) as u64);
    if got > limit {
        return Err(Error::TooLarge { what: "bytes of metadata".to_owned(), limit, got });
    }
    Ok(())
}

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// The realm for a change, which the first call of all creates.
    ///
    /// # Errors
    /// `Validation`, `TooLarge` for an actor that can make no change; `UnknownKey`, `Crypto`: the
    /// master key is another one; those of a write.
    pub(super) fn realm(&self) -> Result<Realm> {
        check_actor(&self.actor)?;
        for _ in 0..ATTEMPTS_MAX {
            if let Some(realm) = self.known_realm()? {
                return Ok(realm);
            }
            let (id, root) = (random::<16>(&*self.shared.env.rng)?, self.secret()?);
            let (place, rng) = (realm_place(&id), &*self.shared.env.rng);
            let envelope = self.shared.encryptor.seal(&place, root.as_ref(), rng)?;
            let guard = Guard::absent(keyspace::realm());
            let set = Command::set(keyspace::realm(), write_realm(&id, &envelope));
            // There is no count of wraps before the realm: this is the first of all.
            let wraps = keyspace::wraps(self.shared.encryptor.current_key_id());
            let count = Command::set(wraps, wraps::to_bytes(1));
            self.shared.engine.submit(Command::reserved([guard], [set, count]))?;
        }
        Err(Error::Conflict("the realm could not be created".to_owned()))
    }

    /// The realm for whoever only reads; `None` before the first change, when there is no record.
    pub(super) fn known_realm(&self) -> Result<Option<Realm>> {
        if let Some(realm) = &*self.shared.realm.lock() {
            return Ok(Some(realm.clone()));
        }
        self.realm_of(&self.view()?)
    }

    /// The realm of a state; `None` before the first change.
    ///
    /// # Errors
    /// `UnknownKey`, `Crypto`: the master key is another one.
    pub(super) fn realm_of(&self, view: &StateView) -> Result<Option<Realm>> {
        let Some(found) = find(view, &keyspace::realm(), read_realm)? else { return Ok(None) };
        let (id, envelope) = found.record;
        let root = self.shared.encryptor.open(&realm_place(&id), &envelope)?;
        let realm = Realm::new(id, &root)?;
        *self.shared.realm.lock() = Some(realm.clone());
        Ok(Some(realm))
    }

    /// Encrypts for a place.
    ///
    /// # Errors
    /// `TooLarge`, `Crypto`.
    pub(super) fn seal(&self, place: &[u8], plain: Option<&[u8]>) -> Result<Option<Envelope>> {
        check_metadata(plain)?;
        let Some(plain) = plain else { return Ok(None) };
        self.shared.encryptor.seal(place, plain, &*self.shared.env.rng).map(Some)
    }

    /// Decrypts what was encrypted for the place that `place_in` names in a realm.
    ///
    /// # Errors
    /// `UnknownKey`, `Crypto`.
    pub(super) fn open(
        &self,
        place_in: impl FnOnce(&Realm) -> Vec<u8>,
        envelope: Option<&Envelope>,
    ) -> Result<Option<Vec<u8>>> {
        let Some(envelope) = envelope else { return Ok(None) };
        let Some(realm) = self.known_realm()? else {
            return Err(Error::Crypto("the record is another store's: here is none".to_owned()));
        };
        let plain = self.shared.encryptor.open(&place_in(&realm), envelope)?;
        Ok(Some(plain.to_vec()))
    }

    pub(super) fn secret(&self) -> Result<Zeroizing<[u8; 32]>> {
        random(&*self.shared.env.rng).map(Zeroizing::new)
    }

    /// A new id, and its text.
    pub(super) fn new_id(&self) -> Result<([u8; 16], String)> {
        let id = random(&*self.shared.env.rng)?;
        let mut text = String::new();
        base62::encode(&id, token::ID_DIGITS, &mut text);
        Ok((id, text))
    }
}
