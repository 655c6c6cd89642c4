//! Who gets how much memory and log.

use super::pressure::Marks;
use crate::config::StoreConfig;
use crate::storage::table::TableOptions;
use crate::storage::table_store::TableStoreOptions;

/// Memory of the tail, at most.
const TAIL_MAX: u64 = 64 << 20;
/// Length at which a table ends and the next one begins, at most.
const TABLE_BYTES_MAX: u64 = 32 << 20;
/// Log that may gather before it is written to a table, at most: it is what an opening after a kill
/// has to replay.
const BEHIND_MAX: u64 = 12 << 20;
/// Rows of a block, in bytes. Smaller: more of the index in memory; larger: more is read for a row.
const BLOCK_BYTES: usize = 4096;

const fn min(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

/// What the tail may take of a budget: as much again is the frozen tail's.
const fn tail_bytes(budget: u64) -> u64 {
    min(budget / 4, TAIL_MAX)
}

/// When the tail is written.
///
/// The directory is to stay within twice what is live and three segments. A quarter of one gathers
/// before the tail is frozen, half as much again before writers wait; so the log that is needed,
/// that of the frozen tail included, is less than a segment long, and lies in two files. Half a
/// segment of useless bytes may be in tables, where that is more than half of what is live; and
/// half a segment is the table that a merge is writing, or a 64th of what is live. What it has read
/// in part counts with what is useless, and so do manifests: see `compaction_plan`.
///
/// What is removed takes twice its length from the bound, and next to nothing in the log. So it has
/// a measure of its own, a quarter of a segment: with half as much again before writers wait that
/// is three quarters of one, beside the half that may be useless, the half that is being written,
/// and the log.
pub(crate) const fn marks_of(config: &StoreConfig) -> Marks {
    Marks {
        behind: min(config.max_segment_size / 4, BEHIND_MAX),
        tail: tail_bytes(config.memory_budget),
        stale: config.compaction_threshold,
        stale_max: config.max_segment_size / 2,
        stale_gathered: config.max_segment_size / 4,
    }
}

/// What is left of the budget for tables, and how they are written.
pub(crate) const fn table_options(config: &StoreConfig) -> TableStoreOptions {
    let budget = config.memory_budget;
    TableStoreOptions {
        table: TableOptions { compression: config.compression, block_bytes: BLOCK_BYTES },
        table_bytes_max: min(config.max_segment_size / 2, TABLE_BYTES_MAX),
        long_table_bytes_max: TABLE_BYTES_MAX,
        memory_bytes: budget - 2 * tail_bytes(budget),
    }
}
