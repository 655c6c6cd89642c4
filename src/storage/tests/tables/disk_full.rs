//! A disk without room for the whole of a change: the change does not happen, and takes no room.

use super::*;
use crate::storage::compaction_plan::Shortage;

fn filled() -> (SimFs, Modelled) {
    let fs = SimFs::new(1);
    let mut store = Modelled::new(&fs);
    for version in 1..=3 {
        let row = |n: u64| (format!("k{n:03}").into_bytes(), put(version, &"x".repeat(40)));
        store.add(&(0..60).map(row).collect());
    }
    (fs, store)
}

#[test]
fn a_run_that_does_not_fit_changes_nothing_at_any_budget() {
    for step in 0.. {
        let (fs, mut store) = filled();
        let what = format!("budget {step}");
        let (used, files) = (fs.used_bytes(), fs.files());
        fs.set_space(Some(used + step * 512));
        let row = |n: u64| {
            (
                format!("k{:03}", 2 * n).into_bytes(),
                (!n.is_multiple_of(3)).then(|| record(4, Some(vec![4; 50]))),
            )
        };
        let rows: Rows = (0..50).map(row).collect();
        let mut after = store.state.clone();
        apply(&mut after, &rows);
        let Err(error) = add(&store.tables, 4, &rows, &after) else {
            check_set(&store.tables.set(), &after, &what);
            assert!(step > 10, "only {step} were refused");
            return;
        };
        assert!(error.is_disk_full(), "{what}: {error}");
        assert_eq!((fs.used_bytes(), fs.files()), (used, files), "{what}");
        store.check(&what);
        check_set(&tables(&fs).set(), &store.state, &what);
        fs.set_space(None);
        add(&store.tables, 4, &rows, &after).unwrap();
        store.state = after;
        store.check(&what);
        check_no_leftovers(&fs, &store.tables, &what);
    }
}

#[test]
fn a_merge_that_does_not_fit_changes_nothing_and_goes_on_when_there_is_room() {
    let mut refused = 0;
    for step in 0..30 {
        let (fs, store) = filled();
        fs.set_space(Some(fs.used_bytes() + step * 512));
        let what = format!("budget {step}");
        loop {
            let (used, files) = (fs.used_bytes(), fs.files());
            match store.tables.merge_step(MergeGoal::Everything) {
                Ok(None) => break,
                Ok(Some(_)) => {}
                Err(error) => {
                    assert!(error.is_disk_full(), "{what}: {error}");
                    refused += 1;
                    assert_eq!((fs.used_bytes(), fs.files()), (used, files), "{what}");
                    store.check(&what);
                    fs.set_space(None);
                }
            }
            store.check(&what);
        }
        check_no_leftovers(&fs, &store.tables, &what);
        assert_eq!(store.tables.set().rows(), 60);
    }
    assert!(refused >= 3, "{refused}");
}

#[test]
fn a_replaced_table_that_cannot_be_removed_is_tried_again() {
    let (fs, mut store) = filled();
    let dead: Vec<PathBuf> =
        names(&fs).0.iter().map(|name| path(&format!("tables/{name}"))).collect();
    for file in &dead {
        fs.deny(file);
    }
    // Tables that are open are read on.
    store.merge_all(MergeGoal::Everything);
    store.check("merged");
    for file in &dead {
        fs.permit(file);
    }
    assert!(names(&fs).0.len() > store.tables.set().tables().count());
    store.add(&rows([("new", put(9, "9"))]));
    check_no_leftovers(&fs, &store.tables, "the next change");
}

/// The most that the directory of tables grows by while merges go on within so much room, and
/// whether they come to an end.
fn merge_within(model: &Modelled, room: u64) -> (u64, bool) {
    let before = model.tables.set().bytes();
    let mut grown = 0;
    loop {
        // What was taken of the room is not there any more.
        let taken = model.tables.set().bytes().saturating_sub(before);
        match model.tables.merge_step_within(
            MergeGoal::Relief { shortage: Shortage::Data, compaction_threshold: u64::MAX },
            room - taken,
        ) {
            Ok(Some(step)) => {
                let at_once = taken + step.bytes_written;
                grown = grown.max(at_once);
                model.check("merged");
            }
            Ok(None) => return (grown, true),
            Err(error) => {
                assert!(error.is_disk_full(), "{error}");
                return (grown, false);
            }
        }
    }
}

#[test]
fn merges_that_begin_in_little_room_come_to_an_end_in_it() {
    // Runs of one table each, which all have keys from the first to the last.
    let filled = || {
        let fs = SimFs::new(1);
        let mut options = table_options();
        options.table_bytes_max = 128 << 10;
        let tables = try_tables(&fs, options).unwrap();
        let mut model = Modelled { tables, state: State::new(), index: 0 };
        for run in 0..7_u64 {
            let row = |n: u64| {
                let key = format!("key-{:05}", n * 7 + run).into_bytes();
                (key, Some(record(run + 1, Some(vec![b'v'; 40]))))
            };
            model.add(&(0..1000).map(row).collect());
        }
        // Of all of them a fifth goes.
        let gone = |n: u64| (format!("key-{:05}", n * 5).into_bytes(), None);
        model.add(&(0..1400).map(gone).collect());
        (fs, model)
    };
    let (_fs, model) = filled();
    let enough = model.tables.room_to_keep().merge(0);
    assert!(enough * 2 < model.tables.set().bytes(), "{enough}");
    for room in [enough, enough * 3 / 2, enough * 2, u64::MAX / 2] {
        let (_fs, model) = filled();
        let before = model.tables.set().bytes();
        let (grown, is_done) = merge_within(&model, room);
        assert!(is_done, "room of {room} of {before} bytes");
        assert!(grown <= room, "{grown} of {room}");
        assert_eq!(model.tables.set().runs().len(), 1);
        assert!(model.tables.set().bytes() < before * 9 / 10);
    }
}

#[test]
fn what_a_manifest_has_besides_tables_is_counted_in_the_room_of_merges() {
    let room_with = |sessions: usize| {
        let fs = SimFs::new(1);
        let tables = try_tables(&fs, table_options()).unwrap();
        let state = State::from([(b"k".to_vec(), record(1, Some(vec![b'v'; 40])))]);
        let head = ManifestHead { sessions: vec![0; sessions].into(), ..head_of(1, &state) };
        let mut rows = state.iter().map(|(key, row)| (Bytes::copy_from_slice(key), row.clone()));
        tables.add_run(head, &mut rows).unwrap();
        tables.room_to_keep().merge(0)
    };
    // While one manifest replaces another there are two, and small tables make the next one longer.
    assert_eq!(room_with(100_000), room_with(0) + 2 * 100_000);
}
