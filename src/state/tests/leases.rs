//! Times and leases: against a model, and one promise at a time.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::command::{LeaseId, Owner, Scope, SessionId, Until, reserved_key};
use crate::types::{NodeId, RandomId};

const LEASES: u8 = 3;

fn lease(id: u8) -> LeaseId {
    LeaseId([id; 16])
}

/// What should be there, said as plainly as it can be.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Value, version, and when it ends.
    rows: BTreeMap<Bytes, (Bytes, u64, Option<Until>)>,
    /// Deadlines of keys with a time of their own.
    deadlines: BTreeMap<Bytes, u64>,
    /// Time to live and deadline.
    leases: BTreeMap<LeaseId, (u64, u64)>,
    now: u64,
}

impl Model {
    fn apply(&mut self, index: u64, clock: u64, command: &Command) {
        self.now = self.now.max(clock);
        match command {
            Command::SetExpiring { key, value, until } => {
                if self.is_there(*until) {
                    let kept = self.rows.get(key).filter(|row| row.0 == *value).map(|row| row.1);
                    let version = kept.unwrap_or(index);
                    self.rows.insert(key.clone(), (value.clone(), version, None));
                    self.attach(key, *until);
                }
            }
            Command::Attach { key, until } => {
                if self.is_there(*until) && self.rows.contains_key(key) {
                    self.attach(key, *until);
                }
            }
            Command::GrantLease { lease, ttl } => {
                let deadline = self.now + ttl;
                self.leases.entry(*lease).or_insert((*ttl, deadline));
            }
            Command::KeepAlive { lease } => {
                let now = self.now;
                if let Some((ttl, deadline)) = self.leases.get_mut(lease) {
                    *deadline = now + *ttl;
                }
            }
            Command::RevokeLease { lease } => self.end_lease(*lease),
            Command::Expire { .. } => self.expire(),
            Command::Batch { commands, .. } => {
                for command in commands {
                    self.apply(index, clock, command);
                }
            }
            Command::Reserved(batch) => {
                for command in &batch.commands {
                    self.apply(index, clock, command);
                }
            }
            Command::Set { key, value } => {
                let kept = self.rows.get(key).filter(|row| row.0 == *value).map(|row| row.1);
                self.rows.insert(key.clone(), (value.clone(), kept.unwrap_or(index), None));
                self.deadlines.remove(key);
            }
            Command::Delete { key } => self.remove(key),
            Command::DeletePrefix { prefix } => {
                let of_keyspace =
                    |key: &Bytes| key.starts_with(&[0xff; 8]) == prefix.starts_with(&[0xff; 8]);
                let gone = |key: &Bytes| key.starts_with(prefix) && of_keyspace(key);
                self.rows.retain(|key, _| !gone(key));
                self.deadlines.retain(|key, _| !gone(key));
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_there(&self, until: Until) -> bool {
        match until {
            Until::After(_) => true,
            Until::Lease(lease) => self.leases.contains_key(&lease),
        }
    }

    fn attach(&mut self, key: &Bytes, until: Until) {
        self.rows.get_mut(key).unwrap().2 = Some(until);
        self.deadlines.remove(key);
        if let Until::After(ttl) = until {
            self.deadlines.insert(key.clone(), self.now + ttl);
        }
    }

    fn remove(&mut self, key: &Bytes) {
        self.rows.remove(key);
        self.deadlines.remove(key);
    }

    fn end_lease(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease).is_some() {
            self.rows.retain(|_, row| row.2 != Some(Until::Lease(lease)));
        }
    }

    /// Without a limit.
    fn expire(&mut self) {
        let now = self.now;
        let due = |deadline: u64| deadline <= now;
        let keys: Vec<Bytes> =
            self.deadlines.iter().filter(|it| due(*it.1)).map(|it| it.0.clone()).collect();
        for key in keys {
            self.remove(&key);
        }
        let leases: Vec<LeaseId> =
            self.leases.iter().filter(|it| due(it.1.1)).map(|it| *it.0).collect();
        for lease in leases {
            self.end_lease(lease);
        }
    }

    fn ends_at(&self, key: &Bytes) -> Option<u64> {
        match self.rows.get(key)?.2? {
            Until::After(_) => Some(self.deadlines[key]),
            Until::Lease(lease) => Some(self.leases[&lease].1),
        }
    }

    fn assert_equal(&self, view: &StateView) {
        for scope in [Scope::Permanent, Scope::named("s").unwrap()] {
            let scoped = view.scope(&scope);
            let found: Vec<_> = scoped.iter().map(Result::unwrap).collect();
            let other = |key: &Bytes| key.starts_with(&[0xff; 8]) == (scope != Scope::Permanent);
            let rows = self.rows.iter().filter(|(key, _)| other(key));
            let mut seen = 0;
            for ((key, value), (name, row)) in found.iter().zip(rows) {
                assert_eq!(scope.key(key), name);
                assert_eq!(*value, *row.0);
                assert_eq!(scoped.get_versioned(key).unwrap().unwrap().version, Version(row.1));
                let ends = scoped.expires_at(key).unwrap();
                assert_eq!(ends, self.ends_at(name).map(Timestamp), "{name:?}");
                seen += 1;
            }
            assert_eq!(found.len(), seen);
            assert_eq!(self.rows.keys().filter(|key| other(key)).count(), seen);
        }
        for id in 0..LEASES {
            let terms = view.lease(lease(id)).unwrap().map(|it| (it.ttl, it.deadline.0));
            assert_eq!(terms, self.leases.get(&lease(id)).copied());
        }
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        3 => "[ab]{1,2}".prop_map(Bytes::from),
        1 => "[ab]".prop_map(|key| Scope::named("s").unwrap().key(key.as_bytes())),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    "[xy]".prop_map(Bytes::from)
}

fn until() -> impl Strategy<Value = Until> {
    prop_oneof![
        (1..60_u64).prop_map(Until::After),
        (0..LEASES).prop_map(|id| Until::Lease(lease(id))),
    ]
}

fn change() -> impl Strategy<Value = Command> {
    let single = prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Command::set(key, value)),
        2 => key().prop_map(Command::delete),
        1 => key().prop_map(Command::delete_prefix),
    ];
    (single, any::<bool>()).prop_map(|(single, in_batch)| {
        let name = match &single {
            Command::Set { key, .. } | Command::Delete { key } => key.clone(),
            Command::DeletePrefix { prefix } => prefix.clone(),
            other => panic!("{other:?}"),
        };
        match (name.starts_with(&[0xff; 8]), in_batch) {
            (true, _) => Command::reserved([], [single]),
            (false, true) => Command::batch([single]),
            (false, false) => single,
        }
    })
}

fn command() -> impl Strategy<Value = Command> {
    let id = || (0..LEASES).prop_map(lease);
    prop_oneof![
        8 => (key(), value(), until())
            .prop_map(|(key, value, until)| Command::set_expiring(key, value, until)),
        3 => (key(), until()).prop_map(|(key, until)| Command::Attach { key, until }),
        6 => change(),
        4 => (id(), 1..60_u64).prop_map(|(lease, ttl)| Command::GrantLease { lease, ttl }),
        3 => id().prop_map(|lease| Command::KeepAlive { lease }),
        1 => id().prop_map(|lease| Command::RevokeLease { lease }),
        4 => Just(Command::Expire { limit: 1 << 20 }),
    ]
}

fn entries() -> impl Strategy<Value = Vec<(u64, Command)>> {
    // Clocks that go forward, and back now and then.
    let clock = prop_oneof![9 => 0..20_u64, 1 => 0..200_u64];
    proptest::collection::vec((clock, command()), 0..150).prop_map(|steps| {
        let mut time = 100;
        let step = |(by, command): (u64, Command)| {
            time += by;
            (time - by % 7 * 3, command)
        };
        steps.into_iter().map(step).collect()
    })
}

proptest! {
    #[test]
    fn any_times_and_leases_equal_the_model(entries in entries()) {
        let (mut state, mut model) = (KvState::new(), Model::default());
        state.track_digest().unwrap();
        for (index, (clock, command)) in (1..).zip(&entries) {
            state.check(command).unwrap();
            state.apply(LogIndex(index), Timestamp(*clock), command.clone()).unwrap();
            model.apply(index, *clock, command);
            model.assert_equal(state.as_view());
        }
        state.validate().unwrap();
    }

    #[test]
    fn what_is_told_of_each_entry_makes_up_all_rows(entries in entries()) {
        let (mut state, mut rows) = (KvState::new(), BTreeMap::new());
        for (index, (clock, command)) in (1..).zip(entries) {
            let (index, clock) = (LogIndex(index), Timestamp(clock));
            let looked = Looked::default();
            let told = state.apply_telling(index, clock, command.clone(), looked);
            let (_, effects) = told.unwrap();
            take_in(&mut rows, &command, &effects, state.as_view());
            let mut found = rows_of(state.as_view());
            let reserved = state.as_view().reserved();
            let reserved = reserved.rows(&reserved_key(b""), None, usize::MAX).unwrap();
            found.extend(reserved.into_iter().map(|(key, row)| (key, row.value)));
            let found: BTreeMap<_, _> =
                found.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
            prop_assert_eq!(&rows, &found, "{:?}", command);
        }
    }

    #[test]
    fn runs_equal_single_entries_and_freezing_changes_nothing(
        entries in entries(),
        len in 1..20_usize,
    ) {
        let (mut one_by_one, mut in_runs) = (KvState::new(), KvState::new());
        let mut log = Vec::new();
        for (index, (clock, command)) in (1..).zip(entries) {
            let (index, clock) = (LogIndex(index), Timestamp(clock));
            one_by_one.apply(index, clock, command.clone()).unwrap();
            if index.0.is_multiple_of(9) {
                one_by_one.freeze();
            }
            log.push(Logged { index, clock, command, payload_bytes: 0 });
        }
        for run in log.chunks(len) {
            in_runs.apply_run(Run::new(run.to_vec()).unwrap(), |_| ()).unwrap();
        }
        one_by_one.validate().unwrap();
        in_runs.validate().unwrap();
        prop_assert_eq!(in_runs.digest().unwrap(), one_by_one.digest().unwrap());
    }
}

/// Makes the changes that an entry told, and holds what it told of them against what was there.
fn take_in(
    rows: &mut BTreeMap<Bytes, Bytes>,
    command: &Command,
    effects: &Effects,
    now: &StateView,
) {
    let own = |at, before| {
        let (key, value) = named_row(command, at).unwrap();
        (key.clone(), value.cloned(), before)
    };
    let changes: Vec<(Bytes, Option<Bytes>, Option<u32>)> = match effects {
        Effects::One(Effect::Nothing) => Vec::new(),
        Effects::One(Effect::Created) => vec![own(0, None)],
        Effects::One(Effect::Had(bytes)) => vec![own(0, Some(*bytes))],
        Effects::Several(details) => {
            let changes = |detail: &Detail| match detail {
                Detail::Own { at, before } => vec![own(*at, *before)],
                Detail::Explicit { key, value, before } => {
                    vec![(key.clone(), value.clone(), *before)]
                }
                Detail::Many(removal) => {
                    let before = removal.before(now).unwrap();
                    let mut rows = before.cursor_of_all(removal.stretch().bounds()).unwrap();
                    let mut removed = Vec::new();
                    while let Some(Row { key, value, .. }) = rows.next().unwrap() {
                        let before = u32::try_from(value.len()).unwrap();
                        removed.push((Bytes::copy_from_slice(key), None, Some(before)));
                    }
                    removed
                }
            };
            details.iter().flat_map(changes).collect()
        }
    };
    for (key, value, before) in changes {
        let old = match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
        assert_eq!(old.map(|old| old.len()), before.map(|bytes| bytes as usize));
    }
}

/// A state at work.
struct At {
    state: KvState,
    index: u64,
}

impl At {
    fn new() -> Self {
        let mut state = KvState::new();
        state.track_digest().unwrap();
        Self { state, index: 0 }
    }

    fn apply(&mut self, clock: u64, command: Command) -> Applied {
        self.index += 1;
        self.state.check(&command).unwrap();
        let applied = self.state.apply(LogIndex(self.index), Timestamp(clock), command).unwrap();
        self.state.validate().unwrap();
        applied
    }

    fn put(&mut self, clock: u64, key: &'static str, ttl: u64) -> Applied {
        self.apply(clock, Command::set_expiring(key, "v", Until::After(ttl)))
    }

    fn lend(&mut self, clock: u64, key: &'static str, id: u8) -> Applied {
        self.apply(clock, Command::set_expiring(key, "v", Until::Lease(lease(id))))
    }

    fn expire(&mut self, clock: u64, limit: u64) -> Outcome {
        self.apply(clock, Command::Expire { limit }).outcome
    }

    fn has(&self, key: &str) -> bool {
        self.state.as_view().contains(key.as_bytes()).unwrap()
    }

    fn rows_of_times(&self) -> usize {
        let view = self.state.as_view();
        view.reserved().rows(&reserved_key(b"lease/"), None, usize::MAX).unwrap().len()
    }
}

#[test]
fn a_key_goes_at_its_deadline_and_not_before() {
    let mut at = At::new();
    at.put(100, "k", 50);
    assert_eq!(at.state.as_view().expires_at(b"k").unwrap(), Some(Timestamp(150)));
    assert_eq!(at.expire(149, 10), Outcome::NotFound);
    assert!(at.has("k"));
    assert_eq!(at.expire(150, 10), Outcome::Removed { keys: 1 });
    assert!(!at.has("k"));
    assert_eq!(at.rows_of_times(), 0);
}

#[test]
fn the_stamp_of_the_entry_decides_and_no_clock() {
    let mut at = At::new();
    at.put(1_000, "k", 50);
    at.apply(5_000, Command::set("other", "v"));
    // Proposed by a clock that is behind; its stamp is that of the entry before.
    assert_eq!(at.expire(10, 10), Outcome::Removed { keys: 1 });
}

#[test]
fn what_is_due_first_goes_first_and_no_more_than_the_limit() {
    let mut at = At::new();
    at.put(100, "c", 30);
    at.put(100, "a", 20);
    at.put(100, "b", 10);
    assert_eq!(at.expire(500, 2), Outcome::Removed { keys: 2 });
    assert!(at.has("c") && !at.has("a") && !at.has("b"));
    // What is gone is not gone through again.
    assert_eq!(at.state.as_view().due_floor, Timestamp(120));
    assert_eq!(at.expire(500, 2), Outcome::Removed { keys: 1 });
    assert_eq!(at.state.as_view().due_floor, Timestamp(130));
    assert_eq!(at.expire(500, 0), Outcome::NotFound);
    at.put(500, "d", 1);
    assert_eq!(at.state.as_view().first_deadline().unwrap(), Some(Timestamp(501)));
    assert_eq!(at.expire(501, 2), Outcome::Removed { keys: 1 });
}

#[test]
fn a_plain_put_ends_a_time_alone_in_a_batch_and_in_a_session() {
    let session = SessionId([1; 16]);
    let set = |value: &'static str| Command::set("k", value);
    for value in ["v", "w"] {
        for command in [
            set(value),
            Command::batch([Command::delete("x"), set(value)]),
            Command::in_session(session, 1, set(value)),
        ] {
            for is_frozen in [false, true] {
                let mut at = At::new();
                at.apply(1, Command::open_session(session));
                at.put(100, "k", 50);
                if is_frozen {
                    at.state.freeze();
                }
                at.apply(110, command.clone());
                assert_eq!(at.state.as_view().expires_at(b"k").unwrap(), None, "{command:?}");
                at.expire(10_000, 10);
                assert!(at.has("k"), "{command:?}");
                assert_eq!(at.rows_of_times(), 0);
            }
        }
    }
}

#[test]
fn a_put_of_the_same_value_that_ends_a_time_keeps_version_and_stamp() {
    let mut at = At::new();
    let first = at.put(100, "k", 50);
    let again = at.apply(110, Command::set("k", "v"));
    assert_eq!(again.outcome, Outcome::Unchanged);
    assert_eq!((again.version, again.timestamp), (first.version, first.timestamp));
    assert_eq!(at.rows_of_times(), 0);
}

#[test]
fn setting_again_with_a_time_begins_anew_and_keeps_the_version() {
    let mut at = At::new();
    let first = at.put(100, "k", 50);
    let again = at.put(140, "k", 50);
    assert_eq!((again.outcome, again.version), (Outcome::Unchanged, first.version));
    assert_eq!(at.expire(189, 10), Outcome::NotFound);
    assert_eq!(at.expire(190, 10), Outcome::Removed { keys: 1 });
}

#[test]
fn a_time_that_is_void_removes_no_key_and_is_cleaned_when_due() {
    let mut at = At::new();
    at.put(100, "k", 50);
    at.apply(110, Command::set("k", "other"));
    assert_eq!(at.rows_of_times(), 2);
    assert_eq!(at.expire(200, 10), Outcome::Unchanged);
    assert!(at.has("k"));
    assert_eq!(at.rows_of_times(), 0);
}

#[test]
fn a_lease_takes_all_its_keys_with_it_in_one_entry() {
    let mut at = At::new();
    at.apply(100, Command::GrantLease { lease: lease(1), ttl: 50 });
    for key in ["a", "b", "c"] {
        at.lend(110, key, 1);
    }
    at.apply(120, Command::set("b", "stays"));
    assert_eq!(at.state.as_view().expires_at(b"a").unwrap(), Some(Timestamp(150)));
    assert_eq!(at.expire(149, 1), Outcome::NotFound);
    // All of a lease, whatever the limit.
    assert_eq!(at.expire(150, 1), Outcome::Removed { keys: 2 });
    assert!(at.has("b") && !at.has("a") && !at.has("c"));
    assert_eq!(at.rows_of_times(), 0);
}

#[test]
fn keeping_a_lease_alive_moves_its_end_and_touches_no_key() {
    let mut at = At::new();
    at.apply(100, Command::GrantLease { lease: lease(1), ttl: 50 });
    at.lend(110, "a", 1);
    let rows = at.rows_of_times();
    assert_eq!(at.apply(140, Command::KeepAlive { lease: lease(1) }).outcome, Outcome::Applied);
    assert_eq!(at.rows_of_times(), rows);
    assert_eq!(at.state.as_view().first_deadline().unwrap(), Some(Timestamp(190)));
    assert_eq!(at.expire(189, 10), Outcome::NotFound);
    assert_eq!(at.expire(190, 10), Outcome::Removed { keys: 1 });
    assert_eq!(at.apply(191, Command::KeepAlive { lease: lease(1) }).outcome, Outcome::NotFound);
}

#[test]
fn revoking_removes_the_keys_and_a_lease_that_is_not_there_takes_none() {
    let mut at = At::new();
    assert_eq!(at.lend(100, "a", 1).outcome, Outcome::NotFound);
    assert!(!at.has("a"));
    let grant = Command::GrantLease { lease: lease(1), ttl: 50 };
    assert_eq!(at.apply(100, grant.clone()).outcome, Outcome::Applied);
    assert_eq!(at.apply(140, grant).outcome, Outcome::Unchanged);
    at.lend(110, "a", 1);
    let revoke = Command::RevokeLease { lease: lease(1) };
    assert_eq!(at.apply(120, revoke.clone()).outcome, Outcome::Removed { keys: 1 });
    assert_eq!(at.apply(121, revoke).outcome, Outcome::NotFound);
    assert!(!at.has("a"));
    assert_eq!(at.rows_of_times(), 0);
}

#[test]
fn a_key_moves_from_one_time_to_another() {
    let mut at = At::new();
    at.apply(100, Command::GrantLease { lease: lease(1), ttl: 1_000 });
    at.apply(100, Command::GrantLease { lease: lease(2), ttl: 1_000 });
    at.put(100, "k", 50);
    at.lend(110, "k", 1);
    assert_eq!(at.expire(200, 10), Outcome::NotFound);
    at.lend(210, "k", 2);
    let revoke = |id| Command::RevokeLease { lease: lease(id) };
    assert_eq!(at.apply(220, revoke(1)).outcome, Outcome::Applied);
    assert!(at.has("k"));
    at.put(230, "k", 50);
    assert_eq!(at.apply(240, revoke(2)).outcome, Outcome::Applied);
    assert_eq!(at.expire(280, 10), Outcome::Removed { keys: 1 });
}

#[test]
fn attaching_gives_a_time_and_leaves_the_value() {
    let mut at = At::new();
    let attach = |ttl| Command::Attach { key: "k".into(), until: Until::After(ttl) };
    assert_eq!(at.apply(100, attach(50)).outcome, Outcome::NotFound);
    let set = at.apply(100, Command::set("k", "v"));
    let attached = at.apply(110, attach(50));
    assert_eq!((attached.outcome, attached.version), (Outcome::Unchanged, set.version));
    assert_eq!(at.expire(160, 10), Outcome::Removed { keys: 1 });
}

#[test]
fn keys_of_scopes_have_times_and_records_of_the_library_have_none() {
    let mut at = At::new();
    let owner = Owner { node: NodeId(1), start: RandomId([1; 16]) };
    let key = Scope::Ephemeral.key(b"k");
    let value = owner.own(b"v");
    at.apply(100, Command::SetExpiring { key, value, until: Until::After(50) });
    let view = at.state.view();
    assert_eq!(view.scope(&Scope::Ephemeral).get(b"k").unwrap().unwrap(), "v");
    assert_eq!(view.scope(&Scope::Ephemeral).owner(b"k").unwrap(), Some(owner));
    assert_eq!(at.expire(150, 10), Outcome::Removed { keys: 1 });
    assert!(at.state.as_view().scope(&Scope::Ephemeral).is_empty().unwrap());
    for name in [&b"auth/u/1"[..], b"lease/k/k", b""] {
        let (key, until) = (reserved_key(name), Until::After(50));
        let set = Command::set_expiring(key.clone(), "v", until);
        assert_eq!(at.apply(200, set).outcome, Outcome::ReservedKey);
        let attach = Command::Attach { key, until };
        assert_eq!(at.apply(200, attach).outcome, Outcome::ReservedKey);
    }
}

#[test]
fn nobody_writes_rows_of_times_past_the_commands() {
    let mut at = At::new();
    at.put(100, "k", 50);
    for row in [&b"lease/d/x"[..], b"lease/k/k", b"lease/l/1", b"lease/"] {
        let batch = Command::reserved([], [Command::delete_prefix(reserved_key(row))]);
        assert_eq!(at.apply(110, batch).outcome, Outcome::ReservedKey);
        let batch = Command::reserved([], [Command::set(reserved_key(row), "v")]);
        assert_eq!(at.apply(110, batch).outcome, Outcome::ReservedKey);
    }
    // Nor do they go with others.
    for above in [&b""[..], b"l", b"lease"] {
        let batch = Command::reserved([], [Command::delete_prefix(reserved_key(above))]);
        assert_eq!(at.apply(110, batch).outcome, Outcome::ReservedKey);
    }
    assert_eq!(at.rows_of_times(), 2);
}

#[test]
fn a_single_change_of_a_scope_is_told_as_a_plain_one() {
    let mut at = At::new();
    let scope = Scope::named("s").unwrap();
    let only = |command| Command::reserved([], [command]);
    let set = || only(Command::set(scope.key(b"k"), "v"));
    let first = at.apply(1, set());
    assert_eq!(first.outcome, Outcome::Applied);
    let again = at.apply(2, set());
    assert_eq!(again.outcome, Outcome::Unchanged);
    assert_eq!((again.version, again.timestamp), (first.version, first.timestamp));
    at.apply(3, only(Command::set(scope.key(b"l"), "v")));
    let clear = || only(Command::delete_prefix(scope.prefix()));
    assert_eq!(at.apply(4, clear()).outcome, Outcome::Removed { keys: 2 });
    assert_eq!(at.apply(5, clear()).outcome, Outcome::NotFound);
    let delete = only(Command::delete(scope.key(b"k")));
    assert_eq!(at.apply(6, delete).outcome, Outcome::NotFound);
    let guarded =
        Command::reserved([Guard::absent(scope.key(b"k"))], [Command::delete(scope.key(b"k"))]);
    assert_eq!(at.apply(7, guarded).outcome, Outcome::Unchanged);
}

#[test]
fn each_scope_reads_its_own_rows_from_both_ends() {
    let mut at = At::new();
    let known = [Scope::named("a").unwrap(), Scope::named("ab").unwrap(), Scope::Ephemeral];
    let owner = Owner { node: NodeId(1), start: RandomId([1; 16]) };
    at.apply(1, Command::set("b", "plain"));
    for (scope, text) in known.iter().zip(["1", "2", "3"]) {
        let text = text.as_bytes();
        let is_owned = *scope == Scope::Ephemeral;
        let value = if is_owned { owner.own(text) } else { Bytes::copy_from_slice(text) };
        let sets =
            ["a", "b", "c"].map(|key| Command::set(scope.key(key.as_bytes()), value.clone()));
        at.apply(1, Command::reserved([], sets));
    }
    let view = at.state.view();
    for (scope, text) in known.iter().zip(["1", "2", "3"]) {
        let scoped = view.scope(scope);
        let names = |rows: ScopedRows<'_>| rows.map(|row| row.unwrap().0).collect::<Vec<_>>();
        assert_eq!(names(scoped.iter()), ["a", "b", "c"]);
        assert_eq!(scoped.iter().rev().map(|row| row.unwrap().0).collect::<Vec<_>>()[0], "c");
        assert_eq!(names(scoped.range("b"..)), ["b", "c"]);
        assert_eq!(names(scoped.range(.."b")), ["a"]);
        assert_eq!(names(scoped.prefix(b"c")), ["c"]);
        assert!(scoped.iter().all(|row| row.unwrap().1 == text));
        assert_eq!(scoped.scan("b"..).rev().map(|row| row.unwrap().0).next().unwrap(), "c");
        assert_eq!(scoped.len().unwrap(), 3);
        assert!(!scoped.contains(b"").unwrap());
    }
    let plain = view.scope(&Scope::Permanent);
    assert_eq!(plain.len().unwrap(), 1);
    assert_eq!(plain.range("a"..).count(), 1);
    assert_eq!(plain.scan::<&[u8]>(..).count(), 1);
    assert!(plain.get(&known[0].key(b"a")).unwrap().is_none());
}
