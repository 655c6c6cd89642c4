//! Bytes on their way to a file, gathered so that few calls write them.

use std::io::IoSlice;
use std::path::Path;

use crate::env::fs::{FsFile, write_all_at};
use crate::storage::error::StorageError;

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub(super) struct Output<'a> {
    file: &'a dyn FsFile,
    path: &'a Path,
    buffer: Vec<u8>,
    written: u64,
}

impl<'a> Output<'a> {
    pub(super) fn new(file: &'a dyn FsFile, path: &'a Path) -> Self {
        Self { file, path, buffer: Vec::new(), written: 0 }
    }

    /// Where the next byte goes.
    pub(super) fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends the parts one behind the other.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub(super) fn push(&mut self, parts: &[&[u8]]) -> Result<(), StorageError> {
        for part in parts {
            if self.buffer.len() + part.len() > WRITE_BYTES {
                self.flush()?;
            }
            if part.len() > WRITE_BYTES {
                self.write(part)?;
            } else {
                self.buffer.extend_from_slice(part);
            }
        }
        Ok(())
    }

    /// Hands everything to the operating system. Returns how long the file is.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub(super) fn flush(&mut self) -> Result<u64, StorageError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(self.written)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        write_all_at(self.file, &mut [IoSlice::new(bytes)], self.written)
            .map_err(StorageError::wrap("write", self.path))?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}
