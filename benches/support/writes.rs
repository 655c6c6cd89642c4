//! Buffered puts into a new store, and the bare loop beside them.

use std::time::{Duration, Instant};

use hightower_kv::KvEngine;
use hightower_kv::state::Durability;

use crate::bare::BareLog;
use crate::data::{Rows, Shape};
use crate::parallel::puts;
use crate::store::{open, scratch};

/// The shapes of the rows `put_1k`.
pub(crate) const PUT_1K: [(&str, Shape); 3] = [
    ("small", Shape { rows: 1024, key: 16, value: 64 }),
    ("medium", Shape { rows: 1024, key: 16, value: 512 }),
    ("large", Shape { rows: 1024, key: 32, value: 4096 }),
];

/// The shape of the row `put_200k/small100`.
pub(crate) const PUT_200K: Shape = Shape { rows: 200_000, key: 16, value: 100 };

/// The shape of the rows `engine_writes_parallel`, and how many threads share its puts.
pub(crate) const PARALLEL: Shape = Shape { rows: 4096, key: 32, value: 256 };
pub(crate) const PARALLEL_THREADS: [usize; 4] = [1, 2, 4, 8];

/// How long so many threads take for the puts together.
pub(crate) fn engine_parallel(rows: Rows, threads: usize) -> Duration {
    let directory = scratch();
    let store = open(directory.path(), Durability::Buffered);
    puts(&store, rows, threads)
}

/// How long the puts alone take.
pub(crate) fn engine(rows: Rows) -> Duration {
    let directory = scratch();
    let store = open(directory.path(), Durability::Buffered);
    let started = Instant::now();
    for (key, value) in rows {
        store.put(key, value).expect("a put");
    }
    started.elapsed()
}

/// How long the bare loop takes for the same rows.
pub(crate) fn bare(shape: Shape, rows: &Rows) -> Duration {
    let directory = scratch();
    let mut log = BareLog::create(directory.path(), shape.rows, shape.key + shape.value);
    let started = Instant::now();
    for (key, value) in rows {
        log.append(key, value);
    }
    started.elapsed()
}
