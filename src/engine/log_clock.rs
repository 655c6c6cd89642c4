//! The proposer's clock: the time of day, as long as that does not stand behind the log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::env::clock::Clock;
use crate::types::Timestamp;

/// What an entry is stamped with.
///
/// A time of day that is behind the last stamp would make log time stand still until it has caught
/// up, and nothing would expire meanwhile. So log time then goes on by itself, as fast as time
/// passes, from the last stamp or from where this was last looked at. Of a clock that is right it
/// costs a comparison.
pub(crate) struct LogClock {
    clock: Arc<dyn Clock>,
    /// The stamp of the last entry that was applied.
    seen: AtomicU64,
    /// The latest time that was told to anybody who goes by it.
    told: AtomicU64,
    anchor: Mutex<Anchor>,
    /// The stamp of the anchor, to be looked at without its lock.
    anchored: AtomicU64,
}

/// How much of log time is lost at most when the time of day is set back: one second.
const ANCHOR_MICROS: u64 = 1_000_000;

/// A moment of log time, and when it was by elapsed time.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    stamp: Timestamp,
    elapsed: Duration,
}

impl Anchor {
    /// Where log time has come to by itself.
    fn by_itself(&self, elapsed: Duration) -> Timestamp {
        let passed = elapsed.saturating_sub(self.elapsed).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        Timestamp(self.stamp.0.saturating_add(passed))
    }
}

impl LogClock {
    /// `last` is the stamp of the last entry that was applied.
    pub(crate) fn new(clock: Arc<dyn Clock>, last: Timestamp) -> Self {
        let anchor = Anchor { stamp: last, elapsed: clock.elapsed() };
        let (seen, told) = (AtomicU64::new(last.0), AtomicU64::new(last.0));
        Self { clock, seen, told, anchor: Mutex::new(anchor), anchored: AtomicU64::new(last.0) }
    }

    /// An entry with this stamp was applied.
    #[inline]
    pub(crate) fn saw(&self, stamp: Timestamp) {
        self.seen.store(stamp.0, Ordering::Relaxed);
    }

    /// What the next entry is to be stamped with.
    pub(crate) fn now(&self) -> Timestamp {
        let day = self.clock.now();
        // Anchored now and then also while it is right, so that of the time that passes before it
        // is set back no more is lost than this.
        let anchored = self.anchored.load(Ordering::Relaxed);
        if day >= self.least() && day.0 < anchored.saturating_add(ANCHOR_MICROS) {
            day
        } else {
            self.go_on_or(day)
        }
    }

    /// As [`Self::now`], for whoever waits for a moment of log time: what is told here holds on,
    /// also if the time of day is set back afterwards.
    pub(crate) fn look(&self) -> Timestamp {
        self.go_on(self.clock.now())
    }

    /// No stamp is before this.
    fn least(&self) -> Timestamp {
        let load = |stamp: &AtomicU64| stamp.load(Ordering::Relaxed);
        Timestamp(load(&self.seen).max(load(&self.told)))
    }

    /// As [`Self::go_on`], but that a time of day that is right is taken as it is.
    fn go_on_or(&self, day: Timestamp) -> Timestamp {
        if day < self.least() {
            return self.go_on(day);
        }
        let mut anchor = self.anchor.lock();
        let elapsed = self.clock.elapsed();
        // Set back, by less than the time since the last entry: no stamp shows it.
        if day.0.saturating_add(ANCHOR_MICROS) < anchor.by_itself(elapsed).0 {
            return self.go_on_from(&mut anchor, day, elapsed);
        }
        *anchor = Anchor { stamp: day, elapsed };
        self.anchored.store(day.0, Ordering::Relaxed);
        day
    }

    /// The time of day, or where log time has come to by itself.
    fn go_on(&self, day: Timestamp) -> Timestamp {
        let mut anchor = self.anchor.lock();
        let elapsed = self.clock.elapsed();
        self.go_on_from(&mut anchor, day, elapsed)
    }

    fn go_on_from(&self, anchor: &mut Anchor, day: Timestamp, elapsed: Duration) -> Timestamp {
        let stamp = day.max(anchor.by_itself(elapsed)).max(self.least());
        *anchor = Anchor { stamp, elapsed };
        self.anchored.store(stamp.0, Ordering::Relaxed);
        self.told.store(stamp.0, Ordering::Relaxed);
        stamp
    }
}

impl fmt::Debug for LogClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogClock").field("least", &self.least()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::clock::ManualClock;

    const HOUR: u64 = 3_600_000_000;

    fn at(start: u64, last: u64) -> (ManualClock, LogClock) {
        let clock = ManualClock::new(Timestamp(start));
        (clock.clone(), LogClock::new(Arc::new(clock), Timestamp(last)))
    }

    #[test]
    fn a_clock_that_is_right_is_believed() {
        let (clock, log) = at(5_000, 1_000);
        assert_eq!(log.now(), Timestamp(5_000));
        clock.advance(Duration::from_micros(10));
        assert_eq!(log.now(), Timestamp(5_010));
        assert_eq!(log.look(), Timestamp(5_010));
    }

    #[test]
    fn log_time_goes_on_when_the_clock_is_set_back() {
        let (clock, log) = at(10 * HOUR, 0);
        log.saw(log.now());
        clock.set_now(Timestamp(9 * HOUR));
        let first = log.now();
        assert!(first >= Timestamp(10 * HOUR));
        clock.advance(Duration::from_mins(1));
        assert_eq!(log.now(), Timestamp(first.0 + 60_000_000));
        // Whoever waits sees the same.
        assert_eq!(log.look(), Timestamp(first.0 + 60_000_000));
        // Caught up again.
        clock.set_now(Timestamp(11 * HOUR));
        assert_eq!(log.now(), Timestamp(11 * HOUR));
    }

    #[test]
    fn what_passed_since_the_last_look_is_not_lost() {
        let (clock, log) = at(10 * HOUR, 0);
        assert_eq!(log.look(), Timestamp(10 * HOUR));
        clock.advance(Duration::from_secs(30));
        clock.set_now(Timestamp(9 * HOUR));
        assert_eq!(log.look(), Timestamp(10 * HOUR + 30_000_000));
        assert_eq!(log.now(), Timestamp(10 * HOUR + 30_000_000));
    }

    #[test]
    fn what_passed_since_the_last_entry_is_not_lost() {
        let second = 1_000_000;
        let start = 10 * HOUR;
        for back in [HOUR, 29 * second, 20 * second, 2 * second] {
            let (clock, log) = at(start, 0);
            log.saw(log.now());
            clock.advance(Duration::from_secs(30));
            clock.set_now(Timestamp(start + 30 * second - back));
            let stamp = log.now();
            assert!(stamp >= Timestamp(start + 29 * second), "{back}: {stamp:?}");
            log.saw(stamp);
            clock.advance(Duration::from_secs(3));
            assert_eq!(log.now(), Timestamp(stamp.0 + 3 * second), "{back}");
        }
    }

    #[test]
    fn a_clock_set_back_within_a_second_of_the_last_entry_is_noticed_a_second_later() {
        let second = 1_000_000;
        let (clock, log) = at(10 * HOUR, 0);
        log.saw(log.now());
        clock.advance(Duration::from_secs(30));
        clock.set_now(Timestamp(10 * HOUR + second / 2));
        let stamp = log.now();
        assert!(stamp >= Timestamp(10 * HOUR));
        log.saw(stamp);
        clock.advance(Duration::from_secs(1));
        assert_eq!(log.now(), Timestamp(10 * HOUR + 31 * second));
    }

    #[test]
    fn after_an_opening_the_last_stamp_is_where_it_begins() {
        let (clock, log) = at(9 * HOUR, 10 * HOUR);
        assert_eq!(log.now(), Timestamp(10 * HOUR));
        clock.advance_elapsed(Duration::from_secs(1));
        assert_eq!(log.now(), Timestamp(10 * HOUR + 1_000_000));
    }

    #[test]
    fn it_is_never_behind_an_entry_that_was_applied() {
        let (_, log) = at(5_000, 0);
        log.saw(Timestamp(9_000));
        assert_eq!(log.now(), Timestamp(9_000));
    }
}
