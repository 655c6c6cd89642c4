//! The piece of a file that stands before a reader who goes through it in order, in bounded memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StorageError;
use crate::env::fs::{FsFile, read_up_to_at};

/// Bytes of a file, from where its reader stands.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn FsFile>,
    path: PathBuf,
    /// How much is read at once, at least.
    chunk: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are behind the reader.
    consumed: usize,
    /// Where in the file the reader stands.
    offset: u64,
}

impl Window {
    /// Of a reader that stands at `offset`. Nothing is read yet.
    pub(crate) fn new(file: Arc<dyn FsFile>, path: &Path, offset: u64, chunk: usize) -> Self {
        Self { file, path: path.to_owned(), chunk, buffer: Vec::new(), consumed: 0, offset }
    }

    /// Where in the file the reader stands.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// What is there from the reader on.
    pub(crate) fn rest(&self) -> &[u8] {
        self.buffer.get(self.consumed..).unwrap_or_default()
    }

    /// Has at least `wanted` bytes before the reader where the file has them; returns how many.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn fill(&mut self, wanted: usize) -> Result<usize, StorageError> {
        let had = self.rest().len();
        if had >= wanted {
            return Ok(had);
        }
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.resize(wanted.max(self.chunk), 0);
        let tail = self.buffer.get_mut(had..).unwrap_or_default();
        let read = read_up_to_at(&*self.file, tail, self.offset + had as u64)
            .map_err(StorageError::wrap("read", &self.path))?;
        self.buffer.truncate(had + read);
        Ok(had + read)
    }

    /// Moves the reader behind the next `len` bytes, which are there, and returns them.
    pub(crate) fn take(&mut self, len: usize) -> &[u8] {
        let taken = self.consumed;
        self.consumed += len;
        self.offset += len as u64;
        self.buffer.get(taken..self.consumed).unwrap_or_default()
    }

    /// Length of the file.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn file_len(&self) -> Result<u64, StorageError> {
        self.file.len().map_err(StorageError::wrap("measure", &self.path))
    }

    /// That what stands before the reader is not what it should be.
    pub(crate) fn corrupt(&self, found: &str) -> StorageError {
        StorageError::corrupt(&self.path, self.offset, found)
    }
}
