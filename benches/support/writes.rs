//! Buffered puts into a new store, and the bare loop beside them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use hightower_kv::KvEngine;
use hightower_kv::state::Durability;
use hightower_kv::storage::index::Index;

use crate::bare::BareLog;
use crate::data::{Rows, Shape};
use crate::parallel::{puts, shared_out};
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

/// How long so many threads take for the same rows through one bare loop, which they take turns in.
pub(crate) fn bare_parallel(shape: Shape, rows: Rows, threads: usize) -> Duration {
    let directory = scratch();
    let log = BareLog::create(directory.path(), shape.rows, shape.key + shape.value);
    let log = Mutex::new(log);
    shared_out(rows, threads, |key, value| log.lock().append(&key, &value))
}

/// As [`bare`], keeping the rows where others could read them: besides the write call, each row
/// gets a stamp and a place in a map behind a lock. The least that a store with its newest rows in
/// memory does for a put; but no reader could have a state that stands still.
pub(crate) fn bare_with_map(shape: Shape, rows: Rows) -> Duration {
    let directory = scratch();
    let mut log = BareLog::create(directory.path(), shape.rows, shape.key + shape.value);
    let map = RwLock::new(BTreeMap::new());
    let started = Instant::now();
    for (version, (key, value)) in rows.into_iter().enumerate() {
        log.append(&key, &value);
        let row = (Bytes::from(value), version, SystemTime::now());
        map.write().insert(Bytes::from(key), row);
    }
    started.elapsed()
}

/// As [`bare_with_map`], with states that stand still and for any thread: the log behind a lock,
/// and the rows in the index that the store has for them, a copy of which costs nothing.
pub(crate) fn bare_with_states(shape: Shape, rows: Rows) -> Duration {
    let directory = scratch();
    let log = BareLog::create(directory.path(), shape.rows, shape.key + shape.value);
    let (log, index) = (Mutex::new(log), RwLock::new(Index::new()));
    let started = Instant::now();
    for (version, (key, value)) in rows.into_iter().enumerate() {
        log.lock().append(&key, &value);
        let row = (Bytes::from(value), version, SystemTime::now());
        index.write().insert(Bytes::from(key), row);
    }
    started.elapsed()
}
