//! What applying an entry tells beside its outcome.

use bytes::Bytes;

use crate::command::{Command, Guard, SessionId, reserved_key};
use crate::state::effects::{Detail, Effect, Effects, Recorder, named_row};
use crate::state::kv_state::{KvState, Looked};
use crate::storage::table_set::TableSet;
use crate::types::{LogIndex, Timestamp};

#[derive(Default)]
struct Told {
    state: KvState,
    last: u64,
}

impl Told {
    fn apply(&mut self, command: Command) -> Effects {
        self.last += 1;
        let at = (LogIndex(self.last), Timestamp(self.last));
        self.state.apply_telling(at.0, at.1, command, Looked::default()).unwrap().1
    }
}

fn several(details: impl IntoIterator<Item = Detail>) -> Effects {
    Effects::Several(details.into_iter().collect::<Vec<_>>().into())
}

fn own(at: u32, before: Option<u32>) -> Detail {
    Detail::Own { at, before }
}

fn removed(key: &'static str, before: u32) -> Detail {
    Detail::Explicit { key: key.into(), value: None, before: Some(before) }
}

const NOTHING: Effects = Effects::One(Effect::Nothing);

#[test]
fn a_single_change_tells_what_it_found() {
    let mut told = Told::default();
    assert_eq!(told.apply(Command::set("k", "abc")), Effects::One(Effect::Created));
    assert_eq!(told.apply(Command::set("k", "abc")), NOTHING);
    assert_eq!(told.apply(Command::set("k", "")), Effects::One(Effect::Had(3)));
    assert_eq!(told.apply(Command::delete("k")), Effects::One(Effect::Had(0)));
    assert_eq!(told.apply(Command::delete("k")), NOTHING);
    assert_eq!(told.apply(Command::set("k", "new")), Effects::One(Effect::Created));
}

#[test]
fn a_batch_tells_which_of_its_commands_changed_something() {
    let mut told = Told::default();
    told.apply(Command::set("a", "1"));
    let commands = [
        Command::set("a", "1"),
        Command::set("b", "22"),
        Command::delete("none"),
        Command::set("b", "333"),
        Command::delete("a"),
    ];
    let expected = several([own(1, None), own(3, Some(2)), own(4, Some(1))]);
    assert_eq!(told.apply(Command::batch(commands.clone())), expected);
    let failing = Command::guarded([Guard::present("a")], commands);
    assert_eq!(told.apply(failing), NOTHING);
}

#[test]
fn what_no_command_names_stands_behind_what_one_does() {
    for before in [None, Some(7)] {
        let mut recorder = Recorder::default();
        recorder.changed(before, None);
        recorder.changed_unnamed(vec![removed("a", 1), removed("b", 2)]);
        recorder.changed_unnamed(vec![removed("c", 3)]);
        let expected = [own(0, before), removed("a", 1), removed("b", 2), removed("c", 3)];
        assert_eq!(recorder.finish(), several(expected));
    }
}

#[test]
fn very_many_rows_that_are_removed_are_one_effect() {
    let mut told = Told::default();
    let keys = ["p1", "p2", "p3", "p4"];
    for key in keys {
        told.apply(Command::set(key, "vv"));
    }
    told.apply(Command::set("q", "v"));
    told.state.freeze();
    told.apply(Command::set("p2", "vvvv"));
    told.apply(Command::delete("p3"));
    let effects = told.apply(Command::delete_prefix("p"));
    let removed = |told: &Told| {
        let Effects::Several(details) = &effects else { panic!("{effects:?}") };
        let [Detail::Many(removal)] = &***details else { panic!("{details:?}") };
        assert_eq!(removal.rows(), 3);
        let before = removal.before(told.state.as_view())?;
        let rows = before.rows_with_prefix(b"").unwrap().into_iter();
        Some(rows.map(|(key, value)| (key, value.len())).collect::<Vec<_>>())
    };
    let row = |key: &'static str, bytes: usize| (Bytes::from(key), bytes);
    // Whatever came after it.
    told.apply(Command::set("p1", "other"));
    told.apply(Command::delete("q"));
    let expected = vec![row("p1", 2), row("p2", 4), row("p4", 2), row("q", 1)];
    assert_eq!(removed(&told).unwrap(), expected);
    // What was set aside is in tables, and what removed them is set aside.
    told.state.rebase(TableSet::empty(), true);
    assert_eq!(removed(&told).unwrap(), [row("p2", 4)], "there are no tables here");
    told.state.freeze();
    assert!(removed(&told).is_some());
    told.state.rebase(TableSet::empty(), false);
    assert!(removed(&told).is_some(), "a merge");
    told.state.rebase(TableSet::empty(), true);
    assert_eq!(removed(&told), None, "the rows may be gone");
}

#[test]
fn removing_a_prefix_names_each_key() {
    let mut told = Told::default();
    for key in ["p1", "p2", "q"] {
        told.apply(Command::set(key, "vv"));
    }
    assert_eq!(told.apply(Command::delete_prefix("x")), NOTHING);
    assert_eq!(
        told.apply(Command::delete_prefix("p")),
        several([removed("p1", 2), removed("p2", 2)])
    );
    // Everything at once is told, too, and within a batch together with what stands beside it.
    let commands = [Command::set("r", "1"), Command::delete_prefix(""), Command::set("q", "4444")];
    let expected = [own(0, None), removed("q", 2), removed("r", 1), own(2, None)];
    assert_eq!(told.apply(Command::batch(commands)), several(expected));
}

#[test]
fn a_request_is_told_once_and_a_refused_one_not_at_all() {
    let session = SessionId([7; 16]);
    let mut told = Told::default();
    let request = |number, value| Command::in_session(session, number, Command::set("k", value));
    assert_eq!(told.apply(request(1, "a")), NOTHING);
    assert_eq!(told.apply(Command::open_session(session)), NOTHING);
    assert_eq!(told.apply(request(1, "a")), Effects::One(Effect::Created));
    assert_eq!(told.apply(request(1, "a")), NOTHING);
    assert_eq!(told.apply(request(2, "b")), Effects::One(Effect::Had(1)));
    assert_eq!(told.apply(Command::close_session(session)), NOTHING);
}

#[test]
fn what_reaches_into_the_other_keyspace_changes_nothing() {
    let mut told = Told::default();
    let key = reserved_key(b"x");
    assert_eq!(told.apply(Command::set(key.clone(), "1")), NOTHING);
    assert_eq!(told.apply(Command::reserved([], [Command::set("plain", "1")])), NOTHING);
    let reserved = Command::reserved([], [Command::set(key.clone(), "1")]);
    assert_eq!(told.apply(reserved.clone()), Effects::One(Effect::Created));
    assert_eq!(named_row(&reserved, 0), Some((&key, Some(&Bytes::from("1")))));
    assert_eq!(named_row(&reserved, 1), None);
}

#[test]
fn a_command_names_the_rows_of_single_changes_only() {
    let (key, value) = (Bytes::from("k"), Bytes::from("v"));
    let set = Command::set(key.clone(), value.clone());
    assert_eq!(named_row(&set, 0), Some((&key, Some(&value))));
    assert_eq!(named_row(&set, 1), None);
    let requested = Command::in_session(SessionId([1; 16]), 1, set.clone());
    assert_eq!(named_row(&requested, 0), Some((&key, Some(&value))));
    let batch = Command::batch([Command::delete_prefix("p"), Command::delete("k"), set]);
    assert_eq!(named_row(&batch, 0), None);
    assert_eq!(named_row(&batch, 1), Some((&key, None)));
    assert_eq!(named_row(&batch, 2), Some((&key, Some(&value))));
    assert_eq!(named_row(&batch, 3), None);
}
