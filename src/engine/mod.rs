//! The engines: what an application opens.
//!
//! [`single_node::SingleNodeEngine`] is a cluster of one voter: its own append, synced, is the
//! quorum, so it commits on the caller's thread. `committer` is the way of a write, `replay` the
//! way from files to a state, `maintenance` what happens in the background.
//!
//! # What is absent
//!
//! No engine knows that users or passwords exist (rule R14), and none here is asynchronous (rule
//! R3).

pub mod read_context;
pub(crate) mod answering;
pub(crate) mod wake;
pub(crate) mod back_off;
pub mod submission;
pub mod api;
pub(crate) mod draw;
pub mod session;
pub mod scoped;
pub mod lease;
pub mod stats;
pub mod log_record;
pub(crate) mod rest;
pub(crate) mod effect_log;
pub(crate) mod replay;
pub(crate) mod replica_lock;
pub(crate) mod commit_queue;
pub mod watch;
pub(crate) mod pressure;
pub(crate) mod throttle;
pub(crate) mod admission;
pub(crate) mod budget;
pub(crate) mod log_clock;
pub(crate) mod deadlines;
pub(crate) mod keeping;
pub(crate) mod machine;
pub(crate) mod changes;
pub(crate) mod recording;
pub mod past;
pub(crate) mod open;
pub(crate) mod committer;
pub(crate) mod expiry;
pub(crate) mod compaction;
pub(crate) mod maintenance;
pub(crate) mod ephemeral;
pub(crate) mod watching;
pub mod backup;
pub(crate) mod restore_at;
pub mod read_only;
pub mod single_node;
pub mod history;

pub use self::api::{KvEngine, SnapshotEngine};
pub use self::backup::{BackupOptions, BackupReport, Links};
pub use self::lease::Lease;
pub use self::log_record::{LogContent, LogRecord};
pub use self::past::{At, KeyHistory, KeyVersion};
pub use self::read_context::ReadContext;
pub use self::read_only::ReadOnlyEngine;
pub use self::scoped::{Scoped, Scopes};
pub use self::session::Session;
pub use self::single_node::SingleNodeEngine;
pub use self::stats::{CompactionReport, EngineStats, TableStats};
pub use self::submission::Submission;
pub use self::watch::{Change, Changes, WatchEngine, WatchEvent, WatchOptions, Watcher};
// What `KvEngine` gives: a layer that knows engines only needs no other folder.
pub use crate::state::{StateView, Versioned};
