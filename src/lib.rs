//! An embedded key-value store made as a replicated state machine: its segment files are the Raft
//! log and the home of the values.
//!
//! For agents and services that need small, strongly consistent state on every node and do not want
//! a database server beside it.
//!
//! # Example
//!
//! ```
//! use hightower_kv::{KvEngine, SingleNodeEngine};
//!
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("data");
//! let engine = SingleNodeEngine::open(&path)?;
//! engine.put(b"user:1".to_vec(), b"alice".to_vec())?;
//! engine.put(b"user:2".to_vec(), b"bob".to_vec())?;
//! for (key, value) in engine.get_prefix(b"user:")? {
//!     println!("{} => {}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
//! }
//! # Ok::<(), hightower_kv::Error>(())
//! ```
//!
//! # Overview
//!
//! * [`SingleNodeEngine`] opens a directory; [`KvEngine`] is what it and a cluster offer.
//! * `raft::ClusterEngine`, with the feature `raft`, is one of several nodes with the same state:
//!   what was acknowledged is on the devices of a majority of them. It opens the same directory.
//! * [`Command`] is what can be written: set, delete, delete a prefix, and batches of them with
//!   guards, applied whole or not at all. [`ApplyOutcome`] says what happened.
//! * [`Scope`] is which keys are meant: plain ones, those that live as long as the process, or
//!   those of a name. Keys may have a time, or a [`Lease`] that they share.
//! * [`StateView`] is one consistent state that never changes and costs no copy. [`state::Cursor`]
//!   lends its rows one by one.
//! * [`StoreConfig`] is what can be set. [`Error`] says what to do.
//!
//! # Guarantees
//!
//! With the default configuration `Ok` means that the write is on the device: a crash at any
//! moment, of the process or of the machine, loses nothing that was acknowledged and brings back
//! nothing that was not submitted. Bytes that rotted on the device are reported with file and
//! offset, and never served. `docs/durability.md` in the repository says it in full, with the table
//! that recovery goes by.
//!
//! # Caveats
//!
//! **One process** may open a directory at a time. A read may wait for the disk: values that are
//! not cached are in tables.
//!
//! # Features
//!
//! * `auth` (default): users, passwords, API keys and roles: `AuthService`.
//! * `cli` (default): the command line tool `htkvctl`.
//! * `raft` (default): several voters, with openraft and with it an asynchronous runtime (tokio).
//! * `zstd` (default): tables compressed with Zstandard, whose library is C: it takes a C compiler.
//! * `testing`: a simulated disk, clock and random source, to test an application against crashes,
//!   and with `raft` a simulated network.

// Modules in dependency order: each may use only those above it (tests/tidy checks).
pub mod types;
pub mod env;
pub mod metrics;
pub mod retention;
pub mod command;
pub mod config;
pub mod storage;
pub mod state;
pub mod error;
pub mod engine;
pub mod replication;
#[cfg(feature = "raft")]
pub mod raft;
pub mod kv_store;
#[cfg(feature = "auth")]
pub mod auth;

#[cfg(feature = "auth")]
pub use auth::{
    AesGcmEncryptor, ApiKeyRecord, ApiToken, Argon2SecretHasher, AuthService, BcryptSecretHasher,
    EnvelopeEncryptor, SecretHasher, UserRecord,
};
pub use command::{Command, Condition, Guard, LeaseId, Scope, ScopeName, Until};
pub use config::{Compression, StoreConfig};
pub use engine::backup::{BackupOptions, BackupReport, restore};
pub use engine::{
    At, Change, Changes, KeyHistory, KeyVersion, KvEngine, Lease, ReadContext, ReadOnlyEngine,
    Scoped, Scopes, Session, SingleNodeEngine, SnapshotEngine, Submission, WatchEngine, WatchEvent,
    WatchOptions, Watcher,
};
pub use error::{Error, Result};
pub use kv_store::KvStore;
pub use retention::{Retention, RetentionHandle, RetentionRegistry};
pub use state::{ApplyOutcome, Durability, Outcome, ScopedView, StateView, Value, Versioned};
pub use types::{Timestamp, Version};

// Flat names from the design document.
#[doc(no_inline)]
pub use storage::{index, log_segment, prefix_index};
