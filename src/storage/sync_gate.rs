//! The one place that syncs, and the latch that the first failure closes for good (rule R7).
//!
//! Why no second try: after a failed sync the kernel marks the pages clean, so the next sync
//! returns `Ok` for bytes that are not on the device. Only opening again, which writes the unsynced
//! tail anew, makes a statement about the device that is true.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::error::StorageError;
use crate::env::fs::{Fs, FsDir, FsFile};

/// Told when the store has stopped. It may be called with locks of the store held, so it waits for
/// nothing.
pub(crate) type OnPoison = Box<dyn Fn() + Send + Sync>;

/// Syncs files and directories until one sync fails. Clones share the latch.
#[derive(Clone)]
pub(crate) struct SyncGate {
    fs: Arc<dyn Fs>,
    /// The first failure.
    ///
    /// Invariant: once set, no file of the store is synced or written again through this gate.
    failed: Arc<OnceLock<Arc<str>>>,
    /// Who is told of it.
    told: Arc<Mutex<Vec<OnPoison>>>,
}

impl SyncGate {
    pub(crate) fn new(fs: Arc<dyn Fs>) -> Self {
        Self { fs, failed: Arc::default(), told: Arc::default() }
    }

    /// Whether the store still stands.
    ///
    /// # Errors
    /// `Poisoned` with the first failure.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        match self.failed.get() {
            None => Ok(()),
            Some(cause) => Err(StorageError::Poisoned { cause: Arc::clone(cause) }),
        }
    }

    /// Closes the latch. The first cause stays.
    pub(crate) fn poison(&self, cause: &dyn fmt::Display) {
        let text: Arc<str> = cause.to_string().into();
        if self.close(&text) {
            metrics::counter!(crate::metrics::POISONED_TOTAL).increment(1);
            tracing::error!(cause = &*text, "the store stopped: open it again to go on");
            self.tell();
        }
    }

    /// Closes the latch where nothing has failed: the store is given back.
    pub(crate) fn shut(&self) {
        if self.close(&"the store was closed".into()) {
            self.tell();
        }
    }

    /// Whether the latch was open.
    fn close(&self, cause: &Arc<str>) -> bool {
        self.failed.set(Arc::clone(cause)).is_ok()
    }

    /// Has `tell` called once the latch is closed: now, where it is closed already.
    pub(crate) fn on_poison(&self, tell: OnPoison) {
        self.told.lock().push(tell);
        // Closed in between: whoever takes them out tells them, here or there.
        if self.check().is_err() {
            self.tell();
        }
    }

    fn tell(&self) {
        // Called without the lock: whoever is told may look whether the latch is closed.
        let told = std::mem::take(&mut *self.told.lock());
        for tell in told {
            tell();
        }
    }

    /// Syncs a file.
    ///
    /// # Errors
    /// `Poisoned` without a system call when the latch is closed; `SyncFailed` when this sync
    /// closes it.
    pub(crate) fn sync_file(&self, file: &dyn FsFile, path: &Path) -> Result<(), StorageError> {
        self.check()?;
        self.latch(file.sync(), path)
    }

    /// Opens a directory whose names are to be synced with [`Self::sync_names`]. Whoever changes
    /// names that cannot be given back does it before: afterwards, to have no file handle left
    /// would leave as little known as a failed sync.
    ///
    /// # Errors
    /// `Poisoned`; `Io`: nothing was synced, and the latch stays open.
    pub(crate) fn open_dir(&self, path: &Path) -> Result<Box<dyn FsDir>, StorageError> {
        self.check()?;
        self.fs.open_dir(path).map_err(StorageError::wrap("open", path))
    }

    /// Syncs the names in a directory that was opened by `path`. Errors as [`Self::sync_file`].
    pub(crate) fn sync_names(&self, dir: &dyn FsDir, path: &Path) -> Result<(), StorageError> {
        self.check()?;
        self.latch(dir.sync(), path)
    }

    /// Syncs the names in a directory, where nothing relies on them yet. Errors as
    /// [`Self::sync_names`], and those of [`Self::open_dir`].
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.sync_names(&*self.open_dir(path)?, path)
    }

    fn latch(&self, result: std::io::Result<()>, path: &Path) -> Result<(), StorageError> {
        result.map_err(|source| {
            let error =
                StorageError::SyncFailed { path: path.to_owned(), source: Arc::new(source) };
            self.poison(&error);
            error
        })
    }
}

impl fmt::Debug for SyncGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncGate").field("failed", &self.failed.get()).finish_non_exhaustive()
    }
}
