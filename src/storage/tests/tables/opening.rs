//! What opening does with what it finds.

use super::*;
use crate::env::fs_sim::SimError;

fn two_runs(fs: &SimFs) -> State {
    let mut store = Modelled::new(fs);
    store.add(&rows([("a", put(1, "1")), ("b", put(1, "1"))]));
    store.add(&rows([("a", put(2, "2")), ("c", put(2, "2"))]));
    store.state
}

fn refused(fs: &SimFs) -> StorageError {
    let before = fs.files();
    let error = try_tables(fs, table_options()).unwrap_err();
    assert_eq!(fs.files(), before, "nothing is changed");
    error
}

#[test]
fn a_table_that_is_missing_is_named() {
    let fs = SimFs::new(1);
    two_runs(&fs);
    fs.remove(&path("tables/0000000001.tbl")).unwrap();
    match refused(&fs) {
        StorageError::MissingFile { file, .. } => assert_eq!(file, path("tables/0000000001.tbl")),
        other => panic!("{other}"),
    }
}

#[test]
fn all_tables_with_their_folder_missing_is_told_so() {
    let fs = SimFs::new(1);
    two_runs(&fs);
    for name in names(&fs).0 {
        fs.remove(&path(&format!("tables/{name}"))).unwrap();
    }
    assert!(matches!(refused(&fs), StorageError::MissingFile { .. }));
}

#[test]
fn a_table_of_another_length_is_corrupt() {
    for grown in [false, true] {
        let fs = SimFs::new(1);
        two_runs(&fs);
        let file = path("tables/0000000002.tbl");
        let mut bytes = fs.read_file(&file).unwrap();
        if grown {
            bytes.push(0);
        } else {
            bytes.pop();
        }
        fs.write_file(&file, &bytes).unwrap();
        match refused(&fs) {
            StorageError::Corrupt { file: named, .. } => assert_eq!(named, file),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_damaged_manifest_is_refused_and_no_older_one_takes_its_place() {
    let fs = SimFs::new(1);
    two_runs(&fs);
    let file = path("MANIFEST-00000000000000000002");
    let whole = fs.read_file(&file).unwrap();
    let older = path("MANIFEST-00000000000000000001");
    for at in 0..whole.len() {
        for bit in [0, 3, 7] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs.write_file(&file, &bytes).unwrap();
            fs.write_file(&older, &whole).unwrap();
            match refused(&fs) {
                StorageError::Corrupt { file: named, .. } => assert_eq!(named, file, "{at}"),
                other => panic!("{at}: {other}"),
            }
        }
    }
    for len in 0..whole.len() {
        fs.write_file(&file, &whole[..len]).unwrap();
        assert!(matches!(refused(&fs), StorageError::Corrupt { .. }), "{len}");
    }
    fs.write_file(&file, &[&*whole, &[0; 8]].concat()).unwrap();
    assert!(matches!(refused(&fs), StorageError::Corrupt { .. }));
    fs.write_file(&file, &whole).unwrap();
    tables(&fs);
    assert_eq!(names(&fs).1.len(), 1, "the older one is removed");
}

#[test]
fn names_that_are_no_regular_files_are_refused() {
    let fs = SimFs::new(1);
    two_runs(&fs);
    let manifest = path("MANIFEST-00000000000000000009");
    fs.create_dir(&manifest).unwrap();
    assert!(matches!(refused(&fs), StorageError::Corrupt { .. }));
    let fs = SimFs::new(1);
    two_runs(&fs);
    let file = path("tables/0000000001.tbl");
    fs.remove(&file).unwrap();
    fs.create_dir(&file).unwrap();
    assert!(matches!(refused(&fs), StorageError::Corrupt { .. }));
}

#[test]
fn what_no_manifest_names_is_removed_and_foreign_names_stay() {
    let fs = SimFs::new(1);
    let state = two_runs(&fs);
    for name in ["0000000007.tbl", "0000000003.tbl.tmp", "notes.txt", "7.tbl"] {
        fs.write_file(&path(&format!("tables/{name}")), b"left").unwrap();
    }
    let store = tables(&fs);
    check_set(&store.set(), &state, "opened");
    assert_eq!(names(&fs).0, ["0000000001.tbl", "0000000002.tbl", "7.tbl", "notes.txt"]);
    // The number of a table that was there is not given again.
    let mut after = state;
    let new = rows([("d", put(3, "3"))]);
    apply(&mut after, &new);
    let set = add(&store, 3, &new, &after).unwrap();
    assert_eq!(set.tables().next().unwrap().summary.id.0, 8);
}

#[test]
fn without_a_manifest_there_is_no_table_and_the_folder_need_not_be_there() {
    let fs = SimFs::new(1);
    let context = context(&fs);
    let store = TableStore::open(&context, None, table_options()).unwrap();
    assert!(store.set().is_empty());
    assert_eq!(store.manifest_head(), None);
    assert!(names(&fs).0.is_empty());
    store.remove_leftovers().unwrap();
    fs.write_file(&path("tables/0000000001.tbl"), b"of a first run that was never named").unwrap();
    tables(&fs);
    assert!(names(&fs).0.is_empty());
}

#[test]
fn a_sync_that_fails_while_opening_costs_nothing() {
    use crate::env::fs_sim::PowerCut;
    for failing in 1.. {
        let fs = SimFs::new(failing);
        let state = two_runs(&fs);
        fs.write_file(&path("tables/0000000007.tbl"), b"left").unwrap();
        fs.fail_sync(fs.syncs() + failing);
        let opened = try_tables(&fs, table_options());
        fs.clear_plan();
        for left in [fs.kill(), fs.power_cut(PowerCut::Nothing), fs.power_cut(PowerCut::Everything)]
        {
            assert_eq!(state_of(&tables(&left)), state, "sync {failing}");
        }
        if opened.is_ok() {
            assert!(failing > 2, "{failing}");
            return;
        }
    }
}

#[test]
fn an_operation_that_fails_leaves_the_tables_before_the_change() {
    for operation in 1.. {
        let fs = SimFs::new(1);
        let mut store = Modelled::new(&fs);
        store.add(&rows([("a", put(1, "1")), ("b", put(1, "1"))]));
        let new = rows([("b", put(2, "2"))]);
        let mut after = store.state.clone();
        apply(&mut after, &new);
        let before = fs.operations();
        fs.fail_operation(before + operation, SimError::Io);
        let added = add(&store.tables, 2, &new, &after);
        let was_reached = fs.operations() >= before + operation;
        fs.clear_plan();
        if let Err(error) = &added {
            store.check(&format!("operation {operation}: {error}"));
        }
        let found = state_of(&tables(&fs));
        let is_known = found == after || (added.is_err() && found == store.state);
        assert!(is_known, "operation {operation}: {found:?}");
        if !was_reached {
            assert!(operation > 20, "{operation}");
            return;
        }
    }
}
