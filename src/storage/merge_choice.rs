//! Which merge is done next, and by tables of which length, in the room that there is. Pure.
//!
//! What to merge is the plan's; here it is held against the disk. A table goes when all of its rows
//! are written anew. So a merge of runs takes, at most, a table that is read in part of each of
//! them and the one that is being written; and it begins only where there is so much, since one
//! that stops half-way is in the way of every other.
//!
//! Room for that is kept from new data and from deletes, and some more from new data, for deletes:
//! they take room before they give any.

use super::compaction_plan::{
    LiveSize, Merge, RunSize, Shortage, everything, merged_bytes, plan, relief, rest, smallest,
};

/// What a merge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeGoal {
    /// Few runs and little that is stale: what [`plan`] asks for.
    Due {
        /// Bytes of keys and values in tables that no read needs and that are tolerated, however
        /// small the state is.
        compaction_threshold: u64,
    },
    /// Room on a full disk.
    Relief {
        /// Who finds none.
        shortage: Shortage,
        /// As in [`Self::Due`].
        compaction_threshold: u64,
    },
    /// One run, where that is worth it although nobody writes any more.
    Rest {
        /// Fewest and most bytes of keys and values that it may rewrite.
        bytes: (u64, u64),
    },
    /// One run without anything stale.
    Everything,
}

/// More than a table has besides its rows, and than a last block has on average.
const TABLE_BYTES_ONCE: u64 = 4096;

/// And at most which part more its file has than the rows at which it ends: its index and filter,
/// of rows of 20 bytes 7 of 100.
const TABLE_INDEX_SHARE: u64 = 8;

/// Which part of the usual length tables have that a merge writes where there is little room, but
/// no less than [`SMALL_TABLE_BYTES_MIN`].
const SMALL_TABLE_SHARE: u64 = 8;

/// Shorter tables than this would take room instead of making some: the device gives whole blocks,
/// so of a row more than 4 KiB two of them, and each table has a place in the manifest, which is
/// written anew with every one.
const SMALL_TABLE_BYTES_MIN: u64 = 64 << 10;

/// How long the tables are that a merge writes where there is little room.
const fn small_table_bytes(table_bytes_max: u64) -> u64 {
    let share = table_bytes_max / SMALL_TABLE_SHARE;
    let least = if share > SMALL_TABLE_BYTES_MIN { share } else { SMALL_TABLE_BYTES_MIN };
    if least < table_bytes_max { least } else { table_bytes_max }
}

/// The longest file of such a table.
const fn small_file_bytes(table_bytes_max: u64) -> u64 {
    let rows = small_table_bytes(table_bytes_max);
    rows + rows / TABLE_INDEX_SHARE + TABLE_BYTES_ONCE
}

/// About how many tables a state has whose tables would be short beside it.
const TABLES_OF_A_STATE: u64 = 64;

/// How long the tables are that a merge writes: `usual`, or a 64th of what is live where that is
/// more, but for that no more than `long`. The manifest is written anew with each of them, and has
/// some 200 bytes for each that there is: with tables of 2 KiB it would have a tenth of what is
/// live, again and again.
pub(crate) fn merged_table_bytes(live: Option<LiveSize>, usual: u64, long: u64) -> u64 {
    let share = live.map_or(0, |live| live.data_bytes / TABLES_OF_A_STATE);
    usual.max(share.min(long))
}

/// A merge that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MergeUnderWay {
    /// How much more of the disk it may take.
    pub(crate) room: u64,
    pub(crate) table_bytes_max: u64,
}

/// The runs that a merge reads, as places in the newest-first order, and how it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MergeJob {
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// The output so far, which stands just before them; `None` where it is to begin.
    pub(crate) output: Option<usize>,
    pub(crate) table_bytes_max: u64,
    /// How much more of the disk it may take.
    pub(crate) room: u64,
}

impl MergeJob {
    /// What is known of it once a step has written and removed so many bytes.
    pub(crate) const fn after_step(self, written: u64, removed: u64) -> MergeUnderWay {
        let Self { table_bytes_max, room, .. } = self;
        MergeUnderWay { room: (room + removed).saturating_sub(written), table_bytes_max }
    }
}

/// The merge that is under way, of which `begun` is known unless an earlier opening has begun it;
/// or else the one that the goal asks for. `runs` are the newest first, `live` is the state that
/// they hold, `table_bytes_max` the usual length of a table.
pub(crate) fn choose(
    runs: &[RunSize],
    live: Option<LiveSize>,
    goal: MergeGoal,
    begun: Option<MergeUnderWay>,
    table_bytes_max: u64,
) -> Option<MergeJob> {
    if let Some(first) = runs.iter().position(|run| run.is_being_merged) {
        // It goes on at the next opening where it would take long now.
        if let MergeGoal::Rest { bytes: (least, most) } = goal {
            rest(runs, least..=most)?;
        }
        let last = runs.iter().rposition(|run| run.is_being_merged)?;
        let output = first.checked_sub(1);
        let MergeUnderWay { room, table_bytes_max } = under_way(runs, begun, table_bytes_max)?;
        return Some(MergeJob { first, last, output, table_bytes_max, room });
    }
    let Merge { first, last } = match goal {
        MergeGoal::Due { compaction_threshold } => plan(runs, live?, compaction_threshold)?,
        // Also what would be due with room enough: it is asked for again.
        MergeGoal::Relief { shortage, compaction_threshold } => {
            relief(runs, live?, shortage).or_else(|| plan(runs, live?, compaction_threshold))?
        }
        MergeGoal::Rest { bytes: (least, most) } => rest(runs, least..=most)?,
        MergeGoal::Everything => everything(runs)?,
    };
    let room = room_of(runs, live, Merge { first, last }, table_bytes_max);
    Some(MergeJob { first, last, output: None, table_bytes_max, room })
}

/// The merge under way, if there is one: as it was begun, or as if it began now where an earlier
/// opening has begun it.
fn under_way(
    runs: &[RunSize],
    begun: Option<MergeUnderWay>,
    table_bytes_max: u64,
) -> Option<MergeUnderWay> {
    let first = runs.iter().position(|run| run.is_being_merged)?;
    let last = runs.iter().rposition(|run| run.is_being_merged)?;
    // One that began by small tables leaves small ones to the next. Without a table written, what
    // is known is of another.
    Some(begun.filter(|_| first > 0).unwrap_or_else(|| MergeUnderWay {
        room: room_of(runs, None, Merge { first, last }, table_bytes_max),
        table_bytes_max,
    }))
}

/// The same merge, or another that is of use, with less room for it: of the smallest two neighbours
/// for which there is room, and by smaller tables, so that those that were read go sooner. `None`
/// where `room` does not suffice for that either.
pub(crate) fn smaller(
    job: MergeJob,
    runs: &[RunSize],
    live: Option<LiveSize>,
    table_bytes_max: u64,
    room: u64,
) -> Option<MergeJob> {
    let table_bytes_max = small_table_bytes(table_bytes_max);
    if job.output.is_some() {
        // It has to go on in whatever there is: nothing else can be merged before.
        let left = files_of(runs, job.first, job.last).min(table_bytes_max);
        return (left + listed_bytes(runs) <= room).then_some(MergeJob { table_bytes_max, ..job });
    }
    let job_of = |merge: Merge| {
        let room = room_of(runs, live, merge, table_bytes_max);
        let Merge { first, last } = merge;
        MergeJob { first, last, output: None, table_bytes_max, room }
    };
    if runs.len() < 2 {
        let whole = job_of(Merge { first: job.first, last: job.last });
        return (whole.room <= room).then_some(whole);
    }
    smallest(runs, |merge| job_of(merge).room <= room).map(job_of)
}

/// Whether `room` suffices for a merge. One that has begun has to end. One that begins leaves to
/// deletes what is theirs, also from what the next merge takes: of longer tables that is more.
pub(crate) fn fits(job: MergeJob, runs: &[RunSize], table_bytes_max: u64, room: u64) -> bool {
    if job.output.is_some() {
        return job.room <= room;
    }
    let KeptRoom { deletes, .. } = room_to_keep(runs, None, table_bytes_max);
    job.room.max(of_two(runs, [table_bytes_max; 2], table_bytes_max)).saturating_add(deletes)
        <= room
}

/// Room that is kept, in bytes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptRoom {
    /// What two runs take whose tables are the longest, merged by small tables; but no more than
    /// `files`, those of all, and those that come. A run that comes, and one that is merged of
    /// shorter ones, has small tables at least.
    two: u64,
    files: u64,
    /// What the merge under way may still take.
    under_way: u64,
    /// Two more manifests: small tables make one longer than it is.
    listed: u64,
    /// For what deletes take before merges give it back. One of everything is due when half of it
    /// is used, so this is a part of what such a merge has to write; they are refused with a
    /// quarter left.
    pub(crate) deletes: u64,
}

impl KeptRoom {
    /// Bytes, where tables get so many more.
    pub(crate) fn bytes(&self, added: u64) -> u64 {
        self.merge(added).saturating_add(self.deletes)
    }

    /// For merges, once tables of so many bytes have come: what the one under way may still take,
    /// and what any of two runs takes which has to do with small tables. Merging two at a time, all
    /// of them can become one.
    pub(crate) fn merge(&self, added: u64) -> u64 {
        let Self { two, files, under_way, listed, .. } = *self;
        (files.saturating_add(added).min(two) + listed).max(under_way)
    }
}

/// Which part of the tables is kept for deletes, and of small ones, but no more than
/// [`DELETES_TABLE_SHARE`] of the usual length of a table.
const DELETES_SHARE: u64 = 32;
const DELETES_SHARE_OF_SMALL: u64 = 4;
const DELETES_TABLE_SHARE: u64 = 2;

/// The room to be kept beside these runs.
pub(crate) fn room_to_keep(
    runs: &[RunSize],
    begun: Option<MergeUnderWay>,
    table_bytes_max: u64,
) -> KeptRoom {
    let under_way = under_way(runs, begun, table_bytes_max).map_or(0, |begun| {
        // What it writes is merged next.
        begun.room.max(of_two(runs, [begun.table_bytes_max; 2], table_bytes_max))
    });
    let mut longest: Vec<u64> = runs.iter().map(|run| run.longest_table).collect();
    longest.sort_unstable_by_key(|&bytes| std::cmp::Reverse(bytes));
    let longest = [0, 1].map(|at| longest.get(at).copied().unwrap_or_default());
    let longest = longest.map(|bytes| bytes.max(small_file_bytes(table_bytes_max)));
    let room = room_for_two(runs, longest, table_bytes_max);
    let of_small = (room.files / DELETES_SHARE_OF_SMALL).min(table_bytes_max / DELETES_TABLE_SHARE);
    KeptRoom { under_way, deletes: of_small.max(room.files / DELETES_SHARE), ..room }
}

/// What a merge by small tables of two runs takes whose longest tables are these.
fn of_two(runs: &[RunSize], longest: [u64; 2], table_bytes_max: u64) -> u64 {
    room_for_two(runs, longest, table_bytes_max).merge(0)
}

/// The room for a merge by small tables of two runs whose longest tables are these.
fn room_for_two(runs: &[RunSize], longest: [u64; 2], table_bytes_max: u64) -> KeptRoom {
    KeptRoom {
        two: longest.iter().sum::<u64>() + small_table_bytes(table_bytes_max),
        files: runs.iter().map(|run| run.file_bytes).sum(),
        listed: 2 * listed_bytes(runs),
        ..KeptRoom::default()
    }
}

/// How long the tables of a run are that is added, where so much is free beside what is kept: long
/// tables would have the next merge take more than there is.
pub(crate) const fn table_bytes_in(free: u64, added: u64, table_bytes_max: u64) -> u64 {
    let longest = if added < table_bytes_max { added } else { table_bytes_max };
    if free < longest { small_table_bytes(table_bytes_max) } else { table_bytes_max }
}

/// Bytes of the files of the runs from `first` to `last`.
fn files_of(runs: &[RunSize], first: usize, last: usize) -> u64 {
    let inputs = runs.get(first..=last).unwrap_or_default();
    inputs.iter().map(|run| run.file_bytes).sum()
}

/// Bytes of a manifest: while one replaces another there are two.
fn listed_bytes(runs: &[RunSize]) -> u64 {
    runs.iter().map(|run| run.listed_bytes).sum()
}

/// The most bytes of the disk that a merge of these runs takes at any moment beside them.
fn room_of(
    runs: &[RunSize],
    live: Option<LiveSize>,
    Merge { first, last }: Merge,
    table_bytes_max: u64,
) -> u64 {
    let inputs = runs.get(first..=last).unwrap_or_default();
    let read_in_part: u64 = inputs.iter().map(|run| run.longest_table).sum();
    // One of everything writes no more than is live, and what a table has once.
    let is_whole = first == 0 && last + 1 == runs.len();
    let written = match live.filter(|_| is_whole) {
        Some(live) => merged_bytes(runs, live).saturating_add(TABLE_BYTES_ONCE),
        None => u64::MAX,
    };
    let files = files_of(runs, first, last).min(written);
    files.min(read_in_part + table_bytes_max) + listed_bytes(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: u64 = 8 * SMALL;
    const SMALL: u64 = SMALL_TABLE_BYTES_MIN;

    /// A run of so many tables of the usual length.
    fn run(tables: u64) -> RunSize {
        let bytes = tables * TABLE;
        let (rows, longest_table) = (bytes, TABLE);
        RunSize { data_bytes: bytes, file_bytes: bytes, rows, longest_table, ..RunSize::default() }
    }

    /// A run of nine tables of this length.
    fn run_of(table: u64) -> RunSize {
        let bytes = 9 * table;
        let rows = bytes;
        RunSize {
            data_bytes: bytes,
            file_bytes: bytes,
            rows,
            longest_table: table,
            ..RunSize::default()
        }
    }

    fn begun(run: RunSize) -> RunSize {
        RunSize { is_being_merged: true, ..run }
    }

    const ALL: MergeGoal = MergeGoal::Everything;

    #[test]
    fn a_merge_takes_a_table_of_each_run_and_the_one_it_writes_or_all_where_that_is_less() {
        let job = choose(&[run(3), run(1), run(9)], None, ALL, None, TABLE).unwrap();
        assert_eq!((job.first, job.last, job.output, job.room), (0, 2, None, 4 * TABLE));
        let job = choose(&[run(1), run(1)], None, ALL, None, TABLE).unwrap();
        assert_eq!(job.room, 2 * TABLE);
        // And another manifest.
        let listed = RunSize { listed_bytes: 5, ..run(1) };
        let job = choose(&[listed, listed], None, ALL, None, TABLE).unwrap();
        assert_eq!(job.room, 2 * TABLE + 10);
        assert_eq!(room_to_keep(&[listed, listed], None, TABLE).merge(0), 2 * TABLE + 20);
    }

    #[test]
    fn what_a_merge_may_still_take_follows_what_it_has_done() {
        let job = choose(&[run(3), run(3)], None, ALL, None, TABLE).unwrap();
        let after = job.after_step(TABLE, 0);
        assert_eq!(after, MergeUnderWay { room: 2 * TABLE, table_bytes_max: TABLE });
        assert_eq!(job.after_step(TABLE, 2 * TABLE).room, 4 * TABLE);
    }

    #[test]
    fn the_merge_under_way_goes_on_whatever_the_goal_is_and_by_tables_as_long_as_it_began() {
        let runs = [run(1), run(2), begun(run(3)), begun(run(3)), run(9)];
        let known = Some(MergeUnderWay { room: 7, table_bytes_max: SMALL });
        let (shortage, compaction_threshold) = (Shortage::Data, 0);
        let (relief, due) = (
            MergeGoal::Relief { shortage, compaction_threshold },
            MergeGoal::Due { compaction_threshold },
        );
        for goal in [ALL, relief, due] {
            let job = choose(&runs, None, goal, known, TABLE).unwrap();
            let expected =
                MergeJob { first: 2, last: 3, output: Some(1), table_bytes_max: SMALL, room: 7 };
            assert_eq!(job, expected);
        }
        // Another opening has begun it.
        let job = choose(&runs, None, ALL, None, TABLE).unwrap();
        assert_eq!((job.table_bytes_max, job.room), (TABLE, 3 * TABLE));
        // Nothing was written yet: what was known is of another one.
        let job = choose(&[begun(run(3)), begun(run(3))], None, ALL, known, TABLE).unwrap();
        assert_eq!((job.output, job.room), (None, 3 * TABLE));
        let too_much = MergeGoal::Rest { bytes: (0, 1) };
        assert_eq!(choose(&runs, None, too_much, known, TABLE), None);
    }

    #[test]
    fn in_little_room_the_two_smallest_neighbours_are_merged_by_small_tables_or_nothing_is() {
        let runs = [run(5), run(2), run(1), run(9)];
        let job = choose(&runs, None, ALL, None, TABLE).unwrap();
        let needed = 2 * TABLE + SMALL;
        let small = smaller(job, &runs, None, TABLE, needed).unwrap();
        let expected =
            MergeJob { first: 1, last: 2, output: None, table_bytes_max: SMALL, room: needed };
        assert_eq!(small, expected);
        assert_eq!(smaller(job, &runs, None, TABLE, needed - 1), None);
        // New data always leaves so much.
        assert!(room_to_keep(&runs, None, TABLE).merge(0) >= needed);
    }

    #[test]
    fn the_merge_under_way_goes_on_in_room_for_a_small_table() {
        let runs = [run(1), begun(run(3)), begun(run(3))];
        let known = Some(MergeUnderWay { room: 3 * TABLE, table_bytes_max: TABLE });
        let job = choose(&runs, None, ALL, known, TABLE).unwrap();
        let small = MergeJob { table_bytes_max: SMALL, ..job };
        assert_eq!(smaller(job, &runs, None, TABLE, SMALL), Some(small));
        assert_eq!(smaller(job, &runs, None, TABLE, SMALL - 1), None);
        // And what it may take is left to it.
        assert_eq!(room_to_keep(&runs, known, TABLE).merge(0), 3 * TABLE);
        assert!(fits(job, &runs, TABLE, 3 * TABLE) && !fits(job, &runs, TABLE, 3 * TABLE - 1));
        // Also where another opening has begun it.
        let job = choose(&runs, None, ALL, None, TABLE).unwrap();
        assert_eq!(room_to_keep(&runs, None, TABLE).merge(0), job.room);
        assert_eq!(room_to_keep(&[run(1)], known, TABLE).merge(0), TABLE);
    }

    #[test]
    fn a_merge_that_begins_leaves_room_for_deletes_and_for_the_merge_after_it() {
        let small = RunSize { longest_table: SMALL, ..run(3) };
        let runs = [small, small];
        let job = choose(&runs, None, ALL, None, TABLE).unwrap();
        assert_eq!(job.room, TABLE + 2 * SMALL);
        let needed = 2 * TABLE + SMALL + TABLE / 2;
        assert!(fits(job, &runs, TABLE, needed) && !fits(job, &runs, TABLE, needed - 1));
    }

    #[test]
    fn what_is_added_where_there_is_little_room_is_added_by_small_tables() {
        assert_eq!(table_bytes_in(TABLE, 2 * TABLE, TABLE), TABLE);
        assert_eq!(table_bytes_in(TABLE - 1, 2 * TABLE, TABLE), SMALL);
        assert_eq!(table_bytes_in(20, 20, TABLE), TABLE);
        assert_eq!(table_bytes_in(19, 20, TABLE), SMALL);
    }

    /// Each takes whole blocks, and a place in every manifest.
    #[test]
    fn small_tables_are_not_so_small_that_they_take_more_than_what_they_replace() {
        let of = |table_bytes_max| table_bytes_in(0, u64::MAX, table_bytes_max);
        assert_eq!([2 << 10, 32 << 10, SMALL].map(of), [2 << 10, 32 << 10, SMALL]);
        assert_eq!([2 * SMALL, TABLE, 2 * TABLE].map(of), [SMALL, SMALL, 2 * SMALL]);
        let two = |table| room_to_keep(&[run_of(table); 2], None, table).merge(0);
        let short = 2 * small_file_bytes(32 << 10) + (32 << 10);
        assert_eq!([32 << 10, TABLE].map(two), [short, 2 * TABLE + SMALL]);
        let runs = [run_of(32 << 10); 2];
        let job = choose(&runs, None, ALL, None, 32 << 10).unwrap();
        let small = smaller(job, &runs, None, 32 << 10, u64::MAX).unwrap();
        assert_eq!(small.table_bytes_max, 32 << 10);
    }

    #[test]
    fn a_merge_of_everything_takes_no_more_than_is_live() {
        let table = 1 << 20;
        let run = |bytes| RunSize {
            data_bytes: bytes,
            file_bytes: bytes,
            rows: bytes,
            longest_table: bytes,
            ..RunSize::default()
        };
        let runs = [run(90_000), run(100_000)];
        let live = Some(LiveSize { data_bytes: 10_000, rows: 10_000 });
        let job = choose(&runs, live, ALL, None, table).unwrap();
        assert_eq!(job.room, 10_000 + TABLE_BYTES_ONCE);
        assert!(smaller(job, &runs, live, table, job.room).is_some());
        // Of two of three rows that are gone in the oldest may still be hidden.
        let three = [run(90_000), run(100_000), run(500_000)];
        let job =
            smaller(choose(&three, live, ALL, None, table).unwrap(), &three, live, table, 1 << 20);
        assert_eq!(job.map(|job| (job.last, job.room)), Some((1, 190_000)));
    }

    /// Otherwise whoever asks whether one is due would ask again without end.
    #[test]
    fn on_a_full_disk_what_is_due_anyway_is_done_too() {
        let small_rows = |rows: u64| RunSize {
            data_bytes: rows * 16,
            file_bytes: rows * 40,
            rows,
            ..RunSize::default()
        };
        let runs = [small_rows(12), small_rows(100)];
        let size = LiveSize { data_bytes: 1600, rows: 98 };
        let live = Some(size);
        let (shortage, compaction_threshold) = (Shortage::Data, 0);
        let due = choose(&runs, live, MergeGoal::Due { compaction_threshold }, None, TABLE);
        let goal = MergeGoal::Relief { shortage, compaction_threshold };
        assert!(due.is_some() && relief(&runs, size, shortage).is_none());
        assert_eq!(choose(&runs, live, goal, None, TABLE), due);
    }

    #[test]
    fn what_comes_is_merged_too() {
        let most = SMALL + small_file_bytes(TABLE);
        let kept = room_to_keep(&[run(1)], None, TABLE);
        assert_eq!(
            [0, 5, SMALL, most, most + 1].map(|added| kept.merge(added) - TABLE),
            [0, 5, SMALL, most, most]
        );
        // Two that are there already take as much without it.
        let kept = room_to_keep(&[run(1), run(2), run(1)], None, TABLE);
        assert_eq!([0, SMALL, TABLE].map(|added| kept.merge(added)), [2 * TABLE + SMALL; 3]);
        // Of many short ones another is made that is longer than each.
        let short = RunSize { longest_table: 5, file_bytes: 5, ..run(1) };
        let kept = room_to_keep(&[short, run(9), short, short], None, TABLE);
        assert_eq!(kept.merge(0), TABLE + most);
        assert_eq!(KeptRoom::default().merge(7), 0);
    }

    #[test]
    fn what_is_kept_for_deletes_grows_with_the_tables() {
        let kept = |tables| room_to_keep(&[run(tables)], None, TABLE).deletes;
        assert_eq!([0, 1, 2, 16, 64].map(kept), [0, TABLE / 4, TABLE / 2, TABLE / 2, 2 * TABLE]);
    }
}
