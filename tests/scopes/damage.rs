//! A block of a table is damaged where rows of scopes and times stand.

use std::path::{Path, PathBuf};
use std::time::Instant;

use hightower_kv::env::Simulated;
use hightower_kv::{Error, KvEngine, Outcome, ReadOnlyEngine, Scope, SingleNodeEngine, Timestamp};

use crate::support::{SECOND, Store, bytes, named, sim_config};

/// So many that each kind of row fills several blocks.
const KEYS: u32 = 500;

fn key(number: u32) -> Vec<u8> {
    format!("key/{number:04}").into_bytes()
}

fn value(number: u32) -> Vec<u8> {
    format!("the value of {number:04}").into_bytes()
}

/// A bit that was flipped.
struct Flipped {
    file: PathBuf,
    bit: u64,
}

impl Flipped {
    /// Flips it once more.
    fn mend(&self, store: &Store) {
        store.sim.fs.flip_bit(&self.file, self.bit).unwrap();
    }
}

/// Where each table that has these bytes has them first, the oldest table first.
fn places(sim: &Simulated, row: &[u8]) -> Vec<Flipped> {
    let tables = sim.fs.files().into_iter().filter(|(file, _)| file.starts_with("/data/tables"));
    let places = tables.filter_map(|(file, content)| {
        let at = content.windows(row.len()).position(|window| window == row)?;
        Some(Flipped { file, bit: at as u64 * 8 })
    });
    places.collect()
}

/// Closes a store, flips a bit in the one table that has these bytes, where it has them first, and
/// opens it again. The rows of a table stand before everything else that has their keys.
fn damaged(store: Store, row: &[u8]) -> (Store, Flipped) {
    store.engine.run_compaction_now().unwrap();
    let Store { sim, engine } = store;
    engine.close().unwrap();
    let [flipped] = <[Flipped; 1]>::try_from(places(&sim, row)).ok().unwrap();
    sim.fs.flip_bit(&flipped.file, flipped.bit).unwrap();
    (Store::open(sim), flipped)
}

fn is_corrupt<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Corrupt(_)))
}

/// Those of the first `keys` keys that cannot be read.
fn unreadable(store: &Store, keys: u32) -> Vec<u32> {
    (0..keys).filter(|&number| is_corrupt(&store.engine.get(&key(number)))).collect()
}

#[test]
fn where_the_times_of_keys_cannot_be_read_the_store_opens_and_puts_heed_the_others() {
    let store = Store::new(80);
    for number in 0..KEYS {
        store.engine.put_with_ttl(key(number), value(number), SECOND * 100).unwrap();
    }
    let (store, _) = damaged(store, b"lease/k/key/0000");
    assert!(unreadable(&store, KEYS).is_empty());
    store.engine.put(bytes("other"), bytes("v")).unwrap();
    store.engine.put(key(0), bytes("another value")).unwrap();
    // A put of the value that is there has to know the time of the key.
    assert!(is_corrupt(&store.engine.put(key(1), value(1))));
    assert!(is_corrupt(&store.engine.expires_at(&key(1))));
    let far = KEYS / 2;
    assert!(store.engine.expires_at(&key(far)).unwrap().is_some());
    let put = store.engine.put(key(far), value(far)).unwrap();
    assert_eq!(put.outcome, Outcome::Unchanged);
    assert_eq!(store.engine.expires_at(&key(far)).unwrap(), None);
    // What is due before those goes in its time.
    store.engine.put_with_ttl(bytes("short"), bytes("v"), SECOND).unwrap();
    assert!(store.engine.contains(b"short").unwrap());
    store.pass(SECOND);
    assert!(!store.engine.contains(b"short").unwrap());
    let store = store.reopen();
    assert_eq!(store.engine.get(b"other").unwrap().unwrap(), "v");
    assert_eq!(store.engine.get(&key(0)).unwrap().unwrap(), "another value");
    assert_eq!(store.engine.expires_at(&key(far)).unwrap(), None);
    let Store { sim, engine } = store;
    engine.close().unwrap();
    let looks = ReadOnlyEngine::open_in(sim.env, Path::new("/data")).unwrap();
    assert!(looks.view().contains(b"other").unwrap());
}

#[test]
fn where_ephemeral_keys_cannot_be_read_the_store_opens_and_the_others_are_gone() {
    let store = Store::new(81);
    let ephemeral = store.engine.scope(Scope::Ephemeral);
    for number in 0..KEYS {
        ephemeral.put(key(number), value(number)).unwrap();
    }
    store.engine.scope(named("n")).put(bytes("k"), bytes("named")).unwrap();
    store.engine.put(bytes("k"), bytes("permanent")).unwrap();
    let (store, flipped) = damaged(store, &value(KEYS / 2));
    let ephemeral = store.engine.scope(Scope::Ephemeral);
    let mut stay = Vec::new();
    for number in 0..KEYS {
        match ephemeral.get(&key(number)) {
            Ok(found) => assert!(found.is_none(), "{number} is of an opening that has ended"),
            Err(error) => {
                assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
                stay.push(number);
            }
        }
    }
    assert!(stay.contains(&(KEYS / 2)) && stay.len() < 100, "{stay:?}");
    assert_eq!(store.view().reserved_keys(), stay.len() as u64 + 1);
    // It is used as ever beside them.
    ephemeral.put(key(0), bytes("new")).unwrap();
    assert_eq!(ephemeral.get(&key(0)).unwrap().unwrap(), "new");
    assert!(is_corrupt(&ephemeral.put(key(KEYS / 2), bytes("new"))));
    assert_eq!(store.engine.get(b"k").unwrap().unwrap(), "permanent");
    assert_eq!(store.engine.scope(named("n")).get(b"k").unwrap().unwrap(), "named");
    let store = store.reopen();
    assert!(store.engine.scope(Scope::Ephemeral).get(&key(0)).unwrap().is_none());
    // Once they can be read the next opening removes them.
    flipped.mend(&store);
    let store = store.reopen();
    assert!(store.engine.scope(Scope::Ephemeral).is_empty().unwrap());
    assert_eq!(store.view().reserved_keys(), 1);
    assert_eq!(store.engine.scope(named("n")).get(b"k").unwrap().unwrap(), "named");
}

const TIMED: u32 = 100;

/// A store with a key each second that is due, of which one stands in a damaged block; how many are
/// due before those in it.
fn with_a_damaged_key(seed: u64) -> (Store, Flipped, u32) {
    let store = Store::new(seed);
    let long = |number: u32| format!("{number:0400}").into_bytes();
    for number in 0..TIMED {
        store.engine.put_with_ttl(key(number), long(number), SECOND * (number + 1)).unwrap();
    }
    let (store, flipped) = damaged(store, &long(TIMED / 2));
    let lost = unreadable(&store, TIMED);
    let first = *lost.first().unwrap();
    assert!(lost.contains(&(TIMED / 2)) && first > TIMED / 4, "{lost:?}");
    (store, flipped, first)
}

#[test]
fn what_is_due_before_a_damaged_row_goes_and_the_rest_when_it_is_mended() {
    let (store, flipped, first) = with_a_damaged_key(82);
    store.pass(SECOND * 1_000);
    for number in 0..TIMED {
        let is_gone = matches!(store.engine.get(&key(number)), Ok(None));
        assert_eq!(is_gone, number < first, "{number}");
    }
    // Writes go on, with times and without.
    store.engine.put(bytes("other"), bytes("v")).unwrap();
    store.engine.put_with_ttl(bytes("short"), bytes("v"), SECOND).unwrap();
    // It is not tried again at once, but after a while.
    flipped.mend(&store);
    store.engine.flush().unwrap();
    assert_eq!(store.engine.len().unwrap(), (TIMED - first) as usize + 2);
    store.pass(SECOND);
    assert_eq!(store.engine.len().unwrap(), 1);
    assert_eq!(store.view().reserved_keys(), 0);
}

#[test]
fn the_thread_that_removes_what_is_due_outlives_a_damaged_row() {
    let (Store { sim, engine }, flipped, first) = with_a_damaged_key(83);
    engine.close().unwrap();
    sim.clock.advance(SECOND * 1_000);
    let mut config = sim_config();
    config.worker_threads = 1;
    let engine = SingleNodeEngine::with_env(&config, sim.env.clone()).unwrap();
    let end = Instant::now() + SECOND * 30;
    let wait_for = |keys: u32| {
        while engine.len().unwrap() != keys as usize {
            assert!(Instant::now() < end, "{} keys are left", engine.len().unwrap());
            sim.clock.advance(SECOND / 1_000);
            std::thread::yield_now();
        }
    };
    wait_for(TIMED - first);
    sim.fs.flip_bit(&flipped.file, flipped.bit).unwrap();
    wait_for(0);
    engine.close().unwrap();
}

#[test]
fn a_damaged_row_of_what_was_removed_long_ago_is_in_the_way_of_no_time() {
    // So few that removing them does not make a merge of everything due, in blocks enough that the
    // first one is in nobody's way.
    const ROWS: u32 = 100;
    let store = Store::new(87);
    for number in 0..ROWS {
        store.engine.put_with_ttl(key(number), bytes("v"), SECOND * (number + 1)).unwrap();
    }
    let store = store.reopen();
    store.pass(SECOND * (ROWS + 1));
    assert!(store.engine.is_empty().unwrap());
    // The tombstones come into a run of their own.
    let store = store.reopen();
    assert_eq!(store.engine.stats().runs, 2);
    let floor = store.view().due_floor();
    assert!(floor > Timestamp(0), "it is known where nothing is due any more");
    let Store { sim, engine } = store;
    engine.close().unwrap();
    let Flipped { file, bit } = places(&sim, b"lease/d/").remove(0);
    sim.fs.flip_bit(&file, bit).unwrap();
    let store = Store::open(sim);
    // An entry that looks for what is due is let into the log, and replay can apply it.
    store.engine.put_with_ttl(bytes("later"), bytes("v"), SECOND).unwrap();
    store.pass(SECOND * 2);
    assert!(!store.engine.contains(b"later").unwrap());
    let store = store.dies(None);
    assert!(store.engine.is_empty().unwrap());
    assert!(store.view().due_floor() > floor);
    assert!(is_corrupt(&store.engine.run_compaction_now()), "it is damaged");
}
