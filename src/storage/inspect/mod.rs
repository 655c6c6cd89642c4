//! Checks every file of a directory and names everything that is damaged. Writes nothing.
//!
//! Opening a store stops at the first thing that the recovery table refuses; a person who must
//! decide what to do wants to see all of it. What opening refuses for its bytes is a damage here,
//! what it would cut or remove is a leftover. A watermark that does not check, a damaged block of
//! rows and damage of the past are damages here, too, though opening goes on.

mod report;
mod names;
mod tables;
mod archive;

use std::path::{Path, PathBuf};

use self::archive::check_archive;
use self::names::Names;
pub use self::report::{Damage, Leftover, VerifyReport};
use self::tables::check_tables;
pub use self::tables::compression_of_newest;
use super::context::Context;
use super::error::StorageError;
use super::format::{
    IDENTITY_NAME, LOG_NAME, PROLOGUE_BYTES, SEGMENT_MAGIC, WATERMARK_BYTES, WATERMARK_NAME,
    take_u64,
};
use super::frame::{FrameKind, Salt, check_frame};
use super::hard_state::{HardState, SegmentState};
use super::identity::Identity;
use super::log_contents::LogContents;
use super::log_scan::split_at_gap;
use super::log_segment::HEAD_BYTES;
use super::log_tail::observe;
use super::prologue::Prologue;
use super::segment_reader::read_start;
use super::segment_scan::{Stop, Written, nonzero_end, scan};
use super::segment_walk::{Walked, walk};
use super::store::{prepare_directory, read_identity};
use super::store_lock::{Absent, take_shared_lock};
use super::sync_gate::SyncGate;
use super::watermark;
use crate::env::Env;
use crate::env::fs::{OpenHow, read_up_to_at};
use crate::types::RandomId;
use crate::types::{LogIndex, LogPosition, NodeId, SegmentId};

/// Reads every file of a store and compares every checksum. A file that cannot be read counts as
/// damaged. Of a manifest, a table and a change file only the first damage is named.
///
/// Memory: two segments, or the index and filter of one table, or a block of changes. Cost: reading
/// the log and change files once, tables twice, also those that the past shares with the state.
///
/// # Errors
/// `Locked` beside a writer; `NoStore`, `UnusableDirectory`; `UnsupportedFormat` when a newer
/// release wrote the directory; `Io` when a directory cannot be listed.
pub fn verify(env: &Env, directory: &Path) -> Result<VerifyReport, StorageError> {
    verify_with(env, directory, &mut |_| ())
}

/// As [`verify`]; `on_read` is told after each file how many bytes were read so far.
///
/// # Errors
/// Those of [`verify`].
pub fn verify_with(
    env: &Env,
    directory: &Path,
    on_read: &mut dyn FnMut(u64),
) -> Result<VerifyReport, StorageError> {
    prepare_directory(env, directory, Absent::Refuse)?;
    let _lock = take_shared_lock(env, directory)?;
    verify_files(env, directory, on_read)
}

/// What [`verify_with`] does, also where the directory is not finished yet.
pub(crate) fn verify_files(
    env: &Env,
    directory: &Path,
    on_read: &mut dyn FnMut(u64),
) -> Result<VerifyReport, StorageError> {
    let gate = SyncGate::new(env.fs.clone());
    let mut report = VerifyReport::default();
    let names = Names::of(env, directory, &mut report)?;
    if names.segments.is_empty() && names.manifests.is_empty() && !names.has_identity {
        return Err(StorageError::NoStore { directory: directory.to_owned() });
    }
    let identity = match check_identity(env, directory, &mut report)? {
        Some(identity) => identity,
        None => stand_in(env, directory, &names),
    };
    let context = Context::new(env.clone(), gate, directory, identity);
    let hard = check_log(&context, &names, &mut report, on_read);
    let purged = hard.and_then(|hard| hard.purged).map(|purged| purged.index);
    let in_tables = check_tables(&context, &names, purged, &mut report, on_read);
    // Where damage hides the end of the store nobody knows what is behind it.
    let end = match hard.filter(|_| report.damages.is_empty()) {
        Some(hard) => hard.last.map(|last| last.index).max(in_tables),
        None => Some(LogIndex(u64::MAX)),
    };
    check_archive(&context, end, &mut report, on_read);
    Ok(report)
}

/// The identity; `None` when it is damaged or missing.
fn check_identity(
    env: &Env,
    root: &Path,
    report: &mut VerifyReport,
) -> Result<Option<Identity>, StorageError> {
    let path = root.join(IDENTITY_NAME);
    match read_identity(env, root) {
        Ok(Some(identity)) => {
            report.read(super::format::IDENTITY_BYTES as u64, 1);
            return Ok(Some(identity));
        }
        Err(error @ StorageError::UnsupportedFormat { .. }) => return Err(error),
        Ok(None) => report.damage(&path, 0, "the file is missing, and the directory holds data"),
        Err(error) => report.refused(&path, error),
    }
    Ok(None)
}

/// An identity to go on with where the real one is lost: the directory that the first segment says
/// it belongs to.
fn stand_in(env: &Env, root: &Path, names: &Names) -> Identity {
    let mut incarnation = [0; 16];
    if let Some(&first) = names.segments.first() {
        let path = root.join(LOG_NAME).join(super::format::segment_name(first));
        let mut bytes = [0; PROLOGUE_BYTES];
        if let Ok(file) = env.fs.open(&path, OpenHow::Read)
            && read_up_to_at(&*file, &mut bytes, 0).is_ok()
            && let (Some(tag), Some(half)) = (bytes.get(24..32), incarnation.get_mut(..8))
        {
            half.copy_from_slice(tag);
        }
    }
    Identity { cluster: RandomId([0; 16]), node: NodeId(0), incarnation: RandomId(incarnation) }
}

/// Checks the watermark; the position in it where it counts.
fn check_watermark(
    context: &Context,
    names: &Names,
    report: &mut VerifyReport,
) -> Option<LogPosition> {
    let path = context.log.join(WATERMARK_NAME);
    // Without the identity it cannot be judged.
    if !names.has_watermark || context.identity.cluster == RandomId([0; 16]) {
        return None;
    }
    let bytes = match read_start(context, &path, WATERMARK_BYTES + 1) {
        Ok(bytes) => bytes,
        Err(error) => {
            report.refused(&path, error);
            return None;
        }
    };
    report.read(bytes.len() as u64, 1);
    let position = watermark::decode(&bytes, &context.identity);
    if position.is_none() {
        report.damage(&path, 0, "it does not check; opening goes by the frames instead");
    }
    position
}

/// A segment that was read.
struct Segment {
    id: SegmentId,
    path: PathBuf,
    bytes: Vec<u8>,
    /// `None` when neither prologue nor first header says it.
    salt: Option<Salt>,
    /// `None` when the state frame does not check.
    state: Option<SegmentState>,
}

fn read_segment(context: &Context, id: SegmentId, report: &mut VerifyReport) -> Option<Segment> {
    let path = context.segment_path(id);
    let bytes = match read_start(context, &path, usize::MAX) {
        Ok(bytes) => bytes,
        Err(error) => {
            report.refused(&path, error);
            return None;
        }
    };
    report.read(bytes.len() as u64, 1);
    let decoded = Prologue::decode(&bytes, SEGMENT_MAGIC, id.0, context.identity.tag(), &path);
    let is_whole = decoded.is_ok();
    if let Err(error) = decoded {
        report.refused(&path, error);
    }
    // A damaged prologue may still hold the right salt: then the frames check with it.
    let salt = take_u64(&bytes, 16).map(|salt| Salt::new(salt, id.0));
    let head = |salt: Salt| {
        let rest = bytes.get(PROLOGUE_BYTES..).unwrap_or_default();
        check_frame(rest, salt, PROLOGUE_BYTES as u64, salt.chain()).ok()
    };
    let frame = salt.and_then(head);
    let state = frame
        .filter(|frame| frame.header.kind == FrameKind::State)
        .and_then(|frame| SegmentState::decode(frame.payload));
    if state.is_none() && frame.is_some() {
        report.damage(&path, PROLOGUE_BYTES as u64, "the first frame is not a state frame");
    }
    let salt = salt.filter(|_| is_whole || frame.is_some());
    if salt.is_none() {
        let found = "the salt is lost with the prologue: the frames cannot be checked";
        report.damage(&path, PROLOGUE_BYTES as u64, found);
    }
    Some(Segment { id, path, bytes, salt, state })
}

/// Where the walk through the log stands.
struct LogWalk<'a> {
    report: &'a mut VerifyReport,
    /// What the frames add up to; `None` once damage makes that unknown.
    contents: Option<LogContents>,
    synced: LogPosition,
}

/// Checks watermark and segments. Returns what the log adds up to, where that is known.
fn check_log(
    context: &Context,
    names: &Names,
    report: &mut VerifyReport,
    on_read: &mut dyn FnMut(u64),
) -> Option<HardState> {
    let synced = check_watermark(context, names, report).unwrap_or_default();
    let (stale, segments) = split_at_gap(&names.segments);
    let Some(&first) = segments.first() else {
        report.damage(&context.segment_path(SegmentId(1)), 0, "the log has no segment");
        return None;
    };
    let damages_before = report.damages.len();
    let mut walk = LogWalk { report, contents: None, synced };
    let mut previous: Option<Segment> = None;
    for &id in segments {
        let current = read_segment(context, id, walk.report);
        if let Some(before) = previous.take() {
            walk.sealed(&before, current.as_ref());
        }
        walk.enter(current.as_ref());
        on_read(walk.report.bytes);
        previous = current;
    }
    if let Some(last) = previous {
        walk.last(context, &last);
    }
    let contents = walk.contents;
    let missing = contents.as_ref().and_then(LogContents::first_missing);
    // Behind damage it is not known what is missing.
    if let Some(missing) = missing.filter(|_| report.damages.len() == damages_before) {
        let file = stale.last().and_then(|id| id.next()).unwrap_or(first);
        let found =
            format!("entry {missing} and those behind it are missing before segment {first}");
        report.damage(&context.segment_path(file), 0, found);
    } else {
        for &id in stale {
            report
                .leftover(context.segment_path(id), "its entries were purged; removed at opening");
        }
    }
    contents.map(|contents| contents.hard)
}

impl LogWalk<'_> {
    /// Begins with a segment: holds what it says of those before against what they add up to.
    fn enter(&mut self, segment: Option<&Segment>) {
        let state = segment.and_then(|segment| segment.state);
        let (Some(segment), Some(state)) = (segment, state) else {
            self.contents = None;
            return;
        };
        if self.contents.as_ref().is_some_and(|contents| contents.hard != state.hard) {
            let found = "the segment does not follow the one before it";
            self.report.damage(&segment.path, PROLOGUE_BYTES as u64, found);
            self.contents = None;
        }
        if self.contents.is_none() {
            self.contents = Some(LogContents::new(state.hard));
        }
    }

    fn frames(&mut self, segment: &Segment, salt: Salt, upto: usize) -> Walked {
        let mut order = None;
        let start = (PROLOGUE_BYTES, salt.chain());
        let walked = walk(&segment.bytes, salt, start, upto, |placed| {
            if let Some(contents) = &mut self.contents
                && let Err(error) = observe(contents, &placed.header_at(segment.id), &segment.path)
            {
                self.contents = None;
                order = Some(error);
            }
        });
        self.report.frames += walked.frames;
        self.report.checksums += 2 * walked.frames;
        for bad in &walked.bad {
            self.report.damage(&segment.path, bad.offset as u64, bad.found);
        }
        if let Some(error) = order {
            self.report.refused(&segment.path, error);
        }
        if !walked.bad.is_empty() {
            self.contents = None;
        }
        walked
    }

    /// A segment that another one follows, which says where this one ends.
    fn sealed(&mut self, segment: &Segment, next: Option<&Segment>) {
        let Some(salt) = segment.salt else {
            return;
        };
        let state = next.and_then(|next| next.state);
        let end = state.and_then(|state| state.previous);
        let Some(end) = end.filter(|end| end.position.segment == segment.id) else {
            if let Some(next) = next.filter(|next| next.state.is_some()) {
                let found = format!("it does not say where segment {} ends", segment.id);
                self.report.damage(&next.path, PROLOGUE_BYTES as u64, found);
            }
            self.frames(segment, salt, nonzero_end(&segment.bytes));
            return;
        };
        self.synced = self.synced.max(end.position);
        let upto = end.position.offset as usize;
        let walked = self.frames(segment, salt, upto);
        if walked.bad.is_empty() && (walked.end, walked.chain) != (upto, end.chain) {
            let found = format!("the log goes on elsewhere than the next segment says ({upto})");
            self.report.damage(&segment.path, walked.end as u64, found);
            self.contents = None;
        }
    }

    /// The last segment, of which only a part may be known to be synced.
    fn last(&mut self, context: &Context, segment: &Segment) {
        let Some(salt) = segment.salt else {
            return;
        };
        let Ok(end) = scan(&segment.bytes, salt, |_| Ok::<_, std::convert::Infallible>(()));
        let head_end = LogPosition { segment: segment.id, offset: HEAD_BYTES };
        let synced = self.synced.max(end.durable_upto).max(head_end);
        if synced.segment > segment.id {
            let path = context.segment_path(synced.segment);
            self.report.damage(
                &path,
                0,
                format!("it is missing: the log was synced up to {synced}"),
            );
        }
        let is_synced_whole = synced.segment > segment.id;
        let synced_end =
            if is_synced_whole { nonzero_end(&segment.bytes) } else { synced.offset as usize };
        self.frames(segment, salt, synced_end.max(end.offset));
        if end.offset < synced_end {
            return;
        }
        match end.stop {
            Stop::Clean => {}
            Stop::Bad(Written::Unclear) => {
                let found = "the log ends in bytes that may be damage or a write that was never \
                             synced: `htkvctl repair --truncate-tail` cuts them";
                self.report.damage(&segment.path, end.offset as u64, found);
            }
            Stop::Bad(Written::FileEnds | Written::ZeroSector) => {
                let what = "its end was never fully written; cut when the store is opened";
                self.report.leftover(segment.path.clone(), what);
            }
        }
    }
}

#[cfg(test)]
mod tests;
