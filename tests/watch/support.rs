//! What the modules share.

use std::path::Path;

use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::{SingleNodeEngine, StoreConfig, WatchEvent, Watcher};

/// A store on a simulated disk, with small files and no threads.
pub(crate) fn sim_config() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.data_dir = "/data".into();
    config.max_segment_size = 64 << 10;
    config.disk_reserve = 4096;
    config.worker_threads = 0;
    config
}

/// Opens the store of [`sim_config`].
pub(crate) fn open_sim(fs: &SimFs) -> SingleNodeEngine {
    SingleNodeEngine::with_env(&sim_config(), Env::simulated_on(fs.clone(), 11).env).unwrap()
}

/// A store on the real disk, with threads of its own.
pub(crate) fn open_real(directory: &Path) -> SingleNodeEngine {
    let mut config = StoreConfig::default();
    config.data_dir = directory.join("data");
    config.disk_reserve = 0;
    config.fsync_interval = std::time::Duration::from_millis(20);
    SingleNodeEngine::with_config(config).unwrap()
}

/// The versions of what a watcher has to tell now.
pub(crate) fn versions(watcher: &mut Watcher) -> Vec<u64> {
    let mut told = Vec::new();
    while let Some(event) = watcher.try_next().unwrap() {
        told.push(changed_version(&event));
    }
    told
}

/// The version of a change.
pub(crate) fn changed_version(event: &WatchEvent) -> u64 {
    match event {
        WatchEvent::Changed(entry) => entry.version.0,
        other => panic!("not a change: {other:?}"),
    }
}
