//! The piece of a file that stands before a reader who goes through it in order, in bounded memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StorageError;
use crate::env::fs::{FsFile, read_up_to_at};

/// How much is read at first; twice as much each time that the reader goes on. Most files that are
/// gone through are short, or only their beginning is wanted, and room for more has to be cleared.
const FIRST_CHUNK: usize = 16 << 10;

/// Bytes of a file, from where its reader stands.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn FsFile>,
    path: PathBuf,
    /// How much is read the next time, at least.
    chunk: usize,
    /// How much that is at most, unless more is wanted.
    chunk_max: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are behind the reader.
    consumed: usize,
    /// Where in the file the reader stands.
    offset: u64,
}

impl Window {
    /// Of a reader that stands at `offset`, of pieces of up to `chunk_max` bytes. Nothing is read
    /// yet.
    pub(crate) fn new(file: Arc<dyn FsFile>, path: &Path, offset: u64, chunk_max: usize) -> Self {
        let (path, chunk) = (path.to_owned(), FIRST_CHUNK.min(chunk_max));
        Self { file, path, chunk, chunk_max, buffer: Vec::new(), consumed: 0, offset }
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
        self.chunk = self.chunk_max.min(2 * self.chunk);
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
