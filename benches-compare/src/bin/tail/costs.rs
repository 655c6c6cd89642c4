//! The work that each candidate does, and what it costs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hightower_kv::storage::record::Record;
use hightower_kv::types::{Timestamp, Version};

use crate::candidate::{SnapshotCost, Tail};
use crate::data::{Random, Shape};
use crate::memory::bytes_of;

/// Operations that are timed in a structure that is small; what counts is their mean.
const OPERATIONS_MIN: usize = 200_000;
/// Gets, and overwrites.
const GETS: usize = 200_000;
const SCANS: usize = 200;
const SCAN_ROWS: usize = 1000;
/// Scans of which each comes right after a new key.
const FRESH_SCANS: usize = 5;
/// Writes from one snapshot to the next, where snapshots are taken.
const WRITES_A_SNAPSHOT: usize = 100;
/// Snapshots that are timed when each costs a pointer.
const SNAPSHOTS: usize = 10_000;

/// Nanoseconds for each operation, in the order of [`COLUMNS`]; `None` where it cannot be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs([Option<f64>; COLUMNS.len()]);

const COLUMNS: [&str; 9] = [
    "insert",
    "insert, snapshot every 100",
    "overwrite",
    "overwrite, snapshot every 100",
    "get",
    "scan of 1,000, per row",
    "the same after a new key",
    "snapshot",
    "bytes per row",
];

/// Rows, and what is done with them.
#[derive(Debug)]
pub(crate) struct Work {
    rows: Vec<(Bytes, Record)>,
    /// Keys that are none of the rows'.
    new: Vec<(Bytes, Record)>,
    /// Some of the keys, at random.
    drawn: Vec<Bytes>,
}

impl Work {
    /// With so many rows.
    pub(crate) fn new(rows: usize) -> Self {
        let shape = Shape { rows, key: 16, value: 100 };
        let entries = |rows: Vec<crate::data::Row>| -> Vec<(Bytes, Record)> {
            rows.into_iter().zip(1..).map(|(row, version)| entry(row, version)).collect()
        };
        let new = Shape { rows: FRESH_SCANS, ..shape }.rows_from(rows);
        let (rows, new) = (entries(shape.rows()), entries(new));
        let mut random = Random(0xD0E5);
        let drawn = (0..GETS).filter_map(|_| rows.get(random.below(rows.len())));
        let drawn = drawn.map(|(key, _)| key.clone()).collect();
        Self { rows, new, drawn }
    }

    /// Does all of it with a candidate.
    pub(crate) fn measure<T: Tail>(&self) -> Costs {
        let has_snapshots = T::SNAPSHOT == SnapshotCost::Pointer;
        let (insert, tail) = self.time_inserts::<T>(false);
        let inserts_shared = has_snapshots.then(|| self.time_inserts::<T>(true).0);
        let overwrite = self.time_overwrites(&tail, false);
        let overwrite_shared = has_snapshots.then(|| self.time_overwrites(&tail, true));
        let get = self.time_gets(&tail);
        let scan = self.time_scans(&tail);
        let snapshot = time_snapshots(&tail);
        let scan_fresh = self.time_fresh_scans(&tail);
        let bytes = bytes_of(|| self.filled::<T>()) as f64 / self.rows.len() as f64;
        Costs([
            Some(insert),
            inserts_shared,
            Some(overwrite),
            overwrite_shared,
            Some(get),
            Some(scan),
            Some(scan_fresh),
            snapshot,
            Some(bytes),
        ])
    }

    fn filled<T: Tail>(&self) -> T {
        let tail = T::default();
        for (key, record) in &self.rows {
            tail.insert(key, record.clone());
        }
        tail
    }

    /// Fills as many new structures as it takes; gives the last one, too.
    fn time_inserts<T: Tail>(&self, with_snapshots: bool) -> (f64, T) {
        let runs = OPERATIONS_MIN.div_ceil(self.rows.len());
        let mut time = Duration::ZERO;
        let mut tail = T::default();
        for _ in 0..runs {
            tail = T::default();
            time += timed_writes(&tail, self.rows.iter(), with_snapshots);
        }
        (per(time, runs * self.rows.len()), tail)
    }

    fn time_overwrites<T: Tail>(&self, tail: &T, with_snapshots: bool) -> f64 {
        let record = |key: &Bytes, version| {
            let value = Some(key.clone());
            Record { value, version: Version(version), timestamp: Timestamp(version) }
        };
        let rows = self.drawn.iter().zip(1..);
        let rows: Vec<(Bytes, Record)> =
            rows.map(|(key, version)| (key.clone(), record(key, version))).collect();
        per(timed_writes(tail, rows.iter(), with_snapshots), rows.len())
    }

    fn time_gets<T: Tail>(&self, tail: &T) -> f64 {
        let started = Instant::now();
        for key in &self.drawn {
            black_box(tail.get(black_box(key)));
        }
        per(started.elapsed(), self.drawn.len())
    }

    fn time_scans<T: Tail>(&self, tail: &T) -> f64 {
        // Whatever is put off until a scan is done now: what that costs has its own column.
        scan(tail, &Bytes::new());
        let mut rows = 0;
        let started = Instant::now();
        for from in self.drawn.iter().take(SCANS) {
            rows += scan(tail, from);
        }
        per(started.elapsed(), rows)
    }

    fn time_fresh_scans<T: Tail>(&self, tail: &T) -> f64 {
        let (mut time, mut rows) = (Duration::ZERO, 0);
        for ((key, record), from) in self.new.iter().zip(&self.drawn) {
            tail.insert(key, record.clone());
            let started = Instant::now();
            rows += scan(tail, from);
            time += started.elapsed();
        }
        per(time, rows)
    }
}

fn entry(row: crate::data::Row, version: u64) -> (Bytes, Record) {
    let value = Some(Bytes::from(row.value));
    (row.key.into(), Record { value, version: Version(version), timestamp: Timestamp(version) })
}

/// Writes the rows; with a snapshot every so often, each of which lives until the next.
fn timed_writes<'a, T: Tail>(
    tail: &T,
    rows: impl Iterator<Item = &'a (Bytes, Record)>,
    with_snapshots: bool,
) -> Duration {
    let mut snapshot = None;
    let started = Instant::now();
    for (number, (key, record)) in rows.enumerate() {
        if with_snapshots && number % WRITES_A_SNAPSHOT == 0 {
            snapshot = tail.snapshot();
        }
        tail.insert(key, record.clone());
    }
    let time = started.elapsed();
    drop(snapshot);
    time
}

/// Goes over rows from a key on; how many there were.
fn scan<T: Tail>(tail: &T, from: &Bytes) -> usize {
    let mut rows = 0;
    tail.scan(from, SCAN_ROWS, &mut |key, record| {
        black_box((key.first(), record.version));
        rows += 1;
    });
    rows
}

fn time_snapshots<T: Tail>(tail: &T) -> Option<f64> {
    let count = match T::SNAPSHOT {
        SnapshotCost::Never => return None,
        SnapshotCost::Copy => 1,
        SnapshotCost::Pointer => SNAPSHOTS,
    };
    let started = Instant::now();
    for _ in 0..count {
        black_box(tail.snapshot());
    }
    Some(per(started.elapsed(), count))
}

fn per(time: Duration, operations: usize) -> f64 {
    time.as_secs_f64() * 1e9 / operations.max(1) as f64
}

impl Costs {
    /// The head of the table.
    pub(crate) fn head() -> String {
        let columns = COLUMNS.join(" | ");
        let rule = "--:|".repeat(COLUMNS.len());
        format!("| structure | rows | {columns} |\n|---|--:|{rule}")
    }

    /// The cells of a line.
    pub(crate) fn medians(all: &[Self]) -> String {
        let cells = (0..COLUMNS.len()).map(|column| {
            let values = all.iter().filter_map(|costs| costs.0.get(column).copied().flatten());
            let mut values: Vec<f64> = values.collect();
            values.sort_unstable_by(f64::total_cmp);
            match values.get(values.len() / 2) {
                Some(value) if *value < 100.0 => format!("{value:.1}"),
                Some(value) => format!("{value:.0}"),
                None => "-".to_owned(),
            }
        });
        cells.collect::<Vec<_>>().join(" | ")
    }
}
