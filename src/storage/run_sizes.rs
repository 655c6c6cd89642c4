//! How much room runs take, as the plan sees it and as the disk does.

use std::sync::Arc;

use super::compaction_plan::RunSize;
use super::run::Run;
use super::table_set::TableSet;

/// What the plan wants to know of the runs.
pub(crate) fn sizes_of(set: &TableSet) -> Vec<RunSize> {
    let size = |run: &Arc<Run>| {
        let summaries = || run.tables().iter().map(|table| &table.entry.summary);
        RunSize {
            data_bytes: run.data_bytes(),
            file_bytes: summaries().map(|summary| summary.bytes).sum(),
            rows: summaries().map(|summary| summary.rows).sum(),
            tombstones: run.tombstones(),
        }
    };
    set.runs().iter().map(size).collect()
}

/// Bytes of the files of runs.
pub(crate) fn file_bytes(runs: &[Arc<Run>]) -> u64 {
    let tables = runs.iter().flat_map(|run| run.tables());
    tables.map(|table| table.entry.summary.bytes).sum()
}

/// Bytes of the longest table of a run.
pub(crate) fn longest_table(run: &Arc<Run>) -> u64 {
    let lengths = run.tables().iter().map(|table| table.entry.summary.bytes);
    lengths.max().unwrap_or_default()
}

/// The most bytes of the disk that a merge of these runs takes at any moment beside them. A table
/// goes when all of its rows are written anew; until then its run has one that is read in part.
pub(crate) fn room_of(runs: &[Arc<Run>], table_bytes_max: u64) -> u64 {
    let read_in_part: u64 = runs.iter().map(longest_table).sum();
    file_bytes(runs).min(read_in_part + table_bytes_max)
}
