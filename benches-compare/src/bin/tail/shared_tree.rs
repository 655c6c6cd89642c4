//! The copy-on-write B+tree of this crate.

use std::ops::Bound;

use bytes::Bytes;
use hightower_kv::storage::index::Index;
use hightower_kv::storage::record::Record;
use parking_lot::RwLock;

use crate::candidate::{SnapshotCost, Tail};

#[derive(Default)]
pub(crate) struct Behind(RwLock<Index<Record>>);

impl Tail for Behind {
    type Snapshot = Index<Record>;

    const TITLE: &'static str = "storage::index::Index";
    const SNAPSHOT: SnapshotCost = SnapshotCost::Pointer;

    fn insert(&self, key: &Bytes, record: Record) {
        self.0.write().insert(key.clone(), record);
    }

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.0.read().get(key).cloned()
    }

    fn scan(&self, from: &Bytes, rows: usize, see: &mut dyn FnMut(&[u8], &Record)) {
        let index = self.0.read();
        let range = index.range((Bound::Included(from.as_ref()), Bound::Unbounded));
        range.take(rows).for_each(|(key, record)| see(key, record));
    }

    fn snapshot(&self) -> Option<Self::Snapshot> {
        Some(self.0.read().clone())
    }
}
