//! Every constant of the on-disk format, and the little-endian reads and writes that all files
//! share.
//!
//! `docs/format.md` is the specification; `tests/tidy` compares the constants.

use crate::types::{SegmentId, TableId};

/// Version of the whole directory's format. Version 1 was never released, and is not read.
pub const FORMAT_VERSION: u32 = 2;
/// Length of `IDENTITY`.
pub const IDENTITY_BYTES: usize = 64;
/// Length of what stands before the first frame of a segment, a manifest or a table.
pub const PROLOGUE_BYTES: usize = 40;
/// Length of a frame's long header.
pub const HEADER_BYTES: usize = 56;
/// Length of the short header that an entry has where its fields fit.
pub const SHORT_HEADER_BYTES: usize = 32;
/// Frames begin at multiples of this.
pub const FRAME_ALIGN: usize = 8;
/// Length of a state frame's payload.
pub const STATE_BYTES: usize = 112;
/// Length of `WATERMARK`.
pub const WATERMARK_BYTES: usize = 16;
/// What a device writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// Length of the payload of the frame that ends a manifest.
pub const MANIFEST_END_BYTES: usize = 16;
/// The longest payload that a reader accepts.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// The largest `max_segment_size`; with one payload more an offset still fits 32 bits.
pub const SEGMENT_BYTES_CEILING: u64 = 1 << 31;
/// Length of a line of checksums of a table that is being received.
pub const SUM_BYTES: usize = 16;
/// The longest piece of a table that is sent at once.
pub const PIECE_BYTES_MAX: usize = 1 << 22;
/// Length of what stands before the content of a table's block.
pub const TABLE_BLOCK_HEADER_BYTES: usize = 12;
/// Length of what ends a table.
pub const TABLE_FOOTER_BYTES: usize = 80;
/// The longest content of a table's block that a reader accepts: the largest row and its columns.
pub const TABLE_BLOCK_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (1 << 17);
/// Length of what ends a change file.
pub const CHANGES_FOOTER_BYTES: usize = 92;
/// Length of what a change file says of one of its blocks.
pub const CHANGES_PLACE_BYTES: usize = 48;
/// Length of what stands before the marks of a block of changes.
pub const CHANGES_HEAD_BYTES: usize = 12;
/// The longest key that a table holds.
pub const TABLE_KEY_BYTES_MAX: usize = 1 << 16;
/// The longest value that a table holds.
pub const TABLE_VALUE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 1;
/// First bytes of `IDENTITY`.
pub const IDENTITY_MAGIC: [u8; 8] = *b"HTKVIDEN";
/// First bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"HTKVSEGM";
/// First bytes of a manifest.
pub const MANIFEST_MAGIC: [u8; 8] = *b"HTKVMANI";
/// First bytes of a table.
pub const TABLE_MAGIC: [u8; 8] = *b"HTKVTABL";
/// First bytes of a change file.
pub const CHANGES_MAGIC: [u8; 8] = *b"HTKVCHNG";

/// Name of the lock file.
pub const LOCK_NAME: &str = "LOCK";
/// Name of the identity file.
pub const IDENTITY_NAME: &str = "IDENTITY";
/// Name of the file that a copy of a store holds until it is whole.
pub const UNFINISHED_NAME: &str = "UNFINISHED";
/// Name of the reserve file.
pub const RESERVE_NAME: &str = "RESERVE";
/// Name of the folder of segments.
pub const LOG_NAME: &str = "log";
/// Name of the folder of tables.
pub const TABLES_NAME: &str = "tables";
/// Name of the folder of tables that are being received.
pub const INCOMING_NAME: &str = "incoming";
/// Name of the folder of the past.
pub const ARCHIVE_NAME: &str = "archive";
/// Name of the watermark within the folder of segments.
pub const WATERMARK_NAME: &str = "WATERMARK";
/// Ending of a segment's name.
pub const SEGMENT_SUFFIX: &str = ".seg";
/// Ending of a table's name.
pub const TABLE_SUFFIX: &str = ".tbl";
/// Ending of an era's name.
pub const ERA_SUFFIX: &str = ".era";
/// What stands behind an era's name that was set aside, and before the last entry of the store.
pub const AHEAD_SUFFIX: &str = ".ahead-";
/// Ending of the name of a change file as it was first written.
pub const RAW_SUFFIX: &str = ".chg";
/// Ending of the name of a change file that was compressed.
pub const PACKED_SUFFIX: &str = ".chz";
/// Ending of the name of the beginning of a table that is being received.
pub const PART_SUFFIX: &str = ".part";
/// Ending of the name of the checksums of such a beginning.
pub const SUMS_SUFFIX: &str = ".sums";
/// Ending of the name of cut bytes.
pub const TORN_SUFFIX: &str = ".torn";
/// Ending of the name of a file that is being written.
pub const TEMPORARY_SUFFIX: &str = ".tmp";
/// Beginning of a manifest's name.
pub const MANIFEST_PREFIX: &str = "MANIFEST-";

const _: () = assert!(PROLOGUE_BYTES.is_multiple_of(FRAME_ALIGN));
const _: () = assert!(HEADER_BYTES.is_multiple_of(FRAME_ALIGN));
const _: () = assert!(SHORT_HEADER_BYTES.is_multiple_of(FRAME_ALIGN));
const _: () = assert!(STATE_BYTES.is_multiple_of(FRAME_ALIGN));
const _: () = assert!((TABLE_BLOCK_BYTES_MAX as u64) < u32::MAX as u64);
const _: () = assert!(SEGMENT_BYTES_CEILING + (PAYLOAD_BYTES_MAX as u64) < u32::MAX as u64);

/// Name of a segment file.
#[must_use]
pub fn segment_name(id: SegmentId) -> String {
    format!("{:010}{SEGMENT_SUFFIX}", id.0)
}

/// The segment that a file name means; `None` for a name that is not exactly a segment's.
#[must_use]
pub fn parse_segment_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    let id = SegmentId(digits.parse().ok()?);
    (segment_name(id) == name).then_some(id)
}

/// Name of a table file.
#[must_use]
pub fn table_name(id: TableId) -> String {
    format!("{:010}{TABLE_SUFFIX}", id.0)
}

/// The table that a file name means; `None` for a name that is not exactly a table's.
#[must_use]
pub fn parse_table_name(name: &str) -> Option<TableId> {
    let digits = name.strip_suffix(TABLE_SUFFIX)?;
    let id = TableId(digits.parse().ok()?);
    (table_name(id) == name).then_some(id)
}

/// Name of a file in the folder of tables that are being received.
#[must_use]
pub fn incoming_name(hash: &[u8; 32], suffix: &str) -> String {
    let mut name = String::with_capacity(2 * hash.len() + suffix.len());
    for byte in hash {
        for digit in [byte >> 4, byte & 15] {
            name.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    name + suffix
}

/// Whether a file in the folder of tables that are being received is ours: the hash of a table, as
/// digits, and one of the endings.
#[must_use]
pub fn is_incoming_name(name: &str) -> bool {
    let suffixes = [TABLE_SUFFIX, PART_SUFFIX, SUMS_SUFFIX];
    let digits = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digits.is_some_and(|digits| digits.len() == 64 && digits.bytes().all(is_digit))
}

/// Name of a manifest file.
#[must_use]
pub fn manifest_name(number: u64) -> String {
    format!("{MANIFEST_PREFIX}{number:020}")
}

/// The number that a manifest's name means; `None` for a name that is not exactly a manifest's.
#[must_use]
pub fn parse_manifest_name(name: &str) -> Option<u64> {
    let number = name.strip_prefix(MANIFEST_PREFIX)?.parse().ok()?;
    (manifest_name(number) == name).then_some(number)
}

/// Whether a file of ours may have this name: what stands before [`TEMPORARY_SUFFIX`] in the name
/// of one that is being written.
#[must_use]
pub fn is_our_name(name: &str) -> bool {
    [IDENTITY_NAME, RESERVE_NAME, WATERMARK_NAME].contains(&name)
        || parse_segment_name(name).is_some()
        || parse_table_name(name).is_some()
        || parse_manifest_name(name).is_some()
        || is_torn_name(name)
}

/// Whether a name is one of evidence: ten digits, a minus, an offset, and [`TORN_SUFFIX`].
#[must_use]
pub fn is_torn_name(name: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.strip_suffix(TORN_SUFFIX).and_then(|name| name.split_once('-'));
    parts.is_some_and(|(segment, offset)| {
        segment.len() == 10 && digits(segment) && !offset.is_empty() && digits(offset)
    })
}

/// `len` rounded up to the next multiple of [`FRAME_ALIGN`].
#[must_use]
pub const fn aligned(len: usize) -> usize {
    len.next_multiple_of(FRAME_ALIGN)
}

/// Reads `N` bytes at `at`; `None` when there are not as many.
pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Reads a `u32` at `at`.
pub(crate) fn take_u32(bytes: &[u8], at: usize) -> Option<u32> {
    take(bytes, at).map(u32::from_le_bytes)
}

/// Reads a `u64` at `at`.
pub(crate) fn take_u64(bytes: &[u8], at: usize) -> Option<u64> {
    take(bytes, at).map(u64::from_le_bytes)
}

/// Writes a file of fixed length field by field; the offsets in `docs/format.md` are the sums of
/// what was written before.
#[derive(Debug)]
pub(crate) struct Fields<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Fields<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    pub(crate) fn raw(mut self, field: &[u8]) -> Self {
        let end = self.at + field.len();
        if let Some(place) = self.bytes.get_mut(self.at..end) {
            place.copy_from_slice(field);
        }
        self.at = end;
        self
    }

    pub(crate) fn u32(self, field: u32) -> Self {
        self.raw(&field.to_le_bytes())
    }

    pub(crate) fn u64(self, field: u64) -> Self {
        self.raw(&field.to_le_bytes())
    }

    /// What was written so far.
    pub(crate) fn written(&self) -> &[u8] {
        self.bytes.get(..self.at).unwrap_or_default()
    }

    /// The bytes, with zeros behind what was written.
    pub(crate) const fn padded(self) -> [u8; N] {
        self.bytes
    }

    /// Appends the CRC-32C of `seed` and everything written so far.
    pub(crate) fn crc(self, seed: u32) -> Self {
        let crc = crc32c::crc32c_append(seed, self.bytes.get(..self.at).unwrap_or_default());
        self.u32(crc)
    }

    /// The bytes.
    ///
    /// # Panics
    /// When the fields do not add up to `N`: the layout in the code is wrong.
    pub(crate) fn finish(self) -> [u8; N] {
        assert_eq!(self.at, N, "the fields must add up to the file's length");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_ours() {
        assert_eq!(parse_segment_name("0000000012.seg"), Some(SegmentId(12)));
        for name in ["12.seg", "0000000012.seg.bak", "+000000012.seg", "9999999999.seg", ".seg"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
        assert_eq!(parse_table_name("0000000012.tbl"), Some(TableId(12)));
        for name in ["12.tbl", "0000000012.seg", "+000000012.tbl", "9999999999.tbl", ".tbl"] {
            assert_eq!(parse_table_name(name), None, "{name}");
        }
        assert!(is_our_name("0000000012.tbl"));
        assert_eq!(parse_manifest_name("MANIFEST-00000000000000000012"), Some(12));
        for name in ["MANIFEST-12", "MANIFEST-", "MANIFEST-00000000000000000012.tmp"] {
            assert_eq!(parse_manifest_name(name), None, "{name}");
        }
    }

    #[test]
    fn reads_past_the_end_are_none() {
        assert_eq!(take_u32(&[1, 0, 0, 0], 0), Some(1));
        assert_eq!(take_u32(&[1, 0, 0, 0], 1), None);
        assert_eq!(take_u64(&[0; 8], usize::MAX), None);
    }
}
