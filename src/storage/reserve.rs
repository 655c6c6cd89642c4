//! `RESERVE`: room that is given back when the disk is full, so that deletes, compaction and
//! membership changes still find some.

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::RESERVE_NAME;
use crate::env::fs::{FileKind, OpenHow};

/// The reserve of one store.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// How much is reserved; 0 for none.
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// Looks whether the reserve is there.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn look(context: &Context, bytes: u64) -> Result<Self, StorageError> {
        let path = context.root.join(RESERVE_NAME);
        let fs = &*context.env.fs;
        let kind = fs.kind(&path).map_err(StorageError::wrap("look at", &path))?;
        // One of another configuration may be too short: it is made anew.
        let is_long = || fs.open(&path, OpenHow::Read)?.len().map(|len| len >= bytes);
        let held = kind == Some(FileKind::File)
            && is_long().map_err(StorageError::wrap("measure", &path))?;
        Ok(Self { bytes, held })
    }

    /// Makes the reserve where it is not there and there is room for it beside `spared` bytes,
    /// which are others'.
    ///
    /// # Errors
    /// `Io`, `SyncFailed`. A full disk is no error: then the store opens and is full.
    pub(crate) fn restore_if_room(
        &mut self,
        context: &Context,
        spared: u64,
    ) -> Result<(), StorageError> {
        let free = context.env.fs.free_bytes(&context.root);
        if free.is_ok_and(|free| free < self.bytes.saturating_add(spared)) {
            return Ok(());
        }
        match self.restore(context) {
            Err(error) if error.is_disk_full() => Ok(()),
            restored => restored,
        }
    }

    /// Whether new data may be taken: the reserve is there, or none is wanted.
    pub(crate) const fn is_held(&self) -> bool {
        self.held || self.bytes == 0
    }

    /// How much is reserved, or would be if there were room; 0 for none.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether room is held back at all.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.bytes > 0
    }

    /// Gives the room back. Returns whether there was any.
    pub(crate) fn release(&mut self, context: &Context) -> bool {
        if !self.held {
            return false;
        }
        self.held = false;
        let path = context.root.join(RESERVE_NAME);
        match context.env.fs.remove(&path) {
            Ok(()) => {
                tracing::warn!(bytes = self.bytes, "the disk is full: the reserve was given back");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the disk is full and the reserve cannot be given back");
                false
            }
        }
    }

    /// Runs `attempt`, and again after giving the room back where the disk was full.
    ///
    /// # Errors
    /// Those of `attempt`.
    pub(crate) fn or_release<T>(
        &mut self,
        context: &Context,
        mut attempt: impl FnMut() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match attempt() {
            Err(error) if error.is_disk_full() && self.release(context) => attempt(),
            done => done,
        }
    }

    /// Reserves the room again.
    ///
    /// # Errors
    /// `DiskFull` as long as there is none; `Io`, `SyncFailed`.
    pub(crate) fn restore(&mut self, context: &Context) -> Result<(), StorageError> {
        if self.is_held() {
            return Ok(());
        }
        let (fs, bytes) = (&*context.env.fs, self.bytes);
        atomic_file::publish(fs, &context.gate, &context.root, RESERVE_NAME, |file, path| {
            file.allocate(0, bytes).map_err(StorageError::wrap("grow", path))
        })?;
        self.held = true;
        Ok(())
    }
}
