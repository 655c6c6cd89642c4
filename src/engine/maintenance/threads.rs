//! The threads of an engine of one voter, and when each of them wakes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Condvar;

use super::Maintenance;
use crate::engine::back_off::{BACK_OFF_MAX, BACK_OFF_MIN};
use crate::engine::recording::compress_in_background;
use crate::error::{Error, Result};

impl Maintenance {
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
        self.committer.machine.throttle.end_unless(|| {
            self.asked.swap(failed, Ordering::AcqRel);
            !failed && self.is_due()
        })
    }
}

/// Sees to it that nobody waits for compactions of a thread that has ended, for whatever reason.
struct ClosesThrottle<'a>(&'a Maintenance);

impl Drop for ClosesThrottle<'_> {
    fn drop(&mut self) {
        self.0.committer.machine.throttle.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::config::StoreConfig;
    use crate::engine::{KvEngine, SingleNodeEngine};
    use crate::env::Env;

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
}
