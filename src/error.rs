//! The one error of the public surface. Each kind tells the caller what to do.
//!
//! A missing key is not an error, a guard that does not hold is an outcome, a broken invariant is
//! an assertion, a failed sync is final.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::command::codec::DecodeError;
use crate::command::limits::{CommandError, LimitsError};
use crate::command::scope::ScopeNameError;
use crate::config::ConfigError;
use crate::storage::error::StorageError;
use crate::types::{LogIndex, NodeId, Timestamp, Version};

/// What a fallible call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. Cheap to clone.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Correct the call: it can never succeed. Nothing was written.
    #[error("invalid: {0}")]
    Validation(String),

    /// Make it smaller, or raise the limit in the configuration. Nothing was written.
    #[error(
        "{what}: {got}, the limit is {limit}: split it, or raise the limit if it is configured"
    )]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit: bytes, or how many.
        limit: u64,
        /// What was asked for.
        got: u64,
    },

    /// Choose another key: this one is the library's own, and only its own parts reach it. Nothing
    /// was written.
    #[error("the key or the prefix is in the reserved keyspace: choose another one")]
    ReservedKey,

    /// Choose another name, or look at what others have done: it is there already, or was changed
    /// meanwhile. Nothing was written.
    #[error("conflict: {0}")]
    Conflict(String),

    /// Create it first, or name another one: there is no such user, key or role. Nothing was
    /// written.
    #[error("not found: {0}")]
    NotFound(String),

    /// Look at the keys, or restore a backup: an encrypted or hashed value cannot be read. Nothing
    /// of it is shown.
    #[error("crypto: {0}")]
    Crypto(String),

    /// Put the master key with this id into the keyring: a value is encrypted under it. It may be
    /// taken out again after a rotation of the master key.
    #[error(
        "the master key {id} is not in the keyring, and a value is encrypted under it: add it, and \
         rotate to the current key before it is taken out"
    )]
    UnknownKey {
        /// The id.
        id: u32,
    },

    /// Find out who changed the directory: the audit trail is not what was written, from this row
    /// on.
    #[error("row {number} of the audit trail is missing or was changed")]
    AuditBroken {
        /// The first row that is wrong.
        number: u64,
    },

    /// The key that was to be removed is not there: an answer of the text facade, which promises
    /// it.
    #[error("Key not found")]
    KeyNotFound,

    /// Stop, and restore the directory from a backup or from another voter: bytes that were known
    /// to be on the device are not what was written. Nothing was changed.
    #[error(transparent)]
    Corrupt(StorageError),

    /// Decide whether to cut the end of the log (`htkvctl repair --truncate-tail`): it may be
    /// damage or a write that was never synced. A voter of several is replaced instead, for it may
    /// have acknowledged what would be cut. Nothing was changed.
    #[error(transparent)]
    TailAmbiguous(StorageError),

    /// Put the missing file back, or restore the directory. Nothing was changed.
    #[error(transparent)]
    MissingSegment(StorageError),

    /// Use a newer release, or the one that wrote the directory, or a build with the feature that
    /// the text names. Nothing was changed.
    #[error(transparent)]
    UnsupportedFormat(StorageError),

    /// Close the other handle, or the other process. Nothing was changed.
    #[error(transparent)]
    Locked(StorageError),

    /// Name a directory that holds a store, or create one by opening it for writing.
    #[error(transparent)]
    NoStore(StorageError),

    /// Name another directory: this one cannot be used, and the text says why.
    #[error(transparent)]
    UnusableDirectory(StorageError),

    /// Free room, or delete keys, fewer at once where that is refused too; writes succeed again by
    /// themselves. Nothing was written.
    #[error(transparent)]
    DiskFull(StorageError),

    /// Try again later: too much is waiting. Nothing was written.
    #[error("overloaded: {0}")]
    Overloaded(String),

    /// Drop this handle and open the store again: a write or a sync failed earlier, so nothing is
    /// known of what the device holds. This call wrote nothing.
    #[error("the store stopped after a failure, open it again: {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },

    /// Look whether the write is there. On a single node the store failed: open it again and look.
    /// On a cluster it may be applied now, later or not at all: read and decide, or use a session.
    #[error(
        "it is not known whether the write is there; read and decide, on a single node once the \
         store is open again: {cause}"
    )]
    OutcomeUnknown {
        /// Why it is not known.
        cause: Arc<str>,
    },

    /// Open the store again: this handle is closed, or it only reads.
    #[error("the store is {0}")]
    Closed(&'static str),

    /// Open the directory with `ClusterEngine`: it belongs to a cluster in which other nodes than
    /// this one vote. No entry and no vote was written.
    #[error(
        "the directory belongs to a cluster with voters {}; this is node {node}: open it with \
         ClusterEngine",
        listed(voters)
    )]
    NotSingleNode {
        /// This directory's node.
        node: NodeId,
        /// The voters.
        voters: Vec<NodeId>,
    },

    /// Try again: no leader or no quorum was found before the deadline, or another node does not
    /// serve. A write that is told this was not applied; a change of members may go on.
    #[error("unavailable: {0}")]
    Unavailable(String),

    /// Ask the leader: this node is not it.
    #[error("this node does not lead{}", does_lead(*leader))]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },

    /// Use the directory, or the address, that belongs to this node of this cluster.
    #[error("identity: {0}")]
    IdentityMismatch(String),

    /// Open a new session: this one is closed, expired, or its request is too old to be remembered.
    /// The request was not applied now; whether it was before is not known any more.
    #[error("the session has expired, open another one")]
    SessionExpired,

    /// Compare the directories: the state of this node differs from that of the others, so it
    /// serves nothing any more. Remove the node, and let it join again with an empty directory.
    #[error("the state of this node differs from that of the others since entry {index} or before")]
    Diverged {
        /// Where it was found.
        index: LogIndex,
    },

    /// Wait, or ask for an older version: the state has not reached this one.
    #[error("version {asked} is not there yet, the state is at {}", at.map_or(0, |at| at.0))]
    NotYet {
        /// The version that was asked for.
        asked: Version,
        /// The version of the state.
        at: Option<Version>,
    },

    /// Wait, or ask for an earlier time: entries that are still to come may belong to it.
    #[error("the time {asked} is in the future, it is {now} (microseconds since 1970)")]
    InFuture {
        /// The time that was asked for.
        asked: Timestamp,
        /// What it is now.
        now: Timestamp,
    },

    /// Ask for a later version: what led to this one was given up by the retention.
    #[error("the past before version {oldest} is not kept any more")]
    Compacted {
        /// The oldest version that can still be had.
        oldest: Version,
    },

    /// Use the release that wrote it: an entry or a snapshot is whole and cannot be understood.
    #[error("entry {index} cannot be understood: {reason}")]
    Serialization {
        /// Which entry; of a snapshot, the last one it contains.
        index: LogIndex,
        /// What is wrong.
        reason: String,
    },

    /// Look at the device or at permissions: the operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
}

/// What is said of the leader, where it is known.
fn does_lead(leader: Option<NodeId>) -> String {
    leader.map_or_else(String::new, |id| format!(", node {id} does"))
}

/// The nodes as numbers.
fn listed(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

impl Error {
    /// Whether the same call may succeed later without anything being changed by the caller.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Overloaded(_)
                | Self::DiskFull(_)
                | Self::NotYet { .. }
                | Self::InFuture { .. }
                | Self::Unavailable(_)
                | Self::NotLeader { .. }
        )
    }

    pub(crate) fn undecodable(index: LogIndex, error: &DecodeError) -> Self {
        Self::Serialization { index, reason: error.to_string() }
    }
}

impl From<StorageError> for Error {
    // Whatever leads here stands apart from the code of a put, which was faster for it
    // (docs/performance.md).
    #[cold]
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupt { .. } => Self::Corrupt(error),
            StorageError::TailAmbiguous { .. } => Self::TailAmbiguous(error),
            StorageError::MissingFile { .. }
            | StorageError::MissingSegment { .. }
            | StorageError::MissingChanges { .. } => Self::MissingSegment(error),
            // The state before the first entry whose changes are there can be had.
            StorageError::Compacted { oldest: Some(oldest) } => {
                Self::Compacted { oldest: oldest.previous().unwrap_or_default().into() }
            }
            StorageError::UnsupportedFormat { .. } | StorageError::MissingFeature { .. } => {
                Self::UnsupportedFormat(error)
            }
            StorageError::Locked { .. } => Self::Locked(error),
            StorageError::NoStore { .. } => Self::NoStore(error),
            StorageError::UnusableDirectory { .. }
            | StorageError::UnfinishedCopy { .. }
            | StorageError::ArchiveAhead { .. } => Self::UnusableDirectory(error),
            StorageError::DiskFull { .. } => Self::DiskFull(error),
            StorageError::Overloaded { .. } | StorageError::SnapshotWaits => {
                Self::Overloaded(error.to_string())
            }
            StorageError::Poisoned { cause } => Self::Poisoned { cause },
            StorageError::SyncFailed { .. } => Self::Poisoned { cause: error.to_string().into() },
            StorageError::Io { operation, path, source } => Self::Io { operation, path, source },
            StorageError::TooLarge { limit, got } => {
                Self::TooLarge { what: "bytes of an entry".to_owned(), limit, got }
            }
            StorageError::Closed { state } => Self::Closed(state),
            StorageError::Purged { .. }
            | StorageError::BeyondEnd { .. }
            | StorageError::BadSnapshot { .. }
            | StorageError::Compacted { oldest: None }
            | StorageError::NotNext { .. }
            | StorageError::Outdated { .. }
            | StorageError::SegmentsExhausted
            | StorageError::TablesExhausted => Self::Validation(error.to_string()),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Validation(error.to_string())
    }
}

impl From<LimitsError> for Error {
    fn from(error: LimitsError) -> Self {
        Self::Validation(error.to_string())
    }
}

impl From<ScopeNameError> for Error {
    fn from(error: ScopeNameError) -> Self {
        Self::Validation(error.to_string())
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::TooLarge { what, limit, got } => {
                Self::TooLarge { what: what.to_string(), limit: limit as u64, got: got as u64 }
            }
            CommandError::ReservedKey => Self::ReservedKey,
            other => Self::Validation(other.to_string()),
        }
    }
}
