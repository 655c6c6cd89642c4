//! What an engine tells of itself.

use std::time::Duration;

use crate::state::StateView;
use crate::storage::table_set::TableSet;
use crate::storage::table_store::TableStore;
use crate::types::{TableId, Term, Timestamp, Version};

/// Counts and sizes of an open store. Those of its rows are of one moment; those of log, tail and
/// tables are read one after the other, and beside a compaction may be of before and after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Keys that are there.
    pub keys: usize,
    /// Bytes of keys and values of all rows, reserved ones included.
    pub live_bytes: u64,
    /// Bytes that a compaction would free: in the log what overwriting, removing and refusing have
    /// left since the last snapshot, and in the tables what their rows have more than is live.
    pub stale_bytes: u64,
    /// How many of the stale bytes are in tables.
    pub stale_table_bytes: u64,
    /// Version of the last entry applied.
    pub latest_version: Version,
    /// Stamp of the last entry applied.
    pub last_timestamp: Timestamp,
    /// The current term; it grows each time the store is opened for writing.
    pub term: Term,
    /// Files of the log.
    pub segments: usize,
    /// Bytes in them that are part of the log.
    pub log_bytes: u64,
    /// Bytes appended and not yet synced.
    pub unsynced_bytes: u64,
    /// The last entry that the newest snapshot contains: everything up to it is in tables.
    pub snapshot_version: Option<Version>,
    /// Files of tables.
    pub tables: usize,
    /// Bytes in them.
    pub table_bytes: u64,
    /// Sorted sequences that they make; a read may have to look into each.
    pub runs: usize,
    /// Memory of the tail, roughly: what is not in tables yet, the part included that is just being
    /// written to one.
    pub tail_bytes: u64,
    /// Memory of cached blocks and rows, and of what is kept of each open table.
    pub cache_bytes: u64,
    /// Whether new data is refused for want of room on the device.
    pub disk_full: bool,
}

impl EngineStats {
    /// Takes in what a state says of itself.
    pub(crate) fn take_in_view(&mut self, view: &StateView) {
        self.keys = view.len();
        self.live_bytes = view.live_bytes();
        self.latest_version = view.version().unwrap_or_default();
        self.last_timestamp = view.timestamp();
    }

    /// Takes in what the tables say of themselves.
    pub(crate) fn take_in_tables(&mut self, tables: &TableStore) {
        let set = tables.set();
        let head = tables.manifest_head();
        let live_there = head.as_ref().map_or(0, |head| head.live_bytes);
        self.stale_table_bytes = set.data_bytes().saturating_sub(live_there);
        self.stale_bytes += self.stale_table_bytes;
        self.snapshot_version = head.map(|head| head.last.index.into());
        self.tables = set.tables().count();
        self.table_bytes = set.bytes();
        self.runs = set.runs().len();
        self.cache_bytes = tables.memory_bytes();
    }
}

/// One file of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableStats {
    /// Its number.
    pub table: TableId,
    /// Which sorted sequence it is a part of, counted from 1, the newest.
    pub run: usize,
    /// Its rows, those that a newer run or a removal hides included.
    pub rows: u64,
    /// How many of its rows say that a key was removed.
    pub removals: u64,
    /// Length of the file.
    pub bytes: u64,
}

impl TableStats {
    /// All tables, newest run first, each run in the order of its keys.
    pub(crate) fn of(set: &TableSet) -> Vec<Self> {
        let runs = set.runs().iter().zip(1..);
        let tables = runs.flat_map(|(run, number)| run.tables().iter().map(move |t| (number, t)));
        let stats = tables.map(|(run, table)| {
            let summary = &table.entry.summary;
            Self {
                table: summary.id,
                run,
                rows: summary.rows,
                removals: summary.tombstones,
                bytes: summary.bytes,
            }
        });
        stats.collect()
    }
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionReport {
    /// The last entry that the tables contain.
    pub version: Version,
    /// Keys of the state.
    pub rows: u64,
    /// Rows of the tail that were written to tables, removals included.
    pub rows_written: u64,
    /// Merges of tables.
    pub merges: usize,
    /// Tables afterwards.
    pub tables: usize,
    /// Bytes of them.
    pub table_bytes: u64,
    /// Bytes of log and tables before.
    pub bytes_before: u64,
    /// Bytes of log and tables after.
    pub bytes_after: u64,
    /// Files of the log that were deleted.
    pub segments_removed: usize,
    /// How long it took.
    pub elapsed: Duration,
}
