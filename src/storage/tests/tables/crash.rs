//! A power cut or a kill after every operation of the disk while tables change.

use super::*;
use crate::env::fs_sim::{DiskImage, PowerCut};

/// The states that the store went through, and since which operation each is on the device.
struct History {
    states: Vec<State>,
    /// From this operation on, at least this state is there.
    least: Vec<(u64, usize)>,
    /// From this operation on, at most this state may be there.
    most: Vec<(u64, usize)>,
}

impl History {
    fn bounds(&self, operation: u64) -> (usize, usize) {
        let last = |marks: &[(u64, usize)]| {
            marks.iter().rev().find(|(from, _)| *from <= operation).map_or(0, |(_, state)| *state)
        };
        (last(&self.least), last(&self.most))
    }
}

fn workload(seed: u64) -> (History, Vec<DiskImage>) {
    let fs = SimFs::new(seed);
    let rng = SeededRng::new(seed);
    drop(context(&fs));
    fs.start_history();
    let mut store = Modelled::new(&fs);
    let mut history =
        History { states: vec![State::new()], least: vec![(0, 0)], most: vec![(0, 0)] };
    for _ in 0..14 {
        match rng.up_to(5) {
            0..=2 => {
                history.most.push((fs.operations(), history.states.len()));
                let rows = random_rows(&rng, store.index + 1, 40, 60);
                store.add(&rows);
                history.least.push((fs.operations(), history.states.len()));
                history.states.push(store.state.clone());
            }
            3 | 4 => drop(store.tables.merge_step(MergeGoal::Everything).unwrap()),
            _ => store.tables = tables(&fs),
        }
    }
    (history, fs.take_history())
}

/// Opens what is left, and says which state it is.
fn check(fs: &SimFs, history: &History, (least, most): (usize, usize), what: &str) -> usize {
    let tables = try_tables(fs, table_options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = state_of(&tables);
    let state = (least..=most).rev().find(|&state| history.states[state] == found);
    let state = state.unwrap_or_else(|| panic!("{what}: neither {least} nor {most}"));
    check_set(&tables.set(), &found, what);
    check_no_leftovers(fs, &tables, what);
    state
}

#[test]
fn a_power_cut_after_any_operation_leaves_the_tables_before_or_after_the_change() {
    let mut tried: u64 = 0;
    for seed in 1..=6 {
        let (history, images) = workload(seed);
        for image in &images {
            let bounds = history.bounds(image.operation());
            for n in 0..8 {
                let cut = match n {
                    0 => PowerCut::Nothing,
                    1 => PowerCut::Everything,
                    n => PowerCut::random(image.operation() * 8 + n),
                };
                tried += 1;
                let what = format!("seed {seed} operation {} {cut:?}", image.operation());
                let fs = image.power_cut(cut);
                let again = tried.is_multiple_of(7);
                if again {
                    fs.start_history();
                }
                let found = check(&fs, &history, bounds, &what);
                // What one opening showed as there stays there, wherever the next cut comes.
                for moment in fs.take_history() {
                    let fs = moment.power_cut(PowerCut::random(tried));
                    check(&fs, &history, bounds, &format!("{what}, again"));
                }
                let settled = fs.power_cut(PowerCut::Nothing);
                check(&settled, &history, (found, found), &format!("{what}, opened, cut"));
            }
        }
    }
    println!("{tried} images");
    assert!(tried > 5000, "{tried}");
}

#[test]
fn a_kill_after_any_operation_does_and_what_was_opened_survives_a_power_cut() {
    for seed in 11..=18 {
        let (history, images) = workload(seed);
        for image in &images {
            let what = format!("seed {seed} operation {} killed", image.operation());
            let fs = image.kill();
            let bounds = history.bounds(image.operation());
            let found = check(&fs, &history, bounds, &what);
            let cut = fs.power_cut(PowerCut::Nothing);
            check(&cut, &history, (found, found), &format!("{what}, opened, cut"));
        }
    }
}

#[test]
fn a_change_goes_on_from_whatever_a_cut_left() {
    for seed in 21..=24 {
        let (history, images) = workload(seed);
        for image in images.iter().step_by(3) {
            let fs = image.power_cut(PowerCut::random(image.operation()));
            let bounds = history.bounds(image.operation());
            let what = format!("seed {seed} operation {}", image.operation());
            let found = check(&fs, &history, bounds, &what);
            let mut store =
                Modelled { tables: tables(&fs), state: history.states[found].clone(), index: 500 };
            store.merge_all(MergeGoal::Everything);
            store.check(&what);
            store.add(&rows([("key-0001", put(501, "new")), ("key-0002", None)]));
            store.check(&what);
            check_no_leftovers(&fs, &store.tables, &what);
        }
    }
}

/// The name of a manifest whose directory could not be synced may be on the device or not. Either
/// way the tables of the one that is found are there.
#[test]
fn a_sync_that_fails_stops_the_store_and_costs_no_table_of_either_manifest() {
    for failing in 0..12 {
        for seed in 0..6 {
            let fs = SimFs::new(seed);
            let mut store = Modelled::new(&fs);
            store.add(&rows([("a", put(1, "1")), ("b", put(1, "1"))]));
            let before = store.state.clone();
            let mut after = before.clone();
            let new = rows([("a", put(2, "2")), ("c", put(2, "2"))]);
            apply(&mut after, &new);
            fs.fail_sync(fs.syncs() + 1 + failing / 2);
            let result = if failing % 2 == 0 {
                add(&store.tables, 2, &new, &after).map(drop)
            } else {
                add(&store.tables, 2, &new, &after)
                    .and_then(|_| store.tables.merge_step(MergeGoal::Everything))
                    .map(drop)
            };
            let what = format!("sync {failing} seed {seed}");
            if let Err(error) = &result {
                assert!(matches!(error, StorageError::SyncFailed { .. }), "{what}: {error}");
                let refused = store.tables.add_run(head_of(3, &after), &mut std::iter::empty());
                assert!(matches!(refused, Err(StorageError::Poisoned { .. })), "{what}");
            }
            fs.clear_plan();
            for cut in
                (0..12).map(PowerCut::random).chain([PowerCut::Nothing, PowerCut::Everything])
            {
                let fs = fs.power_cut(cut);
                let found = state_of(&tables(&fs));
                let expected =
                    if result.is_ok() { found == after } else { found == before || found == after };
                assert!(expected, "{what} {cut:?}: {found:?}");
            }
            let found = state_of(&tables(&fs.kill()));
            assert!(found == before || found == after, "{what}, killed");
        }
    }
}

/// Where the name of a manifest could be neither synced nor taken back, whoever opens the store
/// next finds it, and needs its tables.
#[test]
fn tables_stay_where_the_name_of_their_manifest_may_have_come_to_stay() {
    use crate::env::fs_sim::SimError;
    let mut was_seen = false;
    for operation in 1..60 {
        let fs = SimFs::new(operation);
        let mut store = Modelled::new(&fs);
        store.add(&rows([("a", put(1, "1"))]));
        let mut after = store.state.clone();
        let new = rows([("a", put(2, "2"))]);
        apply(&mut after, &new);
        // Those of table and folder, of manifest and data directory.
        fs.fail_sync(fs.syncs() + 4);
        fs.fail_operation(fs.operations() + operation, SimError::Io);
        let added = add(&store.tables, 2, &new, &after);
        fs.clear_plan();
        let found = state_of(&tables(&fs.kill()));
        assert!(found == after || found == store.state, "operation {operation}");
        was_seen |= added.is_err() && found == after;
    }
    assert!(was_seen, "no operation was the one that takes the name back");
}
