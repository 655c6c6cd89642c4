//! Users, passwords, API keys and roles, as records in the reserved keyspace of an engine.
//!
//! [`AuthService`] is the surface. Everything random or slow is decided before a command is
//! proposed; every condition is a guard of that command; one change is one command. So it is the
//! same on one node and on a cluster, and a crash leaves all of a change or none.
//!
//! # From asynchronous code
//!
//! Every call blocks: on the disk, in a cluster on the other nodes, and where a password is hashed
//! on that work (15 to 60 ms are aimed at), behind up to 64 others that wait for it. So call it on
//! a thread that may block, of which there should be more than waiters, or they wait for each
//! other. With `tokio`:
//!
//! ```ignore
//! let auth = auth.acting_as(&admin);
//! let is_right = tokio::task::spawn_blocking(move || auth.verify_password(&name, &password));
//! if is_right.await?? { .. }
//! ```
//!
//! [`AuthService::authenticate_api_key`] hashes no password. It reads one state: on one node from
//! memory or a few blocks of a table; in a cluster it asks the other nodes first, and blocks too.

mod base62;
mod names;
mod record_codec;
mod stored_hash;
mod hashing_memory;
pub mod hasher;
pub mod envelope;
pub mod token;
pub mod records;
mod keyspace;
mod key_cache;
mod lookup;
mod hashing_pool;
mod failures;
mod failures_here;
mod coalesced;
mod wraps;
pub mod audit;
pub mod password_policy;
mod realm;
pub mod service;
mod changes;
mod sealing;
mod trail;
mod last_login;
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
pub use self::roles::{Action, Principal, check_role};
pub use self::service::AuthService;
pub use self::token::ApiToken;
pub use self::users::check_new_user;
