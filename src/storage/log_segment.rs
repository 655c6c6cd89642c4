//! One segment file that is being written: room, frames, seal.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::atomic_file;
use super::context::Context;
use super::error::{StorageError, is_disk_full};
use super::format::{HEADER_BYTES, PROLOGUE_BYTES, SEGMENT_MAGIC, STATE_BYTES, segment_name};
use super::frame::{Chain, Flag, FrameHeader, FrameKind, Salt, frame_len_max};
use super::frame_buffer::{Draft, FrameBuffer};
use super::hard_state::{PreviousEnd, SegmentState};
use super::prologue::Prologue;
use crate::env::fs::FsFile;
use crate::types::{LogId, LogPosition, SegmentId};

/// Prologue and state frame: what every segment begins with.
pub(crate) const HEAD_BYTES: u32 = 208;
const _: () = assert!(HEAD_BYTES as usize == PROLOGUE_BYTES + frame_len_max(STATE_BYTES));

/// Room is reserved in steps of so many bytes, between these bounds a quarter of a segment: each
/// step costs one slower sync, and as many bytes at most are held that a small store does not need,
/// or that come to a segment before it that is needed still.
const ROOM_STEP_MAX: u64 = 4 << 20;
const ROOM_STEP_MIN: u64 = 4 << 10;
const ROOM_SHARE: u64 = 4;

/// Whether a frame can be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is room.
    Fits,
    /// The segment is full; the frame belongs in the next.
    Full,
}

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct LogSegment {
    pub(crate) id: SegmentId,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn FsFile>,
    pub(crate) salt: Salt,
    /// Behind the last frame.
    pub(crate) end: u64,
    /// Frame checksum of the last frame.
    pub(crate) chain: Chain,
    /// Length of the file: up to here writing cannot fail for want of space.
    ///
    /// Invariant: `end <= room`, and the bytes between them are zero.
    pub(crate) room: u64,
    /// Whether the last frame is a seal.
    pub(crate) sealed: bool,
    /// Whether frames that were refused may still come back after a power cut, from room that was
    /// cut off: until a sync nothing may be written there.
    pub(crate) cut_unsynced: bool,
}

impl LogSegment {
    /// Publishes a new segment with its state frame and `frames`, all of them synced.
    ///
    /// What is on disk if we die here: the segment whole, or not at all.
    ///
    /// # Errors
    /// Those of [`atomic_file::publish`]; then there is no such segment, or the store is poisoned.
    pub(crate) fn create(
        context: &Context,
        id: SegmentId,
        state: SegmentState,
        frames: &[Draft<'_>],
        room: u64,
    ) -> Result<Self, StorageError> {
        let salt = context.salt()?;
        let tag = context.identity.tag();
        let prologue = Prologue { magic: SEGMENT_MAGIC, number: id.0, salt, tag };
        let salt = prologue.salt();
        let encoded_state = state.encode();
        let mut buffer = FrameBuffer::new(salt, 0, salt.chain(), Vec::new());
        buffer.raw(&prologue.encode());
        let mut head = FrameHeader::mark(FrameKind::State, Flag::Unset, LogId::default());
        head.durable_upto = state.previous.map(|previous| previous.position).unwrap_or_default();
        buffer.push(&Draft::new(head, [&encoded_state, &[]]));
        for frame in frames {
            buffer.push(frame);
        }
        let (end, chain) = buffer.end();
        let needed = end + HEADER_BYTES as u64;
        let mut room = needed.max(room);
        let file = atomic_file::publish(
            &*context.env.fs,
            &context.gate,
            &context.log,
            &segment_name(id),
            |file, path| {
                if file.allocate(0, room).is_err() {
                    room = needed;
                    file.allocate(0, room).map_err(StorageError::wrap("grow", path))?;
                }
                buffer.write(file, 0).map_err(StorageError::wrap("write", path))
            },
        )?;
        let path = context.segment_path(id);
        Ok(Self { id, path, file, salt, end, chain, room, sealed: false, cut_unsynced: false })
    }

    /// Bytes that a segment takes in advance, each time and at first, where there is room.
    pub(crate) fn room_step(bytes_max: u64) -> u64 {
        (bytes_max / ROOM_SHARE).clamp(ROOM_STEP_MIN, ROOM_STEP_MAX).min(bytes_max)
    }

    /// How long it becomes where so much is needed, with room for what comes next.
    fn generous(&self, needed: u64, bytes_max: u64) -> u64 {
        needed.max((self.room + Self::room_step(bytes_max)).min(bytes_max))
    }

    /// Where the next frame will stand.
    pub(crate) fn position(&self) -> LogPosition {
        // `make_room` keeps `end` below 2^32: SEGMENT_BYTES_CEILING and one payload.
        LogPosition { segment: self.id, offset: u32::try_from(self.end).unwrap_or(u32::MAX) }
    }

    /// What the next segment says of this one.
    pub(crate) fn previous_end(&self) -> PreviousEnd {
        PreviousEnd { position: self.position(), chain: self.chain }
    }

    /// How long it becomes with so many bytes more and a seal.
    const fn needed(&self, len: u64) -> u64 {
        self.end + len + HEADER_BYTES as u64
    }

    /// Whether it is as long as a segment may be: no entry comes behind what it has.
    pub(crate) const fn is_at_end(&self, bytes_max: u64) -> bool {
        self.needed(HEADER_BYTES as u64) > bytes_max
    }

    fn is_full(&self, needed: u64, bytes_max: u64) -> bool {
        self.sealed || (needed > bytes_max && self.end > u64::from(HEAD_BYTES))
    }

    /// Whether `len` more bytes and a seal can be written as it is.
    pub(crate) fn has_room(&self, len: u64, bytes_max: u64) -> bool {
        let needed = self.needed(len);
        needed <= self.room && !self.cut_unsynced && !self.is_full(needed, bytes_max)
    }

    /// Sees to it that `len` more bytes and a seal can be written. `may_take` says whether so many
    /// bytes more may be taken of the disk, and `may_step` the same of bytes that are not needed
    /// yet.
    ///
    /// # Errors
    /// `DiskFull`, `Io`; nothing was changed.
    pub(crate) fn make_room(
        &mut self,
        len: u64,
        bytes_max: u64,
        may_take: &dyn Fn(u64) -> bool,
        may_step: &dyn Fn(u64) -> bool,
    ) -> Result<Room, StorageError> {
        if self.has_room(len, bytes_max) {
            return Ok(Room::Fits);
        }
        if self.cut_unsynced {
            return Err(StorageError::DiskFull { path: self.path.clone() });
        }
        let needed = self.needed(len);
        if self.is_full(needed, bytes_max) {
            return Ok(Room::Full);
        }
        let generous = self.generous(needed, bytes_max);
        let grow = |upto: u64, may: &dyn Fn(u64) -> bool| {
            let more = upto - self.room;
            if !may(more) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.file.allocate(self.room, more).map(|()| upto)
        };
        let room = grow(generous, may_step)
            .or_else(|_| grow(needed, may_take))
            .map_err(StorageError::wrap("grow", &self.path))?;
        self.room = room;
        Ok(Room::Fits)
    }

    /// Bytes that the log's files have from this one on, at most, once a frame of this length is in
    /// them and others of so many bytes in all: as [`Self::make_room`] would have it; or the room
    /// behind the last frame is given back, and other segments begin.
    pub(crate) fn bytes_with(&self, frame: u64, others: u64, bytes_max: u64) -> u64 {
        let frames = frame.saturating_add(others);
        let needed = self.end.saturating_add(frames) + HEADER_BYTES as u64;
        if needed <= self.room {
            self.room
        } else if needed <= bytes_max || (others == 0 && self.end <= u64::from(HEAD_BYTES)) {
            self.generous(needed, bytes_max)
        } else {
            let at_first = Self::room_step(bytes_max);
            let alone = (u64::from(HEAD_BYTES) + frame + HEADER_BYTES as u64).max(at_first);
            // However these are spread, only the last segment has room that is not used.
            let more = if others > 0 { others.saturating_add(at_first) } else { 0 };
            (self.end + HEADER_BYTES as u64).saturating_add(alone).saturating_add(more)
        }
    }

    /// Sees to it that a seal can be written.
    ///
    /// # Errors
    /// As [`Self::make_room`].
    pub(crate) fn make_room_for_seal(&mut self) -> Result<(), StorageError> {
        let needed = self.end + HEADER_BYTES as u64;
        if needed > self.room {
            self.file
                .allocate(self.room, needed - self.room)
                .map_err(StorageError::wrap("grow", &self.path))?;
            self.room = needed;
        }
        Ok(())
    }

    /// Writes frames behind the last, in one call. [`Self::make_room`] was asked before.
    ///
    /// # Errors
    /// `DiskFull` when the file system gave room and then had none: nothing counts as written.
    /// Otherwise the store is poisoned: what of the bytes is in the file is not known.
    pub(crate) fn write(
        &mut self,
        context: &Context,
        buffer: &FrameBuffer<'_>,
    ) -> Result<(), StorageError> {
        if let Err(source) = buffer.write(&*self.file, self.end) {
            let is_full = is_disk_full(&source);
            // Cutting the file takes back what was written of the frames, so that room that was not
            // written is zero again. If even that fails nobody can tell what is there.
            if is_full && self.file.set_len(self.end).is_ok() {
                self.room = self.end;
                self.cut_unsynced = true;
                return Err(StorageError::io("write", &self.path, source));
            }
            // Not `DiskFull`, whatever it was: that would say that nothing is there.
            let (path, source) = (self.path.clone(), Arc::new(source));
            let error = StorageError::Io { operation: "write", path, source };
            context.gate.poison(&error);
            return Err(error);
        }
        (self.end, self.chain) = buffer.end();
        self.room = self.room.max(self.end);
        Ok(())
    }

    /// Gives back the room behind the last frame.
    ///
    /// # Errors
    /// `Io`; the file is as long as before.
    pub(crate) fn trim(&mut self) -> Result<(), StorageError> {
        self.file.set_len(self.end).map_err(StorageError::wrap("cut", &self.path))?;
        self.room = self.end;
        Ok(())
    }
}
