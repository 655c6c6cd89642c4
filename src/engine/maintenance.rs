//! What happens beside the writes: syncs by interval, compaction, and the threads for them.
//!
//! With `worker_threads = 0` there are none: the caller of a write does what is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::committer::Committer;
use super::compaction::{KeepLog, Pressure, compact, is_due_by_size, is_due_by_time};
use super::stats::CompactionReport;
use crate::error::{Error, Result};
use crate::storage::snapshot::SnapshotInfo;

/// How long a compaction that failed waits before it is tried again; doubled each time, up to the
/// second.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_mins(1);

/// When to do what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Zero: every write is synced before it is answered.
    pub(crate) fsync_interval: Duration,
    /// Zero: no timer.
    pub(crate) compaction_interval: Duration,
    pub(crate) keep_log: KeepLog,
}

/// Compaction's own state.
#[derive(Debug)]
struct Compaction {
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
    /// Useless bytes from which compaction runs.
    threshold: AtomicU64,
    /// Held for as long as a compaction runs, so that only one does.
    compaction: Mutex<Compaction>,
    /// The newest snapshot. Apart from `compaction`, so that asking for it waits for nobody.
    newest: Mutex<Option<SnapshotInfo>>,
    /// When the last interval sync began, in microseconds of the clock's elapsed time.
    synced_at: AtomicU64,
    /// Useless bytes from which compaction is worth a look: the threshold, or what the state held
    /// at the last look where that was more.
    look_at: AtomicU64,
    /// Whether the compaction thread has been told to look.
    asked: AtomicBool,
    has_threads: AtomicBool,
    stop: Mutex<bool>,
    /// Wakes the thread that syncs, to end.
    wake_sync: Condvar,
    /// Wakes the thread that compacts, to look or to end. A condition of its own: a write that asks
    /// for a look must not make the other thread sync.
    wake_compact: Condvar,
}

impl Maintenance {
    pub(crate) fn new(
        committer: Committer,
        schedule: Schedule,
        threshold: u64,
        newest: Option<SnapshotInfo>,
    ) -> Self {
        let now = committer.env.clock.elapsed();
        let compaction =
            Compaction { last: now, not_before: Duration::ZERO, back_off: BACK_OFF_MIN };
        Self {
            committer,
            schedule,
            threshold: AtomicU64::new(threshold),
            compaction: Mutex::new(compaction),
            newest: Mutex::new(newest),
            synced_at: AtomicU64::new(micros(now)),
            look_at: AtomicU64::new(threshold),
            asked: AtomicBool::new(false),
            has_threads: AtomicBool::new(false),
            stop: Mutex::new(false),
            wake_sync: Condvar::new(),
            wake_compact: Condvar::new(),
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
                path: self.committer.store.directory().to_owned(),
                source: Arc::new(source),
            })?;
            threads.push(thread);
            Ok::<_, Error>(())
        };
        // One leader commits at a time, so one thread carries all that is handed in.
        spawn("htkv-worker", |this| this.committer.work())?;
        spawn("htkv-compact", Self::compact_in_background)?;
        if !self.schedule.fsync_interval.is_zero() {
            spawn("htkv-sync", Self::sync_in_background)?;
        }
        Ok(())
    }

    /// Tells all threads to end.
    pub(crate) fn stop(&self) {
        *self.stop.lock() = true;
        self.wake_sync.notify_all();
        self.wake_compact.notify_all();
        self.committer.close();
    }

    /// Called after each write: does what is due, or tells who does.
    pub(crate) fn after_write(&self) {
        let is_due = self.is_size_worth_a_look();
        if self.has_threads.load(Ordering::Acquire) {
            if is_due && !self.asked.swap(true, Ordering::AcqRel) {
                // Under the lock, so that a thread about to wait does not miss it.
                let _stop = self.stop.lock();
                self.wake_compact.notify_all();
            }
            return;
        }
        self.sync_if_due();
        if is_due || self.is_time_over() {
            self.compact_if_due();
        }
    }

    /// Bytes of stale data from which compaction runs.
    pub(crate) fn set_threshold(&self, bytes: u64) {
        self.threshold.store(bytes, Ordering::Release);
        self.look_at.store(bytes, Ordering::Release);
        self.after_write();
    }

    /// Compacts now.
    ///
    /// # Errors
    /// Those of [`compact`].
    pub(crate) fn compact_now(&self) -> Result<CompactionReport> {
        let mut compaction = self.compaction.lock();
        let mut newest = self.newest_snapshot();
        let result = compact(&self.committer, &mut newest, self.schedule.keep_log);
        *self.newest.lock() = newest;
        let now = self.committer.env.clock.elapsed();
        compaction.last = now;
        match &result {
            Ok(_) => {
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

    /// The newest snapshot.
    pub(crate) fn newest_snapshot(&self) -> Option<SnapshotInfo> {
        self.newest.lock().clone()
    }

    /// Cheap: two loads.
    fn is_size_worth_a_look(&self) -> bool {
        let stale = self.committer.stale_bytes.load(Ordering::Relaxed);
        stale > self.look_at.load(Ordering::Relaxed)
    }

    /// Sets from how many useless bytes the next look is worth it. Later writes cost two loads
    /// until then, however large the state is.
    fn set_next_look(&self) {
        let live = self.committer.replica.read().kv.as_view().live_bytes();
        let threshold = self.threshold.load(Ordering::Relaxed);
        self.look_at.store(threshold.max(live), Ordering::Relaxed);
    }

    fn is_time_over(&self) -> bool {
        let interval = self.schedule.compaction_interval;
        if interval.is_zero() {
            return false;
        }
        let Some(compaction) = self.compaction.try_lock() else { return false };
        self.committer.env.clock.elapsed().saturating_sub(compaction.last) >= interval
    }

    fn pressure(&self) -> Pressure {
        Pressure {
            stale: self.committer.stale_bytes.load(Ordering::Relaxed),
            log: self.committer.store.log().stats().bytes,
            live: self.committer.replica.read().kv.as_view().live_bytes(),
        }
    }

    /// A failure is counted and logged, never returned from a write that succeeded.
    fn compact_if_due(&self) {
        let now = self.committer.env.clock.elapsed();
        let time_is_over = self.is_time_over();
        {
            let mut compaction = self.compaction.lock();
            if now < compaction.not_before {
                return;
            }
            if time_is_over {
                compaction.last = now;
            }
        }
        let pressure = self.pressure();
        let threshold = self.threshold.load(Ordering::Relaxed);
        if is_due_by_size(pressure, threshold) || (time_is_over && is_due_by_time(pressure)) {
            // The result was logged and counted.
            drop(self.compact_now());
        }
        self.set_next_look();
    }

    fn sync_if_due(&self) {
        let interval = self.schedule.fsync_interval;
        if interval.is_zero() {
            return;
        }
        let now = micros(self.committer.env.clock.elapsed());
        let last = self.synced_at.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= micros(interval) {
            self.synced_at.store(now, Ordering::Relaxed);
            self.sync_quietly();
        }
    }

    /// A failure has poisoned the log, which every later call tells.
    fn sync_quietly(&self) {
        if let Err(error) = self.committer.store.log().sync() {
            tracing::error!(%error, "an interval sync failed");
        }
    }

    /// Waits for the time to pass or for a call. `false` when it is time to end.
    fn pause(&self, wake: &Condvar, asked: &AtomicBool, time: Duration) -> bool {
        let mut stop = self.stop.lock();
        if *stop {
            return false;
        }
        // Cleared under the lock, so whoever asks later finds this thread waiting. Cleared any
        // earlier, a write during a compaction would ask and wake nobody, and no later write would
        // ask.
        asked.store(false, Ordering::Release);
        wake.wait_for(&mut stop, time);
        !*stop
    }

    fn sync_in_background(&self) {
        // Nobody asks this thread for anything but to end.
        let asked = AtomicBool::new(false);
        while self.pause(&self.wake_sync, &asked, self.schedule.fsync_interval) {
            if self.committer.store.log().check().is_err() {
                return;
            }
            self.sync_quietly();
        }
    }

    fn compact_in_background(&self) {
        let interval = self.schedule.compaction_interval;
        let time = if interval.is_zero() { BACK_OFF_MAX } else { interval };
        loop {
            if self.is_size_worth_a_look() || self.is_time_over() {
                self.compact_if_due();
            }
            // After a failure nobody asks before the back-off is over.
            let back_off = self.back_off();
            if !back_off.is_zero() {
                self.look_at.store(u64::MAX, Ordering::Relaxed);
            }
            let time = if back_off.is_zero() { time } else { back_off };
            if !self.pause(&self.wake_compact, &self.asked, time)
                || self.committer.store.log().check().is_err()
            {
                return;
            }
            if !back_off.is_zero() {
                self.set_next_look();
            }
        }
    }

    /// How long to wait after a failed compaction; zero when the last one did not fail.
    fn back_off(&self) -> Duration {
        let now = self.committer.env.clock.elapsed();
        self.compaction.lock().not_before.saturating_sub(now)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
