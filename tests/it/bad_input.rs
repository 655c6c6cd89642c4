//! Calls and directories that cannot be: a clear error each, and nothing written.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command as Process;

use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::{
    Command, Error, Guard, KvEngine, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine, StoreConfig,
};

use crate::alone::run_alone;
use crate::support::{REAL_MACHINE, bytes_below, open_sim_with, real_config, sim_config, skipped};

/// Limits that a test can reach.
fn tight() -> StoreConfig {
    let mut config = sim_config();
    config.key_bytes_max = 32;
    config.value_bytes_max = 1000;
    config.batch_commands_max = 4;
    config.entry_bytes_max = 2000;
    config
}

/// Submits to a store of its own; on a refusal checks that nothing was written.
fn submit(command: Command) -> Result<(), Error> {
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, &tight()).unwrap();
    let before = (fs.files(), engine.latest_version(), engine.stats());
    let Err(refused) = engine.submit(command.clone()) else { return Ok(()) };
    let same = engine.submit_async(command).wait().unwrap_err();
    assert_eq!(refused.to_string(), same.to_string());
    assert!(before == (fs.files(), engine.latest_version(), engine.stats()), "{refused}");
    Err(refused)
}

fn limit_of(result: Result<(), Error>) -> (u64, u64) {
    match result {
        Err(Error::TooLarge { limit, got, .. }) => (limit, got),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_key_is_refused_wherever_it_stands() {
    for command in [
        Command::set("", "v"),
        Command::delete(""),
        Command::batch([Command::set("a", "1"), Command::set("", "2")]),
        Command::guarded([Guard::absent("")], [Command::set("a", "1")]),
    ] {
        assert!(matches!(submit(command), Err(Error::Validation(_))));
    }
}

#[test]
fn a_key_is_taken_at_the_limit_and_refused_one_past_it() {
    submit(Command::set(vec![b'k'; 32], "v")).unwrap();
    assert_eq!(limit_of(submit(Command::set(vec![b'k'; 33], "v"))), (32, 33));
    assert_eq!(limit_of(submit(Command::delete(vec![b'k'; 33]))), (32, 33));
}

#[test]
fn a_value_is_taken_at_the_limit_and_refused_one_past_it() {
    submit(Command::set("k", vec![0; 1000])).unwrap();
    submit(Command::set("k", "")).unwrap();
    assert_eq!(limit_of(submit(Command::set("k", vec![0; 1001]))), (1000, 1001));
}

#[test]
fn a_batch_is_taken_at_the_limit_and_refused_one_past_it() {
    let batch =
        |count: u32| Command::batch((0..count).map(|key| Command::set(key.to_string(), "v")));
    submit(batch(4)).unwrap();
    assert_eq!(limit_of(submit(batch(5))), (4, 5));
}

#[test]
fn an_entry_is_taken_at_the_limit_and_refused_one_past_it() {
    use hightower_kv::command::limits::encoded_bytes;
    let sized = |len: usize| {
        let rest = || vec![0; 900];
        Command::batch([
            Command::set("a", rest()),
            Command::set("b", rest()),
            Command::set("c", vec![0; len]),
        ])
    };
    let len = 2000 - encoded_bytes(&sized(0));
    submit(sized(len)).unwrap();
    assert_eq!(limit_of(submit(sized(len + 1))), (2000, 2001));
}

#[test]
fn an_empty_batch_and_a_batch_in_a_batch_are_refused() {
    let empty = Command::batch([]);
    assert!(matches!(submit(empty), Err(Error::Validation(_))));
    let nested = Command::batch([Command::batch([Command::delete("a")])]);
    assert!(matches!(submit(nested), Err(Error::Validation(_))));
}

#[test]
fn a_configuration_out_of_bounds_is_refused_before_the_disk_is_touched() {
    type Change = fn(&mut StoreConfig);
    let changes: [Change; 10] = [
        |config| config.max_segment_size = 4095,
        |config| config.max_segment_size = (1 << 31) + 1,
        |config| config.worker_threads = 1025,
        |config| config.queue_commands_max = 0,
        |config| config.queue_bytes_max = 0,
        |config| config.key_bytes_max = 0,
        |config| config.key_bytes_max = (64 << 10) + 1,
        |config| config.value_bytes_max = 1 << 30,
        |config| config.batch_commands_max = (1 << 20) + 1,
        |config| config.entry_bytes_max = (1 << 30) + 1,
    ];
    for change in changes {
        let fs = SimFs::new(1);
        let mut config = sim_config();
        change(&mut config);
        assert!(matches!(open_sim_with(&fs, &config), Err(Error::Validation(_))), "{config:?}");
        assert_eq!(fs.operations(), 0);
    }
}

#[test]
fn a_file_or_a_link_is_no_data_directory() {
    let _alone = REAL_MACHINE.lock();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    let link = directory.path().join("link");
    let target = directory.path().join("target");
    std::fs::create_dir(&target).unwrap();
    symlink(&target, &link).unwrap();
    for (path, word) in [(&file, "file"), (&link, "link")] {
        let error = SingleNodeEngine::open(path).unwrap_err();
        assert!(matches!(error, Error::UnusableDirectory(_)), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        let error = ReadOnlyEngine::open(path).unwrap_err();
        assert!(matches!(error, Error::UnusableDirectory(_)), "{error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert!(bytes_below(&target).is_empty());
}

#[test]
fn a_directory_that_may_not_be_written_is_an_error_that_names_it() {
    let _alone = REAL_MACHINE.lock();
    // Also as root: the simulated disk refuses.
    let fs = SimFs::new(1);
    fs.deny(Path::new("/data"));
    let error = open_sim_with(&fs, &sim_config()).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("/data"), "{error}");
    fs.permit(Path::new("/data"));
    open_sim_with(&fs, &sim_config()).unwrap().close().unwrap();
    fs.make_read_only();
    let error = open_sim_with(&fs, &sim_config()).unwrap_err();
    assert!(error.to_string().contains("/data"), "{error}");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("closed");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(path.join("probe"), b"").is_ok() {
        skipped("root may write into every directory, so the real one was not tried");
        return;
    }
    let error = SingleNodeEngine::open(&path).unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}

fn close_with_one_row(path: &Path) {
    let engine = SingleNodeEngine::with_config(real_config(path)).unwrap();
    engine.put(b"k".to_vec(), b"v".to_vec()).unwrap();
    engine.close().unwrap();
}

#[test]
fn a_directory_of_a_newer_format_is_refused_untouched() {
    let _alone = REAL_MACHINE.lock();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    close_with_one_row(&path);
    let identity = path.join("IDENTITY");
    let mut bytes = std::fs::read(&identity).unwrap();
    bytes.splice(8..12, 3_u32.to_le_bytes());
    let checksum = crc32c::crc32c(bytes.get(..60).unwrap());
    bytes.splice(60..64, checksum.to_le_bytes());
    std::fs::write(&identity, bytes).unwrap();
    // A newer release may have no lock file, and names that this one does not know.
    std::fs::remove_file(path.join("LOCK")).unwrap();
    std::fs::write(path.join("MANIFEST-7"), b"?").unwrap();
    let before = bytes_below(&path);
    let error = SingleNodeEngine::open(&path).unwrap_err();
    assert!(matches!(error, Error::UnsupportedFormat(_)), "{error}");
    let error = ReadOnlyEngine::open(&path).unwrap_err();
    assert!(matches!(error, Error::UnsupportedFormat(_)), "{error}");
    assert!(before == bytes_below(&path));
}

#[test]
fn a_manifest_with_the_greatest_number_is_named() {
    let _alone = REAL_MACHINE.lock();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    close_with_one_row(&path);
    let name = format!("MANIFEST-{}", u64::MAX);
    std::fs::write(path.join(&name), b"?").unwrap();
    let before = bytes_below(&path);
    let error = SingleNodeEngine::open(&path).unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    assert!(error.to_string().contains(&name), "{error}");
    assert!(before == bytes_below(&path));
    let report =
        hightower_kv::storage::inspect::verify(&hightower_kv::env::Env::system(), &path).unwrap();
    assert!(report.damages.iter().any(|damage| damage.file.ends_with(&name)), "{report:?}");
    std::fs::remove_file(path.join(&name)).unwrap();
    let engine = SingleNodeEngine::open(&path).unwrap();
    assert_eq!(engine.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn missing_parents_are_created() {
    let _alone = REAL_MACHINE.lock();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/c");
    SingleNodeEngine::open(&path).unwrap().put(b"k".to_vec(), b"v".to_vec()).unwrap();
    let engine = SingleNodeEngine::open(&path).unwrap();
    assert_eq!(engine.get(b"k").unwrap().as_deref(), Some(b"v".as_slice()));
}

#[test]
fn where_there_is_no_store_a_reader_creates_none() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for path in [missing.as_path(), directory.path()] {
        assert!(matches!(ReadOnlyEngine::open(path), Err(Error::NoStore(_))));
    }
    assert!(bytes_below(directory.path()).is_empty() && !missing.exists());
}

const DIRECTORY_VARIABLE: &str = "HTKV_MODES_DIRECTORY";

/// Not a test of its own: the process with another umask.
#[test]
fn child_creates_a_store() {
    let Some(path) = std::env::var_os(DIRECTORY_VARIABLE) else {
        return;
    };
    let mut config = real_config(Path::new(&path));
    config.disk_reserve = 4096;
    let engine = SingleNodeEngine::with_config(config).unwrap();
    engine.put(b"k".to_vec(), b"v".to_vec()).unwrap();
    engine.run_compaction_now().unwrap();
    engine.close().unwrap();
}

#[test]
fn files_are_for_their_owner_alone_whatever_the_umask() {
    let _alone = REAL_MACHINE.lock();
    for umask in ["000", "022", "077"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let status = Process::new("sh")
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" --exact bad_input::child_creates_a_store"))
            .arg(std::env::current_exe().unwrap())
            .env(DIRECTORY_VARIABLE, &path)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o700, "umask {umask}");
        assert_eq!(mode(&path.join("log")), 0o700, "umask {umask}");
        let files = bytes_below(&path);
        assert!(files.len() >= 6, "{:?}", files.keys());
        for file in files.keys() {
            assert_eq!(mode(file), 0o600, "umask {umask}: {}", file.display());
        }
    }
}

#[test]
fn a_process_may_go_elsewhere_while_a_store_is_open() {
    // No other test may be beside it: all threads have one current directory.
    if run_alone("bad_input::a_process_may_go_elsewhere_while_a_store_is_open").is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    for path in [&here, &there] {
        std::fs::create_dir(path).unwrap();
    }
    std::env::set_current_dir(&here).unwrap();
    let engine = SingleNodeEngine::open("data").unwrap();
    engine.put(b"k".to_vec(), b"1".to_vec()).unwrap();
    std::env::set_current_dir(&there).unwrap();
    engine.run_compaction_now().unwrap();
    engine.put(b"k".to_vec(), b"2".to_vec()).unwrap();
    engine.close().unwrap();
    assert!(std::fs::read_dir(&there).unwrap().next().is_none());
    let engine = SingleNodeEngine::open(here.join("data")).unwrap();
    assert_eq!(engine.get(b"k").unwrap().unwrap(), b"2");
}
