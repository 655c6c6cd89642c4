//! Gets of keys that are there, and a shared map beside them.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::RwLock;
use tempfile::TempDir;

use hightower_kv::state::Durability;
use hightower_kv::{KvEngine, SingleNodeEngine};

use crate::data::{Random, Shape};
use crate::store::{open, scratch};

/// What is read.
pub(crate) const GET_4K: Shape = Shape { rows: 4096, key: 16, value: 64 };

/// A store with the rows of [`GET_4K`], and their keys in another order than they were written.
pub(crate) struct Store {
    engine: Option<SingleNodeEngine>,
    directory: TempDir,
    keys: Vec<Vec<u8>>,
}

impl Store {
    pub(crate) fn new() -> Self {
        let directory = scratch();
        let engine = open(directory.path(), Durability::Buffered);
        let rows = GET_4K.rows();
        let mut keys: Vec<_> = rows.iter().map(|(key, _)| key.clone()).collect();
        Random(0xFACE).shuffle(&mut keys);
        for (key, value) in rows {
            engine.put(key, value).expect("a put");
        }
        Self { engine: Some(engine), directory, keys }
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(&mut self) {
        drop(self.engine.take());
        self.engine = Some(open(self.directory.path(), Durability::Buffered));
    }

    /// How long so many threads take that each get every key `passes` times: from the beginning of
    /// the first to the end of the last.
    pub(crate) fn get_all(&self, threads: usize, passes: u64) -> Duration {
        let engine = self.engine.as_ref().expect("the store is open");
        timed(threads, || {
            for _ in 0..passes {
                for key in &self.keys {
                    let value = engine.get(black_box(key)).expect("a get");
                    assert!(black_box(value).is_some(), "every key is there");
                }
            }
        })
    }
}

/// What could not be much less: an ordered map of shared buffers behind one lock for all readers.
pub(crate) struct BareMap {
    map: RwLock<BTreeMap<Bytes, Bytes>>,
    keys: Vec<Vec<u8>>,
}

impl BareMap {
    pub(crate) fn new() -> Self {
        let rows = GET_4K.rows();
        let mut keys: Vec<_> = rows.iter().map(|(key, _)| key.clone()).collect();
        Random(0xFACE).shuffle(&mut keys);
        let rows = rows.into_iter().map(|(key, value)| (Bytes::from(key), Bytes::from(value)));
        Self { map: RwLock::new(rows.collect()), keys }
    }

    /// As [`Store::get_all`].
    pub(crate) fn get_all(&self, threads: usize, passes: u64) -> Duration {
        timed(threads, || {
            for _ in 0..passes {
                for key in &self.keys {
                    let value = self.map.read().get(black_box(key.as_slice())).cloned();
                    assert!(black_box(value).is_some(), "every key is there");
                }
            }
        })
    }
}

/// Runs the same on so many threads; on this one when it is one.
fn timed(threads: usize, run: impl Fn() + Sync) -> Duration {
    let start = Barrier::new(threads);
    let span = || {
        start.wait();
        let started = Instant::now();
        run();
        (started, Instant::now())
    };
    if threads == 1 {
        let (started, ended) = span();
        return ended - started;
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(span)).collect();
        let spans = threads.into_iter().map(|thread| thread.join().expect("a thread"));
        let (started, ended): (Vec<_>, Vec<_>) = spans.unzip();
        let ended = ended.into_iter().max().expect("a thread");
        ended - started.into_iter().min().expect("a thread")
    })
}
