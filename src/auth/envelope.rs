//! Encryption of metadata: a fresh key for each write, wrapped by a master key.

use std::collections::BTreeMap;
use std::fmt;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::record_codec::{Reader, Writer};
use crate::env::rng::Rng;
use crate::error::{Error, Result};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const SALT_BYTES: usize = 16;
const VERSION: u8 = 1;

/// What stands on disk of an encrypted value.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Which master key wraps the data key.
    pub key_id: u32,
    /// Chooses the wrapping key among those of the master key; new for each wrap.
    salt: [u8; SALT_BYTES],
    wrapped: Vec<u8>,
    nonce: [u8; NONCE_BYTES],
    sealed: Vec<u8>,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope(key {}, {} bytes)", self.key_id, self.sealed.len())
    }
}

impl Envelope {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let ids = Writer::new(VERSION).number(u64::from(self.key_id)).bytes(&self.salt);
        ids.bytes(&self.wrapped).bytes(&self.nonce).bytes(&self.sealed).finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, VERSION)?;
        let key_id = u32::try_from(reader.number()?).map_err(|_| refused())?;
        let salt = reader.bytes()?.try_into().map_err(|_| refused())?;
        let wrapped = reader.bytes()?.to_vec();
        let nonce = reader.bytes()?.try_into().map_err(|_| refused())?;
        let sealed = reader.bytes()?.to_vec();
        reader.finish()?;
        Ok(Self { key_id, salt, wrapped, nonce, sealed })
    }
}

/// Encrypts values for the place they stand in: `place` is authenticated with them, so that a value
/// that was moved to another record does not open.
pub trait EnvelopeEncryptor: Send + Sync {
    /// Encrypts under a fresh data key.
    ///
    /// # Errors
    /// `Crypto` when there are no random bytes.
    fn seal(&self, place: &[u8], plain: &[u8], rng: &dyn Rng) -> Result<Envelope>;

    /// Decrypts. Nothing of a value that was changed or moved is given.
    ///
    /// # Errors
    /// `UnknownKey`: its master key is not in the keyring. `Crypto`: it was changed or moved.
    fn open(&self, place: &[u8], envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>>;

    /// The master key that wraps what is written. Each that wraps is counted by its id.
    fn current_key_id(&self) -> u32;

    /// The same value with its data key wrapped by the current master key; `None` when it is so.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    fn rewrap(&self, place: &[u8], envelope: &Envelope, rng: &dyn Rng) -> Result<Option<Envelope>>;
}

/// AES-256-GCM with a keyring of master keys, of which one is current.
///
/// Each wrap has a wrapping key of its own, derived from the master key and 128 random bits, so no
/// nonce is used twice under one key however often a master key wraps.
#[derive(Clone)]
pub struct AesGcmEncryptor {
    current: u32,
    keys: BTreeMap<u32, Zeroizing<[u8; KEY_BYTES]>>,
}

impl fmt::Debug for AesGcmEncryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AesGcmEncryptor(current key {} of {})", self.current, self.keys.len())
    }
}

impl AesGcmEncryptor {
    /// With one master key, whose id is 1. A key of zeros, the seeds' example, is accepted with a
    /// warning: it protects nothing.
    #[must_use]
    pub fn new(master_key: [u8; KEY_BYTES]) -> Self {
        warn_of_zeros(&master_key);
        Self { current: 1, keys: BTreeMap::from([(1, Zeroizing::new(master_key))]) }
    }

    /// With several, by id: what is written is wrapped by `current`.
    ///
    /// # Errors
    /// `UnknownKey` when the current one is not among them.
    pub fn with_keyring(
        current: u32,
        keys: impl IntoIterator<Item = (u32, [u8; KEY_BYTES])>,
    ) -> Result<Self> {
        let keys: BTreeMap<_, _> = keys
            .into_iter()
            .inspect(|(_, key)| warn_of_zeros(key))
            .map(|(id, key)| (id, Zeroizing::new(key)))
            .collect();
        if keys.contains_key(&current) {
            Ok(Self { current, keys })
        } else {
            Err(Error::UnknownKey { id: current })
        }
    }

    fn wrapping_cipher(&self, id: u32, salt: &[u8; SALT_BYTES]) -> Result<Aes256Gcm> {
        let master = self.keys.get(&id).ok_or(Error::UnknownKey { id })?;
        let key = derive(master.as_ref(), &[b"wrap v1", &id.to_le_bytes(), salt])?;
        cipher(&key)
    }

    fn wrap(&self, place: &[u8], key: &[u8], rng: &dyn Rng) -> Result<([u8; 16], Vec<u8>)> {
        let salt: [u8; SALT_BYTES] = random(rng)?;
        let place = bound(place, self.current);
        // The wrapping key is used once, so its nonce may be fixed.
        let nonce = [0; NONCE_BYTES];
        let wrapped = encrypt(&self.wrapping_cipher(self.current, &salt)?, nonce, key, &place)?;
        Ok((salt, wrapped))
    }

    fn unwrap_key(&self, place: &[u8], envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>> {
        let cipher = self.wrapping_cipher(envelope.key_id, &envelope.salt)?;
        let place = bound(place, envelope.key_id);
        decrypt(&cipher, [0; NONCE_BYTES], &envelope.wrapped, &place)
    }
}

impl EnvelopeEncryptor for AesGcmEncryptor {
    fn seal(&self, place: &[u8], plain: &[u8], rng: &dyn Rng) -> Result<Envelope> {
        let key = Zeroizing::new(random::<KEY_BYTES>(rng)?);
        let nonce = random(rng)?;
        let sealed = encrypt(&cipher(&key)?, nonce, plain, place)?;
        let (salt, wrapped) = self.wrap(place, key.as_ref(), rng)?;
        Ok(Envelope { key_id: self.current, salt, wrapped, nonce, sealed })
    }

    fn open(&self, place: &[u8], envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>> {
        let key = self.unwrap_key(place, envelope)?;
        let key: &[u8; KEY_BYTES] = key.as_slice().try_into().map_err(|_| refused())?;
        decrypt(&cipher(key)?, envelope.nonce, &envelope.sealed, place)
    }

    fn current_key_id(&self) -> u32 {
        self.current
    }

    fn rewrap(&self, place: &[u8], envelope: &Envelope, rng: &dyn Rng) -> Result<Option<Envelope>> {
        if envelope.key_id == self.current {
            return Ok(None);
        }
        let key = self.unwrap_key(place, envelope)?;
        let (salt, wrapped) = self.wrap(place, &key, rng)?;
        Ok(Some(Envelope { key_id: self.current, salt, wrapped, ..envelope.clone() }))
    }
}

/// HMAC-SHA-256 over parts, each with its length, so that no two lists of parts are one.
pub(super) fn derive(key: &[u8], parts: &[&[u8]]) -> Result<Zeroizing<[u8; KEY_BYTES]>> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).map_err(|_| refused())?;
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
}

pub(super) fn random<const N: usize>(rng: &dyn Rng) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rng.fill(&mut bytes).map_err(|error| Error::Crypto(format!("no random bytes: {error}")))?;
    Ok(bytes)
}

fn warn_of_zeros(master_key: &[u8; KEY_BYTES]) {
    if *master_key == [0; KEY_BYTES] {
        tracing::warn!("the master key is all zeros: nothing is protected by it");
    }
}

fn refused() -> Error {
    Error::Crypto("an encrypted value was changed or moved, or its key is another one".to_owned())
}

fn bound(place: &[u8], key_id: u32) -> Vec<u8> {
    [place, &key_id.to_le_bytes()].concat()
}

fn cipher(key: &[u8; KEY_BYTES]) -> Result<Aes256Gcm> {
    Aes256Gcm::new_from_slice(key).map_err(|_| refused())
}

fn encrypt(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_BYTES],
    plain: &[u8],
    place: &[u8],
) -> Result<Vec<u8>> {
    let payload = Payload { msg: plain, aad: place };
    cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| refused())
}

fn decrypt(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_BYTES],
    sealed: &[u8],
    place: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let payload = Payload { msg: sealed, aad: place };
    cipher.decrypt(&Nonce::from(nonce), payload).map(Zeroizing::new).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::rng::SeededRng;

    #[test]
    fn a_value_opens_in_its_place_alone_and_no_bit_of_it_may_flip() {
        let (encryptor, rng) = (AesGcmEncryptor::new([7; 32]), SeededRng::new(1));
        let envelope = encryptor.seal(b"here", b"secret", &rng).unwrap();
        assert_eq!(encryptor.open(b"here", &envelope).unwrap().as_slice(), b"secret");
        assert!(encryptor.open(b"there", &envelope).is_err());
        let bytes = envelope.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let opened = Envelope::from_bytes(&flipped).and_then(|e| encryptor.open(b"here", &e));
            assert!(opened.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn two_writes_of_one_value_have_nothing_in_common() {
        let (encryptor, rng) = (AesGcmEncryptor::new([7; 32]), SeededRng::new(1));
        let one = encryptor.seal(b"p", b"secret", &rng).unwrap();
        let two = encryptor.seal(b"p", b"secret", &rng).unwrap();
        assert!(one.sealed != two.sealed && one.wrapped != two.wrapped && one.salt != two.salt);
    }

    #[test]
    fn rotation_changes_the_wrap_alone_and_needs_the_old_key_until_then() {
        let rng = SeededRng::new(1);
        let old = AesGcmEncryptor::new([7; 32]);
        let envelope = old.seal(b"p", b"secret", &rng).unwrap();
        let both = AesGcmEncryptor::with_keyring(2, [(1, [7; 32]), (2, [8; 32])]).unwrap();
        let new = AesGcmEncryptor::with_keyring(2, [(2, [8; 32])]).unwrap();
        assert!(matches!(new.open(b"p", &envelope), Err(Error::UnknownKey { id: 1 })));
        let rewrapped = both.rewrap(b"p", &envelope, &rng).unwrap().unwrap();
        assert_eq!(rewrapped.sealed, envelope.sealed);
        assert_eq!(new.open(b"p", &rewrapped).unwrap().as_slice(), b"secret");
        assert!(both.rewrap(b"p", &rewrapped, &rng).unwrap().is_none());
        assert!(AesGcmEncryptor::with_keyring(3, [(1, [7; 32])]).is_err());
    }
}
