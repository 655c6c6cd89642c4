//! Row S6: a file is missing, there twice, swapped with another, or empty. Also files that are not
//! ours.

use std::path::{Path, PathBuf};

use hightower_kv::env::fs::Fs as _;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::{Error, KvEngine, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine};

use crate::support::{Pairs, open_sim, open_sim_with, pairs, sim_config};

/// A closed store with a snapshot and several segments; its state.
fn closed_store() -> (SimFs, Pairs) {
    let fs = SimFs::new(3);
    let engine = open_sim(&fs).unwrap();
    for key in 0..30_u8 {
        engine.put(vec![b'k', key], vec![key; 300]).unwrap();
    }
    engine.run_compaction_now().unwrap();
    engine.close().unwrap();
    let mut config = sim_config();
    // So that there are segments beside tables.
    config.emit_snapshot_after_compaction = false;
    let engine = open_sim_with(&fs, &config).unwrap();
    for key in 20..60_u8 {
        engine.put(vec![b'k', key], vec![key + 1; 300]).unwrap();
    }
    let state = pairs(&engine.snapshot_state());
    engine.close().unwrap();
    (fs.kill(), state)
}

fn paths(fs: &SimFs) -> Vec<PathBuf> {
    fs.files().into_iter().map(|(path, _)| path).collect()
}

/// Opens in both ways: the state must be what it was, or the refusal must name a file of the store
/// and change nothing.
fn check(fs: &SimFs, state: &Pairs, what: &str) -> Outcome {
    let before = fs.files();
    let mut refused = 0;
    for writing in [false, true] {
        let opened = if writing {
            open_sim(fs).map(|engine| pairs(&engine.snapshot_state()))
        } else {
            let env = hightower_kv::env::Env::simulated_on(fs.clone(), 1).env;
            ReadOnlyEngine::open_in(env, Path::new("/data")).map(|engine| pairs(engine.view()))
        };
        match opened {
            Ok(found) => assert!(found == *state, "{what}: another state (writing: {writing})"),
            Err(error) => {
                let is_precise = matches!(error, Error::MissingSegment(_) | Error::Corrupt(_));
                assert!(is_precise && error.to_string().contains("/data/"), "{what}: {error}");
                assert!(before == fs.files(), "{what}: refused, and yet something was written");
                refused += 1;
            }
        }
    }
    assert!(refused != 1, "{what}: reading and writing disagree");
    if refused == 0 { Outcome::Harmless } else { Outcome::Refused }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Harmless,
    Refused,
}

/// Whether the store can do without the file.
fn is_spare(path: &Path) -> bool {
    ["/data/LOCK", "/data/RESERVE", "/data/log/WATERMARK"].iter().any(|spare| path == *spare)
}

#[test]
fn a_missing_file_is_named_or_was_not_needed() {
    let (store, state) = closed_store();
    for path in paths(&store) {
        let fs = store.kill();
        fs.remove_file(&path).unwrap();
        let what = format!("without {}", path.display());
        let expected = if is_spare(&path) { Outcome::Harmless } else { Outcome::Refused };
        assert_eq!(check(&fs, &state, &what), expected, "{what}");
    }
}

#[test]
fn an_empty_file_is_named_or_was_not_needed() {
    let (store, state) = closed_store();
    for path in paths(&store) {
        let fs = store.kill();
        fs.write_file(&path, b"").unwrap();
        let what = format!("with {} empty", path.display());
        let expected = if is_spare(&path) { Outcome::Harmless } else { Outcome::Refused };
        assert_eq!(check(&fs, &state, &what), expected, "{what}");
    }
}

/// Names that another file of the kind could have.
fn other_names(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap().to_string_lossy();
    let digits = |count: usize, numbers: &[u64], prefix: &str, suffix: &str| -> Vec<PathBuf> {
        let name = |number: &u64| path.with_file_name(format!("{prefix}{number:0count$}{suffix}"));
        numbers.iter().map(name).collect()
    };
    if path.extension().is_some_and(|extension| extension == "seg") {
        digits(10, &[0, 1, 2, 3, 20, 21, 22, 99, u64::from(u32::MAX)], "", ".seg")
    } else if path.extension().is_some_and(|extension| extension == "tbl") {
        digits(10, &[0, 1, 2, 3, 20, 21, 22, 99, u64::from(u32::MAX)], "", ".tbl")
    } else if name.starts_with("MANIFEST") {
        digits(20, &[0, 1, 5, 31, 40, 60, 70, 75, 1000, u64::MAX], "MANIFEST-", "")
    } else {
        vec![path.with_extension("tmp"), path.with_extension("bak")]
    }
}

#[test]
fn a_copy_under_another_name_is_named_or_not_needed() {
    let (store, state) = closed_store();
    let mut refused = 0;
    for path in paths(&store) {
        for name in other_names(&path).into_iter().filter(|name| store.read_file(name).is_err()) {
            let fs = store.kill();
            fs.copy_file(&path, &name).unwrap();
            let what = format!("{} also as {}", path.display(), name.display());
            refused += usize::from(check(&fs, &state, &what) == Outcome::Refused);
        }
    }
    assert!(refused > 0, "no copy was in the way");
}

#[test]
fn files_that_changed_places_are_named() {
    let (store, state) = closed_store();
    let places: Vec<PathBuf> = paths(&store)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "seg" || end == "tbl"))
        .collect();
    let count = |end: &str| places.iter().filter(|path| path.extension().unwrap() == end).count();
    assert!(count("seg") >= 3 && count("tbl") >= 3, "{places:?}");
    for first in &places {
        for second in places.iter().filter(|&second| second != first) {
            let fs = store.kill();
            fs.copy_file(second, first).unwrap();
            let what = format!("{} in place of {}", second.display(), first.display());
            assert_eq!(check(&fs, &state, &what), Outcome::Refused, "{what}");
            fs.write_file(second, &store.read_file(first).unwrap()).unwrap();
            let what = format!("{} and {} swapped", second.display(), first.display());
            assert_eq!(check(&fs, &state, &what), Outcome::Refused, "{what}");
        }
    }
}

#[test]
fn files_of_another_store_are_named() {
    let (store, state) = closed_store();
    let other = SimFs::new(4);
    // Another simulated machine, whose random numbers are others: another incarnation.
    let env = hightower_kv::env::Env::simulated_on(other.clone(), 999).env;
    let mut config = sim_config();
    config.emit_snapshot_after_compaction = false;
    let engine = SingleNodeEngine::with_env(&config, env).unwrap();
    for key in 0..30_u8 {
        engine.put(vec![b'k', key], vec![key; 300]).unwrap();
    }
    engine.run_compaction_now().unwrap();
    for key in 20..60_u8 {
        engine.put(vec![b'k', key], vec![key + 9; 300]).unwrap();
    }
    engine.close().unwrap();
    for path in paths(&store) {
        let Ok(bytes) = other.read_file(&path) else { continue };
        let fs = store.kill();
        fs.write_file(&path, &bytes).unwrap();
        let what = format!("{} of another store", path.display());
        let expected = if is_spare(&path) { Outcome::Harmless } else { Outcome::Refused };
        assert_eq!(check(&fs, &state, &what), expected, "{what}");
    }
}

#[test]
fn foreign_files_are_left_alone() {
    let (store, state) = closed_store();
    for name in [
        "notes.txt",
        "log/1.seg",
        "log/00000000001.seg",
        "log/0000000001.seg.bak",
        "MANIFEST-5",
        "SNAPSHOT-00000000000000000001",
        "log/old.torn",
        "log/MANIFEST-00000000000000000001",
        "tables/1.tbl",
        "tables/0000000001.tbl.bak",
        "tables/0000000001.seg",
        ".hidden",
    ] {
        let fs = store.kill();
        let path = Path::new("/data").join(name);
        fs.write_file(&path, b"mine").unwrap();
        assert_eq!(check(&fs, &state, name), Outcome::Harmless, "{name}");
        assert_eq!(fs.read_file(&path).unwrap(), b"mine", "{name}");
    }
}

#[test]
fn a_log_that_ends_before_what_tables_have_goes_on_behind_it() {
    let mut cut = 0;
    for puts in 1..=6_u8 {
        let fs = SimFs::new(3);
        let engine = open_sim(&fs).unwrap();
        for key in 0..puts {
            engine.put(vec![b'k', key], vec![key; 40]).unwrap();
        }
        engine.run_compaction_now().unwrap();
        engine.close().unwrap();
        let state = pairs(&open_sim(&fs).unwrap().snapshot_state());
        let fs = fs.kill();
        // The end of the log is lost, and with it what says that it was on the device.
        fs.remove_file(Path::new("/data/log/WATERMARK")).unwrap();
        let last =
            paths(&fs).into_iter().rfind(|path| path.extension().is_some_and(|it| it == "seg"));
        let last = last.unwrap();
        let mut bytes = fs.read_file(&last).unwrap();
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        for zeros in [64, 128, 256, 400] {
            let from = end.saturating_sub(zeros).max(256);
            bytes[from..].fill(0);
            let fs = fs.kill();
            fs.write_file(&last, &bytes).unwrap();
            let Ok(engine) = open_sim(&fs) else { continue };
            assert_eq!(pairs(&engine.snapshot_state()), state, "{puts} puts, {zeros} zeros");
            engine.put(b"more".to_vec(), b"1".to_vec()).unwrap();
            engine.close().unwrap();
            let engine = open_sim(&fs.kill()).unwrap();
            assert_eq!(engine.get(b"more").unwrap().unwrap(), b"1");
            cut += 1;
        }
    }
    assert!(cut > 0);
}

/// The names and bytes of the files in a folder and below it.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn a_link_in_the_place_of_a_folder_that_was_being_made_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    let engine = SingleNodeEngine::open(&theirs).unwrap();
    engine.put(b"theirs".to_vec(), b"1".to_vec()).unwrap();
    engine.close().unwrap();
    let before = contents(&theirs);
    for name in ["log", "tables"] {
        let ours = folder.path().join(format!("ours-{name}"));
        std::fs::create_dir(&ours).unwrap();
        std::os::unix::fs::symlink(theirs.join(name), ours.join(format!("{name}.tmp"))).unwrap();
        let engine = SingleNodeEngine::open(&ours).unwrap();
        engine.put(b"k".to_vec(), b"v".to_vec()).unwrap();
        engine.run_compaction_now().unwrap();
        engine.close().unwrap();
        assert!(before == contents(&theirs), "{name}: something of theirs changed");
    }
}

#[test]
fn tables_without_an_identity_are_no_interrupted_creation() {
    let (fs, _) = closed_store();
    for path in paths(&fs) {
        if !path.starts_with("/data/tables") {
            fs.remove_file(&path).unwrap();
        }
    }
    let before = fs.files();
    let Err(error) = open_sim(&fs).map(drop) else { panic!("a store was made of it") };
    assert!(matches!(error, Error::MissingSegment(_)), "{error}");
    let kept = fs.files().into_iter().filter(|(path, _)| !path.ends_with("LOCK"));
    assert!(before.into_iter().eq(kept), "tables went");
}

#[test]
fn evidence_of_others_is_left_alone() {
    let (fs, state) = closed_store();
    let names: Vec<PathBuf> =
        (0..12).map(|n| Path::new("/data/log").join(format!("incident-{n:02}.torn"))).collect();
    for name in &names {
        fs.write_file(name, b"mine").unwrap();
    }
    // Bytes behind the end of the log that look torn: they are kept, and nothing of ours goes.
    let last = paths(&fs).into_iter().rfind(|path| path.extension().is_some_and(|it| it == "seg"));
    let last = last.unwrap();
    let mut bytes = fs.read_file(&last).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let end = end.next_multiple_of(8);
    bytes.truncate(end);
    bytes.extend([0; 4096]);
    bytes[end + 1024..end + 1032].fill(7);
    fs.write_file(&last, &bytes).unwrap();
    assert_eq!(pairs(&open_sim(&fs).unwrap().snapshot_state()), state);
    assert!(names.iter().all(|name| fs.read_file(name).is_ok()));
}

#[test]
fn what_a_voter_was_once_sent_goes_when_it_is_opened_by_itself() {
    let (fs, state) = closed_store();
    let folder = Path::new("/data/incoming");
    fs.create_dir(folder).unwrap();
    let ours = folder.join(format!("{}.part", "ab".repeat(32)));
    let foreign = folder.join("notes.txt");
    for path in [&ours, &foreign] {
        fs.write_file(path, b"a piece").unwrap();
    }
    assert_eq!(check(&fs, &state, "pieces"), Outcome::Harmless);
    assert!(fs.read_file(&ours).is_err());
    assert_eq!(fs.read_file(&foreign).unwrap(), b"a piece");
}

#[test]
fn a_link_in_place_of_a_file_is_refused() {
    let (store, state) = closed_store();
    for path in paths(&store).into_iter().filter(|path| !is_spare(path)) {
        let fs = store.kill();
        fs.remove_file(&path).unwrap();
        fs.make_symlink(&path).unwrap();
        let before = fs.files();
        let error = open_sim(&fs).map(|engine| pairs(&engine.snapshot_state())).unwrap_err();
        assert!(error.to_string().contains("/data"), "{}: {error}", path.display());
        assert!(before == fs.files(), "{}", path.display());
    }
    drop(state);
}
