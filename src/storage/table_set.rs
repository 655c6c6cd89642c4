//! All tables that hold one state: runs, the newest first. Never changes.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::error::StorageError;
use super::hot_map::HotMap;
use super::manifest::TableEntry;
use super::record::{Direction, Record};
use super::run::{Run, RunCursor, RunTable};
use super::table::{BlockCache, Cached, Fill, KeyHash};
use crate::types::TableId;

/// The state after one entry, in tables.
///
/// It can be read for as long as it is held: its files are open, and removing their names does not
/// take them away. The space that they take is given back when the last holder lets go.
#[derive(Debug)]
pub struct TableSet {
    number: u64,
    /// Newest first.
    runs: Vec<Arc<Run>>,
    cache: Arc<BlockCache>,
    hot: Arc<HotMap>,
}

impl TableSet {
    pub(crate) const fn new(
        number: u64,
        runs: Vec<Arc<Run>>,
        cache: Arc<BlockCache>,
        hot: Arc<HotMap>,
    ) -> Self {
        Self { number, runs, cache, hot }
    }

    /// A set without tables, for a state that is in memory as a whole.
    #[must_use]
    pub fn empty() -> Arc<Self> {
        let (cache, hot) = (Arc::new(BlockCache::new(0)), Arc::new(HotMap::new(0, 0)));
        Arc::new(Self::new(0, Vec::new(), cache, hot))
    }

    /// Number of the manifest that names these tables; 0 where there is none.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether no key is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Its runs, newest first.
    #[must_use]
    pub fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// Its tables, newest run first, each run ascending.
    pub fn tables(&self) -> impl Iterator<Item = &TableEntry> {
        self.runs.iter().flat_map(|run| run.tables()).map(|table| &table.entry)
    }

    /// The numbers of its tables.
    pub(crate) fn ids(&self) -> HashSet<TableId> {
        self.tables().map(|entry| entry.summary.id).collect()
    }

    /// Bytes of the files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tables().map(|entry| entry.summary.bytes).sum()
    }

    /// Bytes of keys and values, tombstones and what newer runs hide included.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.data_bytes()).fold(0, u64::saturating_add)
    }

    /// Rows, counted as [`Self::data_bytes`] is.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables().map(|entry| entry.summary.rows).fold(0, u64::saturating_add)
    }

    /// Bytes of memory that indexes and filters take.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let tables = self.runs.iter().flat_map(|run| run.tables());
        tables.map(|table| table.table.resident_bytes()).sum()
    }

    /// Makes images of the tables of which much was asked for, for as long as `goes_on` says so
    /// before each.
    pub(crate) fn make_images(&self, goes_on: impl Fn() -> bool) {
        let tables = self.runs.iter().flat_map(|run| run.tables());
        for RunTable { table, .. } in tables.take_while(|_| goes_on()) {
            if table.wants_image() {
                table.make_image();
            }
        }
    }

    /// How many tables are in memory as a whole.
    #[cfg(test)]
    pub(crate) fn images(&self) -> usize {
        let tables = self.runs.iter().flat_map(|run| run.tables());
        tables.filter(|table| table.table.has_image()).count()
    }

    /// Bytes of the longest block in a file; 0 where there is none. O(blocks).
    pub(crate) fn longest_block(&self) -> u64 {
        let tables = self.runs.iter().flat_map(|run| run.tables());
        tables.map(|table| table.table.longest_block()).max().unwrap_or_default()
    }

    /// Reads all blocks while the cache has plenty of room.
    pub(crate) fn read_in_advance(&self) {
        for table in self.runs.iter().flat_map(|run| run.tables()) {
            table.table.read_in_advance();
        }
    }

    /// The newest record of `key`. A tombstone says that the key is absent, as `None` does.
    ///
    /// Cost: a hash, then for each run a search among its tables and a question to one filter; one
    /// block is read where it is not in memory, and seldom a second one in vain.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Record>, StorageError> {
        if self.runs.is_empty() {
            return Ok(None);
        }
        let hash = KeyHash::of(key);
        // As long as all blocks that are read stay, copies of their rows would only take room.
        let uses_hot = self.cache.is_full();
        if uses_hot && let Some(record) = self.hot.get(self.number, hash, key) {
            return Ok(Some(record));
        }
        for run in &self.runs {
            if let Some(record) = run.get(key, hash)? {
                if uses_hot {
                    self.hot.insert(self.number, hash, key, &record);
                }
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The value of `key`, as far as it can be told without the disk.
    #[must_use]
    pub fn cached_value(&self, key: &[u8]) -> Cached {
        let Some((oldest, newer)) = self.runs.split_last() else { return Cached::Absent };
        let hash = KeyHash::of(key);
        if self.cache.is_full()
            && let Some(record) = self.hot.get(self.number, hash, key)
        {
            return record.value.into();
        }
        for run in newer {
            match run.cached_value(key, hash) {
                Cached::Absent => {}
                answer => return answer,
            }
        }
        oldest.likely_cached_value(key, hash)
    }

    /// Whether any run may have a record of `key`: always when one has, seldom when none has.
    /// Never touches the disk.
    #[must_use]
    pub fn may_contain(&self, key: &[u8]) -> bool {
        let hash = KeyHash::of(key);
        self.runs.iter().any(|run| run.may_contain(key, hash))
    }

    /// A cursor for each run, newest first, each on its first row within the bound. Where several
    /// are on the same key, the first of them has its newest record.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn cursors(
        &self,
        direction: Direction,
        from: Bound<&[u8]>,
    ) -> Result<Vec<RunCursor>, StorageError> {
        self.cursors_until(direction, from, &Bound::Unbounded)
    }

    /// As [`Self::cursors`], over rows up to another bound, which lies in the direction.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn cursors_until(
        &self,
        direction: Direction,
        from: Bound<&[u8]>,
        to: &Bound<Bytes>,
    ) -> Result<Vec<RunCursor>, StorageError> {
        let seek = |run| RunCursor::seek_until(run, direction, from, to.clone(), Fill::Cache);
        self.runs.iter().map(seek).collect()
    }
}
