//! Random work held against a model, through openings, compactions, kills and power cuts, at both
//! durabilities, with each compression, and with as little memory as there may be. Every answer is
//! checked: outcome, version, stamp; and the whole state, every key with version and stamp, at each
//! opening and at the end. Views and scans are held across all of it and show what they showed.
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

use std::collections::VecDeque;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hightower_kv::config::{Compression, MEMORY_BUDGET_FLOOR};
use hightower_kv::env::Env;
use hightower_kv::env::clock::{Clock, SystemClock};
use hightower_kv::env::fs_sim::PowerCut;
use hightower_kv::env::rng::SeededRng;
use hightower_kv::state::OwnedScan;
use hightower_kv::storage::inspect::verify;
use hightower_kv::{
    Command, Error, KvEngine, ReadOnlyEngine, SnapshotEngine, StateView, StoreConfig,
};

use crate::model::Model;
use crate::session::{DIRECTORY, Session, Tally, small_config};
use crate::workload::{Step, Workload, any_compression};

const SEQUENCES: u64 = 2_000;
const STEPS: u64 = 110;
const THREADS: u64 = 2;
/// Length of the values that push others out of memory.
const FILLER_BYTES: usize = 8_000;

/// What interrupts the work.
#[derive(Clone, Copy, Debug)]
enum Crash {
    Kill,
    PowerCut(PowerCut),
}

/// How large the store and its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Everything is in memory; segments and tables are as small as they can be.
    Small,
    /// Tables of several blocks.
    Wide,
    /// The smallest budget, with more in tables than the block cache holds.
    Narrow,
    /// A budget with which rows that are read again are kept although blocks are not.
    Hot,
}

impl Shape {
    fn of(seed: u64) -> Self {
        match seed % 16 {
            0..=9 => Self::Small,
            10..=12 => Self::Wide,
            13 | 14 => Self::Narrow,
            _ => Self::Hot,
        }
    }

    fn config(self, interval: Duration, compression: Compression) -> StoreConfig {
        let mut config = small_config(interval);
        config.compression = compression;
        let (segment, budget) = match self {
            Self::Small => (4096, config.memory_budget),
            Self::Wide => (32 << 10, config.memory_budget),
            Self::Narrow => (128 << 10, MEMORY_BUDGET_FLOOR),
            Self::Hot => (512 << 10, 7 << 18),
        };
        config.max_segment_size = segment;
        config.memory_budget = budget;
        config
    }

    /// How many rows are put in beforehand, for the block cache to be full.
    const fn filler_rows(self) -> usize {
        match self {
            Self::Small | Self::Wide => 0,
            Self::Narrow => 70,
            Self::Hot => 110,
        }
    }
}

/// What many sequences did together.
#[derive(Debug, Default)]
struct Totals {
    operations: AtomicU64,
    compactions: AtomicU64,
    merge_steps: AtomicU64,
    reopenings: AtomicU64,
    crashes: AtomicU64,
    held: AtomicU64,
    /// Compactions that ended for want of room, with a merge under way or before.
    halves: AtomicU64,
    /// Reads that found a row whose block was not in memory any more.
    hot: AtomicU64,
}

fn add(total: &AtomicU64, more: u64) {
    total.fetch_add(more, Ordering::Relaxed);
}

/// A state that somebody holds, a scan of it that is under way, and what they should show.
struct Held {
    view: StateView,
    model: Model,
    scan: OwnedScan,
    /// Keys that the scan has yet to give.
    left: VecDeque<Bytes>,
}

impl Held {
    fn new(session: &Session, rng: &SeededRng) -> Self {
        let (engine, model) = (session.engine(), session.model().clone());
        let mut left: VecDeque<Bytes> = model.rows.keys().cloned().collect();
        let mut scan = engine.scan::<&[u8], _>(..).unwrap();
        for _ in 0..rng.up_to(12) {
            let (found, expected) = match rng.up_to(1) {
                0 => (scan.next(), left.pop_front()),
                _ => (scan.next_back(), left.pop_back()),
            };
            assert_eq!(found.map(|row| row.unwrap().0), expected);
        }
        Self { view: engine.snapshot_state(), model, scan, left }
    }

    fn check(self, rng: &SeededRng) {
        assert_eq!(self.model.difference(&self.view), None, "a view has changed");
        let (mut scan, mut left) = (self.scan, self.left);
        let backward = rng.up_to(1) == 0;
        loop {
            let (row, key) = if backward {
                (scan.next_back(), left.pop_back())
            } else {
                (scan.next(), left.pop_front())
            };
            let Some((found, value)) = row.map(Result::unwrap) else {
                assert_eq!(key, None, "a scan has lost a row");
                return;
            };
            assert_eq!(Some(&found), key.as_ref());
            let expected = self.model.rows.get(&found).map(|row| &*row.value);
            assert_eq!(Some(value.as_bytes()), expected);
        }
    }
}

fn run(seed: u64, totals: &Totals) {
    let rng = SeededRng::new(seed ^ 0x006d_6f64_656c);
    let interval = Duration::from_millis(700 * rng.up_to(1));
    let shape = Shape::of(seed);
    let config = shape.config(interval, any_compression(&rng));
    let mut session = Session::create(Env::simulated(seed), config);
    fill(&mut session, shape);
    let mut workload = Workload::new(seed);
    let mut held = Vec::new();
    for _ in 0..STEPS {
        let cut = match rng.up_to(35) {
            0 => Crash::Kill,
            1 => Crash::PowerCut(PowerCut::random(rng.draw())),
            2 => Crash::PowerCut(PowerCut::Nothing),
            3 => {
                held.push(Held::new(&session, &rng));
                continue;
            }
            4 | 5 => {
                check_some_reads(&session, &rng);
                add(&totals.hot, crowd_out(&mut session, shape));
                continue;
            }
            6 | 7 => {
                add(&totals.halves, compact_in_part(&mut session, &rng));
                continue;
            }
            _ => {
                let step = workload.next_step(session.model());
                session.perform(&step);
                continue;
            }
        };
        crash(&mut session, cut, seed);
        add(&totals.crashes, 1);
    }
    check_reads(&session, &rng);
    session.perform(&Step::Reopen(any_compression(&rng)));
    check_reads(&session, &rng);
    add(&totals.held, held.len() as u64);
    for held in held {
        held.check(&rng);
    }
    session.engine.take().unwrap().close().unwrap();
    let report = verify(&session.sim.env, Path::new(DIRECTORY)).unwrap();
    // What a power cut tore off the log is kept as evidence.
    let is_torn = |path: &Path| path.extension().is_some_and(|extension| extension == "torn");
    let is_tidy = report.leftovers.iter().all(|leftover| is_torn(&leftover.file));
    assert!(report.damages.is_empty() && is_tidy, "{report:?}");
    let Tally { steps, compactions, merge_steps, reopenings } = session.tally;
    add(&totals.operations, steps);
    add(&totals.compactions, compactions);
    add(&totals.merge_steps, merge_steps);
    add(&totals.reopenings, reopenings);
}

/// Compacts with so little room that it may have to stop on the way, and goes on as it is then.
/// Returns how often it had to.
fn compact_in_part(session: &mut Session, rng: &SeededRng) -> u64 {
    let fs = session.sim.fs.clone();
    fs.set_space(Some(fs.used_bytes() + rng.up_to(256 << rng.up_to(6))));
    let compacted = session.engine().run_compaction_now();
    fs.set_space(None);
    if let Err(error) = &compacted {
        assert!(matches!(error, Error::DiskFull(_)), "{error}");
    }
    check_reads(session, rng);
    // The log was synced, or the compaction did not come that far.
    session.perform(&Step::Sync);
    u64::from(compacted.is_err())
}

fn filler_key(n: usize) -> Bytes {
    format!("fill/{n:03}").into()
}

/// Puts in more than the block cache of the shape has room for.
fn fill(session: &mut Session, shape: Shape) {
    let rows: Vec<usize> = (0..shape.filler_rows()).collect();
    for some in rows.chunks(8) {
        let value = |n: usize| [n.to_le_bytes().as_slice(), &[7; FILLER_BYTES]].concat();
        let set = some.iter().map(|&n| Command::set(filler_key(n), value(n)));
        session.perform(&Step::Submit(Command::batch(set)));
    }
}

/// Reads a row, then so much else that its block is gone, then the row again. Returns how often
/// that needed no block.
fn crowd_out(session: &mut Session, shape: Shape) -> u64 {
    if shape.filler_rows() == 0 {
        return 0;
    }
    session.perform(&Step::Compact);
    let (engine, model) = (session.engine(), session.model());
    let small: Vec<&Bytes> =
        model.rows.iter().filter(|(_, row)| row.value.len() < 40).map(|(key, _)| key).collect();
    let read = |key: &Bytes| {
        let expected = model.rows.get(key).map(|row| &*row.value);
        assert_eq!(engine.get(key).unwrap().as_deref(), expected, "{key:?}");
    };
    let crowd = || (0..shape.filler_rows()).for_each(|n| read(&filler_key(n)));
    crowd();
    for key in &small {
        read(key);
    }
    crowd();
    crowd();
    let mut hot = 0;
    for key in small {
        let before = session.sim.fs.operations();
        read(key);
        hot += u64::from(before == session.sim.fs.operations());
    }
    // With the smallest budget no row is small enough for the hot map.
    if shape == Shape::Hot { hot } else { 0 }
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

/// A key that may be there.
fn some_key(model: &Model, rng: &SeededRng) -> Bytes {
    let at = usize::try_from(rng.up_to(model.rows.len() as u64)).unwrap();
    match model.rows.keys().nth(at) {
        Some(key) if rng.up_to(3) > 0 => key.clone(),
        Some(key) => [key.as_ref(), b"0"].concat().into(),
        None => format!("k{}", rng.up_to(30)).into(),
    }
}

/// Some keys, and some rows of a range from both ends in turns.
fn check_some_reads(session: &Session, rng: &SeededRng) {
    let (engine, model) = (session.engine(), session.model());
    for _ in 0..6 {
        let key = some_key(model, rng);
        let expected = model.rows.get(&key).map(|row| &*row.value);
        assert_eq!(engine.get(&key).unwrap().as_deref(), expected, "{key:?}");
        let found = engine.get_versioned(&key).unwrap().map(|found| found.version.0);
        assert_eq!(found, model.rows.get(&key).map(|row| row.version), "{key:?}");
    }
    let [a, b] = [some_key(model, rng), some_key(model, rng)];
    let (from, to) = (a.clone().min(b.clone()), a.max(b));
    let bounds = match rng.up_to(4) {
        0 => (Bound::Included(from), Bound::Included(to)),
        1 => (Bound::Excluded(from), Bound::Included(to)),
        2 if from < to => (Bound::Excluded(from), Bound::Excluded(to)),
        3 => (Bound::Unbounded, Bound::Excluded(to)),
        _ => (Bound::Included(from), Bound::Unbounded),
    };
    let mut expected = model.rows.range(bounds.clone());
    let mut scan = engine.scan(bounds).unwrap();
    let limit = rng.up_to(40);
    for _ in 0..limit {
        let (found, expected) = match rng.up_to(1) {
            0 => (scan.next(), expected.next()),
            _ => (scan.next_back(), expected.next_back()),
        };
        let found = found.map(Result::unwrap);
        let found = found.as_ref().map(|(key, value)| (key, value.as_bytes()));
        assert_eq!(found, expected.map(|(key, row)| (key, &*row.value)));
    }
    let prefix = match rng.up_to(4) {
        0 => "k",
        1 => "m1",
        2 => "group/",
        3 => "fill/",
        _ => "",
    };
    let limit = usize::try_from(rng.up_to(20)).unwrap();
    let view = engine.snapshot_state();
    let found: Vec<Bytes> =
        view.prefix(prefix.as_bytes()).take(limit).map(|row| row.unwrap().0).collect();
    let expected = model.rows.keys().filter(|key| key.starts_with(prefix.as_bytes()));
    assert!(found.iter().eq(expected.take(limit)), "{prefix}");
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
    let clock = SystemClock::new();
    let chosen = std::env::var("HTKV_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = chosen.map_or(1..SEQUENCES + 1, |seed: u64| seed..seed + 1);
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(0);
    let totals = Totals::default();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) || failed.load(Ordering::Relaxed) > 0 {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| run(seed, &totals))).is_err() {
                        failed.store(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!(
        "sequences: {}, {totals:?}, seconds: {:.1}",
        seeds.end - seeds.start,
        clock.elapsed().as_secs_f64()
    );
    assert_eq!(failed, 0, "replay: HTKV_SEED={failed} cargo test --test model");
    if chosen.is_none() {
        let at_least = |total: &AtomicU64, least| total.load(Ordering::Relaxed) >= least;
        assert!(at_least(&totals.operations, 150_000) && at_least(&totals.crashes, 15_000));
        assert!(at_least(&totals.compactions, 35_000) && at_least(&totals.merge_steps, 20_000));
        assert!(at_least(&totals.reopenings, 4_000) && at_least(&totals.held, 4_000));
        assert!(at_least(&totals.halves, 1_000));
        assert!(at_least(&totals.hot, 1_000), "nothing was found in the hot map");
    }
}
