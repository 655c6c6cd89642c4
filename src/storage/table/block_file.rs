//! Reads blocks of one file: bytes, their checksum, then what they hold.

use std::path::PathBuf;
use std::sync::Arc;

use super::block::Block;
use super::compression::{self, NotDecompressed};
use crate::env::fs::{FsFile, read_exact_at};
use crate::storage::error::StorageError;
use crate::storage::format::{
    Fields, TABLE_BLOCK_BYTES_MAX, TABLE_BLOCK_HEADER_BYTES, take, take_u32,
};
use crate::storage::frame::Salt;

/// The checksum of a part of a table that begins at `offset`.
pub(super) fn part_crc(salt: Salt, offset: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt.chain().0, &offset.to_le_bytes()), bytes)
}

/// The header of a block whose content is stored as `stored`.
pub(super) fn block_header(
    salt: Salt,
    offset: u64,
    method: u8,
    content_bytes: usize,
    stored: &[u8],
) -> [u8; TABLE_BLOCK_HEADER_BYTES] {
    assert!(content_bytes <= TABLE_BLOCK_BYTES_MAX, "the writer checks the limits of a row");
    let content_bytes = u32::try_from(content_bytes).unwrap_or(u32::MAX);
    let covered: [u8; TABLE_BLOCK_HEADER_BYTES - 4] =
        Fields::new().u32(content_bytes).raw(&[method, 0, 0, 0]).finish();
    let crc = crc32c::crc32c_append(part_crc(salt, offset, &covered), stored);
    Fields::new().u32(crc).raw(&covered).finish()
}

/// An open file and what is needed to check its parts.
#[derive(Debug)]
pub(super) struct BlockFile {
    pub(super) file: Arc<dyn FsFile>,
    pub(super) path: PathBuf,
    pub(super) salt: Salt,
}

impl BlockFile {
    /// Reads `len` bytes at `offset`. The caller has held both against the file's length.
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, StorageError> {
        let mut bytes = vec![0; len];
        read_exact_at(&*self.file, &mut bytes, offset)
            .map_err(StorageError::wrap("read", &self.path))?;
        Ok(bytes)
    }

    /// Reads `len` bytes at `offset` that have this checksum.
    pub(super) fn read_part(
        &self,
        offset: u64,
        len: usize,
        crc: u32,
        what: &str,
    ) -> Result<Vec<u8>, StorageError> {
        let bytes = self.read(offset, len)?;
        if part_crc(self.salt, offset, &bytes) != crc {
            let found = format!("the checksum of the table's {what} differs from its content");
            return Err(self.corrupt(offset, found));
        }
        Ok(bytes)
    }

    /// The block that is stored as `stored`, at `offset` of the file.
    pub(super) fn decode(&self, stored: &[u8], offset: u64) -> Result<Block, StorageError> {
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
        let content = match compression::decompress(method, body, content_bytes) {
            Ok(content) => content,
            Err(NotDecompressed::Malformed) => {
                return corrupt("the content of a block is not stored as its header says");
            }
            #[cfg(not(feature = "zstd"))]
            Err(NotDecompressed::MissingFeature(feature)) => {
                return Err(StorageError::MissingFeature { file: self.path.clone(), feature });
            }
        };
        Block::parse(content.into()).or_else(corrupt)
    }

    pub(super) fn corrupt(&self, offset: u64, found: impl Into<String>) -> StorageError {
        StorageError::corrupt(&self.path, offset, found)
    }
}
