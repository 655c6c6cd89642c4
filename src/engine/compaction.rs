//! Compaction, until there are tables: a snapshot of the state, then a purge of the log behind it.

use std::sync::atomic::Ordering;

use super::committer::Committer;
use super::replay::membership_bytes;
use super::stats::CompactionReport;
use crate::error::Result;
use crate::state::rows::RowChunks;
use crate::storage::snapshot::{SnapshotHead, SnapshotInfo};
use crate::types::{LogIndex, Version};

/// Whether compaction deletes the log that the snapshot covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepLog {
    /// Delete it.
    Purge,
    /// Keep it, so that it can be replayed from the start.
    Keep,
}

/// Writes a snapshot of the state as it is now and purges the log up to it. Only one runs at a
/// time: the caller holds `newest`, which is the newest snapshot there is.
///
/// Writers wait for none of it: the state is shared, not copied, and frozen by one pointer. What is
/// on disk if we die here: the old snapshot and the whole log; or the new snapshot and any part of
/// the log that still joins it.
///
/// # Errors
/// `DiskFull`, `Io`: the old snapshot is in force, and it can be tried again. `Poisoned`.
pub(crate) fn compact(
    committer: &Committer,
    newest: &mut Option<SnapshotInfo>,
    keep_log: KeepLog,
) -> Result<CompactionReport> {
    let started = committer.env.clock.elapsed();
    let log = committer.store.log();
    log.check()?;
    let before = log.stats();
    let stale = committer.stale_bytes.load(Ordering::Relaxed);
    let (view, last, membership) = {
        let replica = committer.replica.read();
        (replica.kv.view(), replica.last, membership_bytes(replica.membership.as_ref()))
    };
    let snapshot_before = newest.as_ref().map_or(0, |info| info.bytes);
    let mut report = CompactionReport {
        version: Version::from(last.map_or(LogIndex(0), |last| last.index)),
        rows: view.len() as u64,
        bytes_before: before.bytes + snapshot_before,
        ..CompactionReport::default()
    };
    if let Some(last) = last.filter(|&last| newest.as_ref().map(|info| info.last) != Some(last)) {
        // The snapshot must not be ahead of what a power cut leaves of the log.
        log.sync()?;
        let head = SnapshotHead { last, timestamp: view.timestamp(), membership };
        let info = committer
            .store
            .publish_snapshot(&head, report.rows, &|| Box::new(RowChunks::of(&view)))?;
        report.snapshot_bytes = info.bytes;
        *newest = Some(info);
        committer.stale_bytes.fetch_sub(stale, Ordering::Relaxed);
        if keep_log == KeepLog::Purge {
            // On a full disk there may be no room for a new segment; what lies before the active
            // one is deleted all the same.
            let rolled = log.roll_now();
            report.segments_removed = log.purge(last)?;
            rolled?;
        }
    }
    validate(committer, newest.as_ref());
    let after = log.stats();
    report.bytes_after = after.bytes + newest.as_ref().map_or(0, |info| info.bytes);
    report.elapsed = committer.env.clock.elapsed().saturating_sub(started);
    metrics::counter!(crate::metrics::COMPACTIONS_TOTAL, "result" => "done").increment(1);
    metrics::histogram!(crate::metrics::COMPACTION_SECONDS).record(report.elapsed);
    metrics::gauge!(crate::metrics::KEYS).set(view.len() as f64);
    metrics::gauge!(crate::metrics::LIVE_BYTES).set(view.live_bytes() as f64);
    tracing::info!(
        version = report.version.0,
        rows = report.rows,
        bytes_before = report.bytes_before,
        bytes_after = report.bytes_after,
        "compacted"
    );
    Ok(report)
}

/// Checks rule R12 in debug builds: purged <= snapshot <= applied <= last. With one voter what is
/// applied is committed.
fn validate(committer: &Committer, newest: Option<&SnapshotInfo>) {
    if cfg!(debug_assertions) {
        let applied = committer.replica.read().last;
        let hard = committer.store.log().hard_state();
        let snapshot = newest.map(|info| info.last);
        assert!(hard.purged <= snapshot, "purged {:?}, snapshot {snapshot:?}", hard.purged);
        assert!(snapshot <= applied, "snapshot {snapshot:?}, applied {applied:?}");
        assert!(applied <= hard.last, "applied {applied:?}, last {:?}", hard.last);
    }
}

/// What the trigger looks at, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pressure {
    /// Useless ones in the log.
    pub(crate) stale: u64,
    /// All of the log.
    pub(crate) log: u64,
    /// Keys and values of the state.
    pub(crate) live: u64,
}

/// Whether so much is stale that a snapshot pays. Pure.
///
/// A snapshot writes the whole state, so what it frees must be at least as much: then every byte is
/// rewritten once on average.
pub(crate) const fn is_due_by_size(pressure: Pressure, threshold: u64) -> bool {
    let worth = if threshold > pressure.live { threshold } else { pressure.live };
    pressure.stale > worth || (threshold == 0 && pressure.stale > 0)
}

/// Whether the log has grown so much that a snapshot pays when the interval has passed. Pure.
pub(crate) const fn is_due_by_time(pressure: Pressure) -> bool {
    pressure.log > pressure.live && pressure.stale > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure(stale: u64, live: u64) -> Pressure {
        Pressure { stale, log: stale + live, live }
    }

    #[test]
    fn a_snapshot_is_due_when_it_frees_more_than_it_writes_and_than_the_threshold() {
        assert!(!is_due_by_size(pressure(100, 10), 100));
        assert!(is_due_by_size(pressure(101, 10), 100));
        assert!(!is_due_by_size(pressure(500, 500), 100));
        assert!(is_due_by_size(pressure(501, 500), 100));
        assert!(is_due_by_size(pressure(1, 500), 0));
        assert!(!is_due_by_size(pressure(0, 0), 0));
    }

    #[test]
    fn time_alone_is_no_reason() {
        assert!(!is_due_by_time(pressure(0, 10)));
        assert!(is_due_by_time(pressure(1, 10)));
    }
}
