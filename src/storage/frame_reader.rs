//! Reads frames of a file one after the other, in bounded memory.

use std::path::Path;
use std::sync::Arc;

use super::error::StorageError;
use super::format::HEADER_BYTES;
use super::frame::{Chain, Frame, Salt, check_header};
use super::window::Window;
use crate::env::fs::FsFile;

/// Goes through the frames of a file from some frame on.
#[derive(Debug)]
pub(crate) struct FrameReader {
    window: Window,
    salt: Salt,
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
        Self { window: Window::new(file, path, offset, chunk), salt, chain }
    }

    /// Where in the file the reader stands.
    pub(crate) const fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// The next frame; `None` at the end of the file.
    ///
    /// Memory: the chunk, or the frame where it is longer; a length that goes beyond the file is
    /// refused before anything is allocated for it.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are no frame, `Io`.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, StorageError> {
        let Self { window, salt, chain } = self;
        if window.fill(HEADER_BYTES)? == 0 {
            return Ok(None);
        }
        let offset = window.offset();
        let checked = check_header(window.rest(), *salt, offset)
            .ok_or_else(|| window.corrupt("the header of a frame does not check"))?;
        let len = checked.frame_len();
        if window.rest().len() < len {
            // The length is hostile until the file shows that it can be true.
            if offset.saturating_add(len as u64) > window.file_len()? {
                return Err(window.corrupt("the file ends inside a frame"));
            }
            window.fill(len)?;
        }
        if checked.check(window.rest(), *chain).is_err() {
            return Err(window.corrupt("the checksum of a frame differs from its content"));
        }
        *chain = checked.chain;
        Ok(checked.frame_in(window.take(len)))
    }
}
