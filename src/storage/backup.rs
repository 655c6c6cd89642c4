//! Copies of a whole store: of one that is open and written to, and of one that nobody has open.
//!
//! # What is taken, and when
//!
//! For a moment deleting waits: the manifest, its tables and the segments of the log are listed
//! then, the log synced, and each file that never changes again linked, or opened where it is to be
//! copied. From then on it does not matter what compaction removes: a name of ours leads to the
//! bytes, or an open file does. Copying goes on without any lock, and so do writes throughout.
//!
//! The active segment still grows. What stood before its end at that moment never changes, and that
//! much of it is copied; the copy's watermark says that the log was synced up to there. So the copy
//! is the state at that moment, with everything that was acknowledged before.
//!
//! A second name is not a second copy: who damages such a file, damages both. [`Links::Copy`] is
//! for those whose copy stands on the same device and must survive that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::Context;
use super::copy_target::CopyTarget;
use super::error::StorageError;
use super::format::{
    IDENTITY_BYTES, LOG_NAME, TABLES_NAME, WATERMARK_BYTES, WATERMARK_NAME, manifest_name,
    segment_name, table_name,
};
use super::inspect;
use super::log_scan::TailPolicy;
use super::manifest::Manifest;
use super::store::{Store, identity_of, prepare_directory, scan};
use super::store_lock::{Absent, take_shared_lock};
use super::sync_gate::SyncGate;
use super::watermark;
use crate::env::Env;
use crate::env::fs::{FsFile, OpenHow};
use crate::types::{LogId, LogPosition, SegmentId, TableId};

/// Whether files that never change may be shared with the original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// They get a second name where the file system can do that, and are copied elsewhere. Takes
    /// little time and room; one damaged byte is damaged in both.
    #[default]
    Allowed,
    /// They are copied.
    Copy,
}

/// How far a copy is: bytes that were copied and checked, of all that are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Done so far.
    pub done: u64,
    /// All there is to do.
    pub total: u64,
}

/// What a copy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopySummary {
    /// The last entry in it.
    pub last: Option<LogId>,
    /// Files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files that are shared with the original.
    pub linked_files: u64,
    /// Bytes in those.
    pub linked_bytes: u64,
}

/// What a store consists of at one moment.
struct Parts {
    last: Option<LogId>,
    /// Numbers and ends, oldest first; the last may still grow.
    segments: Vec<(SegmentId, u64)>,
    /// Number of the manifest.
    manifest: Option<u64>,
    tables: Vec<TableId>,
}

/// A file that is open and is to be copied.
struct ToCopy {
    file: Arc<dyn FsFile>,
    from: PathBuf,
    name: PathBuf,
    bytes: u64,
}

/// A copy whose files can no longer be lost.
struct Begun {
    summary: CopySummary,
    to_copy: Vec<ToCopy>,
    end: LogPosition,
}

impl Store {
    /// Copies the store as it is now into a directory that does not exist yet or is empty, and
    /// checks every byte of the copy. Writes go on meanwhile, and so does compaction but for a
    /// moment.
    ///
    /// The copy is a store by itself, with the same identity. It holds everything that was
    /// acknowledged before the call. After a crash at any moment this store is untouched, and the
    /// directory is the whole copy or refused as unfinished.
    ///
    /// Cost: reading everything once to check it; writing the bytes that are not linked; an open
    /// file for each file that is copied.
    ///
    /// # Errors
    /// `UnusableDirectory`; `Locked`: somebody creates a store there; nothing was made. `Corrupt`
    /// with a file of this store: the copy of it does not check. `Io`, also for a sync of the copy
    /// that failed, or for a copy that could not be read back; `DiskFull`. After an error the
    /// directory is as before, but for `LOCK` in one that was there, as far as what was made could
    /// be removed; where it could not, it is refused as unfinished. `SyncFailed`, `Poisoned`: this
    /// store stops.
    pub fn backup(
        &self,
        directory: &Path,
        links: Links,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<CopySummary, StorageError> {
        self.log().check()?;
        let source = self.context();
        copy_into(source, directory, links, on_progress, |target| {
            let tables = self.tables().keep_files();
            let log = self.log().keep_files()?;
            let set = &tables.set;
            let parts = Parts {
                last: log.last,
                segments: log.segments.clone(),
                manifest: Some(set.number()).filter(|&number| number > 0),
                tables: set.tables().map(|entry| entry.summary.id).collect(),
            };
            begin(source, target, &parts, links)
        })
    }
}

/// Copies a store that nobody has open for writing, as [`Store::backup`] does. Nothing in it is
/// written or repaired; what opening it would cut off the log is left out.
///
/// # Errors
/// `Locked` beside a writer, `NoStore`; what the recovery table refuses; those of
/// [`Store::backup`].
pub fn copy_closed(
    env: &Env,
    from: &Path,
    directory: &Path,
    links: Links,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<CopySummary, StorageError> {
    let gate = SyncGate::new(Arc::clone(&env.fs));
    prepare_directory(env, from, Absent::Refuse)?;
    let _lock = take_shared_lock(env, from)?;
    let identity = identity_of(env, from)?
        .ok_or_else(|| StorageError::NoStore { directory: from.to_owned() })?;
    let source = Context::new(env.clone(), gate, from, identity);
    let (mut scanned, manifest) = scan(&source, TailPolicy::Refuse)?;
    scanned.take_in_survivors()?;
    let mut segments: Vec<_> = scanned.segments.iter().map(|info| (info.id, info.end)).collect();
    if let Some(last) = segments.last_mut() {
        last.1 = scanned.tail.end as u64;
    }
    let tables = manifest.iter().flat_map(Manifest::tables);
    let parts = Parts {
        last: scanned.contents.hard.last,
        segments,
        manifest: manifest.as_ref().map(|manifest| manifest.number),
        tables: tables.map(|entry| entry.summary.id).collect(),
    };
    copy_into(&source, directory, links, on_progress, |target| {
        begin(&source, target, &parts, links)
    })
}

/// Makes a directory a copy: `begin` takes what is in it, and this completes it.
fn copy_into(
    source: &Context,
    directory: &Path,
    links: Links,
    on_progress: &mut dyn FnMut(Progress),
    begin: impl FnOnce(&mut CopyTarget) -> Result<Begun, StorageError>,
) -> Result<CopySummary, StorageError> {
    let mut target = CopyTarget::create(&source.env, &source.root, directory)?;
    let copied = begin(&mut target)
        .and_then(|begun| complete(source, &mut target, begun, on_progress))
        .and_then(|summary| target.finish().map(|()| summary));
    match &copied {
        Ok(summary) => tracing::info!(
            from = %source.root.display(), to = %directory.display(), files = summary.files,
            bytes = summary.bytes, linked_bytes = summary.linked_bytes, ?links, "copied"
        ),
        Err(_) => target.abandon(),
    }
    copied
}

/// Links what never changes, or opens it where it is to be copied. Nothing may be deleted
/// meanwhile.
fn begin(
    source: &Context,
    target: &mut CopyTarget,
    parts: &Parts,
    links: Links,
) -> Result<Begun, StorageError> {
    let mut end = LogPosition::default();
    let summary = CopySummary { last: parts.last, ..CopySummary::default() };
    let mut begun = Begun { summary, to_copy: Vec::new(), end };
    let mut take = |name: PathBuf, bytes: Option<u64>, links: Links| {
        let from = source.root.join(&name);
        let opened = source.env.fs.open(&from, OpenHow::Read);
        let file = opened.map_err(StorageError::wrap("open", &from))?;
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => file.len().map_err(StorageError::wrap("measure", &from))?,
        };
        begun.summary.files += 1;
        begun.summary.bytes += bytes;
        if links == Links::Allowed && target.link(&from, &name)? {
            begun.summary.linked_files += 1;
            begun.summary.linked_bytes += bytes;
        } else {
            begun.to_copy.push(ToCopy { file, from, name, bytes });
        }
        Ok::<_, StorageError>(())
    };
    if let Some(number) = parts.manifest {
        take(manifest_name(number).into(), None, links)?;
    }
    for &id in &parts.tables {
        take(Path::new(TABLES_NAME).join(table_name(id)), None, links)?;
    }
    let (active, sealed) = parts.segments.split_last().unzip();
    for &(id, bytes) in sealed.into_iter().flatten() {
        take(Path::new(LOG_NAME).join(segment_name(id)), Some(bytes), links)?;
    }
    if let Some(&(segment, bytes)) = active {
        // Never linked: it still grows, and the copy is to be written to without the original.
        take(Path::new(LOG_NAME).join(segment_name(segment)), Some(bytes), Links::Copy)?;
        end = LogPosition { segment, offset: u32::try_from(bytes).unwrap_or(u32::MAX) };
    }
    begun.end = end;
    Ok(begun)
}

/// Copies what is to be copied, says who the store is, and checks all of it.
fn complete(
    source: &Context,
    target: &mut CopyTarget,
    begun: Begun,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<CopySummary, StorageError> {
    let Begun { mut summary, to_copy, end } = begun;
    summary.files += 2;
    summary.bytes += (IDENTITY_BYTES + WATERMARK_BYTES) as u64;
    let copied_bytes: u64 = to_copy.iter().map(|file| file.bytes).sum();
    let mut progress = Progress { done: 0, total: copied_bytes + summary.bytes };
    for ToCopy { file, from, name, bytes } in to_copy {
        target.copy((&*file, &from), bytes, &name, &mut |more| {
            progress.done += more;
            on_progress(progress);
        })?;
    }
    let bytes = watermark::encode(end, &source.identity);
    target.write(&Path::new(LOG_NAME).join(WATERMARK_NAME), &bytes)?;
    target.identify(&source.identity)?;
    let report = inspect::verify_files(&source.env, target.root(), &mut |read| {
        on_progress(Progress { done: copied_bytes + read, ..progress });
    })?;
    report.check_whole().map_err(|error| blame(error, target.root(), &source.root))?;
    Ok(summary)
}

/// Names the file of the original where a copy has a damage in it. What only kept the copy from
/// being read says nothing of the original.
fn blame(error: StorageError, copy: &Path, original: &Path) -> StorageError {
    match error {
        StorageError::Corrupt { file, offset, found, .. } => {
            let name = file.strip_prefix(copy).map(|name| original.join(name));
            let found = format!("{found} (found in a copy of it)");
            StorageError::corrupt(&name.unwrap_or(file), offset, found)
        }
        other => other,
    }
}
