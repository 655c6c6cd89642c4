//! The replicated log: entries, vote, truncation, purge and commit marks as frames of one ordered
//! sequence (rule R6), appended by one writer and synced by one syncer.
//!
//! # Who waits for what
//!
//! Two locks, always taken in this order: *syncer*, then *writer*.
//!
//! * An append takes the writer for one write call and lets go. It may name a [`Completion`].
//! * A sync takes the syncer for as long as the device needs, and the writer only to learn how far
//!   the log reaches. So appends go on during a sync, and whoever syncs does it for all that were
//!   appended before: group commit.
//! * Syncs never overlap. If they did, the kernel could report a failure to one of them and `Ok` to
//!   the other for the same bytes, and an acknowledgement would be false.
//!
//! There are no threads here. Who wants syncs in the background calls [`Log::sync`] from a thread.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::context::Context;
use super::error::StorageError;
use super::format::{WATERMARK_NAME, segment_name};
use super::frame::{Flag, FrameHeader, FrameKind};
use super::frame_buffer::Draft;
use super::hard_state::{HardState, vote_header};
use super::log_entry::{Completion, Entry, EntryRef, NewEntry, draft_of};
use super::log_read;
use super::log_waiting::Waiting;
use super::log_writer::{Appended, LogWriter, Purpose, Relief};
use super::sync_gate::OnPoison;
use super::watermark;
use crate::env::fs::{FsFile, write_all_at};
use crate::metrics::LogMetrics;
use crate::types::{LogId, LogIndex, LogPosition, SegmentId, Vote};

/// A segment that holds no more than this is not ended before it is full: a new file would cost
/// more than it frees.
pub(super) const ROLL_BYTES_MIN: u64 = 4096;

/// Sizes of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Segment files.
    pub segments: usize,
    /// Bytes in them that are part of the log.
    pub bytes: u64,
    /// Bytes appended and not yet synced.
    pub unsynced_bytes: u64,
    /// Whether new data is refused for want of room.
    pub disk_full: bool,
}

/// What the log is told when it is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLimits {
    /// Bytes that may be appended and not synced before an append syncs or waits.
    pub(crate) unsynced_bytes_max: u64,
    /// How long an append waits for another's sync when too much is unsynced.
    pub(crate) wait_max: Duration,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum NotAppended {
    /// Only the next segment has room; beginning it waits for the device.
    SegmentFull(SegmentId),
    /// As [`Log::append`] says.
    Failed(StorageError),
}

/// Which entries there are, and what holds for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogEnds {
    /// The first entry that can be read; `None` when there is none.
    pub(crate) first: Option<LogIndex>,
    pub(crate) hard: HardState,
}

/// The files of the log at one moment, all of it synced. Until this is dropped none of them is
/// deleted, and what stands before their ends never changes.
#[derive(Debug)]
pub(crate) struct KeptLog<'a> {
    /// The last entry.
    pub(crate) last: Option<LogId>,
    /// Numbers and ends of the segments, oldest first. All but the last are sealed.
    pub(crate) segments: Vec<(SegmentId, u64)>,
    _deleting: MutexGuard<'a, ()>,
}

/// The log of an open store. All methods take `&self` and may be called from any thread; all of
/// them block on the disk, so an async runtime calls them from threads of its own.
///
/// After `SyncFailed`, and after `Io` from a write, the log is poisoned: every later call but those
/// that read says so. After any other error it is as before the call.
#[derive(Debug)]
pub struct Log {
    pub(super) context: Context,
    limits: LogLimits,
    /// Taken before `writer`. Holds the watermark file.
    syncer: Mutex<Arc<dyn FsFile>>,
    pub(super) writer: Mutex<LogWriter>,
    /// Up to here the log is synced. Only grows, and only after a sync has returned (rule R5).
    durable: AtomicU64,
    /// As `durable`, counted as the writer counts what it appends.
    durable_bytes: AtomicU64,
    /// Who waits for a sync, in the order of the appends.
    waiting: Waiting,
    pub(super) relief: Relief,
    /// Taken by who deletes segments, before any other lock: two at once could leave a hole.
    deleting: Mutex<()>,
    metrics: LogMetrics,
}

impl Log {
    pub(crate) fn new(
        context: Context,
        limits: LogLimits,
        writer: LogWriter,
        watermark: Arc<dyn FsFile>,
    ) -> Self {
        let durable = AtomicU64::new(writer.active.position().to_u64());
        Self {
            context,
            limits,
            syncer: Mutex::new(watermark),
            writer: Mutex::new(writer),
            durable,
            durable_bytes: AtomicU64::new(0),
            waiting: Waiting::default(),
            relief: Relief::default(),
            deleting: Mutex::new(()),
            metrics: LogMetrics::new(),
        }
    }

    /// Vote and ends of the log. `committed` may name an entry that is not there: see
    /// [`Self::committed`].
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.writer.lock().contents.hard
    }

    /// Which entries there are.
    #[cfg_attr(not(feature = "raft"), expect(dead_code, reason = "for clusters"))]
    pub(crate) fn ends(&self) -> LogEnds {
        let writer = self.writer.lock();
        LogEnds { first: writer.contents.entries.first_index(), hard: writer.contents.hard }
    }

    /// The last entry marked as committed, clamped to the last entry there is.
    #[must_use]
    pub fn committed(&self) -> Option<LogId> {
        self.hard_state().committed_there()
    }

    /// Whether the log still stands.
    ///
    /// # Errors
    /// `Poisoned`.
    pub fn check(&self) -> Result<(), StorageError> {
        self.context.gate.check()
    }

    /// Stops the log for good, as a failed sync does: for a caller that can no longer tell what
    /// state it is in. Everybody who waits is told.
    pub fn poison(&self, cause: &str) {
        self.context.gate.poison(&cause);
        self.tell_if_poisoned(self.check()).ok();
    }

    /// As [`Self::poison`] where nothing has failed, which nobody need be told of: the store is
    /// given back.
    pub(crate) fn shut(&self) {
        self.context.gate.shut();
        self.tell_if_poisoned(self.check()).ok();
    }

    /// Waits until nobody is in the middle of a write. Behind [`Self::shut`] nobody begins one.
    pub(crate) fn wait_for_writers(&self) {
        drop(self.writer.lock());
    }

    /// Has `tell` called once the log is poisoned, whatever poisons it.
    pub(crate) fn on_poison(&self, tell: OnPoison) {
        self.context.gate.on_poison(tell);
    }

    /// Appends entries as one write. When this returns they can be read by everybody; `completion`
    /// is told when they are synced, which needs somebody to call [`Self::sync`].
    ///
    /// After a crash: of entries that were not synced a prefix is there, never a hole.
    ///
    /// # Errors
    /// `DiskFull`, `TooLarge`, `Overloaded`: nothing was written, and the log goes on. `Poisoned`,
    /// `Io`, `SyncFailed`: it does not.
    ///
    /// # Panics
    /// When the entries do not follow the log.
    pub fn append(
        &self,
        entries: &[NewEntry],
        purpose: Purpose,
        completion: Completion,
    ) -> Result<(), StorageError> {
        let entries: Vec<_> = entries.iter().map(NewEntry::as_ref).collect();
        self.append_refs(&entries, purpose, completion)
    }

    /// What [`Self::append`] does, with borrowed payloads.
    ///
    /// # Errors
    /// Those of [`Self::append`].
    ///
    /// # Panics
    /// As [`Self::append`].
    pub fn append_refs(
        &self,
        entries: &[EntryRef<'_>],
        purpose: Purpose,
        completion: Completion,
    ) -> Result<(), StorageError> {
        let mut drafts: Vec<Draft<'_>> = entries.iter().map(draft_of).collect();
        match self.append_frames(&mut drafts, purpose, completion) {
            Ok(_) => Ok(()),
            Err((error, completion)) => {
                completion.tell(Err(error.clone()));
                Err(error)
            }
        }
    }

    /// As [`Self::append_refs`], without ever waiting for the device: only where the active segment
    /// has room, and however much is unsynced. Gives the completion back when nothing was appended.
    ///
    /// # Errors
    /// `SegmentFull`: [`Self::append_or_give_back`] rolls. `Failed` as [`Self::append`].
    ///
    /// # Panics
    /// As [`Self::append`].
    #[cfg_attr(not(feature = "raft"), expect(dead_code, reason = "for clusters"))]
    pub(crate) fn append_without_waiting(
        &self,
        entries: &[EntryRef<'_>],
        purpose: Purpose,
        completion: Completion,
    ) -> Result<(), (NotAppended, Completion)> {
        if let Err(error) = self.check() {
            return Err((NotAppended::Failed(error), completion));
        }
        let mut drafts: Vec<Draft<'_>> = entries.iter().map(draft_of).collect();
        self.append_here(self.writer.lock(), &mut drafts, purpose, completion).map(drop)
    }

    /// As [`Self::append_refs`]; gives the completion back when nothing was appended.
    ///
    /// # Errors
    /// Those of [`Self::append`].
    ///
    /// # Panics
    /// As [`Self::append`].
    #[cfg_attr(not(feature = "raft"), expect(dead_code, reason = "for clusters"))]
    pub(crate) fn append_or_give_back(
        &self,
        entries: &[EntryRef<'_>],
        purpose: Purpose,
        completion: Completion,
    ) -> Result<(), (StorageError, Completion)> {
        let mut drafts: Vec<Draft<'_>> = entries.iter().map(draft_of).collect();
        self.append_frames(&mut drafts, purpose, completion).map(drop)
    }

    /// What [`Self::append_refs`] does for one entry, without allocating.
    ///
    /// # Errors
    /// Those of [`Self::append`].
    ///
    /// # Panics
    /// As [`Self::append`].
    #[expect(clippy::inline_always, reason = "returning from a write call is what it costs")]
    #[inline(always)]
    pub fn append_one(&self, entry: &EntryRef<'_>, purpose: Purpose) -> Result<(), StorageError> {
        self.append_frames(&mut [draft_of(entry)], purpose, Completion::none())
            .map(drop)
            .map_err(|(error, _)| error)
    }

    /// Saves a vote. Returns after a sync that covers it and everything before it.
    ///
    /// # Errors
    /// Those of [`Self::append`] and [`Self::sync`].
    pub fn save_vote(&self, vote: Vote) -> Result<(), StorageError> {
        self.append_mark(vote_header(vote))?;
        self.sync()
    }

    /// Marks entries as committed. Not synced: the mark only saves work when the log is opened.
    ///
    /// # Errors
    /// Those of [`Self::append`].
    pub fn save_committed(&self, committed: LogId) -> Result<(), StorageError> {
        self.append_mark(committed_header(committed))
    }

    /// As [`Self::save_committed`], without ever waiting for the device.
    ///
    /// # Errors
    /// As [`Self::append_without_waiting`].
    #[cfg_attr(not(feature = "raft"), expect(dead_code, reason = "for clusters"))]
    pub(crate) fn save_committed_without_waiting(
        &self,
        committed: LogId,
    ) -> Result<(), NotAppended> {
        self.check().map_err(NotAppended::Failed)?;
        let mut drafts = [Draft::mark(committed_header(committed))];
        let none = Completion::none();
        let appended = self.append_here(self.writer.lock(), &mut drafts, Purpose::Relieve, none);
        appended.map(drop).map_err(|(why, _)| why)
    }

    /// Removes the entries behind `last`, which is kept; all of them for `None`. Writes nothing
    /// where there are none. Not synced by itself: whatever is appended later is behind it in the
    /// same sequence.
    ///
    /// # Errors
    /// Those of [`Self::append`].
    ///
    /// # Panics
    /// When `last` is purged or not in the log.
    pub fn truncate_after(&self, last: Option<LogId>) -> Result<(), StorageError> {
        if last == self.hard_state().last {
            return self.check();
        }
        let flag = if last.is_none() { Flag::Set } else { Flag::Unset };
        self.append_mark(FrameHeader::mark(
            FrameKind::TruncateAfter,
            flag,
            last.unwrap_or_default(),
        ))
    }

    /// Removes the entries up to `upto`, which may be behind the last one. They are hidden at once,
    /// and their files deleted after the purge is synced (rule R13).
    ///
    /// The caller has what they amounted to on the device: in a snapshot.
    ///
    /// # Errors
    /// Those of [`Self::append`] and [`Self::sync`]. A file that cannot be deleted is no error: it
    /// is tried again at the next purge or open. Returns how many files were deleted.
    pub fn purge(&self, upto: LogId) -> Result<usize, StorageError> {
        self.hide(upto)?;
        self.delete_purged()
    }

    /// As [`Self::purge`], but of the segment that is being written nothing is removed: the same
    /// files are deleted, and what stays can still be read.
    ///
    /// # Errors
    /// Those of [`Self::purge`].
    pub(crate) fn purge_whole(&self, upto: LogId) -> Result<usize, StorageError> {
        let upto = self.writer.lock().purgeable(upto);
        upto.map_or(Ok(()), |upto| self.hide(upto))?;
        self.delete_purged()
    }

    /// The part of [`Self::purge`] that readers see. Not synced, and no file is deleted.
    ///
    /// # Errors
    /// Those of [`Self::append`].
    pub(crate) fn hide(&self, upto: LogId) -> Result<(), StorageError> {
        if self.hard_state().purged.is_none_or(|purged| purged.index < upto.index) {
            self.append_mark(FrameHeader::mark(FrameKind::Purge, Flag::Unset, upto))?;
        }
        Ok(())
    }

    /// Deletes the segments of which nothing is needed any more, oldest first, so that a crash
    /// leaves the newest of them. Returns how many.
    ///
    /// # Errors
    /// `SyncFailed`, `Poisoned`.
    pub(crate) fn delete_purged(&self) -> Result<usize, StorageError> {
        let mut deleted = 0;
        let _deleting = self.deleting.lock();
        // Which they are is asked before the sync: it then covers whatever made them superfluous.
        let purged = self.writer.lock().purged_segments();
        self.sync()?;
        let Context { env, gate, log: path, .. } = &self.context;
        if purged.is_empty() {
            return Ok(0);
        }
        let folder = match gate.open_dir(path) {
            Err(error @ StorageError::Io { .. }) => {
                tracing::warn!(%error, "purged segments stay");
                return Ok(0);
            }
            opened => opened?,
        };
        for id in purged {
            match env.fs.remove(&self.context.segment_path(id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, segment = %segment_name(id), "a purged segment stays");
                    break;
                }
                _ => self.writer.lock().forget_segment(id),
            }
            deleted += 1;
            // Each removal is made durable before the next: after a power cut no segment may be
            // missing between two that are there.
            self.tell_if_poisoned(gate.sync_names(&*folder, path))?;
        }
        Ok(deleted)
    }

    /// Makes durable everything that was appended before the call, and tells those who wait.
    ///
    /// # Errors
    /// `SyncFailed`, `Poisoned`: nothing that was not synced before is acknowledged, ever.
    pub fn sync(&self) -> Result<(), StorageError> {
        let syncer = self.syncer.lock();
        self.sync_locked(&syncer)
    }

    fn sync_locked(&self, syncer: &MutexGuard<'_, Arc<dyn FsFile>>) -> Result<(), StorageError> {
        self.tell_if_poisoned(self.check())?;
        let (file, path, upto, bytes) = {
            let writer = self.writer.lock();
            let active = &writer.active;
            if active.position().to_u64() <= self.durable.load(Ordering::Acquire) {
                return Ok(());
            }
            (
                Arc::clone(&active.file),
                active.path.clone(),
                active.position(),
                writer.appended_bytes,
            )
        };
        let started = self.context.env.clock.elapsed();
        self.tell_if_poisoned(self.context.gate.sync_file(&*file, &path))?;
        let elapsed = self.context.env.clock.elapsed().saturating_sub(started);
        self.metrics.syncs.increment(1);
        self.metrics.sync_seconds.record(elapsed);
        self.durable.store(upto.to_u64(), Ordering::Release);
        self.durable_bytes.store(bytes, Ordering::Release);
        self.note_watermark(syncer, upto);
        self.waiting.tell_upto(upto);
        Ok(())
    }

    /// Writes down how far the log is synced. Not being able to is lawful: an older mark only makes
    /// recovery less sure.
    fn note_watermark(&self, syncer: &MutexGuard<'_, Arc<dyn FsFile>>, upto: LogPosition) {
        let bytes = watermark::encode(upto, &self.context.identity);
        if let Err(error) = write_all_at(&***syncer, &mut [io::IoSlice::new(&bytes)], 0) {
            tracing::warn!(%error, "the watermark could not be written");
        }
    }

    /// The entries of `range` in order, as many as fit `bytes_max` payload bytes, at least one.
    ///
    /// # Errors
    /// `Purged` when the first of them is gone, `BeyondEnd` when the last is not there yet: never
    /// an answer with a hole. `Corrupt`, `Io`.
    pub fn read_range(
        &self,
        range: Range<LogIndex>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        log_read::read_range(&self.context, range, bytes_max, |index| {
            let writer = self.writer.lock();
            log_read::locate(&writer.contents, &writer.segments, index)
        })
    }

    /// Sizes.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let writer = self.writer.lock();
        LogStats {
            segments: writer.segments.len(),
            bytes: writer.log_bytes(),
            unsynced_bytes: self.unsynced_bytes(&writer),
            disk_full: writer.is_disk_full(&self.context),
        }
    }

    /// Bytes of the files, with the room that the last one has taken in advance, once a frame of
    /// this length is in them, and others of so many bytes in all; at most.
    pub(crate) fn file_bytes_with(&self, frame: u64, others: u64) -> u64 {
        self.writer.lock().file_bytes_with(frame, others)
    }

    /// Numbers and lengths of the segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<(SegmentId, u64)> {
        self.writer.lock().segment_ends()
    }

    /// Syncs the log and keeps its files as they are now: everything acknowledged so far is in
    /// them. Appending goes on; only deleting waits.
    ///
    /// # Errors
    /// Those of [`Self::sync`].
    pub(crate) fn keep_files(&self) -> Result<KeptLog<'_>, StorageError> {
        let deleting = self.deleting.lock();
        // Rolling waits for the syncer too: what is active now is so until the sync has returned.
        let syncer = self.syncer.lock();
        let (last, segments) = {
            let writer = self.writer.lock();
            (writer.contents.hard.last, writer.segment_ends())
        };
        self.sync_locked(&syncer)?;
        Ok(KeptLog { last, segments, _deleting: deleting })
    }

    /// Gives the reserve back, so that what relieves a full disk finds room. Returns whether there
    /// was any.
    pub(crate) fn give_back_reserve(&self) -> bool {
        self.writer.lock().give_back_reserve(&self.context)
    }

    /// Syncs, gives back the room behind the last frame, and syncs the watermark. Afterwards
    /// opening finds nothing to repair, and damage is told from an unsynced write everywhere.
    ///
    /// # Errors
    /// Those of [`Self::sync`].
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        let syncer = self.syncer.lock();
        self.sync_locked(&syncer)?;
        let (file, path) = {
            let mut writer = self.writer.lock();
            if writer.active.room > writer.active.end {
                writer.active.trim()?;
            }
            (Arc::clone(&writer.active.file), writer.active.path.clone())
        };
        self.tell_if_poisoned(self.context.gate.sync_file(&*file, &path))?;
        self.sync_watermark(&syncer)
    }

    fn sync_watermark(&self, syncer: &MutexGuard<'_, Arc<dyn FsFile>>) -> Result<(), StorageError> {
        self.note_watermark(syncer, LogPosition::from_u64(self.durable.load(Ordering::Acquire)));
        let path = self.context.log.join(WATERMARK_NAME);
        self.tell_if_poisoned(self.context.gate.sync_file(&***syncer, &path))
    }

    fn append_mark(&self, header: FrameHeader) -> Result<(), StorageError> {
        self.append_frames(&mut [Draft::mark(header)], Purpose::Mark, Completion::none())
            .map(drop)
            .map_err(|(error, _)| error)
    }

    /// Appends, rolling to the next segment where needed. Gives the completion back when nothing
    /// was appended.
    fn append_frames(
        &self,
        drafts: &mut [Draft<'_>],
        purpose: Purpose,
        mut completion: Completion,
    ) -> Result<LogPosition, (StorageError, Completion)> {
        loop {
            let writer = self.writer.lock();
            if self.unsynced_bytes(&writer) > self.limits.unsynced_bytes_max {
                drop(writer);
                match self.catch_up() {
                    Ok(()) => continue,
                    Err(error) => return Err((error, completion)),
                }
            }
            match self.append_here(writer, drafts, purpose, completion) {
                Ok(position) => return Ok(position),
                Err((NotAppended::SegmentFull(full), given_back)) => {
                    completion = given_back;
                    if let Err(error) = self.roll(full, purpose) {
                        return Err((error, completion));
                    }
                }
                Err((NotAppended::Failed(error), completion)) => return Err((error, completion)),
            }
        }
    }

    /// Appends to the active segment. Gives the completion back when nothing was appended.
    fn append_here(
        &self,
        mut writer: MutexGuard<'_, LogWriter>,
        drafts: &mut [Draft<'_>],
        purpose: Purpose,
        completion: Completion,
    ) -> Result<LogPosition, (NotAppended, Completion)> {
        // Under the lock: if the store was given back, the next one may already write to the same
        // place.
        if let Err(error) = self.check() {
            return Err((NotAppended::Failed(error), completion));
        }
        let durable = LogPosition::from_u64(self.durable.load(Ordering::Acquire));
        let appended = writer.append(&self.context, drafts, durable, purpose);
        if writer.took_from_deletes {
            writer.took_from_deletes = false;
            self.relief.want();
        }
        match appended {
            Ok(Appended::Upto(position)) => {
                if completion.is_some() {
                    self.waiting.push(position, completion);
                    drop(writer);
                    // Whoever poisoned the log meanwhile may have looked before it was there.
                    self.tell_if_poisoned(self.check()).ok();
                }
                Ok(position)
            }
            Ok(Appended::SegmentFull) => {
                Err((NotAppended::SegmentFull(writer.active.id), completion))
            }
            Err(error) => {
                let error = self.not_appended(writer, error, purpose);
                Err((NotAppended::Failed(error), completion))
            }
        }
    }

    /// Does what a write that has failed leaves to do. Returns what the caller is told.
    #[cold]
    fn not_appended(
        &self,
        writer: MutexGuard<'_, LogWriter>,
        error: StorageError,
        purpose: Purpose,
    ) -> StorageError {
        self.note_if_full(&error, purpose);
        let cut_unsynced = writer.active.cut_unsynced;
        let path = writer.active.path.clone();
        drop(writer);
        let error = match cut_unsynced.then(|| self.sync_cut()) {
            // A power cut could bring back what was cut off.
            Some(Err(failed)) => StorageError::Io {
                operation: "sync what was cut off in",
                path,
                source: Arc::new(io::Error::other(failed)),
            },
            _ => error,
        };
        self.tell_if_poisoned(Err::<(), _>(error.clone())).ok();
        error
    }

    /// Whether the active segment takes no more entries: the next one begins another.
    pub(crate) fn is_at_end_of_segment(&self) -> bool {
        self.writer.lock().is_at_end()
    }

    /// Goes on in a new segment, so that the one before can be deleted once it is purged. Does
    /// nothing when the active segment holds little.
    ///
    /// # Errors
    /// `DiskFull`: the log is as before. `Io`, `SyncFailed`, `Poisoned`.
    pub(crate) fn roll_now(&self) -> Result<(), StorageError> {
        let active = {
            let writer = self.writer.lock();
            (writer.active.end > ROLL_BYTES_MIN).then_some(writer.active.id)
        };
        active.map_or(Ok(()), |active| self.roll(active, Purpose::Mark))
    }

    /// Ends the segment `full` and begins the next, unless somebody else has.
    ///
    /// The old one is synced to its end before the new one can have a frame that counts, so what is
    /// not synced is always in the last segment.
    #[cold]
    fn roll(&self, full: SegmentId, purpose: Purpose) -> Result<(), StorageError> {
        let syncer = self.syncer.lock();
        let started = self.context.env.clock.elapsed();
        {
            let mut writer = self.writer.lock();
            if writer.active.id != full {
                return Ok(());
            }
            let durable = LogPosition::from_u64(self.durable.load(Ordering::Acquire));
            let sealed = writer.seal(&self.context, durable, purpose);
            drop(writer);
            self.tell_if_poisoned(sealed)?;
        }
        self.sync_locked(&syncer)?;
        self.sync_watermark(&syncer)?;
        let mut writer = self.writer.lock();
        // Between the two locks nobody could append: a sealed segment takes no frames.
        // Nor does anybody wait: all were told by the sync.
        let created = writer.next_segment(&self.context, purpose);
        created.inspect_err(|error| self.note_if_full(error, purpose))?;
        let begin = writer.active.position().to_u64();
        self.durable.store(begin, Ordering::Release);
        let elapsed = self.context.env.clock.elapsed().saturating_sub(started);
        self.metrics.roll_seconds.record(elapsed);
        Ok(())
    }

    /// Makes durable that the room of a refused write was cut off: until then a power cut could
    /// bring back frames of which the caller was told that they are not written.
    #[cold]
    fn sync_cut(&self) -> Result<(), StorageError> {
        let _syncer = self.syncer.lock();
        let (file, path) = {
            let writer = self.writer.lock();
            if !writer.active.cut_unsynced {
                return Ok(());
            }
            (Arc::clone(&writer.active.file), writer.active.path.clone())
        };
        self.context.gate.sync_file(&*file, &path)?;
        // Nothing was appended meanwhile: such a segment takes no frames.
        self.writer.lock().active.cut_unsynced = false;
        Ok(())
    }

    fn unsynced_bytes(&self, writer: &LogWriter) -> u64 {
        writer.appended_bytes - self.durable_bytes.load(Ordering::Acquire)
    }

    /// Called when too much is unsynced: syncs, or waits for whoever does.
    #[cold]
    fn catch_up(&self) -> Result<(), StorageError> {
        self.check()?;
        if let Some(syncer) = self.syncer.try_lock_for(self.limits.wait_max) {
            return self.sync_locked(&syncer);
        }
        let unsynced = self.unsynced_bytes(&self.writer.lock());
        Err(StorageError::Overloaded { unsynced, limit: self.limits.unsynced_bytes_max })
    }

    /// Where the store was poisoned, tells everybody who waits. Returns the result.
    pub(crate) fn tell_if_poisoned<T>(
        &self,
        result: Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if result.is_err()
            && let Err(error) = self.check()
        {
            self.waiting.fail_all(&error);
        }
        result
    }
}

fn committed_header(committed: LogId) -> FrameHeader {
    FrameHeader::mark(FrameKind::Committed, Flag::Unset, committed)
}
