//! Random work with reopening, kills, power cuts, compactions, eras and cleaning.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hightower_kv::env::Env;
use hightower_kv::env::clock::Clock;
use hightower_kv::env::fs_sim::{LostSector, NameLoss, PowerCut};
use hightower_kv::env::rng::SeededRng;
use hightower_kv::{
    ReadOnlyEngine, Retention, RetentionHandle, RetentionRegistry, StoreConfig, Timestamp, Version,
};

use parking_lot::Mutex;

use crate::checks::{Seen, check_some};
use crate::session::{DIRECTORY, Session, small_config};
use crate::workload::Workload;

const SEQUENCES: u64 = 1_000;
const STEPS: u64 = 70;
const THREADS: u64 = 2;

/// A store whose past is kept in one way or another.
struct Kept {
    session: Session,
    rng: SeededRng,
    era_bytes: u64,
    handle: Option<RetentionHandle>,
    /// From this version on everything must be there.
    from: Option<u64>,
}

/// How the past is kept, by the seed.
fn config_of(seed: u64, rng: &SeededRng) -> (StoreConfig, Option<RetentionHandle>, Option<u64>) {
    let interval = if seed.is_multiple_of(2) { Duration::ZERO } else { Duration::from_secs(1) };
    let mut config = small_config(interval);
    let limits = match rng.up_to(7) {
        0..=2 => Some(Retention::default()),
        3 => Some(Retention { bytes_max: Some(rng.up_to(20_000)), ..Retention::default() }),
        4 => Some(Retention { files_max: Some(3), ..Retention::default() }),
        5 => {
            let age_max = Some(Duration::from_secs(rng.up_to(3_000)));
            Some(Retention { age_max, ..Retention::default() })
        }
        _ => None,
    };
    config.retention = limits;
    let registry = RetentionRegistry::new();
    let handle = (limits.is_none() && rng.up_to(2) > 0).then(|| registry.create_handle());
    config.retention_registry = Some(registry);
    let is_complete = limits == Some(Retention::default()) || handle.is_some();
    (config, handle, is_complete.then_some(0))
}

impl Kept {
    fn new(seed: u64) -> Self {
        let rng = SeededRng::new(seed ^ 0x5eed);
        let (config, handle, from) = config_of(seed, &rng);
        let session = Session::create(Env::simulated(seed), config);
        let era_bytes = [1, 1_500, 6_000, 1 << 26][usize::try_from(rng.up_to(3)).unwrap()];
        Self { session, rng, era_bytes, handle, from }
    }

    /// The process dies, or the power fails: goes on with what is left.
    fn cut(&mut self) {
        let fs = &self.session.sim.fs;
        let seed = self.rng.draw();
        let (names, sectors) = (NameLoss::Subset, LostSector::AsBefore);
        let fs = match self.rng.up_to(3) {
            0 => fs.kill(),
            1 => fs.power_cut(PowerCut::Nothing),
            _ => fs.power_cut(PowerCut::Random { seed, names, sectors }),
        };
        let now = self.session.sim.clock.now();
        let sim = Env::simulated_on(fs, seed);
        sim.clock.set_now(now);
        self.session.engine = None;
        let left = ReadOnlyEngine::open_in(sim.env.clone(), Path::new(DIRECTORY)).unwrap();
        let last = left.view().last_applied().unwrap().0;
        drop(left);
        assert!(last >= self.session.now.synced);
        self.session.sim = sim;
        self.session.states.truncate(usize::try_from(last + 1).unwrap());
        self.session.open();
    }

    /// The handle says what it wants, or goes.
    fn speak(&mut self) {
        let last = self.session.states.len() as u64 - 1;
        let Some(handle) = &self.handle else { return };
        // What it did not want before may be gone.
        let from = self.from.unwrap_or(last);
        match self.rng.up_to(5) {
            0..=2 => {
                let version = (from + self.rng.up_to(last) / 2).min(last.max(from));
                handle.keep_from_version(Version(version));
                self.from = Some(version);
            }
            3 => {
                let at = from.max(self.rng.up_to(last)).min(last);
                // Before that stamp no entry comes any more.
                let stamp = self.session.states[usize::try_from(at).unwrap()].stamp;
                let stamp = stamp.saturating_sub(1);
                handle.keep_from(Timestamp(stamp));
                let count = self.session.states.partition_point(|state| state.stamp <= stamp);
                self.from = Some(from.max((count as u64).saturating_sub(1)));
            }
            4 => {
                handle.keep_nothing();
                self.from = None;
            }
            _ => {
                self.handle = None;
                self.from = None;
            }
        }
    }

    fn check(&self, seen: &mut Seen) {
        let states = &self.session.states;
        let is_complete = self.from == Some(0);
        check_some(self.session.engine(), states, &self.rng, is_complete, seen);
        let last = states.len() as u64 - 1;
        if let Some(from) = self.from.filter(|&from| from <= last) {
            let index = from + self.rng.up_to(last - from);
            let found = crate::checks::check_version(self.session.engine(), states, index, seen);
            assert!(found, "version {index} is gone, wanted from {from} on");
        }
    }

    /// The same questions to an engine that only reads.
    fn check_closed(&self, seen: &mut Seen) {
        let env = Env::simulated_on(self.session.sim.fs.kill(), 1).env;
        let engine = ReadOnlyEngine::open_in(env, Path::new(DIRECTORY)).unwrap();
        let last = engine.view().last_applied().unwrap().0;
        let states = &self.session.states[..=usize::try_from(last).unwrap()];
        check_some(&engine, states, &self.rng, self.from == Some(0), seen);
    }
}

fn run(seed: u64) -> Seen {
    let mut kept = Kept::new(seed);
    let mut workload = Workload::new(seed);
    let mut tally = Seen::default();
    for step in 0..STEPS {
        kept.session.engine().set_era_bytes(kept.era_bytes);
        let next = workload.next_step(kept.session.model());
        kept.session.perform(&next);
        match kept.rng.up_to(39) {
            0 => kept.cut(),
            1 if step > STEPS / 2 => kept.speak(),
            2..=5 => kept.check(&mut tally),
            _ => {}
        }
    }
    kept.check(&mut tally);
    if seed.is_multiple_of(8) {
        kept.check_closed(&mut tally);
    }
    tally
}

#[expect(clippy::print_stdout, reason = "a helper of a test that shows what was done")]
fn show(text: &str) {
    println!("{text}");
}

#[test]
fn the_past_is_what_it_was_whatever_happens_to_the_store() {
    let replay = std::env::var("HTKV_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    if let Some(seed) = replay {
        run(seed);
        return;
    }
    let next = AtomicU64::new(1);
    let all = Mutex::new(Seen::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > SEQUENCES {
                return;
            }
            let tried = std::panic::catch_unwind(|| run(seed));
            let Ok(tally) = tried else {
                next.store(SEQUENCES, Ordering::Relaxed);
                panic!("replay: HTKV_SEED={seed} cargo test --test history");
            };
            let mut all = all.lock();
            all.states += tally.states;
            all.given_up += tally.given_up;
            all.histories += tally.histories;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    let all = *all.lock();
    show(&format!("{SEQUENCES} sequences: {all:?}"));
    assert!(all.states > 5_000 && all.given_up > 100 && all.histories > 1_000, "{all:?}");
}
