//! Reads the frames of one segment in order and says how and where they end. Pure: bytes in, words
//! out; what the words mean for the store is decided in `recovery`.

use super::format::{FRAME_ALIGN, HEADER_BYTES, PROLOGUE_BYTES, SECTOR_BYTES};
use super::frame::{Chain, Frame, NotAFrame, Salt, check_frame, check_header};
use crate::types::LogPosition;

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

/// Goes through the frames of a file, prologue included, and shows each to `visit`.
///
/// # Errors
/// The first that `visit` returns.
pub(crate) fn scan<E>(
    bytes: &[u8],
    salt: Salt,
    mut visit: impl FnMut(Placed<'_>) -> Result<(), E>,
) -> Result<End, E> {
    let mut end = End {
        offset: PROLOGUE_BYTES,
        chain: salt.chain(),
        stop: Stop::Clean,
        durable_upto: LogPosition::default(),
    };
    loop {
        let rest = bytes.get(end.offset..).unwrap_or_default();
        match check_frame(rest, salt, end.offset as u64, end.chain) {
            Ok(frame) => {
                visit(Placed { frame, offset: end.offset, before: end.chain })?;
                end.durable_upto = end.durable_upto.max(frame.header.durable_upto);
                end.offset += frame.header.frame_len();
                end.chain = frame.chain;
            }
            Err(_) if is_zero(rest) => return Ok(end),
            Err(not_a_frame) => {
                end.stop = Stop::Bad(written(rest, end.offset, not_a_frame));
                end.durable_upto = end.durable_upto.max(durable_behind(bytes, end.offset, salt));
                return Ok(end);
            }
        }
    }
}

/// What a frame at the beginning of `rest`, which stands at `offset`, shows about having been
/// written.
///
/// A write that was interrupted leaves some of its sectors as they were, and room that was never
/// written is zero. The frame is one write, so what a lost sector should hold of it is zero.
fn written(rest: &[u8], offset: usize, not_a_frame: NotAFrame) -> Written {
    let len = match not_a_frame {
        NotAFrame::Header => HEADER_BYTES,
        NotAFrame::Short(_) => return Written::FileEnds,
        NotAFrame::Payload(checked) => checked.header.frame_len(),
    };
    let Some(frame) = rest.get(..len) else {
        return Written::FileEnds;
    };
    // The system call may have taken only part of the frame: in reserved room the rest is zero.
    let content_len = match not_a_frame {
        NotAFrame::Payload(checked) => HEADER_BYTES + checked.header.payload_len as usize,
        NotAFrame::Header | NotAFrame::Short(_) => HEADER_BYTES,
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

/// The greatest `durable_upto` of the headers that check behind `offset`, wherever they begin.
fn durable_behind(bytes: &[u8], offset: usize, salt: Salt) -> LogPosition {
    let mut greatest = LogPosition::default();
    for at in (offset..bytes.len()).step_by(FRAME_ALIGN) {
        if let Some(checked) = bytes.get(at..).and_then(|rest| check_header(rest, salt, at as u64))
        {
            greatest = greatest.max(checked.header.durable_upto);
        }
    }
    greatest
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Whole words at a time: up to a segment of room behind the log is looked at when it is opened.
    let mut words = bytes.chunks_exact(64);
    words.all(|word| word.iter().fold(0, |all, byte| all | byte) == 0)
        && bytes.chunks_exact(64).remainder().iter().all(|&byte| byte == 0)
}

/// Where the last byte that is not zero ends.
pub(crate) fn nonzero_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::frame::{Flag, FrameHeader, FrameKind, encode_header, padding};
    use crate::types::{LogId, SegmentId};

    const SALT: u64 = 99;

    /// A segment with one frame per payload; frame n says it was written when n bytes were synced.
    fn segment(payloads: &[&[u8]]) -> Vec<u8> {
        let salt = Salt::new(SALT);
        let mut bytes = vec![0xAA; PROLOGUE_BYTES];
        let mut chain = salt.chain();
        for (n, payload) in (0..).zip(payloads) {
            let mut header = FrameHeader::mark(FrameKind::Normal, Flag::Unset, LogId::default());
            header.payload_len = u32::try_from(payload.len()).unwrap();
            header.durable_upto = LogPosition { segment: SegmentId(1), offset: n };
            let encoded = encode_header(&header, [payload, b""], salt, bytes.len() as u64, chain);
            bytes.extend_from_slice(&encoded.bytes);
            bytes.extend_from_slice(payload);
            bytes.extend_from_slice(padding(payload.len()));
            chain = encoded.chain;
        }
        bytes
    }

    fn scanned(bytes: &[u8]) -> (usize, End) {
        let mut frames = 0;
        let end = scan(bytes, Salt::new(SALT), |_| {
            frames += 1;
            Ok::<_, ()>(())
        });
        (frames, end.unwrap())
    }

    #[test]
    fn ends_cleanly_at_the_end_of_the_file_and_where_only_zeros_follow() {
        let mut bytes = segment(&[b"one", b"two"]);
        let len = bytes.len();
        for room in [0, 8, 3000] {
            bytes.resize(len + room, 0);
            let (frames, end) = scanned(&bytes);
            assert_eq!((frames, end.offset, end.stop), (2, len, Stop::Clean));
        }
    }

    #[test]
    fn a_damaged_payload_does_not_hide_what_the_headers_behind_it_say() {
        let mut bytes = segment(&[b"one", &[7; 2000], b"three"]);
        bytes[PROLOGUE_BYTES + 64 + HEADER_BYTES + 900] ^= 1;
        let (frames, end) = scanned(&bytes);
        assert_eq!((frames, end.stop), (1, Stop::Bad(Written::Unclear)));
        assert_eq!(end.durable_upto.offset, 2);
    }

    #[test]
    fn a_file_that_ends_inside_a_frame_shows_it() {
        let bytes = segment(&[b"one", &[7; 2000]]);
        let second = PROLOGUE_BYTES + 64;
        for len in second + 1..bytes.len() {
            let (frames, end) = scanned(&bytes[..len]);
            assert_eq!((frames, end.stop), (1, Stop::Bad(Written::FileEnds)), "length {len}");
        }
    }

    #[test]
    fn room_in_which_a_frame_ends_early_shows_it() {
        let whole = segment(&[b"one", &[7; 300]]);
        let second = PROLOGUE_BYTES + 64;
        for len in second + 1..second + HEADER_BYTES + 300 {
            let mut bytes = whole.clone();
            bytes[len..].fill(0);
            bytes.resize(2000, 0);
            let (frames, end) = scanned(&bytes);
            assert_eq!(frames, 1);
            assert_ne!(end.stop, Stop::Bad(Written::Unclear), "length {len}");
        }
        let mut bytes = whole;
        bytes[second + 100] ^= 1;
        assert_eq!(scanned(&bytes).1.stop, Stop::Bad(Written::Unclear));
    }

    #[test]
    fn any_lost_sector_of_a_frame_shows_it() {
        let bytes = segment(&[b"one", &[7; 2000]]);
        let second = PROLOGUE_BYTES + 64;
        for sector in 0..bytes.len().div_ceil(SECTOR_BYTES) {
            let mut lost = bytes.clone();
            let start = (sector * SECTOR_BYTES).max(second);
            let end = ((sector + 1) * SECTOR_BYTES).min(bytes.len());
            lost[start..end].fill(0);
            let (frames, end) = scanned(&lost);
            assert_eq!(frames, 1);
            assert_ne!(end.stop, Stop::Bad(Written::Unclear), "{sector}");
        }
    }

    #[test]
    fn a_frame_whose_header_is_lost_does_not_look_like_the_end() {
        let mut bytes = segment(&[b"one", b"two", b"three"]);
        bytes[PROLOGUE_BYTES + 64..PROLOGUE_BYTES + 128].fill(0);
        let (frames, end) = scanned(&bytes);
        assert_eq!((frames, end.stop), (1, Stop::Bad(Written::ZeroSector)));
        assert_eq!(end.durable_upto.offset, 2);
    }

    #[test]
    fn zero_is_told_from_almost_zero_at_every_place() {
        assert!(is_zero(&[0; 200]));
        for at in 0..200 {
            let mut bytes = [0; 200];
            bytes[at] = 1;
            assert!(!is_zero(&bytes));
            assert_eq!(nonzero_end(&bytes), at + 1);
        }
    }
}
