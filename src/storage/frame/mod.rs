//! One frame: header, payload, two checksums.
//!
//! A frame proves three things about itself. Its header is a header *of this file and this place*
//! (header checksum, salted); its payload is the one that was written with that header (frame
//! checksum); and the frame before it is the one that was before it when it was written (the
//! chain). `docs/format.md` has the layout.

use std::fmt;

use crate::storage::format::{
    FRAME_ALIGN, Fields, HEADER_BYTES, PAYLOAD_BYTES_MAX, SHORT_HEADER_BYTES, aligned, take,
    take_u32, take_u64,
};
use crate::types::{LogId, LogIndex, LogPosition, NodeId, SegmentId, Term, Timestamp};

/// All set in the first byte of a short header, beside the kind, and none in that of a long one.
/// Three, so that the form of a header is still known where one of its bits was flipped: otherwise
/// a damaged short frame at the end of the log would look like a longer one that was never
/// finished.
const SHORT_BITS: u8 = 0xe0;

/// How a header stands on disk: see `docs/format.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// With narrow fields, as nearly every entry has it.
    Short,
    /// With all fields whole.
    Long,
}

impl Form {
    /// That of the header that begins with these bytes, if it is one.
    const fn of(bytes: &[u8]) -> Self {
        match bytes.first() {
            Some(first) if (*first & SHORT_BITS).count_ones() >= 2 => Self::Short,
            _ => Self::Long,
        }
    }

    const fn header_bytes(self) -> usize {
        match self {
            Self::Short => SHORT_HEADER_BYTES,
            Self::Long => HEADER_BYTES,
        }
    }

    /// Offset of the frame checksum: everything before it is covered by it.
    const fn frame_crc_at(self) -> usize {
        self.header_bytes() - 8
    }

    /// Offset of the header checksum: everything before it is covered by it.
    const fn header_crc_at(self) -> usize {
        self.header_bytes() - 4
    }
}

/// Length of the header that these bytes begin with, if they are one. Not checked.
pub(crate) const fn claimed_header_bytes(bytes: &[u8]) -> usize {
    Form::of(bytes).header_bytes()
}

/// The frame checksum of the header that these bytes begin with, if they are one. Not checked.
pub(crate) fn claimed_chain(bytes: &[u8]) -> Option<Chain> {
    take_u32(bytes, Form::of(bytes).frame_crc_at()).map(Chain)
}

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
            durable_upto: LogPosition { segment: SegmentId(0), offset: 0 },
            payload_len: 0,
        }
    }

    /// Where a short header at `offset` of this file has room for all of it: how many words before
    /// `durable_upto` is.
    fn words_if_short(&self, salt: Salt, offset: u64) -> Option<u64> {
        let Self { id, clock, durable_upto, .. } = *self;
        let back = offset.checked_sub(u64::from(durable_upto.offset))?;
        let words = back / FRAME_ALIGN as u64;
        // What is too much of any field, in one number: no branch for each.
        let beyond = id.index.0 >> 40
            | id.term.0 >> 24
            | id.leader.0 >> 16
            | clock.0 >> 56
            | u64::from(self.payload_len >> 24)
            | words >> 24;
        let is_here =
            durable_upto.segment.0 == salt.number && back.is_multiple_of(FRAME_ALIGN as u64);
        let is_plain = self.kind.is_entry() && self.flag == Flag::Unset;
        (is_plain && is_here && beyond == 0).then_some(words)
    }

    /// The fields of a short header, of which `back` is what [`Self::words_if_short`] tells.
    fn short_covered(&self, back: u64) -> [u8; SHORT_COVERED] {
        // Whole words, so that the checksums can load what was just stored.
        Fields::new()
            .u64(u64::from(SHORT_BITS | self.kind.code()) | self.clock.0 << 8)
            .u64(u64::from(self.payload_len) | self.id.index.0 << 24)
            .u64(back | self.id.term.0 << 24 | self.id.leader.0 << 48)
            .finish()
    }

    /// The fields of a long header.
    fn long_covered(&self) -> [u8; LONG_COVERED] {
        Fields::new()
            .raw(&[self.kind.code(), u8::from(self.flag == Flag::Set), 0, 0])
            .u32(self.payload_len)
            .u64(self.id.index.0)
            .u64(self.id.term.0)
            .u64(self.id.leader.0)
            .u64(self.clock.0)
            .u64(self.durable_upto.to_u64())
            .finish()
    }
}

/// Bytes that a frame with such a payload takes on disk, at most.
#[must_use]
pub const fn frame_len_max(payload_len: usize) -> usize {
    HEADER_BYTES + aligned(payload_len)
}

/// Bytes that the frame of an entry with such a payload takes on disk, as a rule: one that has no
/// room in a short header takes 24 more.
#[must_use]
pub const fn entry_frame_len(payload_len: usize) -> usize {
    SHORT_HEADER_BYTES + aligned(payload_len)
}

/// What the checksums of everything in one file are salted with, and the file's number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt {
    seed: u32,
    number: u32,
}

impl Salt {
    /// From the salt and the number in a file's prologue.
    #[must_use]
    pub fn new(salt: u64, number: u32) -> Self {
        Self { seed: crc32c::crc32c(&salt.to_le_bytes()), number }
    }

    /// The seed of the chain: stands in for the frame before the first.
    #[must_use]
    pub const fn chain(self) -> Chain {
        Chain(self.seed)
    }

    fn header_crc(self, offset: u64, covered: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.seed, &offset.to_le_bytes()), covered)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salt({:08x}, file {})", self.seed, self.number)
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
    bytes: [u8; HEADER_BYTES],
    form: Form,
    pub(crate) chain: Chain,
}

impl EncodedHeader {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.form.header_bytes()).unwrap_or_default()
    }
}

/// Zero bytes that fill the last multiple of the alignment.
pub(crate) fn padding(payload_len: usize) -> &'static [u8] {
    const ZERO: [u8; FRAME_ALIGN] = [0; FRAME_ALIGN];
    ZERO.get(..aligned(payload_len) - payload_len).unwrap_or_default()
}

/// Encodes the header of a frame that will stand at `offset`. `padded` are the parts of its payload
/// with the padding behind it: the fewer, the faster.
///
/// # Panics
/// When the payload is longer than any may be: the caller checks limits first.
pub(crate) fn encode_header(
    header: &FrameHeader,
    padded: &[&[u8]],
    salt: Salt,
    offset: u64,
    before: Chain,
) -> EncodedHeader {
    assert!(header.payload_len as usize <= PAYLOAD_BYTES_MAX, "the caller checks the limit");
    match header.words_if_short(salt, offset) {
        Some(back) => {
            let covered = header.short_covered(back);
            seal_header(Form::Short, &covered, padded, salt, offset, before)
        }
        None => seal_header(Form::Long, &header.long_covered(), padded, salt, offset, before),
    }
}

/// Appends a frame that will stand at `offset` to others: the same bytes as [`encode_header`] and
/// the padded payload behind it, with less work where that is copied anyway. Returns where the
/// chain goes on behind it.
///
/// # Panics
/// As [`encode_header`].
pub(crate) fn push_frame(
    to: &mut Vec<u8>,
    header: &FrameHeader,
    payload: [&[u8]; 2],
    salt: Salt,
    offset: u64,
    before: Chain,
) -> Chain {
    assert!(header.payload_len as usize <= PAYLOAD_BYTES_MAX, "the caller checks the limit");
    match header.words_if_short(salt, offset) {
        Some(back) => push_sealed(to, &header.short_covered(back), payload, salt, offset, before),
        None => push_sealed(to, &header.long_covered(), payload, salt, offset, before),
    }
}

fn push_sealed<const N: usize>(
    to: &mut Vec<u8>,
    covered: &[u8; N],
    [head, body]: [&[u8]; 2],
    salt: Salt,
    offset: u64,
    before: Chain,
) -> Chain {
    let begin = to.len();
    // What a checksum covers stands in one piece before it moves to where it belongs.
    to.extend_from_slice(&[0; CHECKSUMS_BYTES]);
    to.extend_from_slice(covered);
    to.extend_from_slice(head);
    to.extend_from_slice(body);
    // As many zeros as any frame has, and then less of them: one store.
    let end = begin + CHECKSUMS_BYTES + N + aligned(head.len() + body.len());
    to.extend_from_slice(&[0; FRAME_ALIGN]);
    to.truncate(end);
    let (_, frame) = to.split_at_mut(begin);
    let (_, padded) = frame.split_at(CHECKSUMS_BYTES);
    let crc = crc32c::crc32c_append(before.0, padded);
    let header_crc = placed_crc(covered, crc, salt, offset);
    let (fields, rest) = frame.split_at_mut(N);
    fields.copy_from_slice(covered);
    if let Some(checksums) = rest.first_chunk_mut() {
        *checksums = Fields::<CHECKSUMS_BYTES>::new().u32(crc).u32(header_crc).finish();
    }
    Chain(crc)
}

/// Bytes of the two checksums at the end of a header, and of a header before them.
const CHECKSUMS_BYTES: usize = 8;
const SHORT_COVERED: usize = SHORT_HEADER_BYTES - CHECKSUMS_BYTES;
const LONG_COVERED: usize = HEADER_BYTES - CHECKSUMS_BYTES;

/// Puts the two checksums behind the fields of a header.
fn seal_header<const N: usize>(
    form: Form,
    covered: &[u8; N],
    padded: &[&[u8]],
    salt: Salt,
    offset: u64,
    before: Chain,
) -> EncodedHeader {
    let mut crc = crc32c::crc32c_append(before.0, covered);
    for part in padded {
        crc = crc32c::crc32c_append(crc, part);
    }
    let header_crc = placed_crc(covered, crc, salt, offset);
    let bytes = Fields::new().raw(covered).u32(crc).u32(header_crc).padded();
    EncodedHeader { bytes, form, chain: Chain(crc) }
}

/// The header checksum, which also covers where the header stands.
fn placed_crc(covered: &[u8], crc: u32, salt: Salt, offset: u64) -> u32 {
    // In one piece with the place in front, and then without it: one call costs less than two.
    let placed = Fields::<{ 8 + HEADER_BYTES }>::new().u64(offset).raw(covered).u32(crc);
    crc32c::crc32c_append(salt.seed, placed.written())
}

/// A header that checks, with the frame checksum it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedHeader {
    /// What it says.
    pub header: FrameHeader,
    /// The frame checksum that stands in it: the seed of the frame behind.
    pub chain: Chain,
    form: Form,
}

impl CheckedHeader {
    /// Bytes of the header.
    #[must_use]
    pub const fn header_bytes(&self) -> usize {
        self.form.header_bytes()
    }

    /// Bytes that the whole frame takes.
    #[must_use]
    pub const fn frame_len(&self) -> usize {
        self.header_bytes() + aligned(self.header.payload_len as usize)
    }

    /// The frame with this header, which `bytes` begin with; `None` when they end before it does.
    /// Its payload is not checked.
    pub(crate) fn frame_in<'a>(&self, bytes: &'a [u8]) -> Option<Frame<'a>> {
        let len = self.frame_len();
        let padded = bytes.get(self.header_bytes()..len)?;
        let payload = padded.get(..self.header.payload_len as usize)?;
        Some(Frame { header: self.header, payload, chain: self.chain, len })
    }

    /// Checks the frame with this header, which `bytes` begin with, behind a frame that left
    /// `before`.
    pub(crate) fn check(self, bytes: &[u8], before: Chain) -> Result<Frame<'_>, NotAFrame> {
        let frame = self.frame_in(bytes).ok_or(NotAFrame::FileEnds(self))?;
        // In two pieces: the checksum and that of the header stand between them.
        let covered = bytes.get(..self.form.frame_crc_at()).unwrap_or_default();
        let padded = bytes.get(self.header_bytes()..frame.len).unwrap_or_default();
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(before.0, covered), padded);
        if Chain(crc) == self.chain { Ok(frame) } else { Err(NotAFrame::Payload(self)) }
    }
}

/// Reads the header at the beginning of `bytes`, which stand at `offset` of a file with that salt.
///
/// `None` when it is no header of this place: too few bytes, a checksum that differs, or values
/// that no release writes.
#[must_use]
pub fn check_header(bytes: &[u8], salt: Salt, offset: u64) -> Option<CheckedHeader> {
    // Cheap refusals first: a search behind damage comes here for every eighth byte.
    let form = Form::of(bytes);
    let marked = match form {
        Form::Short => SHORT_BITS,
        Form::Long => 0,
    };
    let kind = FrameKind::from_code(bytes.first()? ^ marked)?;
    let payload_len = match form {
        Form::Short if kind.is_entry() => take_u32(bytes, 8)? & 0xff_ffff,
        Form::Short => return None,
        Form::Long => take_u32(bytes, 4)?,
    };
    if payload_len as usize > PAYLOAD_BYTES_MAX {
        return None;
    }
    let covered = bytes.get(..form.header_crc_at())?;
    if take_u32(bytes, form.header_crc_at())? != salt.header_crc(offset, covered) {
        return None;
    }
    let header = match form {
        Form::Short => short_fields(bytes, kind, payload_len, salt, offset),
        Form::Long => long_fields(bytes, kind, payload_len),
    }?;
    Some(CheckedHeader { header, chain: claimed_chain(bytes)?, form })
}

fn short_fields(
    bytes: &[u8],
    kind: FrameKind,
    payload_len: u32,
    salt: Salt,
    offset: u64,
) -> Option<FrameHeader> {
    let [first, second, third] = [take_u64(bytes, 0)?, take_u64(bytes, 8)?, take_u64(bytes, 16)?];
    let back = (third & 0xff_ffff) * FRAME_ALIGN as u64;
    let synced = u32::try_from(offset.checked_sub(back)?).ok()?;
    Some(FrameHeader {
        kind,
        flag: Flag::Unset,
        id: LogId {
            index: LogIndex(second >> 24),
            term: Term(third >> 24 & 0xff_ffff),
            leader: NodeId(third >> 48),
        },
        clock: Timestamp(first >> 8),
        durable_upto: LogPosition { segment: SegmentId(salt.number), offset: synced },
        payload_len,
    })
}

fn long_fields(bytes: &[u8], kind: FrameKind, payload_len: u32) -> Option<FrameHeader> {
    let flag = match take(bytes, 1)? {
        [0, 0, 0] => Flag::Unset,
        [1, 0, 0] => Flag::Set,
        _ => return None,
    };
    Some(FrameHeader {
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
    })
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
    /// Bytes that it takes.
    pub len: usize,
}

impl Frame<'_> {
    /// Bytes of its header.
    pub(crate) const fn header_bytes(&self) -> usize {
        self.len - aligned(self.payload.len())
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAFrame {
    /// The header does not check.
    Header,
    /// The header checks, but the file ends before the frame does.
    FileEnds(CheckedHeader),
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
    check_header(bytes, salt, offset).ok_or(NotAFrame::Header)?.check(bytes, before)
}

#[cfg(test)]
mod tests;
