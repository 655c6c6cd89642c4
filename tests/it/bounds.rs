//! How much room a directory takes while its store is written to: at any moment at most twice what
//! is live and three segments.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::env::rng::SeededRng;
use hightower_kv::{Command, KvEngine, SingleNodeEngine, StoreConfig};
use parking_lot::RwLock;

use crate::support::{real_config, sim_config};
use crate::tables::{directory_bytes, key, value};

/// Runs steps, and after each holds the directory to its bound.
fn stays_within_bounds(config: &StoreConfig, step: impl FnMut(&SingleNodeEngine, u64)) {
    stays_within_bounds_as_time_goes_by(config, Duration::ZERO, step);
}

/// As [`stays_within_bounds`], with so much time before each step: stamps that differ take room.
fn stays_within_bounds_as_time_goes_by(
    config: &StoreConfig,
    pause: Duration,
    mut step: impl FnMut(&SingleNodeEngine, u64),
) {
    let fs = SimFs::new(1);
    let sim = Env::simulated_on(fs.clone(), 11);
    let engine = SingleNodeEngine::with_env(config, sim.env).unwrap();
    for round in 0..10_000 {
        sim.clock.advance(pause);
        step(&engine, round);
        if round % 16 == 0 {
            let (bytes, live) = (directory_bytes(&fs), engine.stats().live_bytes);
            let most = 2 * live + 3 * config.max_segment_size + config.disk_reserve;
            assert!(bytes <= most, "round {round}: {bytes} bytes for {live} live ones");
        }
    }
}

fn bounded_config() -> StoreConfig {
    let mut config = sim_config();
    config.max_segment_size = 32 << 10;
    config.fsync_interval = Duration::from_secs(1);
    config
}

#[test]
fn overwriting_one_key_stays_within_bounds() {
    stays_within_bounds(&bounded_config(), |engine, round| {
        engine.put(b"k".to_vec(), value(0, round, 200)).unwrap();
    });
}

#[test]
fn alternating_keys_stay_within_bounds() {
    stays_within_bounds(&bounded_config(), |engine, round| {
        engine.put(key(round % 2), value(0, round, 100)).unwrap();
        engine.delete(key(round % 2 + 1)).unwrap();
        // Keys that come, go and never come back.
        engine.put(key(1000 + round), value(0, round, 50)).unwrap();
        engine.delete(key(1000 + round)).unwrap();
    });
}

#[test]
fn filling_and_deleting_everything_stays_within_bounds() {
    stays_within_bounds(&bounded_config(), |engine, round| {
        if round % 2500 == 2499 {
            engine.submit(Command::delete_prefix("")).unwrap();
        } else {
            engine.put(key(round * 7919 % 3000), value(0, round, 120)).unwrap();
        }
    });
}

#[test]
fn tiny_batches_stay_within_bounds() {
    stays_within_bounds(&bounded_config(), |engine, round| {
        let set = |n| Command::set(key((round + n) % 50), round.to_le_bytes().to_vec());
        engine.submit_batch((0..3).map(set).collect()).unwrap();
    });
}

#[test]
fn random_overwrites_of_much_data_stay_within_bounds() {
    let rng = SeededRng::new(1);
    stays_within_bounds(&bounded_config(), |engine, round| {
        engine.put(key(rng.up_to(4000)), value(0, round, 300)).unwrap();
    });
}

/// In a table each takes more than half as much again as its key and value have.
#[test]
fn random_overwrites_of_small_rows_stay_within_bounds() {
    const KEYS: u64 = 20_000;
    let rng = SeededRng::new(1);
    let row = |n: u64, round: u64| Command::set(format!("{n:08}"), round.to_le_bytes().to_vec());
    let (config, pause) = (bounded_config(), Duration::from_secs(1));
    stays_within_bounds_as_time_goes_by(&config, pause, |engine, round| {
        if round == 0 {
            for first in (0..KEYS).step_by(500) {
                let rows = (first..first + 500).map(|n| row(n, round)).collect();
                engine.submit_batch(rows).unwrap();
            }
        }
        for _ in 0..4 {
            engine.submit(row(rng.up_to(KEYS - 1), round)).unwrap();
        }
    });
}

/// Of a store on a real disk that compacts in the background, and syncs by itself only then.
fn background_config(directory: &Path, segment_bytes: u64) -> StoreConfig {
    let mut config = real_config(&directory.join("data"));
    config.max_segment_size = segment_bytes;
    config.fsync_interval = Duration::from_hours(1);
    // A writer that has waited for so long goes on beyond the bound, and a compaction may be slow.
    config.submit_timeout = Duration::from_mins(10);
    config.worker_threads = 1;
    config
}

/// Names and lengths of the files of a store, from a real disk.
fn files_on_disk(data_dir: &Path) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for folder in ["", "log", "tables"] {
        let Ok(files) = std::fs::read_dir(data_dir.join(folder)) else { continue };
        // A file may go while we look.
        for entry in files.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_file() {
                all.push((entry.file_name().to_string_lossy().into_owned(), meta.len()));
            }
        }
    }
    all
}

/// The most that its files have had at one moment.
#[derive(Debug, Default)]
struct MostFiles(Vec<(String, u64)>);

impl MostFiles {
    fn look(&mut self, data_dir: &Path) {
        self.look_and(data_dir, || ());
    }

    /// Calls `between` at a moment at which all that is counted is there.
    fn look_and<T>(&mut self, data_dir: &Path, between: impl FnOnce() -> T) -> T {
        // What is in both lists was there at the same time, and no file was longer then than it is
        // in both: one may grow, or be cut, between the two looks.
        let first: BTreeMap<_, _> = files_on_disk(data_dir).into_iter().collect();
        let there = between();
        let mut files = files_on_disk(data_dir);
        files.retain_mut(|(name, bytes)| {
            first.get(name).is_some_and(|before| {
                *bytes = (*bytes).min(*before);
                true
            })
        });
        let sum = |files: &[(String, u64)]| files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        if sum(&files) > sum(&self.0) {
            self.0 = files;
        }
        there
    }

    fn check(&self, live_bytes: u64, config: &StoreConfig) {
        let bytes: u64 = self.0.iter().map(|(_, bytes)| bytes).sum();
        let most = 2 * live_bytes + 3 * config.max_segment_size;
        assert!(bytes <= most, "{live_bytes} bytes are live, and {bytes} were there: {self:?}");
    }
}

#[test]
fn the_directory_of_a_busy_store_with_threads_stays_within_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = real_config(&directory.path().join("data"));
    config.max_segment_size = 1 << 20;
    config.fsync_interval = Duration::from_millis(20);
    // A writer that has waited for so long goes on beyond the bound, and a compaction may be slow.
    config.submit_timeout = Duration::from_mins(10);
    config.worker_threads = 2;
    let engine = SingleNodeEngine::with_config(config.clone()).unwrap();
    let mut most = MostFiles::default();
    for round in 0..60_000_u64 {
        engine.put(key(round % 100), value(0, round, 100)).unwrap();
        if round % 64 == 0 {
            most.look(&config.data_dir);
        }
    }
    most.check(engine.stats().live_bytes, &config);
    engine.close().unwrap();
}

/// Batches of small rows come faster than a merge of everything writes them.
#[test]
fn the_directory_stays_within_bounds_beside_merges_that_writers_outrun() {
    const KEYS: u64 = 400_000;
    const BATCH: u64 = 4_000;
    let directory = tempfile::tempdir().unwrap();
    let mut config = real_config(&directory.path().join("data"));
    config.max_segment_size = 1 << 20;
    config.fsync_interval = Duration::from_hours(1);
    config.submit_timeout = Duration::from_mins(10);
    config.worker_threads = 2;
    let engine = SingleNodeEngine::with_config(config.clone()).unwrap();
    let row = |n: u64, round: u64| {
        Command::set(format!("{n:08}"), [round.to_le_bytes(), n.to_le_bytes()].concat())
    };
    let batch = |first: u64, round| {
        let rows = (first..first + BATCH).map(|n| row(n * 7919 % KEYS, round));
        engine.submit_batch(rows.collect()).unwrap();
    };
    for first in (0..KEYS).step_by(4_000) {
        batch(first, 0);
    }
    let is_over = AtomicBool::new(false);
    let mut most = MostFiles::default();
    std::thread::scope(|scope| {
        for writer in 1..3 {
            let (is_over, batch) = (&is_over, &batch);
            scope.spawn(move || {
                for round in 0..250 {
                    batch(round * writer * BATCH % KEYS, round);
                }
                is_over.store(true, Ordering::Release);
            });
        }
        while !is_over.load(Ordering::Acquire) {
            most.look(&config.data_dir);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    most.check(engine.stats().live_bytes, &config);
    engine.close().unwrap();
}

/// Deletes are short, and what they remove is on disk until it was merged away. Of short segments
/// beside much that is live, the manifest may not list too many tables.
#[test]
fn the_directory_stays_within_bounds_beside_deletes_that_merges_cannot_keep_pace_with() {
    for (segment_kib, rows, len, batch) in [
        (256, 20_000, 100, None),
        // In the log these are half as long again.
        (256, 20_000, 100, Some(1)),
        (64, 10_000, 100, Some(1)),
        (256, 6_000, 1_000, None),
        (256, 6_000, 1_000, Some(250)),
        (256, 1_000, 10_000, None),
        (16, 1_500, 1_000, None),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let config = background_config(directory.path(), segment_kib << 10);
        let engine = SingleNodeEngine::with_config(config.clone()).unwrap();
        for n in 0..rows {
            engine.put(key(n), value(n, 0, len)).unwrap();
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let count = batch.unwrap_or(1);
                for first in (0..rows).step_by(count) {
                    let mut keys = (first..first + count as u64).map(|n| key(n * 7919 % rows));
                    if batch.is_none() {
                        engine.delete(keys.next().unwrap()).unwrap();
                    } else {
                        engine.submit_batch(keys.map(Command::delete).collect()).unwrap();
                    }
                }
                is_over.store(true, Ordering::Release);
            });
            while !is_over.load(Ordering::Acquire) {
                // What was live before a look is the most that was while it took.
                let live = engine.stats().live_bytes;
                let mut files = MostFiles::default();
                files.look(&config.data_dir);
                files.check(live, &config);
            }
        });
        engine.close().unwrap();
    }
}

/// Of entries nearly as long as a segment each passes any mark by its length: see
/// `engine::admission`.
#[test]
fn the_directory_stays_within_bounds_where_entries_are_long() {
    const SEGMENT: u64 = 256 << 10;
    for (writers, percent) in [(1, 95), (1, 50), (3, 95), (3, 50)] {
        let len = SEGMENT * percent / 100;
        let directory = tempfile::tempdir().unwrap();
        let config = background_config(directory.path(), SEGMENT);
        let engine = SingleNodeEngine::with_config(config.clone()).unwrap();
        let left = AtomicUsize::new(writers);
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let (engine, left) = (&engine, &left);
                scope.spawn(move || {
                    let rng = SeededRng::new(writer as u64);
                    let long = |round, len| value(0, round, usize::try_from(len).unwrap());
                    for round in 0..300 / writers as u64 {
                        match rng.up_to(5) {
                            0..2 => engine.delete(key(rng.up_to(3))).map(drop),
                            2 => engine.put(key(rng.up_to(3)), long(round, len)).map(drop),
                            3 => {
                                let shorter = long(round, rng.up_to(len));
                                engine.put(key(rng.up_to(3)), shorter).map(drop)
                            }
                            _ => engine.put(key(100 + rng.up_to(50)), vec![0; 100]).map(drop),
                        }
                        .unwrap();
                    }
                    left.fetch_sub(1, Ordering::Release);
                });
            }
            while left.load(Ordering::Acquire) > 0 {
                let mut files = MostFiles::default();
                let live = files.look_and(&config.data_dir, || engine.stats().live_bytes);
                files.check(live, &config);
            }
        });
        engine.close().unwrap();
    }
}

/// Such an entry has a segment of its own, which the next one lies behind.
#[test]
fn an_entry_longer_than_a_segment_is_gone_from_the_log_with_the_rest_that_tables_have() {
    let config = bounded_config();
    let fs = SimFs::new(1);
    let sim = Env::simulated_on(fs.clone(), 11);
    let engine = SingleNodeEngine::with_env(&config, sim.env).unwrap();
    for round in 0..50 {
        engine.put(key(round), value(0, round, 100)).unwrap();
        let deletes = (0..20_000).map(|n| Command::delete(key(n)));
        engine.submit_batch(deletes.collect()).unwrap();
        let bytes = directory_bytes(&fs);
        let most = 3 * config.max_segment_size + config.disk_reserve;
        assert!(bytes <= most, "round {round}: {bytes} bytes, and nothing is live");
    }
}

/// Removes all rows at once.
type Removal = fn(&Arc<SingleNodeEngine>);

/// What they remove is on disk until it was merged away: they return when it was.
#[test]
fn who_has_removed_much_finds_the_directory_within_its_bound() {
    const ROWS: u64 = 20_000;
    let removals: [Removal; 5] = [
        |engine| _ = engine.submit(Command::delete_prefix("")).unwrap(),
        |engine| {
            let keys = engine.get_prefix(b"").unwrap().into_iter();
            engine.submit_batch(keys.map(|(key, _)| Command::delete(key)).collect()).unwrap();
        },
        |engine| {
            let prefixes = (b'0'..=b'9').map(|digit| Command::delete_prefix(vec![digit]));
            engine.submit_batch(prefixes.collect()).unwrap();
        },
        |engine| {
            let session = engine.session().unwrap();
            session.submit(&Command::delete_prefix("")).unwrap();
        },
        |engine| {
            let lease = engine.lease(Duration::from_hours(1)).unwrap();
            for (key, _) in engine.get_prefix(b"").unwrap() {
                lease.attach(key.to_vec()).unwrap();
            }
            lease.revoke().unwrap();
        },
    ];
    for remove in removals {
        let directory = tempfile::tempdir().unwrap();
        let config = background_config(directory.path(), 64 << 10);
        let engine = Arc::new(SingleNodeEngine::with_config(config.clone()).unwrap());
        for n in 0..ROWS {
            engine.put(format!("{}{n}", n % 10).into(), value(n, 0, 100)).unwrap();
        }
        remove(&engine);
        let live = engine.stats().live_bytes;
        let mut files = MostFiles::default();
        files.look(&config.data_dir);
        files.check(live, &config);
    }
}

/// What removals leave must not add up with what other writes do, and rows that are just not long
/// must not with those of other threads.
#[test]
fn the_directory_stays_within_bounds_behind_removals_of_much() {
    for (segment_kib, keys, long) in
        [(64, 300, 2_000), (64, 30, 8_000), (64, 30, 16_000), (16, 30, 200)]
    {
        stays_within_bounds_behind_removals(segment_kib << 10, keys, long);
    }
}

/// Ten prefixes with so many keys each.
fn stays_within_bounds_behind_removals(segment_bytes: u64, keys: u64, long: u64) {
    const WRITERS: usize = 3;
    let directory = tempfile::tempdir().unwrap();
    let config = background_config(directory.path(), segment_bytes);
    let engine = SingleNodeEngine::with_config(config.clone()).unwrap();
    let left = AtomicUsize::new(WRITERS);
    // Shared by who removes, so that nobody looks while what is removed cannot be gone yet.
    let removing = RwLock::new(());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (engine, left, removing) = (&engine, &left, &removing);
            scope.spawn(move || {
                let rng = SeededRng::new(writer as u64);
                let key = || format!("{}{}", rng.up_to(9), rng.up_to(keys)).into_bytes();
                for round in 0..10_000_u64 {
                    let most = if rng.up_to(7) == 0 { long } else { 100 };
                    let len = usize::try_from(rng.up_to(most)).unwrap();
                    match rng.up_to(99) {
                        0 => {
                            let _removing = removing.read();
                            let digit = round.is_multiple_of(2).then(|| rng.up_to(9).to_string());
                            let prefix = Command::delete_prefix(digit.unwrap_or_default());
                            engine.submit(prefix).map(drop)
                        }
                        1..20 => engine.delete(key()).map(drop),
                        _ => engine.put(key(), value(0, round, len)).map(drop),
                    }
                    .unwrap();
                }
                left.fetch_sub(1, Ordering::Release);
            });
        }
        while left.load(Ordering::Acquire) > 0 {
            let _nobody_removes = removing.write();
            let mut files = MostFiles::default();
            let stats = files.look_and(&config.data_dir, || engine.stats());
            files.check(stats.live_bytes.max(20 * stats.keys as u64), &config);
        }
    });
    engine.close().unwrap();
}

/// All at once, a part with each entry: merges keep pace with that.
#[test]
fn the_directory_stays_within_bounds_while_what_is_due_is_removed() {
    for (segment_kib, rows, len) in [(64, 10_000, 100), (256, 3_000, 1_000), (256, 500, 10_000)] {
        let directory = tempfile::tempdir().unwrap();
        let config = background_config(directory.path(), segment_kib << 10);
        let engine = SingleNodeEngine::with_config(config.clone()).unwrap();
        let clock = &engine.env().clock;
        let due = clock.elapsed() + Duration::from_secs(1);
        for n in 0..rows {
            let ttl = due.saturating_sub(clock.elapsed()).max(Duration::from_millis(1));
            engine.put_with_ttl(key(n), value(n, 0, len), ttl).unwrap();
        }
        let mut looks = 0;
        loop {
            let mut files = MostFiles::default();
            let stats = files.look_and(&config.data_dir, || engine.stats());
            files.check(stats.live_bytes, &config);
            if stats.keys == 0 {
                break;
            }
            looks += u32::from((stats.keys as u64) < rows);
            std::thread::sleep(Duration::from_micros(200));
        }
        assert!(looks > 0, "{len}: nobody has looked while rows went");
    }
}
