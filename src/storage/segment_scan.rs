//! Reads the frames of one segment in order and says how and where they end. Pure: bytes in, words
//! out; what the words mean for the store is decided in `recovery`.

use super::format::{FRAME_ALIGN, PROLOGUE_BYTES, SECTOR_BYTES, SHORT_HEADER_BYTES};
use super::frame::{
    Chain, Frame, FrameHeader, NotAFrame, Salt, check_frame, check_header, claimed_header_bytes,
};
use crate::types::{LogPosition, SegmentId};

/// What bytes that do not check show about having been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The file, or what was ever written of it, ends inside the frame.
    FileEnds,
    /// A sector of the frame is zero: it was never written, or its write was lost.
    ZeroSector,
    /// Every sector holds something: this is not how an interrupted write looks.
    Unclear,
}

/// How the frames of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The file ends here, or all that follows is zero.
    Clean,
    /// What follows is not a frame.
    Bad(Written),
}

/// Where the frames of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Behind the last frame that checks.
    pub(crate) offset: usize,
    /// Its frame checksum.
    pub(crate) chain: Chain,
    /// How.
    pub(crate) stop: Stop,
    /// The greatest `durable_upto` of all headers that check, also of those behind a bad frame.
    pub(crate) durable_upto: LogPosition,
}

/// A frame and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) frame: Frame<'a>,
    /// Where it begins in its file.
    pub(crate) offset: usize,
    /// Frame checksum of the frame before.
    pub(crate) before: Chain,
}

impl Placed<'_> {
    /// What of it the log's contents take in. `segment` is the file's number.
    pub(crate) fn header_at(&self, segment: SegmentId) -> HeaderAt {
        let offset = u32::try_from(self.offset).unwrap_or(u32::MAX);
        let position = LogPosition { segment, offset };
        HeaderAt { header: self.frame.header, position, before: self.before }
    }
}

/// A header that checks, and where it stands in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderAt {
    pub(crate) header: FrameHeader,
    /// Where its frame begins.
    pub(crate) position: LogPosition,
    /// Frame checksum of the frame before.
    pub(crate) before: Chain,
}

/// Goes through the frames of a file, prologue included, and shows each to `visit`.
///
/// # Errors
/// The first that `visit` returns.
pub(crate) fn scan<E>(
    bytes: &[u8],
    salt: Salt,
    visit: impl FnMut(Placed<'_>) -> Result<(), E>,
) -> Result<End, E> {
    let mut scan = SegmentScan::new(salt);
    let behind = |offset| bytes.get(offset..).unwrap_or_default();
    scan.go_on(behind(scan.offset()), visit)?;
    let rest = behind(scan.offset());
    Ok(scan.finish(rest))
}

/// A walk through the frames of a segment that is shown its bytes piece by piece.
#[derive(Debug)]
pub(crate) struct SegmentScan {
    salt: Salt,
    /// How it would end here.
    end: End,
}

impl SegmentScan {
    /// Stands in front of the first frame.
    pub(crate) fn new(salt: Salt) -> Self {
        let end = End {
            offset: PROLOGUE_BYTES,
            chain: salt.chain(),
            stop: Stop::Clean,
            durable_upto: LogPosition::default(),
        };
        Self { salt, end }
    }

    /// Where in the file the walk stands: behind the last frame that checked.
    pub(crate) const fn offset(&self) -> usize {
        self.end.offset
    }

    /// Goes on through the frames that check and are whole in `bytes`, which stand at
    /// [`offset`](Self::offset), and shows each to `visit`. The walk then stands in front of
    /// something that is no frame, or of which `bytes` hold too little to tell.
    ///
    /// # Errors
    /// The first that `visit` returns.
    pub(crate) fn go_on<E>(
        &mut self,
        bytes: &[u8],
        mut visit: impl FnMut(Placed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { salt, end } = self;
        let mut rest = bytes;
        while let Ok(frame) = check_frame(rest, *salt, end.offset as u64, end.chain) {
            visit(Placed { frame, offset: end.offset, before: end.chain })?;
            end.durable_upto = end.durable_upto.max(frame.header.durable_upto);
            end.offset += frame.len;
            end.chain = frame.chain;
            rest = rest.get(frame.len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Says how the frames end: `rest` is all that the file has where the walk stands, and
    /// [`go_on`](Self::go_on) has seen it.
    pub(crate) fn finish(self, rest: &[u8]) -> End {
        let Self { salt, mut end } = self;
        if is_zero(rest) {
            return end;
        }
        if let Err(not_a_frame) = check_frame(rest, salt, end.offset as u64, end.chain) {
            end.stop = Stop::Bad(written(rest, end.offset, not_a_frame));
            end.durable_upto = end.durable_upto.max(durable_behind(rest, end.offset, salt));
        }
        end
    }
}

/// What a frame at the beginning of `rest`, which stands at `offset`, shows about having been
/// written.
///
/// A write that was interrupted leaves some of its sectors as they were, and room that was never
/// written is zero. The frame is one write, so what a lost sector should hold of it is zero.
fn written(rest: &[u8], offset: usize, not_a_frame: NotAFrame) -> Written {
    let len = match not_a_frame {
        NotAFrame::Header => header_len(rest),
        NotAFrame::FileEnds(_) => return Written::FileEnds,
        NotAFrame::Payload(checked) => checked.frame_len(),
    };
    let Some(frame) = rest.get(..len) else {
        return Written::FileEnds;
    };
    // The system call may have taken only part of the frame: in reserved room the rest is zero.
    let content_len = match not_a_frame {
        NotAFrame::Payload(checked) => checked.header_bytes() + checked.header.payload_len as usize,
        NotAFrame::Header | NotAFrame::FileEnds(_) => header_len(rest),
    };
    if rest.get(content_len.saturating_sub(1)..).is_some_and(is_zero) {
        return Written::FileEnds;
    }
    // The first sector may begin with frames before this one.
    let first = (SECTOR_BYTES - offset % SECTOR_BYTES).min(len);
    let (head, sectors) = frame.split_at(first);
    if is_zero(head) || sectors.chunks(SECTOR_BYTES).any(is_zero) {
        Written::ZeroSector
    } else {
        Written::Unclear
    }
}

/// How long a header that does not check was to be. Where not even its first byte was written it
/// may have been either: what is looked at is no more than it has in any case.
fn header_len(rest: &[u8]) -> usize {
    match rest.first() {
        Some(0) => SHORT_HEADER_BYTES,
        _ => claimed_header_bytes(rest),
    }
}

/// The greatest `durable_upto` of the headers that check in `rest`, which stands at `offset`,
/// wherever they begin.
fn durable_behind(rest: &[u8], offset: usize, salt: Salt) -> LogPosition {
    let headers = (0..rest.len()).step_by(FRAME_ALIGN).filter_map(|at| {
        let checked = check_header(rest.get(at..)?, salt, (offset + at) as u64)?;
        Some(checked.header.durable_upto)
    });
    headers.max().unwrap_or_default()
}

/// How many bytes are looked at together for any that is not zero: up to a segment of room behind
/// the log is looked at when it is opened.
const TOGETHER_BYTES: usize = 64;

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks_exact(TOGETHER_BYTES);
    chunks.all(no_bit) && no_bit(chunks.remainder())
}

/// Where the last byte that is not zero ends.
pub(crate) fn nonzero_end(bytes: &[u8]) -> usize {
    let zeros = bytes.rchunks_exact(TOGETHER_BYTES).take_while(|chunk| no_bit(chunk)).count();
    let rest = bytes.get(..bytes.len() - zeros * TOGETHER_BYTES).unwrap_or_default();
    rest.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1)
}

/// Whether no bit is set: all bytes are looked at, whatever they are, so that it is done in words.
fn no_bit(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::storage::frame::{Flag, FrameKind, encode_header, padding};
    use crate::types::{LogId, Timestamp};

    pub(in crate::storage) const SALT: u64 = 99;
    pub(in crate::storage) const NUMBER: u32 = 1;

    /// A segment.
    pub(in crate::storage) struct Segment {
        pub(in crate::storage) bytes: Vec<u8>,
        /// Where its frames begin.
        pub(in crate::storage) starts: Vec<usize>,
        header_bytes: usize,
        /// What the last frame says of how far the log was synced.
        durable_upto: LogPosition,
    }

    /// Segments with one frame per payload, with short headers and with long ones; frame n says
    /// that n words were synced, or n segments.
    pub(in crate::storage) fn segments(payloads: &[&[u8]]) -> [Segment; 2] {
        let words = |n| LogPosition { segment: SegmentId(NUMBER), offset: 8 * n };
        let files = |n| LogPosition { segment: SegmentId(NUMBER + 1 + n), offset: 0 };
        [segment(payloads, words), segment(payloads, files)]
    }

    fn segment(payloads: &[&[u8]], durable_upto: impl Fn(u32) -> LogPosition) -> Segment {
        let salt = Salt::new(SALT, NUMBER);
        let mut bytes = vec![0xAA; PROLOGUE_BYTES];
        let (mut starts, mut header_bytes) = (Vec::new(), 0);
        let mut chain = salt.chain();
        let mut header = FrameHeader::mark(FrameKind::Normal, Flag::Unset, LogId::default());
        header.clock = Timestamp(1 << 55);
        for (n, payload) in (0..).zip(payloads) {
            header.payload_len = u32::try_from(payload.len()).unwrap();
            header.durable_upto = durable_upto(n);
            let padded = [*payload, padding(payload.len())];
            let encoded = encode_header(&header, &padded, salt, bytes.len() as u64, chain);
            starts.push(bytes.len());
            header_bytes = encoded.bytes().len();
            bytes.extend_from_slice(encoded.bytes());
            bytes.extend_from_slice(&padded.concat());
            chain = encoded.chain;
        }
        Segment { bytes, starts, header_bytes, durable_upto: header.durable_upto }
    }

    fn scanned(bytes: &[u8]) -> (usize, End) {
        let mut frames = 0;
        let end = scan(bytes, Salt::new(SALT, NUMBER), |_| {
            frames += 1;
            Ok::<_, ()>(())
        });
        (frames, end.unwrap())
    }

    #[test]
    fn ends_cleanly_at_the_end_of_the_file_and_where_only_zeros_follow() {
        for Segment { mut bytes, .. } in segments(&[b"one", b"two"]) {
            let len = bytes.len();
            for room in [0, 8, 3000] {
                bytes.resize(len + room, 0);
                let (frames, end) = scanned(&bytes);
                assert_eq!((frames, end.offset, end.stop), (2, len, Stop::Clean));
            }
        }
    }

    #[test]
    fn a_damaged_payload_does_not_hide_what_the_headers_behind_it_say() {
        for mut segment in segments(&[b"one", &[7; 2000], b"three"]) {
            segment.bytes[segment.starts[1] + 1000] ^= 1;
            let (frames, end) = scanned(&segment.bytes);
            assert_eq!((frames, end.stop), (1, Stop::Bad(Written::Unclear)));
            assert_eq!(end.durable_upto, segment.durable_upto);
        }
    }

    #[test]
    fn a_file_that_ends_inside_a_frame_shows_it() {
        for Segment { bytes, starts, .. } in segments(&[b"one", &[7; 2000]]) {
            for len in starts[1] + 1..bytes.len() {
                let (frames, end) = scanned(&bytes[..len]);
                assert_eq!((frames, end.stop), (1, Stop::Bad(Written::FileEnds)), "length {len}");
            }
        }
    }

    #[test]
    fn room_in_which_a_frame_ends_early_shows_it() {
        for segment in segments(&[b"one", &[7; 300]]) {
            let second = segment.starts[1];
            for len in second + 1..second + segment.header_bytes + 300 {
                let mut bytes = segment.bytes.clone();
                bytes[len..].fill(0);
                bytes.resize(2000, 0);
                let (frames, end) = scanned(&bytes);
                assert_eq!(frames, 1);
                assert_ne!(end.stop, Stop::Bad(Written::Unclear), "length {len}");
            }
            let mut bytes = segment.bytes;
            bytes[second + 100] ^= 1;
            assert_eq!(scanned(&bytes).1.stop, Stop::Bad(Written::Unclear));
        }
    }

    #[test]
    fn any_lost_sector_of_a_frame_shows_it() {
        // Frames that begin near the end of a sector, too.
        for first in [3, 330, 340, 350, 360, 370, 380, 390, 400, 410, 420, 430, 440] {
            for Segment { bytes, starts, .. } in segments(&[&vec![9; first], &[7; 2000], b"end"]) {
                for sector in starts[1] / SECTOR_BYTES..bytes.len().div_ceil(SECTOR_BYTES) {
                    let mut lost = bytes.clone();
                    let start = (sector * SECTOR_BYTES).max(starts[1]);
                    let end = ((sector + 1) * SECTOR_BYTES).min(bytes.len());
                    lost[start..end].fill(0);
                    let (frames, end) = scanned(&lost);
                    assert!(frames == 1 || start >= starts[2]);
                    assert_ne!(end.stop, Stop::Bad(Written::Unclear), "{first}, {sector}");
                }
            }
        }
    }

    #[test]
    fn a_frame_whose_header_is_lost_does_not_look_like_the_end() {
        for Segment { mut bytes, starts, durable_upto, .. } in segments(&[b"one", b"two", b"three"])
        {
            bytes[starts[1]..starts[2]].fill(0);
            let (frames, end) = scanned(&bytes);
            assert_eq!((frames, end.stop), (1, Stop::Bad(Written::ZeroSector)));
            assert_eq!(end.durable_upto, durable_upto);
        }
    }

    #[test]
    fn a_flipped_bit_in_the_last_frame_does_not_look_torn() {
        for Segment { bytes, starts, .. } in segments(&[b"one", b""]) {
            for room in [0, 2000] {
                for bit in starts[1] * 8..bytes.len() * 8 {
                    let mut flipped = bytes.clone();
                    flipped.resize(bytes.len() + room, 0);
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(scanned(&flipped).1.stop, Stop::Bad(Written::Unclear), "{bit}");
                }
            }
        }
    }

    #[test]
    fn zero_is_told_from_almost_zero_at_every_place() {
        assert!(is_zero(&[0; 200]));
        assert_eq!(nonzero_end(&[0; 200]), 0);
        for at in 0..200 {
            let mut bytes = [0; 200];
            bytes[at] = 1;
            assert!(!is_zero(&bytes));
            assert_eq!(nonzero_end(&bytes), at + 1);
        }
    }
}
