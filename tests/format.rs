//! The promise to every directory that exists (row S24 of `docs/testing.md`): a directory of each
//! released format, kept as bytes below `tests/data/`, opens and holds what it held; this release
//! writes the same bytes; one of a newer format is refused and not touched.
//!
//! A change of the format makes the second test fail. CONTRIBUTING.md says what to do then. The
//! bytes of a format that was released are never written again; of one that was not,
//! `HTKV_GOLDEN_INTO=tests/data/format-1 cargo test --test format` writes them anew.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::disallowed_methods, reason = "reads the bytes that are kept as files")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hightower_kv::env::fs::Fs;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{
    Command, Error, Guard, KvEngine, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine, StateView,
    StoreConfig,
};

const KEPT: &str = "tests/data/format-1";

fn config(directory: &Path) -> StoreConfig {
    let mut config = StoreConfig::default();
    directory.clone_into(&mut config.data_dir);
    config.max_segment_size = 4096;
    config.worker_threads = 0;
    config.disk_reserve = 0;
    config.compaction_threshold = 1 << 30;
    config
}

/// Writes a store that has a frame of each kind that an engine of one voter writes: a snapshot,
/// sealed segments and an open one, an entry longer than a segment, every command, every guard.
fn write_store(machine: &Simulated) {
    let Simulated { env, clock, .. } = machine;
    let engine = SingleNodeEngine::with_env(&config(Path::new("/data")), env.clone()).unwrap();
    for key in 0..12_u8 {
        clock.advance(Duration::from_micros(10));
        engine.put(format!("early/{key:02}").into_bytes(), vec![key; 400]).unwrap();
    }
    engine.run_compaction_now().unwrap();
    clock.advance(Duration::from_secs(1));
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
    let engine = SingleNodeEngine::with_env(&config(Path::new("/data")), env.clone()).unwrap();
    engine.put(b"last".to_vec(), b"of all".to_vec()).unwrap();
    engine.close().unwrap();
}

/// Key, length and first byte of the value, version, stamp in microseconds behind the first moment.
type Row = (Vec<u8>, usize, Option<u8>, u64, u64);

fn expected_rows() -> Vec<Row> {
    let row = |key: &[u8], len, first, version, stamp| (key.to_vec(), len, first, version, stamp);
    let mut rows = vec![row(b"\x00\xff", 3, Some(0xff), 16, 1_000_120)];
    for key in [0, 1, 2, 5, 6, 7, 8, 9_u8] {
        let (name, at) = (format!("early/{key:02}"), u64::from(key));
        rows.push(row(name.as_bytes(), 400, Some(key), at + 2, 10 * (at + 1)));
    }
    rows.push(row(b"empty", 0, None, 15, 1_000_120));
    rows.push(row(b"last", 6, Some(b'o'), 23, 2_000_120));
    rows.push(row(b"long", 4800, Some(b'0'), 21, 1_000_120));
    rows.push(row(b"one", 1, Some(b'1'), 14, 1_000_120));
    rows.push(row(b"two", 1, Some(b'2'), 19, 1_000_120));
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
    let within = |path: PathBuf| path.strip_prefix("/data").unwrap().to_owned();
    fs.files().into_iter().map(|(path, bytes)| (within(path), bytes)).collect()
}

fn kept_files() -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT);
    let mut files = Files::new();
    for folder in ["", "log"] {
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
    for directory in ["/data", "/data/log"] {
        fs.create_dir(Path::new(directory)).unwrap();
    }
    for (path, bytes) in files {
        fs.write_file(&Path::new("/data").join(path), bytes).unwrap();
    }
    fs.power_cut(hightower_kv::env::fs_sim::PowerCut::Everything)
}

#[test]
fn this_release_writes_the_bytes_that_are_kept() {
    let machine = Env::simulated(2024);
    write_store(&machine);
    let written = files_of(&machine.fs);
    if let Some(into) = std::env::var_os("HTKV_GOLDEN_INTO") {
        let into = Path::new(env!("CARGO_MANIFEST_DIR")).join(into);
        std::fs::create_dir_all(into.join("log")).unwrap();
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
fn a_kept_directory_opens_and_holds_what_it_held() {
    let fs = disk_with(&kept_files());
    let reader = ReadOnlyEngine::open_in(Env::simulated_on(fs.clone(), 1).env, "/data".as_ref());
    assert_eq!(rows(reader.unwrap().view()), expected_rows());
    assert_eq!(files_of(&fs), kept_files());
    let open = || {
        SingleNodeEngine::with_env(&config("/data".as_ref()), Env::simulated_on(fs.clone(), 1).env)
    };
    let engine = open().unwrap();
    assert_eq!(rows(&engine.snapshot_state()), expected_rows());
    assert_eq!(engine.stats().term.0, 3);
    let put = engine.put(b"more".to_vec(), b"x".to_vec()).unwrap();
    assert_eq!(put.version.0, 25);
    engine.close().unwrap();
    assert_eq!(open().unwrap().len().unwrap(), expected_rows().len() + 1);
}

#[test]
fn a_kept_directory_opens_on_the_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    std::fs::create_dir_all(root.join("log")).unwrap();
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

#[test]
fn a_newer_format_is_refused_untouched_whichever_file_says_so() {
    for (path, bytes) in kept_files() {
        let checksum_at = match path.to_string_lossy() {
            name if name == "IDENTITY" => 60,
            name if name.starts_with("SNAPSHOT") || name.contains(".seg") => 36,
            _ => continue,
        };
        for version in [2, 3, u32::MAX] {
            let mut files = kept_files();
            files.insert(path.clone(), with_version(&bytes, version, checksum_at));
            let fs = disk_with(&files);
            let env = Env::simulated_on(fs.clone(), 1).env;
            let reading = ReadOnlyEngine::open_in(env.clone(), "/data".as_ref()).unwrap_err();
            let writing = SingleNodeEngine::with_env(&config("/data".as_ref()), env).unwrap_err();
            for error in [reading, writing] {
                let is_newer = matches!(error, Error::UnsupportedFormat(_));
                assert!(is_newer, "{} of version {version}: {error}", path.display());
                assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
            }
            assert_eq!(files_of(&fs), files);
        }
    }
}
