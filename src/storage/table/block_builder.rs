//! Gathers rows until they make a block.

use super::block::{KIND_TOMBSTONE, KIND_VALUE};
use super::column;
use crate::storage::record::Record;

/// Rows of one block that is being made.
#[derive(Debug)]
pub(super) struct BlockBuilder {
    /// The rows, and once finished the columns behind them.
    content: Vec<u8>,
    starts: Vec<u64>,
    key_lens: Vec<u64>,
    kinds: Vec<u64>,
    versions: Vec<u64>,
    stamps: Vec<u64>,
}

impl BlockBuilder {
    pub(super) fn new(block_bytes: usize) -> Self {
        Self {
            content: Vec::with_capacity(block_bytes.saturating_mul(2).min(1 << 20)),
            starts: vec![0],
            key_lens: Vec::new(),
            kinds: Vec::new(),
            versions: Vec::new(),
            stamps: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.key_lens.is_empty()
    }

    /// Bytes of the rows so far.
    pub(super) fn row_bytes(&self) -> usize {
        self.content.len()
    }

    pub(super) fn push(&mut self, key: &[u8], record: &Record) {
        self.content.extend_from_slice(key);
        self.content.extend_from_slice(record.value.as_deref().unwrap_or_default());
        self.starts.push(self.content.len() as u64);
        self.key_lens.push(key.len() as u64);
        self.kinds.push(if record.is_tombstone() { KIND_TOMBSTONE } else { KIND_VALUE });
        self.versions.push(record.version.0);
        self.stamps.push(record.timestamp.0);
    }

    /// The content of the block, from the rows so far; [`Self::clear`] begins the next one.
    pub(super) fn finish(&mut self) -> &[u8] {
        let columns = [&self.starts, &self.key_lens, &self.kinds, &self.versions, &self.stamps];
        let heads =
            columns.map(|numbers| column::write_data(numbers.iter().copied(), &mut self.content));
        for head in heads {
            head.write(&mut self.content);
        }
        let rows = u32::try_from(self.key_lens.len()).unwrap_or(u32::MAX);
        self.content.extend_from_slice(&rows.to_le_bytes());
        &self.content
    }

    /// Forgets all rows and keeps the memory, unless that was for an unusually long row.
    pub(super) fn clear(&mut self) {
        self.content.clear();
        self.content.shrink_to(1 << 20);
        self.starts.truncate(1);
        self.key_lens.clear();
        self.kinds.clear();
        self.versions.clear();
        self.stamps.clear();
    }
}
