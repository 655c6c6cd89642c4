//! What happens beside the writes: syncs by interval, compaction, and the threads for them.
//!
//! With `worker_threads = 0` there are none: the caller of a write does what is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::committer::Committer;
use super::compaction::{Effort, Frozen, KeepLog, Rules, compact};
use super::expiry::expire;
use super::pressure::{Marks, is_due, is_far_behind};
use super::recording::compress_in_background;
use super::stats::CompactionReport;
use crate::error::{Error, Result};
use crate::storage::table_store::MergeGoal;

/// How long a compaction that failed waits before it is tried again; doubled each time, up to the
/// second.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_mins(1);

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
    /// Not before this moment, after a failure.
    not_before: Duration,
    back_off: Duration,
}

/// An engine of one voter and what runs beside it.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pub(crate) committer: Committer,
    schedule: Schedule,
    /// From how much on compaction is due; the threshold of useless bytes may change.
    marks: Marks,
    threshold: AtomicU64,
    /// Held for as long as a compaction runs, so that only one does.
    compaction: Mutex<Compaction>,
    /// Whether the last one has left merges to the next, because writes went on beside it.
    merges_left: AtomicBool,
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
    pub(crate) fn new(committer: Committer, schedule: Schedule, marks: Marks) -> Self {
        let now = committer.machine.env.clock.elapsed();
        let compaction = Compaction {
            frozen: None,
            last: now,
            not_before: Duration::ZERO,
            back_off: BACK_OFF_MIN,
        };
        Self {
            committer,
            schedule,
            marks,
            threshold: AtomicU64::new(marks.stale),
            compaction: Mutex::new(compaction),
            merges_left: AtomicBool::new(false),
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
        spawn("htkv-worker", |this| this.committer.work())?;
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
        let is_far_behind = || is_far_behind(self.committer.machine.load.pressure(), self.marks);
        if is_far_behind() {
            self.committer.machine.throttle.wait(self.schedule.wait_max, is_far_behind);
        }
    }

    /// Called after each write: does what is due, or tells who does.
    pub(crate) fn after_write(&self) {
        let is_due = self.is_due();
        if self.has_threads.load(Ordering::Acquire) {
            if is_due && !self.asked.swap(true, Ordering::AcqRel) {
                // On a busy machine it may be a while before the thread gets to run.
                self.committer.machine.throttle.expect();
                // Under the lock, so that a thread about to wait does not miss it.
                let _stop = self.stop.lock();
                self.wake_compact.notify_all();
            }
            return;
        }
        self.expire_if_due();
        self.sync_if_due();
        if is_due || self.is_time_over() {
            self.compact_if_due();
        }
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
        let rules = Rules { keep_log: self.schedule.keep_log, marks };
        let result = compact(&self.committer.machine, &mut compaction.frozen, rules, effort);
        let now = self.committer.machine.env.clock.elapsed();
        compaction.last = now;
        match &result {
            Ok(_) => {
                let goal = MergeGoal::Due { compaction_threshold: self.threshold() };
                let is_left = self.committer.machine.store.tables().is_merge_due(goal);
                self.merges_left.store(is_left, Ordering::Relaxed);
                compaction.back_off = BACK_OFF_MIN;
                compaction.not_before = Duration::ZERO;
            }
            Err(error) => {
                compaction.not_before = now.saturating_add(compaction.back_off);
                compaction.back_off = BACK_OFF_MAX.min(compaction.back_off.saturating_mul(2));
                metrics::counter!(crate::metrics::COMPACTIONS_TOTAL, "result" => "failed")
                    .increment(1);
                tracing::warn!(%error, "a compaction failed; nothing is lost");
            }
        }
        result
    }

    /// Useless bytes that are tolerated, however large the threshold is: the directory has to stay
    /// within some segments of what is live.
    fn threshold(&self) -> u64 {
        self.threshold.load(Ordering::Relaxed).min(self.marks.stale_max)
    }

    /// Cheap: a few loads.
    fn is_due(&self) -> bool {
        let marks = Marks { stale: self.threshold(), ..self.marks };
        self.merges_left.load(Ordering::Relaxed)
            || is_due(self.committer.machine.load.pressure(), marks)
    }

    fn is_time_over(&self) -> bool {
        let interval = self.schedule.compaction_interval;
        if interval.is_zero() || self.committer.machine.load.pressure().behind == 0 {
            return false;
        }
        let Some(compaction) = self.compaction.try_lock() else { return false };
        self.committer.machine.env.clock.elapsed().saturating_sub(compaction.last) >= interval
    }

    /// A failure is counted and logged, never returned from a write that succeeded.
    fn compact_if_due(&self) {
        let is_time_over = self.is_time_over();
        let mut compaction = self.compaction.lock();
        if self.committer.machine.env.clock.elapsed() < compaction.not_before {
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

    /// Waits for the time to pass or for a call. `false` when it is time to end.
    fn pause(&self, wake: &Condvar, time: Duration, before: impl FnOnce()) -> bool {
        let mut stop = self.stop.lock();
        if *stop {
            return false;
        }
        before();
        wake.wait_for(&mut stop, time);
        !*stop
    }

    /// Where there is no thread for it, removes what is due. A failure is none of the write or the
    /// flush that this comes with: it is tried again at the next one.
    pub(crate) fn expire_if_due(&self) {
        let machine = &self.committer.machine;
        if !self.has_threads.load(Ordering::Acquire)
            && machine.deadlines.may_be_due(|| machine.log_clock.look())
            && let Err(error) = expire(&self.committer)
        {
            machine.deadlines.ask();
            tracing::debug!(%error, "what is due is not removed yet");
        }
    }

    fn expire_in_background(&self) {
        let deadlines = &self.committer.machine.deadlines;
        loop {
            let time = match expire(&self.committer) {
                Ok(time) => time,
                Err(Error::Closed(_) | Error::Poisoned { .. }) => return,
                Err(error) => {
                    tracing::warn!(%error, "what is due is not removed yet");
                    Some(BACK_OFF_MIN)
                }
            };
            let mut stop = self.stop.lock();
            if !*stop && !deadlines.is_asked() {
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
        while self.pause(&self.wake_sync, self.schedule.fsync_interval, || ()) {
            if self.committer.machine.store.log().check().is_err() {
                return;
            }
            self.sync_quietly();
        }
    }

    fn compact_in_background(&self) {
        let interval = self.schedule.compaction_interval;
        let interval = if interval.is_zero() { BACK_OFF_MAX } else { interval };
        loop {
            let mut back_off = self.back_off();
            if back_off.is_zero() && (self.is_due() || self.is_time_over()) {
                self.compact_if_due();
                back_off = self.back_off();
                if back_off.is_zero() && self.is_due() {
                    // Writes went on meanwhile.
                    if *self.stop.lock() {
                        return;
                    }
                    continue;
                }
            }
            // After a failure nobody asks before the back-off is over: `asked` stays set. Otherwise
            // it is cleared under the lock, so that whoever asks later finds this thread waiting.
            let failed = !back_off.is_zero();
            let time = if failed { back_off } else { interval };
            let before = || {
                self.asked.store(failed, Ordering::Release);
                self.committer.machine.throttle.end();
            };
            if !self.pause(&self.wake_compact, time, before)
                || self.committer.machine.store.log().check().is_err()
            {
                return;
            }
        }
    }

    /// How long to wait after a failed compaction; zero when the last one did not fail.
    fn back_off(&self) -> Duration {
        let now = self.committer.machine.env.clock.elapsed();
        self.compaction.lock().not_before.saturating_sub(now)
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
