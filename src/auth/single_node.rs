//! The seeds' way to a service: an engine becomes a shared one with auth beside it.

use std::sync::Arc;

use super::envelope::AesGcmEncryptor;
use super::hasher::Argon2SecretHasher;
use super::service::AuthService;
use crate::engine::SingleNodeEngine;

/// The service with the default hasher and encryptor, on a shared engine of one node.
pub(super) type DefaultAuth =
    AuthService<Arc<SingleNodeEngine>, Argon2SecretHasher, AesGcmEncryptor>;

impl SingleNodeEngine {
    /// This engine, shared, and a service on it with Argon2id, AES-256-GCM and one master key.
    ///
    /// The key is kept by the application, and nowhere by this crate: without it neither metadata
    /// nor API keys nor the audit trail can be read again. Writes nothing.
    #[must_use]
    pub fn into_argon2_hasher_aes_gcm_auth_service(
        self,
        master_key: [u8; 32],
    ) -> (Arc<Self>, AuthService<Arc<Self>, Argon2SecretHasher, AesGcmEncryptor>) {
        let (env, engine) = (self.env().clone(), Arc::new(self));
        let encryptor = AesGcmEncryptor::new(master_key);
        let auth: DefaultAuth = AuthService::with_env(
            Arc::clone(&engine),
            Argon2SecretHasher::default(),
            encryptor,
            env,
        );
        (engine, auth)
    }
}
