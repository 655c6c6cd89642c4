//! What an engine tells of itself.

use std::time::Duration;

use crate::types::{Term, Timestamp, Version};

/// Counts and sizes of an open store, all of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Keys that are there.
    pub keys: usize,
    /// Bytes of their keys and values.
    pub live_bytes: u64,
    /// Bytes in the log that overwriting, removing and refusing have left, since the last snapshot.
    pub stale_bytes: u64,
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
    /// The last entry that the newest snapshot contains.
    pub snapshot_version: Option<Version>,
    /// Bytes of the newest snapshot.
    pub snapshot_bytes: u64,
    /// Whether new data is refused for want of room on the device.
    pub disk_full: bool,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionReport {
    /// The last entry that the snapshot contains.
    pub version: Version,
    /// Rows in the snapshot.
    pub rows: u64,
    /// Bytes of log and snapshot before.
    pub bytes_before: u64,
    /// Bytes of log and snapshot after.
    pub bytes_after: u64,
    /// Files of the log that were deleted.
    pub segments_removed: usize,
    /// Bytes of the snapshot; 0 when nothing had changed and none was written.
    pub snapshot_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}
