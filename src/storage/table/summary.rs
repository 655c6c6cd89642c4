//! What is known of a table without opening it, and how one is to be written.

use bytes::Bytes;

use crate::config::Compression;
use crate::types::TableId;

/// Under which number, and in which directory, a table was written that came from another one. Its
/// prologue says so for good: the bytes of a table are the same wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOrigin {
    /// Its number there.
    pub id: TableId,
    /// The first eight bytes of that directory's incarnation, as a number.
    pub tag: u64,
}

/// What a manifest keeps of a table. Opening one holds the file against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// Its number, which its name has too.
    pub id: TableId,
    /// Where it comes from; `None`: it was written here, under this number.
    pub origin: Option<TableOrigin>,
    /// Length of the file.
    pub bytes: u64,
    /// Rows, tombstones included; at least 1.
    pub rows: u64,
    /// Rows that are tombstones.
    pub tombstones: u64,
    /// Bytes of all keys.
    pub key_bytes: u64,
    /// Bytes of all values, before compression.
    pub value_bytes: u64,
    /// BLAKE3 of all bytes of the file.
    pub hash: [u8; 32],
    /// The least key.
    pub first_key: Bytes,
    /// The greatest key.
    pub last_key: Bytes,
}

impl TableSummary {
    /// Bytes of keys and values.
    #[must_use]
    pub const fn data_bytes(&self) -> u64 {
        // A foreign table may say anything.
        self.key_bytes.saturating_add(self.value_bytes)
    }

    /// How many rows have a value.
    #[must_use]
    pub const fn values(&self) -> u64 {
        self.rows.saturating_sub(self.tombstones)
    }
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// What blocks are compressed with.
    pub compression: Compression,
    /// Bytes of rows after which the next block begins; a row that is longer has a block of its
    /// own. What is read from the disk, checked and cached is a block.
    pub block_bytes: usize,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { compression: Compression::Off, block_bytes: 4096 }
    }
}
