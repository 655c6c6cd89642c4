//! Names of the metrics, and the handles that the hot path uses.
//!
//! They go through the `metrics` facade: the application picks the exporter. A handle is made when
//! the store is opened, so an exporter is installed before that. `docs/metrics.md` says what each
//! name means and what to do about it.

use metrics::{Counter, Gauge, Histogram};

/// Stores that stopped after a failed write or sync.
pub const POISONED_TOTAL: &str = "hightower_kv_poisoned_total";
/// How long it took to end a segment and begin the next.
pub const ROLL_SECONDS: &str = "hightower_kv_roll_seconds";
/// Syncs of the log.
pub const SYNCS_TOTAL: &str = "hightower_kv_syncs_total";
/// How long a sync of the log took.
pub const SYNC_SECONDS: &str = "hightower_kv_sync_seconds";
/// Entries committed.
pub const COMMITS_TOTAL: &str = "hightower_kv_commits_total";
/// Payload bytes committed.
pub const COMMIT_BYTES_TOTAL: &str = "hightower_kv_commit_bytes_total";
/// Entries that one round of the writer took together.
pub const COMMIT_BATCH_ENTRIES: &str = "hightower_kv_commit_batch_entries";
/// How long a round of the writer took, from encoding the entries to applying them, where it syncs.
pub const COMMIT_SECONDS: &str = "hightower_kv_commit_seconds";
/// Commands that wait for the writer.
pub const QUEUE_COMMANDS: &str = "hightower_kv_queue_commands";
/// Commands refused, by reason: `disk_full`, `overloaded`, `poisoned`.
pub const REFUSED_TOTAL: &str = "hightower_kv_refused_total";
/// How long opening took, replay included.
pub const OPEN_SECONDS: &str = "hightower_kv_open_seconds";
/// Entries that opening applied from the log.
pub const REPLAYED_ENTRIES: &str = "hightower_kv_replayed_entries";
/// Compactions that ended, by result: `done`, `failed`.
pub const COMPACTIONS_TOTAL: &str = "hightower_kv_compactions_total";
/// How long a compaction took.
pub const COMPACTION_SECONDS: &str = "hightower_kv_compaction_seconds";
/// Keys that the state holds.
pub const KEYS: &str = "hightower_kv_keys";
/// Key and value bytes that the state holds.
pub const LIVE_BYTES: &str = "hightower_kv_live_bytes";
/// Bytes of tables written.
pub const TABLE_WRITTEN_BYTES_TOTAL: &str = "hightower_kv_table_written_bytes_total";
/// Merges of runs that ended.
pub const MERGES_TOTAL: &str = "hightower_kv_merges_total";
/// Tables that hold the state.
pub const TABLES: &str = "hightower_kv_tables";
/// Bytes of their files.
pub const TABLE_BYTES: &str = "hightower_kv_table_bytes";
/// Runs that the tables form.
pub const RUNS: &str = "hightower_kv_runs";
/// Eras of the past that are kept.
pub const PAST_ERAS: &str = "hightower_kv_past_eras";
/// Bytes of their files with changes.
pub const PAST_BYTES: &str = "hightower_kv_past_bytes";
/// Watchers that there are.
pub const WATCHERS: &str = "hightower_kv_watchers";
/// Keys that were removed because their time was over.
pub const EXPIRED_KEYS_TOTAL: &str = "hightower_kv_expired_keys_total";

/// Handles of one open log for its syncs.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    /// [`SYNCS_TOTAL`].
    pub syncs: Counter,
    /// [`SYNC_SECONDS`].
    pub sync_seconds: Histogram,
    /// [`ROLL_SECONDS`].
    pub roll_seconds: Histogram,
}

impl LogMetrics {
    /// Handles of whatever exporter is installed now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            syncs: metrics::counter!(SYNCS_TOTAL),
            sync_seconds: metrics::histogram!(SYNC_SECONDS),
            roll_seconds: metrics::histogram!(ROLL_SECONDS),
        }
    }
}

impl Default for LogMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Handles of one open store for its tables.
#[derive(Clone, Debug)]
pub struct TableMetrics {
    /// [`TABLE_WRITTEN_BYTES_TOTAL`].
    pub written_bytes: Counter,
    /// [`MERGES_TOTAL`].
    pub merges: Counter,
    /// [`TABLES`].
    pub tables: Gauge,
    /// [`TABLE_BYTES`].
    pub bytes: Gauge,
    /// [`RUNS`].
    pub runs: Gauge,
}

impl TableMetrics {
    /// Handles of whatever exporter is installed now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            written_bytes: metrics::counter!(TABLE_WRITTEN_BYTES_TOTAL),
            merges: metrics::counter!(MERGES_TOTAL),
            tables: metrics::gauge!(TABLES),
            bytes: metrics::gauge!(TABLE_BYTES),
            runs: metrics::gauge!(RUNS),
        }
    }
}

impl Default for TableMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Handles of one open store for what is counted at every commit.
#[derive(Clone, Debug)]
pub struct EngineMetrics {
    /// [`COMMITS_TOTAL`].
    pub commits: Counter,
    /// [`COMMIT_BYTES_TOTAL`].
    pub commit_bytes: Counter,
    /// [`COMMIT_BATCH_ENTRIES`].
    pub batch_entries: Histogram,
    /// [`COMMIT_SECONDS`].
    pub commit_seconds: Histogram,
    /// [`QUEUE_COMMANDS`].
    pub queue: Gauge,
}

impl EngineMetrics {
    /// Handles of whatever exporter is installed now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            commits: metrics::counter!(COMMITS_TOTAL),
            commit_bytes: metrics::counter!(COMMIT_BYTES_TOTAL),
            batch_entries: metrics::histogram!(COMMIT_BATCH_ENTRIES),
            commit_seconds: metrics::histogram!(COMMIT_SECONDS),
            queue: metrics::gauge!(QUEUE_COMMANDS),
        }
    }
}

impl Default for EngineMetrics {
    fn default() -> Self {
        Self::new()
    }
}
