//! Holds what an engine says of the past against the states that there were.

use std::time::Duration;

use bytes::Bytes;
use hightower_kv::env::rng::SeededRng;
use hightower_kv::{
    At, Error, KeyHistory, KeyVersion, KvEngine, ReadContext, ReadOnlyEngine, Result, Retention,
    SingleNodeEngine, StateView, StoreConfig, Timestamp, Version,
};

use crate::model::Model;
use crate::session::small_config;
use crate::workload::every_key;

/// A small store that syncs each write, with this retention.
pub(crate) fn kept(retention: Option<Retention>) -> StoreConfig {
    let mut config = small_config(Duration::ZERO);
    config.retention = retention;
    config
}

/// What can be asked of any engine.
pub(crate) trait HasPast {
    fn state_at(&self, at: At) -> Result<StateView>;
    fn versions(&self, key: &[u8]) -> Result<KeyHistory>;
    fn view_at(&self, version: Version) -> Result<StateView>;
}

impl HasPast for SingleNodeEngine {
    fn state_at(&self, at: At) -> Result<StateView> {
        self.snapshot_at(at)
    }

    fn versions(&self, key: &[u8]) -> Result<KeyHistory> {
        self.history(key)
    }

    fn view_at(&self, version: Version) -> Result<StateView> {
        self.view(ReadContext::At(version))
    }
}

impl HasPast for ReadOnlyEngine {
    fn state_at(&self, at: At) -> Result<StateView> {
        self.snapshot_at(at)
    }

    fn versions(&self, key: &[u8]) -> Result<KeyHistory> {
        self.history(key)
    }

    fn view_at(&self, version: Version) -> Result<StateView> {
        KvEngine::view(self, ReadContext::At(version))
    }
}

/// How much was held against the model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) states: u64,
    pub(crate) given_up: u64,
    pub(crate) histories: u64,
}

/// Panics where a state of the past is not what it was.
pub(crate) fn assert_state(states: &[Model], index: u64, view: &StateView) {
    let at = usize::try_from(index).unwrap();
    let mut expected = states[at].clone();
    if at + 1 < states.len() {
        // What clients did is not part of the past.
        expected.sessions.clear();
        assert!(view.sessions().is_empty());
    }
    assert_eq!(expected.difference(view), None, "the state after entry {index}");
    let stamp = view.timestamp().0;
    let newest = expected.rows.values().map(|row| row.stamp).max().unwrap_or(0);
    assert!(newest <= stamp && stamp <= expected.stamp, "{newest} {stamp} {}", expected.stamp);
}

/// Asks for one version. What was given up must be older than what is said to be the oldest, and
/// that must be there.
pub(crate) fn check_version(
    engine: &dyn HasPast,
    states: &[Model],
    index: u64,
    seen: &mut Seen,
) -> bool {
    match engine.state_at(At::Version(Version(index))) {
        Ok(view) => {
            assert_eq!(view.version(), Some(Version(index)));
            assert_state(states, index, &view);
            seen.states += 1;
            true
        }
        Err(Error::Compacted { oldest }) => {
            assert!(oldest.0 > index, "{oldest} is older than {index}");
            assert_state(states, oldest.0, &engine.view_at(oldest).unwrap());
            seen.given_up += 1;
            false
        }
        Err(error) => panic!("version {index}: {error}"),
    }
}

/// Asks for one time.
fn check_time(engine: &dyn HasPast, states: &[Model], time: u64, seen: &mut Seen) -> bool {
    let count = states.partition_point(|state| state.stamp <= time);
    match engine.state_at(At::Time(Timestamp(time))) {
        Ok(view) => {
            // Entries that changed nothing may be left out: the state is the same.
            let found = view.version().map(|version| version.0);
            let last = (count as u64).checked_sub(1);
            assert!(found <= last, "{found:?} after {last:?}");
            match (last, found) {
                (Some(last), Some(found)) if last > found => {
                    let (last, found) =
                        (&states[count - 1], &states[usize::try_from(found).unwrap()]);
                    assert_eq!(last.rows, found.rows);
                }
                _ => {}
            }
            if let Some(found) = found {
                assert_state(states, found, &view);
            }
            seen.states += 1;
            true
        }
        Err(Error::Compacted { oldest }) => {
            let oldest = &states[usize::try_from(oldest.0).unwrap()];
            assert!(oldest.stamp >= time, "{} can be read, {time} cannot", oldest.stamp);
            seen.given_up += 1;
            false
        }
        Err(error) => panic!("time {time}: {error}"),
    }
}

/// The changes of a key behind entry `from`, and what it had there.
fn expected_history(states: &[Model], key: &Bytes, from: u64) -> Vec<KeyVersion> {
    let from = usize::try_from(from).unwrap();
    let set = |state: &Model| {
        state.rows.get(key).map(|row| KeyVersion {
            version: Version(row.version),
            timestamp: Timestamp(row.stamp),
            value: Some(row.value.clone().into()),
        })
    };
    let mut versions: Vec<KeyVersion> = set(&states[from]).into_iter().collect();
    for (index, pair) in
        states.iter().enumerate().skip(from).collect::<Vec<_>>().windows(2).map(|pair| {
            let [(_, before), (index, after)] = pair else { unreachable!() };
            (*index, (*before, *after))
        })
    {
        let (before, after) = pair;
        match (before.rows.get(key), after.rows.get(key)) {
            (Some(_), None) => versions.push(KeyVersion {
                version: Version(index as u64),
                timestamp: Timestamp(after.stamp),
                value: None,
            }),
            (_, Some(row)) if row.version == index as u64 => versions.extend(set(after)),
            _ => {}
        }
    }
    versions
}

/// Asks for the versions of one key. Returns from where on they are complete.
pub(crate) fn check_history(
    engine: &dyn HasPast,
    states: &[Model],
    key: &Bytes,
    seen: &mut Seen,
) -> u64 {
    let KeyHistory { complete_from, mut versions } = engine.versions(key).unwrap();
    let expected = expected_history(states, key, complete_from.0);
    // What it was before is more than was promised.
    versions.retain(|it| it.version > complete_from || it.value.is_some());
    assert_eq!(versions, expected, "{key:?} from {complete_from} on");
    seen.histories += 1;
    complete_from.0
}

/// Asks for some versions, times and histories. `is_complete`: all of them must be there.
pub(crate) fn check_some(
    engine: &dyn HasPast,
    states: &[Model],
    rng: &SeededRng,
    is_complete: bool,
    seen: &mut Seen,
) {
    let last = states.len() as u64 - 1;
    for _ in 0..3 {
        let is_there = check_version(engine, states, rng.up_to(last), seen);
        assert!(is_there || !is_complete);
    }
    for _ in 0..2 {
        let stamp = states[usize::try_from(rng.up_to(last)).unwrap()].stamp;
        let time = (stamp + rng.up_to(2)).saturating_sub(1);
        if time <= states.last().unwrap().stamp {
            let is_there = check_time(engine, states, time, seen);
            assert!(is_there || !is_complete);
        }
    }
    let keys = every_key();
    let key = &keys[usize::try_from(rng.up_to(keys.len() as u64 - 1)).unwrap()];
    let complete_from = check_history(engine, states, key, seen);
    assert!(complete_from == 0 || !is_complete);
}
