//! Reads the whole log of a directory and finds out what is in it and how far it was synced. Writes
//! nothing: `log_open` acts on what is found.

use std::path::Path;

use super::context::Context;
use super::error::StorageError;
use super::format::{
    PROLOGUE_BYTES, SEGMENT_MAGIC, WATERMARK_BYTES, WATERMARK_NAME, parse_segment_name,
};
use super::frame::{Chain, FrameKind, Salt, check_frame};
use super::hard_state::SegmentState;
use super::log_contents::LogContents;
use super::log_segment::HEAD_BYTES;
use super::prologue::Prologue;
use super::recovery::{Check, Decision, Needed, Part, Situation, decide, judge};
use super::segment_scan::{End, Placed, Stop, Written, nonzero_end, scan};
use super::watermark;
use crate::env::fs::{FileKind, OpenHow, read_exact_at, read_up_to_at};
use crate::types::{FileOffset, LogId, LogIndex, LogPosition, SegmentId};

/// What to do with an end of the log that may be damage or an unsynced write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TailPolicy {
    /// Refuse to open.
    #[default]
    Refuse,
    /// Cut it: the operator's explicit act.
    Truncate,
}

/// A segment that is part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    pub(crate) id: SegmentId,
    pub(crate) salt: Salt,
    /// Behind its last frame that is part of the log.
    pub(crate) end: u64,
}

/// The last segment.
#[derive(Debug)]
pub(crate) struct Tail {
    /// All of its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Behind the last frame that is known to be synced, and its checksum.
    pub(crate) synced_end: (usize, Chain),
    /// Behind the last frame that is part of the log.
    pub(crate) end: usize,
    /// Whether the last frame is a seal.
    pub(crate) sealed: bool,
}

impl Tail {
    /// Whether anything stands behind what is known to be synced: frames that survived, or bytes
    /// that are not part of the log.
    pub(crate) fn has_unsynced(&self) -> bool {
        let behind = self.bytes.get(self.synced_end.0..).unwrap_or_default();
        nonzero_end(behind) > 0
    }

    /// Bytes that are not part of the log, without the zeros at their end.
    pub(crate) fn cut_bytes(&self) -> &[u8] {
        let behind = self.bytes.get(self.end..).unwrap_or_default();
        behind.get(..nonzero_end(behind)).unwrap_or_default()
    }

    /// The frames behind what is known to be synced, in order.
    pub(crate) fn survivors<E>(
        &self,
        salt: Salt,
        mut visit: impl FnMut(Placed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = self.bytes.get(..self.end).unwrap_or_default();
        let (mut offset, mut before) = self.synced_end;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let Ok(frame) = check_frame(rest, salt, offset as u64, before) else {
                break;
            };
            visit(Placed { frame, offset, before })?;
            offset += frame.len;
            before = frame.chain;
        }
        Ok(())
    }
}

/// A log as it was found.
#[derive(Debug)]
pub(crate) struct ScannedLog {
    /// What the frames that are known to be synced add up to.
    pub(crate) contents: LogContents,
    /// Oldest first.
    pub(crate) segments: Vec<SegmentInfo>,
    /// Segments of which nothing is needed, before a gap.
    pub(crate) stale: Vec<SegmentId>,
    pub(crate) tail: Tail,
    /// The last entry when the last segment was begun.
    pub(crate) before_tail: Option<LogId>,
}

/// The segments in a folder, by number. Foreign names are left out.
///
/// # Errors
/// `Io`; `Corrupt` when a segment's name is not that of a regular file.
pub(crate) fn list_segments(context: &Context) -> Result<Vec<SegmentId>, StorageError> {
    let mut ids = Vec::new();
    let entries =
        context.env.fs.list(&context.log).map_err(StorageError::wrap("list", &context.log))?;
    for entry in entries {
        if let Some(id) = parse_segment_name(&entry.name) {
            if entry.kind != FileKind::File {
                let path = context.segment_path(id);
                return Err(StorageError::corrupt(&path, 0, "this is not a regular file"));
            }
            ids.push(id);
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Splits segments into those before the last gap in their numbers and those behind it.
///
/// A deletion of purged segments may have left some of them, in any combination: what the log needs
/// is always the last run of numbers without a gap. If it is not, entries are missing.
pub(crate) fn split_at_gap(ids: &[SegmentId]) -> (&[SegmentId], &[SegmentId]) {
    let gap =
        ids.windows(2).rposition(|pair| matches!(pair, [one, next] if one.next() != Some(*next)));
    ids.split_at(gap.map_or(0, |gap| gap + 1))
}

/// Scans the log; `None` when there is no segment.
///
/// # Errors
/// What the recovery table refuses, and `Io`. Nothing was written.
pub(crate) fn scan_log(
    context: &Context,
    policy: TailPolicy,
) -> Result<Option<ScannedLog>, StorageError> {
    let ids = list_segments(context)?;
    let (stale, ids) = split_at_gap(&ids);
    let mut scanner = Scanner {
        context,
        stale: stale.to_vec(),
        contents: LogContents::default(),
        segments: Vec::new(),
        synced: read_watermark(context)?.unwrap_or_default(),
    };
    let Some((&last, earlier)) = ids.split_last() else {
        return Ok(None);
    };
    // Of each earlier segment the next one says where it ends, so the heads are read one ahead.
    let mut current = None;
    for &id in earlier {
        let head = scanner.read_head(id)?;
        if let Some(previous) = current.replace(head) {
            scanner.sealed(previous, &head)?;
        }
    }
    let head = scanner.read_head(last)?;
    if let Some(previous) = current {
        scanner.sealed(previous, &head)?;
    }
    scanner.tail(head, policy).map(Some)
}

/// What a segment's head says.
#[derive(Clone, Copy, Debug)]
struct Head {
    id: SegmentId,
    salt: Salt,
    state: SegmentState,
}

struct Scanner<'a> {
    context: &'a Context,
    contents: LogContents,
    segments: Vec<SegmentInfo>,
    /// Greatest position that anything proves to be synced.
    synced: LogPosition,
    /// Segments before a gap.
    stale: Vec<SegmentId>,
}

impl Scanner<'_> {
    /// Reads prologue and state frame of a segment.
    fn read_head(&self, id: SegmentId) -> Result<Head, StorageError> {
        let path = self.context.segment_path(id);
        let found = self.check_head(id, &path).map(Some);
        let head = judge(Part::SegmentHead, Needed::Yes, &path, found)?;
        head.ok_or_else(|| missing_segment(&path, id))
    }

    fn check_head(&self, id: SegmentId, path: &Path) -> Result<Head, StorageError> {
        let file = self
            .context
            .env
            .fs
            .open(path, OpenHow::Read)
            .map_err(StorageError::wrap("open", path))?;
        let mut bytes = [0; HEAD_BYTES as usize];
        let len = read_up_to_at(&*file, &mut bytes, 0).map_err(StorageError::wrap("read", path))?;
        let bytes = bytes.get(..len).unwrap_or_default();
        let tag = self.context.identity.tag();
        let prologue = Prologue::decode(bytes, SEGMENT_MAGIC, id.0, tag, path)?;
        let salt = prologue.salt();
        let rest = bytes.get(PROLOGUE_BYTES..).unwrap_or_default();
        let state = check_frame(rest, salt, PROLOGUE_BYTES as u64, salt.chain())
            .ok()
            .filter(|frame| frame.header.kind == FrameKind::State)
            .and_then(|frame| SegmentState::decode(frame.payload))
            .ok_or_else(|| {
                let offset = PROLOGUE_BYTES as u64;
                StorageError::corrupt(path, offset, "the state frame of the segment does not check")
            })?;
        Ok(Head { id, salt, state })
    }

    /// Goes through a segment that is not the last: `next` says where it ends.
    fn sealed(&mut self, head: Head, next: &Head) -> Result<(), StorageError> {
        let path = self.context.segment_path(head.id);
        let disagrees = || {
            let path = self.context.segment_path(next.id);
            let found = "the segment does not follow the one before it";
            StorageError::corrupt(&path, PROLOGUE_BYTES as u64, found)
        };
        let previous = next.state.previous.ok_or_else(disagrees)?;
        if previous.position.segment != head.id {
            return Err(disagrees());
        }
        self.synced = self.synced.max(previous.position);
        let limit = previous.position.offset as usize;
        let bytes = read_start(self.context, &path, limit)?;
        let (end, _) = self.observe(head, &bytes, &path, usize::MAX)?;
        if end.offset != limit || end.chain != previous.chain {
            let next_index = self.contents.hard.last.map(|last| last.index.next());
            return Err(self.lost(&path, end.offset, next_index));
        }
        if next.state.hard != self.contents.hard {
            return Err(disagrees());
        }
        Ok(())
    }

    /// Shows the frames of a segment that begin before `upto` to the contents. Returns how the
    /// frames end, and where those that were shown do.
    fn observe(
        &mut self,
        head: Head,
        bytes: &[u8],
        path: &Path,
        upto: usize,
    ) -> Result<(End, (usize, Chain)), StorageError> {
        if self.segments.is_empty() {
            self.contents = LogContents::new(head.state.hard);
        }
        let contents = &mut self.contents;
        let mut shown = (PROLOGUE_BYTES, head.salt.chain());
        let end = scan(bytes, head.salt, |placed| {
            if placed.offset >= upto {
                return Ok(());
            }
            shown = (placed.offset + placed.frame.len, placed.frame.chain);
            observe(contents, head.id, &placed, path)
        })?;
        self.synced = self.synced.max(end.durable_upto);
        self.segments.push(SegmentInfo { id: head.id, salt: head.salt, end: end.offset as u64 });
        Ok((end, shown))
    }

    /// Goes through the last segment.
    fn tail(mut self, head: Head, policy: TailPolicy) -> Result<ScannedLog, StorageError> {
        let path = self.context.segment_path(head.id);
        let bytes = read_start(self.context, &path, usize::MAX)?;
        // First only to learn how far it was synced: the headers in it are part of the proof.
        let mut next_index = head.state.hard.last.map(|last| last.index.next());
        let mut sealed = false;
        let Ok(end) = scan(&bytes, head.salt, |placed| {
            let header = placed.frame.header;
            if header.kind.is_entry() || header.kind == FrameKind::TruncateAfter {
                next_index = Some(header.id.index.next());
            }
            sealed = header.kind == FrameKind::Seal;
            Ok::<_, std::convert::Infallible>(())
        });
        self.synced = self.synced.max(end.durable_upto);
        if self.synced.segment > head.id {
            return Err(missing_segment(&self.context.segment_path(self.synced.segment), head.id));
        }
        let head_end = LogPosition { segment: head.id, offset: HEAD_BYTES };
        self.synced = self.synced.max(head_end);
        self.judge_end(&path, &end, policy, next_index)?;
        let upto = self.synced.offset as usize;
        let (_, synced_end) = self.observe(head, &bytes, &path, upto)?;
        let context = self.context;
        let scanned = ScannedLog {
            contents: self.contents,
            segments: self.segments,
            stale: self.stale,
            tail: Tail { bytes, synced_end, end: end.offset, sealed },
            before_tail: head.state.hard.last,
        };
        scanned.check_complete(context)?;
        Ok(scanned)
    }

    /// Asks the recovery table what the end of the log is.
    fn judge_end(
        &self,
        path: &Path,
        end: &End,
        policy: TailPolicy,
        next_index: Option<LogIndex>,
    ) -> Result<(), StorageError> {
        let needed =
            if end.offset < self.synced.offset as usize { Needed::Yes } else { Needed::No };
        let (check, written) = match end.stop {
            Stop::Clean => (Check::Absent, Written::Unclear),
            Stop::Bad(written) => (Check::Damaged, written),
        };
        let case = decide(Situation { part: Part::Frame, check, needed, written });
        let say = |what: &str| {
            tracing::warn!(
                file = %path.display(), offset = end.offset, case = %case.letter,
                reason = case.reason, "{what}"
            );
        };
        match case.decision {
            Decision::Keep => {}
            Decision::Cut => say("the end of the log is cut"),
            Decision::RefuseAmbiguous if policy == TailPolicy::Truncate => {
                say("the end of the log is cut because the operator demands it");
            }
            Decision::RefuseAmbiguous => {
                return Err(StorageError::TailAmbiguous {
                    file: path.to_owned(),
                    offset: end.offset as u64,
                    first_index: next_index,
                });
            }
            _ => return Err(self.lost(path, end.offset, next_index)),
        }
        Ok(())
    }

    /// Bytes that were known to be synced do not check.
    fn lost(&self, path: &Path, offset: usize, first_index: Option<LogIndex>) -> StorageError {
        StorageError::Corrupt {
            file: path.to_owned(),
            offset: offset as u64,
            first_index,
            found: format!(
                "the log was synced up to {}, but the frame here does not check",
                self.synced
            ),
        }
    }
}

/// Shows one frame of a segment to the contents.
///
/// # Errors
/// `Corrupt` when it checks and cannot follow what was before.
pub(crate) fn observe(
    contents: &mut LogContents,
    segment: SegmentId,
    placed: &Placed<'_>,
    path: &Path,
) -> Result<(), StorageError> {
    if placed.offset == PROLOGUE_BYTES {
        // The state frame: `read_head` has taken it in.
        return Ok(());
    }
    let position =
        LogPosition { segment, offset: u32::try_from(placed.offset).unwrap_or(u32::MAX) };
    contents.observe(&placed.frame.header, position, placed.before).map_err(|order| {
        let found = format!("expected {}, found {:?}", order.expected, placed.frame.header);
        StorageError::corrupt(path, placed.offset as u64, found)
    })
}

fn missing_segment(file: &Path, present: SegmentId) -> StorageError {
    let situation = Situation {
        part: Part::SegmentHead,
        check: Check::Absent,
        needed: Needed::Yes,
        written: Written::Unclear,
    };
    let reason = format!("{} (segment {present} is there)", decide(situation).reason);
    StorageError::MissingFile { file: file.to_owned(), reason }
}

/// The watermark; `None` when it does not check or is not there.
fn read_watermark(context: &Context) -> Result<Option<LogPosition>, StorageError> {
    let path = context.log.join(WATERMARK_NAME);
    let found = match context.env.fs.kind(&path).map_err(StorageError::wrap("look at", &path))? {
        Some(FileKind::File) => read_start(context, &path, WATERMARK_BYTES + 1).and_then(|bytes| {
            let corrupt = || StorageError::corrupt(&path, 0, "the watermark does not check");
            watermark::decode(&bytes, &context.identity).map(Some).ok_or_else(corrupt)
        }),
        _ => Ok(None),
    };
    judge(Part::Watermark, Needed::No, &path, found)
}

/// The first bytes of a file, `most` at most. Memory: no more than the file has.
///
/// # Errors
/// `Io`; `Corrupt` when it is longer than a segment can be.
pub(crate) fn read_start(
    context: &Context,
    path: &Path,
    most: usize,
) -> Result<Vec<u8>, StorageError> {
    let file =
        context.env.fs.open(path, OpenHow::Read).map_err(StorageError::wrap("open", path))?;
    let len = file.len().map_err(StorageError::wrap("measure", path))?;
    if FileOffset(len) > FileOffset(u64::from(u32::MAX)) {
        return Err(StorageError::corrupt(path, len, "the file is longer than any of its kind"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default().min(most)];
    read_exact_at(&*file, &mut bytes, 0).map_err(StorageError::wrap("read", path))?;
    Ok(bytes)
}

impl ScannedLog {
    /// Refuses a log of which entries are missing that nothing purged.
    fn check_complete(&self, context: &Context) -> Result<(), StorageError> {
        if self.contents.first_missing().is_none() {
            return Ok(());
        }
        // The purge that took them was synced before they were deleted, but the proof of that sync
        // may be lost: then it is among the frames that survived.
        let mut contents = self.contents.clone();
        let last = self.segments.last().map_or(SegmentId(0), |last| last.id);
        let salt = self.segments.last().map(|last| last.salt);
        if let Some(salt) = salt {
            let path = context.segment_path(last);
            self.tail.survivors(salt, |placed| observe(&mut contents, last, &placed, &path))?;
        }
        let Some(first_index) = contents.first_missing() else {
            return Ok(());
        };
        let next = self.segments.first().map_or(last, |first| first.id);
        if let Some(missing) = self.stale.last().and_then(|stale| stale.next()) {
            return Err(missing_segment(&context.segment_path(missing), next));
        }
        Err(StorageError::MissingSegment { directory: context.log.clone(), first_index, next })
    }

    /// Takes in the frames behind what is known to be synced where they are, for a reader that will
    /// not write.
    ///
    /// # Errors
    /// `Corrupt` when one cannot follow what was before.
    pub(crate) fn take_in_survivors(&mut self, context: &Context) -> Result<(), StorageError> {
        let Self { contents, segments, tail, .. } = self;
        let Some(last) = segments.last() else {
            return Ok(());
        };
        let path = context.segment_path(last.id);
        tail.survivors(last.salt, |placed| observe(contents, last.id, &placed, &path))
    }
}
