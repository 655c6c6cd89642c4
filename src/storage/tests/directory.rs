//! The data directory itself: creation, its interruption, foreign files.

use super::*;
use crate::env::fs::{Fs, OpenHow};
use crate::env::fs_sim::{PowerCut, SimError};
use crate::storage::store::ReadOnlyStore;

fn created() -> SimFs {
    let fs = SimFs::new(1);
    drop(open(&fs));
    fs
}

/// Opens, acknowledges an entry, cuts the power and finds it.
fn works(fs: &SimFs, what: &str) {
    let store = try_open(fs).unwrap_or_else(|error| panic!("{what}: {error}"));
    append(store.log(), 0..1, 10);
    store.log().sync().unwrap();
    let cut = fs.power_cut(PowerCut::Nothing);
    let store = try_open(&cut).unwrap_or_else(|error| panic!("{what}, cut: {error}"));
    assert_eq!(indexes(store.log()), [0], "{what}");
}

#[test]
fn a_creation_that_fails_at_any_operation_begins_anew() {
    let operations = created().operations();
    for error in [SimError::Io, SimError::NoSpace, SimError::Access] {
        for at in 1..=operations {
            let fs = SimFs::new(1);
            fs.fail_operation(at, error);
            let opened = try_open(&fs);
            // That a directory above cannot be synced is told once: its name is not ours to take
            // back.
            let above = matches!(&opened, Err(StorageError::SyncFailed { path, .. })
                if path == Path::new("/"));
            let failed = opened.is_err();
            drop(opened);
            if !above {
                works(&fs.kill(), &format!("{error:?} at {at}, failed {failed}"));
            }
            works(&fs.power_cut(PowerCut::Nothing), &format!("{error:?} at {at}, cut"));
        }
    }
}

#[test]
fn a_creation_that_is_interrupted_at_any_operation_begins_anew() {
    let fs = SimFs::new(1);
    fs.start_history();
    drop(open(&fs));
    for image in fs.take_history() {
        let at = image.operation();
        works(&image.kill(), &format!("killed at {at}"));
        for seed in 0..16 {
            works(&image.power_cut(PowerCut::random(seed)), &format!("cut at {at}, {seed}"));
        }
    }
}

#[test]
fn missing_directories_above_are_made_durable_also_when_the_first_try_was_killed() {
    let deep = Path::new("/a/b/c");
    let fs = SimFs::new(1);
    fs.start_history();
    drop(Store::open(env(&fs), deep, &options()).unwrap());
    for image in fs.take_history() {
        let fs = image.kill();
        drop(Store::open(env(&fs), deep, &options()).unwrap());
        let cut = fs.power_cut(PowerCut::Nothing);
        let options = StoreOptions { absent: Absent::Refuse, ..options() };
        Store::open(env(&cut), deep, &options).unwrap();
    }
}

#[test]
fn a_file_or_a_link_is_no_data_directory() {
    let fs = SimFs::new(1);
    fs.write_file(Path::new(ROOT), b"a file").unwrap();
    assert!(matches!(try_open(&fs), Err(StorageError::UnusableDirectory { .. })));
    fs.remove_file(Path::new(ROOT)).unwrap();
    fs.make_symlink(Path::new(ROOT)).unwrap();
    assert!(matches!(try_open(&fs), Err(StorageError::UnusableDirectory { .. })));
    let reader = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options());
    assert!(matches!(reader, Err(StorageError::UnusableDirectory { .. })));
}

#[test]
fn a_store_is_not_created_where_that_is_not_wanted() {
    let fs = SimFs::new(1);
    let options = StoreOptions { absent: Absent::Refuse, ..options() };
    for _ in 0..2 {
        let error = open_with(&fs, &options).unwrap_err();
        assert!(matches!(error, StorageError::NoStore { .. }), "{error}");
        let error = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options()).unwrap_err();
        assert!(matches!(error, StorageError::NoStore { .. }), "{error}");
        fs.create_dir(Path::new(ROOT)).ok();
        assert_eq!(fs.files(), []);
    }
    drop(open(&fs));
    open_with(&fs, &options).unwrap();
}

#[test]
fn each_created_directory_is_one_of_its_own() {
    let identity = |fs| *open(&fs).identity();
    let (one, other) = (identity(SimFs::new(1)), identity(SimFs::new(1)));
    assert_ne!(one.cluster, other.cluster);
    assert_ne!(one.incarnation, other.incarnation);
    assert_eq!(one.node, NodeId(1));
}

#[test]
fn foreign_files_stay_and_temporaries_of_ours_go() {
    let fs = created();
    let foreign =
        ["notes.txt", "cache.tmp", "log/0000000001.seg.bak", "log/mine.tmp", "MANIFEST-1"];
    let ours = ["IDENTITY.tmp", "RESERVE.tmp", "MANIFEST-00000000000000000012.tmp"];
    let ours_too = ["log/0000000007.seg.tmp", "log/WATERMARK.tmp", "log/0000000001-9.torn.tmp"];
    for name in foreign.iter().chain(&ours).chain(&ours_too) {
        fs.write_file(&path(name), b"content").unwrap();
    }
    drop(open(&fs));
    for name in foreign {
        assert_eq!(fs.read_file(&path(name)).unwrap(), b"content", "{name}");
    }
    for name in ours.iter().chain(&ours_too) {
        assert!(fs.read_file(&path(name)).is_err(), "{name}");
    }
}

#[test]
fn a_directory_in_the_place_of_a_temporary_file_does_not_keep_the_store_from_opening() {
    let fs = created();
    fs.create_dir(&path("IDENTITY.tmp")).unwrap();
    fs.create_dir(&path("log/0000000001-9.torn.tmp")).unwrap();
    works(&fs, "directories");
}

#[test]
fn errors_of_the_operating_system_are_told_and_change_nothing() {
    let fs = created();
    let before = fs.files();
    fs.deny(&segment(1));
    let error = try_open(&fs).unwrap_err();
    assert!(error.to_string().contains("0000000001.seg"), "{error}");
    fs.permit(&segment(1));
    fs.make_read_only();
    assert!(try_open(&fs).is_err());
    let reader = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options()).unwrap();
    assert_eq!(reader.hard_state().last, None);
    drop(reader);
    fs.make_writable();
    fs.set_handles_max(Some(2));
    let holder = fs.open(&path("IDENTITY"), OpenHow::Read).unwrap();
    assert!(try_open(&fs).is_err());
    drop(holder);
    assert_eq!(fs.files(), before);
    fs.set_handles_max(None);
    works(&fs, "afterwards");
}
