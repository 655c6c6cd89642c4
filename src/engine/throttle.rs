//! Holds writers up when compaction cannot keep pace.
//!
//! Without it, the tail in memory and the log on disk would grow for as long as writes come faster
//! than tables are written. A writer never waits for a compaction to end otherwise, and never fails
//! because of one.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Whether a compaction runs, or is about to, that is worth waiting for.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    compacting: Mutex<bool>,
    changed: Condvar,
}

/// A compaction that runs, for as long as it lives.
pub(crate) struct Compacting<'a>(&'a Throttle);

impl Throttle {
    /// Tells that somebody is about to compact.
    pub(crate) fn expect(&self) {
        *self.compacting.lock() = true;
    }

    /// Tells that nobody compacts.
    pub(crate) fn end(&self) {
        *self.compacting.lock() = false;
        self.changed.notify_all();
    }

    /// Tells that a compaction begins.
    pub(crate) fn begin(&self) -> Compacting<'_> {
        *self.compacting.lock() = true;
        Compacting(self)
    }

    /// Tells waiting writers to look again.
    pub(crate) fn progress(&self) {
        self.changed.notify_all();
    }

    /// Waits while `is_far_behind` says so and a compaction runs, at most for `time`.
    pub(crate) fn wait(&self, time: Duration, is_far_behind: impl Fn() -> bool) {
        let mut compacting = self.compacting.lock();
        let waits = |compacting: &mut bool| *compacting && is_far_behind();
        // Over time or not: the write goes on. It would only have been kinder to wait.
        self.changed.wait_while_for(&mut compacting, waits, time);
    }
}

impl Drop for Compacting<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
