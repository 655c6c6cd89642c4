//! The folder of tables that are being received: whose turn it is to touch it, and its names.
//!
//! No manifest names anything in it, so whatever stands there can be lost or damaged at any time
//! and costs that it is sent again, no more.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::{INCOMING_NAME, is_incoming_name};
use crate::env::fs::FileKind;
use crate::types::LogIndex;

/// Which of those that receive a snapshot may touch the folder: the one that began last.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Newest>);

/// The one that began last.
#[derive(Debug, Default)]
struct Newest {
    number: u64,
    /// The last entry in what it receives.
    last: Option<LogIndex>,
    /// While it is there: whether it has everything, and waits to be installed.
    is_whole: Weak<AtomicBool>,
}

/// One of those that receive a snapshot.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    number: u64,
    is_whole: Arc<AtomicBool>,
}

/// The folder is this one's until the guard is dropped.
#[must_use]
pub(crate) struct Held<'a> {
    _guard: MutexGuard<'a, Newest>,
}

impl Turns {
    /// Begins: whoever began before may not touch the folder any more. Waits for what they are
    /// doing at this moment; `work` is done before anybody else may. `last` is the last entry in
    /// what is received.
    ///
    /// # Errors
    /// `SnapshotWaits`: the one before has everything, and is not installed yet. `work` was not
    /// begun, and the one before may go on. Those of `work`.
    pub(crate) fn begin<T>(
        self: &Arc<Self>,
        last: LogIndex,
        work: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<(Turn, T), StorageError> {
        let mut newest = self.0.lock();
        if newest.waits() {
            return Err(StorageError::SnapshotWaits);
        }
        let is_whole = Arc::default();
        *newest = Newest {
            number: newest.number + 1,
            last: Some(last),
            is_whole: Arc::downgrade(&is_whole),
        };
        let turn = Turn { turns: Arc::clone(self), number: newest.number, is_whole };
        let done = work()?;
        Ok((turn, done))
    }

    /// Does `work` where nobody receives anything that goes further than `has`: then nobody needs
    /// what is in the folder, and whoever still had a turn has it no more.
    pub(crate) fn end_before(&self, has: Option<LogIndex>, work: impl FnOnce()) {
        let mut newest = self.0.lock();
        let is_there = newest.is_whole.strong_count() > 0;
        if newest.waits() || (is_there && newest.last > has) {
            return;
        }
        newest.number += 1;
        work();
    }
}

impl Newest {
    /// Whether it has everything, and is to be installed.
    fn waits(&self) -> bool {
        self.is_whole.upgrade().is_some_and(|is_whole| is_whole.load(Ordering::Acquire))
    }
}

impl Turn {
    /// Everything is there: until this is dropped nobody else may begin, who would take away what
    /// is to be installed.
    pub(crate) fn set_whole(&self) {
        self.is_whole.store(true, Ordering::Release);
    }

    /// Takes the folder for as long as the guard is there.
    ///
    /// # Errors
    /// `BadSnapshot` when another one began since.
    pub(crate) fn take(&self) -> Result<Held<'_>, StorageError> {
        let guard = self.turns.0.lock();
        if guard.number != self.number {
            return Err(StorageError::bad_snapshot(
                "another one is being received by now, or none",
            ));
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
