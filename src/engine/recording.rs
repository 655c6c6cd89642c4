//! Writing the past down while the log is let go, giving up what nobody wants any more, and
//! compressing what stays.

use std::time::Duration;

use super::changes::{ChangeSource, LiveChanges};
use super::keeping::{Keeping, surplus};
use super::machine::Machine;
use crate::env::priority::yield_to_others;
use crate::error::{Error, Result};
use crate::retention::Retention;
use crate::storage::error::StorageError;
use crate::storage::history::{ARCHIVE_COMPRESSION, Archive, CleanSummary, EntryChanges, EraInfo};
use crate::storage::manifest::ManifestHead;
use crate::types::LogIndex;

/// Bytes of log that become one change file at most: what is in memory while it is written.
const PIECE_BYTES: usize = 16 << 20;
/// Bytes of changes that are compressed in a second, in the background.
const PACE: u64 = 32 << 20;

/// Writes down what the entries up to that of `head` changed, where anybody asks for it: before a
/// manifest is published that lets the log go. The log is synced up to there.
///
/// What is on disk if we die here: the past as before, or any part of it that follows; the next
/// compaction goes on from there.
///
/// # Errors
/// `DiskFull`, `Io`: what was written stays. `Corrupt` for an entry of the log that is in no table:
/// once it is in one, the past goes on behind it. `SyncFailed`, `Poisoned`.
pub(crate) fn record(machine: &Machine, head: &ManifestHead) -> Result<()> {
    if !machine.keeping.is_asked() {
        return Ok(());
    }
    let store = &machine.store;
    let live = LiveChanges::of(machine);
    let begin = || store.archiving(|archive| archive.begin_era(store.tables()));
    if !goes_on(machine, live) {
        begin()?;
    }
    loop {
        // Somebody may give up all of it at any moment.
        let eras = store.archive().eras();
        let Some(newest) = eras.last() else {
            begin()?;
            continue;
        };
        let first = newest.last.map_or(LogIndex(0), LogIndex::next);
        if first > head.last.index {
            return Ok(());
        }
        let piece = match live.read(first..head.last.index.next(), PIECE_BYTES) {
            Err(Error::Corrupt(_)) if is_in_tables(machine, first) => {
                // Told when it was found. What came since the tables were written may be whole.
                begin()?;
                continue;
            }
            read => read?,
        };
        let (Some(begin), Some(end)) = (piece.first(), piece.last()) else { return Ok(()) };
        let (range, stamps) = (begin.index..=end.index, (begin.timestamp, end.timestamp));
        let changed: Vec<&EntryChanges> =
            piece.iter().filter(|entry| !entry.changes.is_empty()).collect();
        let appended = store.archiving(|archive| {
            let mut entries = changed.iter().map(|&entry| Ok(entry.clone()));
            archive.append(range.clone(), stamps, &mut entries)
        });
        if let Err(error) = appended {
            let is_other = store.archive().eras().last() != Some(newest);
            if !(is_other && matches!(error, StorageError::NotNext { .. })) {
                return Err(error.into());
            }
        }
    }
}

/// Whether the tables hold what entry `index` left.
fn is_in_tables(machine: &Machine, index: LogIndex) -> bool {
    let head = machine.store.tables().manifest_head();
    head.is_some_and(|head| head.last.index >= index)
}

/// Whether the newest era goes on: it joins what the log has, and has not gathered enough.
fn goes_on(machine: &Machine, live: LiveChanges<'_>) -> bool {
    let archive = machine.store.archive();
    let eras = archive.eras();
    let Some(newest) = eras.last() else { return false };
    let next = newest.last.map_or(LogIndex(0), LogIndex::next);
    if live.range().start > next {
        return false;
    }
    // An era begins with the state in the tables. Where it was not published what was written down
    // before, that state is older than what is archived.
    match machine.store.tables().manifest_head() {
        Some(head) if newest.last == Some(head.last.index) => {
            !machine.keeping.is_over(newest, &head)
        }
        _ => true,
    }
}

/// Gives up what nobody wants any more.
///
/// # Errors
/// `Io`, `SyncFailed`, `Poisoned`.
pub(crate) fn clean(machine: &Machine) -> Result<()> {
    let eras = machine.store.archive().eras();
    match unwanted(machine, &eras) {
        0 => {}
        all if all == eras.len() => drop(machine.store.archiving(Archive::remove_all)?),
        oldest => drop(give_up(machine, &eras, oldest)?),
    }
    Ok(())
}

/// Whether there is anything of the past that nobody wants any more. Reads no file.
pub(crate) fn has_unwanted(machine: &Machine) -> bool {
    unwanted(machine, &machine.store.archive().eras()) > 0
}

/// How many of these eras nobody wants any more, the oldest first.
///
/// A store that is opened without a retention, and of whose past nobody ever took a handle, leaves
/// what there is as it is.
fn unwanted(machine: &Machine, eras: &[EraInfo]) -> usize {
    let Keeping { retention, registry, .. } = &machine.keeping;
    if retention.is_none() && !registry.was_used() {
        return 0;
    }
    if !machine.keeping.is_asked() {
        return eras.len();
    }
    surplus(eras, *retention, &registry.keeps(), machine.env.clock.now())
}

/// Gives up what is beyond these limits, and not wanted by a handle.
///
/// # Errors
/// `Io`, `SyncFailed`, `Poisoned`.
pub(crate) fn clean_beyond(machine: &Machine, limits: Retention) -> Result<CleanSummary> {
    let eras = machine.store.archive().eras();
    let keeps = machine.keeping.registry.keeps();
    give_up(machine, &eras, surplus(&eras, Some(limits), &keeps, machine.env.clock.now()))
}

/// Gives up the oldest of these, so many.
fn give_up(machine: &Machine, eras: &[EraInfo], count: usize) -> Result<CleanSummary> {
    if count == 0 {
        // Asking would wait for the step of compressing that is under way, and writers for it.
        let oldest = eras.first().map(|era| era.first);
        return Ok(CleanSummary { oldest, ..CleanSummary::default() });
    }
    let oldest = eras.get(count).map(|era| era.first);
    let stays = |era: &EraInfo| Some(era.first) >= oldest;
    Ok(machine.store.archiving(|archive| archive.clean(|era, _| stays(era)))?)
}

/// Does what is due behind a compaction: gives up, and compresses or has it done. A failure is
/// logged, and what is due stays so.
pub(crate) fn tidy_up(machine: &Machine) {
    if let Err(error) = clean(machine) {
        tracing::warn!(%error, "what nobody wants of the past stays for now");
    }
    // Not while the store is closed, which is not to wait for it.
    if !machine.archiver.ask() && !machine.archiver.is_stopped() {
        compress(machine, &mut |_| true);
    }
    let eras = machine.store.archive().eras();
    if !eras.is_empty() || machine.keeping.is_asked() {
        let bytes = eras.iter().fold(0, |sum: u64, era| sum.saturating_add(era.file_bytes()));
        metrics::gauge!(crate::metrics::PAST_ERAS).set(eras.len() as f64);
        metrics::gauge!(crate::metrics::PAST_BYTES).set(bytes as f64);
    }
}

/// Gives up what nobody wants any more, when a compaction has found no room. A failure is logged.
pub(crate) fn tidy_up_on_full_disk(machine: &Machine) {
    if let Err(error) = clean(machine) {
        tracing::warn!(%error, "what nobody wants of the past stays on a full disk");
    }
}

/// Compresses in steps whenever it is asked for, until it is stopped: for a thread of its own.
pub(crate) fn compress_in_background(machine: &Machine) {
    yield_to_others();
    let clock = &machine.env.clock;
    machine.archiver.work(|| {
        let mut goes_on = true;
        while goes_on {
            let started = clock.elapsed();
            goes_on = compress(machine, &mut |bytes| {
                let due = Duration::from_secs_f64(bytes as f64 / PACE as f64);
                let early = due.saturating_sub(clock.elapsed().saturating_sub(started));
                machine.archiver.pause(early)
            });
        }
    });
}

/// Does one step. Returns whether there may be another.
fn compress(machine: &Machine, pace: &mut dyn FnMut(u64) -> bool) -> bool {
    match machine.store.compress_archive(ARCHIVE_COMPRESSION, pace) {
        Ok(Some(done)) => {
            tracing::info!(
                files = done.files,
                bytes_before = done.bytes_before,
                bytes_after = done.bytes_after,
                "a part of the past was compressed"
            );
            true
        }
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(%error, "a part of the past could not be compressed");
            // A damaged file is passed over the next time.
            matches!(error, StorageError::Corrupt { .. } | StorageError::MissingFile { .. })
        }
    }
}
