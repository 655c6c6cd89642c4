//! Hashes of passwords: slow on purpose, salted, with their parameters beside them.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64Unpadded, Encoding};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::hashing_memory::HashingMemory;
use crate::env::rng::Rng;
use crate::error::{Error, Result};

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Turns a password into what may be stored, and compares. Runs on the caller's thread.
pub trait SecretHasher: Send + Sync {
    /// The hash of `secret` with a fresh salt, as text that names algorithm and parameters.
    ///
    /// # Errors
    /// `Validation` for a secret that the algorithm cannot take whole; `Crypto`.
    fn hash(&self, secret: &[u8], rng: &dyn Rng) -> Result<String>;

    /// Whether `secret` has this hash, compared in constant time.
    ///
    /// # Errors
    /// `Crypto` for a text that is no hash of this kind.
    fn verify(&self, secret: &[u8], hash: &str) -> Result<bool>;

    /// Whether the hash was made with weaker parameters than the ones of this hasher.
    fn is_outdated(&self, hash: &str) -> bool;

    /// A hash that no secret is known for, with this hasher's parameters: checking a password
    /// against it is the same work as against a real one.
    fn dummy(&self) -> String;
}

fn crypto(what: &str) -> Error {
    Error::Crypto(what.to_owned())
}

/// Argon2id, version 19. The default: 19 MiB of memory, three passes, one lane; some tens of
/// milliseconds.
///
/// What two passwords take at once is kept for the next ones, by a hasher and its clones together:
/// twice 19 MiB from the first logins on.
#[derive(Clone)]
pub struct Argon2SecretHasher {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    pepper: Zeroizing<Vec<u8>>,
    memory: Arc<HashingMemory>,
}

/// Least memory, in KiB, passes and lanes.
const ARGON2_LEAST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Most of what a stored hash may ask for: a record must not make a login take a gigabyte.
const ARGON2_MOST: (u32, u32, u32) = (1 << 20, 64, 16);

/// What is used when nothing else is asked for: one pass more than the least, since the least takes
/// 13 ms on the machine that this was measured on, and a login may take 15 to 60.
const ARGON2_DEFAULT: (u32, u32, u32) = (19 * 1024, 3, 1);

impl Default for Argon2SecretHasher {
    fn default() -> Self {
        let (memory_kib, passes, lanes) = ARGON2_DEFAULT;
        Self { memory_kib, passes, lanes, pepper: Zeroizing::default(), memory: Arc::default() }
    }
}

impl std::fmt::Debug for Argon2SecretHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory_kib, passes, lanes, .. } = self;
        write!(f, "Argon2SecretHasher(m={memory_kib},t={passes},p={lanes})")
    }
}

/// A hash in its text: parameters, salt, hash.
struct Argon2Text {
    parameters: (u32, u32, u32),
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Argon2Text {
    /// `$argon2id$v=19$m=19456,t=3,p=1$<salt>$<hash>`, as other implementations write it.
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$argon2id$v=19$m=")?;
        let (memory, rest) = rest.split_once(",t=")?;
        let (passes, rest) = rest.split_once(",p=")?;
        let mut parts = rest.split('$');
        let (lanes, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let parameters = (memory.parse().ok()?, passes.parse().ok()?, lanes.parse().ok()?);
        let salt = Base64Unpadded::decode_vec(salt).ok()?;
        let hash = Base64Unpadded::decode_vec(hash).ok()?;
        let (most, found) = (ARGON2_MOST, parameters);
        let fits = found.0 <= most.0 && found.1 <= most.1 && found.2 <= most.2;
        let whole = parts.next().is_none() && salt.len() >= 8 && hash.len() == HASH_BYTES;
        (fits && whole).then_some(Self { parameters, salt, hash })
    }
}

impl Argon2SecretHasher {
    /// With other parameters than the default ones: at least 19 MiB, two passes and one lane.
    ///
    /// # Errors
    /// `Validation` for weaker ones, or for more than 1 GiB, 64 passes or 16 lanes.
    pub fn with_parameters(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self> {
        let (least, most) = (ARGON2_LEAST, ARGON2_MOST);
        let is_weak = memory_kib < least.0 || passes < least.1 || lanes < least.2;
        if is_weak || memory_kib > most.0 || passes > most.1 || lanes > most.2 {
            return Err(Error::Validation(format!(
                "Argon2 with m={memory_kib},t={passes},p={lanes}: expected from {least:?} to \
                 {most:?}"
            )));
        }
        Ok(Self { memory_kib, passes, lanes, pepper: Zeroizing::default(), memory: Arc::default() })
    }

    /// With a secret of the application in every hash. It is stored nowhere: without it no password
    /// can be checked, and with another one every password is wrong.
    #[must_use]
    pub fn with_pepper(mut self, pepper: &[u8]) -> Self {
        self.pepper = Zeroizing::new(pepper.to_vec());
        self
    }

    fn compute(
        &self,
        secret: &[u8],
        salt: &[u8],
        (memory, passes, lanes): (u32, u32, u32),
    ) -> Result<Zeroizing<[u8; HASH_BYTES]>> {
        let refused = |_| crypto("Argon2 refused its parameters");
        let parameters = Params::new(memory, passes, lanes, Some(HASH_BYTES)).map_err(refused)?;
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let argon2 = if self.pepper.is_empty() {
            Argon2::new(algorithm, version, parameters)
        } else {
            Argon2::new_with_secret(&self.pepper, algorithm, version, parameters)
                .map_err(refused)?
        };
        let mut hash = Zeroizing::new([0; HASH_BYTES]);
        let (blocks, lanes) = (argon2.params().block_count(), self.lanes);
        // Lanes are of whole segments, so that there may be a few blocks less.
        let usual = self.memory_kib.max(8 * lanes) as usize;
        let work = |memory: &mut [Block]| {
            argon2.hash_password_into_with_memory(secret, salt, hash.as_mut(), memory)
        };
        let done = self.memory.with(blocks, usual, work);
        done.ok_or_else(|| Error::Overloaded("no memory for a hash".to_owned()))?
            .map_err(refused)?;
        Ok(hash)
    }

    fn text(&self, salt: &[u8], hash: &[u8]) -> String {
        let Self { memory_kib, passes, lanes, .. } = self;
        let (salt, hash) =
            (Base64Unpadded::encode_string(salt), Base64Unpadded::encode_string(hash));
        format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
    }
}

impl SecretHasher for Argon2SecretHasher {
    fn hash(&self, secret: &[u8], rng: &dyn Rng) -> Result<String> {
        let mut salt = [0; SALT_BYTES];
        rng.fill(&mut salt).map_err(|_| crypto("no random bytes"))?;
        let hash = self.compute(secret, &salt, (self.memory_kib, self.passes, self.lanes))?;
        Ok(self.text(&salt, hash.as_ref()))
    }

    fn verify(&self, secret: &[u8], hash: &str) -> Result<bool> {
        let stored = Argon2Text::parse(hash).ok_or_else(|| crypto("not a hash of Argon2id"))?;
        let computed = self.compute(secret, &stored.salt, stored.parameters)?;
        Ok(computed.ct_eq(stored.hash.as_slice()).into())
    }

    fn is_outdated(&self, hash: &str) -> bool {
        Argon2Text::parse(hash).is_none_or(|stored| {
            let (memory, passes, _) = stored.parameters;
            memory < self.memory_kib || passes < self.passes
        })
    }

    fn dummy(&self) -> String {
        self.text(&[0; SALT_BYTES], &[0; HASH_BYTES])
    }
}

/// bcrypt, for hashes that have to be checked elsewhere too. Takes at most 71 bytes of a password,
/// and refuses longer ones instead of cutting them.
#[derive(Clone, Copy, Debug)]
pub struct BcryptSecretHasher {
    cost: u32,
}

/// Least cost: the logarithm of the number of rounds.
const BCRYPT_COST_MIN: u32 = 10;
const BCRYPT_COST_MAX: u32 = 20;

impl Default for BcryptSecretHasher {
    fn default() -> Self {
        Self { cost: 12 }
    }
}

impl BcryptSecretHasher {
    /// With another cost than 12.
    ///
    /// # Errors
    /// `Validation` below 10 and above 20.
    pub fn with_cost(cost: u32) -> Result<Self> {
        if !(BCRYPT_COST_MIN..=BCRYPT_COST_MAX).contains(&cost) {
            return Err(Error::Validation(format!("bcrypt with cost {cost}: expected 10 to 20")));
        }
        Ok(Self { cost })
    }

    fn cost_of(hash: &str) -> Option<u32> {
        hash.strip_prefix("$2b$")?.get(..2)?.parse().ok()
    }
}

impl SecretHasher for BcryptSecretHasher {
    fn hash(&self, secret: &[u8], rng: &dyn Rng) -> Result<String> {
        let mut salt = [0; SALT_BYTES];
        rng.fill(&mut salt).map_err(|_| crypto("no random bytes"))?;
        bcrypt::non_truncating_hash_with_salt(secret, self.cost, salt)
            .map(|parts| parts.format_for_version(bcrypt::Version::TwoB))
            .map_err(|_| Error::Validation("bcrypt takes at most 71 bytes".to_owned()))
    }

    fn verify(&self, secret: &[u8], hash: &str) -> Result<bool> {
        match Self::cost_of(hash) {
            Some(cost) if cost <= BCRYPT_COST_MAX => {}
            _ => return Err(crypto("not a hash of bcrypt")),
        }
        // A secret that is too long has no hash here, so it is not the one.
        match bcrypt::non_truncating_verify(secret, hash) {
            Ok(is_equal) => Ok(is_equal),
            Err(bcrypt::BcryptError::Truncation(_)) => Ok(false),
            Err(_) => Err(crypto("not a hash of bcrypt")),
        }
    }

    fn is_outdated(&self, hash: &str) -> bool {
        Self::cost_of(hash).is_none_or(|cost| cost < self.cost)
    }

    fn dummy(&self) -> String {
        format!("$2b${:02}${}", self.cost, ".".repeat(53))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::rng::SeededRng;

    #[test]
    fn the_default_is_argon2id_with_19_mib_three_passes_and_one_lane() {
        let hasher = Argon2SecretHasher::default();
        let hash = hasher.hash(b"secret", &SeededRng::new(1)).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=3,p=1$"), "{hash}");
        assert!(hasher.verify(b"secret", &hash).unwrap());
        assert!(!hasher.verify(b"Secret", &hash).unwrap());
        assert!(!hasher.verify(b"secret", &hasher.dummy()).unwrap());
        let other = hasher.clone().with_pepper(b"pepper");
        assert!(!other.verify(b"secret", &hash).unwrap());
    }

    #[test]
    fn weaker_parameters_are_refused() {
        for (memory, passes, lanes) in [(19_455, 2, 1), (19_456, 1, 1), (19_456, 2, 0)] {
            assert!(Argon2SecretHasher::with_parameters(memory, passes, lanes).is_err());
        }
        assert!(Argon2SecretHasher::with_parameters(19_456, 3, 1).is_ok());
        assert!(BcryptSecretHasher::with_cost(9).is_err());
    }

    #[test]
    fn a_hash_with_weaker_parameters_is_outdated() {
        let strong = Argon2SecretHasher::with_parameters(19_456, 4, 1).unwrap();
        let weak = Argon2SecretHasher::default();
        assert!(strong.is_outdated(&weak.dummy()));
        assert!(!weak.is_outdated(&strong.dummy()));
    }

    #[test]
    fn a_stored_hash_that_asks_for_a_gigabyte_is_refused() {
        let hasher = Argon2SecretHasher::default();
        for hash in ["", "$argon2id$v=19$m=4294967295,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA"] {
            assert!(hasher.verify(b"x", hash).is_err(), "{hash}");
        }
    }

    #[test]
    fn bcrypt_checks_what_it_made_and_refuses_to_cut() {
        let hasher = BcryptSecretHasher::with_cost(10).unwrap();
        let hash = hasher.hash(b"secret", &SeededRng::new(1)).unwrap();
        assert!(hasher.verify(b"secret", &hash).unwrap());
        assert!(!hasher.verify(b"other", &hash).unwrap());
        assert!(!hasher.verify(b"secret", &hasher.dummy()).unwrap());
        assert!(hasher.hash(&[b'x'; 73], &SeededRng::new(1)).is_err());
        assert!(!hasher.verify(&[b'x'; 73], &hash).unwrap());
    }
}
