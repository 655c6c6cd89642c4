//! Keys with a time, and leases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hightower_kv::engine::Lease;
use hightower_kv::env::Env;
use hightower_kv::{Error, KvEngine, Outcome, Scope, SingleNodeEngine, Timestamp};

use crate::support::{SECOND, Store, bytes, named, opened, sim_config};

const MILLISECOND: Duration = Duration::from_millis(1);

fn put(store: &Store, key: &str, seconds: u32) {
    store.engine.put_with_ttl(bytes(key), bytes("v"), SECOND * seconds).unwrap();
}

fn has(store: &Store, key: &str) -> bool {
    store.engine.contains(key.as_bytes()).unwrap()
}

#[test]
fn a_key_is_there_for_its_time_and_then_it_is_not() {
    let store = Store::new(60);
    let set = store.engine.put_with_ttl(bytes("k"), bytes("v"), SECOND * 10).unwrap();
    let ends = Timestamp(set.timestamp.0 + 10_000_000);
    assert_eq!(store.engine.expires_at(b"k").unwrap(), Some(ends));
    store.pass(MILLISECOND * 9_999);
    assert!(has(&store, "k"));
    store.pass(MILLISECOND);
    assert!(!has(&store, "k"));
    assert_eq!(store.engine.expires_at(b"k").unwrap(), None);
    assert_eq!(store.view().reserved_keys(), 0);
}

#[test]
fn any_write_removes_what_is_due_where_there_are_no_threads() {
    let store = Store::new(61);
    put(&store, "k", 1);
    store.sim.clock.advance(SECOND * 2);
    store.engine.put(bytes("other"), bytes("v")).unwrap();
    assert!(!has(&store, "k"));
}

#[test]
fn what_keys_leave_that_go_together_is_written_to_tables_meanwhile() {
    const KEYS: u64 = 5_000;
    let sim = Env::simulated(61);
    let mut config = sim_config();
    // A quarter of it is for the tail; three tombstones a key are some 3 MB.
    config.memory_budget = 1 << 20;
    let engine = SingleNodeEngine::with_env(&config, sim.env.clone()).unwrap();
    for key in 0..KEYS {
        engine.put_with_ttl(key.to_le_bytes().to_vec(), bytes("v"), SECOND * 3600).unwrap();
    }
    engine.run_compaction_now().unwrap();
    sim.clock.advance(SECOND * 7200);
    engine.flush().unwrap();
    let stats = engine.stats();
    assert_eq!(stats.keys, 0);
    assert!(stats.tail_bytes < 1 << 20, "{} bytes in memory", stats.tail_bytes);
}

#[test]
fn a_plain_put_keeps_the_key_and_a_put_with_a_time_begins_anew() {
    let store = Store::new(62);
    for key in ["same", "other", "again"] {
        put(&store, key, 10);
    }
    store.pass(SECOND * 5);
    store.engine.put(bytes("same"), bytes("v")).unwrap();
    store.engine.put(bytes("other"), bytes("w")).unwrap();
    put(&store, "again", 10);
    store.pass(SECOND * 6);
    assert!(has(&store, "same") && has(&store, "other") && has(&store, "again"));
    store.pass(SECOND * 5);
    assert!(has(&store, "same") && has(&store, "other") && !has(&store, "again"));
}

#[test]
fn a_time_is_a_millisecond_to_ten_years() {
    let store = Store::new(63);
    let year = SECOND * 365 * 24 * 3600;
    for ttl in [Duration::ZERO, Duration::from_nanos(999_999), year * 11, Duration::MAX] {
        let refused = store.engine.put_with_ttl(bytes("k"), bytes("v"), ttl);
        assert!(matches!(refused, Err(Error::Validation(_))), "{refused:?}");
    }
    for ttl in [MILLISECOND, year * 10] {
        assert!(store.engine.put_with_ttl(bytes("k"), bytes("v"), ttl).is_ok());
    }
}

#[test]
fn times_survive_compaction_restart_and_death() {
    let store = Store::new(64);
    put(&store, "k", 100);
    store.engine.run_compaction_now().unwrap();
    let store = store.reopen();
    let at = store.engine.expires_at(b"k").unwrap();
    assert!(at.is_some());
    let store = store.dies(None);
    assert_eq!(store.engine.expires_at(b"k").unwrap(), at);
    store.pass(SECOND * 99);
    assert!(has(&store, "k"));
    store.pass(SECOND * 2);
    assert!(!has(&store, "k"));
    assert!(!has(&store.reopen(), "k"));
}

#[test]
fn what_became_due_while_the_store_was_closed_goes_when_it_is_opened() {
    let store = Store::new(65);
    put(&store, "k", 10);
    let Store { sim, engine } = store;
    engine.close().unwrap();
    sim.clock.advance(SECOND * 60);
    let store = Store::open(sim);
    store.engine.flush().unwrap();
    assert!(!has(&store, "k"));
}

#[test]
fn many_keys_go_a_thousand_an_entry_and_a_kill_in_between_loses_no_time() {
    let store = Store::new(66);
    let key = |number: u32| format!("{number:05}").into_bytes();
    for number in 0..2_500 {
        store.engine.put_with_ttl(key(number), bytes("v"), SECOND).unwrap();
    }
    store.engine.put(bytes("stays"), bytes("v")).unwrap();
    let before = store.view().version().unwrap().0;
    store.sim.clock.advance(SECOND * 10);
    store.sim.fs.start_history();
    store.engine.flush().unwrap();
    let images = store.sim.fs.take_history();
    assert_eq!(store.view().version().unwrap().0, before + 3);
    assert_eq!(store.engine.len().unwrap(), 1);
    assert_eq!(store.view().reserved_keys(), 0);
    for image in &images {
        let store = opened(image);
        // An entry removed all of its keys or none.
        let left = store.engine.len().unwrap() - 1;
        assert!([2_500, 1_500, 500, 0].contains(&left), "{left}");
        store.pass(SECOND * 60);
        assert_eq!(store.engine.len().unwrap(), 1);
        assert_eq!(store.view().reserved_keys(), 0);
    }
}

#[test]
fn a_lease_is_kept_alive_and_takes_its_keys_with_it() {
    let Store { sim, engine } = Store::new(67);
    let engine = Arc::new(engine);
    let lease = engine.lease(SECOND * 10).unwrap();
    lease.put(bytes("a"), bytes("1")).unwrap();
    engine.put(bytes("b"), bytes("2")).unwrap();
    assert_eq!(lease.attach(bytes("b")).unwrap().outcome, Outcome::Unchanged);
    assert_eq!(lease.attach(bytes("none")).unwrap().outcome, Outcome::NotFound);
    let scoped = engine.scope(named("n"));
    scoped.put_until(bytes("c"), bytes("3"), lease.until()).unwrap();
    for _ in 0..5 {
        sim.clock.advance(SECOND * 9);
        lease.keep_alive().unwrap();
        assert_eq!(lease.remaining().unwrap(), Some(SECOND * 10));
    }
    assert_eq!((engine.len().unwrap(), scoped.len().unwrap()), (2, 1));
    sim.clock.advance(SECOND * 10);
    engine.flush().unwrap();
    assert_eq!((engine.len().unwrap(), scoped.len().unwrap()), (0, 0));
    assert_eq!(lease.remaining().unwrap(), None);
    let missing = |error| assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    missing(lease.put(bytes("a"), bytes("1")).unwrap_err());
    missing(lease.attach(bytes("a")).unwrap_err());
    missing(lease.keep_alive().unwrap_err());
    missing(scoped.put_until(bytes("c"), bytes("3"), lease.until()).unwrap_err());
    assert!(scoped.is_empty().unwrap());
    assert!(!engine.contains(b"a").unwrap());
}

#[test]
fn a_lease_is_revoked_and_found_again_by_its_name() {
    let Store { sim, engine } = Store::new(68);
    let engine = Arc::new(engine);
    let lease = engine.lease(SECOND * 10).unwrap();
    lease.put(bytes("a"), bytes("1")).unwrap();
    let id = lease.id();
    drop(lease);
    let find = || Lease::find(Arc::clone(&engine), sim.env.clone(), id);
    let lease = find().unwrap();
    assert_eq!(lease.ttl(), SECOND * 10);
    assert_eq!(lease.revoke().unwrap().outcome, Outcome::Removed { keys: 1 });
    assert!(engine.is_empty().unwrap());
    assert!(matches!(find(), Err(Error::NotFound(_))));
}

#[test]
fn the_past_shows_scopes_and_times_as_they_were() {
    let store = Store::new(69);
    let scope = named("n");
    store.engine.scope(scope.clone()).put(bytes("k"), bytes("old")).unwrap();
    store.engine.scope(Scope::Ephemeral).put(bytes("e"), bytes("v")).unwrap();
    let set = store.engine.put_with_ttl(bytes("k"), bytes("v"), SECOND * 10).unwrap();
    store.engine.scope(scope.clone()).clear().unwrap();
    store.pass(SECOND * 20);
    assert!(!has(&store, "k"));
    let then = store.engine.snapshot_at(set.version).unwrap();
    assert!(then.contains(b"k").unwrap());
    let ends = Timestamp(set.timestamp.0 + 10_000_000);
    assert_eq!(then.expires_at(b"k").unwrap(), Some(ends));
    assert_eq!(then.scope(&scope).get(b"k").unwrap().unwrap(), "old");
    assert_eq!(then.scope(&Scope::Ephemeral).get(b"e").unwrap().unwrap(), "v");
    // What removed it is a version of the key.
    let versions = store.engine.history(b"k").unwrap().versions;
    assert_eq!(versions.len(), 2);
    assert!(versions.last().unwrap().value.is_none());
}

#[test]
fn the_thread_of_an_open_store_removes_what_is_due_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let engine = SingleNodeEngine::open(directory.path().join("data")).unwrap();
    let ephemeral = engine.scope(Scope::Ephemeral);
    for _ in 0..2 {
        // In the second round the thread waits for the late one: an earlier one has to wake it.
        let set = engine.put_with_ttl(bytes("k"), bytes("v"), MILLISECOND * 80).unwrap();
        ephemeral.put_with_ttl(bytes("k"), bytes("v"), MILLISECOND * 60).unwrap();
        engine.put_with_ttl(bytes("late"), bytes("v"), SECOND * 3600).unwrap();
        let end = Instant::now() + SECOND * 30;
        while engine.contains(b"k").unwrap() || ephemeral.contains(b"k").unwrap() {
            assert!(Instant::now() < end, "nobody removed it");
            std::thread::yield_now();
        }
        let view = engine.view(hightower_kv::ReadContext::Local).unwrap();
        assert!(view.timestamp().0 >= set.timestamp.0 + 80_000, "it went early");
    }
    assert!(engine.contains(b"late").unwrap());
    engine.close().unwrap();
}
