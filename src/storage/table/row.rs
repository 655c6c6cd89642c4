//! What a table hands out.

use bytes::Bytes;

use crate::types::{Timestamp, Version};

/// One row, borrowed from the block that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The log index of the entry that wrote the row.
    pub version: Version,
    /// The stamp of that entry.
    pub timestamp: Timestamp,
}

/// What can be said without asking the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached {
    /// The key has this value.
    Value(Bytes),
    /// The key was removed: older tables do not count.
    Removed,
    /// The key is not there.
    Absent,
    /// The block that the key would stand in is not in memory.
    NeedsRead,
}

impl From<Option<Bytes>> for Cached {
    /// What a record says.
    fn from(value: Option<Bytes>) -> Self {
        value.map_or(Self::Removed, Self::Value)
    }
}
