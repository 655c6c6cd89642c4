//! The state against a naive model, and what it promises beyond that.

mod check;
mod cuts;
mod leases;
mod effects;
mod gaps;
mod model;
mod reserved;
mod sessions;

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use self::model::{Model, entries};
use super::outcome::Applied;
use super::*;
use crate::command::{Command, Guard};
use crate::types::{LogIndex, Timestamp, Version};

fn set(state: &mut KvState, index: u64, key: &'static str, value: &'static str) -> Applied {
    state.apply(LogIndex(index), Timestamp(index * 10), Command::set(key, value)).unwrap()
}

fn rows_of(view: &StateView) -> Vec<(Bytes, Value)> {
    view.iter().map(Result::unwrap).collect()
}

proptest! {
    #[test]
    fn a_run_gives_what_its_entries_give_one_by_one(steps in entries()) {
        let mut one_by_one = KvState::new();
        let mut in_runs = KvState::new();
        let logged = |(index, (clock, command)): (u64, &(u64, Command))| Logged {
            index: LogIndex(index),
            clock: Timestamp(*clock),
            command: command.clone(),
            payload_bytes: usize::try_from(index).unwrap(),
        };
        let log: Vec<Logged> = (1..).zip(&steps).map(logged).collect();
        for run in log.chunks(7) {
            let mut singly = Vec::new();
            for Logged { index, clock, command, .. } in run.iter().cloned() {
                let looked = one_by_one.check(&command).unwrap();
                // What was seen in the tail is below it by now.
                if index == LogIndex(12) {
                    one_by_one.freeze();
                }
                let (applied, effects) =
                    one_by_one.apply_telling(index, clock, command, looked).unwrap();
                singly.push((index, one_by_one.as_view().timestamp(), applied, effects));
            }
            let mut told = Vec::new();
            let run = Run::new(run.to_vec()).unwrap();
            let tell = |it: Told<'_>| told.push((it.index, it.timestamp, *it.applied, it.effects));
            in_runs.apply_run(run, tell).unwrap();
            told.sort_by_key(|&(index, ..)| index);
            prop_assert_eq!(told, singly);
        }
        in_runs.validate().unwrap();
        prop_assert_eq!(in_runs.digest().unwrap(), one_by_one.digest().unwrap());
    }

    #[test]
    fn any_commands_equal_the_model(entries in entries()) {
        let (mut state, mut model) = (KvState::new(), Model::default());
        let mut kept = Vec::new();
        for (index, (clock, command)) in (0..).zip(&entries) {
            let applied = state.apply(LogIndex(index), Timestamp(*clock), command.clone()).unwrap();
            prop_assert_eq!(applied, model.apply(index, *clock, command), "{:?}", command);
            kept.push((state.view(), model.clone()));
        }
        state.validate().unwrap();
        // Views taken on the way are what they were.
        for (view, model) in &kept {
            model.assert_equal(view);
        }
    }

    #[test]
    fn no_row_changes_without_the_outcome_saying_so(entries in entries()) {
        let (mut state, mut before) = (KvState::new(), Vec::new());
        for (index, (clock, command)) in (0..).zip(&entries) {
            let applied = state.apply(LogIndex(index), Timestamp(*clock), command.clone()).unwrap();
            let after = rows_of(state.as_view());
            // Not the other way round: a batch may change rows and change them back.
            prop_assert!(applied.outcome.changed() || before == after);
            before = after;
        }
    }

    #[test]
    fn an_owned_scan_gives_the_rows_of_a_range_from_both_ends(
        rows in 0..1500_usize,
        from in 0..1500_usize,
        to in 0..1500_usize,
        ends in proptest::collection::vec(any::<bool>(), 0..100),
    ) {
        let key = |n: usize| format!("{n:06}");
        let mut state = KvState::new();
        let all = Command::batch((0..rows).map(|n| Command::set(key(n), key(n))));
        state.apply(LogIndex(1), Timestamp(1), all).unwrap();
        let view = state.view();
        let bounds = (Bound::Excluded(key(from)), Bound::Included(key(to)));
        let mut expected = view.range(bounds.clone());
        let mut scan = view.scan(bounds);
        drop(state);
        // Long runs at one end and at the other, until both have met.
        for from_front in ends {
            for _ in 0..70 {
                let (found, expected) = if from_front {
                    (scan.next(), expected.next())
                } else {
                    (scan.next_back(), expected.next_back())
                };
                prop_assert_eq!(found.map(Result::unwrap), expected.map(Result::unwrap));
            }
        }
        prop_assert!(scan.map(Result::unwrap).eq(expected.map(Result::unwrap)));
    }
}

#[test]
fn a_scan_fetches_no_more_than_a_mebibyte_ahead_but_for_a_few_long_rows() {
    for (len, at_once) in [(100 << 10, 11), (300 << 10, 8), (3 << 20, 3)] {
        let mut state = KvState::new();
        let count = 3 * at_once;
        for n in 0..count {
            let command = Command::set(format!("{n:03}"), vec![7; len]);
            state.apply(LogIndex(n as u64), Timestamp(1), command).unwrap();
        }
        let (mut front, mut back) = (0, 0);
        let mut scan = state.view().scan::<&[u8]>(..);
        for step in 0..count / 2 {
            assert_eq!(scan.next().unwrap().unwrap().0, format!("{step:03}"));
            front = front.max(scan.fetched());
        }
        let mut scan = state.view().scan::<&[u8]>(..);
        for step in 0..count / 2 {
            let key = format!("{:03}", count - 1 - step);
            assert_eq!(scan.next_back().unwrap().unwrap().0, key);
            back = back.max(scan.fetched());
        }
        assert_eq!((front, back), (at_once - 1, at_once - 1), "of {len} bytes");
    }
}

#[test]
fn equal_states_have_equal_digests_whatever_their_history() {
    let mut first = KvState::new();
    set(&mut first, 1, "a", "1");
    set(&mut first, 2, "b", "2");
    set(&mut first, 3, "c", "3");
    first.apply(LogIndex(4), Timestamp(0), Command::delete("c")).unwrap();

    let mut second = KvState::new();
    set(&mut second, 1, "a", "1");
    set(&mut second, 2, "b", "2");
    set(&mut second, 3, "d", "4");
    second.apply(LogIndex(4), Timestamp(0), Command::delete_prefix("d")).unwrap();
    assert_eq!(first.digest().unwrap(), second.digest().unwrap());
}

#[test]
fn each_part_of_the_state_enters_the_digest() {
    let at = |index: u64, clock: u64, key: &'static str, value: &'static str, last: u64| {
        let mut state = KvState::new();
        state.apply(LogIndex(index), Timestamp(clock), Command::set(key, value)).unwrap();
        state.apply_blank(LogIndex(last), Timestamp(50)).unwrap();
        state.digest().unwrap()
    };
    let digests = [
        at(1, 10, "a", "1", 5),
        at(2, 10, "a", "1", 5),
        at(1, 11, "a", "1", 5),
        at(1, 10, "b", "1", 5),
        at(1, 10, "a", "2", 5),
        at(1, 10, "a1", "", 5),
        at(1, 10, "a", "1", 6),
        at(1, 60, "a", "1", 5),
        KvState::new().digest().unwrap(),
    ];
    for (at, digest) in digests.iter().enumerate() {
        assert!(!digests[..at].contains(digest), "{at}");
    }
}

#[test]
fn the_digest_of_the_empty_state_is_known() {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"hightower-kv state digest 2\n");
    hasher.update(&[0; 24]);
    assert_eq!(KvState::new().digest().unwrap().to_string(), hasher.finalize().to_hex().as_str());
}

#[test]
fn setting_the_same_value_moves_neither_version_nor_stamp() {
    let mut state = KvState::new();
    set(&mut state, 1, "k", "v");
    let again = set(&mut state, 2, "k", "v");
    assert_eq!(again.outcome, Outcome::Unchanged);
    assert_eq!((again.version, again.timestamp), (Version(1), Timestamp(10)));
    assert_eq!(state.as_view().get_versioned(b"k").unwrap().unwrap().version, Version(1));
    assert_eq!(state.as_view().last_applied(), Some(LogIndex(2)));
    assert_eq!(state.as_view().timestamp(), Timestamp(20));
}

#[test]
fn stamps_never_go_back_and_every_entry_moves_them() {
    let mut state = KvState::new();
    assert_eq!(state.apply_blank(LogIndex(0), Timestamp(100)), Ok(Timestamp(100)));
    let late = state.apply(LogIndex(1), Timestamp(7), Command::set("k", "v")).unwrap();
    assert_eq!(late.timestamp, Timestamp(100));
    let failing = Command::guarded([Guard::absent("k")], []);
    let failed = state.apply(LogIndex(2), Timestamp(300), failing).unwrap();
    assert!(!failed.outcome.is_applied());
    assert_eq!(state.as_view().timestamp(), Timestamp(300));
}

#[test]
fn an_entry_is_applied_once_and_gaps_are_allowed() {
    let mut state = KvState::new();
    set(&mut state, 3, "k", "v");
    for got in [LogIndex(3), LogIndex(0)] {
        let refused = state.apply(got, Timestamp(900), Command::set("k", "other"));
        let Err(ApplyError::NotInOrder(refused)) = refused else { panic!("{refused:?}") };
        assert_eq!(refused, NotInOrder { last: LogIndex(3), got });
    }
    assert_eq!(state.as_view().get(b"k").unwrap().unwrap(), "v");
    assert_eq!(state.as_view().timestamp(), Timestamp(30));
    set(&mut state, 90, "k", "w");
}

#[test]
fn a_failed_guard_is_named_and_nothing_changes() {
    let mut state = KvState::new();
    set(&mut state, 1, "a", "1");
    let batch = Command::guarded(
        [Guard::value_equals("a", "1"), Guard::version_equals("a", Version(9)), Guard::absent("a")],
        [Command::set("b", "2"), Command::delete_prefix("")],
    );
    let failed = state.apply(LogIndex(2), Timestamp(0), batch).unwrap();
    assert_eq!(failed.outcome, Outcome::GuardFailed { guard: 1, found: Some(Version(1)) });
    assert_eq!(state.as_view().len(), 1);
}

#[test]
fn guards_see_the_state_before_the_batch_and_commands_see_each_other() {
    let mut state = KvState::new();
    let batch = Command::guarded(
        [Guard::absent("a/1"), Guard::absent("a/2")],
        [Command::set("a/1", "x"), Command::delete_prefix("a/"), Command::set("a/2", "y")],
    );
    let applied = state.apply(LogIndex(1), Timestamp(0), batch).unwrap();
    assert_eq!(applied.outcome, Outcome::Applied);
    assert_eq!(applied.stale_bytes, 4);
    let keys: Vec<_> = rows_of(state.as_view()).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a/2"]);
}

#[test]
fn a_batch_equals_its_commands_one_by_one_but_for_the_version() {
    let commands = [
        Command::set("a", "1"),
        Command::set("b", "2"),
        Command::delete("a"),
        Command::set("b", "3"),
        Command::delete("missing"),
    ];
    let (mut one_by_one, mut at_once) = (KvState::new(), KvState::new());
    for (index, command) in (1..).zip(&commands) {
        one_by_one.apply(LogIndex(index), Timestamp(0), command.clone()).unwrap();
    }
    at_once.apply(LogIndex(1), Timestamp(0), Command::batch(commands)).unwrap();
    assert_eq!(rows_of(one_by_one.as_view()), rows_of(at_once.as_view()));
    assert_eq!(at_once.as_view().get_versioned(b"b").unwrap().unwrap().version, Version(1));
}

#[test]
fn values_are_read_and_applied_without_copying() {
    let mut state = KvState::new();
    let value = Bytes::from(vec![1; 100]);
    state.apply(LogIndex(1), Timestamp(0), Command::set("k", value.clone())).unwrap();
    assert_eq!(state.as_view().get(b"k").unwrap().unwrap().as_ptr(), value.as_ptr());
}

#[test]
fn ranges_take_any_bounds_in_both_directions() {
    let mut state = KvState::new();
    for (index, key) in (1..).zip(["a", "b", "c", "d"]) {
        set(&mut state, index, key, "");
    }
    let view = state.view();
    let keys = |rows: Rows<'_>| rows.map(|row| row.unwrap().0).collect::<Vec<_>>();
    assert_eq!(keys(view.range("b".."d")), ["b", "c"]);
    assert_eq!(keys(view.range("c"..)), ["c", "d"]);
    assert_eq!(keys(view.range(..="b")), ["a", "b"]);
    assert_eq!(keys(view.range::<&str>(..)), ["a", "b", "c", "d"]);
    assert_eq!(keys(view.range(b"d".to_vec()..b"a".to_vec())), [""; 0]);
    let last: Vec<_> = view.range(.."d").rev().take(2).map(|row| row.unwrap().0).collect();
    assert_eq!(last, ["c", "b"]);
    let row = |row: Result<_, _>| row.unwrap();
    assert!(view.prefix(b"c").map(row).eq(view.scan_prefix(b"c").map(row)));
}

#[test]
fn what_was_looked_at_holds_where_a_compaction_has_left_nothing_below() {
    for (command, outcome, keys) in [
        (Command::set("b", "v"), Outcome::Applied, 1),
        (Command::set("a", "v"), Outcome::Applied, 1),
        (Command::delete("a"), Outcome::NotFound, 0),
        (Command::delete("b"), Outcome::NotFound, 0),
    ] {
        let mut state = KvState::new();
        set(&mut state, 1, "a", "v");
        state.freeze();
        state.apply(LogIndex(2), Timestamp(2), Command::delete("a")).unwrap();
        let looked = state.check(&command).unwrap();
        state.rebase(crate::storage::table_set::TableSet::empty(), true);
        let told = state.apply_telling(LogIndex(3), Timestamp(3), command, looked).unwrap();
        assert_eq!(told.0.outcome, outcome);
        state.validate().unwrap();
        assert_eq!(state.as_view().len(), keys);
    }
}

#[test]
fn a_delete_is_told_what_lies_below_the_tail_and_looks_no_further() {
    let filled = || {
        let mut state = KvState::new();
        for (index, key) in (1..).zip(["a", "b"]) {
            set(&mut state, index, key, "value");
        }
        state.freeze();
        set(&mut state, 3, "b", "newer");
        state
    };
    for key in ["a", "b", "c"] {
        let (mut told, mut alone) = (filled(), filled());
        let command = Command::delete(key);
        let looked = told.check(&command).unwrap();
        let at = (LogIndex(4), Timestamp(4));
        let with = told.apply_telling(at.0, at.1, command.clone(), looked).unwrap();
        let without = alone.apply_telling(at.0, at.1, command, Looked::default()).unwrap();
        assert_eq!(with, without, "{key}");
        told.validate().unwrap();
        assert_eq!(told.digest().unwrap(), alone.digest().unwrap());
        assert_eq!(told.tail_bytes(), alone.tail_bytes());
    }
}
