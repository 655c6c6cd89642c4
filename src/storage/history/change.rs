//! What one entry did to the rows.

use bytes::Bytes;

use crate::types::{LogIndex, Timestamp};

/// What an entry made of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key, of either keyspace.
    pub key: Bytes,
    /// Its value after the entry; `None`: it was removed.
    pub value: Option<Bytes>,
    /// Bytes of the value that it had before the entry; `None`: it was not there.
    pub before: Option<u32>,
}

/// What one entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryChanges {
    /// The entry.
    pub index: LogIndex,
    /// Its stamp.
    pub timestamp: Timestamp,
    /// Each key once, in ascending order; none where it changed nothing.
    pub changes: Vec<KeyChange>,
}
