//! Backups on bad days: crashes, failures, a full disk and damage. The store is untouched, and what
//! was to be its backup is whole, refused or gone.

use std::path::Path;

use hightower_kv::engine::backup::{Links, backup_closed, restore_with};
use hightower_kv::env::fs::Fs;
use hightower_kv::env::fs_sim::{DiskImage, Operation, PowerCut, SimError, SimFs};
use hightower_kv::storage::error::StorageError;
use hightower_kv::{Error, KvEngine, ReadOnlyEngine, SnapshotEngine};

use crate::backup::{BOTH, backup, config_at, data, env, files_below, filled, rows_of, with};
use crate::support::{Pairs, open_sim, open_sim_with, pairs};

/// What a directory is that a copy was made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Unfinished,
    Whole,
}

/// Looks at a directory in which a copy of `rows` was interrupted; whoever opens it for writing
/// must see the same.
fn look_at(fs: &SimFs, directory: &Path, rows: &Pairs, what: &str) -> Found {
    let is_empty = match fs.kind(directory).unwrap() {
        None => true,
        Some(_) => fs.list(directory).unwrap().iter().all(|entry| entry.name == "LOCK"),
    };
    let before = files_below(fs, directory);
    let found = match rows_of(fs, directory) {
        Ok(found) => {
            assert!(found == *rows, "{what}: it opens with other rows");
            Found::Whole
        }
        Err(Error::NoStore(_)) if is_empty => Found::Nothing,
        Err(Error::UnusableDirectory(StorageError::UnfinishedCopy { .. })) => Found::Unfinished,
        Err(error) => panic!("{what}: {error}"),
    };
    assert_eq!(files_below(fs, directory), before, "{what}");
    let written = open_sim_with(fs, &config_at(directory));
    match (found, written) {
        (Found::Nothing, Ok(_)) => {}
        (Found::Whole, Ok(engine)) => assert!(pairs(&engine.snapshot_state()) == *rows, "{what}"),
        (Found::Unfinished, Err(Error::UnusableDirectory(_))) => {
            assert_eq!(files_below(fs, directory), before, "{what}");
        }
        (found, written) => panic!("{what}: {found:?}, but for writing {written:?}"),
    }
    found
}

/// Cuts every image in several ways: what `source` holds must be untouched each time. Returns what
/// became of the target.
fn cut_all(images: &[DiskImage], source: &Path, target: &Path, rows: &Pairs) -> Vec<Found> {
    let mut found = Vec::new();
    for image in images {
        let operation = image.operation();
        let cuts = [image.kill(), image.power_cut(PowerCut::Nothing)]
            .into_iter()
            .chain([image.power_cut(PowerCut::Everything)])
            .chain((0..6).map(|cut| image.power_cut(PowerCut::random(operation * 8 + cut))));
        for (cut, fs) in cuts.enumerate() {
            let what = format!("after operation {operation}, cut {cut}");
            assert!(rows_of(&fs, source).unwrap() == *rows, "{what}: the source");
            found.push(look_at(&fs, target, rows, &what));
        }
    }
    found
}

#[test]
fn a_crash_at_any_operation_leaves_a_whole_backup_or_a_refused_one() {
    for links in BOTH {
        let fs = SimFs::new(3);
        let (engine, rows) = filled(&fs);
        fs.start_history();
        engine.backup_with(backup(), with(links), &mut |_| ()).unwrap();
        let found = cut_all(&fs.take_history(), data(), backup(), &rows);
        for kind in [Found::Nothing, Found::Unfinished, Found::Whole] {
            assert!(found.contains(&kind), "{links:?}: never {kind:?}");
        }
        let last = &found[found.len() - 9..];
        assert!(last.iter().all(|&found| found == Found::Whole), "{last:?}");
    }
}

#[test]
fn a_crash_while_a_failed_backup_is_taken_back_leaves_nothing_that_opens() {
    let fs = SimFs::new(3);
    let (engine, rows) = filled(&fs);
    let before = fs.operations();
    engine.backup_with(Path::new("/first"), with(Links::Copy), &mut |_| ()).unwrap();
    let operations = fs.operations() - before;
    // The last sync of all: the mark is gone already.
    fs.fail_operation(fs.operations() + operations, SimError::Io);
    fs.start_history();
    engine.backup_with(backup(), with(Links::Copy), &mut |_| ()).unwrap_err();
    let images = fs.take_history();
    let found = cut_all(&images, data(), backup(), &rows);
    assert!(found.contains(&Found::Unfinished));
    assert_eq!(found.last(), Some(&Found::Nothing));
}

#[test]
fn a_failure_of_any_operation_leaves_the_store_as_it_is_and_no_backup() {
    let operations = {
        let fs = SimFs::new(3);
        let (engine, _) = filled(&fs);
        let before = fs.operations();
        engine.backup(backup()).unwrap();
        fs.operations() - before
    };
    let mut refused = 0;
    for failing in 1..=operations {
        let fs = SimFs::new(3);
        let (engine, rows) = filled(&fs);
        fs.fail_operation(fs.operations() + failing, SimError::Io);
        let result = engine.backup(backup());
        let what = format!("operation {failing}: {result:?}");
        if result.is_ok() {
            assert!(rows_of(&fs, backup()).unwrap() == rows, "{what}");
        } else {
            refused += 1;
            assert_ne!(look_at(&fs, backup(), &rows, &what), Found::Whole);
        }
        if engine.put(b"k".to_vec(), b"later".to_vec()).is_err() {
            // Only a sync of the log itself may stop the store.
            assert!(matches!(engine.flush(), Err(Error::Poisoned { .. })), "{what}");
        }
        drop(engine);
        let mut found = pairs(&open_sim(&fs).unwrap().snapshot_state());
        found.remove(&b"k"[..]);
        assert!(found == rows, "{what}");
    }
    assert!(refused * 10 > operations * 9, "{refused} of {operations}");
}

#[test]
fn with_any_amount_of_room_a_backup_is_whole_or_taken_back() {
    for links in BOTH {
        let (mut whole, mut full) = (0, 0);
        let plain = SimFs::new(3);
        let (engine, rows) = filled(&plain);
        engine.close().unwrap();
        for budget in (0..80_000).step_by(512) {
            let fs = plain.kill();
            let engine = open_sim(&fs).unwrap();
            fs.set_space(Some(fs.used_bytes() + budget));
            let before = files_below(&fs, data());
            match engine.backup_with(backup(), with(links), &mut |_| ()) {
                Ok(_) => {
                    whole += 1;
                    assert!(rows_of(&fs, backup()).unwrap() == rows, "budget {budget}");
                }
                Err(error) => {
                    full += 1;
                    assert!(matches!(error, Error::DiskFull(_)), "budget {budget}: {error}");
                    assert_eq!(fs.kind(backup()).unwrap(), None, "budget {budget}");
                }
            }
            assert!(files_below(&fs, data()) == before, "budget {budget}");
            fs.set_space(None);
            engine.put(b"more".to_vec(), b"x".to_vec()).unwrap();
        }
        assert!(whole > 20 && full > 2, "{links:?}: {whole} whole, {full} full");
    }
}

#[test]
fn a_flipped_bit_is_named_and_leaves_no_backup() {
    for links in BOTH {
        let fs = SimFs::new(3);
        let (engine, _) = filled(&fs);
        let segments = engine.segments();
        let mut tried = 0;
        for (path, bytes) in files_below(&fs, data()) {
            let name = path.to_string_lossy().into_owned();
            let end = match segments
                .iter()
                .find(|(id, _)| name.contains(&format!("{:010}.seg", id.0)))
            {
                Some(&(_, end)) => end,
                None if name.contains("MANIFEST") || name.contains(".tbl") => bytes.len() as u64,
                None => continue,
            };
            for at in (0..end).step_by(151) {
                let bit = at * 8 + at % 8;
                fs.flip_bit(&path, bit).unwrap();
                let error = engine.backup_with(backup(), with(links), &mut |_| ()).unwrap_err();
                let Error::Corrupt(StorageError::Corrupt { file, .. }) = &error else {
                    panic!("{name} bit {bit}: {error}");
                };
                assert_eq!(*file, path, "bit {bit}: {error}");
                assert_eq!(fs.kind(backup()).unwrap(), None);
                fs.flip_bit(&path, bit).unwrap();
                tried += 1;
            }
        }
        assert!(tried > 60, "{tried}");
        engine.backup(backup()).unwrap();
    }
}

#[test]
fn a_crash_while_restoring_leaves_a_whole_store_or_a_refused_directory() {
    let fs = SimFs::new(3);
    let (engine, rows) = filled(&fs);
    engine.backup(backup()).unwrap();
    engine.close().unwrap();
    let again = Path::new("/again");
    fs.start_history();
    restore_with(&env(&fs), backup(), again, &mut |_| ()).unwrap();
    let found = cut_all(&fs.take_history(), backup(), again, &rows);
    assert!(found.contains(&Found::Unfinished));
    assert_eq!(found.last(), Some(&Found::Whole));
}

/// Lets each reading operation of a copy fail as if there were no damage: none may be told.
fn fail_each_read(name: &str, copy: impl Fn(&SimFs) -> Result<(), Error>) {
    let prepare = || {
        let fs = SimFs::new(3);
        let (engine, _) = filled(&fs);
        engine.backup(Path::new("/first")).unwrap();
        (fs, engine)
    };
    let (fs, _engine) = prepare();
    fs.start_trace();
    copy(&fs).unwrap();
    let trace = fs.take_trace();
    let (mut failed, mut went_on) = (0, 0);
    for (at, traced) in trace.iter().enumerate() {
        let errors: &[SimError] = match traced.operation {
            Operation::OpenRead => &[SimError::TooManyFiles, SimError::Io],
            Operation::Read | Operation::Len => &[SimError::Io],
            _ => continue,
        };
        for &error in errors {
            let (fs, _engine) = prepare();
            fs.fail_operation(fs.operations() + 1 + at as u64, error);
            match copy(&fs) {
                Ok(()) => went_on += 1,
                Err(Error::Io { .. }) => failed += 1,
                Err(other) => panic!("{name}, {error:?} at {traced:?}: {other}"),
            }
        }
    }
    assert!(failed > 50 && went_on * 10 < failed, "{name}: {failed} failed, {went_on} went on");
}

#[test]
fn what_keeps_a_backup_from_being_read_is_not_told_as_damage() {
    fail_each_read("restore", |fs| {
        restore_with(&env(fs), Path::new("/first"), Path::new("/again"), &mut |_| ()).map(drop)
    });
    fail_each_read("backup", |fs| {
        let (env, options) = (env(fs), with(Links::Copy));
        backup_closed(&env, Path::new("/first"), backup(), options, &mut |_| ()).map(drop)
    });
    fail_each_read("restore_at", |fs| {
        let engine = ReadOnlyEngine::open_in(env(fs), Path::new("/first"))?;
        engine.restore_at(engine.view().version().unwrap(), "/again").map(drop)
    });
}
