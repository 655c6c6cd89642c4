//! A watcher that is held against the model.

use std::collections::BTreeMap;

use bytes::Bytes;
use hightower_kv::{
    Change, Changes, Error, SingleNodeEngine, Version, WatchEngine, WatchEvent, WatchOptions,
    Watcher,
};

use crate::model::{Model, Row};

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) rows: u64,
    pub(crate) events: u64,
    pub(crate) compacted: u64,
    pub(crate) resumed: u64,
}

/// A watcher and what it must tell.
pub(crate) struct Follower {
    prefix: Bytes,
    watcher: Option<Watcher>,
    /// Everything before this version was told.
    next: u64,
    /// What it says is there; where it has begun with the state.
    rows: Option<BTreeMap<Bytes, Bytes>>,
    /// Whether the rows of a state are being told.
    in_state: bool,
    /// The rows of that state.
    state: BTreeMap<Bytes, (Bytes, Version)>,
    pub(crate) told: Told,
}

/// What entry `version` changed under a prefix.
fn difference(states: &[Model], version: u64, prefix: &[u8]) -> Vec<Change> {
    let at = usize::try_from(version).unwrap();
    let none = BTreeMap::new();
    let before = at.checked_sub(1).map_or(&none, |before| &states[before].rows);
    let after = &states[at].rows;
    let is_ours = |key: &Bytes| key.starts_with(prefix);
    let len = |row: &Row| u32::try_from(row.value.len()).unwrap();
    let set = after.iter().filter(|(key, row)| is_ours(key) && row.version == version);
    let set = set.map(|(key, row)| Change {
        key: key.clone(),
        value: Some(row.value.clone().into()),
        before: before.get(key).map(len),
    });
    let gone = before.iter().filter(|(key, _)| is_ours(key) && !after.contains_key(*key));
    let gone =
        gone.map(|(key, row)| Change { key: key.clone(), value: None, before: Some(len(row)) });
    let mut changes: Vec<Change> = set.chain(gone).collect();
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

impl Follower {
    /// Follows from now on.
    pub(crate) fn new(engine: &SingleNodeEngine, prefix: &str, last: u64) -> Self {
        let watcher = engine.watch(prefix.as_bytes()).unwrap();
        Self {
            prefix: Bytes::copy_from_slice(prefix.as_bytes()),
            watcher: Some(watcher),
            next: last + 1,
            rows: None,
            in_state: false,
            state: BTreeMap::new(),
            told: Told::default(),
        }
    }

    /// Begins with the state.
    pub(crate) fn begin_anew(&mut self, engine: &SingleNodeEngine) {
        let options = WatchOptions::new(&self.prefix).with_state();
        self.watcher = Some(engine.watch_with(options).unwrap());
        self.in_state = true;
        self.state.clear();
    }

    /// Lets go of the watcher and goes on from its position with another. What may not be told any
    /// more begins with the state.
    pub(crate) fn resume(&mut self, engine: &SingleNodeEngine, states: &[Model]) {
        let position = self.watcher.take().and_then(|watcher| watcher.position());
        let Some(position) = position else { return self.begin_anew(engine) };
        self.skip_to(states, position.0);
        self.told.resumed += 1;
        let options = WatchOptions::new(&self.prefix).from_version(position);
        self.watcher = Some(engine.watch_with(options).unwrap());
    }

    /// Takes at most `count` events, and checks each.
    pub(crate) fn take(&mut self, engine: &SingleNodeEngine, states: &[Model], count: u64) {
        for _ in 0..count {
            match self.watcher.as_mut().unwrap().try_next() {
                Ok(Some(event)) => self.check(states, event),
                Ok(None) => return self.check_current(states),
                Err(Error::Compacted { oldest }) => {
                    assert!(oldest.0 > self.next, "from version {} it was there", self.next);
                    self.told.compacted += 1;
                    self.begin_anew(engine);
                }
                Err(Error::Closed(_)) => self.resume(engine, states),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Nothing before `version` was to be told.
    fn skip_to(&mut self, states: &[Model], version: u64) {
        assert!(version >= self.next, "{version} was told, before {}", self.next);
        for missed in self.next..version {
            let changes = difference(states, missed, &self.prefix);
            assert_eq!(changes, [], "{:?}: {missed} is missing", self.prefix);
        }
        self.next = version;
    }

    fn check(&mut self, states: &[Model], event: WatchEvent) {
        match event {
            WatchEvent::Row { key, value, version, .. } => {
                assert!(self.in_state);
                let is_next = self.state.keys().next_back().is_none_or(|last| *last < key);
                assert!(is_next, "rows come in key order");
                self.told.rows += 1;
                self.state.insert(key, (value.into_bytes(), version));
            }
            WatchEvent::Current { version } => {
                assert!(std::mem::take(&mut self.in_state));
                let model = &states[usize::try_from(version.0).unwrap()];
                let rows = model.rows.iter().filter(|(key, _)| key.starts_with(&self.prefix));
                let rows =
                    rows.map(|(key, row)| (key.clone(), (row.value.clone(), Version(row.version))));
                let rows: BTreeMap<_, _> = rows.collect();
                assert_eq!(self.state, rows);
                let keys_and_values = rows.into_iter().map(|(key, (value, _))| (key, value));
                self.rows = Some(keys_and_values.collect());
                self.next = version.0 + 1;
            }
            WatchEvent::Changed(entry) => self.check_changes(states, entry),
            other => panic!("unknown: {other:?}"),
        }
    }

    fn check_changes(&mut self, states: &[Model], entry: Changes) {
        assert!(!self.in_state);
        self.skip_to(states, entry.version.0);
        let Changes { version, timestamp, changes } = entry;
        assert_eq!(changes, difference(states, version.0, &self.prefix), "version {version}");
        assert_eq!(timestamp.0, states[usize::try_from(version.0).unwrap()].stamp);
        self.next = version.0 + 1;
        self.told.events += 1;
        for Change { key, value, .. } in changes {
            let Some(rows) = &mut self.rows else { continue };
            match value {
                Some(value) => rows.insert(key, value.into_bytes()),
                None => rows.remove(&key),
            };
        }
    }

    /// It says that there is nothing more.
    fn check_current(&mut self, states: &[Model]) {
        assert!(!self.in_state);
        self.skip_to(states, states.len() as u64);
        let Some(rows) = &self.rows else { return };
        let model = &states.last().unwrap().rows;
        let expected = model.iter().filter(|(key, _)| key.starts_with(&self.prefix));
        assert!(rows.iter().eq(expected.map(|(key, row)| (key, &row.value))), "not the same state");
    }
}
