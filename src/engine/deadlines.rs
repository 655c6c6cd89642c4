//! Who removes what is due, and how it is told that there is something to do.
//!
//! Nobody looks at the due index at every write. Whoever removes what is due says which stamp it
//! waits for; a write compares with that, which is one load, and calls where it is earlier.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::types::Timestamp;

/// Called when there is something to do; must not block, and not look at the state.
type Wake = Box<dyn Fn() + Send + Sync>;

/// What the applying side and the removing side tell each other.
#[derive(Default)]
pub(crate) struct Deadlines {
    /// The first stamp at which something is due, as far as the removing side knows; the greatest
    /// there is while it waits for none.
    awaited: AtomicU64,
    /// Whether the removing side was called and has not looked since.
    asked: AtomicBool,
    wake: OnceLock<Wake>,
}

impl Deadlines {
    /// To be looked at first of all.
    pub(crate) fn new() -> Self {
        let (awaited, asked) = (AtomicU64::new(u64::MAX), AtomicBool::new(true));
        Self { awaited, asked, wake: OnceLock::new() }
    }

    /// Whom to call. The first one stays.
    pub(crate) fn on_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        drop(self.wake.set(Box::new(wake)));
    }

    /// An entry was applied; `ttl` is in how many microseconds something of it is due. Called
    /// before the state can be looked at.
    #[inline]
    pub(crate) fn applied(&self, stamp: Timestamp, ttl: Option<u64>) {
        let awaited = self.awaited.load(Ordering::Relaxed);
        if stamp.0 >= awaited || ttl.is_some_and(|ttl| stamp.0.saturating_add(ttl) < awaited) {
            self.ask();
        }
    }

    /// Asks the removing side to look.
    pub(crate) fn ask(&self) {
        if !self.asked.swap(true, Ordering::AcqRel)
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }

    /// The removing side is about to look at the state: whatever is applied from now on and is due
    /// at any time calls it again.
    pub(crate) fn begin(&self) {
        self.awaited.store(u64::MAX, Ordering::Release);
        self.asked.store(false, Ordering::Release);
    }

    /// The removing side waits for this stamp.
    pub(crate) fn wait_for(&self, first: Timestamp) {
        self.awaited.store(first.0, Ordering::Release);
    }

    /// Whether it was called and has not looked since.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Whether there may be something to do. `now` is asked only where a deadline is waited for.
    pub(crate) fn may_be_due(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let awaited = self.awaited.load(Ordering::Acquire);
        self.is_asked() || (awaited != u64::MAX && now().0 >= awaited)
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (awaited, asked) = (&self.awaited, &self.asked);
        f.debug_struct("Deadlines")
            .field("awaited", awaited)
            .field("asked", asked)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_what_is_earlier_than_what_is_waited_for_calls_and_only_once() {
        let calls = Arc::new(AtomicU64::new(0));
        let deadlines = Deadlines::new();
        let counted = Arc::clone(&calls);
        deadlines.on_wake(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let called = || calls.swap(0, Ordering::Relaxed);
        assert!(deadlines.is_asked());
        deadlines.begin();
        deadlines.wait_for(Timestamp(100));
        deadlines.applied(Timestamp(1), None);
        deadlines.applied(Timestamp(1), Some(99));
        assert_eq!(called(), 0);
        deadlines.applied(Timestamp(1), Some(98));
        deadlines.applied(Timestamp(1), Some(97));
        assert_eq!(called(), 1);
        deadlines.begin();
        deadlines.wait_for(Timestamp(100));
        // A write whose stamp is past it.
        deadlines.applied(Timestamp(100), None);
        assert_eq!(called(), 1);
        // While the state is looked at everything counts.
        deadlines.begin();
        deadlines.applied(Timestamp(101), None);
        assert_eq!(called(), 0);
        deadlines.applied(Timestamp(101), Some(1 << 40));
        assert_eq!(called(), 1);
    }
}
