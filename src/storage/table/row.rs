//! What a table hands out.

use crate::storage::record::Record;
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
    /// The whole answer; `None`: the key is not there.
    Hit(Option<Record>),
    /// The block that the key would stand in is not in memory.
    NeedsRead,
}
