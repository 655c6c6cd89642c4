//! A service to test.

use std::path::Path;
use std::sync::Arc;

use hightower_kv::env::Env;
use hightower_kv::env::clock::ManualClock;
use hightower_kv::{
    AesGcmEncryptor, Argon2SecretHasher, AuthService, SingleNodeEngine, StoreConfig,
};

pub(crate) const MASTER: [u8; 32] = [7; 32];
pub(crate) const PASSWORD: &str = "canary-password-1";

pub(crate) type Auth = AuthService<Arc<SingleNodeEngine>, Argon2SecretHasher, AesGcmEncryptor>;

/// A service on a simulated machine, with the clock to move.
pub(crate) fn simulated() -> (Arc<SingleNodeEngine>, Auth, ManualClock) {
    let machine = Env::simulated(1);
    let mut config = StoreConfig::default();
    config.data_dir = "/data".into();
    config.worker_threads = 0;
    let engine = SingleNodeEngine::with_env(&config, machine.env).unwrap();
    let (engine, auth) = engine.into_argon2_hasher_aes_gcm_auth_service(MASTER);
    (engine, auth, machine.clock)
}

pub(crate) fn open(directory: &Path, encryptor: AesGcmEncryptor) -> Auth {
    let engine = Arc::new(SingleNodeEngine::open(directory).unwrap());
    AuthService::new(engine, Argon2SecretHasher::default(), encryptor)
}
