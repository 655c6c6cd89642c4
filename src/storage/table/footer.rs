//! The end of a table, which says where its other parts are.

use super::block_file::part_crc;
use crate::config::Compression;
use crate::storage::format::{Fields, TABLE_FOOTER_BYTES, take, take_u32, take_u64};
use crate::storage::frame::Salt;

/// What the checksum covers.
const COVERED_BYTES: usize = TABLE_FOOTER_BYTES - 4;

/// What a footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) index_at: u64,
    pub(super) index_bytes: u64,
    pub(super) filter_bytes: u64,
    pub(super) rows: u64,
    pub(super) tombstones: u64,
    pub(super) key_bytes: u64,
    pub(super) value_bytes: u64,
    pub(super) index_crc: u32,
    pub(super) filter_crc: u32,
    pub(super) compression: Compression,
}

/// A compression as files have it.
pub(in crate::storage) const fn code(compression: Compression) -> u32 {
    match compression {
        Compression::Off => 0,
        Compression::Lz4 => 1,
        Compression::Zstd => 2,
    }
}

/// What [`code`] made; `None` for a number that no release writes.
pub(in crate::storage) const fn from_code(code: u32) -> Option<Compression> {
    match code {
        0 => Some(Compression::Off),
        1 => Some(Compression::Lz4),
        2 => Some(Compression::Zstd),
        _ => None,
    }
}

impl Footer {
    /// Where it begins, if its parts follow each other without a gap; `None` when a sum is too
    /// great.
    pub(super) fn place(&self) -> Option<u64> {
        self.index_at.checked_add(self.index_bytes)?.checked_add(self.filter_bytes)
    }

    /// The bytes of a footer that begins at `offset`.
    pub(super) fn encode(&self, salt: Salt, offset: u64) -> [u8; TABLE_FOOTER_BYTES] {
        let covered: [u8; COVERED_BYTES] = Fields::new()
            .u64(self.index_at)
            .u64(self.index_bytes)
            .u64(self.filter_bytes)
            .u64(self.rows)
            .u64(self.tombstones)
            .u64(self.key_bytes)
            .u64(self.value_bytes)
            .u32(self.index_crc)
            .u32(self.filter_crc)
            .u32(code(self.compression))
            .u64(0)
            .finish();
        let crc = part_crc(salt, offset, &covered);
        Fields::new().raw(&covered).u32(crc).finish()
    }

    /// Reads a footer that begins at `offset`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(
        bytes: &[u8; TABLE_FOOTER_BYTES],
        salt: Salt,
        offset: u64,
    ) -> Result<Self, &'static str> {
        const SHORT: &str = "the table's footer is too short";
        let covered = take::<COVERED_BYTES>(bytes, 0).ok_or(SHORT)?;
        if take_u32(bytes, COVERED_BYTES) != Some(part_crc(salt, offset, &covered)) {
            return Err("the checksum of the table's footer differs from its content");
        }
        let u64_at = |at| take_u64(&covered, at).ok_or(SHORT);
        let u32_at = |at| take_u32(&covered, at).ok_or(SHORT);
        let footer = Self {
            index_at: u64_at(0)?,
            index_bytes: u64_at(8)?,
            filter_bytes: u64_at(16)?,
            rows: u64_at(24)?,
            tombstones: u64_at(32)?,
            key_bytes: u64_at(40)?,
            value_bytes: u64_at(48)?,
            index_crc: u32_at(56)?,
            filter_crc: u32_at(60)?,
            compression: from_code(u32_at(64)?).ok_or("the table is compressed in no known way")?,
        };
        if footer.encode(salt, offset) != *bytes {
            return Err("bytes of the table's footer that must be zero are not");
        }
        if footer.place() != Some(offset) {
            return Err("the parts of the table do not end where its footer begins");
        }
        Ok(footer)
    }
}
