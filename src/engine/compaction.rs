//! Compaction: the tail becomes a table, the log behind it is purged, tables are merged.
//!
//! What is decided stands in `pressure` and in storage's plan, both pure; here it is done.

use std::sync::atomic::Ordering;

use super::machine::Machine;
use super::pressure::{Marks, is_due, is_out_of_hand};
use super::recording::{record, tidy_up, tidy_up_on_full_disk};
use super::replay::membership_bytes;
use super::stats::CompactionReport;
use crate::error::{Error, Result};
use crate::storage::manifest::ManifestHead;
use crate::storage::merge_choice::MergeGoal;
use crate::storage::table_set::TableSet;
use crate::storage::table_store::MergeProgress;
use crate::types::{LogId, LogIndex, Version};

/// Runs up to which the tail is written while tables are merged: each one makes reads a little
/// slower until the merge has ended. So many come of three gigabytes of log. Beyond it writers
/// wait; where they do not, or not long enough, it is written all the same.
const RUNS_WHILE_MERGING_MAX: usize = 256;

/// Whether compaction deletes the log that the tables cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepLog {
    /// Delete it.
    Purge,
    /// Leave it: so that it can be replayed from the start, or because somebody else purges it.
    Keep,
}

/// Whether tables are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merges {
    /// As far as the effort wants it.
    Do,
    /// Not now: the last one has failed.
    Leave,
}

/// What holds for every compaction of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) keep_log: KeepLog,
    /// From how much on the tail is written while tables are merged.
    pub(crate) marks: Marks,
    pub(crate) merges: Merges,
}

/// How much a compaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What is due: the tail, and the merges that pay.
    Due {
        /// Useless bytes in tables from which they are merged.
        threshold: u64,
    },
    /// Everything that can be gained: one run without a useless byte, and no log behind it.
    All,
    /// The tail, so that nothing is left to replay; the log, where it is long enough that opening
    /// would take notice; and a merge of what is small, for the reads of the next opening.
    Close {
        /// Bytes of log that may stay.
        log_bytes_max: u64,
    },
}

/// Bytes of rows that a close merges: with fewer, reads do not gain; more would take longer than
/// some tenths of a second.
const REST_BYTES: (u64, u64) = (1 << 20, 256 << 20);

/// A tail that was set aside and is not in a table yet.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    head: ManifestHead,
    /// How many of the useless bytes in the log were told before it.
    stale: u64,
}

/// Writes the tail as it is now to a table, purges the log up to there, and merges tables. Only one
/// runs at a time: the caller holds `frozen`.
///
/// Writers wait for none of it but the freeze, which is one pointer. What is on disk if we die
/// here: the old manifest and the whole log; or a new manifest and any part of the log that still
/// joins it. A merge changes no row.
///
/// # Errors
/// `DiskFull`, once what nobody wants of the past was given up; `Io`, `Corrupt` for a damaged
/// table: the last manifest is in force, the frozen tail is kept in memory, and it can be tried
/// again. `Poisoned`.
pub(crate) fn compact(
    machine: &Machine,
    frozen: &mut Option<Frozen>,
    rules: Rules,
    effort: Effort,
) -> Result<CompactionReport> {
    let stop = StopOnPanic(Some(machine));
    let done = do_steps(machine, frozen, rules, effort);
    stop.end();
    done
}

/// As [`compact`].
fn do_steps(
    machine: &Machine,
    frozen: &mut Option<Frozen>,
    rules: Rules,
    effort: Effort,
) -> Result<CompactionReport> {
    let _running = machine.throttle.begin();
    let started = machine.env.clock.elapsed();
    machine.store.log().check()?;
    let mut report =
        CompactionReport { bytes_before: bytes_of(machine), ..CompactionReport::default() };
    let written = write_tail(machine, frozen, rules.keep_log, effort, &mut report);
    let done = match (written, rules.merges) {
        (Ok(()), Merges::Do) => merge(machine, frozen, rules, effort, &mut report),
        (written, _) => written,
    };
    if let Err(Error::DiskFull(_)) = &done {
        // It comes from what is written down first, the past. So what may go of that goes now: if
        // it went behind a compaction only, none would ever find room.
        tidy_up_on_full_disk(machine);
    }
    done?;
    validate(machine, rules.keep_log);
    tidy_up(machine);
    if !matches!(effort, Effort::Close { .. }) {
        machine.store.tables().ask_for_images();
    }
    report.bytes_after = bytes_of(machine);
    report.elapsed = machine.env.clock.elapsed().saturating_sub(started);
    tell(machine, &mut report);
    Ok(report)
}

/// Stops the store when a compaction panics, which is a fault of this crate: nobody knows what it
/// left half done, and without compaction log and memory would grow for ever. So it does where it
/// is dropped before the [end](Self::end): whether this thread panics is not asked, which may close
/// the store while some other panic unwinds.
struct StopOnPanic<'a>(Option<&'a Machine>);

impl StopOnPanic<'_> {
    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if let Some(machine) = self.0 {
            machine.stop("a thread panicked while it compacted");
        }
    }
}

fn bytes_of(machine: &Machine) -> u64 {
    machine.store.log().stats().bytes + machine.store.tables().set().bytes()
}

/// Sets the tail aside, unless nothing was applied since the last manifest, and what that counts is
/// so.
fn freeze(machine: &Machine, frozen: &mut Option<Frozen>) {
    let said = machine.store.tables().manifest_head();
    let said = said.map(|head| (head.last, head.keys, head.live_bytes));
    let mut replica = machine.replica.write();
    let view = replica.kv.as_view();
    let (keys, live_bytes) = (view.keys_of_all(), view.live_bytes());
    let is_said = |last| said == Some((last, keys, live_bytes));
    let Some(last) = replica.last.filter(|&last| !is_said(last)) else { return };
    replica.kv.freeze();
    let view = replica.kv.as_view();
    let rest = replica.rest();
    let mut head = ManifestHead {
        last,
        timestamp: view.timestamp(),
        membership: membership_bytes(replica.membership.as_ref()),
        keys: view.keys_of_all(),
        live_bytes: view.live_bytes(),
        ..ManifestHead::default()
    };
    // Under the lock, so that no write is counted on the wrong side.
    let stale = machine.load.stale.load(Ordering::Relaxed);
    machine.load.set_aside();
    drop(replica);
    // Writers that waited have room again: for as much as is now being written.
    machine.throttle.progress();
    // Megabytes when there are many sessions, so not under the lock.
    head.sessions = rest.encode();
    *frozen = Some(Frozen { head, stale });
}

/// Writes the tail as it is now, and before it one that an earlier attempt has set aside.
fn write_tail(
    machine: &Machine,
    frozen: &mut Option<Frozen>,
    keep_log: KeepLog,
    effort: Effort,
    report: &mut CompactionReport,
) -> Result<()> {
    write_frozen(machine, frozen, keep_log, effort, report)?;
    freeze(machine, frozen);
    match machine.store.tables().manifest_head() {
        // What tables have may be in the log all the same.
        Some(head) if frozen.is_none() => purge(machine, head.last, keep_log, effort, report),
        _ => write_frozen(machine, frozen, keep_log, effort, report),
    }
}

/// Makes the frozen tail, if there is one, a run of tables, and purges the log that it covers.
fn write_frozen(
    machine: &Machine,
    frozen: &mut Option<Frozen>,
    keep_log: KeepLog,
    effort: Effort,
    report: &mut CompactionReport,
) -> Result<()> {
    let Some(Frozen { head, stale }) = frozen.clone() else { return Ok(()) };
    let log = machine.store.log();
    // The manifest must not be ahead of what a power cut leaves of the log, nor the past.
    log.sync()?;
    match record(machine, &head) {
        // What is in memory is whole, and must not be lost for it: the log goes once tables have
        // it, and with it what is damaged. The past has a gap then, and says where it goes on.
        Err(Error::Corrupt(error)) => {
            tracing::error!(%error, "what cannot be read of the log is missing from the past");
        }
        recorded => recorded?,
    }
    machine.recorded();
    let tail = machine.replica.read().kv.frozen();
    let (rows, cuts) = (tail.rows(), tail.cuts());
    let set = machine.store.add_run(&head, rows, cuts)?;
    report.rows_written += rows.len() as u64 + cuts.hidden().rows;
    drop(tail);
    let replaced = machine.rebase(set, true);
    *frozen = None;
    // Freeing a whole tail takes a while, so not under the lock.
    drop(replaced);
    machine.load.stale.fetch_sub(stale, Ordering::Relaxed);
    machine.throttle.progress();
    let done = purge(machine, head.last, keep_log, effort, report);
    // Also where that failed: what is known of the changes must stay within its limit.
    let purged = log.hard_state().purged;
    let first = purged.map_or(LogIndex(0), |purged| purged.index.next());
    let forgotten = machine.replica.write().effects.trim(head.last.index, first);
    drop(forgotten);
    done
}

/// Purges the log that tables cover, as far as the effort wants it.
fn purge(
    machine: &Machine,
    last: LogId,
    keep_log: KeepLog,
    effort: Effort,
    report: &mut CompactionReport,
) -> Result<()> {
    let log = machine.store.log();
    let stays = |most| log.stats().bytes <= most;
    match effort {
        _ if keep_log == KeepLog::Keep => Ok(()),
        Effort::Close { log_bytes_max } if stays(log_bytes_max) => Ok(()),
        // An entry longer than a segment has one of its own, which would stay until the next.
        Effort::Due { .. } if !log.lacks_room() && !log.is_at_end_of_segment() => {
            // Of a segment that stays the entries stay readable: whoever watches may want them.
            report.segments_removed += log.purge_whole(last)?;
            Ok(())
        }
        _ => {
            // On a full disk there may be no room for a new segment, and a sealed one takes no
            // mark: what lies before the active one is deleted first.
            if log.lacks_room() {
                report.segments_removed += log.purge_whole(last)?;
            }
            log.roll_now()?;
            report.segments_removed += log.purge(last)?;
            Ok(())
        }
    }
}

/// Merges tables for as long as it pays. Between two tables of it the tail is written when that is
/// due, or writers would wait for the end of a merge that takes minutes; but only where the
/// directory stays within its bound: otherwise they wait until the merge has freed some.
fn merge(
    machine: &Machine,
    frozen: &mut Option<Frozen>,
    rules: Rules,
    effort: Effort,
    report: &mut CompactionReport,
) -> Result<()> {
    let goal = match effort {
        Effort::Due { threshold } if machine.store.log().lacks_room() => MergeGoal::Relief {
            shortage: machine.store.log().shortage(),
            compaction_threshold: threshold,
        },
        Effort::Due { threshold } => MergeGoal::Due { compaction_threshold: threshold },
        Effort::All => MergeGoal::Everything,
        Effort::Close { .. } => MergeGoal::Rest { bytes: REST_BYTES },
    };
    // One that an earlier compaction has begun is brought to its end first.
    let mut is_earlier = is_merge_under_way(&machine.store.tables().set());
    let mut wrote_tail = false;
    let began_with = Sizes::of(machine);
    let is_background = matches!(effort, Effort::Due { .. });
    while let Some(step) = machine.store.merge_step(goal)? {
        let runs = step.set.runs().len();
        drop(machine.rebase(step.set, false));
        machine.throttle.progress();
        if step.progress == MergeProgress::Done {
            report.merges += 1;
            // What came in meanwhile is left to the next compaction: beside a writer that does not
            // rest, this one would never end, and whoever waits for it, or to compact, neither.
            if wrote_tail && !is_earlier {
                return Ok(());
            }
            (is_earlier, wrote_tail) = (false, false);
        } else if is_background && machine.should_merges_rest() {
            return Ok(());
        } else if (runs < RUNS_WHILE_MERGING_MAX
            || is_out_of_hand(machine.load.pressure(), rules.marks))
            && is_due(machine.load.pressure(), rules.marks)
            && may_tail_come(machine, rules.marks, &began_with)
        {
            let due = Effort::Due { threshold: rules.marks.stale };
            write_tail(machine, frozen, rules.keep_log, due, report)?;
            wrote_tail = true;
            // Who purges the log learns of what is in tables only when this returns; the merge goes
            // on with the next compaction.
            if rules.keep_log == KeepLog::Keep {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What a directory's bound is about.
struct Sizes {
    table_bytes: u64,
    /// Of the newest state, also where tables do not have it yet: removing needs next to no room,
    /// and takes from the bound twice what it removes.
    live_bytes: u64,
}

impl Sizes {
    fn of(machine: &Machine) -> Self {
        // No view of its own, which writers would have to copy nodes for.
        let live_bytes = machine.replica.read().kv.as_view().live_bytes();
        Self { table_bytes: machine.store.tables().set().bytes(), live_bytes }
    }

    /// What the bound has become less by since there were so many live bytes.
    const fn lost_since(&self, live_bytes: u64) -> u64 {
        live_bytes.saturating_sub(self.live_bytes).saturating_mul(2)
    }
}

/// Whether the tail may be written beside a merge that began with these sizes: what the merge has
/// freed may come again, and more as far as the directory stays within its bound. If nobody is held
/// up meanwhile, memory has to stay within its own.
fn may_tail_come(machine: &Machine, marks: Marks, began_with: &Sizes) -> bool {
    if is_out_of_hand(machine.load.pressure(), marks) {
        return true;
    }
    let (now, tables) = (Sizes::of(machine), machine.store.tables());
    // Whoever waits goes on once the tail is set aside, and may remove as much again as this one
    // has before it waits for the next.
    let written = tables.manifest_head().map_or(0, |head| head.live_bytes);
    let bytes = machine.load.unwritten().saturating_add(now.lost_since(written));
    let lost = now.lost_since(began_with.live_bytes);
    now.table_bytes.saturating_add(bytes).saturating_add(lost) <= began_with.table_bytes
        || tables.may_come(bytes, marks.stale_max)
}

/// Whether some of the runs are being merged, which an earlier step has begun.
pub(crate) fn is_merge_under_way(set: &TableSet) -> bool {
    set.runs().iter().any(|run| run.is_being_merged())
}

/// Checks rule R12 in debug builds: purged <= snapshot <= applied <= last. With one voter what is
/// applied is committed. A log that somebody else purges is given up step by step behind a snapshot
/// that was installed, so there only the middle holds at every moment.
fn validate(machine: &Machine, keep_log: KeepLog) {
    if cfg!(debug_assertions) {
        let applied = machine.replica.read().last;
        let hard = machine.store.log().hard_state();
        let snapshot = machine.store.tables().manifest_head().map(|head| head.last);
        assert!(snapshot <= applied, "snapshot {snapshot:?}, applied {applied:?}");
        if keep_log == KeepLog::Purge {
            assert!(hard.purged <= snapshot, "purged {:?}, snapshot {snapshot:?}", hard.purged);
            assert!(applied <= hard.last, "applied {applied:?}, last {:?}", hard.last);
        }
    }
}

fn tell(machine: &Machine, report: &mut CompactionReport) {
    let tables = machine.store.tables();
    let set = tables.set();
    let last = tables.manifest_head().map(|head| head.last.index);
    report.version = Version::from(last.unwrap_or(LogIndex(0)));
    let view = machine.replica.view();
    report.rows = view.keys_of_all();
    report.tables = set.tables().count();
    report.table_bytes = set.bytes();
    metrics::counter!(crate::metrics::COMPACTIONS_TOTAL, "result" => "done").increment(1);
    metrics::histogram!(crate::metrics::COMPACTION_SECONDS).record(report.elapsed);
    metrics::gauge!(crate::metrics::KEYS).set(view.len() as f64);
    metrics::gauge!(crate::metrics::LIVE_BYTES).set(view.live_bytes() as f64);
    tracing::info!(
        version = report.version.0,
        rows = report.rows,
        rows_written = report.rows_written,
        merges = report.merges,
        tables = report.tables,
        bytes_before = report.bytes_before,
        bytes_after = report.bytes_after,
        "compacted"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::command::Command;
    use crate::config::StoreConfig;
    use crate::engine::{KvEngine, SingleNodeEngine};
    use crate::env::{Env, Simulated};
    use crate::retention::Retention;

    #[test]
    fn writers_that_wait_go_on_when_the_tail_is_set_aside() {
        let config =
            StoreConfig { data_dir: "/data".into(), worker_threads: 0, ..StoreConfig::default() };
        let engine = SingleNodeEngine::with_env(&config, Env::simulated(1).env).unwrap();
        engine.put(b"k".to_vec(), b"v".to_vec()).unwrap();
        let machine = &engine.inner.committer.machine;
        let _running = machine.throttle.begin();
        let (look, looked) = mpsc::channel();
        let went_on = std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                machine.throttle.wait(Duration::from_mins(1), || {
                    look.send(()).ok();
                    machine.load.pressure().behind > 0
                })
            });
            looked.recv().unwrap();
            freeze(machine, &mut None);
            waiting.join().unwrap()
        });
        assert!(went_on);
    }

    #[test]
    fn what_tables_still_have_to_get_is_known_at_any_time() {
        let config =
            StoreConfig { data_dir: "/data".into(), worker_threads: 0, ..StoreConfig::default() };
        let engine = SingleNodeEngine::with_env(&config, Env::simulated(1).env).unwrap();
        let machine = &engine.inner.committer.machine;
        let put = |n: u8, len| engine.put(vec![n; 10], vec![n; len]).unwrap();
        let row = |len: u64| 10 + len + 20;
        put(1, 100);
        put(2, 100);
        put(2, 300);
        assert_eq!(machine.load.unwritten(), row(100) + row(300));
        let mut frozen = None;
        freeze(machine, &mut frozen);
        put(3, 50);
        // Those of the tail that is being written are not in a table yet.
        assert_eq!(machine.load.unwritten(), row(100) + row(300) + row(50));
        let mut report = CompactionReport::default();
        let due = Effort::Due { threshold: 0 };
        write_frozen(machine, &mut frozen, KeepLog::Keep, due, &mut report).unwrap();
        assert_eq!(machine.load.unwritten(), row(50));
        engine.submit(Command::delete_prefix("")).unwrap();
        // The third was in no table yet: nothing is left of it.
        assert_eq!(machine.load.unwritten(), 2 * row(0));
    }

    #[test]
    fn a_compaction_that_finds_no_room_gives_up_what_nobody_wants_of_the_past() {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let age_max = Duration::from_mins(4);
        let config = StoreConfig {
            data_dir: "/data".into(),
            worker_threads: 0,
            disk_reserve: 0,
            compaction_interval: Duration::ZERO,
            retention: Some(Retention { age_max: Some(age_max), ..Retention::default() }),
            ..StoreConfig::default()
        };
        let engine = SingleNodeEngine::with_env(&config, env).unwrap();
        for n in 0..4_u8 {
            engine.put(b"key".to_vec(), vec![n; 100]).unwrap();
            engine.run_compaction_now().unwrap();
            clock.advance(age_max / 3);
        }
        engine.put(b"key".to_vec(), b"last".to_vec()).unwrap();
        assert!(engine.eras().len() > 1);
        clock.advance(2 * age_max);
        fs.set_space(Some(fs.used_bytes()));
        let compacted = engine.run_compaction_now();
        assert!(matches!(compacted, Err(Error::DiskFull(_))), "{compacted:?}");
        assert_eq!(engine.eras().len(), 1);
        engine.run_compaction_now().unwrap();
    }

    #[test]
    fn what_the_past_still_has_to_get_is_known_at_any_time() {
        let mut config =
            StoreConfig { data_dir: "/data".into(), worker_threads: 0, ..StoreConfig::default() };
        for is_kept in [false, true] {
            config.retention = is_kept.then(Retention::default);
            let engine = SingleNodeEngine::with_env(&config, Env::simulated(1).env).unwrap();
            let machine = &engine.inner.committer.machine;
            let past = || machine.load.debt() - machine.load.unwritten();
            let put = |n: u8, len| engine.put(vec![n; 10], vec![n; len]).unwrap();
            let begun_with = past();
            put(1, 1_000);
            let first = past() - begun_with;
            // Of two with one key both are in the past.
            put(1, 1_000);
            assert_eq!(past() - begun_with, 2 * first);
            assert_eq!((first > 1_000, first > 0), (is_kept, is_kept));
            let mut frozen = None;
            freeze(machine, &mut frozen);
            put(2, 1_000);
            assert_eq!(past() - begun_with, 3 * first);
            let mut report = CompactionReport::default();
            let due = Effort::Due { threshold: 0 };
            write_frozen(machine, &mut frozen, KeepLog::Keep, due, &mut report).unwrap();
            assert_eq!(past(), first);
        }
    }
}
