//! Holds writers up when compaction cannot keep pace.
//!
//! Without it, the tail in memory and the log on disk would grow for as long as writes come faster
//! than tables are written. A writer never waits for a compaction to end otherwise, and never fails
//! because of one.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Whether there is a compaction to wait for.
#[derive(Debug, Default)]
struct Stage {
    /// One is about to begin.
    is_expected: bool,
    /// How many run: one, and who does one after the other.
    running: usize,
    /// There never will be one again: nobody waits.
    is_closed: bool,
}

impl Stage {
    const fn is_compacting(&self) -> bool {
        !self.is_closed && (self.is_expected || self.running > 0)
    }
}

/// Where writers wait for a compaction.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    stage: Mutex<Stage>,
    changed: Condvar,
}

/// A compaction that runs, or several one after the other, for as long as it lives.
pub(crate) struct Compacting<'a>(&'a Throttle);

impl Throttle {
    /// Tells that somebody is about to compact.
    pub(crate) fn expect(&self) {
        self.change(|stage| stage.is_expected = true);
    }

    /// Tells that nobody is about to compact, unless `is_due` says otherwise, which nobody comes
    /// between. Returns what that says.
    pub(crate) fn end_unless(&self, is_due: impl FnOnce() -> bool) -> bool {
        let mut stage = self.stage.lock();
        stage.is_expected = is_due();
        let is_due = stage.is_expected;
        drop(stage);
        self.changed.notify_all();
        is_due
    }

    /// Tells that nobody ever will again.
    pub(crate) fn close(&self) {
        self.change(|stage| stage.is_closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Stage)) {
        change(&mut self.stage.lock());
        self.changed.notify_all();
    }

    /// Tells that a compaction begins.
    pub(crate) fn begin(&self) -> Compacting<'_> {
        self.change(|stage| stage.running += 1);
        Compacting(self)
    }

    /// Tells waiting writers to look again.
    pub(crate) fn progress(&self) {
        // Under the lock, so that one who has looked and is about to wait does not miss it.
        let _stage = self.stage.lock();
        self.changed.notify_all();
    }

    /// Waits while `is_far_behind` says so and a compaction runs, at most for `time`. Returns
    /// whether there is nothing to wait for any more.
    pub(crate) fn wait(&self, time: Duration, is_far_behind: impl Fn() -> bool) -> bool {
        let mut stage = self.stage.lock();
        let waits = |stage: &mut Stage| stage.is_compacting() && is_far_behind();
        // Over time or not: the write goes on. It would only have been kinder to wait.
        !self.changed.wait_while_for(&mut stage, waits, time).timed_out()
    }
}

impl Drop for Compacting<'_> {
    fn drop(&mut self) {
        // Whoever is expected to compact may be another.
        self.0.change(|stage| stage.running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Reached only by a failure.
    const HANGS_AFTER: Duration = Duration::from_mins(1);

    #[test]
    fn nobody_waits_without_a_compaction_or_for_one_that_never_comes() {
        let throttle = Throttle::default();
        assert!(throttle.wait(HANGS_AFTER, || true));
        throttle.close();
        throttle.expect();
        drop(throttle.begin());
        throttle.expect();
        assert!(throttle.wait(HANGS_AFTER, || true));
    }

    #[test]
    fn who_waits_goes_on_when_the_compaction_ends_or_has_caught_up() {
        let throttle = Throttle::default();
        let compacting = throttle.begin();
        assert!(throttle.wait(HANGS_AFTER, || false));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| throttle.wait(HANGS_AFTER, || true));
            drop(compacting);
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn who_is_expected_to_compact_is_waited_for_although_another_has_done_so() {
        let throttle = Throttle::default();
        throttle.expect();
        drop(throttle.begin());
        assert!(!throttle.wait(Duration::from_millis(1), || true), "over time");
        assert!(throttle.end_unless(|| true));
        assert!(!throttle.wait(Duration::from_millis(1), || true), "over time");
        assert!(!throttle.end_unless(|| false));
        assert!(throttle.wait(HANGS_AFTER, || true));
    }

    #[test]
    fn who_waits_goes_on_waiting_between_two_that_are_one_behind_the_other() {
        let throttle = Throttle::default();
        let both = throttle.begin();
        let have_ended = AtomicBool::new(false);
        let (look, looked) = mpsc::channel();
        std::thread::scope(|scope| {
            let first = throttle.begin();
            let have_ended = &have_ended;
            scope.spawn(move || {
                looked.recv().unwrap();
                drop(first);
                // Who waits looks again, and goes on waiting.
                looked.recv().ok();
                have_ended.store(true, Ordering::Release);
                drop(both);
            });
            assert!(throttle.wait(HANGS_AFTER, move || look.send(()).is_ok()));
            assert!(have_ended.load(Ordering::Acquire));
        });
    }

    #[test]
    fn who_is_about_to_wait_does_not_miss_the_progress() {
        let throttle = Throttle::default();
        let _compacting = throttle.begin();
        let (told, was_told) = mpsc::channel();
        let (look, looked) = mpsc::channel();
        let is_first = Cell::new(true);
        let went_on = std::thread::scope(|scope| {
            let throttle = &throttle;
            scope.spawn(move || {
                looked.recv().unwrap();
                throttle.progress();
                told.send(()).unwrap();
            });
            throttle.wait(HANGS_AFTER, || {
                if !is_first.replace(false) {
                    return false;
                }
                // Told between this look and the waiting, it would be lost.
                look.send(()).unwrap();
                was_told.recv_timeout(Duration::from_millis(50)).ok();
                true
            })
        });
        assert!(went_on);
    }
}
