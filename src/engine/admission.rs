//! Whether a write may come that adds or removes much. Pure, but for who is under way.
//!
//! The marks of [`pressure`](super::pressure) hold writers up once so much has gathered. That keeps
//! the directory within twice what is live and three segments while a write is short beside a
//! segment: one more passes a mark by its length at most. A write that removes or adds half a
//! segment passes each of them by that much, and nobody knows what a delete removes before looking.
//! So where a write may be long, it is looked at, and comes only when the directory stays within
//! its bound with it, whatever the next compaction writes before it can delete anything.
//!
//! A compaction of everything makes room for any one write, of entries up to the length of a
//! segment: behind it there are tables of what is live and an empty segment, so that with the
//! entry, its table, and what a merge of that writes, which is what is live then, there is twice
//! what is live and two segments.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The bound's segments, beside twice what is live.
const SEGMENTS: u64 = 3;
/// A write is long that has more than this part of a segment. Of shorter ones the marks alone
/// were measured to keep the bound, with eight threads, too; of a quarter not with three:
/// `docs/rfcs/0014-long-writes-wait-for-room.md`.
const LONG_SHARE: u64 = 8;

/// Beside segments shorter than this, manifests and heads of files are long.
const SHORT_SEGMENT: u64 = 16 << 10;
/// What the few short files of a store and the heads of those that a compaction writes take, about.
const SMALL_FILES: u64 = 1 << 10;

/// What a write changes, in bytes of keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// That are there afterwards, and were not.
    pub(crate) added: u64,
    /// That were there, and are of no use afterwards.
    pub(crate) removed: u64,
}

/// What a directory holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Keys and values of the newest state.
    pub(crate) live: u64,
    /// Files of the log, with what it and those under way put into it.
    pub(crate) log: u64,
    /// Files of tables.
    pub(crate) tables: u64,
    /// Of tables of what is in memory only.
    pub(crate) unwritten: u64,
    /// What a merge of all tables writes, and what it has read in part, at most, before it gives
    /// anything up.
    pub(crate) merge: u64,
    /// The most that it writes in all, unless more is live with the write.
    pub(crate) merged: u64,
}

/// Whether a write is long that adds to the log, or may remove, so many bytes. Pure.
pub(crate) const fn is_long(bytes: u64, segment: u64) -> bool {
    bytes > segment / LONG_SHARE || segment < SHORT_SEGMENT
}

/// How many rows a write may remove without being long. Pure.
pub(crate) const fn rows_of_a_short_write(longest_row: u64, segment: u64) -> u64 {
    let rows = segment / LONG_SHARE / if longest_row > 0 { longest_row } else { 1 };
    if rows > 0 { rows } else { 1 }
}

/// Whether the directory stays within its bound with a write, until everything that was written
/// was compacted. `others` are the writes that are under way: nobody knows in which order they
/// come, so each may remove what another adds, and what is live meanwhile may be all or nothing of
/// it. Pure.
pub(crate) const fn fits(
    holdings: &Holdings,
    change: Change,
    others: Option<Change>,
    segment: u64,
) -> bool {
    let Change { added, removed } = change;
    let alone = holdings.live.saturating_add(added).saturating_sub(removed);
    let (live_least, live_most, added) = match others {
        None => (alone, alone, added),
        Some(others) => {
            let added = added.saturating_add(others.added);
            let removed = removed.saturating_add(others.removed);
            let live = holdings.live;
            (live.saturating_sub(removed), live.saturating_add(added), added)
        }
    };
    let merged = if holdings.merged > live_most { holdings.merged } else { live_most };
    let merge = if holdings.merge < merged { holdings.merge } else { merged };
    let Holdings { log, tables, unwritten, .. } = *holdings;
    let tables = tables.saturating_add(unwritten).saturating_add(added).saturating_add(merge);
    log.saturating_add(tables).saturating_add(SMALL_FILES) <= bound(live_least, segment)
}

/// What a directory may have with so much that is live. Pure.
const fn bound(live: u64, segment: u64) -> u64 {
    live.saturating_mul(2).saturating_add(segment.saturating_mul(SEGMENTS))
}

/// Whether so much is left of what was removed that writes beside it could bring the directory
/// beyond its bound: more useless bytes in tables than are `tolerated`; or more in all than the
/// bound, with what a merge of all tables has beside it. Pure.
pub(crate) const fn is_much_left(holdings: &Holdings, tolerated: u64, segment: u64) -> bool {
    let Holdings { live, log, tables, unwritten, merge, .. } = *holdings;
    let held = log.saturating_add(tables).saturating_add(unwritten).saturating_add(merge);
    tables.saturating_sub(live) > tolerated
        || held.saturating_add(SMALL_FILES) > bound(live, segment)
}

impl Change {
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            added: self.added.saturating_add(other.added),
            removed: self.removed.saturating_add(other.removed),
        }
    }
}

/// A write on its way, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// Bytes of its frame in the log.
    pub(crate) frame: u64,
    pub(crate) change: Change,
}

/// The writes that have been let in and are not done yet.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    gate: Mutex<Gate>,
    /// Signalled when a write is done, or somebody has made room.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    under_way: usize,
    /// All that was let in since nothing was under way: what is done may yet be removed by one that
    /// came before it. Where writers never rest it grows until somebody does not fit, and so waits
    /// for all of them.
    since: Option<UnderWay>,
    /// Whether somebody makes room for a write that does not fit. Nobody else is let in: what came
    /// meanwhile would take the room.
    is_closed: bool,
}

/// A write that was let in, until it is done.
#[derive(Debug)]
#[must_use = "it counts for as long as it lives"]
pub(crate) struct Admitted<'a>(&'a Admissions);

/// The turn of a write that does not fit, to make room. Nobody else is let in while it lives.
#[derive(Debug)]
pub(crate) struct MakingRoom<'a>(&'a Admissions);

/// What became of a write that asked.
#[derive(Debug)]
pub(crate) enum Asked<'a> {
    Admitted(Admitted<'a>),
    /// Nothing else is under way, and it does not fit.
    NoRoom(MakingRoom<'a>),
    /// It has waited long enough for others.
    OverTime,
}

impl Admissions {
    /// Lets a write in once it fits; waits for those that are under way, for `wait_max` at most.
    /// `look` says what it is, and whether it fits beside these.
    pub(crate) fn ask(
        &self,
        wait_max: Duration,
        look: impl Fn(Option<UnderWay>) -> (UnderWay, bool),
    ) -> Asked<'_> {
        let mut gate = self.gate.lock();
        let mut seen = None;
        let waits = |gate: &mut Gate| {
            if gate.is_closed {
                return true;
            }
            let (it, fits) = look(gate.since);
            seen = fits.then_some(it);
            !fits && gate.under_way > 0
        };
        if self.changed.wait_while_for(&mut gate, waits, wait_max).timed_out() {
            return Asked::OverTime;
        }
        if let Some(it) = seen {
            return Asked::Admitted(self.let_in(&mut gate, it));
        }
        gate.is_closed = true;
        Asked::NoRoom(MakingRoom(self))
    }

    fn let_in(&self, gate: &mut Gate, it: UnderWay) -> Admitted<'_> {
        gate.under_way += 1;
        gate.since = Some(gate.since.map_or(it, |since| UnderWay {
            frame: since.frame.saturating_add(it.frame),
            change: since.change.and(it.change),
        }));
        Admitted(self)
    }
}

impl<'a> MakingRoom<'a> {
    /// Lets the write in, now that there is as much room as can be made. Another may come in then.
    pub(crate) fn admit(self, it: UnderWay) -> Admitted<'a> {
        self.0.let_in(&mut self.0.gate.lock(), it)
    }
}

impl Drop for MakingRoom<'_> {
    fn drop(&mut self) {
        self.0.gate.lock().is_closed = false;
        self.0.changed.notify_all();
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let mut gate = self.0.gate.lock();
        gate.under_way -= 1;
        if gate.under_way == 0 {
            gate.since = None;
        }
        drop(gate);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::*;

    const SEGMENT: u64 = 1 << 20;
    /// Reached only by a failure.
    const HANGS_AFTER: Duration = Duration::from_mins(1);

    fn change(added: u64, removed: u64) -> Change {
        Change { added, removed }
    }

    fn under_way(added: u64) -> UnderWay {
        UnderWay { frame: added, change: change(added, 0) }
    }

    proptest! {
        #[test]
        fn behind_a_compaction_of_everything_any_write_fits(
            live in 0..20 * SEGMENT,
            entry in 0..=SEGMENT,
            removed in 0..=SEGMENT,
            merge in 0..100 * SEGMENT,
        ) {
            let removed = removed.min(live);
            // A long entry has a segment of its own, beside one that has next to nothing.
            let log = SEGMENT + SEGMENT / 8;
            let compacted = Holdings { live, log, tables: live, merge, ..Holdings::default() };
            for (added, removed) in [(0, removed), (entry, 0), (entry, removed)] {
                prop_assert!(fits(&compacted, change(added, removed), None, SEGMENT));
            }
        }

        #[test]
        fn what_fits_beside_others_fits_whichever_of_them_come(
            live in 0..4 * SEGMENT,
            tables in 0..8 * SEGMENT,
            (merge, merged) in (0..4 * SEGMENT, 0..4 * SEGMENT),
            own in (0..SEGMENT, 0..SEGMENT),
            others in (0..SEGMENT, 0..SEGMENT),
        ) {
            let holdings = Holdings { live, tables, merge, merged, ..Holdings::default() };
            let (own, others) = (change(own.0, own.1), change(others.0, others.1));
            if fits(&holdings, own, Some(others), SEGMENT) {
                prop_assert!(fits(&holdings, own, None, SEGMENT));
                let came = others.removed.min(live);
                let after = Holdings {
                    live: live + others.added - came,
                    unwritten: others.added,
                    ..holdings
                };
                prop_assert!(fits(&after, own, None, SEGMENT));
            }
        }
    }

    #[test]
    fn what_is_removed_counts_twice_and_what_is_added_once_less() {
        let holdings = Holdings { live: 1000, tables: 3 * SEGMENT, ..Holdings::default() };
        let room = 2 * holdings.live - SMALL_FILES;
        let removing = |removed, segment| fits(&holdings, change(0, removed), None, segment);
        assert!(removing(room / 2, SEGMENT));
        assert!(!removing(room / 2 + 1, SEGMENT));
        assert!(removing(1000, SEGMENT + 1000));
        // A new row is in a table, and lets as much again be there.
        assert!(fits(&holdings, change(5000, 0), None, SEGMENT));
        // What merges write beside it does not pass what is live.
        let merging = |merged, merge| {
            let tables = holdings.tables - SMALL_FILES;
            let holdings = Holdings { tables, merge, merged, ..holdings };
            fits(&holdings, Change::default(), None, SEGMENT)
        };
        assert!(merging(500, u64::MAX) && merging(2000, u64::MAX));
        assert!(!merging(2001, u64::MAX));
        assert!(merging(2001, 2000));
        assert!(fits(&holdings, change(u64::MAX, u64::MAX), None, u64::MAX));
    }

    #[test]
    fn entries_are_long_beside_a_segment() {
        assert!(!is_long(SEGMENT / 8, SEGMENT));
        assert!(is_long(SEGMENT / 8 + 1, SEGMENT));
        assert!(is_long(0, SHORT_SEGMENT - 1));
        assert!(!is_long(0, SHORT_SEGMENT));
    }

    #[test]
    fn a_write_of_as_many_rows_as_are_short_together_is_not_long() {
        for longest_row in [1, 100, SEGMENT / 16, SEGMENT / 8] {
            let rows = rows_of_a_short_write(longest_row, SEGMENT);
            assert!(!is_long(rows * longest_row, SEGMENT), "{longest_row}");
            assert!(is_long((rows + 1) * longest_row, SEGMENT), "{longest_row}");
        }
        // One goes at a time however long it is; nothing is known of a store without rows.
        assert_eq!(rows_of_a_short_write(2 * SEGMENT, SEGMENT), 1);
        assert_eq!(rows_of_a_short_write(0, SEGMENT), SEGMENT / 8);
    }

    #[test]
    fn much_is_left_while_more_in_tables_is_useless_than_is_tolerated() {
        let in_tables = |tables, live| {
            is_much_left(&Holdings { live, tables, ..Holdings::default() }, SEGMENT / 2, SEGMENT)
        };
        assert!(!in_tables(SEGMENT / 2, 0) && in_tables(SEGMENT / 2 + 1, 0));
        assert!(!in_tables(SEGMENT, SEGMENT / 2) && in_tables(SEGMENT + 1, SEGMENT / 2));
    }

    #[test]
    fn much_is_left_while_a_merge_could_bring_the_directory_beyond_its_bound() {
        let room = 3 * SEGMENT - SMALL_FILES;
        let is_much = |holdings: Holdings| is_much_left(&holdings, u64::MAX, SEGMENT);
        let held = |log, unwritten, tables, merge, live| {
            is_much(Holdings { live, log, tables, unwritten, merge, ..Holdings::default() })
        };
        assert!(!held(room, 0, 0, 0, 0) && held(room + 1, 0, 0, 0, 0));
        assert!(!held(room - 27, 7, 9, 11, 0) && held(room - 26, 7, 9, 11, 0));
        assert!(!held(room, 7, 9, 4, 10) && held(room, 7, 9, 5, 10));
        assert!(!held(u64::MAX, 0, u64::MAX, u64::MAX, u64::MAX));
    }

    fn admitted(asked: Asked<'_>) -> Admitted<'_> {
        match asked {
            Asked::Admitted(admitted) => admitted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_does_not_fit_beside_others_waits_until_they_are_done() {
        let all = Admissions::default();
        let alone = |others: Option<UnderWay>| (under_way(7), others.is_none());
        let first = admitted(all.ask(HANGS_AFTER, alone));
        let second = admitted(all.ask(HANGS_AFTER, |others| {
            assert_eq!(others, Some(under_way(7)));
            (under_way(5), true)
        }));
        let (look, looked) = mpsc::channel();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let seen = |others: Option<UnderWay>| {
                    look.send(others.map(|it| it.change.added)).unwrap();
                    alone(others)
                };
                drop(admitted(all.ask(HANGS_AFTER, seen)));
            });
            assert_eq!(looked.recv().unwrap(), Some(12));
            drop(first);
            // What is done may still be removed by who came before it.
            assert_eq!(looked.recv().unwrap(), Some(12));
            drop(second);
            assert_eq!(looked.recv().unwrap(), None);
            waiting.join().unwrap();
        });
    }

    #[test]
    fn nobody_is_let_in_while_somebody_makes_room() {
        let all = Admissions::default();
        let fits = |_| (under_way(1), true);
        let Asked::NoRoom(making_room) = all.ask(HANGS_AFTER, |_| (under_way(1), false)) else {
            panic!("it does not fit, and nothing else is under way");
        };
        assert!(matches!(all.ask(Duration::ZERO, fits), Asked::OverTime));
        let first = making_room.admit(under_way(3));
        let second = admitted(all.ask(HANGS_AFTER, |others| {
            assert_eq!(others, Some(under_way(3)));
            fits(others)
        }));
        drop((first, second));
        assert!(matches!(
            all.ask(Duration::ZERO, |others| (under_way(1), others.is_none())),
            Asked::Admitted(_)
        ));
    }
}
