//! What a segment, a manifest, a table and a change file begin with.

use std::path::Path;

use super::error::StorageError;
use super::format::{FORMAT_VERSION, Fields, PROLOGUE_BYTES, take, take_u32, take_u64};
use super::frame::Salt;

/// Which file this is, and the salt of its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prologue {
    /// `SEGMENT_MAGIC`, `MANIFEST_MAGIC`, `TABLE_MAGIC` or `CHANGES_MAGIC`.
    pub(crate) magic: [u8; 8],
    /// Number of the segment or table, as in the file's name; 0 in the others.
    pub(crate) number: u32,
    /// Random, new for each file.
    pub(crate) salt: u64,
    /// First eight bytes of the directory's incarnation.
    pub(crate) tag: u64,
}

impl Prologue {
    pub(crate) fn salt(&self) -> Salt {
        Salt::new(self.salt, self.number)
    }

    pub(crate) fn encode(&self) -> [u8; PROLOGUE_BYTES] {
        Fields::new()
            .raw(&self.magic)
            .u32(FORMAT_VERSION)
            .u32(self.number)
            .u64(self.salt)
            .u64(self.tag)
            .u32(0)
            .crc(0)
            .finish()
    }

    /// Reads the prologue of the file `path`, which must be the one with this magic, number and
    /// tag.
    ///
    /// # Errors
    /// `Corrupt` when it does not check or belongs to another file or directory;
    /// `UnsupportedFormat` when it is newer.
    pub(crate) fn decode(
        bytes: &[u8],
        magic: [u8; 8],
        number: u32,
        tag: u64,
        path: &Path,
    ) -> Result<Self, StorageError> {
        let corrupt = |found: &str| Err(StorageError::corrupt(path, 0, found));
        let prologue = Self::decode_any(bytes, magic, path)?;
        if prologue.number != number {
            return corrupt(&format!(
                "the content is that of the file numbered {}",
                prologue.number
            ));
        }
        if prologue.tag != tag {
            return corrupt("the file belongs to another directory");
        }
        Ok(prologue)
    }

    /// Reads the prologue of the file `path`, whatever its number and whoever wrote it.
    ///
    /// # Errors
    /// `Corrupt` when it does not check or is of another kind; `UnsupportedFormat` when it is
    /// newer.
    pub(crate) fn decode_any(
        bytes: &[u8],
        magic: [u8; 8],
        path: &Path,
    ) -> Result<Self, StorageError> {
        let corrupt = |found: &str| Err(StorageError::corrupt(path, 0, found));
        let Some(bytes) = take::<PROLOGUE_BYTES>(bytes, 0) else {
            return corrupt("the file ends within its prologue");
        };
        let covered = bytes.get(..PROLOGUE_BYTES - 4).unwrap_or_default();
        if take_u32(&bytes, PROLOGUE_BYTES - 4) != Some(crc32c::crc32c(covered)) {
            return corrupt("the checksum of the prologue differs from its content");
        }
        if take(&bytes, 0) != Some(magic) {
            return corrupt("the file is of another kind than its name says");
        }
        let version = take_u32(&bytes, 8).unwrap_or_default();
        if version != FORMAT_VERSION {
            return Err(StorageError::UnsupportedFormat {
                file: path.to_owned(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        let prologue = Self {
            magic,
            number: take_u32(&bytes, 12).unwrap_or_default(),
            salt: take_u64(&bytes, 16).unwrap_or_default(),
            tag: take_u64(&bytes, 24).unwrap_or_default(),
        };
        if prologue.encode() != bytes {
            return corrupt("bytes of the prologue that must be zero are not");
        }
        Ok(prologue)
    }
}
