//! Directories and stores to measure in.

use std::path::Path;
use std::time::Duration;

use hightower_kv::state::Durability;
use hightower_kv::{SingleNodeEngine, StoreConfig};
use tempfile::TempDir;

/// A new directory on the device that holds the build, which is a real one where the system's
/// folder for temporary files may be memory.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the store")
}

/// Opens a store with everything but the durability at its default. Buffered: a put returns when
/// the operating system has its bytes.
pub(crate) fn open(directory: &Path, durability: Durability) -> SingleNodeEngine {
    let mut config = StoreConfig::default();
    config.data_dir = directory.join("data");
    config.fsync_interval = match durability {
        Durability::Synced => Duration::ZERO,
        Durability::Buffered => Duration::from_millis(100),
    };
    SingleNodeEngine::with_config(config).expect("the store opens")
}
