//! What happens beside the writes: syncs by interval, compaction, removal of what is due.
//!
//! The threads of `threads` do it; with `worker_threads = 0` there are none, and the caller of a
//! write does what is due.

mod room;
mod threads;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::admission::{Admissions, rows_of_a_short_write};
use super::answering::Answering;
use super::back_off::BackOff;
use super::committer::Committer;
use super::compaction::{Effort, Frozen, KeepLog, Merges, Rules, compact};
use super::expiry::{EXPIRE_KEYS_MAX, LOOK_AGAIN_MIN, expire};
use super::pressure::{Marks, Pressure, is_due, is_far_behind};
use super::recording::has_unwanted;
use super::stats::CompactionReport;
use crate::error::{Error, Result};
use crate::storage::merge_choice::MergeGoal;

/// Log without rows that is left to be replayed: what some openings without a write leave.
const CLOSE_BEHIND_MIN: u64 = 4096;
/// Log that is kept when a store is closed although tables have it all: opening reads it in a
/// millisecond.
const CLOSE_LOG_MAX: u64 = 1 << 20;

/// When to do what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Zero: every write is synced before it is answered.
    pub(crate) fsync_interval: Duration,
    /// Zero: no timer.
    pub(crate) compaction_interval: Duration,
    pub(crate) keep_log: KeepLog,
    /// How long a write waits at most for compaction to catch up.
    pub(crate) wait_max: Duration,
}

/// Compaction's own state.
#[derive(Debug)]
struct Compaction {
    /// A tail that was set aside and could not be written.
    frozen: Option<Frozen>,
    /// When the last one ended, by the clock's elapsed time.
    last: Duration,
    tail: BackOff,
    /// Of merges by themselves: one bad block must not keep the tail in memory.
    merges: BackOff,
    /// Of giving up the past where there is no room.
    past: BackOff,
    /// Of making room for a long write.
    room: BackOff,
}

/// An engine of one voter and what runs beside it.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pub(crate) committer: Committer,
    schedule: Schedule,
    /// From how much on compaction is due; the threshold of useless bytes may change.
    marks: Marks,
    threshold: AtomicU64,
    /// Greatest length of a segment, and the writes that were let in where entries are long.
    segment_bytes: u64,
    admissions: Admissions,
    /// Held for as long as a compaction runs, so that only one does.
    compaction: Mutex<Compaction>,
    /// Whether the last one has set a tail aside that it could not write.
    tail_left: AtomicBool,
    /// Whether the last one has left merges to the next, because writes went on beside it.
    merges_left: AtomicBool,
    /// Until when none is tried, in microseconds of the clock's elapsed time; 0 where none failed.
    merges_from: AtomicU64,
    /// As that, of giving up the past.
    past_from: AtomicU64,
    /// As that, of making room for a long write.
    room_from: AtomicU64,
    /// From how many bytes on that is tried again, where a compaction of everything did not
    /// suffice; 0 where it did.
    room_above: AtomicU64,
    /// Of removing what is due, where the first of it cannot be read.
    expiry: Mutex<BackOff>,
    /// When the last interval sync began, in microseconds of the clock's elapsed time.
    synced_at: AtomicU64,
    /// Whether the compaction thread has been told to look, or will before long.
    asked: AtomicBool,
    has_threads: AtomicBool,
    stop: Mutex<bool>,
    /// Wakes the thread that syncs, to end.
    wake_sync: Condvar,
    /// Wakes the thread that compacts, to look or to end. A condition of its own: a write that asks
    /// for a look must not make the other thread sync.
    wake_compact: Condvar,
    /// Wakes the thread that removes what is due.
    wake_expire: Condvar,
}

impl Maintenance {
    pub(crate) fn new(
        committer: Committer,
        schedule: Schedule,
        marks: Marks,
        segment_bytes: u64,
    ) -> Self {
        let now = committer.machine.env.clock.elapsed();
        let none = BackOff::NONE;
        let compaction = Compaction {
            frozen: None,
            last: now,
            tail: none,
            merges: none,
            past: none,
            room: none,
        };
        Self {
            committer,
            schedule,
            marks,
            threshold: AtomicU64::new(marks.stale),
            segment_bytes,
            admissions: Admissions::default(),
            compaction: Mutex::new(compaction),
            tail_left: AtomicBool::new(false),
            merges_left: AtomicBool::new(false),
            merges_from: AtomicU64::new(0),
            past_from: AtomicU64::new(0),
            room_from: AtomicU64::new(0),
            room_above: AtomicU64::new(0),
            expiry: Mutex::new(BackOff::NONE),
            synced_at: AtomicU64::new(micros(now)),
            asked: AtomicBool::new(false),
            has_threads: AtomicBool::new(false),
            stop: Mutex::new(false),
            wake_sync: Condvar::new(),
            wake_compact: Condvar::new(),
            wake_expire: Condvar::new(),
        }
    }

    /// Called before each write that a thread waits for: where compaction cannot keep pace, waits
    /// for it, so that log and tail stay bounded. A compaction that fails holds nobody up.
    #[inline]
    pub(crate) fn before_write(&self) {
        if self.is_far_behind(0) {
            self.wait_for_compaction(|| 0);
        }
    }

    /// As [`Self::before_write`], before each write that nobody waits for: what is in the queue
    /// already comes to what has gathered.
    pub(crate) fn before_handing_in(&self) {
        self.wait_for_compaction(|| self.committer.queued_bytes());
    }

    fn wait_for_compaction(&self, queued: impl Fn() -> u64) {
        // Nobody commits while a callback waits: what waits in the queue would not get less.
        if Answering::is_here() {
            return;
        }
        let is_far_behind = || self.is_far_behind(queued());
        if is_far_behind() {
            self.committer.machine.throttle.wait(self.schedule.wait_max, is_far_behind);
        }
    }

    /// Whether so much has gathered that writers wait, with so many bytes that are in the queue.
    fn is_far_behind(&self, queued: u64) -> bool {
        let Pressure { behind, tail, stale } = self.committer.machine.load.pressure();
        let pressure = Pressure { behind: behind + queued, tail: tail + queued, stale };
        is_far_behind(pressure, self.marks)
    }

    /// Called after each write: does what is due, or tells who does.
    #[inline]
    pub(crate) fn after_write(&self) {
        if self.has_threads.load(Ordering::Acquire) {
            self.wake_if_due();
        } else {
            self.do_what_is_due();
        }
    }

    /// Does what threads do where there are any.
    fn do_what_is_due(&self) {
        let is_due = self.is_due();
        self.expire_if_due();
        self.sync_if_due();
        if is_due || self.is_time_over() {
            self.compact_if_due();
        }
    }

    /// Wakes the thread that compacts where anything is due.
    fn wake_if_due(&self) {
        if self.is_due() {
            self.wake_to_compact();
        }
    }

    #[cold]
    fn wake_to_compact(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            // On a busy machine it may be a while before the thread gets to run.
            self.committer.machine.throttle.expect();
            // Under the lock, so that a thread about to wait does not miss it.
            let _stop = self.stop.lock();
            self.wake_compact.notify_all();
        }
    }

    /// Called after each entry of many that remove what is due: these are writes like others, and
    /// what they leave has to be compacted before it is too much.
    fn after_expiry(&self) {
        if self.has_threads.load(Ordering::Acquire) {
            self.wake_if_due();
        } else if self.is_due() {
            self.compact_if_due();
        }
        self.before_write();
    }

    /// Bytes of stale data from which compaction runs.
    pub(crate) fn set_threshold(&self, bytes: u64) {
        self.threshold.store(bytes, Ordering::Release);
        self.after_write();
    }

    /// Compacts now, all that can be.
    ///
    /// # Errors
    /// Those of [`compact`].
    pub(crate) fn compact_now(&self) -> Result<CompactionReport> {
        self.compact(&mut self.compaction.lock(), Effort::All)
    }

    /// Writes what is only in the log, if anything is worth it. Called when nobody writes any more.
    pub(crate) fn compact_to_close(&self) {
        let has_tail = self.committer.machine.replica.read().kv.has_tail();
        let behind = self.committer.machine.load.pressure().behind;
        if (has_tail || behind > CLOSE_BEHIND_MIN)
            && self.committer.machine.store.log().check().is_ok()
        {
            // The result was logged and counted; the log has everything.
            let log_bytes_max = CLOSE_LOG_MAX.min(self.marks.behind);
            drop(self.compact(&mut self.compaction.lock(), Effort::Close { log_bytes_max }));
        }
    }

    fn compact(&self, compaction: &mut Compaction, effort: Effort) -> Result<CompactionReport> {
        let marks = Marks { stale: self.threshold(), ..self.marks };
        let now = self.committer.machine.env.clock.elapsed();
        let merges = match effort {
            Effort::Due { .. } if !compaction.merges.left(now).is_zero() => Merges::Leave,
            _ => Merges::Do,
        };
        let rules = Rules { keep_log: self.schedule.keep_log, marks, merges };
        let result = compact(&self.committer.machine, &mut compaction.frozen, rules, effort);
        self.tail_left.store(compaction.frozen.is_some(), Ordering::Relaxed);
        let now = self.committer.machine.env.clock.elapsed();
        compaction.last = now;
        match &result {
            Ok(_) => {
                self.committer.machine.store.log().end_relief();
                let goal = MergeGoal::Due { compaction_threshold: self.threshold() };
                let is_left = self.committer.machine.store.tables().is_merge_due(goal);
                self.merges_left.store(is_left, Ordering::Relaxed);
                compaction.tail = BackOff::NONE;
                if merges == Merges::Do {
                    compaction.merges = BackOff::NONE;
                }
            }
            Err(error) => {
                let is_first = !compaction.tail.has_failed() && !compaction.merges.has_failed();
                // What is asked for on a full disk fails at once, and would be asked for again.
                let wants_relief = self.committer.machine.store.log().wants_relief();
                if compaction.frozen.is_some() || wants_relief {
                    if compaction.frozen.is_none() && matches!(error, Error::DiskFull(_)) {
                        // It begins nothing that does not fit, and a delete may make it fit soon.
                        compaction.tail = BackOff::NONE;
                    }
                    compaction.tail.failed(now);
                } else {
                    compaction.tail = BackOff::NONE;
                    if matches!(error, Error::DiskFull(_)) {
                        compaction.merges = BackOff::NONE;
                    }
                    compaction.merges.failed(now);
                }
                metrics::counter!(crate::metrics::COMPACTIONS_TOTAL, "result" => "failed")
                    .increment(1);
                if is_first && matches!(error, Error::Corrupt(_)) {
                    tracing::error!(%error, "tables cannot be merged: restore from a backup");
                } else {
                    tracing::warn!(%error, "a compaction failed; nothing is lost");
                }
            }
        }
        if has_unwanted(&self.committer.machine) {
            compaction.past.failed(now);
        } else {
            compaction.past = BackOff::NONE;
        }
        self.past_from.store(micros(compaction.past.until()), Ordering::Relaxed);
        self.merges_from.store(micros(compaction.merges.until()), Ordering::Relaxed);
        result
    }

    /// Useless bytes that are tolerated, however large the threshold is: the directory has to stay
    /// within some segments of what is live.
    fn threshold(&self) -> u64 {
        self.threshold.load(Ordering::Relaxed).min(self.marks.stale_max)
    }

    /// Cheap: a few loads.
    fn is_due(&self) -> bool {
        let pressure = self.committer.machine.load.pressure();
        let is_tail_left = self.tail_left.load(Ordering::Relaxed);
        let log = self.committer.machine.store.log();
        if is_tail_left || log.wants_relief() || (log.was_full() && self.may_past_make_room()) {
            return true;
        }
        if self.is_before(&self.merges_from) {
            return is_due(pressure, Marks { stale: u64::MAX, ..self.marks });
        }
        let marks = Marks { stale: self.threshold(), ..self.marks };
        self.merges_left.load(Ordering::Relaxed) || is_due(pressure, marks)
    }

    /// Whether giving up the past, which a compaction ends with, makes room although there is
    /// nothing to compact.
    fn may_past_make_room(&self) -> bool {
        !self.is_before(&self.past_from) && has_unwanted(&self.committer.machine)
    }

    /// Whether it is not yet the moment from which what has failed is tried again.
    fn is_before(&self, from: &AtomicU64) -> bool {
        let from = from.load(Ordering::Relaxed);
        // The clock is asked only then.
        from > 0 && micros(self.committer.machine.env.clock.elapsed()) < from
    }

    fn is_time_over(&self) -> bool {
        let interval = self.schedule.compaction_interval;
        if interval.is_zero() || self.committer.machine.load.pressure().behind == 0 {
            return false;
        }
        let Some(compaction) = self.compaction.try_lock() else { return false };
        self.committer.machine.env.clock.elapsed().saturating_sub(compaction.last) >= interval
    }

    /// Compacts because something found no room. Returns whether that made any.
    pub(crate) fn compact_for_room(&self) -> bool {
        let effort = Effort::Due { threshold: self.threshold() };
        let report = self.compact(&mut self.compaction.lock(), effort);
        report.is_ok_and(|report| report.bytes_after < report.bytes_before)
    }

    /// A failure is counted and logged, never returned from a write that succeeded.
    pub(crate) fn compact_if_due(&self) {
        let is_time_over = self.is_time_over();
        let mut compaction = self.compaction.lock();
        if !compaction.tail.left(self.committer.machine.env.clock.elapsed()).is_zero() {
            return;
        }
        if is_time_over || self.is_due() {
            let threshold = self.threshold();
            // The result was logged and counted.
            drop(self.compact(&mut compaction, Effort::Due { threshold }));
        }
        // Whoever waits to compact is before this thread, which may be back at once.
        MutexGuard::unlock_fair(compaction);
    }

    fn sync_if_due(&self) {
        let interval = self.schedule.fsync_interval;
        if interval.is_zero() {
            return;
        }
        let now = micros(self.committer.machine.env.clock.elapsed());
        let last = self.synced_at.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= micros(interval) {
            self.synced_at.store(now, Ordering::Relaxed);
            self.sync_quietly();
        }
    }

    /// A failure has poisoned the log, which every later call tells.
    fn sync_quietly(&self) {
        if let Err(error) = self.committer.machine.store.log().sync() {
            tracing::error!(%error, "an interval sync failed");
        }
    }

    /// Where there is no thread for it, removes what is due. A failure is none of the write or the
    /// flush that this comes with: it is tried again at the next one.
    pub(crate) fn expire_if_due(&self) {
        let machine = &self.committer.machine;
        if !self.has_threads.load(Ordering::Acquire)
            && machine.deadlines.may_be_due(|| machine.log_clock.look())
            && let Err(error) = self.expire()
        {
            machine.deadlines.ask();
            tracing::debug!(%error, "what is due is not removed yet");
        }
    }

    /// As [`expire`]. Where what is due first cannot be read, all that is due later has to wait for
    /// it: that is looked at again after a while, and not whenever somebody asks.
    fn expire(&self) -> Result<Option<Duration>> {
        let machine = &self.committer.machine;
        let left = self.expiry.lock().left(machine.env.clock.elapsed());
        if !left.is_zero() {
            return Ok(Some(left.max(LOOK_AGAIN_MIN)));
        }
        // Nobody looks before at what an entry removes, so it removes no more than a short one.
        let longest_row = machine.load.longest_row.load(Ordering::Relaxed);
        let keys = rows_of_a_short_write(longest_row, self.segment_bytes).min(EXPIRE_KEYS_MAX);
        match expire(&self.committer, keys, || self.after_expiry()) {
            Err(Error::Corrupt(error)) => {
                let now = machine.env.clock.elapsed();
                let mut expiry = self.expiry.lock();
                if !expiry.has_failed() {
                    tracing::error!(%error, "what is due first cannot be read, and nothing goes");
                }
                expiry.failed(now);
                let left = expiry.left(now);
                drop(expiry);
                // Who is asked already is not woken.
                machine.deadlines.ask();
                Ok(Some(left))
            }
            done => {
                *self.expiry.lock() = BackOff::NONE;
                done
            }
        }
    }

    /// Syncs where nobody syncs by interval any more: what else there is to end or to write may
    /// take longer than that.
    pub(crate) fn sync_to_close(&self) {
        let is_by_interval = !self.schedule.fsync_interval.is_zero();
        if is_by_interval && self.committer.machine.store.log().check().is_ok() {
            self.sync_quietly();
        }
    }

    /// How long to wait after a tail could not be written; zero when the last one could.
    fn back_off(&self) -> Duration {
        let now = self.committer.machine.env.clock.elapsed();
        self.compaction.lock().tail.left(now)
    }

    /// How long until merges are tried again; `None` when the last one did not fail.
    fn until_merges(&self) -> Option<Duration> {
        let now = self.committer.machine.env.clock.elapsed();
        let left = self.compaction.lock().merges.left(now);
        (!left.is_zero()).then_some(left)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::config::StoreConfig;
    use crate::engine::back_off::{BACK_OFF_MAX, BACK_OFF_MIN};
    use crate::engine::{KvEngine, SingleNodeEngine};
    use crate::env::{Env, Simulated};
    use crate::retention::Retention;

    /// Compacts when a write makes it due, and never by time.
    fn config_by_writes() -> StoreConfig {
        StoreConfig {
            data_dir: "/data".into(),
            worker_threads: 0,
            compaction_interval: Duration::ZERO,
            ..StoreConfig::default()
        }
    }

    #[test]
    fn a_purge_that_finds_no_room_is_not_tried_at_once_again() {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let config = StoreConfig { disk_reserve: 0, ..config_by_writes() };
        let engine = SingleNodeEngine::with_env(&config, env).unwrap();
        engine.put(b"first".to_vec(), vec![1; 8000]).unwrap();
        let inner = &engine.inner;
        let due = Effort::Due { threshold: inner.threshold() };
        // The table has all of the log, which stays, since nothing can be given up of it.
        inner.compact(&mut inner.compaction.lock(), due).unwrap();
        assert!(inner.committer.machine.store.log().stats().bytes > 8000);
        // Nor does giving up what the segment has not used yet make room for the next one.
        fs.set_space(Some(0));
        let put = || engine.put(b"second".to_vec(), vec![2; 8 << 20]);
        assert!(matches!(put(), Err(Error::DiskFull(_))));
        assert!(inner.is_due() && inner.back_off() > Duration::ZERO);
        let ended = || inner.compaction.lock().last;
        let before = ended();
        for _ in 0..10 {
            clock.advance(Duration::from_millis(10));
            assert!(matches!(put(), Err(Error::DiskFull(_))));
        }
        assert_eq!(ended(), before);
        fs.set_space(None);
        clock.advance(BACK_OFF_MAX);
        put().unwrap();
        assert!(!inner.is_due());
    }

    #[test]
    fn a_tail_that_could_not_be_written_is_tried_again_without_another_write() {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let engine = SingleNodeEngine::with_env(&config_by_writes(), env).unwrap();
        engine.put(b"key".to_vec(), b"value".to_vec()).unwrap();
        let inner = &engine.inner;
        let due = Effort::Due { threshold: inner.threshold() };
        fs.set_handles_max(Some(fs.open_handles()));
        assert!(inner.compact(&mut inner.compaction.lock(), due).is_err());
        fs.set_handles_max(None);
        assert_eq!(inner.committer.machine.load.pressure().behind, 0);
        assert!(inner.is_due() && inner.back_off() > Duration::ZERO);
        clock.advance(BACK_OFF_MIN);
        inner.compact_if_due();
        assert!(!inner.is_due());
        assert_eq!(inner.committer.machine.store.tables().set().rows(), 1);
    }

    #[test]
    fn the_past_that_cannot_be_given_up_on_a_full_disk_is_not_tried_at_every_write() {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let config = StoreConfig {
            disk_reserve: 0,
            retention: Some(Retention { age_max: Some(BACK_OFF_MAX), ..Retention::default() }),
            ..config_by_writes()
        };
        let engine = SingleNodeEngine::with_env(&config, env).unwrap();
        for n in 0..4_u8 {
            engine.put(b"key".to_vec(), vec![n; 100]).unwrap();
            engine.run_compaction_now().unwrap();
            clock.advance(BACK_OFF_MAX / 2);
        }
        assert!(engine.eras().len() > 1);
        fs.set_space(Some(0));
        fs.deny("/data/archive".as_ref());
        clock.advance(2 * BACK_OFF_MAX);
        let put = || engine.put(b"key".to_vec(), vec![9; 8 << 20]);
        let ended = || engine.inner.compaction.lock().last;
        let refused_at = engine.inner.committer.machine.env.clock.elapsed();
        let before = ended();
        for _ in 0..10 {
            assert!(matches!(put(), Err(Error::DiskFull(_))));
            clock.advance(Duration::from_millis(10));
        }
        assert_eq!((before < refused_at, ended()), (true, refused_at), "once, at the first");
        fs.permit("/data/archive".as_ref());
        clock.advance(BACK_OFF_MIN);
        assert!(matches!(put(), Err(Error::DiskFull(_))));
        assert_eq!(engine.eras().len(), 1);
    }

    #[test]
    fn whoever_does_not_wait_for_the_answer_waits_for_compaction_all_the_same() {
        const WAIT: Duration = Duration::from_millis(20);
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: directory.path().join("data"),
            worker_threads: 1,
            max_segment_size: 64 << 10,
            fsync_interval: Duration::from_hours(1),
            submit_timeout: WAIT,
            ..StoreConfig::default()
        };
        let engine = SingleNodeEngine::with_config(config).unwrap();
        let inner = &engine.inner;
        // The thread comes no further, and is waited for.
        let compaction = inner.compaction.lock();
        let is_far_behind = || is_far_behind(inner.committer.machine.load.pressure(), inner.marks);
        let set = || Command::set("key", vec![7; 1000]);
        while !is_far_behind() {
            engine.submit(set()).unwrap();
        }
        let clock = &inner.committer.machine.env.clock;
        for with_callback in [false, true] {
            let before = clock.elapsed();
            for _ in 0..5 {
                if with_callback {
                    engine.submit_with(set(), Box::new(drop));
                } else {
                    drop(engine.submit_async(set()));
                }
            }
            assert!(clock.elapsed().saturating_sub(before) >= 5 * WAIT);
        }
        // Nor is what it has handed in committed meanwhile, of which nobody knows what it removes.
        // The first one finds the worker where it waits for those above.
        engine.submit_async(set()).wait().unwrap();
        let before = clock.elapsed();
        engine.submit_async(set()).wait().unwrap();
        assert!(clock.elapsed().saturating_sub(before) >= 2 * WAIT);
        drop(compaction);
        engine.close().unwrap();
    }
}
