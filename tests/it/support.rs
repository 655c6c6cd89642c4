//! What the modules share.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::{Result, SingleNodeEngine, StateView, StoreConfig};
use parking_lot::Mutex;

/// Held by each test that locks real files or starts processes: a process that is being started
/// holds, for a moment, copies of all open files of this one, and their locks with them.
pub(crate) static REAL_MACHINE: Mutex<()> = Mutex::new(());

/// How long something may take that must not hang. Reached only by a failure.
pub(crate) const HANGS_AFTER: Duration = Duration::from_mins(10);

/// A store on a simulated disk, with small files and no threads.
pub(crate) fn sim_config() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.data_dir = "/data".into();
    config.max_segment_size = 4096;
    config.disk_reserve = 4096;
    config.worker_threads = 0;
    config
}

/// A store on the real disk.
pub(crate) fn real_config(directory: &Path) -> StoreConfig {
    let mut config = StoreConfig::default();
    directory.clone_into(&mut config.data_dir);
    config.max_segment_size = 64 << 10;
    config.disk_reserve = 0;
    config
}

/// Opens the store of [`sim_config`].
pub(crate) fn open_sim(fs: &SimFs) -> Result<SingleNodeEngine> {
    open_sim_with(fs, &sim_config())
}

pub(crate) fn open_sim_with(fs: &SimFs, config: &StoreConfig) -> Result<SingleNodeEngine> {
    SingleNodeEngine::with_env(config, Env::simulated_on(fs.clone(), 11).env)
}

/// Keys and values.
pub(crate) type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn pairs(view: &StateView) -> Pairs {
    view.iter().map(|row| row.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// All files below a directory of the real disk, with their bytes.
pub(crate) fn bytes_below(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                files.insert(entry.path(), std::fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// Runs `work` on a thread of its own and fails when it hangs.
pub(crate) fn within_reason<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        scope.spawn(move || tell.send(work()));
        match told.recv_timeout(HANGS_AFTER) {
            Ok(done) => done,
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("it panicked, see above"),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // The scope would wait for it for ever.
                show("it hangs");
                std::process::abort();
            }
        }
    })
}

/// Says something that is seen also when the test passes, whose prints are kept from view.
pub(crate) fn show(text: &str) {
    let mut out = std::io::stderr().lock();
    writeln!(out, "{text}").unwrap();
}

/// Says loudly that a test did not do what it is for.
pub(crate) fn skipped(why: &str) {
    show(&format!("\n*** SKIPPED: {why} ***\n"));
}
