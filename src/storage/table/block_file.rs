//! Reads blocks of one file: bytes, their checksum, then what they hold.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::block::Block;
use super::compression::{self, NotDecompressed, RAW};
use crate::env::fs::{FsFile, read_exact_at};
use crate::storage::error::StorageError;
use crate::storage::format::{
    Fields, TABLE_BLOCK_BYTES_MAX, TABLE_BLOCK_HEADER_BYTES, take, take_u32,
};
use crate::storage::frame::Salt;

/// The checksum of a part of a file that begins at `offset`.
pub(in crate::storage) fn part_crc(salt: Salt, offset: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt.chain().0, &offset.to_le_bytes()), bytes)
}

/// The header of a block whose content is stored as `stored`, one part behind the other.
pub(in crate::storage) fn block_header(
    salt: Salt,
    offset: u64,
    method: u8,
    content_bytes: usize,
    stored: &[&[u8]],
) -> [u8; TABLE_BLOCK_HEADER_BYTES] {
    assert!(content_bytes <= TABLE_BLOCK_BYTES_MAX, "the writer checks the limits of a row");
    let content_bytes = u32::try_from(content_bytes).unwrap_or(u32::MAX);
    let covered: [u8; TABLE_BLOCK_HEADER_BYTES - 4] =
        Fields::new().u32(content_bytes).raw(&[method, 0, 0, 0]).finish();
    let crc = part_crc(salt, offset, &covered);
    let crc = stored.iter().fold(crc, |crc, part| crc32c::crc32c_append(crc, part));
    Fields::new().u32(crc).raw(&covered).finish()
}

/// An open file and what is needed to check its parts.
#[derive(Debug)]
pub(in crate::storage) struct BlockFile {
    pub(in crate::storage) file: Arc<dyn FsFile>,
    pub(in crate::storage) path: PathBuf,
    pub(in crate::storage) salt: Salt,
}

impl BlockFile {
    /// Reads `len` bytes at `offset`. The caller has held both against the file's length.
    pub(in crate::storage) fn read(
        &self,
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, StorageError> {
        let mut bytes = vec![0; len];
        self.read_into(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Fills `bytes` with what stands at `offset`. The caller has held both against the file's
    /// length.
    pub(super) fn read_into(&self, bytes: &mut [u8], offset: u64) -> Result<(), StorageError> {
        read_exact_at(&*self.file, bytes, offset).map_err(StorageError::wrap("read", &self.path))
    }

    /// Reads `len` bytes at `offset` that have this checksum.
    pub(in crate::storage) fn read_part(
        &self,
        offset: u64,
        len: usize,
        crc: u32,
        what: &str,
    ) -> Result<Vec<u8>, StorageError> {
        let bytes = self.read(offset, len)?;
        if part_crc(self.salt, offset, &bytes) != crc {
            let found = format!("the checksum of the {what} differs from its content");
            return Err(self.corrupt(offset, found));
        }
        Ok(bytes)
    }

    /// The block that is stored as `stored`, at `offset` of the file.
    pub(super) fn decode(&self, stored: &[u8], offset: u64) -> Result<Block, StorageError> {
        let (method, content_bytes, body) = self.check(stored, offset)?;
        let content = self.decompress(method, content_bytes, body, offset)?;
        Block::parse(content.into()).map_err(|found| self.corrupt(offset, found))
    }

    /// What `take` makes of the content of the block that is stored as `stored`, at `offset` of the
    /// file.
    pub(super) fn with_content<T>(
        &self,
        stored: &[u8],
        offset: u64,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, StorageError> {
        let (method, content_bytes, body) = self.check(stored, offset)?;
        if method == RAW && body.len() == content_bytes {
            return Ok(take(body));
        }
        self.decompress(method, content_bytes, body, offset).map(|content| take(&content))
    }

    /// The content of the block that is stored as `stored`, at `offset` of the file. One that is
    /// not compressed is not copied.
    ///
    /// # Errors
    /// `Corrupt`; `MissingFeature` when this build leaves the compression out.
    pub(in crate::storage) fn content(
        &self,
        stored: Vec<u8>,
        offset: u64,
    ) -> Result<Bytes, StorageError> {
        let (method, content_bytes, body) = self.check(&stored, offset)?;
        if method == RAW && body.len() == content_bytes {
            return Ok(Bytes::from(stored).slice(TABLE_BLOCK_HEADER_BYTES..));
        }
        self.decompress(method, content_bytes, body, offset).map(Bytes::from)
    }

    /// Method, length of the content and stored bytes of a block whose checksum is right.
    fn check<'a>(
        &self,
        stored: &'a [u8],
        offset: u64,
    ) -> Result<(u8, usize, &'a [u8]), StorageError> {
        let corrupt = |found: &str| Err(self.corrupt(offset, found));
        let Some(crc) = take_u32(stored, 0) else {
            return corrupt("a block is shorter than its header");
        };
        let covered = stored.get(4..).unwrap_or_default();
        if part_crc(self.salt, offset, covered) != crc {
            return corrupt("the checksum of a block differs from its content");
        }
        let content_bytes = take_u32(stored, 4).map_or(0, |bytes| bytes as usize);
        let (Some([method, zero @ ..]), Some(body)) =
            (take::<4>(stored, 8), stored.get(TABLE_BLOCK_HEADER_BYTES..))
        else {
            return corrupt("a block is shorter than its header");
        };
        if zero != [0; 3] || content_bytes > TABLE_BLOCK_BYTES_MAX {
            return corrupt("the header of a block has values that no release writes");
        }
        Ok((method, content_bytes, body))
    }

    fn decompress(
        &self,
        method: u8,
        content_bytes: usize,
        body: &[u8],
        offset: u64,
    ) -> Result<Vec<u8>, StorageError> {
        match compression::decompress(method, body, content_bytes) {
            Ok(content) => Ok(content),
            Err(NotDecompressed::Malformed) => {
                Err(self.corrupt(offset, "the content of a block is not stored as its header says"))
            }
            #[cfg(not(feature = "zstd"))]
            Err(NotDecompressed::MissingFeature(feature)) => {
                Err(StorageError::MissingFeature { file: self.path.clone(), feature })
            }
        }
    }

    pub(in crate::storage) fn corrupt(
        &self,
        offset: u64,
        found: impl Into<String>,
    ) -> StorageError {
        StorageError::corrupt(&self.path, offset, found)
    }
}
