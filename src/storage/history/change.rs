//! What an entry of the log changed.

use bytes::Bytes;

use crate::types::{LogIndex, Timestamp};

/// One key as an entry left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key; at least one byte.
    pub key: Bytes,
    /// The value that the entry gave it; `None`: the entry removed it.
    pub value: Option<Bytes>,
    /// Length of the value it had before; `None`: it was not there.
    pub before: Option<u32>,
}

/// What one entry changed; each key once. Entries that changed nothing are not written.
///
/// What is read shares the buffer of its block, about 64 KiB: whoever keeps little of much copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryChanges {
    /// The entry.
    pub index: LogIndex,
    /// Its stamp.
    pub timestamp: Timestamp,
    /// Its changes, at least one.
    pub changes: Vec<KeyChange>,
}
