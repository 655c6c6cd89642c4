//! Clocks that jump.

use hightower_kv::{KvEngine, Timestamp};

use crate::support::{SECOND, Store, bytes};

const HOUR: u64 = 3_600_000_000;

fn put(store: &Store, key: &str, seconds: u32) -> Timestamp {
    let put = store.engine.put_with_ttl(bytes(key), bytes("v"), SECOND * seconds);
    put.unwrap().timestamp
}

fn has(store: &Store, key: &str) -> bool {
    store.engine.contains(key.as_bytes()).unwrap()
}

fn set_back_an_hour(store: &Store) {
    let now = store.sim.env.clock.now();
    store.sim.clock.set_now(Timestamp(now.0 - HOUR));
}

#[test]
fn after_the_clock_was_set_back_an_hour_keys_go_in_their_time() {
    let store = Store::new(80);
    let first = put(&store, "k", 60);
    store.pass(SECOND * 20);
    set_back_an_hour(&store);
    store.pass(SECOND * 20);
    store.pass(SECOND * 19);
    assert!(has(&store, "k"));
    store.pass(SECOND * 2);
    assert!(!has(&store, "k"));
    // And one that is set now has all of its time.
    let second = put(&store, "l", 60);
    assert!(second.0 >= first.0 + 60_000_000);
    store.pass(SECOND * 59);
    assert!(has(&store, "l"));
    store.pass(SECOND * 2);
    assert!(!has(&store, "l"));
}

#[test]
fn after_the_clock_was_set_forward_a_year_all_keys_go() {
    let store = Store::new(81);
    put(&store, "k", 60);
    put(&store, "l", 24 * 3600);
    let now = store.sim.env.clock.now();
    store.sim.clock.set_now(Timestamp(now.0 + 365 * 24 * HOUR));
    store.engine.flush().unwrap();
    assert!(!has(&store, "k") && !has(&store, "l"));
    // Set right again, log time goes on from where it was.
    store.sim.clock.set_now(now);
    let stamp = put(&store, "m", 60);
    assert!(stamp.0 >= now.0 + 365 * 24 * HOUR);
    store.pass(SECOND * 59);
    assert!(has(&store, "m"));
    store.pass(SECOND * 2);
    assert!(!has(&store, "m"));
}

#[test]
fn stamps_never_go_back_also_across_reopening() {
    let mut store = Store::new(82);
    let mut last = Timestamp(0);
    for round in 0..12_u64 {
        let put = store.engine.put(bytes("k"), round.to_le_bytes().to_vec()).unwrap();
        assert!(put.timestamp > last, "round {round}");
        last = put.timestamp;
        match round % 3 {
            0 => set_back_an_hour(&store),
            1 => store = store.reopen(),
            _ => {}
        }
        store.sim.clock.advance(SECOND);
    }
}

#[test]
fn a_store_that_is_opened_by_a_clock_that_is_behind_removes_keys_in_their_time() {
    let store = Store::new(83);
    put(&store, "k", 60);
    set_back_an_hour(&store);
    let store = store.reopen();
    store.pass(SECOND * 58);
    assert!(has(&store, "k"));
    store.pass(SECOND * 3);
    assert!(!has(&store, "k"));
}
