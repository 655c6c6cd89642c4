//! What the modules share.

use std::time::Duration;

use hightower_kv::env::fs_sim::{DiskImage, PowerCut, SimFs};
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{Scope, SingleNodeEngine, SnapshotEngine, StateView, StoreConfig};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A store on a simulated disk, with small files and no threads.
pub(crate) fn sim_config() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.data_dir = "/data".into();
    config.max_segment_size = 64 << 10;
    config.disk_reserve = 4096;
    config.worker_threads = 0;
    config
}

/// A store on a simulated machine.
pub(crate) struct Store {
    pub(crate) sim: Simulated,
    pub(crate) engine: SingleNodeEngine,
}

impl Store {
    pub(crate) fn new(seed: u64) -> Self {
        Self::open(Env::simulated(seed))
    }

    pub(crate) fn open(sim: Simulated) -> Self {
        let engine = SingleNodeEngine::with_env(&sim_config(), sim.env.clone()).unwrap();
        Self { sim, engine }
    }

    /// Closes the store and opens it again; the clock stays.
    pub(crate) fn reopen(self) -> Self {
        self.engine.close().unwrap();
        Self::open(self.sim)
    }

    /// What is left when the process dies now, or with a power cut. The clock begins anew.
    pub(crate) fn dies(self, cut: Option<PowerCut>) -> Self {
        let fs = match cut {
            None => self.sim.fs.kill(),
            Some(cut) => self.sim.fs.power_cut(cut),
        };
        std::mem::forget(self.engine);
        Self::open(Env::simulated_on(fs, 77))
    }

    pub(crate) fn view(&self) -> StateView {
        self.engine.snapshot_state()
    }

    /// Lets time pass, and what is due be removed.
    pub(crate) fn pass(&self, time: Duration) {
        self.sim.clock.advance(time);
        self.engine.flush().unwrap();
    }
}

/// A store as an image of the disk has it, after the process died.
pub(crate) fn opened(image: &DiskImage) -> Store {
    let fs: SimFs = image.kill();
    Store::open(Env::simulated_on(fs, 5))
}

pub(crate) fn named(name: &str) -> Scope {
    Scope::named(name).unwrap()
}

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}
