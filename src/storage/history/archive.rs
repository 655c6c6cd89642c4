//! The past of one store, as its callers hold it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use super::catalog::{Era, EraInfo};
use super::change::EntryChanges;
use super::folder::{Found, era_path, set_aside, settle};
use super::name::{Kind, unfinished};
use super::reader::ArchiveReader;
use super::shared::{Access, Apart, Shared};
use super::writer::{Draft, write_changes};
use crate::config::Compression;
use crate::storage::atomic_file;
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::types::{LogIndex, Timestamp};

/// The past of a store: see the folder's documentation. Clones are the same archive.
///
/// Readers wait for nobody, and nobody waits for them. One change of names at a time.
#[derive(Clone, Debug)]
pub struct Archive {
    pub(super) shared: Arc<Shared>,
}

/// What was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendSummary {
    /// Entries with changes.
    pub entries: u64,
    /// Changes.
    pub changes: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Bytes of the changes in it.
    pub content_bytes: u64,
}

impl Archive {
    /// The archive of a store that is opened for writing, which ends with entry `last`. Sets aside
    /// the eras that reach further, and removes what an interrupted change left.
    ///
    /// To be called before anything can be appended to the log. What is on disk if we die here: the
    /// eras as before, or any of those that are ahead under their other names.
    ///
    /// # Errors
    /// `ArchiveAhead` when one that is ahead cannot be set aside; `DiskFull`, `SyncFailed`.
    pub(crate) fn for_writing(
        context: &Context,
        found: &Found,
        last: Option<LogIndex>,
    ) -> Result<Self, StorageError> {
        let mut found = found.clone();
        set_aside(context, &mut found, last)?;
        settle(context, &found)?;
        let apart = Apart { ahead: Vec::new(), set_aside: found.set_aside };
        Ok(Self { shared: Arc::new(Shared::new(context, found.catalog, apart, Access::Write)) })
    }

    /// The archive of a store that is opened for reading only, and ends with entry `last`. Eras
    /// that reach further are not shown.
    pub(crate) fn for_reading(context: &Context, mut found: Found, last: Option<LogIndex>) -> Self {
        found.part_ahead(context, last);
        let ahead: Vec<EraInfo> = found.ahead.iter().map(|era| era.info()).collect();
        if let Some(archived) = ahead.iter().filter_map(|era| era.last).max() {
            let folder = context.archive.display();
            let (archived, last) = (archived.0, last.map_or(0, |last| last.0));
            tracing::warn!(
                %folder,
                archived,
                last,
                "a part of the past reaches further than the store, which was put back to an older \
                 moment: it is not shown"
            );
        }
        let apart = Apart { ahead, set_aside: found.set_aside };
        Self { shared: Arc::new(Shared::new(context, found.catalog, apart, Access::Read)) }
    }

    /// Eras that reach further than the store, which was put back to an older moment without them:
    /// only of a store that is open for reading; opening it for writing sets them aside.
    #[must_use]
    pub fn ahead(&self) -> &[EraInfo] {
        &self.shared.apart.ahead
    }

    /// The folders of eras that this opening or an earlier one has set aside, because they reached
    /// further than the store did. Nothing here reads or removes them.
    #[must_use]
    pub fn set_aside(&self) -> &[PathBuf] {
        &self.shared.apart.set_aside
    }

    /// The last entry that the newest era covers: its base's last one where it has no change file
    /// yet. `None`: nothing is archived, or an era that begins before the first entry has nothing
    /// yet.
    #[must_use]
    pub fn last(&self) -> Option<LogIndex> {
        self.shared.catalog().last()
    }

    /// All eras, oldest first, as their names tell. No disk.
    #[must_use]
    pub fn eras(&self) -> Vec<EraInfo> {
        self.shared.catalog().eras.iter().map(|era| era.info()).collect()
    }

    /// Appends one change file to the newest era, which covers `range`: the entries behind
    /// [`Self::last`]. Those with changes come in ascending order; there may be none. `stamps` are
    /// those of the first and the last entry of the range, whether they changed something or not.
    ///
    /// What is given must be on the device in the log: otherwise a power cut may leave an era that
    /// reaches further than the log, which the next opening sets aside. A range of some 32 MiB
    /// at a time keeps compressing it in steps short.
    ///
    /// When it returns, the file is on the device, its name included. After a crash before that:
    /// the archive as before, or with the whole file. Cost: writing the changes, two syncs.
    ///
    /// # Errors
    /// `NotNext` when the range does not follow, or no era was begun; those of the entries;
    /// `DiskFull`, `Io`: the archive is as before, and no room is taken. `SyncFailed`, `Poisoned`:
    /// the store stops. `Closed` when it is open for reading only.
    ///
    /// # Panics
    /// When the range is empty, stamps go back, or entries are not of the range in ascending order.
    pub fn append(
        &self,
        range: RangeInclusive<LogIndex>,
        stamps: (Timestamp, Timestamp),
        entries: &mut dyn Iterator<Item = Result<EntryChanges, StorageError>>,
    ) -> Result<AppendSummary, StorageError> {
        let (first, last) = (*range.start(), *range.end());
        assert!(first <= last && stamps.0 <= stamps.1, "a range has entries, and stamps ascend");
        let Shared { context, .. } = &*self.shared;
        let _change = self.shared.change()?;
        let catalog = self.shared.catalog();
        let next = |era: &Era| era.last().map_or(era.name.first, LogIndex::next);
        let newest = catalog.newest().filter(|era| next(era) == first);
        let newest =
            newest.ok_or_else(|| StorageError::NotNext { last: catalog.last(), asked: first })?;
        let draft = Draft { range, stamps, kind: Kind::Raw, compression: Compression::Off };
        let (fs, gate) = (&*context.env.fs, &context.gate);
        let folder = era_path(context, &newest.name);
        let mut written = None;
        let unfinished = unfinished(first, last, Kind::Raw);
        atomic_file::publish_as(fs, gate, &folder, &unfinished, |file, path| {
            let done = write_changes(context, &draft, entries, (&**file, path))?;
            written = Some(done);
            Ok(done.name.to_string())
        })?;
        let written = written.ok_or_else(|| {
            StorageError::corrupt(&folder.join(&unfinished), 0, "it was not written")
        })?;
        let mut era = Era::clone(newest);
        era.files.push(written.name);
        self.shared.show(catalog.with(era));
        Ok(AppendSummary {
            entries: written.entries,
            changes: written.changes,
            bytes: written.name.bytes,
            content_bytes: written.name.content_bytes,
        })
    }

    /// The changes of a range of entries, in the order of the log, over files and eras.
    #[must_use]
    pub fn read(&self, range: RangeInclusive<LogIndex>) -> ArchiveReader {
        ArchiveReader::new(&self.shared, &range)
    }
}
