//! Adaptive radix trees of the crate `rart`: the plain one, and the one with snapshots.
//!
//! Not `blart`: it refuses a key that begins with another one, and keys here may be any bytes.

use bytes::Bytes;
use hightower_kv::storage::record::Record;
use parking_lot::RwLock;
use rart::{AdaptiveRadixTree, KeyTrait, OverflowKey, VersionedAdaptiveRadixTree};

use crate::candidate::{SnapshotCost, Tail};

/// Bytes of a key that are kept in place, and of a node's prefix.
type Key = OverflowKey<32, 8>;

pub(crate) struct Behind(RwLock<AdaptiveRadixTree<Key, Record>>);

impl Default for Behind {
    fn default() -> Self {
        Self(RwLock::new(AdaptiveRadixTree::new()))
    }
}

impl Tail for Behind {
    type Snapshot = ();

    const TITLE: &'static str = "rart AdaptiveRadixTree";
    const SNAPSHOT: SnapshotCost = SnapshotCost::Never;

    fn insert(&self, key: &Bytes, record: Record) {
        self.0.write().insert_k(&Key::new_from_slice(key), record);
    }

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.0.read().get_bytes(key).cloned()
    }

    fn scan(&self, from: &Bytes, rows: usize, see: &mut dyn FnMut(&[u8], &Record)) {
        let tree = self.0.read();
        let range = tree.range(Key::new_from_slice(from)..);
        range.take(rows).for_each(|(key, record)| see(key.as_ref(), record));
    }

    fn snapshot(&self) -> Option<()> {
        None
    }
}

pub(crate) struct VersionedBehind(RwLock<VersionedAdaptiveRadixTree<Key, Record>>);

impl Default for VersionedBehind {
    fn default() -> Self {
        Self(RwLock::new(VersionedAdaptiveRadixTree::new()))
    }
}

impl Tail for VersionedBehind {
    type Snapshot = VersionedAdaptiveRadixTree<Key, Record>;

    const TITLE: &'static str = "rart VersionedAdaptiveRadixTree";
    const SNAPSHOT: SnapshotCost = SnapshotCost::Pointer;

    fn insert(&self, key: &Bytes, record: Record) {
        self.0.write().insert_k(&Key::new_from_slice(key), record);
    }

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.0.read().get_k(&Key::new_from_slice(key)).cloned()
    }

    fn scan(&self, from: &Bytes, rows: usize, see: &mut dyn FnMut(&[u8], &Record)) {
        let tree = self.0.read();
        let range = tree.range(Key::new_from_slice(from)..);
        range.take(rows).for_each(|(key, record)| see(key.as_ref(), record));
    }

    fn snapshot(&self) -> Option<Self::Snapshot> {
        Some(self.0.read().snapshot())
    }
}
