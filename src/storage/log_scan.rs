//! Reads the whole log of a directory and finds out what is in it and how far it was synced. Writes
//! nothing: `log_open` acts on what is found.

use std::path::Path;

use super::context::Context;
use super::error::StorageError;
use super::format::{
    PROLOGUE_BYTES, SEGMENT_MAGIC, WATERMARK_BYTES, WATERMARK_NAME, parse_segment_name,
};
use super::frame::{FrameKind, Salt, check_frame};
use super::hard_state::SegmentState;
use super::log_contents::LogContents;
use super::log_segment::HEAD_BYTES;
use super::log_tail::{Pending, Tail, observe, read_unsynced};
use super::prologue::Prologue;
use super::recovery::{Check, Decision, Needed, Part, Situation, decide, judge};
use super::segment_reader::{read_start, scan_file};
use super::segment_scan::{End, Stop, Written};
use super::watermark;
use crate::env::fs::{FileKind, OpenHow, read_up_to_at};
use crate::types::{LogId, LogIndex, LogPosition, SegmentId};

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
        self.begin(&head);
        let limit = previous.position.offset;
        let (fs, contents) = (&*self.context.env.fs, &mut self.contents);
        let (end, _) = scan_file(fs, &path, head.salt, u64::from(limit), |placed| {
            observe(contents, &placed.header_at(head.id), &path)
        })?;
        self.end(&head, &end);
        if end.offset != limit as usize || end.chain != previous.chain {
            let next_index = self.contents.hard.last.map(|last| last.index.next());
            return Err(self.lost(&path, end.offset, next_index));
        }
        if next.state.hard != self.contents.hard {
            return Err(disagrees());
        }
        Ok(())
    }

    /// Takes in what the first segment begins with.
    fn begin(&mut self, head: &Head) {
        if self.segments.is_empty() {
            self.contents = LogContents::new(head.state.hard);
        }
    }

    /// Takes in where a segment ends.
    fn end(&mut self, head: &Head, end: &End) {
        self.synced = self.synced.max(end.durable_upto);
        self.segments.push(SegmentInfo { id: head.id, salt: head.salt, end: end.offset as u64 });
    }

    /// Goes through the last segment.
    fn tail(mut self, head: Head, policy: TailPolicy) -> Result<ScannedLog, StorageError> {
        let path = self.context.segment_path(head.id);
        self.begin(&head);
        self.synced = self.synced.max(LogPosition { segment: head.id, offset: HEAD_BYTES });
        let mut next_index = head.state.hard.last.map(|last| last.index.next());
        let mut sealed = false;
        let mut pending = Pending::new(&path, head.salt);
        let fs = &*self.context.env.fs;
        let (contents, synced) = (&mut self.contents, &mut self.synced);
        let (end, file_len) = scan_file(fs, &path, head.salt, u64::MAX, |placed| {
            let header = placed.frame.header;
            if header.kind.is_entry() || header.kind == FrameKind::TruncateAfter {
                next_index = Some(header.id.index.next());
            }
            sealed = header.kind == FrameKind::Seal;
            *synced = header.durable_upto.max(*synced);
            pending.push(&placed, head.id);
            pending.take_in(*synced, contents);
            Ok(())
        })?;
        self.end(&head, &end);
        pending.take_in(self.synced, &mut self.contents);
        if self.synced.segment > head.id {
            return Err(missing_segment(&self.context.segment_path(self.synced.segment), head.id));
        }
        self.judge_end(&path, &end, policy, next_index)?;
        let synced_end = pending.finish()?;
        let unsynced = read_unsynced(self.context, &path, synced_end.0, &end, file_len)?;
        let tail =
            Tail { path, salt: head.salt, synced_end, end: end.offset, sealed, file_len, unsynced };
        let context = self.context;
        let scanned = ScannedLog {
            contents: self.contents,
            segments: self.segments,
            stale: self.stale,
            tail,
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
        self.tail.take_in_survivors(last, &mut contents)?;
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
    pub(crate) fn take_in_survivors(&mut self) -> Result<(), StorageError> {
        let Self { contents, segments, tail, .. } = self;
        segments.last().map_or(Ok(()), |last| tail.take_in_survivors(last.id, contents))
    }
}
