//! Ephemeral keys go with the opening that wrote them; the others stay.

use std::path::Path;
use std::sync::Arc;

use hightower_kv::env::fs_sim::PowerCut;
use hightower_kv::{Error, KvEngine, ReadOnlyEngine, Scope, Scopes, SingleNodeEngine, StoreConfig};

use crate::support::{Store, bytes, named, sim_config};

fn fill(engine: &SingleNodeEngine) {
    engine.put(bytes("k"), bytes("permanent")).unwrap();
    engine.scope(Scope::Ephemeral).put(bytes("k"), bytes("ephemeral")).unwrap();
    engine.scope(Scope::Ephemeral).put(bytes("l"), bytes("ephemeral")).unwrap();
    engine.scope(named("n")).put(bytes("k"), bytes("named")).unwrap();
}

fn assert_only_the_lasting(engine: &SingleNodeEngine) {
    assert_eq!(engine.get(b"k").unwrap().unwrap(), "permanent");
    assert_eq!(engine.scope(named("n")).get(b"k").unwrap().unwrap(), "named");
    let ephemeral = engine.scope(Scope::Ephemeral);
    assert!(ephemeral.is_empty().unwrap());
    assert!(ephemeral.get(b"k").unwrap().is_none());
}

#[test]
fn after_a_restart_on_the_real_disk_only_ephemeral_keys_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    for _ in 0..2 {
        let engine = SingleNodeEngine::open(&path).unwrap();
        fill(&engine);
        assert_eq!(engine.scope(Scope::Ephemeral).len().unwrap(), 2);
        engine.close().unwrap();
        let engine = SingleNodeEngine::open(&path).unwrap();
        assert_only_the_lasting(&engine);
        engine.close().unwrap();
    }
}

#[test]
fn after_a_kill_and_after_a_power_cut_too() {
    for cut in [None, Some(PowerCut::Nothing), Some(PowerCut::Everything)] {
        let store = Store::new(1);
        fill(&store.engine);
        assert_only_the_lasting(&store.dies(cut).engine);
    }
}

#[test]
fn also_those_that_a_compaction_wrote_to_tables() {
    let store = Store::new(2);
    fill(&store.engine);
    store.engine.run_compaction_now().unwrap();
    assert_only_the_lasting(&store.reopen().engine);
}

/// Commands in the log.
fn commands_in_log(store: Store) -> (usize, Store) {
    let Store { sim, engine } = store;
    // Not closed: what is only in the log stays there.
    std::mem::forget(engine);
    let fs = sim.fs.kill();
    let again = hightower_kv::env::Env::simulated_on(fs, 9);
    let looks = ReadOnlyEngine::open_in(again.env.clone(), Path::new("/data")).unwrap();
    let is_command = |entry: &hightower_kv::engine::LogRecord| {
        matches!(entry.content, hightower_kv::engine::LogContent::Command(_))
    };
    let count = looks.entries(None).map(Result::unwrap).filter(is_command).count();
    drop(looks);
    (count, Store::open(again))
}

#[test]
fn they_go_in_one_entry_and_without_any_there_is_none() {
    let store = Store::new(3);
    fill(&store.engine);
    let (before, store) = commands_in_log(store);
    let (after, store) = commands_in_log(store);
    assert_eq!(after, before + 1);
    let (again, _) = commands_in_log(store);
    assert_eq!(again, after);
}

#[test]
fn a_reader_of_the_files_sees_them_and_writes_none() {
    let store = Store::new(4);
    fill(&store.engine);
    let fs = store.sim.fs.kill();
    std::mem::forget(store.engine);
    let env = hightower_kv::env::Env::simulated_on(fs, 9).env;
    let looks = ReadOnlyEngine::open_in(env, Path::new("/data")).unwrap();
    let ephemeral = looks.scope(Scope::Ephemeral);
    assert_eq!(ephemeral.get(b"k").unwrap().unwrap(), "ephemeral");
    let refused = ephemeral.put(bytes("k"), bytes("v"));
    assert!(matches!(refused, Err(Error::Validation(_))), "{refused:?}");
    let refused = looks.scope(named("n")).put(bytes("k"), bytes("v"));
    assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
}

#[test]
fn each_opening_is_another_owner_of_the_same_node() {
    let store = Store::new(5);
    let first = store.engine.owner().unwrap();
    store.engine.scope(Scope::Ephemeral).put(bytes("k"), bytes("v")).unwrap();
    let view = store.view();
    assert_eq!(view.scope(&Scope::Ephemeral).owner(b"k").unwrap(), Some(first));
    let store = store.reopen();
    let second = store.engine.owner().unwrap();
    assert_eq!(first.node, second.node);
    assert_ne!(first.start, second.start);
}

#[test]
fn a_lease_and_a_time_do_not_keep_an_ephemeral_key() {
    let Store { sim, engine } = Store::new(6);
    let engine = Arc::new(engine);
    let lease = engine.lease(crate::support::SECOND * 100).unwrap();
    let until = lease.until();
    let ephemeral = engine.scope(Scope::Ephemeral);
    ephemeral.put_until(bytes("k"), bytes("v"), until).unwrap();
    ephemeral.put_with_ttl(bytes("l"), bytes("v"), crate::support::SECOND).unwrap();
    drop(lease);
    drop(engine);
    let store = Store::open(sim);
    assert!(store.engine.scope(Scope::Ephemeral).is_empty().unwrap());
    // What is left of the times is cleaned when they are over.
    store.pass(crate::support::SECOND * 200);
    assert_eq!(store.view().reserved_keys(), 0);
}

#[test]
fn a_full_disk_does_not_keep_a_store_with_ephemeral_keys_closed() {
    let store = Store::new(7);
    fill(&store.engine);
    let Store { sim, engine } = store;
    engine.close().unwrap();
    sim.fs.set_space(Some(sim.fs.used_bytes()));
    let opened = SingleNodeEngine::with_env(&sim_config(), sim.env.clone());
    match opened {
        Ok(engine) => assert_only_the_lasting(&engine),
        // Nothing was changed, and with room it opens.
        Err(error) => assert!(matches!(error, Error::DiskFull(_)), "{error:?}"),
    }
    sim.fs.set_space(None);
    assert_only_the_lasting(&Store::open(sim).engine);
}

#[test]
fn as_many_ephemeral_keys_as_a_full_disk_holds_are_gone_when_it_is_opened_again() {
    let sim = hightower_kv::env::Env::simulated(7);
    let mut config = sim_config();
    config.max_segment_size = 1 << 20;
    let open = || SingleNodeEngine::with_env(&config, sim.env.clone()).unwrap();
    let engine = open();
    engine.put(bytes("k"), bytes("permanent")).unwrap();
    engine.scope(named("n")).put(bytes("k"), bytes("named")).unwrap();
    sim.fs.set_space(Some(sim.fs.used_bytes() + (6 << 20)));
    let ephemeral = engine.scope(Scope::Ephemeral);
    let key = |number: u32| format!("session-{:016}", number.wrapping_mul(0x9e37_79b1));
    let refused = (0..).find_map(|n| ephemeral.put(bytes(&key(n)), bytes("v")).err());
    assert!(matches!(refused, Some(Error::DiskFull(_))), "{refused:?}");
    let keys = ephemeral.len().unwrap();
    assert!(keys > 20_000, "{keys}");
    engine.close().unwrap();
    let engine = open();
    assert_only_the_lasting(&engine);
    engine.put(bytes("later"), vec![7; 1 << 20]).unwrap();
}

#[test]
fn a_limit_that_became_smaller_keeps_no_store_with_ephemeral_keys_closed() {
    let store = Store::new(8);
    fill(&store.engine);
    let Store { sim, engine } = store;
    engine.close().unwrap();
    let mut config = sim_config();
    config.key_bytes_max = 8;
    let engine = SingleNodeEngine::with_env(&config, sim.env).unwrap();
    assert_only_the_lasting(&engine);
}

#[test]
fn the_default_configuration_has_threads_and_does_the_same() {
    let sim = hightower_kv::env::Env::simulated(8);
    let mut config = StoreConfig::default();
    config.data_dir = "/data".into();
    let engine = SingleNodeEngine::with_env(&config, sim.env.clone()).unwrap();
    fill(&engine);
    engine.close().unwrap();
    assert_only_the_lasting(&SingleNodeEngine::with_env(&config, sim.env).unwrap());
}
