//! The concurrent skip list of `crossbeam-skiplist`, which needs no lock. A consistent state would
//! take the version into the key and a newest row to be looked for, which is not measured.

use std::ops::Bound;

use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use hightower_kv::storage::record::Record;

use crate::candidate::{SnapshotCost, Tail};

#[derive(Default)]
pub(crate) struct List(SkipMap<Bytes, Record>);

impl Tail for List {
    type Snapshot = ();

    const TITLE: &'static str = "crossbeam SkipMap";
    const SNAPSHOT: SnapshotCost = SnapshotCost::Never;

    fn insert(&self, key: &Bytes, record: Record) {
        self.0.insert(key.clone(), record);
    }

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.0.get(key).map(|entry| entry.value().clone())
    }

    fn scan(&self, from: &Bytes, rows: usize, see: &mut dyn FnMut(&[u8], &Record)) {
        let range = self.0.range::<Bytes, _>((Bound::Included(from), Bound::Unbounded));
        range.take(rows).for_each(|entry| see(entry.key(), entry.value()));
    }

    fn snapshot(&self) -> Option<()> {
        None
    }
}
