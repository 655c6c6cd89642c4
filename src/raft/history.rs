//! The past, as a node of a cluster has it.

use std::path::Path;

use super::cluster_engine::ClusterEngine;
use crate::engine::api::refuse_reserved;
use crate::engine::backup::BackupReport;
use crate::engine::past::{At, KeyHistory};
use crate::error::Result;
use crate::retention::RetentionRegistry;
use crate::state::StateView;
use crate::storage::history::EraInfo;

/// Each node keeps a past of its own: what it applied while it was asked to. One that was sent a
/// snapshot begins anew with that. All of these block and read this node's files, so asynchronous
/// code calls them from threads of its own.
impl ClusterEngine {
    /// As [`SingleNodeEngine::snapshot_at`](crate::SingleNodeEngine::snapshot_at), of what this
    /// node has applied.
    ///
    /// # Errors
    /// Those of `SingleNodeEngine::snapshot_at`; `Diverged`, `Closed`.
    pub fn snapshot_at(&self, at: impl Into<At>) -> Result<StateView> {
        self.node.state_at(at.into())
    }

    /// As [`SingleNodeEngine::history`](crate::SingleNodeEngine::history), of what this node has
    /// applied.
    ///
    /// # Errors
    /// Those of `SingleNodeEngine::history`; `Diverged`, `Closed`.
    pub fn history(&self, key: &[u8]) -> Result<KeyHistory> {
        refuse_reserved(key)?;
        drop(self.node.view()?);
        self.node.machine.history(key)
    }

    /// As [`SingleNodeEngine::restore_at`](crate::SingleNodeEngine::restore_at). The new store is a
    /// cluster of its own with one voter.
    ///
    /// # Errors
    /// Those of `SingleNodeEngine::restore_at`; `Diverged`, `Closed`.
    pub fn restore_at(
        &self,
        at: impl Into<At>,
        directory: impl AsRef<Path>,
    ) -> Result<BackupReport> {
        let view = self.snapshot_at(at)?;
        self.node.machine.restore(&view, directory.as_ref())
    }

    /// Who wants the past of this node to be kept.
    #[must_use]
    pub fn retention_registry(&self) -> RetentionRegistry {
        self.node.machine.keeping.registry.clone()
    }

    /// The pieces in which the past is kept here, oldest first. Reads no file.
    #[must_use]
    pub fn eras(&self) -> Vec<EraInfo> {
        self.node.machine.store.archive().eras()
    }

    /// Lets the pieces of the past end with so many bytes of changes, to try with little data what
    /// happens with much.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_era_bytes(&self, bytes: u64) {
        self.node.machine.keeping.set_era_bytes(bytes);
    }
}
