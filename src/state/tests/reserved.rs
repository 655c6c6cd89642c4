//! The reserved keyspace: plain commands and reads do not reach it, and its own reach nothing else.

use bytes::Bytes;

use super::*;
use crate::command::{SessionId, reserved_key};

fn key(name: &str) -> Bytes {
    reserved_key(name.as_bytes())
}

/// A state with the plain keys `a` and `\xff` and the reserved ones `x` and `y`.
fn both() -> KvState {
    let mut state = KvState::new();
    state.track_digest().unwrap();
    apply(&mut state, Command::set("a", "1"));
    apply(&mut state, Command::set(vec![0xff], "2"));
    let sets = [Command::set(key("x"), "3"), Command::set(key("y"), "4")];
    assert_eq!(apply(&mut state, Command::reserved([], sets)), Outcome::Applied);
    state
}

fn apply(state: &mut KvState, command: Command) -> Outcome {
    let index = state.as_view().last_applied().map_or(LogIndex(1), LogIndex::next);
    let applied = state.apply(index, Timestamp(index.0), command).unwrap();
    state.validate().unwrap();
    applied.outcome
}

fn reserved_rows(view: &StateView) -> usize {
    view.reserved().rows(&key(""), None, usize::MAX).unwrap().len()
}

#[test]
fn a_plain_command_that_names_a_reserved_key_changes_nothing_and_says_so() {
    let mut state = both();
    let before = state.state_check();
    let session = SessionId([7; 16]);
    apply(&mut state, Command::open_session(session));
    for command in [
        Command::set(key("x"), "9"),
        Command::set(key("new"), "9"),
        Command::delete(key("x")),
        Command::delete_prefix(key("")),
        Command::batch([Command::set("b", "9"), Command::delete(key("x"))]),
        Command::guarded([Guard::present(key("x"))], [Command::set("b", "9")]),
    ] {
        assert_eq!(apply(&mut state, command.clone()), Outcome::ReservedKey, "{command:?}");
        let request = Command::in_session(session, 1, command);
        assert_eq!(apply(&mut state, request), Outcome::ReservedKey);
    }
    apply(&mut state, Command::close_session(session));
    assert_eq!(state.as_view().len(), 2);
    assert_eq!(reserved_rows(state.as_view()), 2);
    assert!(before.is_some());
}

#[test]
fn a_plain_prefix_deletes_plain_keys_alone() {
    for prefix in [&b""[..], b"\xff", b"\xff\xff\xff\xff"] {
        let mut state = both();
        apply(&mut state, Command::delete_prefix(prefix.to_vec()));
        assert_eq!(reserved_rows(state.as_view()), 2, "{prefix:?}");
    }
    let mut state = both();
    let all = apply(&mut state, Command::delete_prefix(""));
    assert_eq!(all, Outcome::Removed { keys: 2 });
    assert!(state.as_view().is_empty());
}

#[test]
fn no_read_of_a_view_shows_a_reserved_row() {
    let state = both();
    let view = state.view();
    let plain = [Bytes::from_static(b"a"), Bytes::from_static(b"\xff")];
    let keys = |rows: Vec<(Bytes, Value)>| rows.into_iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(keys(rows_of(&view)), plain);
    assert_eq!(keys(view.iter().rev().map(Result::unwrap).collect()).len(), 2);
    assert_eq!(keys(view.scan::<&[u8]>(..).map(Result::unwrap).collect()), plain);
    assert_eq!(keys(view.rows_with_prefix(b"").unwrap()), plain);
    assert_eq!(view.rows_with_prefix(&key("")).unwrap().len(), 0);
    assert_eq!(view.range(key("")..).count(), 0);
    assert_eq!(view.range(..=key("y")).count(), 2);
    assert_eq!(view.range(key("x")..=key("x")).rev().count(), 0);
    assert!(view.get(&key("x")).unwrap().is_none());
    assert!(view.get_versioned(&key("x")).unwrap().is_none());
    assert!(!view.contains(&key("x")).unwrap());
    assert_eq!(view.len(), 2);
}

#[test]
fn a_reserved_batch_with_a_plain_key_changes_nothing() {
    let mut state = both();
    for command in [
        Command::reserved([], [Command::set("a", "9")]),
        Command::reserved([], [Command::delete_prefix("")]),
        Command::reserved([Guard::present("a")], [Command::set(key("x"), "9")]),
    ] {
        assert_eq!(apply(&mut state, command), Outcome::ReservedKey);
    }
    assert_eq!(state.as_view().get(b"a").unwrap().unwrap(), "1");
}

#[test]
fn its_own_batches_are_guarded_and_count_their_rows() {
    let mut state = both();
    let failed = Command::reserved([Guard::absent(key("x"))], [Command::set(key("z"), "5")]);
    assert!(matches!(apply(&mut state, failed), Outcome::GuardFailed { guard: 0, .. }));
    apply(&mut state, Command::reserved([], [Command::delete(key("x"))]));
    assert_eq!(reserved_rows(state.as_view()), 1);
    let row = state.as_view().reserved().get(&key("y")).unwrap().unwrap();
    assert_eq!(row.value, "4");
    assert!(state.as_view().reserved().get(b"a").unwrap().is_none());
    apply(&mut state, Command::reserved([], [Command::delete_prefix(key("y"))]));
    assert_eq!(reserved_rows(state.as_view()), 0);
}
