//! Random changes against a map, with sets that are held across them.

use super::*;

fn run(seed: u64, memory_bytes: u64) {
    let fs = SimFs::new(seed);
    let rng = SeededRng::new(seed);
    let options = TableStoreOptions { memory_bytes, ..table_options() };
    let mut store = Modelled::new(&fs);
    store.tables = try_tables(&fs, options).unwrap();
    let keys = 1 + rng.up_to(200);
    // With one of them nearly every merge is of all runs, with the other of a few.
    let compaction_threshold = [0, 1 << 30][usize::try_from(seed % 2).unwrap()];
    let due = MergeGoal::Due { compaction_threshold };
    let mut held: Vec<(Arc<TableSet>, State)> = Vec::new();
    for step in 0..120 {
        let what = format!("seed {seed} step {step}");
        match rng.up_to(9) {
            0..=4 => {
                let rows = random_rows(&rng, store.index + 1, keys, 80);
                store.add(&rows);
            }
            5 | 6 => drop(store.tables.merge_step(due).unwrap()),
            7 if rng.up_to(3) == 0 => drop(store.tables.merge_step(MergeGoal::Everything).unwrap()),
            8 if rng.up_to(2) == 0 => {
                let before = store.tables.manifest_head();
                store.tables = try_tables(&fs, options).unwrap();
                assert_eq!(store.tables.manifest_head(), before, "{what}");
            }
            _ => {
                held.truncate(4);
                held.insert(0, (store.tables.set(), store.state.clone()));
            }
        }
        let set = store.tables.set();
        for _ in 0..40 {
            let key = format!("key-{:04}", rng.up_to(keys)).into_bytes();
            assert_eq!(get(&set, &key).as_ref(), store.state.get(&key), "{what}");
        }
        if step % 8 == 0 {
            store.check(&what);
            for (set, state) in &held {
                check_set(set, state, &what);
            }
            check_no_leftovers(&fs, &store.tables, &what);
        }
    }
}

#[test]
fn random_changes_leave_what_a_map_has() {
    for seed in 0..60 {
        run(seed, 1 << 20);
    }
}

#[test]
fn so_they_do_where_hardly_anything_fits_into_memory() {
    for seed in 100..160 {
        run(seed, 40_000);
    }
}
