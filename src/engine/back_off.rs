//! How long what has failed waits before it is tried again: each time twice as long.

use std::time::Duration;

/// The longest pause.
pub(crate) const BACK_OFF_MAX: Duration = Duration::from_mins(1);

/// The first pause of what a compaction could not do.
pub(crate) const BACK_OFF_MIN: Duration = Duration::from_secs(1);

/// Pauses that follow one another: each twice as long, up to [`BACK_OFF_MAX`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Pauses {
    /// Those that begin with this one.
    pub(crate) const fn from(first: Duration) -> Self {
        Self { next: first }
    }

    /// The next one.
    pub(crate) fn take(&mut self) -> Duration {
        let pause = self.next;
        self.next = BACK_OFF_MAX.min(pause.saturating_mul(2));
        pause
    }
}

/// Until when what has failed is not tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackOff {
    /// Not before this moment, by the clock's elapsed time.
    not_before: Duration,
    pauses: Pauses,
}

impl BackOff {
    /// Nothing has failed.
    pub(crate) const NONE: Self =
        Self { not_before: Duration::ZERO, pauses: Pauses::from(BACK_OFF_MIN) };

    /// Begins, or goes on for twice as long as before.
    pub(crate) fn failed(&mut self, now: Duration) {
        self.not_before = now.saturating_add(self.pauses.take());
    }

    /// Whether anything has, and was not done since.
    pub(crate) const fn has_failed(&self) -> bool {
        !self.not_before.is_zero()
    }

    /// When it ends, by the clock's elapsed time; zero where nothing has failed.
    pub(crate) const fn until(&self) -> Duration {
        self.not_before
    }

    /// How much of it is left; zero where nothing has failed.
    pub(crate) const fn left(&self, now: Duration) -> Duration {
        self.not_before.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_the_one_before_up_to_the_longest() {
        let mut back_off = BackOff::NONE;
        assert!(!back_off.has_failed() && back_off.left(Duration::ZERO).is_zero());
        let now = Duration::from_secs(100);
        let pauses = [1, 2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs);
        for pause in pauses {
            back_off.failed(now);
            assert!(back_off.has_failed());
            assert_eq!(back_off.left(now), pause);
        }
        assert!(back_off.left(now + BACK_OFF_MAX).is_zero());
    }
}
