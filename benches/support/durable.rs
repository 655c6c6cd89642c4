//! Puts that are on the device when they return, and the bare loop beside them.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use hightower_kv::KvEngine;
use hightower_kv::state::Durability;

use crate::bare::BareLog;
use crate::data::Shape;
use crate::store::{open, scratch};

/// So many threads, and so many puts by each of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) threads: usize,
    pub(crate) puts_each: usize,
}

impl Load {
    /// All puts together.
    pub(crate) const fn shape(self) -> Shape {
        Shape { rows: self.threads * self.puts_each, key: 16, value: 64 }
    }
}

/// What is measured.
pub(crate) const LOADS: [Load; 3] = [
    Load { threads: 1, puts_each: 512 },
    Load { threads: 16, puts_each: 128 },
    Load { threads: 64, puts_each: 64 },
];

/// From the first put of any thread to the last answer.
pub(crate) fn engine(load: Load) -> Duration {
    let directory = scratch();
    let store = open(directory.path(), Durability::Synced);
    let mut rows = load.shape().rows();
    let start = Barrier::new(load.threads);
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..load.threads {
            let mine = rows.split_off(rows.len() - load.puts_each);
            let (store, start) = (&store, &start);
            threads.push(scope.spawn(move || {
                start.wait();
                let started = Instant::now();
                for (key, value) in mine {
                    store.put(key, value).expect("a put");
                }
                (started, Instant::now())
            }));
        }
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    span(&spans)
}

/// From the first beginning to the last end.
pub(crate) fn span(spans: &[(Instant, Instant)]) -> Duration {
    let first = spans.iter().map(|span| span.0).min().expect("a thread");
    let last = spans.iter().map(|span| span.1).max().expect("a thread");
    last - first
}

/// One thread that appends a record and syncs the file, again and again.
pub(crate) fn bare(shape: Shape) -> Duration {
    let directory = scratch();
    let rows = shape.rows();
    let mut log = BareLog::create(directory.path(), shape.rows, shape.key + shape.value);
    log.file.sync().expect("a bare sync");
    let started = Instant::now();
    for (key, value) in &rows {
        log.append(key, value);
        log.file.sync().expect("a bare sync");
    }
    started.elapsed()
}
