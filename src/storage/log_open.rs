//! Makes a log ready for writing: acts on what `log_scan` found.

use std::io::IoSlice;
use std::sync::Arc;

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::{TORN_SUFFIX, WATERMARK_BYTES, WATERMARK_NAME, is_torn_name};
use super::frame::FrameKind;
use super::frame_buffer::Draft;
use super::hard_state::{PreviousEnd, SegmentState};
use super::log_contents::LogContents;
use super::log_scan::{ScannedLog, SegmentInfo};
use super::log_segment::LogSegment;
use super::log_tail::{Tail, observe};
use super::segment_reader::scan_file;
use super::watermark;
use crate::env::fs::{FsFile, OpenHow, read_exact_at, write_all_at};
use crate::types::{LogId, LogPosition, SegmentId};

/// How many files of cut bytes are kept: the newest.
const TORN_FILES_MAX: usize = 8;

/// A log that can be written.
#[derive(Debug)]
pub(crate) struct WritableLog {
    pub(crate) contents: LogContents,
    /// Oldest first; the last is `active`.
    pub(crate) segments: Vec<SegmentInfo>,
    pub(crate) active: LogSegment,
    /// The last entry before those that stand in `active`.
    pub(crate) before_active: Option<LogId>,
    /// Everything up to here is synced: all there is.
    pub(crate) synced: LogPosition,
}

/// Creates the log of a new directory: one segment with nothing in it.
///
/// # Errors
/// Those of [`LogSegment::create`].
pub(crate) fn create(context: &Context, bytes_max: u64) -> Result<WritableLog, StorageError> {
    let state = SegmentState::default();
    // Its tables and their merges take as much again; where that is not there whoever comes first
    // takes what it needs, and looks whether it may.
    let at_first = LogSegment::room_step(bytes_max);
    let room = if context.has_free(at_first.saturating_mul(4)) { at_first } else { 0 };
    let active = LogSegment::create(context, SegmentId(1), state, &[], room)?;
    let synced = active.position();
    let segments = vec![SegmentInfo { id: active.id, salt: active.salt, end: active.end }];
    let contents = LogContents::default();
    Ok(WritableLog { contents, segments, active, before_active: None, synced })
}

/// Deletes the segments that an interrupted deletion left. What stays is tried again at the next
/// open.
pub(crate) fn remove_stale(context: &Context, scanned: &ScannedLog) {
    for &id in &scanned.stale {
        let path = context.segment_path(id);
        if let Err(error) = context.env.fs.remove(&path) {
            tracing::warn!(%error, segment = %id, "a purged segment stays");
        }
    }
}

/// Makes a scanned log ready for writing.
///
/// Where nothing stands behind what is known to be synced, writing goes on in the last segment.
/// Otherwise the frames that survived are written again to a fresh segment and synced before they
/// count: after a failed sync the page cache may show bytes that the device does not have, and only
/// a sync of *new* writes makes a true statement.
///
/// What is on disk if we die here: the old segment untouched, and the fresh one whole or not at
/// all.
///
/// # Errors
/// `Io`, `DiskFull`, `SyncFailed`; the log is as it was found.
pub(crate) fn settle(
    context: &Context,
    scanned: &ScannedLog,
    bytes_max: u64,
) -> Result<WritableLog, StorageError> {
    let (contents, tail) = (scanned.contents.clone(), &scanned.tail);
    let mut segments = scanned.segments.clone();
    let Some(last) = segments.last_mut() else {
        return create(context, bytes_max);
    };
    last.end = tail.synced_end.0 as u64;
    let last = *last;
    if tail.has_unsynced() {
        rewrite_tail(context, contents, segments, last, tail)
    } else {
        let before_active = scanned.before_tail;
        let (active, synced) = go_on(context, last, tail)?;
        Ok(WritableLog { contents, segments, active, before_active, synced })
    }
}

/// Writes on in the last segment.
fn go_on(
    context: &Context,
    last: SegmentInfo,
    tail: &Tail,
) -> Result<(LogSegment, LogPosition), StorageError> {
    let (end, chain) = tail.synced_end;
    let SegmentInfo { id, salt, .. } = last;
    let path = context.segment_path(id);
    let opened = context.env.fs.open(&path, OpenHow::ReadWrite);
    let file = opened.map_err(StorageError::wrap("open", &path))?;
    let (end, room) = (end as u64, tail.file_len);
    let active = LogSegment {
        id,
        path,
        file,
        salt,
        end,
        chain,
        room,
        sealed: tail.sealed,
        cut_unsynced: false,
    };
    let synced = active.position();
    Ok((active, synced))
}

/// Writes the frames that survived again, to a fresh segment.
fn rewrite_tail(
    context: &Context,
    mut contents: LogContents,
    mut segments: Vec<SegmentInfo>,
    last: SegmentInfo,
    tail: &Tail,
) -> Result<WritableLog, StorageError> {
    let (end, chain) = tail.synced_end;
    let offset = u32::try_from(end).unwrap_or(u32::MAX);
    let position = LogPosition { segment: last.id, offset };
    let previous = Some(PreviousEnd { position, chain });
    let state = SegmentState { hard: contents.hard, previous };
    let before_active = contents.hard.last;
    let mut frames = Vec::new();
    tail.survivors(|placed| {
        let mut header = placed.frame.header;
        header.durable_upto = position;
        // A seal says that its file ends; in the fresh one writing goes on.
        if header.kind != FrameKind::Seal {
            // Borrowed from the tail and not from the frame, which does not live as long.
            frames.push(Draft::new(header, [tail.payload_of(&placed), &[]]));
        }
        Ok(())
    })?;
    let id = last.id.next().ok_or(StorageError::SegmentsExhausted)?;
    let active = LogSegment::create(context, id, state, &frames, 0)?;
    observe_again(context, &mut contents, &active)?;
    // Only now: what survived needs the room more, and until then the old segment has these bytes.
    keep_evidence(context, last.id, tail.end, tail.cut_bytes());
    segments.push(SegmentInfo { id, salt: active.salt, end: active.end });
    let synced = active.position();
    tracing::info!(segment = %id, frames = frames.len(), "the unsynced tail was written again");
    Ok(WritableLog { contents, segments, active, before_active, synced })
}

/// Reads a fresh segment back and shows its frames to the contents: what was written is checked
/// before anything relies on it.
fn observe_again(
    context: &Context,
    contents: &mut LogContents,
    segment: &LogSegment,
) -> Result<(), StorageError> {
    let LogSegment { id, ref path, salt, .. } = *segment;
    let (end, _) = scan_file(&*context.env.fs, path, salt, segment.end, |placed| {
        observe(contents, &placed.header_at(id), path)
    })?;
    if end.offset as u64 != segment.end {
        let found = "what was just written does not read back";
        return Err(StorageError::corrupt(path, end.offset as u64, found));
    }
    Ok(())
}

/// Keeps bytes that are cut off. They are evidence for a person, not data: where there is no room
/// for them the store opens all the same.
fn keep_evidence(context: &Context, segment: SegmentId, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let fs = &*context.env.fs;
    let name = format!("{:010}-{offset}{TORN_SUFFIX}", segment.0);
    let kept = atomic_file::publish_bytes(fs, &context.gate, &context.log, &name, bytes);
    match kept {
        Ok(()) => tracing::warn!(file = %name, bytes = bytes.len(), "cut bytes were kept"),
        Err(error) => tracing::warn!(%error, bytes = bytes.len(), "cut bytes were not kept"),
    }
    let Ok(entries) = fs.list(&context.log) else {
        return;
    };
    let torn: Vec<String> =
        entries.into_iter().map(|entry| entry.name).filter(|name| is_torn_name(name)).collect();
    for name in torn.iter().take(torn.len().saturating_sub(TORN_FILES_MAX)) {
        if let Err(error) = fs.remove(&context.log.join(name)) {
            tracing::debug!(%error, file = %name, "old evidence stays");
        }
    }
}

/// Opens the watermark for writing. It then says that everything there is is synced: otherwise a
/// tail that was written again would be so once more at each open.
///
/// # Errors
/// `Io`, `SyncFailed`; where it has to be created also `DiskFull`.
pub(crate) fn open_watermark(
    context: &Context,
    synced: LogPosition,
) -> Result<Arc<dyn FsFile>, StorageError> {
    let fs = &*context.env.fs;
    let path = context.log.join(WATERMARK_NAME);
    let bytes = watermark::encode(synced, &context.identity);
    if let Ok(file) = fs.open(&path, OpenHow::ReadWrite)
        && file.len().is_ok_and(|len| len == WATERMARK_BYTES as u64)
    {
        let mut there = [0; WATERMARK_BYTES];
        read_exact_at(&*file, &mut there, 0).map_err(StorageError::wrap("read", &path))?;
        if there != bytes {
            write_all_at(&*file, &mut [IoSlice::new(&bytes)], 0)
                .map_err(StorageError::wrap("write", &path))?;
            context.gate.sync_file(&*file, &path)?;
        }
        return Ok(file);
    }
    atomic_file::publish(fs, &context.gate, &context.log, WATERMARK_NAME, |file, path| {
        write_all_at(file, &mut [IoSlice::new(&bytes)], 0)
            .map_err(StorageError::wrap("write", path))
    })
}
