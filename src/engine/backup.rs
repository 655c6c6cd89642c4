//! Backups: a copy of a store that is a store by itself, and the way back.

use std::path::Path;
use std::time::Duration;

use crate::env::Env;
use crate::error::Result;
use crate::storage::backup::{CopySummary, copy_closed};
use crate::storage::copy_target;
use crate::storage::format::IDENTITY_NAME;
use crate::storage::inspect;
use crate::types::Version;

pub use crate::storage::backup::{Links, Progress};

/// How a backup is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// Whether it may share files that never change with the original: by default where the file
    /// system can do that.
    pub links: Links,
}

/// What a backup or a restore came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The last entry in it.
    pub version: Version,
    /// Its files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files that it shares with the original.
    pub linked_files: u64,
    /// Bytes in those, which take no room of their own for as long as the original has them too.
    pub linked_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl BackupReport {
    pub(crate) fn new(summary: CopySummary, elapsed: Duration) -> Self {
        let CopySummary { last, files, bytes, linked_files, linked_bytes } = summary;
        let version = last.map_or_else(Version::default, |last| last.index.into());
        Self { version, files, bytes, linked_files, linked_bytes, elapsed }
    }
}

/// Makes a backup of a store that nobody has open for writing; of an open one
/// [`SingleNodeEngine::backup`](super::single_node::SingleNodeEngine::backup) does. Nothing in the
/// store is changed.
///
/// # Errors
/// `Locked` beside a writer, `NoStore`, and those of `SingleNodeEngine::backup`.
pub fn backup_closed(
    env: &Env,
    store: &Path,
    directory: &Path,
    options: BackupOptions,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<BackupReport> {
    let started = env.clock.elapsed();
    let summary = copy_closed(env, store, directory, options.links, on_progress)?;
    Ok(BackupReport::new(summary, env.clock.elapsed().saturating_sub(started)))
}

/// Gives a backup back: checks every byte of it, copies it into a directory that does not exist yet
/// or is empty, and checks the copy. Shares no file with the backup, which stays as it is.
///
/// After a crash at any moment the backup is untouched, and the directory is the whole store or
/// refused as unfinished. Cost: reading the backup twice and writing it once.
///
/// # Errors
/// `Corrupt`, `MissingSegment`, `TailAmbiguous`: the backup is damaged, and nothing was made.
/// `NoStore`, `Locked` for the backup; `Locked` where somebody creates a store in the directory.
/// `UnusableDirectory` for a directory that is not empty, or a backup that was not finished. `Io`,
/// also where the backup could not be read; `DiskFull`.
pub fn restore(backup: impl AsRef<Path>, directory: impl AsRef<Path>) -> Result<BackupReport> {
    restore_with(&Env::system(), backup.as_ref(), directory.as_ref(), &mut |_| ())
}

/// As [`restore`], on any machine, and says how far it is.
///
/// # Errors
/// Those of [`restore`].
pub fn restore_with(
    env: &Env,
    backup: &Path,
    directory: &Path,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<BackupReport> {
    let started = env.clock.elapsed();
    // Asked again when the directory is made; before a backup of any size is read for nothing.
    // That there is no backup is told first, and by who reads it.
    if matches!(env.fs.kind(&backup.join(IDENTITY_NAME)), Ok(Some(_))) {
        copy_target::check(&*env.fs, backup, directory)?;
    }
    let mut checked = 0;
    let report = inspect::verify_with(env, backup, &mut |read| {
        checked = read;
        // How much there is to copy is known once it was read.
        on_progress(Progress { done: read, total: 0 });
    })?;
    report.check_whole()?;
    let summary =
        copy_closed(env, backup, directory, Links::Copy, &mut |Progress { done, total }| {
            on_progress(Progress { done: checked + done, total: checked + total });
        })?;
    Ok(BackupReport::new(summary, env.clock.elapsed().saturating_sub(started)))
}
