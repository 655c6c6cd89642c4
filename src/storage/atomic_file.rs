//! The one way to put a whole file in place (rule R8), and the only code that renames.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StorageError;
use super::format::{TEMPORARY_SUFFIX, is_our_name};
use super::sync_gate::SyncGate;
use crate::env::fs::{FileKind, Fs, FsFile, OpenHow, write_all_at};

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
    publish_as(fs, gate, directory, name, |file, path| {
        write(&**file, path)?;
        Ok(name.to_owned())
    })
}

/// As [`publish`], of a file that gets its name only when it is written: until then it is called
/// `draft`, with the ending of temporary names. `write` returns the name.
///
/// # Errors
/// Those of [`publish`].
pub(crate) fn publish_as(
    fs: &dyn Fs,
    gate: &SyncGate,
    directory: &Path,
    draft: &str,
    write: impl FnOnce(&Arc<dyn FsFile>, &Path) -> Result<String, StorageError>,
) -> Result<Arc<dyn FsFile>, StorageError> {
    gate.check()?;
    let temporary = temporary_of(directory, draft);
    let look = |path: &Path| {
        fs.kind(path).map(|kind| kind.is_some()).map_err(StorageError::wrap("look at", path))
    };
    if look(&temporary)? {
        fs.remove(&temporary).map_err(StorageError::wrap("remove", &temporary))?;
    }
    let file = fs
        .open(&temporary, OpenHow::CreateNew)
        .map_err(StorageError::wrap("create", &temporary))?;
    let written = (|| {
        let target = directory.join(write(&file, &temporary)?);
        gate.sync_file(&*file, &temporary)?;
        let replaces = look(&target)?;
        let folder = gate.open_dir(directory)?;
        fs.rename(&temporary, &target).map_err(StorageError::wrap("rename", &temporary))?;
        Ok((target, replaces, folder))
    })();
    let (target, replaces, folder) = match written {
        Ok(published) => published,
        Err(error) => {
            drop(file);
            // The error that counts is the first. What cannot be removed now is removed at the
            // next open.
            if fs.remove(&temporary).is_err() {
                tracing::debug!(file = %temporary.display(), "it stays until the next open");
            }
            return Err(error);
        }
    };
    // If we die here the name may be the old one: nothing that relies on the new one happened yet,
    // and opening syncs the directories before anything does.
    if let Err(error) = gate.sync_names(&*folder, directory) {
        // The name may never reach the device although everybody sees it, and no later sync would
        // tell. So a new one is taken back: whoever opens the store next must not rely on it.
        if !replaces && fs.remove(&target).is_err() {
            tracing::debug!(file = %target.display(), "its name may not be on the device");
        }
        return Err(error);
    }
    Ok(file)
}

/// Publishes a file whose bytes are written, and which nobody writes to any more, as
/// `directory/name`: syncs it, renames it, syncs the directory, in which both names stand.
///
/// Whoever looks, also after a crash at any step, finds the file under the one name or the other,
/// and under the new one as a whole. The new one is not taken back: what relies on it must do so
/// without its directory.
///
/// # Errors
/// `Io`: the names are as before. `SyncFailed`: the store is poisoned, and either name is there.
pub(crate) fn publish_written(
    fs: &dyn Fs,
    gate: &SyncGate,
    directory: &Path,
    (file, path): (&dyn FsFile, &Path),
    name: &str,
) -> Result<(), StorageError> {
    gate.sync_file(file, path)?;
    let folder = gate.open_dir(directory)?;
    fs.rename(path, &directory.join(name)).map_err(StorageError::wrap("rename", path))?;
    gate.sync_names(&*folder, directory)
}

/// Sees to it that `directory/name` is a directory whose name is durable.
///
/// # Errors
/// `Io`; `SyncFailed`: there is no such name, and the store is poisoned.
pub(crate) fn publish_directory(
    fs: &dyn Fs,
    gate: &SyncGate,
    directory: &Path,
    name: &str,
) -> Result<(), StorageError> {
    let folder = gate.open_dir(directory)?;
    let temporary = temporary_of(directory, name);
    let target = directory.join(name);
    let kind = |path: &Path| fs.kind(path).map_err(StorageError::wrap("look at", path));
    if kind(&target)?.is_none() {
        let found = kind(&temporary)?;
        if found != Some(FileKind::Directory) {
            // A link would be followed from then on, wherever it leads.
            if found.is_some() {
                fs.remove(&temporary).map_err(StorageError::wrap("remove", &temporary))?;
            }
            fs.create_dir(&temporary).map_err(StorageError::wrap("create", &temporary))?;
        }
        fs.rename(&temporary, &target).map_err(StorageError::wrap("rename", &temporary))?;
    }
    gate.sync_names(&*folder, directory).inspect_err(|_| {
        // As for files: a name that may never reach the device is taken back, so that it is given
        // anew by whoever tries next.
        if fs.rename(&target, &temporary).is_err() {
            tracing::debug!(folder = %target.display(), "its name may not be on the device");
        }
    })
}

/// Publishes a directory with everything in it as `directory/name`, which must not be there:
/// `build` fills it under a temporary name, which must not be there either, and makes durable what
/// it puts into folders of it.
///
/// Whoever looks, also after a crash at any step, finds no such name or the whole directory.
///
/// # Errors
/// Those of `build`; `Io`, `DiskFull`, `SyncFailed`, after which the store is poisoned. There is
/// no such name then; what was built stays under the temporary one, which is returned by
/// [`temporary_of`].
pub(crate) fn publish_built(
    fs: &dyn Fs,
    gate: &SyncGate,
    directory: &Path,
    name: &str,
    build: impl FnOnce(&Path) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    gate.check()?;
    let (temporary, target) = (temporary_of(directory, name), directory.join(name));
    fs.create_dir(&temporary).map_err(StorageError::wrap("create", &temporary))?;
    build(&temporary)?;
    gate.sync_dir(&temporary)?;
    let folder = gate.open_dir(directory)?;
    fs.rename(&temporary, &target).map_err(StorageError::wrap("rename", &temporary))?;
    gate.sync_names(&*folder, directory).inspect_err(|_| {
        // As for files: a name that may never reach the device is taken back.
        if fs.rename(&target, &temporary).is_err() {
            tracing::debug!(folder = %target.display(), "its name may not be on the device");
        }
    })
}

/// Takes the name of a directory away, so that it can be emptied: it has its temporary name then,
/// durably, and nobody takes a part of it for the whole.
///
/// # Errors
/// `Io`: it is as before. `SyncFailed`: the store is poisoned; it has its name again, as far as
/// that could be done, and a power cut may leave either.
pub(crate) fn retire_directory(
    fs: &dyn Fs,
    gate: &SyncGate,
    directory: &Path,
    name: &str,
) -> Result<(), StorageError> {
    let folder = gate.open_dir(directory)?;
    let (temporary, target) = (temporary_of(directory, name), directory.join(name));
    fs.rename(&target, &temporary).map_err(StorageError::wrap("rename", &target))?;
    gate.sync_names(&*folder, directory).inspect_err(|_| {
        if fs.rename(&temporary, &target).is_err() {
            tracing::debug!(folder = %target.display(), "it stays without its name");
        }
    })
}

/// Gives directories of `directory` other names, which must be free, in this order: from each first
/// one to the second. They are durable together.
///
/// What is on disk if we die here: each of them under either name.
///
/// # Errors
/// `Io` with the path of the one that kept its name: all have their names again, as far as that
/// could be done. `SyncFailed`: the store is poisoned; the same, and a power cut may leave either.
pub(crate) fn set_aside(
    fs: &dyn Fs,
    gate: &SyncGate,
    directory: &Path,
    names: &[(String, String)],
) -> Result<(), StorageError> {
    // Before anything is renamed: without a handle there is nothing to take back.
    let folder = gate.open_dir(directory)?;
    let undo = |done: &[(String, String)]| {
        for (from, to) in done.iter().rev() {
            if fs.rename(&directory.join(to), &directory.join(from)).is_err() {
                let folder = directory.join(to);
                tracing::debug!(folder = %folder.display(), "it stays without its name");
            }
        }
    };
    for (at, (from, to)) in names.iter().enumerate() {
        let path = directory.join(from);
        let renamed = fs.rename(&path, &directory.join(to));
        renamed.map_err(StorageError::wrap("rename", &path)).inspect_err(|_| {
            undo(names.get(..at).unwrap_or_default());
        })?;
    }
    // As for files: what may never reach the device is taken back, so that it is done anew by
    // whoever opens the store next.
    gate.sync_names(&*folder, directory).inspect_err(|_| undo(names))
}

/// Where something that is to be called `directory/name` stands before it gets that name, and after
/// it lost it.
pub(crate) fn temporary_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}{TEMPORARY_SUFFIX}"))
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

/// Removes what a crash left under temporary names of ours. Others, and directories, are foreign.
///
/// # Errors
/// `Io` when the directory cannot be listed or a file not removed.
pub(crate) fn remove_temporaries(fs: &dyn Fs, directory: &Path) -> Result<(), StorageError> {
    for entry in fs.list(directory).map_err(StorageError::wrap("list", directory))? {
        let ours = entry.name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(is_our_name);
        if ours && entry.kind != FileKind::Directory {
            let path: PathBuf = directory.join(&entry.name);
            fs.remove(&path).map_err(StorageError::wrap("remove", &path))?;
        }
    }
    Ok(())
}
