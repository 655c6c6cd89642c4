//! A hash map, whose keys are sorted when a scan needs them.

use bytes::Bytes;
use hashbrown::HashMap;
use hightower_kv::storage::record::Record;
use parking_lot::RwLock;

use crate::candidate::{SnapshotCost, Tail};

#[derive(Default)]
pub(crate) struct Behind(RwLock<Map>);

#[derive(Clone, Default)]
pub(crate) struct Map {
    records: HashMap<Bytes, Record>,
    /// All keys in order; `None` when one came since they were sorted.
    sorted: Option<Vec<Bytes>>,
}

impl Tail for Behind {
    type Snapshot = Map;

    const TITLE: &'static str = "hashbrown HashMap, sorted on demand";
    const SNAPSHOT: SnapshotCost = SnapshotCost::Copy;

    fn insert(&self, key: &Bytes, record: Record) {
        let mut map = self.0.write();
        if map.records.insert(key.clone(), record).is_none() {
            map.sorted = None;
        }
    }

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.0.read().records.get(key).cloned()
    }

    fn scan(&self, from: &Bytes, rows: usize, see: &mut dyn FnMut(&[u8], &Record)) {
        let mut map = self.0.read();
        if map.sorted.is_none() {
            drop(map);
            self.0.write().sort();
            map = self.0.read();
        }
        let sorted = map.sorted.as_deref().unwrap_or_default();
        let first = sorted.partition_point(|key| key < from);
        for key in sorted.iter().skip(first).take(rows) {
            if let Some(record) = map.records.get(key) {
                see(key, record);
            }
        }
    }

    fn snapshot(&self) -> Option<Self::Snapshot> {
        Some(self.0.read().clone())
    }
}

impl Map {
    fn sort(&mut self) {
        let mut keys: Vec<Bytes> = self.records.keys().cloned().collect();
        keys.sort_unstable();
        self.sorted = Some(keys);
    }
}
