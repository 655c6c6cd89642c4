//! Users, passwords, API keys and roles, as records in the reserved keyspace of an engine.
//!
//! [`AuthService`] is the surface. Everything random or slow is decided before a command is
//! proposed; every condition is a guard of that command; one change is one command. So it is the
//! same on one node and on a cluster, and a crash leaves all of a change or none.

mod base62;
mod names;
mod record_codec;
mod stored_hash;
pub mod hasher;
pub mod envelope;
pub mod token;
pub mod records;
mod keyspace;
mod key_cache;
mod lookup;
mod hashing_pool;
mod failures;
pub mod audit;
pub mod password_policy;
mod realm;
pub mod service;
mod changes;
mod sealing;
mod trail;
mod sign_in;
mod users;
mod api_key_options;
mod api_keys;
mod roles;
mod rotation;
mod single_node;

pub use self::api_key_options::ApiKeyOptions;
pub use self::audit::AuditRow;
pub use self::envelope::{AesGcmEncryptor, Envelope, EnvelopeEncryptor};
pub use self::hasher::{Argon2SecretHasher, BcryptSecretHasher, SecretHasher};
pub use self::password_policy::PasswordPolicy;
pub use self::records::{ApiKeyRecord, Grant, RoleRecord, UserRecord};
pub use self::roles::{Action, Principal};
pub use self::service::AuthService;
pub use self::token::ApiToken;
