//! What a key has: the unit that the tail, the tables and their merges are made of.

use bytes::Bytes;

use crate::types::{Timestamp, Version};

/// Which way rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// The newest that a layer knows of a key: its value, or that it was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value; `None` for a *tombstone*, which says that the key was removed and hides what
    /// older layers have.
    pub value: Option<Bytes>,
    /// The log index of the entry that wrote or removed it.
    pub version: Version,
    /// The stamp of that entry.
    pub timestamp: Timestamp,
}

impl Record {
    /// Bytes of the value; 0 for a tombstone.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it says that the key was removed.
    #[must_use]
    pub const fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }
}
