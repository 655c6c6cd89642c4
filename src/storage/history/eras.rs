//! Beginning eras and giving them up.

use std::path::Path;

use super::archive::Archive;
use super::base;
use super::catalog::{Era, EraInfo};
use super::folder::{clear, remove_folder, warn_stays};
use super::name::EraName;
use super::shared::Shared;
use crate::storage::atomic_file::{self, temporary_of};
use crate::storage::error::StorageError;
use crate::storage::format::ARCHIVE_NAME;
use crate::storage::table_store::TableStore;
use crate::types::{LogIndex, Timestamp};

/// What was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanSummary {
    /// Eras.
    pub eras: u64,
    /// Bytes of their change files. Those of their bases come back as far as nobody shares them.
    pub file_bytes: u64,
    /// The first entry whose changes are still there; `None`: there are none.
    pub oldest: Option<LogIndex>,
}

impl Archive {
    /// Begins an era with the state that the newest manifest of the tables says; with the empty
    /// state before entry 0 where there is none. Does nothing where the newest era begins with that
    /// very state.
    ///
    /// Manifest and tables get second names; they are copied where the file system has none. When
    /// it returns, all of it is on the device. After a crash before that: the eras as before, or
    /// with this one.
    ///
    /// # Errors
    /// `NotNext` when the state is older than what is archived: publish a manifest first;
    /// `DiskFull`, `Io`: the eras are as before, and no room is taken. `SyncFailed`, `Poisoned`:
    /// the store stops. `Closed` when it is open for reading only.
    pub fn begin_era(&self, tables: &TableStore) -> Result<(), StorageError> {
        let Shared { context, .. } = &*self.shared;
        let _change = self.shared.change()?;
        let kept = tables.keep_files();
        let head = tables.manifest_head();
        let name = EraName {
            first: head.as_ref().map_or(LogIndex(0), |head| head.last.index.next()),
            stamp: head.as_ref().map_or(Timestamp(0), |head| head.timestamp),
            bytes: kept.set.bytes(),
        };
        let catalog = self.shared.catalog();
        if catalog.newest().is_some_and(|newest| newest.name.first == name.first) {
            return Ok(());
        }
        if catalog.last() > name.base_last() {
            return Err(StorageError::NotNext { last: catalog.last(), asked: name.first });
        }
        let (fs, gate, archive) = (&*context.env.fs, &context.gate, &context.archive);
        // Where it is there its name is durable, and must not be taken back with all that is in it.
        if fs.kind(archive).map_err(StorageError::wrap("look at", archive))?.is_none() {
            atomic_file::publish_directory(fs, gate, &context.root, ARCHIVE_NAME)?;
        }
        let text = name.to_string();
        let unfinished = temporary_of(archive, &text);
        clear(fs, &unfinished)?;
        let build = |folder: &Path| base::build(context, kept, folder);
        atomic_file::publish_built(fs, gate, archive, &text, build).inspect_err(|_| {
            // After a sync that failed nobody knows which name a power cut leaves.
            if gate.check().is_ok() {
                warn_stays(&unfinished, remove_folder(fs, &unfinished));
            }
        })?;
        self.shared.show(catalog.with(Era { name, files: Vec::new() }));
        tracing::info!(first = %name.first, base_bytes = name.bytes, "an era of the past begins");
        Ok(())
    }

    /// Gives up whole eras, oldest first, until `keep` wants one kept. It is asked with an era and
    /// the next one; the newest stays in any case. Readers that have a file open read it on.
    ///
    /// After a crash: some eras are gone, oldest first, and what is left is whole. Waits for a
    /// compression that is under way.
    ///
    /// # Errors
    /// `Io`: the era is as before. `SyncFailed`, `Poisoned`: the store stops. `Closed` when it is
    /// open for reading only. What cannot be removed of an era that has lost its name is no error:
    /// it is tried again at the next opening.
    pub fn clean(
        &self,
        keep: impl Fn(&EraInfo, &EraInfo) -> bool,
    ) -> Result<CleanSummary, StorageError> {
        self.remove_while(|era, next| next.is_some_and(|next| !keep(&era.info(), &next.info())))
    }

    /// Gives up everything, oldest first, as [`Self::clean`] does; but for what was set aside.
    ///
    /// # Errors
    /// Those of [`Self::clean`].
    pub fn remove_all(&self) -> Result<CleanSummary, StorageError> {
        self.remove_while(|_, _| true)
    }

    fn remove_while(
        &self,
        may_go: impl Fn(&Era, Option<&Era>) -> bool,
    ) -> Result<CleanSummary, StorageError> {
        let _packing = self.shared.packing.lock();
        let _change = self.shared.change()?;
        let mut summary = CleanSummary::default();
        loop {
            let catalog = self.shared.catalog();
            let oldest = catalog.eras.first();
            let next = catalog.eras.get(1).map(|era| &**era);
            let Some(era) = oldest.filter(|era| may_go(era, next)) else {
                summary.oldest = oldest.map(|era| era.name.first);
                return Ok(summary);
            };
            self.remove(era)?;
            summary.eras += 1;
            let bytes = era.info().file_bytes();
            summary.file_bytes = summary.file_bytes.saturating_add(bytes);
        }
    }

    /// Removes an era. The caller keeps others from changing names.
    fn remove(&self, era: &Era) -> Result<(), StorageError> {
        let Shared { context, .. } = &*self.shared;
        let (fs, gate, archive) = (&*context.env.fs, &context.gate, &context.archive);
        let text = era.name.to_string();
        let unfinished = temporary_of(archive, &text);
        clear(fs, &unfinished)?;
        let before = self.shared.catalog();
        // Whoever finds a file gone must find that the era is: so readers are told first.
        self.shared.show(before.without(&era.name));
        // If we die behind this the era has no name that counts, and opening removes the rest. It
        // is durable before a file goes: a part of an era must never come back as one.
        atomic_file::retire_directory(fs, gate, archive, &text)
            .inspect_err(|_| self.shared.show((*before).clone()))?;
        warn_stays(&unfinished, remove_folder(fs, &unfinished));
        tracing::info!(first = %era.name.first, "an era of the past was given up");
        Ok(())
    }
}
