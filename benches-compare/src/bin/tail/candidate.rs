//! What a tail must do.

use bytes::Bytes;
use hightower_kv::storage::record::Record;

/// The structures that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    BTreeMap,
    HashMap,
    Radix,
    VersionedRadix,
    SkipList,
    SharedTree,
}

impl Candidate {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::BTreeMap,
        Self::HashMap,
        Self::Radix,
        Self::VersionedRadix,
        Self::SkipList,
        Self::SharedTree,
    ];
}

/// What a consistent state that stands still costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotCost {
    /// There is none.
    Never,
    /// As much as there are rows.
    Copy,
    /// A pointer now; changes copy what they touch.
    Pointer,
}

/// An ordered map from keys to records that a writer changes while readers read.
pub(crate) trait Tail: Default + Sync {
    /// A consistent state that stands still.
    type Snapshot;

    /// Its name in the table.
    const TITLE: &'static str;

    /// What [`Self::snapshot`] costs.
    const SNAPSHOT: SnapshotCost;

    /// Gives a key a record.
    fn insert(&self, key: &Bytes, record: Record);

    /// The record of a key.
    fn get(&self, key: &[u8]) -> Option<Record>;

    /// Goes over at most so many rows from a key on, in key order.
    fn scan(&self, from: &Bytes, rows: usize, see: &mut dyn FnMut(&[u8], &Record));

    /// A consistent state; `None` where there is none.
    fn snapshot(&self) -> Option<Self::Snapshot>;
}
