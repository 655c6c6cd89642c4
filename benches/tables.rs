//! Tables by themselves: gets from one whose blocks are all in memory, a walk over all rows, and
//! writing one.
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]

#[path = "support/data.rs"]
mod data;

use std::hint::black_box;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use hightower_kv::env::Env;
use hightower_kv::storage::record::{Direction, Record};
use hightower_kv::storage::table::scratch::Scratch;
use hightower_kv::storage::table::{
    BlockCache, Fill, KeyHash, Table, TableCursor, TableOptions, TableSummary,
};
use hightower_kv::{Timestamp, Version};

use crate::data::Shape;

const SMALL: Shape = Shape { rows: 1000, key: 16, value: 100 };
const LARGE: Shape = Shape { rows: 1_000_000, key: 16, value: 100 };
const GETS: usize = 100_000;

/// Rows in key order, and their keys in another.
struct Input {
    rows: Vec<(Bytes, Record)>,
    /// One behind the other: a caller has just made the key that it asks for.
    keys: Vec<[u8; 16]>,
}

impl Input {
    fn of(shape: Shape) -> Self {
        let mut rows: Vec<(Bytes, Record)> = Vec::new();
        for (number, (key, value)) in (0..).zip(shape.rows()) {
            let record = Record {
                value: Some(value.into()),
                version: Version(number),
                timestamp: Timestamp(1_700_000_000_000_000 + number * 3),
            };
            rows.push((key.into(), record));
        }
        let key = |(key, _): &(Bytes, Record)| key.as_ref().try_into().expect("16 bytes");
        let keys = rows.iter().map(key).take(GETS).collect();
        rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Self { rows, keys }
    }
}

struct Stage {
    scratch: Scratch,
    _directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let scratch = Scratch::new(Env::system(), directory.path()).expect("a folder of tables");
        Self { scratch, _directory: directory }
    }

    fn write(&self, input: &Input) -> TableSummary {
        let rows = input.rows.iter().cloned();
        let options = TableOptions::default();
        self.scratch.write(hightower_kv::types::TableId(1), options, rows).expect("a table")
    }

    fn open(&self, summary: &TableSummary, budget: u64) -> Arc<Table> {
        self.scratch.open(summary, &Arc::new(BlockCache::new(budget))).expect("opens")
    }
}

fn get_all(table: &Table, keys: &[[u8; 16]]) -> usize {
    let get = |key: &[u8; 16]| {
        if !table.may_contain(KeyHash::of(key)) {
            return 0;
        }
        let found = table.get(key).expect("reads");
        found.and_then(|record| record.value).map_or(0, |value| value.len())
    };
    keys.iter().map(get).sum()
}

fn scan_all(table: &Arc<Table>, fill: Fill) -> usize {
    let mut cursor =
        TableCursor::seek_with(table, Direction::Forward, Bound::Unbounded, fill).expect("seeks");
    let mut bytes = 0;
    while let Some(row) = cursor.row() {
        bytes += row.key.len() + row.value.map_or(0, <[u8]>::len);
        cursor.advance().expect("advances");
    }
    bytes
}

fn tables(c: &mut Criterion) {
    let mut group = c.benchmark_group("tables");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));

    let (small, stage) = (Input::of(SMALL), Stage::new());
    let table = stage.open(&stage.write(&small), 1 << 30);
    group.throughput(Throughput::Elements(small.keys.len() as u64));
    group.bench_function("get_hot_small", |b| b.iter(|| get_all(&table, black_box(&small.keys))));

    let (large, stage) = (Input::of(LARGE), Stage::new());
    let summary = stage.write(&large);
    let table = stage.open(&summary, 1 << 30);
    group.throughput(Throughput::Elements(large.keys.len() as u64));
    scan_all(&table, Fill::Cache);
    group.bench_function("get_1m", |b| b.iter(|| get_all(&table, black_box(&large.keys))));
    group.bench_function("get_1m_cold", |b| {
        b.iter_with_setup(
            || stage.open(&summary, 16 << 20),
            |table| get_all(&table, black_box(&large.keys)),
        );
    });
    group.throughput(Throughput::Elements(large.rows.len() as u64));
    group.bench_function("scan_1m", |b| b.iter(|| scan_all(&table, Fill::Cache)));
    let uncached = stage.open(&summary, 0);
    group.bench_function("scan_1m_cold", |b| b.iter(|| scan_all(&uncached, Fill::Bypass)));
    group.bench_function("write_1m", |b| b.iter(|| stage.write(&large)));
    group.finish();
}

criterion_group!(benches, tables);
criterion_main!(benches);
