//! One frame: header, payload, two checksums.
//!
//! A frame proves three things about itself. Its header is a header *of this file and this place*
//! (header checksum, salted); its payload is the one that was written with that header (frame
//! checksum); and the frame before it is the one that was before it when it was written (the
//! chain). `docs/format.md` has the layout.

use std::fmt;

use super::format::{
    FRAME_ALIGN, Fields, HEADER_BYTES, PAYLOAD_BYTES_MAX, aligned, take, take_u32, take_u64,
};
use crate::types::{LogId, LogIndex, LogPosition, NodeId, Term, Timestamp};

/// Offset of the frame checksum in a header: everything before it is covered by it.
pub(crate) const FRAME_CRC_AT: usize = 48;
/// Offset of the header checksum in a header: everything before it is covered by it.
const HEADER_CRC_AT: usize = 52;
const _: () = assert!(HEADER_CRC_AT + 4 == HEADER_BYTES);

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// An entry without content, with which a leader begins its term.
    Blank,
    /// An entry with a membership.
    Membership,
    /// An entry with a command.
    Normal,
    /// A vote.
    Vote,
    /// The log was cut after an entry.
    TruncateAfter,
    /// The log was cut up to an entry.
    Purge,
    /// Entries up to this one are committed.
    Committed,
    /// Nothing follows in this file.
    Seal,
    /// The log's state where the segment begins.
    State,
    /// The beginning of a manifest.
    ManifestHead,
    /// A table that a manifest names.
    ManifestTable,
    /// The end of a manifest.
    ManifestEnd,
}

impl FrameKind {
    const ALL: [Self; 12] = [
        Self::Blank,
        Self::Membership,
        Self::Normal,
        Self::Vote,
        Self::TruncateAfter,
        Self::Purge,
        Self::Committed,
        Self::Seal,
        Self::State,
        Self::ManifestHead,
        Self::ManifestTable,
        Self::ManifestEnd,
    ];

    /// As the header holds it: 1 for the first, so that zeroed bytes are no frame.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// From what a header holds.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// Whether the frame is an entry of the replicated log.
    #[must_use]
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Blank | Self::Membership | Self::Normal)
    }

    /// Whether the frame may stand in a segment (the others stand in manifests).
    #[must_use]
    pub const fn is_log(self) -> bool {
        !matches!(self, Self::ManifestHead | Self::ManifestTable | Self::ManifestEnd)
    }
}

/// The one bit that some of the kinds need, named for what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flag {
    /// Nothing.
    #[default]
    Unset,
    /// Of a vote: it is committed. Of a truncation: no entry is kept. Of a manifest's table: it is
    /// the first of a run.
    Set,
}

/// What a header says, without the checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame says.
    pub kind: FrameKind,
    /// The bit of a vote, a truncation or a manifest's table.
    pub flag: Flag,
    /// Which entry; the meaning by kind stands in `docs/format.md`.
    pub id: LogId,
    /// The proposer's clock.
    pub clock: Timestamp,
    /// How far the log was known to be synced when the frame was written.
    pub durable_upto: LogPosition,
    /// Length of the payload in bytes.
    pub payload_len: u32,
}

impl FrameHeader {
    /// A header for a frame that is not an entry.
    #[must_use]
    pub const fn mark(kind: FrameKind, flag: Flag, id: LogId) -> Self {
        Self {
            kind,
            flag,
            id,
            clock: Timestamp(0),
            durable_upto: LogPosition { segment: crate::types::SegmentId(0), offset: 0 },
            payload_len: 0,
        }
    }

    /// Bytes that the whole frame takes on disk.
    #[must_use]
    pub const fn frame_len(&self) -> usize {
        frame_len(self.payload_len as usize)
    }
}

/// Bytes that a frame with such a payload takes on disk.
#[must_use]
pub const fn frame_len(payload_len: usize) -> usize {
    HEADER_BYTES + aligned(payload_len)
}

/// The checksum with which everything in one file is salted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(u32);

impl Salt {
    /// From the salt in a file's prologue.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self(crc32c::crc32c(&salt.to_le_bytes()))
    }

    /// The seed of the chain: stands in for the frame before the first.
    #[must_use]
    pub const fn chain(self) -> Chain {
        Chain(self.0)
    }

    fn header_crc(self, offset: u64, covered: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.0, &offset.to_le_bytes()), covered)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salt({:08x})", self.0)
    }
}

/// Frame checksum of the frame before: what the next one is seeded with.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain(pub u32);

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({:08x})", self.0)
    }
}

/// Bytes of a header and where the chain goes on behind the frame.
#[derive(Debug)]
pub(crate) struct EncodedHeader {
    pub(crate) bytes: [u8; HEADER_BYTES],
    pub(crate) chain: Chain,
}

/// Zero bytes that fill the last multiple of the alignment.
pub(crate) fn padding(payload_len: usize) -> &'static [u8] {
    const ZERO: [u8; FRAME_ALIGN] = [0; FRAME_ALIGN];
    ZERO.get(..aligned(payload_len) - payload_len).unwrap_or_default()
}

/// Encodes the header of a frame whose payload is the two parts one after the other.
///
/// # Panics
/// When the parts are not as long as the header says, or longer than any payload may be: the caller
/// checks limits first.
pub(crate) fn encode_header(
    header: &FrameHeader,
    payload: [&[u8]; 2],
    salt: Salt,
    offset: u64,
    before: Chain,
) -> EncodedHeader {
    let len = payload[0].len() + payload[1].len();
    assert_eq!(len, header.payload_len as usize, "the header must tell the payload's length");
    assert!(len <= PAYLOAD_BYTES_MAX, "the caller checks the limit");
    let flag = u8::from(header.flag == Flag::Set);
    let covered: [u8; FRAME_CRC_AT] = Fields::new()
        .raw(&[header.kind.code(), flag, 0, 0])
        .u32(header.payload_len)
        .u64(header.id.index.0)
        .u64(header.id.term.0)
        .u64(header.id.leader.0)
        .u64(header.clock.0)
        .u64(header.durable_upto.to_u64())
        .finish();
    let mut crc = crc32c::crc32c_append(before.0, &covered);
    for part in [payload[0], payload[1], padding(len)] {
        crc = crc32c::crc32c_append(crc, part);
    }
    let salted: [u8; HEADER_CRC_AT] = Fields::new().raw(&covered).u32(crc).finish();
    let header_crc = salt.header_crc(offset, &salted);
    EncodedHeader { bytes: Fields::new().raw(&salted).u32(header_crc).finish(), chain: Chain(crc) }
}

/// A header that checks, with the frame checksum it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedHeader {
    /// What it says.
    pub header: FrameHeader,
    /// The frame checksum that stands in it: the seed of the frame behind.
    pub chain: Chain,
}

/// Reads the header at the beginning of `bytes`, which stand at `offset` of a file with that salt.
///
/// `None` when it is no header of this place: too few bytes, a checksum that differs, or values
/// that no release writes.
#[must_use]
pub fn check_header(bytes: &[u8], salt: Salt, offset: u64) -> Option<CheckedHeader> {
    let [code, flag, zero @ ..]: [u8; 4] = take(bytes, 0)?;
    // Cheap refusals first: a search behind damage comes here for every eighth byte.
    let kind = FrameKind::from_code(code)?;
    let flag = match flag {
        0 => Flag::Unset,
        1 => Flag::Set,
        _ => return None,
    };
    let payload_len = take_u32(bytes, 4)?;
    if zero != [0, 0] || payload_len as usize > PAYLOAD_BYTES_MAX {
        return None;
    }
    let covered = bytes.get(..HEADER_CRC_AT)?;
    if take_u32(bytes, HEADER_CRC_AT)? != salt.header_crc(offset, covered) {
        return None;
    }
    let header = FrameHeader {
        kind,
        flag,
        id: LogId {
            index: LogIndex(take_u64(bytes, 8)?),
            term: Term(take_u64(bytes, 16)?),
            leader: NodeId(take_u64(bytes, 24)?),
        },
        clock: Timestamp(take_u64(bytes, 32)?),
        durable_upto: LogPosition::from_u64(take_u64(bytes, 40)?),
        payload_len,
    };
    Some(CheckedHeader { header, chain: Chain(take_u32(bytes, FRAME_CRC_AT)?) })
}

/// A frame that checks whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What its header says.
    pub header: FrameHeader,
    /// Its payload, without padding.
    pub payload: &'a [u8],
    /// The seed of the frame behind it.
    pub chain: Chain,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAFrame {
    /// The header does not check.
    Header,
    /// The header checks, but the file ends before the frame does.
    Short(CheckedHeader),
    /// The header checks, but the frame does not.
    Payload(CheckedHeader),
}

/// Reads the frame at the beginning of `bytes`, which stand at `offset`, behind a frame that left
/// `before`.
///
/// # Errors
/// What does not check.
pub fn check_frame(
    bytes: &[u8],
    salt: Salt,
    offset: u64,
    before: Chain,
) -> Result<Frame<'_>, NotAFrame> {
    let checked = check_header(bytes, salt, offset).ok_or(NotAFrame::Header)?;
    let payload_len = checked.header.payload_len as usize;
    let padded =
        bytes.get(HEADER_BYTES..frame_len(payload_len)).ok_or(NotAFrame::Short(checked))?;
    let covered = bytes.get(..FRAME_CRC_AT).ok_or(NotAFrame::Header)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(before.0, covered), padded);
    if Chain(crc) != checked.chain {
        return Err(NotAFrame::Payload(checked));
    }
    let payload = padded.get(..payload_len).ok_or(NotAFrame::Short(checked))?;
    Ok(Frame { header: checked.header, payload, chain: checked.chain })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 0x1122_3344_5566_7788;

    fn header(payload_len: u32) -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Normal,
            flag: Flag::Unset,
            id: LogId { term: Term(2), leader: NodeId(3), index: LogIndex(4) },
            clock: Timestamp(5),
            durable_upto: LogPosition { segment: crate::types::SegmentId(6), offset: 7 },
            payload_len,
        }
    }

    fn encode(payload: &[u8], offset: u64, before: Chain) -> Vec<u8> {
        let header = header(u32::try_from(payload.len()).unwrap());
        let (head, body) = payload.split_at(payload.len() / 2);
        let encoded = encode_header(&header, [head, body], Salt::new(SALT), offset, before);
        [&encoded.bytes, head, body, padding(payload.len())].concat()
    }

    #[test]
    fn a_frame_reads_back() {
        let before = Chain(9);
        for len in [0, 1, 7, 8, 9, 600] {
            let payload: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let bytes = encode(&payload, 40, before);
            assert_eq!(bytes.len(), frame_len(payload.len()));
            let frame = check_frame(&bytes, Salt::new(SALT), 40, before).unwrap();
            assert_eq!(frame.payload, payload);
            assert_eq!(frame.header, header(len));
        }
    }

    #[test]
    fn the_bytes_are_those_of_format_version_1() {
        let bytes = encode(b"abc", 40, Salt::new(SALT).chain());
        let golden: [u8; 64] = [
            3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0,
            0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'a',
            b'b', b'c', 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes[..48], golden[..48]);
        assert_eq!(bytes[56..], golden[56..]);
        // Written out once and kept: a change here is a new format version.
        assert_eq!(bytes[48..56], GOLDEN_CHECKSUMS);
    }

    // Also computed by an independent reader written from docs/format.md alone.
    const GOLDEN_CHECKSUMS: [u8; 8] = [105, 227, 175, 101, 63, 72, 27, 39];

    #[test]
    fn every_flipped_bit_is_seen() {
        let before = Chain(9);
        let good = encode(b"some payload", 40, before);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(check_frame(&bytes, Salt::new(SALT), 40, before).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_place_file_or_predecessor_does_not_check() {
        let before = Chain(9);
        let bytes = encode(b"some payload", 40, before);
        let header = |salt, offset| check_header(&bytes, Salt::new(salt), offset);
        assert!(header(SALT, 40).is_some());
        assert_eq!(header(SALT, 48), None);
        assert_eq!(header(SALT + 1, 40), None);
        let other = check_frame(&bytes, Salt::new(SALT), 40, Chain(8));
        assert!(matches!(other, Err(NotAFrame::Payload(_))));
    }

    #[test]
    fn a_hostile_length_is_refused_without_reading_it() {
        let mut long = header(0);
        long.payload_len = u32::MAX;
        let mut bytes = encode(b"", 40, Chain(0));
        bytes[4..8].copy_from_slice(&long.payload_len.to_le_bytes());
        assert_eq!(check_header(&bytes, Salt::new(SALT), 40), None);
    }

    #[test]
    fn codes_name_all_kinds_and_nothing_else() {
        for code in 0..=u8::MAX {
            if let Some(kind) = FrameKind::from_code(code) {
                assert_eq!(kind.code(), code);
            } else {
                assert!(code == 0 || code > 15);
            }
        }
    }
}
