//! Failed logins, and when they lock a user out.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::record_codec::{Reader, Writer};
use crate::error::Result;
use crate::types::Timestamp;

const VERSION: u8 = 1;
/// So many failures within the window lock.
pub(super) const FAILURES_MAX: u64 = 10;
/// Failures that are told in one command.
const TOLD_TOGETHER: u64 = 5;
const MINUTE: u64 = 60_000_000;
/// How long failures count, and how long the first lock lasts.
pub(super) const WINDOW_MICROS: u64 = 15 * MINUTE;
/// A lock is never longer.
pub(super) const LOCK_MICROS_MAX: u64 = 24 * 60 * MINUTE;

/// What all nodes know of a user's failed logins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    /// Since the window began.
    pub(super) count: u64,
    pub(super) window_began: Timestamp,
    /// Locks in a row.
    pub(super) locks: u64,
    pub(super) locked_until: Timestamp,
}

impl Failures {
    /// After `more` failures at `now`: a pure function, so that it can be decided again when
    /// another node was faster.
    pub(super) fn after(mut self, more: u64, now: Timestamp) -> Self {
        if now.0.saturating_sub(self.window_began.0) > WINDOW_MICROS {
            (self.count, self.window_began) = (0, now);
        }
        self.count = self.count.saturating_add(more);
        if self.count >= FAILURES_MAX {
            let doubled = WINDOW_MICROS.saturating_mul(1 << self.locks.min(20));
            self.locked_until = Timestamp(now.0.saturating_add(doubled.min(LOCK_MICROS_MAX)));
            self.locks = self.locks.saturating_add(1);
            (self.count, self.window_began) = (0, self.locked_until);
        }
        self
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let count = Writer::new(VERSION).number(self.count).number(self.window_began.0);
        count.number(self.locks).number(self.locked_until.0).finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Reader::new(bytes, VERSION)?;
        let (count, window_began) = (from.number()?, from.timestamp()?);
        let (locks, locked_until) = (from.number()?, from.timestamp()?);
        from.finish()?;
        Ok(Self { count, window_began, locks, locked_until })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Here {
    checking: u64,
    untold: u64,
}

/// What this node alone knows: passwords that are being checked, and failures that no command has
/// told yet, so that most failures cost no write.
#[derive(Debug, Default)]
pub(super) struct FailuresHere(Mutex<HashMap<String, Here>>);

impl FailuresHere {
    /// Whether one more password may be checked: with every one under way taken as a failure there
    /// are not too many. Whoever gets `true` must say how it ended.
    pub(super) fn begin(&self, user: &str, known: Failures, now: Timestamp) -> bool {
        if known.locked_until > now {
            return false;
        }
        let is_old = now.0.saturating_sub(known.window_began.0) > WINDOW_MICROS;
        let count = if is_old { 0 } else { known.count };
        let mut users = self.0.lock();
        let here = users.entry(user.to_owned()).or_default();
        let may = count.saturating_add(here.untold).saturating_add(here.checking) < FAILURES_MAX;
        here.checking += u64::from(may);
        may
    }

    /// The check ended without an answer.
    pub(super) fn give_up(&self, user: &str) {
        self.with(user, |here| here.checking = here.checking.saturating_sub(1));
    }

    /// The password was right: what was not told is forgotten.
    pub(super) fn succeeded(&self, user: &str) {
        self.with(user, |here| {
            here.checking = here.checking.saturating_sub(1);
            here.untold = 0;
        });
    }

    /// The password was wrong. Returns how many failures to tell now, if any.
    pub(super) fn failed(&self, user: &str, known: Failures) -> Option<u64> {
        self.with(user, |here| {
            here.checking = here.checking.saturating_sub(1);
            here.untold += 1;
            let is_due = here.untold >= TOLD_TOGETHER || known.count + here.untold >= FAILURES_MAX;
            is_due.then(|| std::mem::take(&mut here.untold))
        })
    }

    /// Puts failures back that could not be told.
    pub(super) fn not_told(&self, user: &str, failures: u64) {
        self.with(user, |here| here.untold = here.untold.saturating_add(failures));
    }

    fn with<T>(&self, user: &str, change: impl FnOnce(&mut Here) -> T) -> T {
        let mut users = self.0.lock();
        let here = users.entry(user.to_owned()).or_default();
        let result = change(here);
        if here.checking == 0 && here.untold == 0 {
            users.remove(user);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    #[test]
    fn ten_failures_in_the_window_lock_for_it_and_the_next_lock_is_twice_as_long() {
        let nine = Failures::default().after(9, NOW);
        assert!(nine.locked_until <= NOW);
        let locked = nine.after(1, NOW);
        assert_eq!(locked.locked_until.0, NOW.0 + WINDOW_MICROS);
        let later = Timestamp(locked.locked_until.0 + 1);
        let again = locked.after(10, later);
        assert_eq!(again.locked_until.0, later.0 + 2 * WINDOW_MICROS);
        assert_eq!(Failures::from_bytes(&again.to_bytes()).unwrap(), again);
    }

    #[test]
    fn no_lock_is_longer_than_a_day() {
        let mut failures = Failures { locks: u64::MAX, ..Failures::default() };
        failures = failures.after(10, NOW);
        assert_eq!(failures.locked_until.0, NOW.0 + LOCK_MICROS_MAX);
    }

    #[test]
    fn failures_outside_the_window_do_not_count() {
        let nine = Failures::default().after(9, NOW);
        let later = Timestamp(NOW.0 + WINDOW_MICROS + 1);
        assert_eq!(nine.after(1, later).count, 1);
    }

    #[test]
    fn checks_under_way_count_as_failures_and_one_command_tells_five() {
        let here = FailuresHere::default();
        let known = Failures { window_began: NOW, ..Failures::default() };
        assert_eq!((0..20).filter(|_| here.begin("u", known, NOW)).count(), 10);
        let told: Vec<_> = (0..10).filter_map(|_| here.failed("u", known)).collect();
        assert_eq!(told, [5, 5]);
        assert!(here.0.lock().is_empty());
    }
}
