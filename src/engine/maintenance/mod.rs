//! What happens beside the writes: syncs by interval, compaction, and the threads for them.
//!
//! With `worker_threads = 0` there are none: the caller of a write does what is due.

mod long_writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::admission::Admissions;
use super::answering::Answering;
use super::back_off::{BACK_OFF_MAX, BACK_OFF_MIN, BackOff};
use super::committer::Committer;
use super::compaction::{Effort, Frozen, KeepLog, Merges, Rules, compact};
use super::expiry::{LOOK_AGAIN_MIN, expire};
use super::pressure::{Marks, Pressure, is_due, is_far_behind};
use super::recording::{compress_in_background, has_unwanted};
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

    /// Starts the threads that a configuration with `worker_threads > 0` has.
    ///
    /// # Errors
    /// `Io` when the operating system gives no thread; those that were started go on until
    /// [`Self::stop`].
    pub(crate) fn start(self: &Arc<Self>, threads: &mut Vec<JoinHandle<()>>) -> Result<()> {
        self.has_threads.store(true, Ordering::Release);
        let mut spawn = |name: &str, run: fn(&Self)| {
            let this = Arc::clone(self);
            let spawned = Builder::new().name(name.to_owned()).spawn(move || run(&this));
            let thread = spawned.map_err(|source| Error::Io {
                operation: "start a thread for",
                path: self.committer.machine.store.directory().to_owned(),
                source: Arc::new(source),
            })?;
            threads.push(thread);
            Ok::<_, Error>(())
        };
        // One leader commits at a time, so one thread carries all that is handed in.
        spawn("htkv-worker", |this| {
            this.committer.work(|| this.before_write(), || this.wake_if_due());
        })?;
        spawn("htkv-compact", |this| {
            let _closing = ClosesThrottle(this);
            this.compact_in_background();
        })?;
        let this = Arc::downgrade(self);
        self.committer.machine.deadlines.on_wake(move || {
            if let Some(this) = this.upgrade() {
                // Under the lock, so that a thread about to wait does not miss it.
                let _stop = this.stop.lock();
                this.wake_expire.notify_all();
            }
        });
        spawn("htkv-expire", Self::expire_in_background)?;
        self.committer.machine.archiver.expect();
        self.committer.machine.store.tables().image_bell().expect();
        spawn("htkv-image", |this| this.committer.machine.store.tables().make_images())?;
        spawn("htkv-archive", |this| compress_in_background(&this.committer.machine))?;
        if !self.schedule.fsync_interval.is_zero() {
            spawn("htkv-sync", Self::sync_in_background)?;
        }
        Ok(())
    }

    /// Tells all threads to end.
    pub(crate) fn stop(&self) {
        *self.stop.lock() = true;
        self.committer.machine.rest_merges();
        self.committer.machine.archiver.stop();
        self.committer.machine.store.tables().image_bell().stop();
        self.wake_sync.notify_all();
        self.wake_compact.notify_all();
        self.wake_expire.notify_all();
        self.committer.close();
    }

    /// Called before each write that a thread waits for: where compaction cannot keep pace, waits
    /// for it, so that log and tail stay bounded. A compaction that fails holds nobody up.
    pub(crate) fn before_write(&self) {
        self.wait_for_compaction(|| 0);
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
        let is_far_behind = || {
            let Pressure { behind, tail, stale } = self.committer.machine.load.pressure();
            let queued = queued();
            let pressure = Pressure { behind: behind + queued, tail: tail + queued, stale };
            is_far_behind(pressure, self.marks)
        };
        if is_far_behind() {
            self.committer.machine.throttle.wait(self.schedule.wait_max, is_far_behind);
        }
    }

    /// Called after each write: does what is due, or tells who does.
    pub(crate) fn after_write(&self) {
        if self.has_threads.load(Ordering::Acquire) {
            self.wake_if_due();
            return;
        }
        let is_due = self.is_due();
        self.expire_if_due();
        self.sync_if_due();
        if is_due || self.is_time_over() {
            self.compact_if_due();
        }
    }

    /// Wakes the thread that compacts where anything is due.
    fn wake_if_due(&self) {
        if self.is_due() && !self.asked.swap(true, Ordering::AcqRel) {
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

    /// Waits for the time to pass or for a call, unless `look` finds something to do at once.
    /// `false` when it is time to end.
    fn pause(&self, wake: &Condvar, time: Duration, look: impl FnOnce() -> bool) -> bool {
        let mut stop = self.stop.lock();
        if *stop {
            return false;
        }
        if !look() {
            wake.wait_for(&mut stop, time);
        }
        !*stop
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
        match expire(&self.committer, || self.after_expiry()) {
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

    fn expire_in_background(&self) {
        let deadlines = &self.committer.machine.deadlines;
        loop {
            let expired = self.expire();
            // On a full disk what is due may have found no room, and on others it is stale now.
            self.after_write();
            let time = match expired {
                Ok(time) => time,
                Err(Error::Closed(_) | Error::Poisoned { .. }) => return,
                Err(error) => {
                    tracing::warn!(%error, "what is due is not removed yet");
                    Some(BACK_OFF_MIN)
                }
            };
            let mut stop = self.stop.lock();
            if !*stop && (self.expiry.lock().has_failed() || !deadlines.is_asked()) {
                match time {
                    Some(time) => drop(self.wake_expire.wait_for(&mut stop, time)),
                    None => self.wake_expire.wait(&mut stop),
                }
            }
            if *stop {
                return;
            }
        }
    }

    fn sync_in_background(&self) {
        while self.pause(&self.wake_sync, self.schedule.fsync_interval, || false) {
            if self.committer.machine.store.log().check().is_err() {
                return;
            }
            self.sync_quietly();
        }
        self.sync_to_close();
    }

    /// Syncs where nobody syncs by interval any more: what else there is to end or to write may
    /// take longer than that.
    pub(crate) fn sync_to_close(&self) {
        let is_by_interval = !self.schedule.fsync_interval.is_zero();
        if is_by_interval && self.committer.machine.store.log().check().is_ok() {
            self.sync_quietly();
        }
    }

    fn compact_in_background(&self) {
        let interval = self.schedule.compaction_interval;
        let interval = if interval.is_zero() { BACK_OFF_MAX } else { interval };
        let throttle = &self.committer.machine.throttle;
        // Kept between compactions that follow one another: writers that wait would not know that
        // there is a next one before it begins.
        let mut compacting = None;
        loop {
            let mut back_off = self.back_off();
            if back_off.is_zero() && (self.is_due() || self.is_time_over()) {
                compacting.get_or_insert_with(|| throttle.begin());
                self.compact_if_due();
                back_off = self.back_off();
                if back_off.is_zero() && self.is_due() {
                    // Writes went on meanwhile. Of a log that has stopped nothing is ever done.
                    if *self.stop.lock() || self.committer.machine.store.log().check().is_err() {
                        return;
                    }
                    continue;
                }
            }
            compacting = None;
            let failed = !back_off.is_zero();
            let until_merges = self.until_merges().unwrap_or(interval);
            let time = if failed { back_off } else { until_merges.min(interval) };
            if !self.pause(&self.wake_compact, time, || self.is_due_after_all(failed))
                || self.committer.machine.store.log().check().is_err()
            {
                return;
            }
        }
    }

    /// Asked by the thread that compacts, under the lock, before it sleeps: whether something has
    /// become due that it has not seen.
    ///
    /// After a failure nobody asks before the back-off is over: `asked` stays set. Otherwise it is
    /// cleared, so that whoever asks later finds this thread waiting; and only then what is due is
    /// looked at once more, since who found it set has woken nobody.
    fn is_due_after_all(&self, failed: bool) -> bool {
        self.asked.swap(failed, Ordering::AcqRel);
        let is_due = !failed && self.is_due();
        if !is_due {
            self.committer.machine.throttle.end();
        }
        is_due
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

/// Sees to it that nobody waits for compactions of a thread that has ended, for whatever reason.
struct ClosesThrottle<'a>(&'a Maintenance);

impl Drop for ClosesThrottle<'_> {
    fn drop(&mut self) {
        self.0.committer.machine.throttle.close();
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
    fn what_becomes_due_before_the_thread_sleeps_is_seen() {
        let config = StoreConfig {
            data_dir: "/data".into(),
            worker_threads: 0,
            max_segment_size: 64 << 10,
            ..StoreConfig::default()
        };
        let engine = SingleNodeEngine::with_env(&config, Env::simulated(1).env).unwrap();
        let inner = &engine.inner;
        assert!(!inner.is_due_after_all(false));
        // Who made it due found `asked` set, and woke nobody.
        inner.asked.store(true, Ordering::Release);
        while !inner.is_due() {
            inner.committer.submit(Command::set("key", vec![7; 1000])).unwrap();
        }
        assert!(inner.is_due_after_all(false));
        inner.asked.store(true, Ordering::Release);
        let hour = Duration::from_hours(1);
        assert!(inner.pause(&inner.wake_compact, hour, || inner.is_due_after_all(false)));
        assert!(!inner.asked.load(Ordering::Acquire));
        // After a failure it is waited all the same, and nobody asks.
        assert!(!inner.is_due_after_all(true));
        assert!(inner.asked.load(Ordering::Acquire));
    }

    #[test]
    fn a_store_that_ends_syncs_before_it_waits_for_its_threads() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: directory.path().join("data"),
            worker_threads: 1,
            fsync_interval: Duration::from_hours(1),
            compaction_interval: Duration::ZERO,
            ..StoreConfig::default()
        };
        let engine = SingleNodeEngine::with_config(config).unwrap();
        let inner = Arc::clone(&engine.inner);
        let unsynced = || inner.committer.machine.store.log().stats().unsynced_bytes;
        let within_reason = |is_so: &dyn Fn() -> bool, what: &str| {
            let clock = &inner.committer.machine.env.clock;
            let began = clock.elapsed();
            while !is_so() {
                assert!(clock.elapsed().saturating_sub(began) < Duration::from_secs(20), "{what}");
                std::thread::yield_now();
            }
        };
        // A compaction that takes its time, and a callback that does.
        let compaction = inner.compaction.lock();
        inner.tail_left.store(true, Ordering::Relaxed);
        inner.wake_if_due();
        let (go_on, told) = std::sync::mpsc::channel::<()>();
        let wait = Box::new(move |_| told.recv().unwrap_or_default());
        engine.submit_with(Command::set("first", "1"), wait);
        within_reason(&|| engine.contains(b"first").unwrap(), "the worker writes");
        engine.submit_with(Command::set("second", "2"), Box::new(drop));
        let view = || inner.committer.machine.replica.view();
        assert!(unsynced() > 0 && !view().contains(b"second").unwrap());
        std::thread::scope(move |scope| {
            let closing = scope.spawn(move || engine.close());
            within_reason(&|| unsynced() == 0, "synced beside the worker");
            assert!(!view().contains(b"second").unwrap());
            go_on.send(()).unwrap();
            within_reason(&|| view().contains(b"second").unwrap(), "the queue is committed");
            within_reason(&|| unsynced() == 0, "synced beside compaction");
            assert!(!closing.is_finished());
            drop(compaction);
            closing.join().unwrap().unwrap();
        });
    }

    #[test]
    fn what_was_handed_in_is_compacted_without_another_call() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: directory.path().join("data"),
            worker_threads: 1,
            max_segment_size: 64 << 10,
            fsync_interval: Duration::from_hours(1),
            compaction_interval: Duration::ZERO,
            ..StoreConfig::default()
        };
        let engine = SingleNodeEngine::with_config(config).unwrap();
        let (go_on, told) = std::sync::mpsc::channel::<()>();
        let wait = Box::new(move |_| told.recv().unwrap_or_default());
        engine.submit_with(Command::set("first", "1"), wait);
        // All are in the queue before the first of them is committed.
        let set = |n: u8| engine.submit_async(Command::set(vec![n], vec![7; 1000]));
        let handed_in: Vec<_> = (0..100).map(set).collect();
        drop(go_on);
        for it in handed_in {
            it.wait().unwrap();
        }
        let machine = &engine.inner.committer.machine;
        let began = machine.env.clock.elapsed();
        while machine.store.tables().is_empty() {
            let elapsed = machine.env.clock.elapsed().saturating_sub(began);
            assert!(elapsed < Duration::from_secs(20), "nobody compacts");
            std::thread::yield_now();
        }
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
