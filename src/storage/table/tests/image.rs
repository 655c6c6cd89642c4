//! Tables that are in memory as a whole: what they say is what their blocks say.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::env::rng::SeededRng;

const PLENTY: u64 = 64 << 20;

/// A table of these rows, open, with a cache of its own.
struct Subject {
    machine: Simulated,
    scratch: Scratch,
    summary: TableSummary,
    cache: Arc<BlockCache>,
    table: Arc<Table>,
}

impl Subject {
    fn new(rows: &Rows, options: TableOptions) -> Self {
        Self::within(PLENTY, rows, options)
    }

    fn within(budget: u64, rows: &Rows, options: TableOptions) -> Self {
        let (machine, scratch) = machine();
        let summary = write(&scratch, options, rows);
        let cache = Arc::new(BlockCache::new(budget));
        let table = scratch.open(&summary, &cache).unwrap();
        Self { machine, scratch, summary, cache, table }
    }

    fn has_image(&self) -> bool {
        self.table.slots().has_image()
    }

    /// Holds every way to read against the rows, and keys that are not there.
    fn check(&self, rows: &Rows) {
        for (key, record) in rows {
            let hash = KeyHash::of(key);
            assert_eq!(self.table.get(key).unwrap().as_ref(), Some(record));
            assert_eq!(self.table.cached_value(key, hash), Cached::from(record.value.clone()));
            let shorter = key[..key.len().saturating_sub(1)].to_vec();
            for other in [[key.as_slice(), b"\0"].concat(), shorter] {
                if !rows.contains_key(&other) {
                    assert_eq!(self.table.get(&other).unwrap(), None);
                    let cached = self.table.cached_value(&other, KeyHash::of(&other));
                    assert_eq!(cached, Cached::Absent);
                }
            }
        }
        for direction in [Direction::Forward, Direction::Backward] {
            let found = read_all(&self.table, direction, Bound::Unbounded);
            assert_eq!(found, expected(rows, direction, Bound::Unbounded));
        }
    }
}

/// Rows of all kinds: tombstones, empty values, and lengths that an entry has no room for.
fn mixed_rows() -> Rows {
    let mut rows = some_rows(3000);
    for (at, key_bytes, value_bytes) in [
        (1_u8, 10, 0),
        (2, 1021, 3),
        (3, 1022, 3),
        (4, 1023, 3),
        (5, 1024, 3),
        (6, 5000, 9),
        (7, 20, (1 << 14) - 1),
        (8, 20, 1 << 14),
        (9, 20, 40_000),
        (10, 1022, (1 << 14) - 1),
    ] {
        let mut key = format!("key-{:05}", u64::from(at) * 300 + 1).into_bytes();
        key.resize(key_bytes, b'k');
        rows.insert(key, record(Some(&vec![at; value_bytes]), 7));
    }
    rows.insert(vec![b'z'; 3000], record(None, 8));
    rows
}

#[test]
fn it_says_what_the_blocks_say_without_the_disk() {
    let rows = mixed_rows();
    for compression in compressions() {
        for block_bytes in [300, 4096] {
            let it = Subject::new(&rows, options(compression, block_bytes));
            it.table.make_image();
            assert!(it.has_image());
            let before = it.machine.fs.operations();
            it.check(&rows);
            assert_eq!(it.machine.fs.operations(), before);
        }
    }
}

#[test]
fn a_piece_of_large_pages_says_the_same() {
    let rows: Rows = (0..40_000_u64)
        .map(|n| {
            (format!("key-{n:06}").into_bytes(), record(Some(format!("{n:080}").as_bytes()), n))
        })
        .collect();
    let it = Subject::new(&rows, options(Compression::Off, 4096));
    it.table.make_image();
    assert!(it.cache.used() > 4 << 20, "long enough for mappings of its own");
    it.check(&rows);
}

#[test]
fn it_is_counted_evicted_and_given_up_as_a_whole() {
    let rows = some_rows(2000);
    let it = Subject::new(&rows, options(Compression::Off, 300));
    // Some blocks are there already, and have to go.
    it.table.get(b"key-00300").unwrap().unwrap();
    let before = it.cache.used();
    it.table.make_image();
    let used = it.cache.used();
    assert!(it.has_image() && used > before && used < 2 * it.summary.bytes + (1 << 20));
    it.table.make_image();
    assert_eq!(it.cache.used(), used, "there is one already");
    it.check(&rows);

    it.cache.set_budget(used);
    assert_eq!(it.cache.used(), used);
    it.cache.set_budget(used - 1);
    assert!(!it.has_image() && it.cache.used() == 0);
    it.table.make_image();
    assert!(!it.has_image(), "there is no room");
    for (key, record) in &rows {
        assert_eq!(it.table.get(key).unwrap().as_ref(), Some(record));
        assert!(it.cache.used() < used);
    }

    it.cache.set_budget(PLENTY);
    it.table.make_image();
    assert!(it.has_image());
    assert_eq!(it.cache.used(), used);
    drop(it.table);
    assert_eq!(it.cache.used(), 0);
}

#[test]
fn one_that_is_looked_into_stays_while_blocks_go() {
    let rows = some_rows(2000);
    let it = Subject::new(&rows, options(Compression::Off, 300));
    // Blocks that were there by themselves are not, any more, for whoever evicts.
    for key in rows.keys().take(200) {
        it.table.get(key).unwrap();
    }
    it.table.make_image();
    let summary = it.scratch.write(TableId(2), options(Compression::Off, 300), list(&rows));
    let other = it.scratch.open(&summary.unwrap(), &it.cache).unwrap();
    it.cache.set_budget(it.cache.used() + 20_000);
    for (key, record) in &rows {
        let hash = KeyHash::of(b"key-00300");
        assert_ne!(it.table.cached_value(b"key-00300", hash), Cached::NeedsRead);
        assert_eq!(other.get(key).unwrap().as_ref(), Some(record));
        assert!(it.cache.used() <= it.cache.budget());
    }
    assert!(it.has_image() && it.cache.is_full());
    let before = it.machine.fs.operations();
    it.check(&rows);
    assert_eq!(it.machine.fs.operations(), before);
}

#[test]
fn what_is_not_worth_it_has_none() {
    let long: Rows = (0..20_u64)
        .map(|n| (format!("key-{n}").into_bytes(), record(Some(&[7; 1100]), n)))
        .collect();
    let mut one_long = some_rows(2000);
    one_long.insert(b"key-00001".to_vec(), record(Some(&vec![7; 1 << 17]), 9));
    for rows in [long, one_long] {
        // A value of one byte again and again is short as it is stored, and long in memory.
        for compression in compressions() {
            let it = Subject::new(&rows, options(compression, 4096));
            it.table.make_image();
            assert!(!it.has_image());
            it.table.read_in_advance();
            it.check(&rows);
        }
    }
}

#[test]
fn keys_chosen_to_have_one_hash_are_found_and_many_of_them_prevent_it() {
    for (count, expected) in [(60, true), (1_100, false), (5_000, false)] {
        let mut rows = some_rows(3000);
        let chosen = KeyHash::equal_keys().take(count);
        rows.extend(chosen.zip(1..).map(|(key, n)| (key.to_vec(), record(Some(&key[..3]), n))));
        let it = Subject::new(&rows, options(Compression::Off, 4096));
        it.table.make_image();
        assert_eq!(it.has_image(), expected, "{count}");
        for key in KeyHash::equal_keys().skip(count).take(10) {
            assert_eq!(it.table.get(&key).unwrap(), None);
        }
        it.check(&rows);
    }
}

#[test]
fn where_there_was_no_room_in_the_end_it_is_made_when_there_is() {
    let rows = some_rows(2000);
    let it = Subject::new(&rows, options(Compression::Off, 300));
    it.table.make_image();
    let bytes = it.cache.used();
    // Less than it takes, and more than it seems to take before it is made.
    let it = Subject::within(bytes - 1, &rows, options(Compression::Off, 300));
    let before = it.machine.fs.operations();
    it.table.make_image();
    let read = it.machine.fs.operations();
    assert!(!it.has_image() && read > before && it.cache.used() == 0);
    it.table.make_image();
    assert_eq!(it.machine.fs.operations(), read, "it is known now");
    it.check(&rows);
    it.cache.set_budget(PLENTY);
    it.table.make_image();
    assert!(it.has_image());
    it.check(&rows);
}

#[test]
fn one_that_went_comes_back_where_it_left_the_cache_half_empty() {
    let rows = some_rows(2000);
    let it = Subject::new(&rows, options(Compression::Off, 300));
    it.table.make_image();
    let bytes = it.cache.used();
    it.cache.set_budget(bytes - 1);
    assert!(!it.has_image() && !it.cache.is_full());
    it.cache.set_budget(bytes);
    it.table.make_image();
    assert!(it.has_image());
}

#[test]
fn a_table_that_is_asked_for_is_read_whole_where_somebody_does() {
    let rows = some_rows(20_000);
    for is_there in [false, true] {
        let it = Subject::new(&rows, options(Compression::Off, 300));
        let rng = SeededRng::new(3);
        if is_there {
            it.cache.bell().expect();
        }
        let part = it.table.blocks() / 16;
        while it.table.slots().taken() <= part {
            let key = format!("key-{:05}", rng.up_to(19_999) * 3);
            it.table.get(key.as_bytes()).unwrap().unwrap();
        }
        assert!(it.table.wants_image());
        let used = it.cache.used();
        for (key, record) in &rows {
            assert_eq!(it.table.get(key).unwrap().as_ref(), Some(record));
        }
        // What waits for an image is not kept, or it would be in memory twice.
        assert_eq!(it.cache.used() == used, is_there);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                it.cache.bell().work(|| {
                    if it.table.wants_image() {
                        it.table.make_image();
                    }
                    it.cache.bell().stop();
                });
            });
        });
        assert!(it.has_image());
        it.check(&rows);
    }
}

#[test]
fn blocks_are_kept_again_where_the_image_does_not_come() {
    let rows = some_rows(2000);
    let it = Subject::new(&rows, options(Compression::Off, 300));
    // Somebody is there, and never comes to it.
    it.cache.bell().expect();
    let keys: Vec<&Vec<u8>> = rows.keys().collect();
    let mut reads = 0;
    while it.table.slots().taken() < it.table.blocks() {
        it.table.get(keys[reads % keys.len()]).unwrap().unwrap();
        reads += 1;
        assert!(reads < 20 * keys.len());
    }
    assert!(reads > 4 * it.table.blocks());
    it.check(&rows);
    it.table.make_image();
    assert!(it.has_image(), "it may still come");
}

#[test]
fn damage_is_told_to_who_asks_for_the_block_and_to_nobody_else() {
    let rows = some_rows(2000);
    for compression in compressions() {
        let it = Subject::new(&rows, options(compression, 300));
        let path = it.scratch.path(TableId(1));
        let mut bytes = it.machine.fs.read_file(&path).unwrap();
        let at = bytes.len() / 3;
        bytes[at] ^= 1;
        it.machine.fs.write_file(&path, &bytes).unwrap();
        it.cache.bell().expect();
        it.table.make_image();
        assert!(!it.has_image());
        let before = it.machine.fs.operations();
        it.table.make_image();
        assert_eq!(it.machine.fs.operations(), before, "it is not tried again");
        let mut told = 0;
        for (key, record) in &rows {
            match it.table.get(key) {
                Ok(found) => assert_eq!(found.as_ref(), Some(record)),
                Err(StorageError::Corrupt { file, .. }) => {
                    assert_eq!(file, path);
                    told += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!((1..60).contains(&told), "{told}");
    }
}

/// Readers of all kinds while the image comes and goes.
#[test]
fn whoever_reads_while_it_comes_and_goes_finds_what_is_there() {
    let rows = some_rows(1500);
    let it = Subject::new(&rows, options(Compression::Off, 300));
    let rows: Vec<_> = rows.into_iter().collect();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (it, rows, is_done) = (&it, &rows, &is_done);
            scope.spawn(move || {
                let rng = SeededRng::new(seed);
                while !is_done.load(Ordering::Relaxed) {
                    let at = usize::try_from(rng.up_to(rows.len() as u64 - 1)).unwrap();
                    let (key, record) = &rows[at];
                    assert_eq!(it.table.get(key).unwrap().as_ref(), Some(record));
                    let cached = it.table.cached_value(key, KeyHash::of(key));
                    if cached != Cached::NeedsRead {
                        assert_eq!(cached, Cached::from(record.value.clone()));
                    }
                    let other = [key.as_slice(), b"\0"].concat();
                    assert_eq!(it.table.get(&other).unwrap(), None);
                    if rng.up_to(50) == 0 {
                        let from = Bound::Included(key.as_slice());
                        let mut found = TableCursor::seek(&it.table, Direction::Forward, from);
                        let cursor = found.as_mut().unwrap();
                        for (key, record) in &rows[at..(at + 20).min(rows.len())] {
                            let row = (Bytes::from(key.clone()), record.clone());
                            assert_eq!(cursor.shared_row(), Some(row));
                            cursor.advance().unwrap();
                        }
                    }
                }
            });
        }
        for _ in 0..200 {
            it.table.make_image();
            assert!(it.cache.used() <= it.cache.budget());
            it.cache.set_budget(40_000);
            assert!(it.cache.used() <= it.cache.budget());
            it.cache.set_budget(PLENTY);
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

proptest! {
    #[test]
    fn any_rows_are_found_and_no_others(
        rows in proptest::collection::btree_map(
            proptest::collection::vec(0..3_u8, 0..6),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            1..120,
        ),
        others in proptest::collection::vec(proptest::collection::vec(0..3_u8, 0..6), 0..20),
        block_bytes in 60..900_usize,
    ) {
        let rows: Rows = rows
            .into_iter()
            .zip(1..)
            .map(|((key, value), number)| (key, record(value.as_deref(), number)))
            .collect();
        let it = Subject::new(&rows, options(Compression::Off, block_bytes));
        it.table.make_image();
        prop_assert!(it.has_image());
        for key in rows.keys().chain(&others) {
            let cached = it.table.cached_value(key, KeyHash::of(key));
            let expected = rows.get(key).map_or(Cached::Absent, |it| it.value.clone().into());
            prop_assert_eq!(cached, expected);
            prop_assert_eq!(it.table.get(key).unwrap(), rows.get(key).cloned());
        }
    }
}
