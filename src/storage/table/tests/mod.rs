//! Tables as their users see them: written, read back from either end, and damaged.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::scratch::Scratch;
use super::{
    BlockCache, Cached, Fill, KeyHash, Table, TableCursor, TableOptions, TableSummary, compression,
};
use crate::config::Compression;
use crate::env::{Env, Simulated};
use crate::storage::error::StorageError;
use crate::storage::format::{PROLOGUE_BYTES, TABLE_FOOTER_BYTES};
use crate::storage::record::{Direction, Record};
use crate::types::{TableId, Timestamp, Version};

type Rows = BTreeMap<Vec<u8>, Record>;
type List = Vec<(Bytes, Record)>;

const BUDGET: u64 = 1 << 20;

fn machine() -> (Simulated, Scratch) {
    let machine = Env::simulated(1);
    machine.env.fs.create_dir(Path::new("/data")).unwrap();
    let scratch = Scratch::new(machine.env.clone(), Path::new("/data")).unwrap();
    (machine, scratch)
}

fn compressions() -> impl Iterator<Item = Compression> {
    let all = [Compression::Off, Compression::Lz4, Compression::Zstd].into_iter();
    all.filter(|&with| {
        compression::Compressor::new(with, compression::Effort::Least).unwrap().is_some()
    })
}

fn options(compression: Compression, block_bytes: usize) -> TableOptions {
    TableOptions { compression, block_bytes }
}

fn record(value: Option<&[u8]>, number: u64) -> Record {
    Record {
        value: value.map(Bytes::copy_from_slice),
        version: Version(number),
        timestamp: Timestamp(1_700_000_000_000_000 + number),
    }
}

fn some_rows(count: u64) -> Rows {
    let row = |n: u64| {
        let value = format!("value of {n}").repeat(1 + usize::try_from(n % 9).unwrap());
        let value = (n % 7 != 3).then_some(value.as_bytes());
        (format!("key-{:05}", n * 3).into_bytes(), record(value, n))
    };
    (0..count).map(row).collect()
}

fn list(rows: &Rows) -> List {
    rows.iter().map(|(key, record)| (key.clone().into(), record.clone())).collect()
}

fn write(scratch: &Scratch, options: TableOptions, rows: &Rows) -> TableSummary {
    scratch.write(TableId(1), options, list(rows)).unwrap()
}

fn open(scratch: &Scratch, summary: &TableSummary) -> Arc<Table> {
    scratch.open(summary, &Arc::new(BlockCache::new(BUDGET))).unwrap()
}

fn collect(mut cursor: TableCursor) -> Result<List, StorageError> {
    let mut rows = Vec::new();
    while let Some(row) = cursor.shared_row() {
        let borrowed = cursor.row().unwrap();
        assert_eq!(borrowed.key, row.0);
        assert_eq!(borrowed.value, row.1.value.as_deref());
        assert_eq!((borrowed.version, borrowed.timestamp), (row.1.version, row.1.timestamp));
        rows.push(row);
        // Every third time the way that every row can be reached by.
        if rows.len().is_multiple_of(3) || cursor.advance_nearby().is_none() {
            cursor.advance()?;
        }
    }
    assert!(cursor.advance_nearby().is_none());
    cursor.advance()?;
    assert!(cursor.row().is_none());
    Ok(rows)
}

fn read_all(table: &Arc<Table>, direction: Direction, from: Bound<&[u8]>) -> List {
    collect(TableCursor::seek(table, direction, from).unwrap()).unwrap()
}

mod damage;
mod image;

#[test]
fn a_table_reads_back() {
    let (_machine, scratch) = machine();
    let rows = some_rows(1000);
    for compression in compressions() {
        let summary = write(&scratch, options(compression, 300), &rows);
        let table = open(&scratch, &summary);
        for (key, record) in &rows {
            assert!(table.may_contain(KeyHash::of(key)));
            assert_eq!(table.get(key).unwrap().as_ref(), Some(record));
            assert_eq!(
                table.cached_value(key, KeyHash::of(key)),
                Cached::from(record.value.clone())
            );
            let near = [key.as_slice(), b"\0"].concat();
            assert_eq!(table.get(&near).unwrap(), None);
        }
        assert_eq!(read_all(&table, Direction::Forward, Bound::Unbounded), list(&rows));
        table.verify().unwrap();
    }
}

#[test]
fn a_summary_tells_what_was_written() {
    let (machine, scratch) = machine();
    let rows = some_rows(100);
    let summary = write(&scratch, TableOptions::default(), &rows);
    let bytes = &machine.fs.read_file(&scratch.path(TableId(1))).unwrap();
    assert_eq!(summary.id, TableId(1));
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(summary.hash, *blake3::hash(bytes).as_bytes());
    assert_eq!(summary.rows, 100);
    assert_eq!(summary.tombstones, rows.values().filter(|r| r.is_tombstone()).count() as u64);
    assert_eq!(summary.key_bytes, 900);
    assert_eq!(summary.value_bytes, rows.values().map(Record::value_bytes).sum::<usize>() as u64);
    assert_eq!(summary.first_key, "key-00000");
    assert_eq!(summary.last_key, "key-00297");
}

#[test]
#[should_panic(expected = "a table has at least one row")]
fn a_table_without_rows_is_not_written() {
    let (_machine, scratch) = machine();
    write(&scratch, TableOptions::default(), &Rows::new());
}

#[test]
#[should_panic(expected = "rows must ascend strictly")]
fn rows_out_of_order_are_not_written() {
    let (_machine, scratch) = machine();
    let row = (Bytes::from("a"), record(None, 1));
    let _ = scratch.write(TableId(1), TableOptions::default(), [row.clone(), row]);
}

#[test]
fn long_rows_have_blocks_of_their_own() {
    let (_machine, scratch) = machine();
    let mut rows = some_rows(50);
    let long_key = vec![b'm'; 1 << 16];
    for (key, len) in [(b"a".to_vec(), 3 << 20), (b"key-00010".to_vec(), 5000), (long_key, 0)] {
        rows.insert(key, record(Some(&vec![7; len]), 9));
    }
    for compression in compressions() {
        let summary = write(&scratch, options(compression, 4096), &rows);
        let table = open(&scratch, &summary);
        assert_eq!(read_all(&table, Direction::Forward, Bound::Unbounded), list(&rows));
        for (key, record) in &rows {
            assert_eq!(table.get(key).unwrap().as_ref(), Some(record));
        }
    }
}

#[test]
fn what_is_in_memory_is_known_without_the_disk() {
    let (machine, scratch) = machine();
    let summary = write(&scratch, options(Compression::Off, 300), &some_rows(2000));
    let cache = Arc::new(BlockCache::new(BUDGET));
    let table = scratch.open(&summary, &cache).unwrap();
    assert_eq!(table.cached_value(b"key-00300", KeyHash::of(b"key-00300")), Cached::NeedsRead);
    // It would stand in the last block.
    assert_eq!(table.cached_value(b"zzz", KeyHash::of(b"zzz")), Cached::NeedsRead);
    table.get(b"key-00300").unwrap();
    let operations = machine.fs.operations();
    assert_eq!(
        table.cached_value(b"key-00300", KeyHash::of(b"key-00300")),
        Cached::from(some_rows(101)[&b"key-00300"[..]].value.clone())
    );
    // Neighbours came along while there was room.
    assert!(matches!(
        table.cached_value(b"key-00315", KeyHash::of(b"key-00315")),
        Cached::Value(_)
    ));
    assert!(matches!(table.cached_value(b"key-00316", KeyHash::of(b"key-00316")), Cached::Absent));
    assert_eq!(machine.fs.operations(), operations);
}

#[test]
fn a_key_that_is_not_there_costs_one_block_and_no_neighbours() {
    let (_machine, scratch) = machine();
    let rows = some_rows(2000);
    let summary = write(&scratch, options(Compression::Off, 300), &rows);
    let cache = Arc::new(BlockCache::new(BUDGET));
    let table = scratch.open(&summary, &cache).unwrap();
    // As a filter lets one in a hundred pass.
    assert_eq!(table.get(b"key-00301").unwrap(), None);
    let one_block = cache.used();
    assert!(one_block < 1000, "{one_block} bytes");
    assert_eq!(table.get(b"key-00300").unwrap().as_ref(), Some(&rows[&b"key-00300"[..]]));
    assert_eq!(cache.used(), one_block, "the block was there");
    assert_eq!(table.get(b"key-01500").unwrap().as_ref(), Some(&rows[&b"key-01500"[..]]));
    assert!(cache.used() > 10 * one_block, "{} bytes", cache.used());
}

#[test]
fn a_cursor_that_bypasses_the_cache_leaves_it_alone_and_reads_in_large_pieces() {
    let (machine, scratch) = machine();
    let rows = some_rows(20_000);
    let summary = write(&scratch, TableOptions::default(), &rows);
    let cache = Arc::new(BlockCache::new(BUDGET));
    let table = scratch.open(&summary, &cache).unwrap();
    for direction in [Direction::Forward, Direction::Backward] {
        let operations = machine.fs.operations();
        let cursor = TableCursor::seek_with(&table, direction, Bound::Unbounded, Fill::Bypass);
        assert_eq!(collect(cursor.unwrap()).unwrap().len(), rows.len());
        assert_eq!(cache.used(), 0);
        let reads = machine.fs.operations() - operations;
        assert!(reads <= 4 + summary.bytes / (200 << 10), "{reads} reads");
    }
}

#[test]
fn an_evicted_block_is_read_again() {
    let (_machine, scratch) = machine();
    let rows = some_rows(5000);
    let summary = write(&scratch, TableOptions::default(), &rows);
    let cache = Arc::new(BlockCache::new(20 << 10));
    let table = scratch.open(&summary, &cache).unwrap();
    for _ in 0..2 {
        for (key, record) in rows.iter().step_by(7) {
            assert_eq!(table.get(key).unwrap().as_ref(), Some(record));
            assert!(cache.used() <= cache.budget());
        }
    }
    assert!(cache.is_full());
    drop(table);
    assert_eq!(cache.used(), 0);
    assert!(!cache.is_full());
}

#[test]
fn memory_of_an_open_table_is_small() {
    let (_machine, scratch) = machine();
    let rows: Rows = (0..100_000_u64)
        .map(|n| (format!("{n:016x}").into_bytes(), record(Some(&[0; 100]), n)))
        .collect();
    let table = open(&scratch, &write(&scratch, TableOptions::default(), &rows));
    // Ten millions of such rows are to fit into 25 MiB.
    assert!(table.resident_bytes() < (25 << 20) / 100, "{}", table.resident_bytes());
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few letters, a zero among them, so that keys are prefixes of one another and heads tie.
    let letter = prop_oneof![Just(0_u8), Just(b'a'), Just(b'b'), Just(0xff)];
    let short = proptest::collection::vec(letter, 0..6);
    (any::<bool>(), 0..3_usize, short).prop_map(|(long, prefixes, end)| {
        let prefix: &[u8] = if long { b"a rather long prefix/" } else { b"" };
        [prefix.repeat(prefixes), end].concat()
    })
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        4 => proptest::collection::vec(0..4_u8, 0..40).prop_map(Some),
        1 => (0..4_u8, 0..5000_usize).prop_map(|(byte, len)| Some(vec![byte; len])),
    ]
}

fn rows() -> impl Strategy<Value = Rows> {
    let row = (key(), value(), any::<u64>(), any::<u64>(), any::<bool>());
    let rows = proptest::collection::vec(row, 1..120);
    rows.prop_map(|rows| {
        let row = |(key, value, version, stamp, narrow): (_, Option<Vec<u8>>, _, _, _)| {
            let (version, timestamp) = if narrow {
                (Version(7), Timestamp(8))
            } else {
                (Version(version), Timestamp(stamp))
            };
            (key, Record { value: value.map(Bytes::from), version, timestamp })
        };
        rows.into_iter().map(row).collect()
    })
}

fn bound(kind: u8, key: &[u8]) -> Bound<&[u8]> {
    match kind {
        0 => Bound::Included(key),
        1 => Bound::Excluded(key),
        _ => Bound::Unbounded,
    }
}

fn expected(rows: &Rows, direction: Direction, from: Bound<&[u8]>) -> List {
    let range = match direction {
        Direction::Forward => (from, Bound::Unbounded),
        Direction::Backward => (Bound::Unbounded, from),
    };
    let within = rows.range::<[u8], _>(range);
    let mut within: List = within.map(|(k, r)| (k.clone().into(), r.clone())).collect();
    if direction == Direction::Backward {
        within.reverse();
    }
    within
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_table_is_the_map_it_was_written_from(
        rows in rows(),
        probes in proptest::collection::vec((key(), 0..3_u8), 1..30),
        block_bytes in 1..600_usize,
        budget in prop_oneof![Just(0_u64), Just(3000), Just(BUDGET)],
        bypass in any::<bool>(),
    ) {
        let (_machine, scratch) = machine();
        let fill = if bypass { Fill::Bypass } else { Fill::Cache };
        for compression in compressions() {
            let summary = write(&scratch, options(compression, block_bytes), &rows);
            let cache = Arc::new(BlockCache::new(budget));
            let table = scratch.open(&summary, &cache).unwrap();
            let inner = rows.keys().map(|key| (key.clone(), 0)).step_by(9);
            for (key, kind) in probes.iter().cloned().chain(inner) {
                prop_assert_eq!(table.get(&key).unwrap(), rows.get(&key).cloned());
                for direction in [Direction::Forward, Direction::Backward] {
                    let from = bound(kind, &key);
                    let cursor = TableCursor::seek_with(&table, direction, from, fill).unwrap();
                    let found = collect(cursor).unwrap();
                    prop_assert_eq!(found, expected(&rows, direction, from));
                }
                prop_assert!(cache.used() <= budget);
            }
            table.verify().unwrap();
        }
    }

    #[test]
    fn a_cursor_ends_with_its_bound(
        rows in rows(),
        bounds in proptest::collection::vec((key(), 0..3_u8, key(), 0..3_u8), 1..30),
        block_bytes in 1..600_usize,
    ) {
        let (_machine, scratch) = machine();
        let summary = write(&scratch, options(Compression::Off, block_bytes), &rows);
        let table = open(&scratch, &summary);
        let inner = rows.keys().zip(rows.keys().skip(5)).step_by(9);
        let inner = inner.map(|(from, to)| (from.clone(), 0, to.clone(), 1));
        for (from, from_kind, to, to_kind) in bounds.into_iter().chain(inner) {
            let (from, to) = (bound(from_kind, &from), bound(to_kind, &to));
            for direction in [Direction::Forward, Direction::Backward] {
                let end = to.map(Bytes::copy_from_slice);
                let cursor = TableCursor::seek_until(&table, direction, from, end, Fill::Cache);
                let mut wanted = expected(&rows, direction, from);
                let other = match direction {
                    Direction::Forward => Direction::Backward,
                    Direction::Backward => Direction::Forward,
                };
                let within = expected(&rows, other, to);
                wanted.retain(|row| within.contains(row));
                prop_assert_eq!(collect(cursor.unwrap()).unwrap(), wanted);
            }
        }
    }
}
