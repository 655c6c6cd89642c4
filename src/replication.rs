//! The seam to replication: who submits commands, who provides snapshots.
//!
//! An application that is written against these traits runs on one node and on a cluster alike.
//! [`LocalReplication`] is the adapter for an engine in this process, and `raft::ClusterEngine` is
//! one by itself.

use std::sync::Arc;

use crate::command::Command;
use crate::engine::api::{KvEngine, SnapshotEngine};
use crate::engine::submission::Submission;
use crate::error::Result;
use crate::state::{ApplyOutcome, StateView};
use crate::types::Version;

/// Brings commands into the replicated log and tells what became of them. For synchronous and for
/// asynchronous code.
pub trait CommandSubmitter: Send + Sync {
    /// Submits a command and waits until it is committed and applied. May block on the disk.
    ///
    /// # Errors
    /// As [`KvEngine::submit`].
    fn submit(&self, command: Command) -> Result<ApplyOutcome>;

    /// Submits commands that are committed together: all or none.
    ///
    /// # Errors
    /// As [`KvEngine::submit_batch`].
    fn submit_batch(&self, commands: Vec<Command>) -> Result<ApplyOutcome>;

    /// Submits a command without waiting for the disk.
    fn submit_async(&self, command: Command) -> Submission;
}

/// Provides the state at one version.
pub trait SnapshotProvider: Send + Sync {
    /// The state as it is now, without copying data.
    ///
    /// # Errors
    /// When this node cannot tell.
    fn snapshot_state(&self) -> Result<StateView>;

    /// The version of the last entry applied.
    ///
    /// # Errors
    /// When this node cannot tell.
    fn latest_version(&self) -> Result<Version>;
}

/// Both: what a replicated service holds.
pub trait ReplicationHandle: CommandSubmitter + SnapshotProvider {}

impl<T: CommandSubmitter + SnapshotProvider> ReplicationHandle for T {}

/// A cluster of one: the engine's own append is the quorum.
///
/// ```
/// use std::sync::Arc;
///
/// use hightower_kv::replication::{CommandSubmitter, LocalReplication, SnapshotProvider};
/// use hightower_kv::{Command, SingleNodeEngine};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let engine = Arc::new(SingleNodeEngine::open(directory.path().join("data"))?);
/// let replication = LocalReplication::new(engine);
/// let outcome = replication.submit(Command::set("key", "value"))?;
/// assert_eq!(replication.latest_version()?, outcome.version);
/// # Ok::<(), hightower_kv::Error>(())
/// ```
#[derive(Debug)]
pub struct LocalReplication<E> {
    engine: Arc<E>,
}

impl<E> Clone for LocalReplication<E> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine) }
    }
}

impl<E: KvEngine + SnapshotEngine> LocalReplication<E> {
    /// Over an engine that others may go on using.
    #[must_use]
    pub const fn new(engine: Arc<E>) -> Self {
        Self { engine }
    }
}

impl<E: KvEngine + SnapshotEngine> CommandSubmitter for LocalReplication<E> {
    fn submit(&self, command: Command) -> Result<ApplyOutcome> {
        self.engine.submit(command)
    }

    fn submit_batch(&self, commands: Vec<Command>) -> Result<ApplyOutcome> {
        self.engine.submit_batch(commands)
    }

    fn submit_async(&self, command: Command) -> Submission {
        self.engine.submit_async(command)
    }
}

impl<E: KvEngine + SnapshotEngine> SnapshotProvider for LocalReplication<E> {
    fn snapshot_state(&self) -> Result<StateView> {
        Ok(self.engine.snapshot_state())
    }

    fn latest_version(&self) -> Result<Version> {
        Ok(self.engine.latest_version())
    }
}
