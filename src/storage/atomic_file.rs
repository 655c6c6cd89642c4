//! The one way to put a whole file in place (rule R8), and the only code that renames.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StorageError;
use super::format::TEMPORARY_SUFFIX;
use super::sync_gate::SyncGate;
use crate::env::fs::{Fs, FsFile, OpenHow, write_all_at};

/// Publishes `directory/name`: writes it under a temporary name, syncs it, renames it, syncs the
/// directory. Returns the file, open for reading and writing.
///
/// Whoever looks, also after a crash at any step, finds the old file or none, or the whole new one.
///
/// # Errors
/// Those of `write`; `Io`, `DiskFull`; `SyncFailed`, after which the store is poisoned. Unless it
/// was the last sync that failed, the name is as before; the temporary file is removed, or is at
/// the next open.
pub(crate) fn publish(
    fs: &dyn Fs,
    gate: &SyncGate,
    directory: &Path,
    name: &str,
    write: impl FnOnce(&dyn FsFile, &Path) -> Result<(), StorageError>,
) -> Result<Arc<dyn FsFile>, StorageError> {
    gate.check()?;
    let temporary = directory.join(format!("{name}{TEMPORARY_SUFFIX}"));
    let target = directory.join(name);
    if fs.kind(&temporary).map_err(StorageError::wrap("look at", &temporary))?.is_some() {
        fs.remove(&temporary).map_err(StorageError::wrap("remove", &temporary))?;
    }
    let file = fs
        .open(&temporary, OpenHow::CreateNew)
        .map_err(StorageError::wrap("create", &temporary))?;
    let written =
        write(&*file, &temporary).and_then(|()| gate.sync_file(&*file, &temporary)).and_then(
            |()| fs.rename(&temporary, &target).map_err(StorageError::wrap("rename", &temporary)),
        );
    if let Err(error) = written {
        drop(file);
        // The error that counts is the first. What cannot be removed now is removed at the next
        // open.
        if fs.remove(&temporary).is_err() {
            tracing::debug!(file = %temporary.display(), "it stays until the next open");
        }
        return Err(error);
    }
    // If we die here the name may be the old one: nothing that relies on the new one happened yet.
    gate.sync_dir(directory)?;
    Ok(file)
}

/// Publishes a file with the given bytes. Errors and guarantees as [`publish`].
pub(crate) fn publish_bytes(
    fs: &dyn Fs,
    gate: &SyncGate,
    directory: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), StorageError> {
    publish(fs, gate, directory, name, |file, path| {
        write_all_at(file, &mut [IoSlice::new(bytes)], 0).map_err(StorageError::wrap("write", path))
    })
    .map(drop)
}

/// Removes what a crash left under temporary names.
///
/// # Errors
/// `Io` when the directory cannot be listed or a file not removed.
pub(crate) fn remove_temporaries(fs: &dyn Fs, directory: &Path) -> Result<(), StorageError> {
    for entry in fs.list(directory).map_err(StorageError::wrap("list", directory))? {
        if entry.name.ends_with(TEMPORARY_SUFFIX) {
            let path: PathBuf = directory.join(&entry.name);
            fs.remove(&path).map_err(StorageError::wrap("remove", &path))?;
        }
    }
    Ok(())
}
