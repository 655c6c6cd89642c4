//! What opening a store does with what it finds of the past.

use super::*;
use crate::storage::store::ReadOnlyStore;

/// A store whose log and tables reach to entry 9, with a past.
fn store_with_a_past(fs: &SimFs) {
    let store = open(fs);
    super::super::append(store.log(), 0..10, 40);
    store.log().sync().unwrap();
    let entries = [changed(3, vec![set("a", "1", None)])];
    store
        .archiving(|archive| {
            archive.begin_era(store.tables())?;
            append(archive, 0..=5, &entries)
        })
        .unwrap();
    publish_snapshot(&store, 5).unwrap();
    store.archiving(|archive| archive.begin_era(store.tables())).unwrap();
    store.archiving(|archive| append(archive, 6..=9, &[])).unwrap();
    store.log().purge(id(5)).unwrap();
    store.close().unwrap();
}

#[test]
fn a_store_without_a_past_has_no_folder_for_it() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    assert_eq!((store.archive().last(), store.archive().eras()), (None, vec![]));
    assert_eq!(fs.kind(&path("archive")).unwrap(), None);
}

#[test]
fn the_past_is_there_for_readers_and_writers() {
    let fs = SimFs::new(1);
    store_with_a_past(&fs);
    let files = fs.files();
    let reader = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options()).unwrap();
    assert_eq!(reader.archive().last(), Some(LogIndex(9)));
    assert_eq!(read_all(reader.archive(), 0..=9).unwrap().len(), 1);
    let refused = append(reader.archive(), 10..=10, &[]).unwrap_err();
    assert!(matches!(refused, StorageError::Closed { .. }), "{refused}");
    for refused in [
        reader.archive().begin_era(reader.tables()).unwrap_err(),
        reader.archive().remove_all().unwrap_err(),
        compress(reader.archive()).unwrap_err(),
    ] {
        assert!(matches!(refused, StorageError::Closed { .. }), "{refused}");
    }
    drop(reader);
    assert_eq!(fs.files(), files);
    let store = open(&fs);
    assert_eq!(store.archive().eras().len(), 2);
    assert_eq!(read_all(store.archive(), 0..=9).unwrap().len(), 1);
}

#[test]
fn opening_reads_no_file_of_the_past() {
    use crate::env::fs_sim::Operation;
    let fs = SimFs::new(1);
    store_with_a_past(&fs);
    fs.start_trace();
    drop(open(&fs));
    let read = |traced: &crate::env::fs_sim::Traced| {
        matches!(traced.operation, Operation::OpenRead | Operation::Read)
            && traced.path.starts_with(path("archive"))
    };
    assert_eq!(fs.take_trace().into_iter().filter(read).count(), 0);
}

#[test]
fn a_symbolic_link_in_the_place_of_anything_is_refused() {
    let fs = SimFs::new(1);
    store_with_a_past(&fs);
    let mut names: Vec<PathBuf> = change_files(&fs);
    names.push(names[0].parent().unwrap().to_owned());
    names.push(path("archive"));
    for name in names {
        let fs = fs.kill();
        // The link stands beside what it replaces: the simulated disk removes no full directory.
        let moved = name.with_extension("moved");
        fs.rename_file(&name, &moved).unwrap();
        fs.make_symlink(&name).unwrap();
        let files = fs.files();
        for refused in [
            try_open(&fs).unwrap_err(),
            ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options()).unwrap_err(),
        ] {
            assert_eq!(named(&refused), Some(&*name), "{refused}");
        }
        assert_eq!(fs.files(), files);
    }
    for name in ["tables", "MANIFEST"] {
        let fs = fs.kill();
        let find = |path: &&String| path.contains(name);
        let found = paths(&fs).into_iter().find(|path| find(&path)).unwrap();
        let file = path("archive").join(found);
        fs.remove_file(&file).unwrap();
        fs.make_symlink(&file).unwrap();
        let store = open(&fs);
        let refused = store.archive().base_for(LogIndex(7)).unwrap_err();
        assert_eq!(named(&refused), Some(&*file), "{refused}");
    }
}

#[test]
fn what_is_foreign_is_left_alone() {
    let fs = SimFs::new(1);
    store_with_a_past(&fs);
    let names = ["archive/notes", "archive/x.era.tmp", "archive/5-6-7.era"];
    for name in names {
        fs.write_file(&path(name), b"x").unwrap();
    }
    drop(open(&fs));
    for name in names {
        assert_eq!(fs.read_file(&path(name)).unwrap(), b"x");
    }
}

#[test]
fn a_full_disk_gets_the_reserve_for_the_past() {
    let fs = SimFs::new(1);
    let options = StoreOptions { reserve_bytes: 64 << 10, ..options() };
    let store = open_with(&fs, &options).unwrap();
    super::super::append(store.log(), 0..10, 40);
    store.archiving(|archive| archive.begin_era(store.tables())).unwrap();
    fs.set_space(Some(fs.used_bytes()));
    let entries = [changed(3, vec![set("a", &"v".repeat(9000), None)])];
    let refused = append(store.archive(), 0..=9, &entries).unwrap_err();
    assert!(refused.is_disk_full(), "{refused}");
    store.archiving(|archive| append(archive, 0..=9, &entries)).unwrap();
}

#[test]
fn a_failed_sync_of_the_past_stops_the_store() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    super::super::append(store.log(), 0..10, 40);
    store.archiving(|archive| archive.begin_era(store.tables())).unwrap();
    fs.fail_sync(fs.syncs() + 1);
    let failed = store.archiving(|archive| append(archive, 0..=9, &[])).unwrap_err();
    assert!(matches!(failed, StorageError::SyncFailed { .. }), "{failed}");
    let refused = store.log().append(&[entry(10, 5)], Purpose::Grow, Completion::none());
    assert!(matches!(refused, Err(StorageError::Poisoned { .. })), "{refused:?}");
}
