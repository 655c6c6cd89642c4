//! Puts that are on the device when they return, and the bare loop beside them.

use std::time::{Duration, Instant};

use hightower_kv::state::Durability;

use crate::bare::BareLog;
use crate::data::Shape;
use crate::parallel::puts;
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
pub(crate) const LOADS: [Load; 5] = [
    Load { threads: 1, puts_each: 512 },
    Load { threads: 2, puts_each: 256 },
    Load { threads: 4, puts_each: 256 },
    Load { threads: 16, puts_each: 128 },
    Load { threads: 64, puts_each: 64 },
];

/// From the first put of any thread to the last answer.
pub(crate) fn engine(load: Load) -> Duration {
    let directory = scratch();
    let store = open(directory.path(), Durability::Synced);
    puts(&store, load.shape().rows(), load.threads)
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
