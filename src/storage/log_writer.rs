//! The one writer of a log: appends frames in order, rolls segments, deals with a full disk.
//!
//! It writes and does not sync: `log` does, and decides who waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::context::Context;
use super::error::StorageError;
use super::format::{HEADER_BYTES, PAYLOAD_BYTES_MAX};
use super::frame::{Chain, Flag, FrameHeader, FrameKind};
use super::frame_buffer::{Draft, FrameBuffer};
use super::hard_state::SegmentState;
use super::log_contents::LogContents;
use super::log_open::WritableLog;
use super::log_scan::SegmentInfo;
use super::log_segment::{HEAD_BYTES, LogSegment, Room};
use super::merge_choice::KeptRoom;
use super::reserve::Reserve;
use crate::types::{LogId, LogPosition, SegmentId};

/// What an append is for: when the disk is full only what relieves it may use the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// New data.
    Grow,
    /// Deletes, memberships: what makes room or keeps the node alive.
    Relieve,
    /// Votes, purges and other marks, of a few bytes each; and what others have decided, which must
    /// be written.
    Mark,
}

/// What is still to be written to tables, and how much room that takes.
///
/// A disk that is full to its last byte stays full: what was deleted gives its room back only when
/// tables were written anew. So new data is refused while there is still room for that.
#[derive(Clone, Debug)]
pub(crate) struct Debt {
    /// Bytes of a table of all that is in memory only. Whoever owns that keeps it up to date; what
    /// is appended and not applied yet is not in it.
    pub(crate) unwritten: Arc<AtomicU64>,
    /// Room for merges and for deletes.
    pub(crate) kept: KeptRoom,
}

/// Whether a compaction is asked for because there is no room.
#[derive(Debug, Default)]
pub(crate) struct Relief {
    /// Whether an append found none, or hardly any, since all was done that makes some.
    pub(crate) is_wanted: AtomicBool,
    /// Whether one was refused that makes room itself.
    pub(crate) is_needed: AtomicBool,
}

impl Relief {
    pub(crate) fn want(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
    }
}

/// Room of the encoding buffer that is kept between appends.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// Whether frames were appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// They were; the log now ends here.
    Upto(LogPosition),
    /// They were not: the segment is full. Nothing was written.
    SegmentFull,
}

/// The writer's state.
#[derive(Debug)]
pub(crate) struct LogWriter {
    pub(crate) contents: LogContents,
    /// Oldest first; the last is `active`, whose `end` here is not kept up to date.
    pub(crate) segments: Vec<SegmentInfo>,
    pub(crate) active: LogSegment,
    /// The last entry when `active` was begun.
    before_active: Option<LogId>,
    reserve: Reserve,
    /// That the last write of new data found no room.
    refused: Option<Refused>,
    /// Whether half of what is kept for deletes was found used up by one.
    pub(crate) took_from_deletes: bool,
    /// What is left of a reserve that was given back: so much of the room that is kept may be used
    /// instead of it, tables included.
    relief_bytes: u64,
    /// Greatest length of a segment that holds more than one frame.
    bytes_max: u64,
    /// Bytes appended since the store was opened; only differences mean something.
    pub(crate) appended_bytes: u64,
    /// `None`: nobody writes tables of it.
    pub(crate) debt: Option<Debt>,
    /// Room that every write encodes into.
    scratch: Vec<u8>,
    /// Room for where the frames of a write stand, and the checksums before them.
    placed: Vec<(u64, Chain)>,
}

/// Room that is left to others.
#[derive(Clone, Copy, Debug, Default)]
struct Spared {
    unwritten: u64,
    kept: KeptRoom,
    /// What is left to deletes.
    deletes: u64,
}

impl Spared {
    /// Bytes, where tables get so many more.
    fn bytes(&self, more: u64) -> u64 {
        let Self { unwritten, kept, deletes } = self;
        let merge = kept.merge(unwritten.saturating_add(more));
        unwritten.saturating_add(merge).saturating_add(*deletes)
    }
}

/// What was refused for want of room.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    /// Bytes of log.
    bytes: u64,
    /// Whether the file system said that there was room.
    was_misled: bool,
}

/// Whether so many bytes of tables may be taken of the disk and leave what is to be spared.
fn leaves(context: &Context, spared: Option<Spared>, more: u64) -> bool {
    spared.is_none_or(|spared| context.has_free(spared.bytes(more).saturating_add(more)))
}

/// As [`leaves`], of bytes of log: what is written there is written to a table, too, and takes as
/// much again.
fn leaves_log(context: &Context, spared: Option<Spared>, more: u64) -> bool {
    let twice = more.saturating_mul(2);
    spared.is_none_or(|spared| context.has_free(spared.bytes(more).saturating_add(twice)))
}

impl LogWriter {
    pub(crate) fn new(log: WritableLog, reserve: Reserve, bytes_max: u64) -> Self {
        let WritableLog { contents, segments, active, before_active, .. } = log;
        let relief_bytes = if reserve.is_held() { 0 } else { reserve.bytes() };
        Self {
            contents,
            segments,
            active,
            before_active,
            reserve,
            refused: None,
            took_from_deletes: false,
            // Whoever opened the store may have given it back.
            relief_bytes,
            bytes_max,
            appended_bytes: 0,
            debt: None,
            scratch: Vec::new(),
            placed: Vec::new(),
        }
    }

    /// Appends frames as one write. They are visible to readers when this returns, and not synced.
    ///
    /// # Errors
    /// `TooLarge`, `DiskFull`: nothing was written. `Io`: the store is poisoned.
    ///
    /// # Panics
    /// When a frame cannot follow what is in the log: the caller checks that.
    pub(crate) fn append(
        &mut self,
        context: &Context,
        drafts: &mut [Draft<'_>],
        durable_upto: LogPosition,
        purpose: Purpose,
    ) -> Result<Appended, StorageError> {
        let mut len = 0;
        for draft in &mut *drafts {
            draft.header.durable_upto = durable_upto;
            let payload_len = draft.payload[0].len() + draft.payload[1].len();
            if payload_len > PAYLOAD_BYTES_MAX {
                let (limit, got) = (PAYLOAD_BYTES_MAX as u64, payload_len as u64);
                return Err(StorageError::TooLarge { limit, got });
            }
            len += draft.frame_len_max() as u64;
        }
        // Together they must fit a segment's offsets, too.
        if len > PAYLOAD_BYTES_MAX as u64 + self.bytes_max {
            let limit = PAYLOAD_BYTES_MAX as u64 + self.bytes_max;
            return Err(StorageError::TooLarge { limit, got: len });
        }
        if self.make_room(context, len, purpose)? == Room::Full {
            return Ok(Appended::SegmentFull);
        }
        self.write(context, drafts).map(Appended::Upto)
    }

    fn write(
        &mut self,
        context: &Context,
        drafts: &[Draft<'_>],
    ) -> Result<LogPosition, StorageError> {
        let LogSegment { id, salt, end, chain, .. } = self.active;
        let scratch = std::mem::take(&mut self.scratch);
        let mut buffer = FrameBuffer::new(salt, end, chain, scratch);
        let mut order = self.contents.hard;
        self.placed.clear();
        for draft in drafts {
            let follows = order.observe(&draft.header);
            assert!(follows.is_ok(), "a frame must follow the log: {follows:?}");
            self.placed.push(buffer.push(draft));
        }
        let written = self.active.write(context, &buffer);
        self.scratch = buffer.into_scratch();
        if self.scratch.capacity() > SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
        written?;
        self.appended_bytes += self.active.end - end;
        self.contents.hard = order;
        for (draft, &(offset, before)) in drafts.iter().zip(&self.placed) {
            let position = LogPosition { segment: id, offset: offset_of(offset) };
            self.contents.place(&draft.header, position, before);
        }
        Ok(self.active.position())
    }

    fn make_room(
        &mut self,
        context: &Context,
        len: u64,
        purpose: Purpose,
    ) -> Result<Room, StorageError> {
        let is_new = purpose == Purpose::Grow;
        let may_write = !is_new || self.reserve.is_held();
        if !may_write || !self.active.has_room(len, self.bytes_max) {
            return self.take_room(context, len, purpose);
        }
        self.refused = self.refused.filter(|_| !is_new);
        Ok(Room::Fits)
    }

    /// As [`Self::make_room`], where there may be none yet.
    #[cold]
    fn take_room(
        &mut self,
        context: &Context,
        len: u64,
        purpose: Purpose,
    ) -> Result<Room, StorageError> {
        let bytes_max = self.bytes_max;
        let spared = self.spared(purpose);
        let may_take = |more| leaves_log(context, spared, more);
        // Room behind what is needed now is for whoever comes next, and that may be new data.
        let spared_by_data = self.spared(Purpose::Grow);
        // And nobody may come behind a mark that tells what was given up. What a store that is
        // being opened appends comes before it is known what tables still have to get.
        let is_short_mark = purpose == Purpose::Mark && len <= HEADER_BYTES as u64;
        let is_stepping = !is_short_mark && self.debt.is_some();
        let may_step = |more| is_stepping && leaves_log(context, spared_by_data, more);
        if purpose != Purpose::Grow {
            let before = self.active.room;
            let room = match self.active.make_room(len, bytes_max, &may_take, &may_step) {
                Err(error) if error.is_disk_full() => {
                    self.give_back_reserve(context);
                    let unwritten =
                        self.unwritten().map(|unwritten| Spared { unwritten, ..Spared::default() });
                    let left = self.relief_bytes;
                    let may_use = |more| {
                        may_take(more)
                            || (more.saturating_mul(2) <= left
                                && leaves_log(context, unwritten, more))
                    };
                    let room = self.active.make_room(len, bytes_max, &may_use, &may_step);
                    let taken = self.active.room.saturating_sub(before).saturating_mul(2);
                    self.relief_bytes = left.saturating_sub(taken);
                    room
                }
                room => room,
            };
            if purpose == Purpose::Relieve && self.active.room > before {
                self.took_from_deletes = self.is_pressed(context, 0);
            }
            return room;
        }
        // While the reserve is out, what room there is belongs to those who make more of it, and is
        // not taken from them only to find out that it does not suffice.
        let restored = if self.reserve.is_held() || leaves(context, spared, self.reserve.bytes()) {
            self.reserve.restore(context)
        } else {
            Err(StorageError::DiskFull { path: self.active.path.clone() })
        };
        let room =
            restored.and_then(|()| self.active.make_room(len, bytes_max, &may_take, &may_take));
        self.refused = None;
        self.note_refusal(context, &room, len);
        room
    }

    /// Bytes that tables still have to get; `None` where nobody writes any, or no room is to be
    /// held back.
    pub(crate) fn unwritten(&self) -> Option<u64> {
        let debt = self.debt.as_ref().filter(|_| self.reserve.is_wanted())?;
        Some(debt.unwritten.load(Ordering::Relaxed))
    }

    /// How much room is left to others; `None` where nobody asks.
    fn spared(&self, purpose: Purpose) -> Option<Spared> {
        let (unwritten, kept) = (self.unwritten()?, self.debt.as_ref()?.kept);
        let deletes = match purpose {
            Purpose::Grow => kept.deletes,
            // The rest is for what leaves nothing, and for what tables have once.
            Purpose::Relieve => kept.deletes / 4,
            Purpose::Mark => return None,
        };
        Some(Spared { unwritten, kept, deletes })
    }

    /// Whether half of what is kept for deletes is used up, or would be with so many bytes more.
    pub(crate) fn is_pressed(&self, context: &Context, more: u64) -> bool {
        let half = |spared: Spared| Spared { deletes: spared.kept.deletes / 2, ..spared };
        !leaves(context, self.spared(Purpose::Relieve).map(half), more)
    }

    /// How much of the device is free beside what new data leaves; all of it where that is nothing.
    pub(crate) fn free_beside_kept(&self, context: &Context) -> u64 {
        let free = context.env.fs.free_bytes(&context.root).unwrap_or(u64::MAX);
        free.saturating_sub(self.spared(Purpose::Grow).map_or(0, |spared| spared.bytes(0)))
    }

    /// Whether there is room for tombstones in tables of which the log has next to nothing.
    pub(crate) fn has_room_for_tombstones(&self, context: &Context, bytes: u64) -> bool {
        leaves(context, self.spared(Purpose::Relieve), bytes)
    }

    /// Gives the reserve back; whoever it is for, what relieves may use so much from then on.
    /// Returns whether there was any.
    pub(crate) fn give_back_reserve(&mut self, context: &Context) -> bool {
        let given = self.reserve.release(context);
        if given {
            self.relief_bytes = self.reserve.bytes();
        }
        given
    }

    /// Whether the disk was found full and no write of new data has found room since.
    pub(crate) const fn found_full(&self) -> bool {
        self.refused.is_some() || !self.reserve.is_held()
    }

    /// Whether new data is refused: the disk was found full, and nothing says that there is room
    /// again.
    pub(crate) fn is_disk_full(&self, context: &Context) -> bool {
        let is_full = self.found_full();
        is_full && !self.has_room_again(context)
    }

    /// Whether a write like the one that was refused would find room, and the reserve before it.
    /// Where the file system does not say, or was wrong when that was refused, the next finds out.
    fn has_room_again(&self, context: &Context) -> bool {
        let Refused { bytes, was_misled } = self.refused.unwrap_or_default();
        let reserve = if self.reserve.is_held() { 0 } else { self.reserve.bytes() };
        let spared = self.spared(Purpose::Grow).unwrap_or_default();
        let taken = bytes.saturating_mul(2).saturating_add(reserve);
        let needed = spared.bytes(bytes.saturating_add(reserve)).saturating_add(taken);
        let free = context.env.fs.free_bytes(&context.root);
        !was_misled && free.is_ok_and(|free| free >= needed)
    }

    /// Notes that new data was refused so many bytes of log, if it was.
    fn note_refusal<T>(&mut self, context: &Context, done: &Result<T, StorageError>, bytes: u64) {
        if done.as_ref().is_err_and(StorageError::is_disk_full) {
            self.refused = Some(Refused { bytes, was_misled: false });
            let was_misled = self.has_room_again(context);
            self.refused = Some(Refused { bytes, was_misled });
        }
    }

    /// Ends the active segment with a seal, written and trimmed but not synced.
    ///
    /// # Errors
    /// `DiskFull`, `Io`.
    pub(crate) fn seal(
        &mut self,
        context: &Context,
        durable_upto: LogPosition,
        purpose: Purpose,
    ) -> Result<(), StorageError> {
        if !self.active.sealed {
            // Where the segment was closed and opened again there is no room for it yet.
            let mut room = self.active.make_room_for_seal();
            if purpose == Purpose::Grow {
                self.note_refusal(context, &room, HEADER_BYTES as u64);
            } else if room.as_ref().is_err_and(StorageError::is_disk_full)
                && self.give_back_reserve(context)
            {
                room = self.active.make_room_for_seal();
            }
            room?;
            let last = self.contents.hard.last.unwrap_or_default();
            let mut header = FrameHeader::mark(FrameKind::Seal, Flag::Unset, last);
            header.durable_upto = durable_upto;
            self.write(context, &[Draft::mark(header)])?;
            self.active.sealed = true;
        }
        if self.active.room > self.active.end {
            self.active.trim()?;
        }
        Ok(())
    }

    /// Goes on in a new segment. The active one is sealed and synced.
    ///
    /// # Errors
    /// `DiskFull`, `SegmentsExhausted`: the log is as before and can be tried again; `Io`,
    /// `SyncFailed`.
    pub(crate) fn next_segment(
        &mut self,
        context: &Context,
        purpose: Purpose,
    ) -> Result<(), StorageError> {
        assert!(self.active.sealed, "a segment is sealed before the next one begins");
        let id = self.active.id.next().ok_or(StorageError::SegmentsExhausted)?;
        let state =
            SegmentState { hard: self.contents.hard, previous: Some(self.active.previous_end()) };
        let bytes_max = self.bytes_max;
        // As in `take_room`: what is more than is needed now may be taken by new data.
        let at_first = LogSegment::room_step(bytes_max);
        let spared = self.spared(Purpose::Grow);
        let is_stepping = purpose != Purpose::Mark && leaves_log(context, spared, at_first);
        let least = u64::from(HEAD_BYTES);
        let create = || {
            // Behind a mark may come nothing for long, and whoever gives up a log for the room that
            // it takes must not take as much for the next one.
            let room = if is_stepping { at_first } else { 0 };
            LogSegment::create(context, id, state, &[], room)
        };
        let is_refused = purpose == Purpose::Grow && !leaves_log(context, spared, least);
        let full = || StorageError::DiskFull { path: context.segment_path(id) };
        let mut created = if is_refused { Err(full()) } else { create() };
        if purpose == Purpose::Grow {
            self.note_refusal(context, &created, least);
        } else if created.as_ref().is_err_and(StorageError::is_disk_full)
            && self.give_back_reserve(context)
        {
            created = create();
        }
        let active = created?;
        if let Some(last) = self.segments.last_mut() {
            last.end = self.active.end;
        }
        self.segments.push(SegmentInfo { id, salt: active.salt, end: active.end });
        self.active = active;
        self.before_active = self.contents.hard.last;
        tracing::debug!(segment = %id, "the log goes on in a new segment");
        Ok(())
    }

    /// The last of the entries up to `upto` that stand before the active segment; `None` when all
    /// of those are purged.
    pub(crate) fn purgeable(&self, upto: LogId) -> Option<LogId> {
        let LogContents { hard, entries, .. } = &self.contents;
        let first = match entries.first_in(self.active.id) {
            Some(first) if first <= upto.index => first,
            _ => return Some(upto),
        };
        let before = first.previous()?;
        if hard.purged.is_some_and(|purged| purged.index >= before) {
            return None;
        }
        // After a truncation another entry may have its place: then its name is not known.
        Some(self.before_active.filter(|last| last.index == before).unwrap_or(upto))
    }

    /// Whether no entry comes behind what the active segment has.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.active.is_at_end(self.bytes_max)
    }

    /// Segments that hold nothing that is needed, oldest first. They may be deleted once everything
    /// appended so far is synced: what makes them superfluous may be an unsynced frame.
    pub(crate) fn purged_segments(&self) -> Vec<SegmentId> {
        let needed = self.contents.entries.first_segment().unwrap_or(self.active.id);
        let keep = self.segments.partition_point(|info| info.id < needed.min(self.active.id));
        self.segments.iter().take(keep).map(|info| info.id).collect()
    }

    /// Forgets a segment that was deleted. One that could not be stays the oldest, so that it is
    /// tried again before any newer one.
    pub(crate) fn forget_segment(&mut self, id: SegmentId) {
        self.segments.retain(|info| info.id != id);
    }

    /// Numbers and ends of the segments, oldest first.
    pub(crate) fn segment_ends(&self) -> Vec<(SegmentId, u64)> {
        let mut ends: Vec<_> = self.segments.iter().map(|info| (info.id, info.end)).collect();
        if let Some(active) = ends.last_mut() {
            active.1 = self.active.end;
        }
        ends
    }

    /// Bytes that the log's segments hold.
    pub(crate) fn log_bytes(&self) -> u64 {
        let (_, sealed) = self.segments.split_last().unzip();
        let sealed: u64 = sealed.unwrap_or_default().iter().map(|info| info.end).sum();
        sealed + self.active.end
    }

    /// Bytes of the files, with the room that the active one has taken in advance, once a frame of
    /// this length is in them, and others of so many bytes in all; at most.
    pub(crate) fn file_bytes_with(&self, frame: u64, others: u64) -> u64 {
        let sealed = self.log_bytes() - self.active.end;
        sealed + self.active.bytes_with(frame, others, self.bytes_max)
    }
}

/// Offsets in a segment fit 32 bits: see `SEGMENT_BYTES_CEILING`.
fn offset_of(offset: u64) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
