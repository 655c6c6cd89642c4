//! A service to test.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hightower_kv::env::Env;
use hightower_kv::env::clock::ManualClock;
use hightower_kv::env::rng::Rng;
use hightower_kv::{
    AesGcmEncryptor, Argon2SecretHasher, AuthService, Error, SecretHasher, SingleNodeEngine,
    StoreConfig,
};

use crate::alone::run_alone;

pub(crate) const MASTER: [u8; 32] = [7; 32];
pub(crate) const PASSWORD: &str = "canary-password-1";

pub(crate) type Auth = AuthService<Arc<SingleNodeEngine>, Argon2SecretHasher, AesGcmEncryptor>;

/// A service with hashes that cost nothing.
pub(crate) struct FastAuth {
    pub(crate) auth: AuthService<Arc<SingleNodeEngine>, FastHasher, AesGcmEncryptor>,
    pub(crate) calls: Arc<Calls>,
}

impl Deref for FastAuth {
    type Target = AuthService<Arc<SingleNodeEngine>, FastHasher, AesGcmEncryptor>;

    fn deref(&self) -> &Self::Target {
        &self.auth
    }
}

/// A hasher for tests of everything but hashing: it costs nothing, protects nothing, and counts its
/// calls. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct FastHasher {
    /// Stands in each hash, as the parameters of a real one do; a lesser one is outdated.
    pub(crate) strength: u32,
    pub(crate) calls: Arc<Calls>,
}

/// How often a [`FastHasher`] was called.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) hashes: AtomicU64,
    /// Checks against a hash of a user.
    pub(crate) real: AtomicU64,
    /// Checks against the hash that no password is known for.
    pub(crate) dummy: AtomicU64,
    /// The sum of the strengths of the hashes that were checked.
    pub(crate) work: AtomicU64,
}

impl Calls {
    pub(crate) fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::SeqCst)
    }

    pub(crate) fn real(&self) -> u64 {
        self.real.load(Ordering::SeqCst)
    }

    pub(crate) fn dummy(&self) -> u64 {
        self.dummy.load(Ordering::SeqCst)
    }

    pub(crate) fn work(&self) -> u64 {
        self.work.load(Ordering::SeqCst)
    }
}

impl Default for FastHasher {
    fn default() -> Self {
        Self { strength: 1, calls: Arc::default() }
    }
}

impl FastHasher {
    /// A sum of the secret and a salt that says nothing to whoever looks for the secret.
    fn text(&self, salt: u64, secret: &[u8]) -> String {
        let mut sum = 0xcbf2_9ce4_8422_2325 ^ salt;
        for byte in secret {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        format!("$fast${}${salt}${sum}", self.strength)
    }
}

impl SecretHasher for FastHasher {
    fn hash(&self, secret: &[u8], rng: &dyn Rng) -> Result<String, Error> {
        self.calls.hashes.fetch_add(1, Ordering::SeqCst);
        Ok(self.text(rng.next_u64().unwrap() | 1, secret))
    }

    fn verify(&self, secret: &[u8], hash: &str) -> Result<bool, Error> {
        let is_dummy = hash.ends_with("$0$0");
        let count = if is_dummy { &self.calls.dummy } else { &self.calls.real };
        count.fetch_add(1, Ordering::SeqCst);
        let refused = || Error::Crypto("not a hash of a test".to_owned());
        let fields = hash.strip_prefix("$fast$").ok_or_else(refused)?;
        let numbers = fields.split('$').map(|it| it.parse().map_err(|_| refused()));
        let [strength, salt, _] = numbers.collect::<Result<Vec<u64>, _>>()?[..] else {
            return Err(refused());
        };
        self.calls.work.fetch_add(strength, Ordering::SeqCst);
        let strength = u32::try_from(strength).unwrap();
        Ok(!is_dummy && Self { strength, ..self.clone() }.text(salt, secret) == hash)
    }

    fn is_outdated(&self, hash: &str) -> bool {
        let strength =
            hash.strip_prefix("$fast$").and_then(|it| it.split('$').next()?.parse().ok());
        strength.is_none_or(|it: u32| it < self.strength)
    }

    fn dummy(&self) -> String {
        format!("$fast${}$0$0", self.strength)
    }
}

/// An engine on a simulated machine.
pub(crate) fn engine_on(env: Env) -> SingleNodeEngine {
    let mut config = StoreConfig::default();
    config.data_dir = "/data".into();
    config.worker_threads = 0;
    SingleNodeEngine::with_env(&config, env).unwrap()
}

/// A service on a simulated machine, with the clock to move.
pub(crate) fn simulated() -> (Arc<SingleNodeEngine>, Auth, ManualClock) {
    let machine = Env::simulated(1);
    let engine = engine_on(machine.env);
    let (engine, auth) = engine.into_argon2_hasher_aes_gcm_auth_service(MASTER);
    (engine, auth, machine.clock)
}

/// As [`simulated`], with hashes that cost nothing.
pub(crate) fn simulated_fast() -> (Arc<SingleNodeEngine>, FastAuth, ManualClock) {
    let machine = Env::simulated(1);
    let engine = Arc::new(engine_on(machine.env.clone()));
    let auth = fast_on(&engine, machine.env);
    (engine, auth, machine.clock)
}

/// Another service on an engine, with hashes that cost nothing.
pub(crate) fn fast_on(engine: &Arc<SingleNodeEngine>, env: Env) -> FastAuth {
    fast_with(engine, env, AesGcmEncryptor::new(MASTER), 1)
}

/// As [`fast_on`], with other master keys and hashes of some strength.
pub(crate) fn fast_with(
    engine: &Arc<SingleNodeEngine>,
    env: Env,
    encryptor: AesGcmEncryptor,
    strength: u32,
) -> FastAuth {
    let hasher = FastHasher { strength, ..FastHasher::default() };
    let calls = Arc::clone(&hasher.calls);
    FastAuth { auth: AuthService::with_env(Arc::clone(engine), hasher, encryptor, env), calls }
}

pub(crate) fn open(directory: &Path, encryptor: AesGcmEncryptor) -> Auth {
    let engine = Arc::new(SingleNodeEngine::open(directory).unwrap());
    AuthService::new(engine, Argon2SecretHasher::default(), encryptor)
}

/// A key of the reserved keyspace.
pub(crate) fn row_key(parts: &[&str]) -> Vec<u8> {
    [&[0xff; 8][..], parts.concat().as_bytes()].concat()
}

/// What stands under a key of the reserved keyspace.
pub(crate) fn value_of(engine: &SingleNodeEngine, key: &[u8]) -> Option<Vec<u8>> {
    engine.read_with(|view| view.reserved().get(key).unwrap().map(|row| row.value.to_vec()))
}

/// Runs a test of this binary by itself in a process of its own, and shows what it found out. True
/// in that process, where the test is to be made; false in the one that waited for it.
pub(crate) fn in_own_process(test: &str) -> bool {
    let Some(said) = run_alone(test) else { return true };
    // Behind the name of the test.
    for line in said.lines().filter_map(|line| line.rsplit(" ... ").next()) {
        if line.starts_with('A') {
            println!("{line}");
        }
    }
    false
}
