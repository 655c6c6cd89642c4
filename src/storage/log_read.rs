//! Reads entries back from the segments.

use std::ops::Range;

use bytes::Bytes;

use super::context::Context;
use super::entry_map::Place;
use super::error::StorageError;
use super::frame::{Frame, FrameKind, Salt};
use super::frame_reader::FrameReader;
use super::log_contents::LogContents;
use super::log_entry::{Entry, EntryKind};
use super::log_scan::SegmentInfo;
use crate::env::fs::OpenHow;
use crate::types::LogIndex;

/// How much is read from a file at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where an entry is, and the salt of its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    place: Place,
    salt: Salt,
}

/// Finds an entry.
///
/// # Errors
/// `Purged`, `BeyondEnd`.
pub(crate) fn locate(
    contents: &LogContents,
    segments: &[SegmentInfo],
    index: LogIndex,
) -> Result<Located, StorageError> {
    let missing = || {
        let first = contents.hard.purged.map_or(LogIndex(0), |purged| purged.index.next());
        if index < first {
            StorageError::Purged { first }
        } else {
            let last = contents.hard.last.map(|last| last.index);
            StorageError::BeyondEnd { asked: index, last }
        }
    };
    let place = contents.entries.locate(index).ok_or_else(missing)?;
    let at = segments.binary_search_by_key(&place.segment, |info| info.id);
    let info = at.ok().and_then(|at| segments.get(at)).ok_or_else(missing)?;
    Ok(Located { place, salt: info.salt })
}

/// Reads the entries of `range` in order, as many as fit `bytes_max`, at least one. `find` is asked
/// once for each run of entries, and no lock is held while reading.
///
/// # Errors
/// Those of `find`; `Corrupt`, `Io`.
pub(crate) fn read_range(
    context: &Context,
    range: Range<LogIndex>,
    bytes_max: usize,
    find: impl Fn(LogIndex) -> Result<Located, StorageError>,
) -> Result<Vec<Entry>, StorageError> {
    let mut entries = Vec::new();
    let mut room = bytes_max;
    let mut next = range.start;
    while next < range.end && (room > 0 || entries.is_empty()) {
        let located = find(next)?;
        let upto = located.place.last.next().min(range.end);
        next =
            read_run(context, located, next..upto, &mut room, &mut entries).or_else(|error| {
                // A purge may have deleted the file meanwhile: then that is the answer.
                find(next).and(Err(error))
            })?;
    }
    Ok(entries)
}

/// Reads on from a point in one segment. Returns the index after the last entry read.
fn read_run(
    context: &Context,
    located: Located,
    range: Range<LogIndex>,
    room: &mut usize,
    entries: &mut Vec<Entry>,
) -> Result<LogIndex, StorageError> {
    let Located { place, salt } = located;
    let path = context.segment_path(place.segment);
    let file =
        context.env.fs.open(&path, OpenHow::Read).map_err(StorageError::wrap("open", &path))?;
    let start = (u64::from(place.point.offset), place.point.before);
    let chunk = CHUNK_BYTES.min((*room).saturating_add(4096));
    let mut reader = FrameReader::new(file, &path, salt, start, chunk);
    let mut next = range.start;
    while next < range.end {
        let offset = reader.offset();
        let corrupt = |found: &str| StorageError::Corrupt {
            file: path.clone(),
            offset,
            first_index: Some(next),
            found: found.to_owned(),
        };
        let frame = reader.next()?.ok_or_else(|| corrupt("the file ends before the log does"))?;
        let Some(kind) = entry_kind(&frame) else {
            continue;
        };
        let index = frame.header.id.index;
        if index < next {
            continue;
        }
        if index > next {
            return Err(corrupt("an entry is missing"));
        }
        if frame.payload.len() > *room && !entries.is_empty() {
            *room = 0;
            break;
        }
        *room = room.saturating_sub(frame.payload.len().max(1));
        entries.push(Entry {
            id: frame.header.id,
            clock: frame.header.clock,
            kind,
            payload: Bytes::copy_from_slice(frame.payload),
        });
        next = next.next();
        if *room == 0 {
            break;
        }
    }
    Ok(next)
}

/// What kind of entry a frame is; `None` when it is none.
const fn entry_kind(frame: &Frame<'_>) -> Option<EntryKind> {
    match frame.header.kind {
        FrameKind::Blank => Some(EntryKind::Blank),
        FrameKind::Membership => Some(EntryKind::Membership),
        FrameKind::Normal => Some(EntryKind::Normal),
        _ => None,
    }
}
