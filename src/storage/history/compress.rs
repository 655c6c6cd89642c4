//! Compressing the past, in steps, in the background.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::archive::Archive;
use super::catalog::Era;
use super::change::{EntryChanges, KeyChange};
use super::file::ChangeFile;
use super::folder::{era_path, file_path, warn_stays};
use super::name::{ChangeName, Kind, unfinished};
use super::packing::{Group, plan};
use super::reader::ArchiveReader;
use super::shared::Shared;
use super::writer::{Draft, Written, write_changes};
use crate::config::Compression;
use crate::env::fs::FsFile;
use crate::storage::atomic_file;
use crate::storage::error::StorageError;

/// What the past is compressed with: the best that this build has.
pub const ARCHIVE_COMPRESSION: Compression =
    if cfg!(feature = "zstd") { Compression::Zstd } else { Compression::Lz4 };

/// Bytes of changes after which the pace is asked again.
const PACE_BYTES: u64 = 64 << 10;

/// What one step of compression did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressSummary {
    /// How many files became one.
    pub files: usize,
    /// Their length together.
    pub bytes_before: u64,
    /// Length of the file that they became.
    pub bytes_after: u64,
    /// Bytes of the changes in it.
    pub content_bytes: u64,
}

/// Why a step did not come to its end.
enum Stopped {
    ByPace,
    By(StorageError),
}

impl Archive {
    /// Does one step of compression: makes one compressed file of neighbouring files of one era, up
    /// to some 32 MiB of changes, and removes those. Nothing is lost at any crash: the new file is
    /// read back before it gets its name, and the old ones go after it is on the device.
    ///
    /// `pace` is told after each 64 KiB how many bytes of changes were done; it may wait, and ends
    /// the step by returning `false`: then nothing has changed, and `None` is returned. `None` also
    /// where nothing is to be done: little that is raw in the newest era waits for more.
    ///
    /// # Errors
    /// `Corrupt` with a file that is damaged: it stays, and is not tried again while the store is
    /// open. `DiskFull`, `Io`: nothing has changed. `SyncFailed`, `Poisoned`: the store stops.
    /// `MissingFeature` when this build leaves the compression out; `Closed` when the store is open
    /// for reading only.
    pub fn compress_step(
        &self,
        compression: Compression,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<CompressSummary>, StorageError> {
        let _packing = self.shared.packing.lock();
        drop(self.shared.change()?);
        let catalog = self.shared.catalog();
        let Some(group) = plan(&catalog.eras, |file| self.shared.is_damaged(file)) else {
            return Ok(None);
        };
        let written = match self.pack(&group, compression, pace) {
            Ok(written) => written,
            Err(Stopped::ByPace) => return Ok(None),
            Err(Stopped::By(error)) => {
                self.remember(&group, &error);
                return Err(error);
            }
        };
        self.replace(&group, written.name)?;
        let bytes_before = group.files().iter().map(|file| file.bytes).sum();
        Ok(Some(CompressSummary {
            files: group.files().len(),
            bytes_before,
            bytes_after: written.name.bytes,
            content_bytes: written.name.content_bytes,
        }))
    }

    /// Writes and publishes the file that the others become.
    fn pack(
        &self,
        group: &Group,
        compression: Compression,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Written, Stopped> {
        let Shared { context, .. } = &*self.shared;
        let (Some(first), Some(last)) = (group.files().first(), group.files().last()) else {
            return Err(Stopped::ByPace);
        };
        let range = first.first..=last.last;
        let stamps = (first.stamps.0, last.stamps.1);
        let mut was_stopped = false;
        let mut entries = paced(ArchiveReader::new(&self.shared, &range), |bytes| {
            was_stopped = was_stopped || !pace(bytes);
            !was_stopped
        });
        let draft = Draft { range: range.clone(), stamps, kind: Kind::Packed, compression };
        let (fs, gate) = (&*context.env.fs, &context.gate);
        let folder = era_path(context, &group.era.name);
        let unfinished = unfinished(first.first, last.last, Kind::Packed);
        let mut done = None;
        let published = atomic_file::publish_as(fs, gate, &folder, &unfinished, |file, path| {
            let written = write_changes(context, &draft, &mut entries, (&**file, path))?;
            self.check(group, &written, (file, path))?;
            done = Some(written);
            Ok(written.name.to_string())
        });
        drop(entries);
        match (published, done) {
            (Ok(_), Some(written)) => Ok(written),
            (Err(_), _) if was_stopped => Err(Stopped::ByPace),
            (Err(error), _) => Err(Stopped::By(error)),
            (Ok(_), None) => Err(Stopped::ByPace),
        }
    }

    /// Reads back what was written, and holds it against what it was made of.
    fn check(
        &self,
        group: &Group,
        written: &Written,
        (file, path): (&Arc<dyn FsFile>, &Path),
    ) -> Result<(), StorageError> {
        let Shared { context, .. } = &*self.shared;
        ChangeFile::of(context, Arc::clone(file), path, &written.name)?.verify()?;
        let (mut entries, mut changes) = (0, 0);
        for name in group.files() {
            let (_, file) = self.shared.open(name.first)?;
            entries += file.footer().entries;
            changes += file.footer().changes;
        }
        if (written.entries, written.changes) == (entries, changes) {
            return Ok(());
        }
        Err(StorageError::corrupt(path, 0, "it holds others than what it was made of"))
    }

    /// Shows the new file to readers, then removes those that it replaces.
    fn replace(&self, group: &Group, packed: ChangeName) -> Result<(), StorageError> {
        let Shared { context, .. } = &*self.shared;
        let _change = self.shared.change()?;
        let catalog = self.shared.catalog();
        // Files may have been appended meanwhile.
        let now = catalog.eras.iter().find(|era| era.name == group.era.name);
        let mut era = Era::clone(now.unwrap_or(&group.era));
        era.files.splice(group.files.clone(), [packed]);
        self.shared.show(catalog.with(era));
        for file in group.files() {
            let path = file_path(context, &group.era.name, file);
            warn_stays(&path, context.env.fs.remove(&path));
        }
        Ok(())
    }

    /// Passes over a damaged file from now on: the others are to be compressed all the same.
    fn remember(&self, group: &Group, error: &StorageError) {
        let (StorageError::Corrupt { file, .. } | StorageError::MissingFile { file, .. }) = error
        else {
            return;
        };
        let path = |name: &ChangeName| file_path(&self.shared.context, &group.era.name, name);
        if let Some(name) = group.files().iter().find(|name| path(name) == *file) {
            self.shared.remember_damaged(*name);
        }
    }
}

/// The entries, as long as `go_on` says so: it is told how many bytes of them there were.
fn paced(
    entries: ArchiveReader,
    mut go_on: impl FnMut(u64) -> bool,
) -> impl Iterator<Item = Result<EntryChanges, StorageError>> {
    let (mut bytes, mut told) = (0, 0);
    entries.map(move |entry| {
        let entry = entry?;
        let len = |change: &KeyChange| {
            (change.key.len() + change.value.as_ref().map_or(0, Bytes::len)) as u64
        };
        bytes += entry.changes.iter().map(len).sum::<u64>();
        if bytes - told >= PACE_BYTES {
            told = bytes;
            if !go_on(bytes) {
                return Err(StorageError::Closed { state: "not to be compressed now" });
            }
        }
        Ok(entry)
    })
}
