//! Failed logins that all nodes know of, and when they lock a user out: pure functions of records
//! and stamps.
//!
//! A record holds no time. The one time that counts is the stamp of the row it stands in, which the
//! log gave: whoever proposes a command with a wrong clock neither shortens a lock nor makes one.

use super::record_codec::{Reader, Writer, malformed};
use crate::error::Result;
use crate::types::Timestamp;

const VERSION: u8 = 1;
/// So many failures lock.
pub(super) const FAILURES_MAX: u64 = 10;
const MINUTE: u64 = 60_000_000;
/// How long failures count after the last one that was told, and how long the first lock lasts.
pub(super) const WINDOW_MICROS: u64 = 15 * MINUTE;
/// A lock is never longer. After so long without a failure the next lock is a first one again.
pub(super) const LOCK_MICROS_MAX: u64 = 24 * 60 * MINUTE;

/// What all nodes know of a user's failed logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failures {
    /// Failures told in all. Grows with each change, so that no change leaves the bytes as they
    /// are: setting equal bytes would not move the stamp.
    told: u64,
    /// Locks in a row, this one included.
    locks: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many count, until the window has passed since the row was written.
    Counting(u64),
    /// Since the row was written.
    Locked,
}

/// A record, and when the log says that it was written. `None` in place of one: no failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) failures: Failures,
    pub(super) at: Timestamp,
}

impl Written {
    /// When a lock ends; `None` when it is none.
    fn locked_until(&self) -> Option<Timestamp> {
        let doublings = self.failures.locks.saturating_sub(1).min(20);
        let lasts = WINDOW_MICROS.saturating_mul(1 << doublings).min(LOCK_MICROS_MAX);
        let end = Timestamp(self.at.0.saturating_add(lasts));
        (self.failures.state == State::Locked).then_some(end)
    }

    pub(super) fn is_locked(&self, now: Timestamp) -> bool {
        self.locked_until().is_some_and(|end| now < end)
    }

    /// Failures that count at `now`.
    pub(super) fn count(&self, now: Timestamp) -> u64 {
        match self.failures.state {
            State::Counting(count) if now.0.saturating_sub(self.at.0) <= WINDOW_MICROS => count,
            State::Counting(_) | State::Locked => 0,
        }
    }

    /// Whether this record says nothing more about `now`: its lock or its window is over.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        !self.is_locked(now) && self.count(now) == 0
    }

    fn locks(&self, now: Timestamp) -> u64 {
        let quiet_since = self.locked_until().unwrap_or(self.at);
        let is_forgotten = now.0.saturating_sub(quiet_since.0) > LOCK_MICROS_MAX;
        if is_forgotten { 0 } else { self.failures.locks }
    }
}

impl Failures {
    /// What is known after `more` failures at `now`. `None` when nothing changes: while a user is
    /// locked out, what comes late was done before it was known.
    pub(super) fn after(before: Option<&Written>, more: u64, now: Timestamp) -> Option<Self> {
        if before.is_some_and(|it| it.is_locked(now)) {
            return None;
        }
        let told = before.map_or(0, |it| it.failures.told).saturating_add(more);
        let locks = before.map_or(0, |it| it.locks(now));
        let count = before.map_or(0, |it| it.count(now)).saturating_add(more);
        Some(if count >= FAILURES_MAX {
            Self { told, locks: locks.saturating_add(1), state: State::Locked }
        } else {
            Self { told, locks, state: State::Counting(count) }
        })
    }

    pub(super) fn is_lock(self) -> bool {
        self.state == State::Locked
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let head = Writer::new(VERSION).number(self.told).number(self.locks);
        match self.state {
            State::Counting(count) => head.byte(0).number(count).finish(),
            State::Locked => head.byte(1).finish(),
        }
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Reader::new(bytes, VERSION)?;
        let (told, locks) = (from.number()?, from.number()?);
        let state = match from.byte()? {
            0 => State::Counting(from.number()?),
            1 => State::Locked,
            _ => return Err(malformed()),
        };
        from.finish()?;
        Ok(Self { told, locks, state })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn later(from: Timestamp, micros: u64) -> Timestamp {
        Timestamp(from.0 + micros)
    }

    /// The record after `more` failures, written when it was decided.
    fn after(before: Option<Written>, more: u64, now: Timestamp) -> Written {
        Written { failures: Failures::after(before.as_ref(), more, now).unwrap(), at: now }
    }

    #[test]
    fn ten_failures_lock_for_the_window_and_the_next_lock_is_twice_as_long() {
        let nine = after(None, 9, NOW);
        assert!(!nine.is_locked(NOW));
        let locked = after(Some(nine), 1, NOW);
        assert_eq!(locked.locked_until(), Some(later(NOW, WINDOW_MICROS)));
        assert!(locked.is_locked(later(NOW, WINDOW_MICROS - 1)));
        let end = later(NOW, WINDOW_MICROS);
        assert!(!locked.is_locked(end));
        let again = after(Some(locked), 10, end);
        assert_eq!(again.locked_until(), Some(later(end, 2 * WINDOW_MICROS)));
        assert_eq!(Failures::from_bytes(&again.failures.to_bytes()).unwrap(), again.failures);
    }

    #[test]
    fn failures_count_until_the_window_has_passed_since_the_last() {
        let nine = after(None, 9, NOW);
        assert_eq!(nine.count(later(NOW, WINDOW_MICROS)), 9);
        assert_eq!(nine.count(later(NOW, WINDOW_MICROS + 1)), 0);
        assert!(nine.is_over(later(NOW, WINDOW_MICROS + 1)));
    }

    #[test]
    fn failures_told_late_to_a_locked_user_change_nothing() {
        let locked = after(None, 10, NOW);
        assert_eq!(Failures::after(Some(&locked), 4, NOW), None);
    }

    #[test]
    fn a_day_without_failures_makes_the_next_lock_a_first_one() {
        let second = after(Some(after(None, 10, NOW)), 10, later(NOW, WINDOW_MICROS));
        let end = second.locked_until().unwrap();
        let third = after(Some(second), 10, later(end, LOCK_MICROS_MAX));
        assert_eq!(third.failures.locks, 3);
        let first = after(Some(second), 10, later(end, LOCK_MICROS_MAX + 1));
        assert_eq!(first.failures.locks, 1);
    }

    #[test]
    fn every_change_is_other_bytes() {
        let five = after(None, 5, NOW);
        let again = after(Some(five), 5, later(NOW, WINDOW_MICROS + 1));
        assert_eq!(again.count(again.at), 5);
        assert_ne!(five.failures.to_bytes(), again.failures.to_bytes());
    }

    #[test]
    fn bytes_that_are_no_record_are_refused() {
        let bytes = after(None, 5, NOW).failures.to_bytes();
        for end in 0..bytes.len() {
            assert!(Failures::from_bytes(&bytes[..end]).is_err());
        }
        assert!(Failures::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }

    proptest! {
        /// Whatever is told when: a lock begins as soon as ten failures are told within the window,
        /// lasts between the window and a day, and ends.
        #[test]
        fn a_lock_begins_in_time_and_is_never_permanent(
            tellings in prop::collection::vec((1_u64..=5, 0_u64..3 * WINDOW_MICROS), 1..200),
            stored_locks in any::<u64>(),
        ) {
            let state = State::Counting(0);
            let stored = Failures { told: 0, locks: stored_locks, state };
            let mut row = Some(Written { failures: stored, at: NOW });
            let (mut now, mut recent) = (NOW, Vec::<(u64, Timestamp)>::new());
            for (more, wait) in tellings {
                now = later(now, wait);
                let Some(failures) = Failures::after(row.as_ref(), more, now) else { continue };
                let next = Written { failures, at: now };
                prop_assert_ne!(row.map(|it| it.failures.to_bytes()), Some(failures.to_bytes()));
                recent.push((more, now));
                let within = recent.iter().filter(|it| now.0 - it.1.0 <= WINDOW_MICROS);
                let told: u64 = within.map(|it| it.0).sum();
                prop_assert!(told < FAILURES_MAX || next.is_locked(now));
                if next.is_locked(now) {
                    recent.clear();
                    prop_assert!(next.is_locked(later(now, WINDOW_MICROS - 1)));
                }
                prop_assert!(!next.is_locked(later(now, LOCK_MICROS_MAX)));
                row = Some(next);
            }
        }
    }
}
