//! A directory as a voter's storage, opened for openraft.

use std::sync::Arc;

use crate::config::StoreConfig;
use crate::engine::budget::marks_of;
use crate::engine::machine::Machine;
use crate::engine::open::open_machine;
use crate::env::Env;
use crate::error::Result;
use crate::raft::log_store::{LogStore, LogStoreLimits};
use crate::raft::state_machine::{OnPressure, StateMachine};
use crate::types::RandomId;

/// The two halves that openraft is given. They hold the directory until both, and every clone and
/// reader of the log, are dropped.
#[derive(Debug)]
pub struct RaftStorage {
    /// The log and the vote.
    pub log: LogStore,
    /// The state.
    pub state: StateMachine,
    pub(crate) machine: Arc<Machine>,
}

impl RaftStorage {
    /// Opens a directory, or creates it. Nothing behind its newest snapshot is applied: openraft
    /// says what is committed. A directory is created for `cluster`, or for a new one.
    /// `on_pressure` is called when a snapshot is due.
    ///
    /// # Errors
    /// `Validation` for a configuration that cannot be; those of opening a store.
    pub fn open(
        config: &StoreConfig,
        cluster: Option<RandomId>,
        env: Env,
        limits: LogStoreLimits,
        on_pressure: OnPressure,
    ) -> Result<Self> {
        config.validate()?;
        let machine = Arc::new(open_machine(env, config, cluster)?);
        let log = LogStore::start(Arc::clone(&machine), limits)?;
        let state = StateMachine::new(Arc::clone(&machine), marks_of(config), on_pressure);
        Ok(Self { log, state, machine })
    }

    /// Ends the thread that syncs, syncs everything and leaves the directory so that nothing is to
    /// be repaired. The directory is released when the last handle is dropped. Blocks.
    ///
    /// # Errors
    /// `SyncFailed`, `Poisoned`.
    pub fn close(&self) -> Result<()> {
        self.log.close();
        Ok(self.machine.store.close()?)
    }
}
