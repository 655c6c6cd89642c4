//! `std::collections::BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use hightower_kv::storage::record::Record;
use parking_lot::RwLock;

use crate::candidate::{SnapshotCost, Tail};

#[derive(Default)]
pub(crate) struct Behind(RwLock<BTreeMap<Bytes, Record>>);

impl Tail for Behind {
    type Snapshot = BTreeMap<Bytes, Record>;

    const TITLE: &'static str = "std BTreeMap";
    const SNAPSHOT: SnapshotCost = SnapshotCost::Copy;

    fn insert(&self, key: &Bytes, record: Record) {
        self.0.write().insert(key.clone(), record);
    }

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.0.read().get(key).cloned()
    }

    fn scan(&self, from: &Bytes, rows: usize, see: &mut dyn FnMut(&[u8], &Record)) {
        let map = self.0.read();
        let range = map.range::<[u8], _>((Bound::Included(from.as_ref()), Bound::Unbounded));
        range.take(rows).for_each(|(key, record)| see(key, record));
    }

    fn snapshot(&self) -> Option<Self::Snapshot> {
        Some(self.0.read().clone())
    }
}
