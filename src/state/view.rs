//! One state, for reading.

use std::iter::FusedIterator;
use std::ops::RangeBounds;

use bytes::Bytes;

use super::value::{Value, Versioned};
use crate::storage::index::{Index, Range};
use crate::storage::prefix_index;
use crate::types::{LogIndex, Timestamp, Version};

/// What a key has.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) value: Bytes,
    pub(super) version: Version,
    pub(super) timestamp: Timestamp,
}

impl Record {
    fn to_versioned(&self) -> Versioned {
        Versioned {
            value: Value::from(self.value.clone()),
            version: self.version,
            timestamp: self.timestamp,
        }
    }
}

/// The state after one entry of the log. It never changes; a clone is O(1) and shares all memory.
///
/// As long as a view exists, what it can read stays in memory.
#[derive(Clone, Debug, Default)]
pub struct StateView {
    pub(super) rows: Index<Record>,
    pub(super) last_applied: Option<LogIndex>,
    pub(super) last_timestamp: Timestamp,
    pub(super) live_bytes: u64,
}

impl StateView {
    /// The value of `key`. Copies nothing.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Value> {
        let record = self.rows.get(key)?;
        Some(Value::from(record.value.clone()))
    }

    /// The value of `key` with its version and stamp.
    #[must_use]
    pub fn get_versioned(&self, key: &[u8]) -> Option<Versioned> {
        self.rows.get(key).map(Record::to_versioned)
    }

    /// Whether `key` exists.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.rows.get(key).is_some()
    }

    /// Number of keys. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no key. O(1).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The last entry applied; `None` before the first.
    #[must_use]
    pub fn last_applied(&self) -> Option<LogIndex> {
        self.last_applied
    }

    /// The version of the last entry applied, whether or not it changed a key.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.last_applied.map(Version::from)
    }

    /// The stamp of the last entry applied; zero before the first.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.last_timestamp
    }

    /// Bytes of all keys and values, without what holding them costs. O(1).
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// All rows in key order, from either end.
    #[must_use]
    pub fn iter(&self) -> Rows<'_> {
        Rows(self.rows.iter())
    }

    /// The rows whose keys begin with `prefix`, in key order, from either end. Costs O(prefix) and
    /// then O(1) a row.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> Rows<'_> {
        Rows(prefix_index::prefix(&self.rows, prefix))
    }

    /// The rows whose keys lie within `bounds`, in key order, from either end; none when the bounds
    /// are the wrong way round. Costs O(log n) and then O(1) a row, as they are asked for.
    ///
    /// For the last ten keys below `"k"`: `view.range(.."k").rev().take(10)`.
    #[must_use]
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Rows<'_> {
        let from = bounds.start_bound().map(AsRef::as_ref);
        let to = bounds.end_bound().map(AsRef::as_ref);
        Rows(self.rows.range((from, to)))
    }
}

impl<'a> IntoIterator for &'a StateView {
    type Item = (Bytes, Value);
    type IntoIter = Rows<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Keys with their values, in key order, from either end. Nothing is copied.
#[derive(Clone, Debug)]
pub struct Rows<'a>(Range<'a, Record>);

fn row((key, record): (&Bytes, &Record)) -> (Bytes, Value) {
    (key.clone(), Value::from(record.value.clone()))
}

impl Iterator for Rows<'_> {
    type Item = (Bytes, Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(row)
    }
}

impl DoubleEndedIterator for Rows<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(row)
    }
}

impl FusedIterator for Rows<'_> {}
