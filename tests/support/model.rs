//! What a store should hold, kept as simply as can be: a sorted map and the rules of the commands,
//! written a second time.

use std::collections::BTreeMap;

use bytes::Bytes;
use hightower_kv::command::SessionId;
use hightower_kv::{Command, Condition, Guard, Outcome, StateView, Version};

use crate::workload::every_key;

/// One key's value, and which entry wrote it when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) value: Bytes,
    pub(crate) version: u64,
    pub(crate) stamp: u64,
}

/// The state after some entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) rows: BTreeMap<Bytes, Row>,
    /// Stamp of the last entry.
    pub(crate) stamp: u64,
    pub(crate) sessions: BTreeMap<SessionId, ClientSession>,
}

/// A session of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSession {
    used: u64,
    used_at: u64,
    is_closed: bool,
    /// Of all requests: what is too old is never looked for.
    answers: BTreeMap<u64, Expected>,
}

/// Log time after which a session that is not used expires, in microseconds.
const HOUR: u64 = 3_600_000_000;
/// How far behind the newest a request may be.
const WINDOW: u64 = 16;

/// What the model says a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) outcome: Outcome,
    pub(crate) version: u64,
    pub(crate) stamp: u64,
}

impl Model {
    /// Entry `index` with a command, proposed when the clock said `clock`.
    pub(crate) fn apply(&mut self, index: u64, clock: u64, command: &Command) -> Expected {
        self.stamp = self.stamp.max(clock);
        let outcome = match command {
            Command::InSession { session, request, command } => {
                return self.in_session(index, *session, *request, command);
            }
            Command::OpenSession { session } => self.open_session(index, *session),
            Command::CloseSession { session } => self.close_session(index, *session),
            change => return self.change(index, change),
        };
        Expected { outcome, version: index, stamp: self.stamp }
    }

    fn expire_sessions(&mut self) {
        let now = self.stamp;
        self.sessions.retain(|_, session| now - session.used_at <= HOUR);
    }

    fn open_session(&mut self, index: u64, id: SessionId) -> Outcome {
        self.expire_sessions();
        let new = ClientSession {
            used: index,
            used_at: self.stamp,
            is_closed: false,
            answers: BTreeMap::new(),
        };
        match self.sessions.get_mut(&id) {
            Some(session) if session.is_closed => Outcome::SessionExpired,
            Some(session) => {
                (session.used, session.used_at) = (index, self.stamp);
                Outcome::Unchanged
            }
            None => {
                self.sessions.insert(id, new);
                Outcome::SessionOpened
            }
        }
    }

    fn close_session(&mut self, index: u64, id: SessionId) -> Outcome {
        self.expire_sessions();
        match self.sessions.get_mut(&id).filter(|session| !session.is_closed) {
            None => Outcome::NotFound,
            Some(session) => {
                (session.used, session.used_at) = (index, self.stamp);
                session.is_closed = true;
                session.answers.clear();
                Outcome::SessionClosed
            }
        }
    }

    fn in_session(
        &mut self,
        index: u64,
        id: SessionId,
        request: u64,
        change: &Command,
    ) -> Expected {
        self.expire_sessions();
        let stamp = self.stamp;
        let refused = |outcome| Expected { outcome, version: index, stamp };
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.is_closed) else {
            return refused(Outcome::SessionExpired);
        };
        (session.used, session.used_at) = (index, stamp);
        let newest = session.answers.keys().last().copied().unwrap_or(0);
        if request + WINDOW <= newest {
            return refused(Outcome::RequestTooOld);
        }
        if let Some(first) = session.answers.get(&request) {
            return *first;
        }
        let answer = self.change(index, change);
        self.sessions.get_mut(&id).unwrap().answers.insert(request, answer);
        answer
    }

    fn change(&mut self, index: u64, command: &Command) -> Expected {
        let outcome = match command {
            Command::Batch { guards, commands } => self.batch(index, guards, commands),
            single => self.single(index, single),
        };
        // A key that had its value keeps its version and stamp.
        let kept = match (outcome, command) {
            (Outcome::Unchanged, Command::Set { key, .. }) => self.rows.get(key),
            _ => None,
        };
        let (version, stamp) = kept.map_or((index, self.stamp), |row| (row.version, row.stamp));
        Expected { outcome, version, stamp }
    }

    fn batch(&mut self, index: u64, guards: &[Guard], commands: &[Command]) -> Outcome {
        for (guard, Guard { key, condition }) in guards.iter().enumerate() {
            let row = self.rows.get(key);
            let holds = match condition {
                Condition::Absent => row.is_none(),
                Condition::Present => row.is_some(),
                Condition::VersionEquals(version) => {
                    row.is_some_and(|row| row.version == version.0)
                }
                Condition::ValueEquals(value) => row.is_some_and(|row| row.value == *value),
            };
            if !holds {
                let found = row.map(|row| Version(row.version));
                return Outcome::GuardFailed { guard, found };
            }
        }
        let mut changed = false;
        for command in commands {
            changed |= self.single(index, command).changed();
        }
        if changed { Outcome::Applied } else { Outcome::Unchanged }
    }

    fn single(&mut self, index: u64, command: &Command) -> Outcome {
        let before = self.rows.len();
        match command {
            Command::Set { key, value } => {
                if self.rows.get(key).is_some_and(|row| row.value == *value) {
                    return Outcome::Unchanged;
                }
                let row = Row { value: value.clone(), version: index, stamp: self.stamp };
                self.rows.insert(key.clone(), row);
                return Outcome::Applied;
            }
            Command::Delete { key } => drop(self.rows.remove(key)),
            Command::DeletePrefix { prefix } => {
                self.rows.retain(|key, _| !key.starts_with(prefix));
            }
            other => unreachable!("no workload has {other:?} here"),
        }
        match before - self.rows.len() {
            0 => Outcome::NotFound,
            keys => Outcome::Removed { keys: keys as u64 },
        }
    }

    /// Where a state differs from this one: the first key; `None` when it does not. Looks at all
    /// rows, at the keys that might be there and are not, and at what the state says of itself.
    pub(crate) fn difference(&self, view: &StateView) -> Option<String> {
        let mut rows = self.rows.iter();
        for row in view {
            let (key, value) = row.unwrap();
            let Some((expected_key, expected)) = rows.next() else {
                return Some(format!("key {key:?} should not be there"));
            };
            if *expected_key != key {
                return Some(format!("expected key {expected_key:?}, found {key:?}"));
            }
            let Some(found) = view.get_versioned(&key).unwrap() else {
                return Some(format!("key {key:?} is listed and cannot be read"));
            };
            let same = found.value == expected.value[..]
                && value == expected.value[..]
                && found.version.0 == expected.version
                && found.timestamp.0 == expected.stamp;
            if !same {
                return Some(format!(
                    "key {key:?}: expected {} bytes of version {} and stamp {}, found {} bytes of \
                     version {} and stamp {}",
                    expected.value.len(),
                    expected.version,
                    expected.stamp,
                    found.value.len(),
                    found.version,
                    found.timestamp
                ));
            }
        }
        if let Some((key, _)) = rows.next() {
            return Some(format!("key {key:?} is missing"));
        }
        let backward = view.iter().rev().map(|row| row.unwrap().0);
        if !backward.eq(self.rows.keys().rev().cloned()) {
            return Some("backward there are other keys".to_owned());
        }
        let absent = every_key().iter().filter(|key| !self.rows.contains_key(*key));
        for key in absent {
            if view.get(key).unwrap().is_some() || view.contains(key).unwrap() {
                return Some(format!("key {key:?} is found and not listed"));
            }
        }
        if let Some(difference) = self.session_difference(view) {
            return Some(difference);
        }
        let live: usize = self.rows.iter().map(|(key, row)| key.len() + row.value.len()).sum();
        let (keys, bytes) = (view.len(), view.live_bytes());
        ((keys, bytes) != (self.rows.len(), live as u64))
            .then(|| format!("it says that there are {keys} keys and {bytes} bytes"))
    }

    fn session_difference(&self, view: &StateView) -> Option<String> {
        let mut sessions = self.sessions.iter();
        for (id, found) in view.sessions().iter() {
            let Some((expected_id, expected)) = sessions.next() else {
                return Some(format!("session {id} should not be there"));
            };
            let newest = expected.answers.keys().last().copied().unwrap_or(0);
            let kept = expected.answers.iter().filter(|&(request, _)| request + WINDOW > newest);
            let kept = kept.map(|(&request, it)| (request, it.outcome, it.version, it.stamp));
            let answers = found.answers.iter();
            let answers = answers.map(|it| (it.request, it.outcome, it.version.0, it.timestamp.0));
            let same = id == *expected_id
                && (found.used.0, found.used_at.0) == (expected.used, expected.used_at)
                && found.is_closed == expected.is_closed
                && answers.eq(kept);
            if !same {
                return Some(format!("session {id}: expected {expected:?}, found {found:?}"));
            }
        }
        sessions.next().map(|(id, _)| format!("session {id} is missing"))
    }
}
