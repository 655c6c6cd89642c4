//! Random work held against a model, through openings, compactions, kills and power cuts, at both
//! durabilities. Every answer is checked: outcome, version, stamp; and the whole state, every key
//! with version and stamp, at each opening and at the end.
//!
//! `tests/crash.rs` cuts one history in all places; here one history goes on through many cuts. A
//! failure prints its seed: `HTKV_SEED=s cargo test --test model`.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/model.rs"]
mod model;
#[path = "support/session.rs"]
mod session;
#[path = "support/workload.rs"]
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::PowerCut;
use hightower_kv::env::rng::SeededRng;
use hightower_kv::{KvEngine, ReadOnlyEngine, SnapshotEngine};

use crate::session::{DIRECTORY, Session, small_config};
use crate::workload::{Step, Workload};

const SEQUENCES: u64 = 400;
const STEPS: u64 = 150;
const THREADS: u64 = 2;

/// What interrupts the work.
#[derive(Clone, Copy, Debug)]
enum Crash {
    Kill,
    PowerCut(PowerCut),
}

fn run(seed: u64) {
    let rng = SeededRng::new(seed ^ 0x006d_6f64_656c);
    let interval = Duration::from_millis(700 * rng.up_to(1));
    let mut session = Session::create(Env::simulated(seed), small_config(interval));
    let mut workload = Workload::new(seed);
    for _ in 0..STEPS {
        match rng.up_to(29) {
            0 => crash(&mut session, Crash::Kill, seed),
            1 => crash(&mut session, Crash::PowerCut(PowerCut::random(rng.draw())), seed),
            2 => crash(&mut session, Crash::PowerCut(PowerCut::Nothing), seed),
            _ => {
                let step = workload.next_step(session.model());
                session.perform(&step);
            }
        }
    }
    check_reads(&session, &rng);
    session.perform(&Step::Reopen);
}

/// Interrupts the store and opens what is left: first only for reading, which tells where the log
/// ends, then for writing, which must find the same.
fn crash(session: &mut Session, crash: Crash, seed: u64) {
    let image = session.sim.fs.image();
    // What the process still does on its disk when it goes is not on the image.
    session.engine = None;
    let (fs, floor) = match crash {
        Crash::Kill => (image.kill(), session.now.acknowledged),
        Crash::PowerCut(cut) => (image.power_cut(cut), session.now.synced),
    };
    let sim = Env::simulated_on(fs, seed + 7);
    let files = sim.fs.files();
    let reader = ReadOnlyEngine::open_in(sim.env.clone(), Path::new(DIRECTORY)).unwrap();
    let last = reader.view().version().unwrap().0;
    drop(reader);
    assert!(files == sim.fs.files(), "reading wrote something");
    assert!(last >= floor, "{crash:?}: the log ends with {last}, promised was {floor}");
    assert!(last <= session.now.submitted, "{crash:?}: entry {last} was never handed in");
    session.states.truncate(usize::try_from(last).unwrap() + 1);
    session.sim = sim;
    session.open();
}

/// Every way to read gives what the model has.
fn check_reads(session: &Session, rng: &SeededRng) {
    let (engine, model) = (session.engine(), session.model());
    assert_eq!(engine.len().unwrap(), model.rows.len());
    for (key, row) in &model.rows {
        let found = engine.get_versioned(key).unwrap().unwrap();
        assert_eq!((found.version.0, found.timestamp.0), (row.version, row.stamp));
        assert!(engine.contains(key).unwrap());
    }
    assert!(!engine.contains(b"nobody wrote this").unwrap());
    for prefix in ["", "k", "k1", "group/", "z", "zz", "{"] {
        let found = engine.get_prefix(prefix.as_bytes()).unwrap();
        let expected = model.rows.iter().filter(|(key, _)| key.starts_with(prefix.as_bytes()));
        assert!(found.iter().map(|(key, _)| key).eq(expected.map(|(key, _)| key)), "{prefix}");
    }
    let bounds = [format!("k{}", rng.up_to(24)), format!("k{}", rng.up_to(24))];
    let (from, to) = (bounds.iter().min().unwrap(), bounds.iter().max().unwrap());
    let range = from.as_bytes()..to.as_bytes();
    let forward: Vec<_> = engine.scan(range.clone()).unwrap().map(|row| row.unwrap().0).collect();
    let mut backward: Vec<_> =
        engine.scan(range).unwrap().rev().map(|row| row.unwrap().0).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    let inside = |key: &[u8]| from.as_bytes() <= key && key < to.as_bytes();
    assert_eq!(forward.len(), model.rows.keys().filter(|key| inside(key)).count());
    let live: usize = model.rows.iter().map(|(key, row)| key.len() + row.value.len()).sum();
    assert_eq!(engine.stats().live_bytes, live as u64);
    assert_eq!(engine.snapshot_state().timestamp().0, model.stamp);
}

#[test]
fn the_store_does_what_the_model_does_through_every_interruption() {
    let chosen = std::env::var("HTKV_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = chosen.map_or(1..SEQUENCES + 1, |seed: u64| seed..seed + 1);
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) || failed.load(Ordering::Relaxed) > 0 {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
                        failed.store(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert_eq!(failed, 0, "replay: HTKV_SEED={failed} cargo test --test model");
}
