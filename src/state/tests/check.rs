//! The digest that is kept up to date.

use proptest::prelude::*;

use super::model::entries;
use super::*;
use crate::command::{SessionId, StateCheck};

fn tracked() -> KvState {
    let mut state = KvState::new();
    state.track_digest().unwrap();
    state
}

/// The digest of a state of which nothing but the rows and the sessions is known.
fn from_scratch(state: &KvState) -> StateCheck {
    let mut again = state.clone();
    again.forget_digest();
    again.track_digest().unwrap();
    again.state_check().unwrap()
}

/// Blank entries up to, not including, the next whose digest is noted.
fn fill_up(state: &mut KvState) -> LogIndex {
    let last = state.as_view().last_applied().map_or(0, |last| last.0);
    let next = (last + 1).next_multiple_of(CHECK_INTERVAL);
    for index in last + 1..next {
        state.apply_blank(LogIndex(index), Timestamp(0)).unwrap();
    }
    LogIndex(next)
}

fn check(state: &mut KvState, index: LogIndex, digest: Option<StateCheck>) -> Outcome {
    let last = state.as_view().last_applied().unwrap();
    let command = Command::Check { index, digest };
    state.apply(last.next(), Timestamp(0), command).unwrap().outcome
}

proptest! {
    #[test]
    fn the_digest_is_that_of_the_rows_and_sessions(entries in entries()) {
        let mut state = tracked();
        for (index, (clock, command)) in (1..).zip(entries) {
            state.apply(LogIndex(index), Timestamp(clock), command).unwrap();
            prop_assert_eq!(state.state_check().unwrap(), from_scratch(&state));
        }
        state.validate().unwrap();
    }

    #[test]
    fn runs_note_what_single_entries_note(entries in entries(), len in 1..40_usize) {
        // Every tenth entry has an index that is a multiple of the interval, and no other has.
        let index = |at: u64| LogIndex(at * CHECK_INTERVAL / 10);
        let (mut one_by_one, mut in_runs) = (tracked(), tracked());
        let mut log = Vec::new();
        for (at, (clock, command)) in (1..).zip(entries) {
            let (index, clock) = (index(at), Timestamp(clock));
            one_by_one.apply(index, clock, command.clone()).unwrap();
            log.push(Logged { index, clock, command, payload_bytes: 0 });
        }
        for run in log.chunks(len) {
            in_runs.apply_run(Run::new(run.to_vec()).unwrap(), |_| ()).unwrap();
        }
        prop_assert_eq!(in_runs.state_check(), one_by_one.state_check());
        for at in 1..=log.len() as u64 {
            prop_assert_eq!(in_runs.recorded(index(at)), one_by_one.recorded(index(at)));
            prop_assert_eq!(one_by_one.recorded(index(at)).is_some(), at % 10 == 0);
        }
    }

    #[test]
    fn an_entry_applied_otherwise_is_found_and_nothing_else_is(
        entries in entries(),
        at in any::<proptest::sample::Index>(),
    ) {
        let (mut right, mut other, mut wrong) = (tracked(), tracked(), tracked());
        let at = at.index(entries.len() + 1) as u64;
        for (index, (clock, command)) in (0..).zip(&entries) {
            let (index, clock) = (LogIndex(index), Timestamp(*clock));
            right.apply(index, clock, command.clone()).unwrap();
            other.apply(index, clock, command.clone()).unwrap();
            // A key that no other entry sets.
            let wrongly = Command::set("other", "value");
            let command = if index.0 == at { wrongly } else { command.clone() };
            wrong.apply(index, clock, command).unwrap();
        }
        let index = fill_up(&mut right);
        prop_assert_eq!(fill_up(&mut other), index);
        for state in [&mut right, &mut other, &mut wrong] {
            state.apply_blank(index, Timestamp(0)).unwrap();
        }
        let agreed = right.recorded(index);
        prop_assert!(agreed.is_some());
        let full = right.digest().unwrap();
        for state in [&mut right, &mut other] {
            prop_assert_eq!(check(state, index, agreed), Outcome::Checked(CheckResult::Equal));
            prop_assert_eq!(state.diverged(), None);
        }
        // What went wrong may have been removed with everything else.
        let differs = full != wrong.digest().unwrap();
        let outcome = check(&mut wrong, index, agreed);
        let result = if differs { CheckResult::Different } else { CheckResult::Equal };
        prop_assert_eq!(outcome, Outcome::Checked(result));
        prop_assert_eq!(wrong.diverged(), differs.then_some(index));
    }
}

#[test]
fn golden() {
    let mut state = tracked();
    let session = SessionId([1; 16]);
    let log = [
        Command::open_session(session),
        Command::in_session(session, 1, Command::set("a long key", "value")),
        Command::in_session(session, 2, Command::delete("none")),
    ];
    for (index, command) in (1..).zip(log) {
        state.apply(LogIndex(index), Timestamp(index * 10), command).unwrap();
    }
    // Computed from docs/format.md by other means.
    let digest = state.state_check().unwrap();
    assert_eq!(digest.to_string(), "9a03cbbdcecca5ec968e97a93f51dfa3");
    let rows = StateCheck(state.sum().unwrap().0.to_le_bytes());
    assert_eq!(rows.to_string(), "e60d0e66dd4cd711d7e3ef990eedd37f");
    assert_eq!(tracked().state_check(), Some(StateCheck([0; 16])));
}

#[test]
fn each_part_of_a_row_enters() {
    let sum = |key: &str, value: &str, version, timestamp| {
        Sum::of_row(key.as_bytes(), value.as_bytes(), Version(version), Timestamp(timestamp))
    };
    let sums = [
        sum("key", "value", 1, 2),
        sum("kez", "value", 1, 2),
        sum("key", "valuf", 1, 2),
        sum("key", "value", 2, 2),
        sum("key", "value", 1, 3),
        sum("keyv", "alue", 1, 2),
        sum("key", "value\0", 1, 2),
        sum("key\0", "value", 1, 2),
        sum("", "keyvalue", 1, 2),
    ];
    for (at, one) in sums.iter().enumerate() {
        assert!(!sums[..at].contains(one), "{at}");
    }
}

#[test]
fn values_that_change_places_are_found() {
    let state = |one: &'static str, other: &'static str| {
        let mut state = tracked();
        let commands = [Command::set("a", one), Command::set("b", other)];
        state.apply(LogIndex(1), Timestamp(1), Command::batch(commands)).unwrap();
        state.state_check().unwrap()
    };
    assert_ne!(state("1", "2"), state("2", "1"));
    assert_ne!(state("1", "1"), state("2", "2"));
}

#[test]
fn only_the_newest_digests_are_known() {
    let mut state = tracked();
    for _ in 0..=CHECKS_KEPT {
        let index = fill_up(&mut state);
        state.apply_blank(index, Timestamp(0)).unwrap();
    }
    assert_eq!(state.recorded(LogIndex(CHECK_INTERVAL)), None);
    assert!(state.recorded(LogIndex(2 * CHECK_INTERVAL)).is_some());
    let newest = (CHECKS_KEPT as u64 + 1) * CHECK_INTERVAL;
    assert!(state.recorded(LogIndex(newest)).is_some());
    assert_eq!(state.recorded(LogIndex(newest - 1)), None);
}

#[test]
fn a_digest_that_is_not_known_is_no_difference() {
    let digest = Some(StateCheck([9; 16]));
    let unknown = Outcome::Checked(CheckResult::Unknown);
    for mut state in [KvState::new(), tracked()] {
        set(&mut state, 1, "k", "v");
        assert_eq!(check(&mut state, LogIndex(1), digest), unknown);
        assert_eq!(check(&mut state, LogIndex(CHECK_INTERVAL), digest), unknown);
        assert_eq!(state.diverged(), None);
    }
}

#[test]
fn without_a_majority_everybody_has_diverged_and_the_first_index_stays() {
    for mut state in [KvState::new(), tracked()] {
        set(&mut state, 1, "k", "v");
        let different = Outcome::Checked(CheckResult::Different);
        assert_eq!(check(&mut state, LogIndex(1000), None), different);
        assert_eq!(check(&mut state, LogIndex(2000), None), different);
        assert_eq!(state.diverged(), Some(LogIndex(1000)));
    }
}

#[test]
fn what_was_found_is_not_part_of_the_state() {
    let (mut one, mut other) = (tracked(), tracked());
    for (state, digest) in [(&mut one, None), (&mut other, Some(StateCheck([0; 16])))] {
        set(state, 1, "k", "v");
        check(state, LogIndex(1000), digest);
    }
    assert_ne!(one.diverged(), other.diverged());
    assert_eq!(one.state_check(), other.state_check());
    assert_eq!(one.digest().unwrap(), other.digest().unwrap());
}

#[test]
fn a_checkpoint_with_a_sum_goes_on_from_it() {
    let mut state = tracked();
    set(&mut state, 1, "k", "v");
    let again = KvState::from_checkpoint(Checkpoint {
        tables: crate::storage::table_set::TableSet::empty(),
        counts: None,
        last_applied: Some(LogIndex(1)),
        last_timestamp: Timestamp(10),
        due_floor: Timestamp::default(),
        sessions: Sessions::default(),
        sum: state.sum(),
    })
    .unwrap();
    assert_eq!(again.state_check(), state.state_check());
    assert_eq!(KvState::new().sum(), None);
}
