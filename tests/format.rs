//! The promise to every directory that exists (row S24 of `docs/testing.md`): a directory of each
//! released format, kept as bytes below `tests/data/`, opens and holds what it held; this release
//! writes the same bytes; one of a newer format is refused and not touched.
//!
//! A change of the format makes the first test fail. CONTRIBUTING.md says what to do then. The
//! bytes of a format that was released are never written again; of one that was not,
//! `HTKV_GOLDEN_INTO=tests/data/format-2 cargo test --test format` writes them anew. Format 1 was
//! never released: it is refused.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::disallowed_methods, reason = "reads the bytes that are kept as files")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hightower_kv::config::Compression;
use hightower_kv::env::fs::Fs;
use hightower_kv::env::fs_sim::{DiskImage, SimFs};
use hightower_kv::env::rng::SeededRng;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::storage::inspect::verify;
use hightower_kv::{
    Command, Error, Guard, KvEngine, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine, StateView,
    StoreConfig,
};

const KEPT: &str = "tests/data/format-2";
/// The same before the manifest had the log id of the membership, and sessions and digest with it.
const KEPT_BEFORE: &str = "tests/data/format-2-before";
const FOLDERS: [&str; 3] = ["", "log", "tables"];
const ROOT: &str = "/data";
/// How often the kept store was opened for writing, and its last entry.
const TERMS: u64 = 6;
const LAST_ENTRY: u64 = 62;

/// Tables of 2 KiB, written every kibibyte of log.
fn config(directory: &Path) -> StoreConfig {
    let mut config = StoreConfig::default();
    directory.clone_into(&mut config.data_dir);
    config.max_segment_size = 4096;
    config.worker_threads = 0;
    config.disk_reserve = 0;
    config.compaction_threshold = 1 << 30;
    config
}

fn small(compression: Compression) -> StoreConfig {
    let mut config = config(Path::new(ROOT));
    config.compression = compression;
    config
}

/// Nothing is written to tables but at a close, and nothing is merged.
fn calm() -> StoreConfig {
    let mut config = config(Path::new(ROOT));
    config.max_segment_size = 32 << 10;
    config
}

fn open(env: &Env, config: &StoreConfig) -> SingleNodeEngine {
    SingleNodeEngine::with_env(config, env.clone()).unwrap()
}

/// Runs of several tables that are being merged: two tables of the output are there. Each way to
/// compress is there, and content that can be compressed and content that cannot.
fn being_merged() -> SimFs {
    let Simulated { env, fs, clock } = Env::simulated(2024);
    let noise = SeededRng::new(5);
    let ways = [Compression::Off, Compression::Lz4, Compression::Zstd];
    for (round, compression) in (0_u8..).zip(ways) {
        // Nothing is merged yet.
        let mut config = small(compression);
        config.max_segment_size = 8 << 10;
        let engine = open(&env, &config);
        for key in (round..24).step_by(usize::from(round) + 1) {
            clock.advance(Duration::from_micros(10));
            let mut value = vec![key + round; 300];
            noise.fill_bytes(value.get_mut(1..150).unwrap());
            engine.put(format!("early/{key:02}").into_bytes(), value).unwrap();
        }
        engine.delete(format!("early/{:02}", 20 + round).into_bytes()).unwrap();
        engine.close().unwrap();
    }
    let engine = open(&env, &small(Compression::Zstd));
    fs.start_history();
    engine.run_compaction_now().unwrap();
    let is_halfway = |image: &&DiskImage| tables_being_merged(&image.kill()) == Some(2);
    let history = fs.take_history();
    history.iter().find(is_halfway).unwrap().kill()
}

/// How many tables of output a merge has that is under way.
fn tables_being_merged(fs: &SimFs) -> Option<usize> {
    let env = Env::simulated_on(fs.clone(), 9).env;
    let reader = ReadOnlyEngine::open_in(env, Path::new(ROOT)).unwrap();
    let runs = reader.view().tables().runs();
    let at = runs.iter().position(|run| run.is_being_merged())?;
    Some(runs.get(at - 1).unwrap().tables().len())
}

/// Writes a store that has a frame of each kind that an engine of one voter writes, every command
/// and every guard, an entry longer than a segment of [`small`]; tables of each compression, runs
/// that are being merged and a newer one with a tombstone.
fn write_store() -> SimFs {
    let fs = being_merged();
    let Simulated { env, clock, .. } = Env::simulated_on(fs.clone(), 2025);
    clock.advance(Duration::from_secs(1));
    let engine = open(&env, &calm());
    let first = engine.put(b"one".to_vec(), b"1".to_vec()).unwrap().version;
    engine.put(b"empty".to_vec(), Vec::new()).unwrap();
    engine.put(b"\x00\xff".to_vec(), vec![0xff; 3]).unwrap();
    engine.delete(b"early/03".to_vec()).unwrap();
    engine.submit(Command::delete_prefix("early/1")).unwrap();
    let guards = [
        Guard::absent("two"),
        Guard::present("one"),
        Guard::version_equals("one", first),
        Guard::value_equals("one", "1"),
    ];
    let commands =
        [Command::set("two", "2"), Command::delete("early/04"), Command::delete_prefix("none")];
    engine.submit(Command::guarded(guards, commands)).unwrap();
    engine.submit(Command::guarded([Guard::absent("two")], [Command::delete("one")])).unwrap();
    engine.put(b"long".to_vec(), b"0123456789abcdef".repeat(300)).unwrap();
    engine.close().unwrap();
    clock.advance(Duration::from_secs(1));
    let engine = open(&env, &calm());
    engine.put(b"last".to_vec(), b"of all".to_vec()).unwrap();
    // Killed, so that something is only in the log.
    let fs = fs.kill();
    drop(engine);
    fs
}

/// Key, length and first byte of the value, version, stamp in microseconds behind the first moment.
type Row = (Vec<u8>, usize, Option<u8>, u64, u64);

fn expected_rows() -> Vec<Row> {
    let row = |key: &[u8], len, first, version, stamp| (key.to_vec(), len, first, version, stamp);
    let mut rows = vec![row(b"\x00\xff", 3, Some(0xff), 55, 1_000_000)];
    // Key and first byte of the value, version and stamp: written in the first round, the second,
    // or the third.
    let early = [
        (0, 0, 2, 10),
        (1, 2, 28, 250),
        (2, 4, 42, 370),
        (5, 7, 43, 380),
        (6, 6, 8, 70),
        (7, 8, 31, 280),
        (8, 10, 44, 390),
        (9, 10, 32, 290),
        (20, 22, 48, 430),
        (23, 25, 49, 440),
    ];
    for (key, first, version, stamp) in early {
        rows.push(row(format!("early/{key:02}").as_bytes(), 300, Some(first), version, stamp));
    }
    rows.push(row(b"empty", 0, None, 54, 1_000_000));
    rows.push(row(b"last", 6, Some(b'o'), 62, 2_000_000));
    rows.push(row(b"long", 4800, Some(b'0'), 60, 1_000_000));
    rows.push(row(b"one", 1, Some(b'1'), 53, 1_000_000));
    rows.push(row(b"two", 1, Some(b'2'), 58, 1_000_000));
    rows
}

fn rows(view: &StateView) -> Vec<Row> {
    let row = |(key, _): (bytes::Bytes, hightower_kv::Value)| {
        let found = view.get_versioned(&key).unwrap().unwrap();
        let stamp = found.timestamp.0 - 1_000_000_000_000;
        (key.to_vec(), found.value.len(), found.value.first().copied(), found.version.0, stamp)
    };
    view.iter().map(Result::unwrap).map(row).collect()
}

/// Files by their paths within the directory.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files_of(fs: &SimFs) -> Files {
    let within = |path: PathBuf| path.strip_prefix(ROOT).unwrap().to_owned();
    fs.files().into_iter().map(|(path, bytes)| (within(path), bytes)).collect()
}

fn kept_files() -> Files {
    files_below(KEPT)
}

fn files_below(kept: &str) -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(kept);
    let mut files = Files::new();
    for folder in FOLDERS {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let within = path.strip_prefix(&root).unwrap().to_owned();
                files.insert(within, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// A simulated disk with these files.
fn disk_with(files: &Files) -> SimFs {
    let fs = SimFs::new(1);
    for folder in FOLDERS {
        fs.create_dir(&Path::new(ROOT).join(folder)).unwrap();
    }
    for (path, bytes) in files {
        fs.write_file(&Path::new(ROOT).join(path), bytes).unwrap();
    }
    fs.power_cut(hightower_kv::env::fs_sim::PowerCut::Everything)
}

#[test]
fn this_release_writes_the_bytes_that_are_kept() {
    let written = files_of(&write_store());
    if let Some(into) = std::env::var_os("HTKV_GOLDEN_INTO") {
        let into = Path::new(env!("CARGO_MANIFEST_DIR")).join(into);
        for folder in FOLDERS {
            std::fs::create_dir_all(into.join(folder)).unwrap();
        }
        for (path, bytes) in &written {
            std::fs::write(into.join(path), bytes).unwrap();
        }
    }
    let kept = kept_files();
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&kept));
    for (path, bytes) in &written {
        assert!(kept.get(path) == Some(bytes), "{} has other bytes", path.display());
    }
}

#[test]
fn a_kept_directory_has_what_the_format_has() {
    let fs = disk_with(&kept_files());
    let env = Env::simulated_on(fs.clone(), 1).env;
    let report = verify(&env, Path::new(ROOT)).unwrap();
    assert!(report.damages.is_empty() && report.leftovers.is_empty(), "{report:?}");
    assert_eq!(tables_being_merged(&fs), Some(2));
    let reader = ReadOnlyEngine::open_in(env, Path::new(ROOT)).unwrap();
    let set = reader.view().tables();
    let merged = set.runs().iter().filter(|run| run.is_being_merged()).count();
    assert!(merged > 1, "{merged} runs are merged");
    let newest = set.runs().first().unwrap();
    assert!(newest.tombstones() > 0 && !newest.is_being_merged());
    assert!(reader.stats().tail_bytes > 0, "something is only in the log");
    // What each table was asked to be compressed with stands before the last 16 bytes of it.
    let mut ways: Vec<u32> = Vec::new();
    for (path, bytes) in kept_files() {
        if path.starts_with("tables") {
            let end = bytes.last_chunk::<16>().unwrap();
            ways.push(u32::from_le_bytes(*end.first_chunk().unwrap()));
        }
    }
    ways.sort_unstable();
    ways.dedup();
    assert_eq!(ways, [0, 1, 2]);
}

#[test]
fn a_kept_directory_opens_and_holds_what_it_held() {
    opens_and_holds_what_it_held(&kept_files());
}

#[test]
fn a_directory_whose_manifest_has_no_log_id_of_its_membership_holds_what_it_held() {
    let before = files_below(KEPT_BEFORE);
    assert_ne!(before, kept_files());
    opens_and_holds_what_it_held(&before);
}

fn opens_and_holds_what_it_held(files: &Files) {
    let fs = disk_with(files);
    let reader = ReadOnlyEngine::open_in(Env::simulated_on(fs.clone(), 1).env, ROOT.as_ref());
    assert_eq!(rows(reader.unwrap().view()), expected_rows());
    assert_eq!(files_of(&fs), *files);
    let env = Env::simulated_on(fs.clone(), 1).env;
    let engine = open(&env, &small(Compression::Off));
    assert_eq!(rows(&engine.snapshot_state()), expected_rows());
    assert_eq!(engine.stats().term.0, TERMS + 1);
    let put = engine.put(b"more".to_vec(), b"x".to_vec()).unwrap();
    assert_eq!(put.version.0, LAST_ENTRY + 2);
    // The merge that was under way goes on where it was left.
    engine.run_compaction_now().unwrap();
    assert_eq!(tables_being_merged(&fs.kill()), None);
    engine.close().unwrap();
    let engine = open(&env, &small(Compression::Off));
    assert!(engine.delete(b"more".to_vec()).unwrap().changed());
    assert_eq!(rows(&engine.snapshot_state()), expected_rows());
}

#[test]
fn a_kept_directory_opens_on_the_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    for folder in FOLDERS {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (path, bytes) in kept_files() {
        std::fs::write(root.join(path), bytes).unwrap();
    }
    let engine = SingleNodeEngine::with_config(config(&root)).unwrap();
    assert_eq!(rows(&engine.snapshot_state()), expected_rows());
    engine.run_compaction_now().unwrap();
    engine.close().unwrap();
    assert_eq!(rows(ReadOnlyEngine::open(&root).unwrap().view()), expected_rows());
}

/// The same file with another format version in it and a checksum that is right.
fn with_version(bytes: &[u8], version: u32, checksum_at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.splice(8..12, version.to_le_bytes());
    let checksum = crc32c::crc32c(bytes.get(..checksum_at).unwrap());
    bytes.splice(checksum_at..checksum_at + 4, checksum.to_le_bytes());
    bytes
}

/// Opens a directory with these files in both ways and expects both to be refused, by an error
/// that names `path`, with nothing changed.
fn refused(files: &Files, path: &Path) -> [Error; 2] {
    let fs = disk_with(files);
    let env = Env::simulated_on(fs.clone(), 1).env;
    let reading = ReadOnlyEngine::open_in(env.clone(), ROOT.as_ref()).unwrap_err();
    let writing = SingleNodeEngine::with_env(&calm(), env).unwrap_err();
    for error in [&reading, &writing] {
        let is_other = matches!(error, Error::UnsupportedFormat(_));
        assert!(is_other, "{}: {error}", path.display());
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    assert_eq!(files_of(&fs), *files);
    [reading, writing]
}

#[test]
fn a_newer_format_is_refused_untouched_whichever_file_says_so() {
    let mut kinds = 0;
    for (path, bytes) in kept_files() {
        let checksum_at = match path.to_string_lossy() {
            name if name == "IDENTITY" => 60,
            name if name.starts_with("MANIFEST") => 36,
            name if name.contains(".seg") || name.contains(".tbl") => 36,
            _ => continue,
        };
        kinds += 1;
        for version in [3, 4, u32::MAX] {
            let mut files = kept_files();
            files.insert(path.clone(), with_version(&bytes, version, checksum_at));
            for error in refused(&files, &path) {
                assert!(error.to_string().contains("use a newer release"), "{error}");
            }
        }
    }
    assert!(kinds > 8, "{kinds} files");
}

#[test]
fn format_1_which_was_never_released_is_refused_untouched() {
    let path = Path::new("IDENTITY");
    let mut files = kept_files();
    let identity = with_version(files.get(path).unwrap(), 1, 60);
    files.insert(path.to_owned(), identity);
    // As such a directory was.
    files.retain(|path, _| !path.starts_with("tables") && !path.starts_with("MANIFEST"));
    for error in refused(&files, path) {
        let text = error.to_string();
        assert!(text.contains("has format version 1"), "{text}");
        assert!(text.contains("this release reads version 2"), "{text}");
    }
}
