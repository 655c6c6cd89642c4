//! What each change does, on a disk that does what it is told.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::storage::run::{Run, RunTable};
use crate::storage::table::{Cached, KeyHash};

#[test]
fn the_newest_run_with_a_key_says_what_it_is() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    store.add(&rows([("a", put(1, "1")), ("b", put(1, "1")), ("c", put(1, "1"))]));
    store.add(&rows([("b", None), ("c", put(2, "2")), ("d", put(2, ""))]));
    store.check("two runs");
    assert_eq!(store.tables.set().runs().len(), 2);
    let record = store.tables.set().get(b"b").unwrap().unwrap();
    assert!(record.is_tombstone());
}

#[test]
fn tombstones_that_hide_nothing_are_not_written() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    store.add(&rows([("a", None), ("b", None)]));
    assert!(store.tables.set().is_empty());
    assert_eq!(store.tables.set().number(), 1, "the head is written all the same");
    store.add(&rows([("a", put(2, "2")), ("z", None)]));
    assert_eq!(store.tables.set().rows(), 1);
    store.add(&rows([("a", None), ("b", None)]));
    assert_eq!(store.tables.set().rows(), 2, "the one that hides something is");
    store.check("three runs");
}

#[test]
fn a_tombstone_outlives_a_merge_that_leaves_out_what_it_hides() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    // One old run that is too large to be merged with the small ones.
    let big = (0..200).map(|n| (format!("k{n:03}").into_bytes(), put(1, &"x".repeat(200))));
    store.add(&big.collect());
    for n in 0..6 {
        store.add(&rows([(&format!("k{n:03}"), None)]));
    }
    store.merge_all(DUE);
    let set = store.tables.set();
    assert_eq!(set.runs().len(), 2);
    assert_eq!(set.runs()[0].tombstones(), 6);
    store.check("merged");
    store.merge_all(MergeGoal::Everything);
    assert_eq!(store.tables.set().rows(), 194);
    store.check("merged all");
}

#[test]
fn a_run_longer_than_a_table_has_several_and_a_merge_goes_step_by_step() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    for version in 1..=3 {
        let row = |n: u64| (format!("k{n:03}").into_bytes(), put(version, &"x".repeat(40)));
        store.add(&(0..60).map(row).collect());
    }
    let tables_before = store.tables.set().tables().count();
    assert!(tables_before >= 9, "{tables_before}");
    let bytes_before = store.tables.set().bytes();
    let mut steps = 0;
    let mut most = 0;
    while let Some(step) = store.tables.merge_step(MergeGoal::Everything).unwrap() {
        steps += 1;
        store.check(&format!("step {steps}"));
        most = most.max(fs.used_bytes());
        assert_eq!(step.set.number(), 3 + steps);
        check_no_leftovers(&fs, &store.tables, "step");
        if step.progress == MergeProgress::Done {
            break;
        }
        assert!(store.tables.set().runs().iter().any(|run| run.is_being_merged()));
    }
    assert!(steps >= 4, "{steps}");
    // Never a second copy: what is merged, and for each of its parts one table and its sectors.
    assert!(most <= bytes_before + 3000 + 512 * tables_before as u64, "{most} of {bytes_before}");
    let set = store.tables.set();
    assert_eq!((set.runs().len(), set.rows()), (1, 60));
    assert!(store.tables.merge_step(MergeGoal::Everything).unwrap().is_none());
}

#[test]
fn tables_of_a_large_state_are_longer_and_stay_few() {
    // A 64th of the state; as much as is allowed; no longer than usual.
    for (long_table_bytes_max, tables, bytes) in [
        (1 << 20, 90..120, 3_000..5_000),
        (2_000, 170..210, 2_000..2_500),
        (0, 350..450, 900..1_300),
    ] {
        let fs = SimFs::new(1);
        let options = TableStoreOptions { long_table_bytes_max, ..table_options() };
        let mut store = Modelled::new(&fs);
        store.tables = try_tables(&fs, options).unwrap();
        for version in 1..=2 {
            let row = |n: u64| (format!("k{n:04}").into_bytes(), put(version, &"x".repeat(40)));
            store.add(&(0..5_000).map(row).collect());
        }
        store.merge_all(MergeGoal::Everything);
        store.check("merged");
        let size = store.tables.set().runs()[0].size();
        let count = store.tables.set().tables().count();
        assert!(tables.contains(&count), "{count} tables up to {long_table_bytes_max}");
        assert!(bytes.contains(&size.longest_table), "{size:?}");
        // Of what is left each of them is short again.
        store.add(&(60..5_000).map(|n: u64| (format!("k{n:04}").into_bytes(), None)).collect());
        store.merge_all(MergeGoal::Everything);
        store.check("shrunk");
        let longest = store.tables.set().runs()[0].size().longest_table;
        assert!((900..1_300).contains(&longest), "{longest}");
    }
}

#[test]
fn a_merge_under_way_goes_on_after_reopening_and_beside_new_runs() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    for version in 1..=3 {
        let row = |n: u64| (format!("k{n:03}").into_bytes(), put(version, &"x".repeat(40)));
        store.add(&(0..60).map(row).collect());
    }
    let first = store.tables.merge_step(MergeGoal::Everything).unwrap().unwrap();
    assert_eq!(first.progress, MergeProgress::UnderWay);
    store.tables = tables(&fs);
    store.check("reopened");
    // Keys before and behind what was merged so far, some of them removed.
    store.add(&rows([("k000", None), ("k001", put(9, "9")), ("k059", None), ("zz", put(9, "z"))]));
    store.check("beside a new run");
    let mut steps = 0;
    while let Some(step) = store.tables.merge_step(DUE).unwrap() {
        store.check("step");
        steps += 1;
        if step.progress == MergeProgress::Done {
            break;
        }
    }
    assert!(steps >= 2, "{steps}");
    let set = store.tables.set();
    assert_eq!(set.runs().len(), 2, "the new run was not part of it");
    assert_eq!(set.runs()[0].tombstones(), 2);
    store.merge_all(MergeGoal::Everything);
    store.check("all");
    assert_eq!(store.tables.set().runs().len(), 1);
}

#[test]
fn a_merge_that_leaves_no_row_leaves_no_table() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    store.add(&rows([("a", put(1, "1")), ("b", put(1, "1"))]));
    store.add(&rows([("a", None), ("b", None)]));
    let number = store.tables.set().number();
    store.merge_all(DUE);
    let set = store.tables.set();
    assert!(set.is_empty());
    assert_eq!(set.number(), number + 1);
    check_no_leftovers(&fs, &store.tables, "empty");
    store.tables = tables(&fs);
    store.check("reopened");
    assert_eq!(store.tables.manifest_head(), Some(head_of(2, &State::new())));
}

#[test]
fn a_set_stays_readable_after_its_tables_were_removed() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    let row = |n: u64| (format!("k{n:03}").into_bytes(), put(1, &"x".repeat(40)));
    store.add(&(0..60).map(row).collect());
    let (set, state) = (store.tables.set(), store.state.clone());
    store.add(&(0..60).map(|n| (format!("k{n:03}").into_bytes(), None)).collect());
    store.merge_all(MergeGoal::Everything);
    assert!(names(&fs).0.is_empty());
    check_set(&set, &state, "held");
    drop(store);
    check_set(&set, &state, "held longer than the store");
}

#[test]
fn cursors_begin_at_any_bound() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    for version in 1..=2 {
        let row = |n: u64| (format!("k{:03}", 2 * n).into_bytes(), put(version, &"x".repeat(40)));
        store.add(&(0..60).map(row).collect());
    }
    // Half merged, so that bounds also fall on and around the key that the merge has come to.
    store.tables.merge_step(MergeGoal::Everything).unwrap().unwrap();
    let set = store.tables.set();
    assert_eq!(set.runs().len(), 3);
    for n in 0..=120 {
        let key = format!("k{n:03}").into_bytes();
        for bound in [Bound::Included(&*key), Bound::Excluded(&*key)] {
            for direction in [Direction::Forward, Direction::Backward] {
                let mut cursors = set.cursors(direction, bound).unwrap();
                let keys = cursors.iter().filter_map(|c| Some(c.row()?.key.to_vec()));
                let (found, expected) = match direction {
                    Direction::Forward => {
                        let range = (bound.map(<[u8]>::to_vec), Bound::Unbounded);
                        (keys.min(), store.state.range(range).next())
                    }
                    Direction::Backward => {
                        let range = (Bound::Unbounded, bound.map(<[u8]>::to_vec));
                        (keys.max(), store.state.range(range).next_back())
                    }
                };
                assert_eq!(found, expected.map(|(key, _)| key.clone()), "{bound:?} {direction:?}");
                let mut left: usize = 0;
                for cursor in &mut cursors {
                    while cursor.row().is_some() {
                        left += 1;
                        cursor.advance().unwrap();
                    }
                    cursor.advance().unwrap();
                    assert!(cursor.row().is_none());
                }
                assert!(left <= 120);
            }
        }
    }
}

#[test]
fn what_is_cached_is_told_without_the_disk() {
    use crate::storage::table::Cached;
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    // Too little to read in advance, and rows too long for an image.
    let value = "1".repeat(2000);
    let options = TableStoreOptions { memory_bytes: 64 << 10, ..table_options() };
    store.tables = try_tables(&fs, options).unwrap();
    store.add(&rows([("a", put(1, &value)), ("b", put(1, &value))]));
    let set = store.tables.set();
    let before = fs.operations();
    assert_eq!(set.cached_value(b"zzz"), Cached::Absent);
    assert_eq!(set.cached_value(b"a"), Cached::NeedsRead);
    assert_eq!(fs.operations(), before);
    let record = set.get(b"a").unwrap();
    let before = fs.operations();
    assert_eq!(set.cached_value(b"a"), Cached::from(record.unwrap().value));
    assert_eq!(fs.operations(), before);
}

#[test]
fn what_was_written_is_in_memory_but_what_is_merged_at_rest_is_not() {
    use crate::storage::table::Cached;
    let cached = |store: &Modelled| {
        let set = store.tables.set();
        let keys = store.state.iter();
        keys.filter(|&(key, record)| {
            let cached = set.cached_value(key);
            assert!(matches!(cached, Cached::NeedsRead) || cached == record.value.clone().into());
            cached != Cached::NeedsRead
        })
        .count()
    };
    for (goal, expected) in
        [(DUE, 60), (MergeGoal::Everything, 60), (MergeGoal::Rest { bytes: (0, 1 << 30) }, 0)]
    {
        let fs = SimFs::new(1);
        let mut store = Modelled::new(&fs);
        for version in 1..=9 {
            let row = |n: u64| (format!("k{n:03}").into_bytes(), put(version, &"x".repeat(40)));
            store.add(&(0..60).map(row).collect());
            assert_eq!(cached(&store), 60, "run {version}");
        }
        store.merge_all(goal);
        assert_eq!(store.tables.set().runs().len(), 1);
        assert_eq!(cached(&store), expected, "{goal:?}");
    }
}

#[test]
fn few_runs_and_little_stale_whatever_is_written() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    let rng = SeededRng::new(5);
    for _ in 0..80 {
        let rows = random_rows(&rng, store.index + 1, 120, 40);
        store.add(&rows);
        store.merge_all(DUE);
        let set = store.tables.set();
        assert!(set.runs().len() <= crate::storage::compaction_plan::RUNS_MAX);
        let live = head_of(0, &store.state).live_bytes;
        assert!(set.data_bytes() <= live + live / 2, "{} {live}", set.data_bytes());
    }
    store.check("end");
}

#[test]
fn a_key_is_looked_for_where_it_may_stand_also_where_tables_begin_and_end_alike() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    // The first sixteen bytes are the same of each kind, and zeros are what shorter ones end with.
    let zeros = (0..40).map(|zeros| [b"k".as_slice(), &vec![0; zeros]].concat());
    let numbered = (0..60).map(|n| format!("the same sixteen {n:02}").into_bytes());
    let keys: Vec<Vec<u8>> = zeros.chain(numbered).collect();
    store.add(&keys.iter().map(|key| (key.clone(), put(1, &"x".repeat(60)))).collect());
    let set = store.tables.set();
    let run = &set.runs()[0];
    assert!(run.tables().len() > 8, "{} tables", run.tables().len());
    let reaches = |table: &RunTable, key: &[u8]| {
        let summary = &table.entry.summary;
        *summary.first_key <= *key && *key <= *summary.last_key
    };
    let nearby = |key: &Vec<u8>| {
        let shorter = key.split_last().map(|(_, shorter)| shorter.to_vec());
        let changed = |last: &dyn Fn(u8) -> u8| {
            let mut key = key.clone();
            let end = key.last_mut().unwrap();
            *end = last(*end);
            key
        };
        let others = [changed(&|end| end.wrapping_add(1)), changed(&|end| end.wrapping_sub(1))];
        let longer = [0, 1, 0xff].map(|end| [key.as_slice(), &[end]].concat());
        [key.clone()].into_iter().chain(shorter).chain(others).chain(longer)
    };
    let mut there = 0;
    for key in keys.iter().flat_map(nearby) {
        let hash = KeyHash::of(&key);
        let table = run.tables().iter().find(|table| reaches(table, &key));
        let may = table.is_some_and(|it| it.table.may_contain(hash));
        assert_eq!(run.may_contain(&key, hash), may, "{key:?}");
        assert_eq!(get(&set, &key), store.state.get(&key).cloned(), "{key:?}");
        there += usize::from(may);
    }
    assert!(there > keys.len(), "{there}");
}

#[test]
fn what_a_merge_has_read_of_the_only_table_of_a_run_is_not_found_in_it() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    store.add(&rows([("b", put(1, "1")), ("d", put(1, "1")), ("f", put(1, "1"))]));
    let set = store.tables.set();
    let whole = &set.runs()[0];
    let [table] = whole.tables() else { panic!("{whole:?}") };
    let mut table = table.clone();
    table.entry.after = Some("d".into());
    let part = Run::new(vec![table]);
    for key in [b"a", b"b", b"c", b"d", b"e", b"f", b"g"] {
        let hash = KeyHash::of(key);
        let in_whole = whole.get(key, hash).unwrap();
        assert_eq!(in_whole.is_some(), b"bdf".contains(&key[0]), "{key:?}");
        let counts = key > b"d" && in_whole.is_some();
        assert_eq!(part.get(key, hash).unwrap().is_some(), counts, "{key:?}");
        assert_eq!(part.cached_value(key, hash) != Cached::Absent, counts, "{key:?}");
        assert_eq!(part.likely_cached_value(key, hash) != Cached::Absent, counts, "{key:?}");
        let likely = whole.likely_cached_value(key, hash);
        assert_eq!(likely != Cached::Absent, in_whole.is_some(), "{key:?}");
    }
}

#[test]
fn files_that_are_being_removed_count_until_they_are_gone() {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    for _ in 0..20 {
        let keys: Vec<_> = (0..300).map(|n| format!("k{n:03}").into_bytes()).collect();
        store.add(&keys.iter().map(|key| (key.clone(), put(1, "value"))).collect());
        store.add(&keys.into_iter().map(|key| (key, None)).collect());
        let tables = &store.tables;
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Nothing is left to write, so files only go.
                while tables.merge_step(MergeGoal::Everything).unwrap().is_some() {}
                is_over.store(true, Ordering::Release);
            });
            while !is_over.load(Ordering::Acquire) {
                let said = tables.file_bytes(&tables.set());
                let files = fs.files().into_iter();
                let files =
                    files.filter(|(path, _)| path.extension().is_some_and(|it| it == "tbl"));
                let there: u64 = files.map(|(_, bytes)| bytes.len() as u64).sum();
                assert!(there <= said, "{there} bytes are there, {said} were told");
            }
        });
        assert!(store.tables.set().is_empty());
    }
}
