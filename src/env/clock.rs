//! Time: of day for stamps, elapsed for intervals and deadlines.

use std::fmt;
#[cfg(any(test, feature = "testing"))]
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

#[cfg(any(test, feature = "testing"))]
use parking_lot::Mutex;

use crate::types::Timestamp;

/// Tells the time. Nothing but stamps and statistics may depend on the time of day.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time of day. May jump, forward and back.
    fn now(&self) -> Timestamp;

    /// Time since some moment that stays the same for this clock. Never goes back.
    fn elapsed(&self) -> Duration;

    /// Returns when `time` has passed. For what no event tells: whether another machine answers by
    /// now.
    fn pause(&self, time: Duration);
}

/// The clocks of the machine. Elapsed time counts from [`SystemClock::new`].
#[derive(Clone, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose elapsed time begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    /// The machine's time of day; the epoch itself when the machine believes to be before 1970.
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        to_timestamp(since_epoch.unwrap_or(Duration::ZERO))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// 2^64 microseconds are 584,000 years, so the end of the range is reached by no working clock.
fn to_timestamp(since_epoch: Duration) -> Timestamp {
    let micros = u64::from(since_epoch.subsec_micros());
    Timestamp(since_epoch.as_secs().saturating_mul(1_000_000).saturating_add(micros))
}

/// A clock that stands still until told otherwise. Clones are the same clock.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Debug)]
pub struct ManualClock {
    time: Arc<Mutex<ManualTime>>,
}

#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
struct ManualTime {
    now: Duration,
    elapsed: Duration,
}

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// A clock that shows `now` and no elapsed time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let time = ManualTime { now: Duration::from_micros(now.0), elapsed: Duration::ZERO };
        Self { time: Arc::new(Mutex::new(time)) }
    }

    /// Lets time pass: the time of day and the elapsed time go on together.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time.lock();
        time.now = time.now.saturating_add(by);
        time.elapsed = time.elapsed.saturating_add(by);
    }

    /// Lets time pass while the time of day stands still.
    pub fn advance_elapsed(&self, by: Duration) {
        let mut time = self.time.lock();
        time.elapsed = time.elapsed.saturating_add(by);
    }

    /// Sets the time of day, forward or back. The elapsed time does not notice.
    pub fn set_now(&self, now: Timestamp) {
        self.time.lock().now = Duration::from_micros(now.0);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        to_timestamp(self.time.lock().now)
    }

    fn elapsed(&self) -> Duration {
        self.time.lock().elapsed
    }

    /// Lets the time pass at once.
    fn pause(&self, time: Duration) {
        self.advance(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_is_past_2020_and_elapsed_does_not_go_back() {
        let clock = SystemClock::new();
        assert!(clock.now() > Timestamp(1_577_836_800_000_000));
        let first = clock.elapsed();
        assert!(clock.elapsed() >= first);
    }

    #[test]
    fn manual_clock_stands_still_until_told() {
        let clock = ManualClock::new(Timestamp(7));
        assert_eq!((clock.now(), clock.elapsed()), (Timestamp(7), Duration::ZERO));
        clock.clone().advance(Duration::from_micros(5));
        let after = (Timestamp(12), Duration::from_micros(5));
        assert_eq!((clock.now(), clock.elapsed()), after);
    }

    #[test]
    fn manual_time_of_day_goes_back_and_elapsed_does_not() {
        let clock = ManualClock::new(Timestamp(1_000));
        clock.advance(Duration::from_micros(10));
        clock.set_now(Timestamp(3));
        clock.advance_elapsed(Duration::from_micros(1));
        let after = (Timestamp(3), Duration::from_micros(11));
        assert_eq!((clock.now(), clock.elapsed()), after);
    }
}
