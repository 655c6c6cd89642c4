//! The folder of tables that are being received: whose turn it is to touch it, and its names.
//!
//! No manifest names anything in it, so whatever stands there can be lost or damaged at any time
//! and costs that it is sent again, no more.

use std::io::ErrorKind;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::{INCOMING_NAME, is_incoming_name};
use crate::env::fs::FileKind;

/// Which of those that receive a snapshot may touch the folder: the one that began last.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<u64>);

/// One of those that receive a snapshot.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

/// The folder is this one's until the guard is dropped.
#[must_use]
pub(crate) struct Held<'a> {
    _guard: MutexGuard<'a, u64>,
}

impl Turns {
    /// Begins: whoever began before may not touch the folder any more. Waits for what they are
    /// doing at this moment; `work` is done before anybody else may.
    pub(crate) fn begin<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> (Turn, T) {
        let mut number = self.0.lock();
        *number += 1;
        let turn = Turn { turns: Arc::clone(self), number: *number };
        let done = work();
        (turn, done)
    }
}

impl Turn {
    /// Takes the folder for as long as the guard is there.
    ///
    /// # Errors
    /// `BadSnapshot` when another one began since.
    pub(crate) fn take(&self) -> Result<Held<'_>, StorageError> {
        let guard = self.turns.0.lock();
        if *guard != self.number {
            return Err(StorageError::bad_snapshot("another one is being received by now"));
        }
        Ok(Held { _guard: guard })
    }
}

/// Sees to it that the folder is there. The names in it need not be durable: a table gets another
/// one before anything relies on it.
///
/// # Errors
/// `Corrupt` when it is no directory; `Io`, `DiskFull`, `SyncFailed`.
pub(crate) fn prepare(context: &Context) -> Result<(), StorageError> {
    let (fs, gate) = (&*context.env.fs, &context.gate);
    if is_there(context)? {
        return Ok(());
    }
    atomic_file::publish_directory(fs, gate, &context.root, INCOMING_NAME)
}

/// Removes what is ours in the folder and not in `wanted`. What cannot be removed stays for the
/// next time.
///
/// # Errors
/// `Corrupt` when the folder is none; `Io` when it cannot be listed.
pub(crate) fn remove_unless(
    context: &Context,
    wanted: impl Fn(&str) -> bool,
) -> Result<(), StorageError> {
    if !is_there(context)? {
        return Ok(());
    }
    let (fs, folder) = (&*context.env.fs, &context.incoming);
    for entry in fs.list(folder).map_err(StorageError::wrap("list", folder))? {
        let is_ours = is_incoming_name(&entry.name) && entry.kind != FileKind::Directory;
        if !is_ours || wanted(&entry.name) {
            continue;
        }
        let path = folder.join(&entry.name);
        match fs.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, file = %path.display(), "what was received stays for now");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses a folder that is none: a symbolic link would be followed.
fn is_there(context: &Context) -> Result<bool, StorageError> {
    let path = &context.incoming;
    match context.env.fs.kind(path).map_err(StorageError::wrap("look at", path))? {
        Some(FileKind::Directory) => Ok(true),
        None => Ok(false),
        Some(_) => Err(StorageError::corrupt(path, 0, "this is not a directory")),
    }
}
