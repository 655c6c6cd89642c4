//! STAND-IN: replaced by the module of the same name when the storage half is merged. Sending needs
//! [`SnapshotData::source`] and nothing else of it.

use std::sync::Arc;

use super::snapshot_source::SnapshotSource;

/// What openraft hands from one of our parts to another.
#[derive(Clone, Debug)]
pub enum SnapshotData {
    /// A snapshot of this node's.
    Held(Arc<dyn SnapshotSource>),
    /// One that was received, to be installed.
    Received,
}

impl SnapshotData {
    /// The files to send; `None` for a snapshot that is not sent to anybody.
    #[must_use]
    pub fn source(&self) -> Option<Arc<dyn SnapshotSource>> {
        match self {
            Self::Held(source) => Some(Arc::clone(source)),
            Self::Received => None,
        }
    }
}
