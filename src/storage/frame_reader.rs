//! Reads frames of a file one after the other, in bounded memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StorageError;
use super::format::HEADER_BYTES;
use super::frame::{Chain, Frame, Salt, check_frame, check_header};
use crate::env::fs::{FsFile, read_up_to_at};

/// Goes through the frames of a file from some frame on.
#[derive(Debug)]
pub(crate) struct FrameReader {
    file: Arc<dyn FsFile>,
    path: PathBuf,
    salt: Salt,
    /// How much is read at once.
    chunk: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are behind the reader.
    consumed: usize,
    /// Where in the file the reader stands.
    offset: u64,
    chain: Chain,
}

impl FrameReader {
    /// Starts at the frame that begins at `offset`, behind a frame that left `chain`.
    pub(crate) fn new(
        file: Arc<dyn FsFile>,
        path: &Path,
        salt: Salt,
        (offset, chain): (u64, Chain),
        chunk: usize,
    ) -> Self {
        let path = path.to_owned();
        Self { file, path, salt, chunk, buffer: Vec::new(), consumed: 0, offset, chain }
    }

    /// Where in the file the reader stands.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; `None` at the end of the file.
    ///
    /// Memory: the chunk, or the frame where it is longer; a length that goes beyond the file is
    /// refused before anything is allocated for it.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are no frame, `Io`.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, StorageError> {
        let had = self.fill(HEADER_BYTES)?;
        if had == 0 {
            return Ok(None);
        }
        let len = check_header(self.rest(), self.salt, self.offset)
            .ok_or_else(|| self.corrupt("the header of a frame does not check"))?
            .frame_len();
        if self.rest().len() < len {
            // The length is hostile until the file shows that it can be true.
            let room = self.file.len().map_err(StorageError::wrap("measure", &self.path))?;
            if self.offset.saturating_add(len as u64) > room {
                return Err(self.corrupt("the file ends inside a frame"));
            }
            self.fill(len)?;
        }
        let (offset, chain) = (self.offset, self.chain);
        let rest = self.buffer.get(self.consumed..).unwrap_or_default();
        let Ok(frame) = check_frame(rest, self.salt, offset, chain) else {
            return Err(StorageError::corrupt(
                &self.path,
                offset,
                "the checksum of a frame differs from its content",
            ));
        };
        self.consumed += len;
        self.offset += len as u64;
        self.chain = frame.chain;
        Ok(Some(frame))
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.consumed..).unwrap_or_default()
    }

    fn corrupt(&self, found: &str) -> StorageError {
        StorageError::corrupt(&self.path, self.offset, found)
    }

    /// Has at least `wanted` bytes before the reader where the file has them; returns how many.
    fn fill(&mut self, wanted: usize) -> Result<usize, StorageError> {
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
}
