//! Goes through the frames of one segment and on behind damage, to name all of it and not only the
//! first. Pure: bytes in, places out.

use super::format::FRAME_ALIGN;
use super::frame::{Chain, NotAFrame, Salt, check_frame, check_header, claimed_chain};
use super::segment_scan::Placed;

/// A frame that does not check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadFrame {
    /// Where it begins.
    pub(crate) offset: usize,
    /// What is wrong with it.
    pub(crate) found: &'static str,
}

/// What the frames of a segment turned out to be.
#[derive(Debug)]
pub(crate) struct Walked {
    /// Frames that check.
    pub(crate) frames: u64,
    /// In the order of the file.
    pub(crate) bad: Vec<BadFrame>,
    /// Behind the last frame that was looked at.
    pub(crate) end: usize,
    /// The checksum there.
    pub(crate) chain: Chain,
}

/// Whether the checksum that a frame is to be judged with is sure.
#[derive(Clone, Copy)]
enum Before {
    /// It stands in a header that checks.
    Known(Chain),
    /// It stands in one that does not.
    Guessed(Chain),
}

impl Before {
    const fn chain(self) -> Chain {
        match self {
            Self::Known(chain) | Self::Guessed(chain) => chain,
        }
    }
}

/// Goes through the frames that begin before `upto`, from one that begins at `start` behind
/// `chain`. Shows to `visit` those in front of the first damage.
///
/// Behind a damaged payload the walk goes on with the next frame, because the checksum that seeds
/// it stands in a header that checks. Behind a damaged header it goes on with the next header that
/// checks; what lies between counts as part of the damage.
pub(crate) fn walk(
    bytes: &[u8],
    salt: Salt,
    (start, chain): (usize, Chain),
    upto: usize,
    mut visit: impl FnMut(Placed<'_>),
) -> Walked {
    let mut walked = Walked { frames: 0, bad: Vec::new(), end: start, chain };
    let mut before = Before::Known(chain);
    while walked.end < upto {
        let offset = walked.end;
        let rest = bytes.get(offset..).unwrap_or_default();
        match check_frame(rest, salt, offset as u64, before.chain()) {
            Ok(frame) => {
                if walked.bad.is_empty() {
                    visit(Placed { frame, offset, before: before.chain() });
                }
                walked.frames += 1;
                walked.end += frame.len;
                before = Before::Known(frame.chain);
            }
            Err(NotAFrame::Payload(checked)) => {
                // With a guessed seed it may be the guess that is wrong, and the header is right.
                if matches!(before, Before::Known(_)) {
                    let found = "the checksum of a frame differs from its content";
                    walked.bad.push(BadFrame { offset, found });
                }
                walked.end += checked.frame_len();
                before = Before::Known(checked.chain);
            }
            Err(NotAFrame::FileEnds(_)) => {
                walked.bad.push(BadFrame { offset, found: "the file ends inside a frame" });
                break;
            }
            Err(NotAFrame::Header) => {
                let found = "the header of a frame does not check";
                walked.bad.push(BadFrame { offset, found });
                let guess = claimed_chain(rest).unwrap_or_default();
                before = Before::Guessed(guess);
                walked.end = next_header(bytes, offset + FRAME_ALIGN, upto, salt);
            }
        }
    }
    walked.chain = before.chain();
    walked
}

/// Where the next header that checks begins; `upto` when there is none before it.
fn next_header(bytes: &[u8], from: usize, upto: usize, salt: Salt) -> usize {
    (from..upto)
        .step_by(FRAME_ALIGN)
        .find(|&at| {
            bytes.get(at..).is_some_and(|rest| check_header(rest, salt, at as u64).is_some())
        })
        .unwrap_or(upto)
}
