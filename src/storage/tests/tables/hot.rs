//! The hot map never shows an older value, whoever reads what when.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const COLD: u64 = 40_000;

pub(super) fn name(key: u64) -> Vec<u8> {
    format!("k{key:05}").into_bytes()
}

pub(super) fn small_options() -> TableStoreOptions {
    TableStoreOptions {
        table: TableOptions { block_bytes: 1024, ..TableOptions::default() },
        table_bytes_max: 256 << 10,
        long_table_bytes_max: 256 << 10,
        memory_bytes: 1_200_000,
    }
}

/// A store with more rows than its memory has room for, read so that the block cache is full.
pub(super) fn small_memory(fs: &SimFs) -> Modelled {
    let mut store = Modelled::new(fs);
    store.tables = try_tables(fs, small_options()).unwrap();
    store.add(&(0..COLD).map(|key| (name(key), put(1, "twenty bytes of value"))).collect());
    let set = store.tables.set();
    for key in 0..COLD {
        get(&set, &name(key)).unwrap();
    }
    store
}

#[test]
fn a_key_that_is_read_again_needs_no_block() {
    let fs = SimFs::new(1);
    let mut store = small_memory(&fs);
    let old = store.tables.set();
    store.add(&rows([("other", put(2, "2"))]));
    let new = store.tables.set();
    for key in (1000..COLD).step_by(10) {
        get(&new, &name(key)).unwrap();
        get(&new, &name(1)).unwrap();
    }
    let before = fs.operations();
    get(&new, &name(1)).unwrap();
    assert_eq!(fs.operations(), before);
    // The map is not for readers of older sets, and the block did not stay.
    get(&old, &name(1)).unwrap();
    assert!(fs.operations() > before);
}

#[test]
fn a_newer_run_and_a_tombstone_are_seen_at_once_and_old_sets_keep_their_own() {
    let fs = SimFs::new(1);
    let mut store = small_memory(&fs);
    let old = store.tables.set();
    let state = store.state.clone();
    for _ in 0..2 {
        get(&old, b"k00001").unwrap();
        get(&old, b"k00002").unwrap();
    }
    store.add(&rows([("k00001", put(2, "new")), ("k00002", None)]));
    for _ in 0..3 {
        let new = store.tables.set();
        assert_eq!(get(&new, b"k00001").unwrap().version, Version(2));
        assert_eq!(get(&new, b"k00002"), None);
        // A reader of the old set that comes late leaves nothing behind.
        assert_eq!(get(&old, b"k00001").as_ref(), state.get(&b"k00001"[..]));
        assert_eq!(get(&old, b"k00002").as_ref(), state.get(&b"k00002"[..]));
    }
}

#[test]
fn threads_that_read_old_and_new_sets_see_each_its_own() {
    const KEYS: u64 = 64;
    let fs = SimFs::new(1);
    let mut store = small_memory(&fs);
    let stop = AtomicBool::new(false);
    // After run n, a key has the greatest version up to n whose remainder it is, or 1; the key
    // `count` has n.
    let expected = |count: u64, key: u64| match count.checked_sub(key) {
        Some(behind) => behind / KEYS * KEYS + key,
        None => 1,
    };
    let first = store.tables.set();
    let shared = std::mem::replace(&mut store.tables, tables(&SimFs::new(9)));
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (shared, stop, first) = (&shared, &stop, &first);
            scope.spawn(move || {
                let rng = SeededRng::new(seed);
                let mut set = Arc::clone(first);
                let mut count = 1;
                while !stop.load(Ordering::Acquire) {
                    if rng.up_to(9) == 0 {
                        set = shared.set();
                        count = get(&set, b"count").map_or(1, |record| record.version.0);
                    }
                    if rng.up_to(7) == 0 {
                        // So that the block cache stays full.
                        get(&set, &name(KEYS + rng.up_to(COLD - KEYS - 1))).unwrap();
                    }
                    let key = 1 + rng.up_to(KEYS - 2);
                    let found = get(&set, &name(key)).unwrap().version.0;
                    assert_eq!(found, expected(count, key), "run {count} key {key}");
                }
            });
        }
        for version in 2..250 {
            let mut new = rows([("count", put(version, "c"))]);
            let key = version % KEYS;
            if key > 0 {
                new.insert(name(key), put(version, "new"));
            }
            apply(&mut store.state, &new);
            add(&shared, version, &new, &store.state).unwrap();
            let goal = MergeGoal::Due { compaction_threshold: 1 << 30 };
            drop(shared.merge_step(goal).unwrap());
        }
        stop.store(true, Ordering::Release);
    });
    check_set(&shared.set(), &store.state, "end");
}
