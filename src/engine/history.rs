//! The past, as applications read it.

use std::path::{Path, PathBuf};

use super::api::refuse_reserved;
use super::backup::BackupReport;
use super::past::{At, KeyHistory};
use super::recording::clean_beyond;
use super::single_node::SingleNodeEngine;
use crate::error::Result;
use crate::retention::{Retention, RetentionRegistry};
use crate::state::StateView;
use crate::storage::history::{Archive, CleanSummary, EraInfo};

impl SingleNodeEngine {
    /// The state as it was at a version, a time, or a moment of the clock: with every kind of read,
    /// its number of keys, and the versions and stamps of its rows. It has no sessions. Nothing
    /// that is given up later is lost to it.
    ///
    /// Which moments there are: those since the newest snapshot, for as long as the log has them,
    /// and what is kept: see [`StoreConfig::retention`](crate::StoreConfig::retention) and
    /// [`Self::retention_registry`].
    ///
    /// Cost: reading what changed since the state before it that is still there, some 64 MiB at
    /// most, or a quarter of what was live; and memory for one record of each key in it.
    ///
    /// # Errors
    /// `NotYet`, `InFuture`: it has not come. `Compacted` with the oldest that can be had: it was
    /// given up, or never kept. `Corrupt`, `MissingSegment` with the file of the past that is
    /// damaged or gone: a state that cannot be built exactly is not built.
    ///
    /// ```
    /// use hightower_kv::{KvEngine, SingleNodeEngine};
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("data");
    /// let engine = SingleNodeEngine::open(&path)?;
    /// let first = engine.put(b"greeting".to_vec(), b"hello".to_vec())?;
    /// engine.delete(b"greeting".to_vec())?;
    /// let then = engine.snapshot_at(first.version)?;
    /// assert_eq!(then.get(b"greeting")?.as_deref(), Some(b"hello".as_slice()));
    /// # Ok::<(), hightower_kv::Error>(())
    /// ```
    pub fn snapshot_at(&self, at: impl Into<At>) -> Result<StateView> {
        let (committer, at) = (&self.inner.committer, at.into());
        let machine = &committer.machine;
        if matches!(at, At::Time(time) if time >= machine.replica.view().timestamp()) {
            // An entry may be on its way to the device that was stamped before that time.
            committer.settle();
        }
        machine.check_readable()?;
        machine.state_at(at)
    }

    /// The versions of a key that there are, oldest first, with what it was each time.
    ///
    /// Cost: reading the filters of the past, the blocks that have the key, and the log.
    ///
    /// # Errors
    /// `ReservedKey`; `Corrupt`, `MissingSegment`, `Io` as for [`Self::snapshot_at`].
    pub fn history(&self, key: &[u8]) -> Result<KeyHistory> {
        refuse_reserved(key)?;
        let machine = &self.inner.committer.machine;
        machine.check_readable()?;
        machine.history(key)
    }

    /// Writes the state of a moment into a directory that does not exist yet or is empty, and
    /// checks every byte of it. It becomes a store by itself: a cluster of one voter with an
    /// identity of its own, no sessions and no past, whose versions go on behind that moment's.
    ///
    /// After a crash at any moment this store is untouched, and the directory is the whole store or
    /// refused as unfinished. Cost: that of [`Self::snapshot_at`], and reading and writing the
    /// state.
    ///
    /// # Errors
    /// Those of [`Self::snapshot_at`]; `UnusableDirectory` for a directory that is not empty;
    /// `DiskFull`, `Io`: the directory is as before, or refused as unfinished.
    pub fn restore_at(
        &self,
        at: impl Into<At>,
        directory: impl AsRef<Path>,
    ) -> Result<BackupReport> {
        let view = self.snapshot_at(at)?;
        self.inner.committer.machine.restore(&view, directory.as_ref())
    }

    /// Who wants the past of this store to be kept.
    #[must_use]
    pub fn retention_registry(&self) -> RetentionRegistry {
        self.inner.committer.machine.keeping.registry.clone()
    }

    /// The pieces in which the past is kept, oldest first. Reads no file.
    #[must_use]
    pub fn eras(&self) -> Vec<EraInfo> {
        self.inner.committer.machine.store.archive().eras()
    }

    /// The folders of pieces of a past that reached further than the store, which was put back to
    /// an older moment without it: this opening or an earlier one has set them aside. Nothing uses
    /// or removes them: whoever does not want them removes the folders.
    #[must_use]
    pub fn eras_set_aside(&self) -> &[PathBuf] {
        self.inner.committer.machine.store.archive().set_aside()
    }

    /// Gives up the pieces of the past that are beyond these limits, oldest first, but for the
    /// newest and for what a handle wants. As every compaction does by the limits of the
    /// configuration.
    ///
    /// # Errors
    /// `Io`: the past is as before, or less of what is beyond the limits is there. `Poisoned`.
    pub fn clean_past(&self, limits: Retention) -> Result<CleanSummary> {
        clean_beyond(&self.inner.committer.machine, limits)
    }

    /// Gives up all of the past but for [what was set aside](Self::eras_set_aside). The newest
    /// state stays, and what the log has.
    ///
    /// # Errors
    /// Those of [`Self::clean_past`].
    pub fn remove_past(&self) -> Result<CleanSummary> {
        Ok(self.inner.committer.machine.store.archiving(Archive::remove_all)?)
    }

    /// Lets the pieces of the past end with so many bytes of changes, to try with little data what
    /// happens with much.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_era_bytes(&self, bytes: u64) {
        self.inner.committer.machine.keeping.set_era_bytes(bytes);
    }
}
