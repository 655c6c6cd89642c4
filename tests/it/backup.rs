//! Backups: made while writes go on, of a state that was, and independent afterwards.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hightower_kv::engine::backup::{BackupOptions, Links, backup_closed, restore_with};
use hightower_kv::env::Env;
use hightower_kv::env::fs::{Fs, LockKind, OpenHow};
use hightower_kv::env::fs_sim::{PowerCut, SimFs};
use hightower_kv::storage::error::StorageError;
use hightower_kv::storage::inspect;
use hightower_kv::{
    Error, KvEngine, ReadOnlyEngine, Result, SingleNodeEngine, SnapshotEngine, StoreConfig,
};

use crate::support::{
    Pairs, REAL_MACHINE, open_sim, open_sim_with, pairs, real_config, sim_config, within_reason,
};

pub(crate) const BOTH: [Links; 2] = [Links::Allowed, Links::Copy];

pub(crate) fn data() -> &'static Path {
    Path::new("/data")
}

pub(crate) fn backup() -> &'static Path {
    Path::new("/backup")
}

pub(crate) fn env(fs: &SimFs) -> Env {
    Env::simulated_on(fs.clone(), 5).env
}

pub(crate) fn config_at(directory: &Path) -> StoreConfig {
    let mut config = sim_config();
    directory.clone_into(&mut config.data_dir);
    config
}

/// A store with tables in two runs and several segments behind them.
pub(crate) fn filled(fs: &SimFs) -> (SingleNodeEngine, Pairs) {
    let engine = open_sim(fs).unwrap();
    for step in 0..90_u8 {
        engine.put(vec![b'k', step % 40], vec![step; 150]).unwrap();
        if step % 7 == 0 {
            engine.delete(vec![b'k', step / 2 % 40]).unwrap();
        }
        if step == 30 || step == 50 {
            engine.run_compaction_now().unwrap();
        }
    }
    let rows = pairs(&engine.snapshot_state());
    (engine, rows)
}

pub(crate) fn rows_of(fs: &SimFs, directory: &Path) -> Result<Pairs> {
    Ok(pairs(ReadOnlyEngine::open_in(env(fs), directory)?.view()))
}

pub(crate) fn with(links: Links) -> BackupOptions {
    BackupOptions { links }
}

/// Those with bytes in them, so not `LOCK`.
pub(crate) fn files_below(fs: &SimFs, directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs.files().into_iter();
    files.filter(|(path, _)| path.starts_with(directory) && !path.ends_with("LOCK")).collect()
}

#[test]
fn a_backup_is_a_store_with_everything_written_before() {
    for links in BOTH {
        for has_links in [true, false] {
            let fs = SimFs::new(3);
            let (engine, rows) = filled(&fs);
            if !has_links {
                fs.forbid_hard_links();
            }
            let report = engine.backup_with(backup(), with(links), &mut |_| ()).unwrap();
            assert_eq!(report.version, engine.latest_version());
            assert_eq!(report.linked_files > 0, has_links && links == Links::Allowed);
            assert!(report.linked_bytes <= report.bytes && report.files > 5, "{report:?}");
            assert!(rows_of(&fs, backup()).unwrap() == rows);
            let verified = inspect::verify(&env(&fs), backup()).unwrap();
            assert_eq!((verified.damages, verified.leftovers), (vec![], vec![]));
            assert_eq!((verified.files, verified.bytes), (report.files, report.bytes));
            let copy = open_sim_with(&fs, &config_at(backup())).unwrap();
            assert!(pairs(&copy.snapshot_state()) == rows);
            assert!(copy.put(b"more".to_vec(), b"x".to_vec()).unwrap().version > report.version);
        }
    }
}

#[test]
fn what_a_backup_was_told_is_on_the_device() {
    let fs = SimFs::new(3);
    let (engine, rows) = filled(&fs);
    engine.backup(backup()).unwrap();
    let cut = fs.power_cut(PowerCut::Nothing);
    assert!(rows_of(&cut, backup()).unwrap() == rows);
}

#[test]
fn a_backup_is_never_ahead_of_its_store() {
    let fs = SimFs::new(3);
    let mut config = sim_config();
    config.fsync_interval = std::time::Duration::from_secs(100);
    let engine = open_sim_with(&fs, &config).unwrap();
    engine.put(b"buffered".to_vec(), b"x".to_vec()).unwrap();
    assert!(engine.stats().unsynced_bytes > 0);
    engine.backup(backup()).unwrap();
    let cut = fs.power_cut(PowerCut::Nothing);
    for directory in [data(), backup()] {
        assert_eq!(rows_of(&cut, directory).unwrap().len(), 1, "{}", directory.display());
    }
}

#[test]
fn a_backup_keeps_who_the_store_is() {
    let fs = SimFs::new(3);
    let (engine, _) = filled(&fs);
    engine.backup(backup()).unwrap();
    engine.close().unwrap();
    let identity = |at| *ReadOnlyEngine::open_in(env(&fs), at).unwrap().identity();
    assert_eq!(identity(data()), identity(backup()));
}

#[test]
fn store_and_backup_are_independent_afterwards() {
    for links in BOTH {
        let fs = SimFs::new(3);
        let (engine, rows) = filled(&fs);
        engine.backup_with(backup(), with(links), &mut |_| ()).unwrap();
        let copy = open_sim_with(&fs, &config_at(backup())).unwrap();
        let (mut ours, mut theirs) = (rows.clone(), rows);
        for round in 0..3_u8 {
            for (at, store, rows) in [(1, &engine, &mut ours), (2, &copy, &mut theirs)] {
                for step in 0..40_u8 {
                    let (key, value) = (vec![b'k', step], vec![round, at, step]);
                    store.put(key.clone(), value.clone()).unwrap();
                    rows.insert(key, value);
                }
                store.run_compaction_now().unwrap();
            }
        }
        assert!(pairs(&engine.snapshot_state()) == ours);
        assert!(pairs(&copy.snapshot_state()) == theirs);
        engine.close().unwrap();
        copy.close().unwrap();
        for (directory, expected) in [(data(), ours), (backup(), theirs)] {
            assert!(rows_of(&fs, directory).unwrap() == expected);
            assert_eq!(inspect::verify(&env(&fs), directory).unwrap().damages, []);
        }
    }
}

#[test]
fn compaction_during_a_backup_takes_nothing_from_it() {
    for links in BOTH {
        let fs = SimFs::new(3);
        let (engine, rows) = filled(&fs);
        let mut told = Vec::new();
        let on_progress = &mut |progress: hightower_kv::engine::backup::Progress| {
            // Everything is written anew, so that nothing that was there before is needed.
            engine.put(b"later".to_vec(), vec![7; told.len() + 1]).unwrap();
            engine.run_compaction_now().unwrap();
            told.push(progress);
        };
        engine.backup_with(backup(), with(links), on_progress).unwrap();
        assert!(told.is_sorted_by_key(|progress| progress.done), "{told:?}");
        let last = told.last().unwrap();
        assert_eq!(last.done, last.total);
        assert!(rows_of(&fs, backup()).unwrap() == rows);
    }
}

/// Writes numbers one after the other, as fast as it goes, until told to stop.
fn write_numbers(engine: &SingleNodeEngine, acknowledged: &AtomicU64, stop: &AtomicBool) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Acquire) {
        let value = number.to_le_bytes().repeat(20);
        engine.put(format!("{:02}", number % 60).into_bytes(), value).unwrap();
        number += 1;
        acknowledged.store(number, Ordering::Release);
    }
}

/// Checks that the numbers in a store are those of a prefix of what was written, and returns how
/// many those are.
fn prefix_of(rows: &Pairs) -> u64 {
    let number = |value: &Vec<u8>| u64::from_le_bytes(*value.first_chunk().unwrap());
    let next = rows.values().map(number).max().map_or(0, |last| last + 1);
    for last in next.saturating_sub(60)..next {
        let value = rows.get(format!("{:02}", last % 60).as_bytes());
        assert_eq!(value.map(number), Some(last), "of {next}");
    }
    assert_eq!(rows.len() as u64, next.min(60));
    next
}

/// Backups while one thread writes and another compacts.
fn back_up_under_way(
    engine: &SingleNodeEngine,
    directory: &Path,
    rows_of: impl Fn(&Path) -> Pairs,
) {
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| write_numbers(engine, &acknowledged, &stop));
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                engine.run_compaction_now().unwrap();
            }
        });
        // Also when this fails, so that the threads end.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..20 {
                while acknowledged.load(Ordering::Acquire) < 20 * number {
                    std::thread::yield_now();
                }
                let links = if number % 2 == 0 { Links::Allowed } else { Links::Copy };
                let target = directory.join(format!("backup-{number}"));
                let before = acknowledged.load(Ordering::Acquire);
                engine.backup_with(&target, with(links), &mut |_| ()).unwrap();
                let after = acknowledged.load(Ordering::Acquire);
                let found = prefix_of(&rows_of(&target));
                // One more may have been written and not be answered yet.
                assert!((before..=after + 1).contains(&found), "{before} <= {found} <= {after}");
            }
        }));
        stop.store(true, Ordering::Release);
        done.unwrap();
    });
}

#[test]
fn backups_under_way_hold_a_prefix_with_everything_acknowledged_before() {
    // Outside: how long others have it does not count.
    let _alone = REAL_MACHINE.lock();
    within_reason(|| {
        let directory = tempfile::tempdir().unwrap();
        let mut config = real_config(&directory.path().join("store"));
        config.max_segment_size = 16 << 10;
        let engine = SingleNodeEngine::with_config(config).unwrap();
        back_up_under_way(&engine, directory.path(), |target| {
            pairs(ReadOnlyEngine::open(target).unwrap().view())
        });
    });
}

#[test]
fn backups_under_way_on_a_simulated_disk_do_too() {
    within_reason(|| {
        let fs = SimFs::new(4);
        let engine = open_sim(&fs).unwrap();
        back_up_under_way(&engine, Path::new("/"), |target| rows_of(&fs, target).unwrap());
    });
}

#[test]
fn nothing_is_overwritten() {
    let fs = SimFs::new(3);
    let (engine, _) = filled(&fs);
    fs.create_dir(Path::new("/full")).unwrap();
    fs.write_file(Path::new("/full/theirs"), b"theirs").unwrap();
    fs.write_file(Path::new("/file"), b"theirs").unwrap();
    fs.make_symlink(Path::new("/link")).unwrap();
    let before = fs.files();
    let names = |fs: &SimFs| fs.list(Path::new("/")).unwrap();
    let names_before = names(&fs);
    for (target, reason) in [
        ("/full", "not empty"),
        ("/file", "not a directory"),
        ("/link", "not a directory"),
        ("/none/backup", "above it does not exist"),
        ("/data", "within the store"),
        ("/data/backup", "within the store"),
        ("/data/log/backup", "within the store"),
    ] {
        let error = engine.backup(target).unwrap_err();
        assert!(matches!(error, Error::UnusableDirectory(_)), "{target}: {error}");
        assert!(error.to_string().contains(reason), "{target}: {error}");
    }
    assert_eq!(fs.files(), before);
    assert_eq!(names(&fs), names_before);
    fs.create_dir(backup()).unwrap();
    engine.backup(backup()).unwrap();
    let again = engine.backup(backup()).unwrap_err();
    assert!(matches!(again, Error::UnusableDirectory(_)), "{again}");
}

/// However the directory is called.
#[test]
fn a_backup_within_a_store_is_refused_through_links_and_dots_and_beside_it_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = root.join("kv");
    let engine = SingleNodeEngine::with_config(real_config(&store)).unwrap();
    engine.put(b"a".to_vec(), b"1".to_vec()).unwrap();
    std::fs::create_dir(store.join("theirs")).unwrap();
    for (link, to) in [("link", "kv"), ("deep", "kv/theirs")] {
        std::os::unix::fs::symlink(root.join(to), root.join(link)).unwrap();
    }
    for within in
        ["kv/b", "kv/theirs/b", "link/b", "link/theirs/b", "deep/b", "deep/../b", "./kv/b"]
    {
        let error = engine.backup(root.join(within)).unwrap_err();
        assert!(error.to_string().contains("within the store"), "{within}: {error}");
        assert!(!root.join(within).exists(), "{within}");
    }
    for beside in ["one", "kv/../two", "kv-three"] {
        engine.backup(root.join(beside)).unwrap();
    }
    engine.close().unwrap();
    // A store by itself is one to be kept out of, too.
    let error = hightower_kv::engine::backup::restore(root.join("one"), root.join("two/b"));
    assert!(error.unwrap_err().to_string().contains("within the store"));
}

#[test]
fn a_directory_that_cannot_be_restored_into_is_refused_before_the_backup_is_read() {
    let fs = SimFs::new(4);
    let (engine, _) = filled(&fs);
    engine.backup(backup()).unwrap();
    fs.create_dir(Path::new("/full")).unwrap();
    fs.write_file(Path::new("/full/theirs"), b"theirs").unwrap();
    for target in ["/full", "/none/there", "/backup", "/backup/log/there", "/data/there"] {
        let mut told = 0;
        let refused =
            restore_with(&env(&fs), backup(), Path::new(target), &mut |_| told += 1).unwrap_err();
        assert!(matches!(refused, Error::UnusableDirectory(_)), "{target}: {refused}");
        assert_eq!(told, 0, "{target}");
    }
}

#[test]
fn a_store_that_nobody_has_open_is_backed_up_as_opening_would_find_it() {
    for links in BOTH {
        let fs = SimFs::new(3);
        let mut config = sim_config();
        config.fsync_interval = std::time::Duration::from_secs(100);
        let engine = open_sim_with(&fs, &config).unwrap();
        for step in 0..40_u8 {
            engine.put(vec![b'k', step], vec![step; 300]).unwrap();
        }
        let rows = pairs(&engine.snapshot_state());
        let error =
            backup_closed(&env(&fs), data(), backup(), with(links), &mut |_| ()).unwrap_err();
        assert!(matches!(error, Error::Locked(_)), "{error}");
        let fs = fs.kill();
        let before = files_below(&fs, data());
        backup_closed(&env(&fs), data(), backup(), with(links), &mut |_| ()).unwrap();
        assert_eq!(files_below(&fs, data()), before);
        // The process was killed and the machine was not: what it wrote is in the backup to stay.
        assert!(rows_of(&fs.power_cut(PowerCut::Nothing), backup()).unwrap() == rows);
    }
}

#[test]
fn a_restored_backup_is_the_store_again_and_shares_nothing() {
    let fs = SimFs::new(3);
    let (engine, rows) = filled(&fs);
    engine.backup(backup()).unwrap();
    engine.put(b"later".to_vec(), b"x".to_vec()).unwrap();
    engine.close().unwrap();
    let again = Path::new("/again");
    let report = restore_with(&env(&fs), backup(), again, &mut |_| ()).unwrap();
    assert_eq!(report.linked_files, 0);
    assert!(rows_of(&fs, again).unwrap() == rows);
    let refused = restore_with(&env(&fs), backup(), data(), &mut |_| ()).unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
    for (path, _) in files_below(&fs, again) {
        fs.flip_bit(&path, 9).unwrap();
    }
    assert!(rows_of(&fs, backup()).unwrap() == rows);
}

#[test]
fn a_damaged_or_unfinished_backup_is_not_restored() {
    let fs = SimFs::new(3);
    let (engine, _) = filled(&fs);
    engine.backup_with(backup(), with(Links::Copy), &mut |_| ()).unwrap();
    let again = Path::new("/again");
    for (path, _) in files_below(&fs, backup()) {
        fs.flip_bit(&path, 77).unwrap();
        let error = restore_with(&env(&fs), backup(), again, &mut |_| ()).unwrap_err();
        let Error::Corrupt(StorageError::Corrupt { file, .. }) = &error else {
            panic!("{}: {error}", path.display());
        };
        assert_eq!(*file, path);
        assert_eq!(fs.kind(again).unwrap(), None);
        fs.flip_bit(&path, 77).unwrap();
    }
    fs.write_file(&backup().join("UNFINISHED"), b"").unwrap();
    let error = restore_with(&env(&fs), backup(), again, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("was not finished"), "{error}");
    let error = restore_with(&env(&fs), Path::new("/none"), again, &mut |_| ()).unwrap_err();
    assert!(matches!(error, Error::NoStore(_)), "{error}");
}

#[test]
fn whoever_creates_a_store_in_the_directory_keeps_a_copy_out() {
    let fs = SimFs::new(3);
    let (engine, rows) = filled(&fs);
    engine.backup(backup()).unwrap();
    let again = Path::new("/again");
    fs.create_dir(again).unwrap();
    let restore = || restore_with(&env(&fs), backup(), again, &mut |_| ());
    let creating = fs.open(&again.join("LOCK"), OpenHow::CreateNew).unwrap();
    assert!(creating.try_lock(LockKind::Exclusive).unwrap());
    let refused = restore().unwrap_err();
    assert!(matches!(refused, Error::Locked(_)), "{refused}");
    let names: Vec<_> = fs.list(again).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["LOCK"]);
    // It has left no more than that.
    drop(creating);
    restore().unwrap();
    assert!(rows_of(&fs, again).unwrap() == rows);
}

#[test]
fn a_store_that_is_created_while_a_copy_begins_is_one_or_the_other() {
    let plain = SimFs::new(3);
    let (engine, rows) = filled(&plain);
    engine.backup(backup()).unwrap();
    engine.close().unwrap();
    let again = Path::new("/again");
    let (mut created, mut restored) = (0, 0);
    for round in 0..300 {
        let fs = plain.kill();
        fs.create_dir(again).unwrap();
        let (opened, copied) = std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                (0..round * 7 % 200).for_each(|_| drop(fs.kind(again)));
                let engine = open_sim_with(&fs, &config_at(again))?;
                engine.put(b"here".to_vec(), b"1".to_vec())?;
                engine.close()
            });
            let copied = restore_with(&env(&fs), backup(), again, &mut |_| ());
            (opening.join().unwrap(), copied)
        });
        created += u64::from(copied.is_err());
        restored += u64::from(copied.is_ok());
        assert!(opened.is_ok() || copied.is_ok(), "{round}: {opened:?}, {copied:?}");
        let engine = open_sim_with(&fs, &config_at(again));
        let engine = engine.unwrap_or_else(|it| panic!("{round}: {it}, {opened:?}, {copied:?}"));
        let mut found = pairs(&engine.snapshot_state());
        assert_eq!(found.remove(&b"here"[..]).is_some(), opened.is_ok(), "{round}");
        assert!(found == if copied.is_ok() { rows.clone() } else { Pairs::new() }, "{round}");
    }
    println!("{created} created, {restored} restored");
}
