//! The end of the last segment: which of its frames are known to be synced, and what stands behind
//! them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::context::Context;
use super::error::StorageError;
use super::format::PROLOGUE_BYTES;
use super::frame::{Chain, Salt, check_frame};
use super::log_contents::LogContents;
use super::segment_scan::{End, HeaderAt, Placed, Stop, nonzero_end};
use crate::env::fs::{OpenHow, read_exact_at};
use crate::types::{LogPosition, SegmentId};

/// The last segment.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(super) path: PathBuf,
    pub(super) salt: Salt,
    /// Behind the last frame that is known to be synced, and its checksum.
    pub(crate) synced_end: (usize, Chain),
    /// Behind the last frame that is part of the log.
    pub(crate) end: usize,
    /// Whether the last frame is a seal.
    pub(crate) sealed: bool,
    /// Length of the file.
    pub(crate) file_len: u64,
    /// What stands behind `synced_end`: frames that survived, then bytes that are not part of the
    /// log, without the zeros at their end.
    pub(super) unsynced: Vec<u8>,
}

impl Tail {
    /// Whether anything stands behind what is known to be synced.
    pub(crate) const fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Bytes that are not part of the log, without the zeros at their end.
    pub(crate) fn cut_bytes(&self) -> &[u8] {
        self.unsynced.get(self.end - self.synced_end.0..).unwrap_or_default()
    }

    /// The payload of a frame that survived.
    pub(crate) fn payload_of(&self, placed: &Placed<'_>) -> &[u8] {
        let start = placed.offset - self.synced_end.0 + placed.frame.header_bytes();
        self.unsynced.get(start..start + placed.frame.payload.len()).unwrap_or_default()
    }

    /// Shows these frames to the contents.
    ///
    /// # Errors
    /// `Corrupt` when one cannot follow what was before.
    pub(super) fn take_in_survivors(
        &self,
        segment: SegmentId,
        contents: &mut LogContents,
    ) -> Result<(), StorageError> {
        self.survivors(|placed| observe(contents, &placed.header_at(segment), &self.path))
    }

    /// Shows the frames that survived behind what is known to be synced, in order.
    ///
    /// # Errors
    /// The first that `visit` returns; `Corrupt` when the file reads otherwise than before.
    pub(crate) fn survivors(
        &self,
        mut visit: impl FnMut(Placed<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let (mut offset, mut before) = self.synced_end;
        let mut bytes = self.unsynced.get(..self.end - offset).unwrap_or_default();
        while offset < self.end {
            let frame = check_frame(bytes, self.salt, offset as u64, before).map_err(|_| {
                let found = "a frame that checked a moment ago does not any more";
                StorageError::corrupt(&self.path, offset as u64, found)
            })?;
            visit(Placed { frame, offset, before })?;
            offset += frame.len;
            before = frame.chain;
            bytes = bytes.get(frame.len..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Frames of the last segment of which it is not known yet whether they are synced.
///
/// The proof may stand in any header behind them, and what the log holds is to be known where the
/// synced part ends: so they wait, and one walk through the file is enough. Memory: some hundred
/// bytes for each frame that waits, of which there are as many as were written since a sync was
/// known: with values of a few bytes about twice what they take in the file.
pub(super) struct Pending<'a> {
    path: &'a Path,
    /// With where each ends.
    frames: VecDeque<(HeaderAt, (usize, Chain))>,
    /// Behind the last frame that was taken in.
    synced_end: (usize, Chain),
    /// The first that could not be.
    refused: Option<StorageError>,
}

impl<'a> Pending<'a> {
    pub(super) fn new(path: &'a Path, salt: Salt) -> Self {
        let synced_end = (PROLOGUE_BYTES, salt.chain());
        Self { path, frames: VecDeque::new(), synced_end, refused: None }
    }

    pub(super) fn push(&mut self, placed: &Placed<'_>, segment: SegmentId) {
        if self.refused.is_none() {
            let end = (placed.offset + placed.frame.len, placed.frame.chain);
            self.frames.push_back((placed.header_at(segment), end));
        }
    }

    /// Shows the frames that begin before `synced` to the contents.
    pub(super) fn take_in(&mut self, synced: LogPosition, contents: &mut LogContents) {
        while let Some((at, end)) = self.frames.pop_front_if(|(at, _)| at.position < synced) {
            match observe(contents, &at, self.path) {
                Ok(()) => self.synced_end = end,
                Err(error) => {
                    self.refused = Some(error);
                    self.frames.clear();
                }
            }
        }
    }

    /// Where the frames that were taken in end, and the checksum there.
    pub(super) fn finish(self) -> Result<(usize, Chain), StorageError> {
        self.refused.map_or(Ok(self.synced_end), Err)
    }
}

/// Shows one frame of a segment to the contents.
///
/// # Errors
/// `Corrupt` when it checks and cannot follow what was before.
pub(crate) fn observe(
    contents: &mut LogContents,
    at: &HeaderAt,
    path: &Path,
) -> Result<(), StorageError> {
    let HeaderAt { header, position, before } = at;
    if position.offset as usize == PROLOGUE_BYTES {
        // The state frame: `read_head` has taken it in.
        return Ok(());
    }
    contents.observe(header, *position, *before).map_err(|order| {
        let found = format!("expected {}, found {header:?}", order.expected);
        StorageError::corrupt(path, u64::from(position.offset), found)
    })
}

/// What stands behind what is known to be synced, without the zeros at the end of the file.
pub(super) fn read_unsynced(
    context: &Context,
    path: &Path,
    synced_end: usize,
    end: &End,
    file_len: u64,
) -> Result<Vec<u8>, StorageError> {
    let upto = match end.stop {
        Stop::Clean => end.offset,
        Stop::Bad(_) => usize::try_from(file_len).unwrap_or(usize::MAX),
    };
    if upto <= synced_end {
        return Ok(Vec::new());
    }
    let opened = context.env.fs.open(path, OpenHow::Read);
    let file = opened.map_err(StorageError::wrap("open", path))?;
    let mut bytes = vec![0; upto - synced_end];
    read_exact_at(&*file, &mut bytes, synced_end as u64)
        .map_err(StorageError::wrap("read", path))?;
    // The last frame may end in zeros of its own.
    let len = nonzero_end(&bytes).max(end.offset - synced_end);
    bytes.truncate(len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::segment_scan::tests::{NUMBER, SALT, segments};

    #[test]
    fn survivors_that_read_otherwise_the_second_time_are_not_left_out_in_silence() {
        for segment in segments(&[b"one", b"two", b"three"]) {
            let salt = Salt::new(SALT, NUMBER);
            let unsynced = segment.bytes.get(PROLOGUE_BYTES..).unwrap().to_vec();
            let mut tail = Tail {
                path: PathBuf::from("segment"),
                salt,
                synced_end: (PROLOGUE_BYTES, salt.chain()),
                end: segment.bytes.len(),
                sealed: false,
                file_len: segment.bytes.len() as u64,
                unsynced,
            };
            let shown = |tail: &Tail| {
                let mut shown = 0;
                tail.survivors(|_| {
                    shown += 1;
                    Ok(())
                })
                .map(|()| shown)
            };
            assert_eq!(shown(&tail).unwrap(), 3);
            let third = segment.starts[2];
            tail.unsynced[third - PROLOGUE_BYTES] ^= 1;
            let error = shown(&tail).unwrap_err();
            let at = third as u64;
            assert!(matches!(error, StorageError::Corrupt { offset, .. } if offset == at));
        }
    }
}
