//! Power cuts and kills at every operation of the disk (rows S1 and S14 of `docs/testing.md`).
//!
//! A workload of several hundred steps runs on a simulated disk that keeps an image of itself after
//! every operation that may have changed something. Each image is cut in seven ways: the process is
//! killed; the power fails and nothing, everything, or one of four random subsets of the unsynced
//! names and sectors survives. Each result is opened and must be the state after some
//! prefix of the entries that were handed in, a prefix that holds everything that was promised at
//! that moment. Then it is written to. One in ten is cut again at a random moment of its own
//! recovery or of that write, and opened once more.
//!
//! `cargo test --test crash -- --nocapture` prints the counts. A failure prints its replay:
//! `HTKV_SEED=s HTKV_IMAGE=i HTKV_CUT=c cargo test --test crash`.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/model.rs"]
mod model;
#[path = "support/session.rs"]
mod session;
#[path = "support/workload.rs"]
mod workload;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hightower_kv::env::clock::{Clock, SystemClock};
use hightower_kv::env::fs_sim::{DiskImage, LostSector, NameLoss, PowerCut, SimFs};
use hightower_kv::env::rng::SeededRng;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{KvEngine, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine, StoreConfig};

use crate::model::Model;
use crate::session::{Promise, Session, Tally, small_config};
use crate::workload::Workload;

/// Enough for more images than the gate asks for.
const SEEDS: std::ops::Range<u64> = 1..9;
const STEPS: usize = 320;
const IMAGES_MIN: u64 = 100_000;
/// 0 is the death of the process, 1 loses all, 2 keeps all, the others are random.
const CUTS: u64 = 7;
const THREADS: u64 = 2;

/// A workload that has run.
struct Recorded {
    seed: u64,
    config: StoreConfig,
    states: Vec<Model>,
    promises: Vec<Promise>,
    images: Vec<DiskImage>,
    tally: Tally,
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Lost,
    Invented,
    Refused,
}

#[derive(Debug)]
struct Failure {
    wrong: Wrong,
    what: String,
}

impl Failure {
    fn new(wrong: Wrong, what: impl fmt::Display) -> Self {
        Self { wrong, what: what.to_string() }
    }
}

/// Seeds take turns in durability, so that both are tried.
fn config_of(seed: u64) -> StoreConfig {
    let interval = if seed.is_multiple_of(2) { Duration::ZERO } else { Duration::from_secs(1) };
    small_config(interval)
}

fn record(seed: u64) -> Recorded {
    let sim = Env::simulated(seed);
    sim.fs.start_history();
    let mut session = Session::create(sim, config_of(seed));
    let mut workload = Workload::new(seed);
    for _ in 0..STEPS {
        let step = workload.next_step(session.model());
        session.perform(&step);
    }
    let images = session.sim.fs.take_history();
    let Session { config, states, promises, tally, .. } = session;
    Recorded { seed, config, states, promises, images, tally }
}

impl Recorded {
    /// What was promised when the image was taken.
    fn promise_at(&self, operation: u64) -> Promise {
        let after = self.promises.partition_point(|promise| promise.operation <= operation);
        self.promises.get(after.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Tries one cut of one image. Returns how many images that were.
    fn try_cut(&self, number: usize, cut: u64) -> Result<u64, Failure> {
        let image = self.images.get(number).unwrap();
        let promise = self.promise_at(image.operation());
        let rng = SeededRng::new((self.seed << 40) ^ ((number as u64) << 8) ^ cut);
        let fs = cut_image(image, cut, &rng);
        let again = rng.up_to(9) == 0;
        if again {
            fs.start_history();
        }
        let floor = if cut == 0 { promise.acknowledged } else { promise.synced };
        let first = self.reopen(&fs, promise, floor, None)?;
        if !again {
            return Ok(1);
        }
        let history = fs.take_history();
        let pick = usize::try_from(rng.up_to(history.len() as u64 - 1)).unwrap();
        let image = history.get(pick).unwrap();
        let cut_again = rng.up_to(CUTS - 1);
        let fs = cut_image(image, cut_again, &rng);
        let killed_twice = cut == 0 && cut_again == 0;
        let mut floor = if killed_twice { promise.acknowledged } else { promise.synced };
        if image.operation() >= first.opened_at {
            floor = first.last + 1;
        }
        if image.operation() >= first.written_at {
            floor = first.last + 2;
        }
        self.reopen(&fs, promise, floor, Some(&first)).map(|_| 2).map_err(|failure| {
            let what = format!("cut again after operation {}: {}", image.operation(), failure.what);
            Failure { what, ..failure }
        })
    }

    /// Opens what is left, checks it and writes to it.
    fn reopen(
        &self,
        fs: &SimFs,
        promise: Promise,
        floor: u64,
        before: Option<&Reopened>,
    ) -> Result<Reopened, Failure> {
        let Simulated { env, .. } = Env::simulated_on(fs.clone(), self.seed + 1000);
        let engine = SingleNodeEngine::with_env(&self.config, env)
            .map_err(|error| Failure::new(Wrong::Refused, error))?;
        let opened_at = fs.operations();
        // Opening adds a blank entry of its own.
        let last = engine.latest_version().0 - 1;
        if last < floor {
            let what = format!("it ends with entry {last}, promised was {floor}");
            return Err(Failure::new(Wrong::Lost, what));
        }
        let expected = self.expected(last, before).ok_or_else(|| {
            Failure::new(Wrong::Invented, format!("entry {last} is there, none was handed in"))
        })?;
        if before.is_none() && last > promise.submitted {
            let what = format!("entry {last} is there, the last one was {}", promise.submitted);
            return Err(Failure::new(Wrong::Invented, what));
        }
        let view = engine.snapshot_state();
        if let Some(difference) = expected.difference(&view) {
            return Err(Failure::new(Wrong::Invented, difference));
        }
        if view.timestamp().0 != expected.stamp {
            let what = format!("stamp {} after {}", view.timestamp(), expected.stamp);
            return Err(Failure::new(Wrong::Invented, what));
        }
        let term = engine.stats().term.0;
        if term <= promise.term {
            return Err(Failure::new(Wrong::Lost, format!("term {term} was given before")));
        }
        let mut state = expected;
        let probe = hightower_kv::Command::set("probe", format!("after {last}"));
        let wanted = state.apply(last + 2, 1_000_000_000_000, &probe);
        let got = engine
            .submit(probe)
            .and_then(|got| engine.flush().map(|()| got))
            .map_err(|error| Failure::new(Wrong::Refused, format!("a write: {error}")))?;
        if got.version.0 != wanted.version || got.outcome != wanted.outcome {
            return Err(Failure::new(Wrong::Lost, format!("{got:?} is not {wanted:?}")));
        }
        let written_at = fs.operations();
        Ok(Reopened { last, opened_at, written_at, state })
    }

    /// The state after entry `last`, if that is an entry.
    fn expected(&self, last: u64, before: Option<&Reopened>) -> Option<Model> {
        let at = |index: u64| self.states.get(usize::try_from(index).ok()?).cloned();
        let Some(before) = before else {
            return at(last);
        };
        // Behind what the first recovery found stand its blank entry and its write.
        match last.checked_sub(before.last) {
            None | Some(0) => at(last),
            Some(1) => at(before.last),
            Some(2) => Some(before.state.clone()),
            Some(_) => None,
        }
    }
}

/// A store that was opened after a cut and written to.
struct Reopened {
    /// The last entry that it found.
    last: u64,
    /// Operations of its disk when it was open, and when it had acknowledged the write.
    opened_at: u64,
    written_at: u64,
    /// The state after the write.
    state: Model,
}

fn cut_image(image: &DiskImage, cut: u64, rng: &SeededRng) -> SimFs {
    let names = if cut.is_multiple_of(2) { NameLoss::Prefix } else { NameLoss::Subset };
    let sectors = LostSector::AsBefore;
    match cut {
        0 => image.kill(),
        1 => image.power_cut(PowerCut::Nothing),
        2 => image.power_cut(PowerCut::Everything),
        _ => image.power_cut(PowerCut::Random { seed: rng.draw(), names, sectors }),
    }
}

/// Counts of all seeds.
#[derive(Default)]
struct Counts {
    images: AtomicU64,
    lost: AtomicU64,
    invented: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    /// Tries one cut, and shows what is wrong. Returns whether all is well.
    fn try_cut(&self, recorded: &Recorded, number: usize, cut: u64) -> bool {
        let tried = catch_unwind(AssertUnwindSafe(|| recorded.try_cut(number, cut)));
        let tried =
            tried.unwrap_or_else(|_| Err(Failure::new(Wrong::Refused, "it panicked, see above")));
        let failure = match tried {
            Ok(images) => {
                self.images.fetch_add(images, Ordering::Relaxed);
                return true;
            }
            Err(failure) => failure,
        };
        let images = self.images.fetch_add(1, Ordering::Relaxed) + 1;
        let count = match failure.wrong {
            Wrong::Lost => &self.lost,
            Wrong::Invented => &self.invented,
            Wrong::Refused => &self.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        show(&format!(
            "{:?} after {images} images: {}\n  replay: HTKV_SEED={} HTKV_IMAGE={number} \
             HTKV_CUT={cut} cargo test --test crash",
            failure.wrong, failure.what, recorded.seed
        ));
        false
    }

    fn try_seed(&self, seed: u64) {
        let recorded = record(seed);
        for number in 0..recorded.images.len() {
            for cut in 0..CUTS {
                if !self.try_cut(&recorded, number, cut) {
                    return;
                }
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "a helper of a test that shows failures")]
fn show(text: &str) {
    println!("{text}");
}

/// A number from the environment, to replay a failure.
fn chosen(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_cut_loses_invents_or_bars_anything() {
    let clock = SystemClock::new();
    let counts = Counts::default();
    let replay = chosen("HTKV_SEED");
    if let Some(seed) = replay {
        let recorded = record(seed);
        let number = chosen("HTKV_IMAGE").map(|number| usize::try_from(number).unwrap());
        let all = 0..recorded.images.len();
        for number in number.map_or(all, |number| number..number + 1) {
            for cut in chosen("HTKV_CUT").map_or(0..CUTS, |cut| cut..cut + 1) {
                counts.try_cut(&recorded, number, cut);
            }
        }
    } else {
        let next = AtomicU64::new(SEEDS.start);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if !SEEDS.contains(&seed) {
                            return;
                        }
                        counts.try_seed(seed);
                    }
                });
            }
        });
    }
    let Counts { images, lost, invented, refused } = counts;
    let [images, lost, invented, refused] =
        [images, lost, invented, refused].map(AtomicU64::into_inner);
    println!(
        "images tried: {images}, lost: {lost}, invented: {invented}, refused: {refused}, \
         seconds: {:.1}",
        clock.elapsed().as_secs_f64()
    );
    assert_eq!((lost, invented, refused), (0, 0, 0), "see above for the replay");
    assert!(replay.is_some() || images >= IMAGES_MIN, "only {images} images");
}

#[test]
fn the_same_seed_runs_the_same_operations() {
    let trace = |seed| {
        let sim = Env::simulated(seed);
        sim.fs.start_trace();
        let mut session = Session::create(sim, config_of(seed));
        let mut workload = Workload::new(seed);
        for _ in 0..STEPS {
            let step = workload.next_step(session.model());
            session.perform(&step);
        }
        session.engine = None;
        (session.sim.fs.take_trace(), session.sim.fs.files())
    };
    for seed in [1, 2] {
        assert!(trace(seed) == trace(seed), "seed {seed} ran otherwise the second time");
    }
    assert!(trace(1) != trace(2));
}

/// What stands in the images of one workload.
#[derive(Debug, Default)]
struct Seen {
    segments_purged: usize,
    tables: usize,
    tables_removed: usize,
    manifests: usize,
    /// Manifests in the middle of a merge, and of those the ones that merge at least three runs.
    merging: usize,
    merging_several: usize,
    /// The most runs, and the most tables in one.
    runs_max: usize,
    tables_of_run_max: usize,
    tombstones: u64,
}

/// Names with this ending that were there at any time, and those that are gone at the end.
fn names_ever(recorded: &Recorded, is_meant: impl Fn(&Path) -> bool) -> (usize, usize) {
    let names = |image: &DiskImage| -> BTreeSet<PathBuf> {
        image.files().into_iter().map(|(path, _)| path).filter(|path| is_meant(path)).collect()
    };
    let ever: BTreeSet<PathBuf> = recorded.images.iter().flat_map(names).collect();
    let left = names(recorded.images.last().unwrap());
    (ever.len(), ever.difference(&left).count())
}

/// Looks through the images, each time that there is a new manifest.
fn seen(recorded: &Recorded) -> Seen {
    let ends_with = |end: &'static str| {
        move |path: &Path| path.extension().is_some_and(|extension| extension == end)
    };
    let (_, segments_purged) = names_ever(recorded, ends_with("seg"));
    let (tables, tables_removed) = names_ever(recorded, ends_with("tbl"));
    let mut seen = Seen { segments_purged, tables, tables_removed, ..Seen::default() };
    let mut last = None;
    for image in &recorded.images {
        let is_manifest =
            |path: &PathBuf| path.to_string_lossy().contains("MANIFEST") && !ends_with("tmp")(path);
        let newest = image.files().into_iter().map(|(path, _)| path).filter(is_manifest).max();
        if newest == last || newest.is_none() {
            continue;
        }
        last = newest;
        let env = Env::simulated_on(image.kill(), 1).env;
        let engine = ReadOnlyEngine::open_in(env, Path::new(session::DIRECTORY)).unwrap();
        let set = engine.view().tables();
        let merged = set.runs().iter().filter(|run| run.is_being_merged()).count();
        seen.manifests += 1;
        seen.merging += usize::from(merged > 0);
        seen.merging_several += usize::from(merged > 2);
        seen.runs_max = seen.runs_max.max(set.runs().len());
        let longest = set.runs().iter().map(|run| run.tables().len()).max().unwrap_or(0);
        seen.tables_of_run_max = seen.tables_of_run_max.max(longest);
        seen.tombstones += set.tables().map(|entry| entry.summary.tombstones).sum::<u64>();
    }
    seen
}

#[test]
fn the_workload_does_what_the_gate_is_about() {
    for seed in SEEDS {
        let recorded = record(seed);
        let (images, tally) = (recorded.images.len(), recorded.tally);
        let seen = seen(&recorded);
        println!("seed {seed}: {images} moments, {tally:?}, {seen:?}");
        assert!(recorded.states.len() > 200, "seed {seed}: {} entries", recorded.states.len());
        assert!(tally.compactions > 50 && tally.reopenings > 2, "seed {seed}: {tally:?}");
        assert!(tally.merge_steps > 20, "seed {seed}: {tally:?}");
        assert!(seen.segments_purged > 20, "seed {seed}: {seen:?}");
        assert!(seen.tables > 80 && seen.tables_removed > 60, "seed {seed}: {seen:?}");
        assert!(seen.manifests > 80 && seen.merging > 10, "seed {seed}: {seen:?}");
        assert!(seen.merging_several > 0 && seen.runs_max > 4, "seed {seed}: {seen:?}");
        assert!(seen.tables_of_run_max > 2 && seen.tombstones > 20, "seed {seed}: {seen:?}");
    }
}
