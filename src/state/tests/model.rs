//! What the state should be, said as plainly as it can be, and random entries to try it with.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::command::{Command, Condition, Guard, SessionId};
use crate::state::outcome::{Applied, Outcome};
use crate::state::view::StateView;
use crate::types::{Timestamp, Version};

/// One map and one number.
#[derive(Clone, Default)]
pub(super) struct Model {
    rows: BTreeMap<Vec<u8>, (Vec<u8>, u64, u64)>,
    last_timestamp: u64,
    sessions: BTreeMap<SessionId, ModelSession>,
}

#[derive(Clone)]
struct ModelSession {
    used_at: u64,
    is_closed: bool,
    answers: BTreeMap<u64, Applied>,
}

impl Model {
    pub(super) fn apply(&mut self, index: u64, clock: u64, command: &Command) -> Applied {
        self.last_timestamp = self.last_timestamp.max(clock);
        let outcome = match command {
            Command::OpenSession { session } => self.open(*session),
            Command::CloseSession { session } => self.close(*session),
            Command::InSession { session, request, command } => {
                return self.in_session(index, *session, *request, command);
            }
            change => return self.change(index, change),
        };
        self.plainly(index, outcome)
    }

    fn plainly(&self, index: u64, outcome: Outcome) -> Applied {
        let (version, timestamp) = (Version(index), Timestamp(self.last_timestamp));
        Applied { outcome, version, timestamp, stale_bytes: 0 }
    }

    fn expire(&mut self) {
        let now = self.last_timestamp;
        self.sessions.retain(|_, session| now - session.used_at <= HOUR);
    }

    fn open(&mut self, id: SessionId) -> Outcome {
        self.expire();
        let used_at = self.last_timestamp;
        match self.sessions.get_mut(&id) {
            Some(session) if session.is_closed => Outcome::SessionExpired,
            Some(session) => {
                session.used_at = used_at;
                Outcome::Unchanged
            }
            None => {
                let session = ModelSession { used_at, is_closed: false, answers: BTreeMap::new() };
                self.sessions.insert(id, session);
                Outcome::SessionOpened
            }
        }
    }

    fn close(&mut self, id: SessionId) -> Outcome {
        self.expire();
        let used_at = self.last_timestamp;
        match self.sessions.get_mut(&id).filter(|session| !session.is_closed) {
            None => Outcome::NotFound,
            Some(session) => {
                *session = ModelSession { used_at, is_closed: true, answers: BTreeMap::new() };
                Outcome::SessionClosed
            }
        }
    }

    fn in_session(
        &mut self,
        index: u64,
        id: SessionId,
        request: u64,
        command: &Command,
    ) -> Applied {
        self.expire();
        let used_at = self.last_timestamp;
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.is_closed) else {
            return self.plainly(index, Outcome::SessionExpired);
        };
        session.used_at = used_at;
        let newest = session.answers.keys().max().copied().unwrap_or(0);
        if request + 16 <= newest {
            return self.plainly(index, Outcome::RequestTooOld);
        }
        if let Some(first) = session.answers.get(&request) {
            return Applied { stale_bytes: 0, ..*first };
        }
        let applied = self.change(index, command);
        // All of them: what is too old is never looked for.
        self.sessions.get_mut(&id).unwrap().answers.insert(request, applied);
        applied
    }

    fn change(&mut self, index: u64, command: &Command) -> Applied {
        let live_before = self.rows.clone();
        let mut applied = Applied {
            outcome: Outcome::NotFound,
            version: Version(index),
            timestamp: Timestamp(self.last_timestamp),
            stale_bytes: 0,
        };
        applied.outcome = match command {
            Command::Batch { guards, commands } => {
                self.batch(index, guards, commands, &mut applied)
            }
            single => self.single(index, single, &mut applied),
        };
        if let (Outcome::Unchanged, Command::Set { key, .. }) = (applied.outcome, command) {
            let (_, version, timestamp) = &live_before[key.as_ref()];
            applied.version = Version(*version);
            applied.timestamp = Timestamp(*timestamp);
        }
        applied
    }

    fn batch(
        &mut self,
        index: u64,
        guards: &[Guard],
        commands: &[Command],
        applied: &mut Applied,
    ) -> Outcome {
        for (guard, Guard { key, condition }) in guards.iter().enumerate() {
            let found = self.rows.get(key.as_ref());
            let holds = match condition {
                Condition::Absent => found.is_none(),
                Condition::Present => found.is_some(),
                Condition::VersionEquals(wanted) => found.is_some_and(|row| row.1 == wanted.0),
                Condition::ValueEquals(wanted) => found.is_some_and(|row| row.0 == *wanted),
            };
            if !holds {
                let found = found.map(|row| Version(row.1));
                return Outcome::GuardFailed { guard, found };
            }
        }
        let outcomes: Vec<_> =
            commands.iter().map(|command| self.single(index, command, applied)).collect();
        if outcomes.iter().any(Outcome::changed) { Outcome::Applied } else { Outcome::Unchanged }
    }

    fn single(&mut self, index: u64, command: &Command, applied: &mut Applied) -> Outcome {
        let keys: Vec<Vec<u8>> = match command {
            Command::Set { key, value } => {
                if self.rows.get(key.as_ref()).is_some_and(|row| row.0 == *value) {
                    return Outcome::Unchanged;
                }
                let row = (value.to_vec(), index, self.last_timestamp);
                if let Some(old) = self.rows.insert(key.to_vec(), row) {
                    applied.stale_bytes += (key.len() + old.0.len()) as u64;
                }
                return Outcome::Applied;
            }
            Command::Delete { key } => vec![key.to_vec()],
            Command::DeletePrefix { prefix } => {
                self.rows.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
            }
            other => panic!("not a set or a delete: {other:?}"),
        };
        let mut removed = 0;
        for key in keys {
            if let Some(old) = self.rows.remove(&key) {
                applied.stale_bytes += (key.len() + old.0.len()) as u64;
                removed += 1;
            }
        }
        match removed {
            0 => Outcome::NotFound,
            keys => Outcome::Removed { keys },
        }
    }

    pub(super) fn assert_equal(&self, view: &StateView) {
        assert_eq!(view.len(), self.rows.len());
        assert_eq!(view.timestamp(), Timestamp(self.last_timestamp));
        for (key, (value, version, timestamp)) in &self.rows {
            let found = view.get_versioned(key).unwrap().unwrap();
            assert_eq!(found.value, *value);
            assert_eq!(found.version, Version(*version));
            assert_eq!(found.timestamp, Timestamp(*timestamp));
        }
        let bytes: usize = self.rows.iter().map(|(key, row)| key.len() + row.0.len()).sum();
        assert_eq!(view.live_bytes(), bytes as u64);
        let ids: Vec<SessionId> = view.sessions().iter().map(|(id, _)| id).collect();
        assert!(ids.iter().eq(self.sessions.keys()));
        for (id, session) in view.sessions().iter() {
            let expected = &self.sessions[&id];
            assert_eq!(session.used_at, Timestamp(expected.used_at));
            assert_eq!(session.is_closed, expected.is_closed);
            let newest = expected.answers.keys().max().copied().unwrap_or(0);
            let kept = expected.answers.iter().filter(|&(&request, _)| request + 16 > newest);
            let kept = kept.map(|(&request, it)| (request, it.outcome, it.version, it.timestamp));
            let found = session.answers.iter();
            assert!(found.map(|it| (it.request, it.outcome, it.version, it.timestamp)).eq(kept));
        }
    }
}

const HOUR: u64 = 3_600_000_000;

fn key() -> impl Strategy<Value = Bytes> {
    "[ab]{1,3}".prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    "[xy]{0,2}".prop_map(Bytes::from)
}

fn single() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| Command::set(key, value)),
        3 => key().prop_map(Command::delete),
        1 => "[ab]{0,2}".prop_map(Command::delete_prefix),
    ]
}

fn guard() -> impl Strategy<Value = Guard> {
    let condition = prop_oneof![
        Just(Condition::Absent),
        Just(Condition::Present),
        (0..100_u64).prop_map(|version| Condition::VersionEquals(Version(version))),
        value().prop_map(Condition::ValueEquals),
    ];
    (key(), condition).prop_map(|(key, condition)| Guard { key, condition })
}

fn change() -> impl Strategy<Value = Command> {
    let guards = proptest::collection::vec(guard(), 0..3);
    let commands = proptest::collection::vec(single(), 0..5);
    prop_oneof![
        3 => single(),
        1 => (guards, commands).prop_map(|(guards, commands)| Command::guarded(guards, commands)),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let session = || (0..3_u8).prop_map(|id| SessionId([id; 16]));
    prop_oneof![
        2 => change(),
        6 => (session(), 1..24_u64, change())
            .prop_map(|(session, request, change)| Command::in_session(session, request, change)),
        2 => session().prop_map(Command::open_session),
        1 => session().prop_map(Command::close_session),
    ]
}

/// Clocks that go back and forth, now and then by much.
fn clock() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..1000_u64, 1 => (0..8_u64).prop_map(|half| half * HOUR / 2 + 1000)]
}

/// Entries of any kind, or such as change the rows only.
pub(super) fn entries() -> impl Strategy<Value = Vec<(u64, Command)>> {
    prop_oneof![
        proptest::collection::vec((clock(), change()), 0..120),
        proptest::collection::vec((clock(), command()), 0..120),
    ]
}
