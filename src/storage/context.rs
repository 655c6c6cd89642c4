//! What every file operation of one open store needs: where, through which doors, as whom.

use std::path::{Path, PathBuf};

use super::error::StorageError;
use super::format::{ARCHIVE_NAME, INCOMING_NAME, LOG_NAME, TABLES_NAME, segment_name, table_name};
use super::identity::Identity;
use super::sync_gate::SyncGate;
use crate::env::Env;
use crate::types::{SegmentId, TableId};

/// One open directory. Clones share the latch of a failed sync.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) gate: SyncGate,
    /// The data directory.
    pub(crate) root: PathBuf,
    /// The folder of segments.
    pub(crate) log: PathBuf,
    /// The folder of tables.
    pub(crate) tables: PathBuf,
    /// The folder of tables that are being received.
    pub(crate) incoming: PathBuf,
    /// The folder of the past.
    pub(crate) archive: PathBuf,
    pub(crate) identity: Identity,
}

impl Context {
    pub(crate) fn new(env: Env, gate: SyncGate, root: &Path, identity: Identity) -> Self {
        Self {
            env,
            gate,
            root: root.to_owned(),
            log: root.join(LOG_NAME),
            tables: root.join(TABLES_NAME),
            incoming: root.join(INCOMING_NAME),
            archive: root.join(ARCHIVE_NAME),
            identity,
        }
    }

    pub(crate) fn segment_path(&self, id: SegmentId) -> PathBuf {
        self.log.join(segment_name(id))
    }

    pub(crate) fn table_path(&self, id: TableId) -> PathBuf {
        self.tables.join(table_name(id))
    }

    /// Whether so many bytes of the device are free. Where the file system does not say what is
    /// left, it is found out.
    pub(crate) fn has_free(&self, bytes: u64) -> bool {
        self.env.fs.free_bytes(&self.root).map_or(true, |free| free >= bytes)
    }

    /// A salt for a new file.
    ///
    /// # Errors
    /// `Io` when the operating system gives no random bytes.
    pub(crate) fn salt(&self) -> Result<u64, StorageError> {
        self.env.rng.next_u64().map_err(StorageError::wrap("draw random bytes for", &self.root))
    }
}

/// Where a directory is, also when the process changes its current one.
///
/// # Errors
/// `UnusableDirectory` for an empty path.
pub(crate) fn absolute(env: &Env, root: &Path) -> Result<PathBuf, StorageError> {
    env.fs.absolute(root).map_err(|error| StorageError::UnusableDirectory {
        directory: root.to_owned(),
        reason: error.to_string(),
    })
}
