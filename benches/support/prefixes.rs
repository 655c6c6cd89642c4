//! Rows of a prefix, among ten thousand that were just written, and a map beside them.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hightower_kv::state::Durability;
use hightower_kv::{KvEngine, ReadContext, SingleNodeEngine};
use tempfile::TempDir;

use crate::data::{Random, Shape};
use crate::store::{open, scratch};

/// What the store holds.
pub(crate) const STORED: Shape = Shape { rows: 10_000, key: 16, value: 100 };
/// Rows that a prefix may have here.
pub(crate) const MATCHES: [usize; 3] = [10, 100, 1000];

/// A store and a map with the same rows.
pub(crate) struct Prefixed {
    engine: SingleNodeEngine,
    map: BTreeMap<Bytes, Bytes>,
    _directory: TempDir,
}

impl Prefixed {
    pub(crate) fn new() -> Self {
        let directory = scratch();
        let engine = open(directory.path(), Durability::Buffered);
        let mut map = BTreeMap::new();
        let mut numbers: Vec<_> = (0..STORED.rows).collect();
        Random(0x5EED).shuffle(&mut numbers);
        for (number, (_, value)) in numbers.into_iter().zip(STORED.rows()) {
            let key = format!("user:{number:011}");
            map.insert(key.clone().into(), value.clone().into());
            engine.put(key.into_bytes(), value).expect("a put");
        }
        Self { engine, map, _directory: directory }
    }

    /// How long it takes to get all rows as lists of so many.
    pub(crate) fn get_prefix(&self, matches: usize) -> Duration {
        timed(matches, |prefix| self.engine.get_prefix(prefix).expect("rows").len())
    }

    /// The same with rows that are lent one by one.
    pub(crate) fn cursor(&self, matches: usize) -> Duration {
        timed(matches, |prefix| {
            let view = self.engine.view(ReadContext::default()).expect("a view");
            let mut rows = view.cursor_prefix(prefix).expect("a cursor");
            let mut count = 0;
            while let Some(row) = rows.next().expect("a row") {
                black_box((row.key, row.value));
                count += 1;
            }
            count
        })
    }

    /// The same by going over all rows and leaving out those that do not match.
    pub(crate) fn scan(&self, matches: usize) -> Duration {
        timed(matches, |prefix| {
            let view = self.engine.view(ReadContext::default()).expect("a view");
            let rows = view.iter().map(|row| row.expect("a row"));
            rows.filter(|(key, _)| key.starts_with(prefix)).map(black_box).count()
        })
    }

    /// The same from the map, whose rows are lent.
    pub(crate) fn bare(&self, matches: usize) -> Duration {
        timed(matches, |prefix| {
            let rows = self.map.range(Bytes::copy_from_slice(prefix)..);
            rows.take_while(|(key, _)| key.starts_with(prefix)).map(black_box).count()
        })
    }
}

/// Asks for every prefix once, in random order.
fn timed(matches: usize, count: impl Fn(&[u8]) -> usize) -> Duration {
    let width = 11 - matches.ilog10() as usize;
    let mut prefixes: Vec<_> = (0..STORED.rows / matches).collect();
    Random(0xF1F0).shuffle(&mut prefixes);
    let prefixes = prefixes.iter().map(|number| format!("user:{number:0width$}"));
    let prefixes: Vec<_> = prefixes.collect();
    let started = Instant::now();
    for prefix in &prefixes {
        assert_eq!(black_box(count(prefix.as_bytes())), matches);
    }
    started.elapsed()
}
