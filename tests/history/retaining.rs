//! Who keeps the past, and who lets it go.

use std::sync::atomic::{AtomicBool, Ordering};

use hightower_kv::env::{Env, Simulated};
use hightower_kv::{
    Error, KvEngine, Retention, RetentionRegistry, SingleNodeEngine, SnapshotEngine, StoreConfig,
    Version,
};

use crate::checks::kept;

fn config() -> StoreConfig {
    kept(None)
}

fn open(sim: &Simulated, config: &StoreConfig) -> SingleNodeEngine {
    let engine = SingleNodeEngine::with_env(config, sim.env.clone()).unwrap();
    engine.set_era_bytes(1);
    engine
}

/// Writes and compacts; returns the version.
fn write(engine: &SingleNodeEngine, value: &str) -> Version {
    let version = engine.put(b"k".to_vec(), value.as_bytes().to_vec()).unwrap().version;
    engine.run_compaction_now().unwrap();
    version
}

fn value_at(engine: &SingleNodeEngine, version: Version) -> Option<Vec<u8>> {
    engine.snapshot_at(version).unwrap().get(b"k").unwrap().map(|value| value.to_vec())
}

#[test]
fn without_a_retention_and_a_handle_nothing_is_kept() {
    let sim = Env::simulated(1);
    let engine = open(&sim, &config());
    let first = write(&engine, "a");
    write(&engine, "b");
    assert!(engine.eras().is_empty());
    let refused = engine.snapshot_at(first).unwrap_err();
    assert!(matches!(refused, Error::Compacted { oldest } if oldest > first), "{refused}");
}

#[test]
fn a_handle_keeps_what_it_wants_and_what_it_let_go_is_given_up() {
    let sim = Env::simulated(2);
    let engine = open(&sim, &config());
    let handle = engine.retention_registry().create_handle();
    let versions: Vec<Version> = (0..6).map(|n| write(&engine, &n.to_string())).collect();
    for (n, &version) in (0..).zip(&versions) {
        assert_eq!(value_at(&engine, version), Some(format!("{n}").into_bytes()));
    }
    handle.keep_from_version(versions[3]);
    write(&engine, "more");
    for &version in &versions[3..] {
        value_at(&engine, version);
    }
    let refused = engine.snapshot_at(versions[1]).unwrap_err();
    assert!(matches!(refused, Error::Compacted { oldest } if oldest <= versions[3]), "{refused}");
    drop(handle);
    write(&engine, "last");
    assert!(engine.eras().is_empty());
    let refused = engine.snapshot_at(versions[5]).unwrap_err();
    assert!(matches!(refused, Error::Compacted { .. }), "{refused}");
}

#[test]
fn a_handle_holds_against_limits() {
    let sim = Env::simulated(3);
    let registry = RetentionRegistry::new();
    let limits = Retention { bytes_max: Some(0), ..Retention::default() };
    let retention_registry = Some(registry.clone());
    let mut config = kept(Some(limits));
    config.retention_registry = retention_registry;
    let engine = open(&sim, &config);
    let handle = registry.create_handle();
    let first = write(&engine, "a");
    for n in 0..5 {
        write(&engine, &n.to_string());
    }
    assert_eq!(value_at(&engine, first), Some(b"a".to_vec()));
    drop(handle);
    write(&engine, "z");
    assert_eq!(engine.eras().len(), 1);
    assert!(engine.snapshot_at(first).is_err());
}

#[test]
fn who_opens_without_a_retention_leaves_the_past_as_it_is_and_a_gap_behind_it() {
    let sim = Env::simulated(4);
    let kept = kept(Some(Retention::default()));
    let engine = open(&sim, &kept);
    let first = write(&engine, "a");
    engine.close().unwrap();
    let engine = open(&sim, &config());
    assert_eq!(value_at(&engine, first), Some(b"a".to_vec()));
    let unkept = write(&engine, "b");
    write(&engine, "c");
    engine.close().unwrap();
    let engine = open(&sim, &kept);
    let again = write(&engine, "d");
    let last = write(&engine, "e");
    assert_eq!(value_at(&engine, first), Some(b"a".to_vec()));
    let refused = engine.snapshot_at(unkept).unwrap_err();
    assert!(matches!(refused, Error::Compacted { oldest } if oldest > unkept), "{refused}");
    assert_eq!(value_at(&engine, again), Some(b"d".to_vec()));
    let history = engine.history(b"k").unwrap();
    let found: Vec<Version> = history.versions.iter().map(|it| it.version).collect();
    assert!(history.complete_from > unkept);
    assert_eq!(found[found.len() - 2..], [again, last]);
}

#[test]
fn a_version_that_has_not_come_is_told_from_one_that_is_gone() {
    let sim = Env::simulated(5);
    let engine = open(&sim, &config());
    let last = write(&engine, "a");
    let asked = Version(last.0 + 1);
    let refused = engine.snapshot_at(asked).unwrap_err();
    assert!(matches!(refused, Error::NotYet { asked: a, at } if a == asked && at == Some(last)));
}

/// `Validation` would say that no past is kept, and a compaction that fails that something is wrong
/// with the store.
#[test]
fn what_is_given_up_beside_readers_and_compactions_is_compacted_and_fails_nothing() {
    let sim = Env::simulated(6);
    let engine = open(&sim, &kept(Some(Retention::default())));
    let first = write(&engine, "a");
    let is_over = AtomicBool::new(false);
    let told = |done: Result<(), Error>| match done {
        Ok(()) => false,
        Err(Error::Compacted { .. }) => true,
        Err(error) => panic!("{error}"),
    };
    std::thread::scope(|scope| {
        let given_up = scope.spawn(|| {
            let mut given_up = 0;
            while !is_over.load(Ordering::Relaxed) {
                given_up += engine.remove_past().unwrap().eras;
            }
            given_up
        });
        let refused = scope.spawn(|| {
            let mut refused = 0;
            while !is_over.load(Ordering::Relaxed) {
                let newest = engine.latest_version();
                let before = Version(newest.0.saturating_sub(2));
                for version in [first, before] {
                    let state = engine.snapshot_at(version).map(drop);
                    refused += u64::from(told(state));
                }
                refused += u64::from(told(engine.history(b"k").map(drop)));
            }
            refused
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for n in 0..400 {
                write(&engine, &n.to_string());
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        assert!(given_up.join().unwrap() > 50);
        assert!(refused.join().unwrap() > 50);
        ended.unwrap();
    });
}
