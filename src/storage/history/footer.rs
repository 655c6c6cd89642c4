//! The end of a change file, which says what it covers and where its other parts are.

use std::ops::Range;

use super::place::Span;
use crate::config::Compression;
use crate::storage::format::{
    CHANGES_FOOTER_BYTES, CHANGES_PLACE_BYTES, Fields, take, take_u32, take_u64,
};
use crate::storage::frame::Salt;
use crate::storage::table::{code, from_code, part_crc};
use crate::types::{LogIndex, Timestamp};

/// What the checksum covers.
const COVERED_BYTES: usize = CHANGES_FOOTER_BYTES - 4;

/// What a footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    /// Where the last block ends and the places begin.
    pub(super) places_at: u64,
    pub(super) blocks: u64,
    /// Bytes of the filters, which stand behind the places.
    pub(super) filter_bytes: u64,
    /// The entries that the file covers, those that changed nothing included.
    pub(super) covers: Span,
    /// Entries in it.
    pub(super) entries: u64,
    /// Changes in it.
    pub(super) changes: u64,
    /// Bytes of its blocks before compression.
    pub(super) content_bytes: u64,
    pub(super) places_crc: u32,
    pub(super) compression: Compression,
}

impl Footer {
    /// Where the places stand; `None` when the sum is too great.
    pub(super) fn places(&self) -> Option<Range<u64>> {
        let bytes = self.blocks.checked_mul(CHANGES_PLACE_BYTES as u64)?;
        Some(self.places_at..self.places_at.checked_add(bytes)?)
    }

    /// Where the filters stand.
    pub(super) fn filters(&self) -> Option<Range<u64>> {
        let start = self.places()?.end;
        Some(start..start.checked_add(self.filter_bytes)?)
    }

    /// The bytes of a footer that begins at `offset`.
    pub(super) fn encode(&self, salt: Salt, offset: u64) -> [u8; CHANGES_FOOTER_BYTES] {
        let Span { first, last, stamps: (from, to) } = self.covers;
        let covered: [u8; COVERED_BYTES] = Fields::new()
            .u64(self.places_at)
            .u64(self.blocks)
            .u64(self.filter_bytes)
            .u64(first.0)
            .u64(last.0)
            .u64(from.0)
            .u64(to.0)
            .u64(self.entries)
            .u64(self.changes)
            .u64(self.content_bytes)
            .u32(self.places_crc)
            .u32(code(self.compression))
            .finish();
        let crc = part_crc(salt, offset, &covered);
        Fields::new().raw(&covered).u32(crc).finish()
    }

    /// Reads a footer that begins at `offset`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(
        bytes: &[u8; CHANGES_FOOTER_BYTES],
        salt: Salt,
        offset: u64,
    ) -> Result<Self, &'static str> {
        const SHORT: &str = "the footer of the changes is too short";
        let covered = take::<COVERED_BYTES>(bytes, 0).ok_or(SHORT)?;
        if take_u32(bytes, COVERED_BYTES) != Some(part_crc(salt, offset, &covered)) {
            return Err("the checksum of the footer of the changes differs from its content");
        }
        let u64_at = |at| take_u64(&covered, at).ok_or(SHORT);
        let u32_at = |at| take_u32(&covered, at).ok_or(SHORT);
        let covers = Span {
            first: LogIndex(u64_at(24)?),
            last: LogIndex(u64_at(32)?),
            stamps: (Timestamp(u64_at(40)?), Timestamp(u64_at(48)?)),
        };
        let footer = Self {
            places_at: u64_at(0)?,
            blocks: u64_at(8)?,
            filter_bytes: u64_at(16)?,
            covers,
            entries: u64_at(56)?,
            changes: u64_at(64)?,
            content_bytes: u64_at(72)?,
            places_crc: u32_at(80)?,
            compression: from_code(u32_at(84)?)
                .ok_or("the changes are compressed in no known way")?,
        };
        if footer.filters().map(|filters| filters.end) != Some(offset) {
            return Err("the parts of the changes do not end where their footer begins");
        }
        Ok(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_reads_back_at_its_place_only() {
        let covers =
            Span { first: LogIndex(7), last: LogIndex(9), stamps: (Timestamp(70), Timestamp(90)) };
        let footer = Footer {
            places_at: 140,
            blocks: 2,
            filter_bytes: 64,
            covers,
            entries: 3,
            changes: 4,
            content_bytes: 500,
            places_crc: 6,
            compression: Compression::Lz4,
        };
        let (salt, offset) = (Salt::new(1, 0), 140 + 2 * CHANGES_PLACE_BYTES as u64 + 64);
        let bytes = footer.encode(salt, offset);
        assert_eq!(Footer::decode(&bytes, salt, offset), Ok(footer));
        assert!(Footer::decode(&bytes, salt, offset + 1).is_err());
        assert!(Footer::decode(&bytes, Salt::new(2, 0), offset).is_err());
        // With a checksum that is right, and parts that go on too far.
        let long = Footer { blocks: u64::MAX / 8, ..footer }.encode(salt, offset);
        assert!(Footer::decode(&long, salt, offset).is_err());
    }
}
