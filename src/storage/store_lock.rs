//! The file `LOCK`: one writer, or readers, have a directory.

use std::path::Path;
use std::sync::Arc;

use super::error::StorageError;
use super::format::{IDENTITY_NAME, LOCK_NAME};
use crate::env::Env;
use crate::env::fs::{FsFile, LockKind, OpenHow};

/// What to do where there is no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Create one.
    Create,
    /// `NoStore`.
    Refuse,
}

/// The file `LOCK`, locked for as long as this is open.
pub(crate) type Lock = Arc<dyn FsFile>;

/// Takes the exclusive lock before anything else is read.
pub(crate) fn take_lock(env: &Env, root: &Path, absent: Absent) -> Result<Lock, StorageError> {
    let path = root.join(LOCK_NAME);
    let existing = env.fs.open(&path, OpenHow::ReadWrite);
    let file = match existing {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let no_identity = env
                .fs
                .kind(&root.join(IDENTITY_NAME))
                .map_err(StorageError::wrap("look at", root))?
                .is_none();
            if absent == Absent::Refuse && no_identity {
                return Err(StorageError::NoStore { directory: root.to_owned() });
            }
            match env.fs.open(&path, OpenHow::CreateNew) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    env.fs.open(&path, OpenHow::ReadWrite)
                }
                created => created,
            }
        }
        opened => opened,
    };
    let file = file.map_err(StorageError::wrap("open", &path))?;
    lock(&*file, LockKind::Exclusive, root, &path)?;
    Ok(file)
}

/// Takes the lock that readers share; `None` where there is no file to lock.
pub(crate) fn take_shared_lock(env: &Env, root: &Path) -> Result<Option<Lock>, StorageError> {
    let path = root.join(LOCK_NAME);
    match env.fs.open(&path, OpenHow::Read) {
        // A writer would have created it, so there is none to be kept out.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        opened => {
            let file = opened.map_err(StorageError::wrap("open", &path))?;
            lock(&*file, LockKind::Shared, root, &path)?;
            Ok(Some(file))
        }
    }
}

fn lock(file: &dyn FsFile, kind: LockKind, root: &Path, path: &Path) -> Result<(), StorageError> {
    if file.try_lock(kind).map_err(StorageError::wrap("lock", path))? {
        Ok(())
    } else {
        Err(StorageError::Locked { directory: root.to_owned() })
    }
}
