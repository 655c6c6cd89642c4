//! Tables through the public surface: what they hold, what they cost, what happens when one is
//! damaged (rows S9 to S11, S15 to S17 and S20 of `docs/testing.md`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hightower_kv::config::Compression;
use hightower_kv::config::MEMORY_BUDGET_FLOOR;
use hightower_kv::engine::CompactionReport;
use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::env::rng::SeededRng;
use hightower_kv::storage::compaction_plan::RUNS_MAX;
use hightower_kv::{
    Command, Condition, Error, KvEngine, Outcome, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine,
};

use crate::support::{
    Pairs, open_sim, open_sim_with, pairs, real_config, sim_config, within_reason,
};

pub(crate) fn key(n: u64) -> Vec<u8> {
    format!("key/{n:06}").into_bytes()
}

/// Values that no two writes share.
pub(crate) fn value(n: u64, round: u64, len: usize) -> Vec<u8> {
    let rng = SeededRng::new((n << 20) ^ round);
    let mut value = vec![0; len];
    rng.fill_bytes(&mut value);
    value
}

fn table_files(fs: &SimFs) -> Vec<PathBuf> {
    let files = fs.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.extension().is_some_and(|extension| extension == "tbl")).collect()
}

pub(crate) fn directory_bytes(fs: &SimFs) -> u64 {
    fs.files().iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

/// So many rows in memory that a filter says which keys are not among them.
#[test]
fn each_of_many_rows_above_tables_is_found_also_by_whoever_reads_on_and_after_a_kill() {
    const ROWS: u64 = 6_000;
    let fs = SimFs::new(1);
    // Room for all of them: nothing is written to a table by itself.
    let mut config = sim_config();
    config.max_segment_size = 64 << 20;
    let engine = open_sim_with(&fs, &config).unwrap();
    let mut expected = Pairs::new();
    let put = |engine: &SingleNodeEngine, expected: &mut Pairs, rows: &[u64], round| {
        for &n in rows {
            engine.put(key(n), value(n, round, 20)).unwrap();
            expected.insert(key(n), value(n, round, 20));
        }
    };
    let each = |step| (0..ROWS).step_by(step).collect::<Vec<_>>();
    put(&engine, &mut expected, &each(2), 1);
    engine.run_compaction_now().unwrap();
    put(&engine, &mut expected, &each(3), 2);
    assert_eq!(table_files(&fs).len(), 1);
    let (then, expected_then) = (engine.snapshot_state(), expected.clone());
    put(&engine, &mut expected, &each(7), 3);
    let found = |key: &[u8]| engine.get(key).unwrap().map(Vec::from);
    assert!((0..ROWS).all(|n| found(&key(n)) == expected.get(&key(n)).cloned()));
    let found = |key: &[u8]| then.get(key).unwrap().map(Vec::from);
    assert!((0..ROWS).all(|n| found(&key(n)) == expected_then.get(&key(n)).cloned()));
    // As a kill leaves it: the rows behind the tables come from the log.
    engine.flush().unwrap();
    let engine = open_sim_with(&fs.kill(), &config).unwrap();
    let found = |key: &[u8]| engine.get(key).unwrap().map(Vec::from);
    assert!((0..ROWS).all(|n| found(&key(n)) == expected.get(&key(n)).cloned()));
}

#[test]
fn what_was_written_is_read_from_tail_and_tables_alike() {
    for compression in [Compression::Off, Compression::Lz4, Compression::Zstd] {
        let fs = SimFs::new(1);
        let mut config = sim_config();
        config.compression = compression;
        config.max_segment_size = 64 << 10;
        let mut expected = Pairs::new();
        let engine = open_sim_with(&fs, &config).unwrap();
        for round in 0..6 {
            for n in (round * 40..round * 40 + 120).step_by(usize::try_from(round).unwrap() + 1) {
                // Some larger than a block, some empty, some that compress.
                let bytes = match n % 10 {
                    0 => value(n, round, 20_000),
                    1 => Vec::new(),
                    2 => vec![b'x'; 3000],
                    _ => value(n, round, 100),
                };
                engine.put(key(n), bytes.clone()).unwrap();
                expected.insert(key(n), bytes);
            }
            for n in (0..200).step_by(17) {
                engine.delete(key(n)).unwrap();
                expected.remove(&key(n));
            }
            if round % 2 == 0 {
                engine.run_compaction_now().unwrap();
            }
            assert!(pairs(&engine.snapshot_state()) == expected);
        }
        for n in 0..400 {
            let found = engine.get(&key(n)).unwrap().map(Vec::from);
            assert_eq!(found, expected.get(&key(n)).cloned());
            assert_eq!(engine.contains(&key(n)).unwrap(), expected.contains_key(&key(n)));
        }
        let version = engine.latest_version();
        engine.close().unwrap();
        let reader =
            ReadOnlyEngine::open_in(Env::simulated_on(fs.clone(), 3).env, "/data".as_ref())
                .unwrap();
        assert!(pairs(reader.view()) == expected);
        assert_eq!(reader.view().version(), Some(version));
    }
}

#[test]
fn conditions_and_outcomes_look_into_tables() {
    let fs = SimFs::new(1);
    let engine = open_sim(&fs).unwrap();
    let first = engine.put(b"k".to_vec(), b"v".to_vec()).unwrap();
    engine.put(b"other".to_vec(), b"w".to_vec()).unwrap();
    engine.run_compaction_now().unwrap();
    let again = engine.put(b"k".to_vec(), b"v".to_vec()).unwrap();
    assert_eq!((again.outcome, again.version), (Outcome::Unchanged, first.version));
    assert_eq!(again.timestamp, first.timestamp);
    let swap = |condition| engine.compare_and_set(b"k".to_vec(), condition, b"x".to_vec()).unwrap();
    assert!(!swap(Condition::Absent).is_applied());
    assert!(!swap(Condition::ValueEquals("w".into())).is_applied());
    assert!(swap(Condition::VersionEquals(first.version)).is_applied());
    assert_eq!(engine.delete(b"other".to_vec()).unwrap().outcome, Outcome::Removed { keys: 1 });
    assert_eq!(engine.delete(b"other".to_vec()).unwrap().outcome, Outcome::NotFound);
    assert!(!engine.contains(b"other").unwrap());
    assert_eq!(engine.len().unwrap(), 1);
    engine.run_compaction_now().unwrap();
    let gone = engine.submit(Command::delete_prefix("")).unwrap();
    assert_eq!(gone.outcome, Outcome::Removed { keys: 1 });
    assert!(engine.is_empty().unwrap());
    assert_eq!(engine.stats().live_bytes, 0);
    let report = engine.run_compaction_now().unwrap();
    assert_eq!((report.tables, report.table_bytes), (0, 0), "nothing is left of it");
}

#[test]
fn what_was_hot_is_gone_when_it_is_removed_with_many() {
    // Less memory than rows: those that are read often are kept apart.
    let mut config = sim_config();
    config.memory_budget = 4 * MEMORY_BUDGET_FLOOR;
    let engine = open_sim_with(&SimFs::new(1), &config).unwrap();
    for n in 0..30_000 {
        engine.put(key(n), value(n, 0, 100)).unwrap();
    }
    engine.run_compaction_now().unwrap();
    for n in (0..30_000).chain(100..110).chain(100..110) {
        assert!(engine.get(&key(n)).unwrap().is_some());
    }
    let view = engine.snapshot_state();
    let gone = engine.submit(Command::delete_prefix("key/0001")).unwrap();
    assert_eq!(gone.outcome, Outcome::Removed { keys: 100 });
    engine.put(key(107), b"anew".to_vec()).unwrap();
    for compactions in 0..3 {
        for n in 99..202 {
            let expected = match n {
                107 => Some(b"anew".to_vec()),
                100..200 => None,
                _ => Some(value(n, 0, 100)),
            };
            let found = engine.get(&key(n)).unwrap().map(Vec::from);
            assert!(found == expected, "{n} {compactions}");
        }
        engine.run_compaction_now().unwrap();
    }
    assert_eq!(pairs(&view).len(), 30_000);
}

#[test]
fn a_clean_close_leaves_nothing_to_replay_and_opening_reads_no_values() {
    let fs = SimFs::new(1);
    let mut config = sim_config();
    config.max_segment_size = 8 << 20;
    let engine = open_sim_with(&fs, &config).unwrap();
    for n in 0..500 {
        engine.put(key(n), value(n, 0, 4000)).unwrap();
    }
    engine.close().unwrap();
    let in_tables: u64 =
        table_files(&fs).iter().map(|path| fs.read_file(path).unwrap().len() as u64).sum();
    assert!(in_tables > 2_000_000, "{in_tables}");
    assert!(directory_bytes(&fs) < in_tables + 20_000, "the log is gone");
    let engine = open_sim_with(&fs, &config).unwrap();
    let stats = engine.stats();
    assert_eq!((stats.keys, stats.tail_bytes), (500, 0));
    assert!(stats.cache_bytes < 50_000, "{} bytes are in memory", stats.cache_bytes);
    assert_eq!(engine.get(&key(77)).unwrap().unwrap(), value(77, 0, 4000));
}

#[test]
fn a_close_merges_what_is_small_and_worth_it_and_leaves_the_rest() {
    let runs_after_close = |rows: u64, len: usize| {
        let fs = SimFs::new(1);
        let mut config = sim_config();
        config.max_segment_size = 1 << 20;
        config.fsync_interval = Duration::from_hours(1);
        let engine = open_sim_with(&fs, &config).unwrap();
        for n in 0..rows {
            engine.put(key(n * 7919 % rows), value(n, 0, len)).unwrap();
        }
        let before = engine.stats().runs;
        engine.close().unwrap();
        let engine = open_sim_with(&fs, &config).unwrap();
        assert_eq!(engine.len().unwrap() as u64, rows);
        (before, engine.stats().runs)
    };
    let (before, after) = runs_after_close(2000, 800);
    assert!(before > 1 && after == 1, "{before} runs, then {after}");
    // Too little for reads to gain: the close only adds the run of its tail.
    let (before, after) = runs_after_close(1000, 800);
    assert!(before > 1 && after == before + 1, "{before} runs, then {after}");
}

/// Whether writers went on during a compaction. The tail as it was when this began has at most
/// 32 KiB of log, which is when writers wait: two hundred rows.
fn is_beside_a_writer(report: &CompactionReport) -> bool {
    report.rows_written > 800
}

#[test]
fn writers_do_not_wait_for_the_end_of_a_merge() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = real_config(&directory.path().join("data"));
    config.fsync_interval = Duration::from_millis(20);
    config.worker_threads = 1;
    let engine = SingleNodeEngine::with_config(config).unwrap();
    for n in 0..15_000 {
        engine.put(key(n), value(n, 0, 100)).unwrap();
    }
    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(15_000));
    let reports = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                let n = written.load(Ordering::Acquire);
                engine.put(key(n), value(n, 0, 100)).unwrap();
                written.store(n + 1, Ordering::Release);
            }
        });
        // A busy machine may not let the writer run during a compaction, so there are several.
        let mut reports = Vec::new();
        within_reason(|| {
            while reports.len() < 10 && !reports.iter().any(is_beside_a_writer) {
                let before = written.load(Ordering::Acquire);
                while written.load(Ordering::Acquire) == before {
                    std::thread::yield_now();
                }
                reports.push(engine.run_compaction_now().unwrap());
            }
        });
        is_over.store(true, Ordering::Release);
        reports
    });
    assert!(reports.iter().any(is_beside_a_writer), "{reports:?}");
    assert_eq!(pairs(&engine.snapshot_state()).len() as u64, written.into_inner());
    engine.close().unwrap();
}

#[test]
fn what_compactions_beside_writers_have_left_is_merged_when_these_rest() {
    for worker_threads in [1, 0] {
        let directory = tempfile::tempdir().unwrap();
        let mut config = real_config(&directory.path().join("data"));
        config.fsync_interval = Duration::from_hours(1);
        config.compaction_interval = Duration::ZERO;
        config.worker_threads = worker_threads;
        let engine = SingleNodeEngine::with_config(config).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let engine = &engine;
                scope.spawn(move || {
                    for n in 0..20_000 {
                        engine.put(key(2 * n + writer), value(n, 0, 100)).unwrap();
                    }
                });
            }
        });
        // One more write, where nobody else does what is due.
        engine.put(key(0), value(0, 1, 100)).unwrap();
        within_reason(|| {
            while engine.stats().runs > RUNS_MAX {
                assert!(worker_threads > 0, "{:?}", engine.stats());
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        engine.close().unwrap();
    }
}

#[test]
fn readers_see_one_state_each_across_thousands_of_compactions() {
    let fs = SimFs::new(1);
    let mut config = sim_config();
    config.compaction_threshold = 0;
    config.fsync_interval = Duration::from_hours(1);
    let engine = open_sim_with(&fs, &config).unwrap();
    let done = AtomicBool::new(false);
    let all = |round: u64| {
        Command::batch((0..8).map(|n| Command::set(key(n), round.to_le_bytes().to_vec())))
    };
    engine.submit(all(0)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let view = engine.snapshot_state();
                    let first = view.get(&key(0)).unwrap().unwrap();
                    let round = u64::from_le_bytes(first.as_bytes().try_into().unwrap());
                    assert!(round >= last, "the state went back");
                    last = round;
                    for n in 0..8 {
                        assert_eq!(view.get(&key(n)).unwrap().unwrap(), first);
                    }
                    let rows: Vec<_> = view.iter().map(|row| row.unwrap().1).collect();
                    assert!(rows.len() == 8 && rows.iter().all(|value| *value == first));
                    let now = engine.get(&key(3)).unwrap().unwrap();
                    let now = u64::from_le_bytes(now.as_bytes().try_into().unwrap());
                    assert!(now >= round, "a read went back");
                }
            });
        }
        let mut compactions = 0;
        let mut round = 0;
        let mut snapshot = None;
        while compactions < 10_000 {
            round += 1;
            engine.submit(all(round)).unwrap();
            let now = engine.stats().snapshot_version;
            compactions += u32::from(now != snapshot);
            snapshot = now;
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A store with a table in which one bit is wrong, and the table's path.
fn damaged() -> (SimFs, SingleNodeEngine, PathBuf) {
    let fs = SimFs::new(1);
    let mut config = sim_config();
    config.max_segment_size = 1 << 20;
    let engine = open_sim_with(&fs, &config).unwrap();
    for n in 0..200 {
        engine.put(key(n), value(n, 0, 500)).unwrap();
    }
    engine.close().unwrap();
    let [table] = <[PathBuf; 1]>::try_from(table_files(&fs)).unwrap();
    // In the middle of the rows.
    fs.flip_bit(&table, 8 * 50_000 + 3).unwrap();
    (fs.clone(), open_sim_with(&fs, &config).unwrap(), table)
}

fn names(error: &Error, table: &Path) -> bool {
    matches!(error, Error::Corrupt(_)) && error.to_string().contains(&*table.to_string_lossy())
}

#[test]
fn a_damaged_block_is_named_when_it_is_read_and_harms_nothing_else() {
    let (fs, engine, table) = damaged();
    let mut unreadable = Vec::new();
    for n in 0..200 {
        match engine.get(&key(n)) {
            Ok(found) => assert_eq!(found.unwrap(), value(n, 0, 500)),
            Err(error) => {
                assert!(names(&error, &table), "{error}");
                unreadable.push(n);
            }
        }
    }
    assert!((1..20).contains(&unreadable.len()), "{unreadable:?}");
    let bad = unreadable[0];
    // What needs the damaged rows is refused before it is proposed; nothing else is.
    let before = engine.latest_version();
    for refused in [
        Command::set(key(bad), "x"),
        Command::delete(key(bad)),
        Command::delete_prefix("key/"),
        Command::batch([Command::set("new", "x"), Command::set(key(bad), "x")]),
    ] {
        let error = engine.submit(refused).unwrap_err();
        assert!(names(&error, &table), "{error}");
    }
    assert_eq!(engine.latest_version(), before, "nothing got into the log");
    assert!(!engine.contains(b"new").unwrap());
    engine.put(key(199), b"y".to_vec()).unwrap();
    engine.put(b"new".to_vec(), b"z".to_vec()).unwrap();
    // A scan gives the rows before the damage, then says what is wrong, once.
    let mut rows = engine.scan::<&[u8], _>(..).unwrap();
    for n in 0..bad {
        assert_eq!(rows.next().unwrap().unwrap().0, key(n));
    }
    assert!(names(&rows.next().unwrap().unwrap_err().into(), &table));
    assert!(rows.next().is_none());
    // One that lends its rows tells it each time, and never shows what stands below the damage.
    engine.read_with(|view| {
        let mut rows = view.cursor_prefix(b"key/").unwrap();
        while let Ok(row) = rows.next() {
            assert!(row.is_some(), "it ends with the damage");
        }
        for _ in 0..3 {
            assert!(names(&rows.next().unwrap_err().into(), &table));
        }
    });
    // A merge needs every row, and fails; writes go on, and everything readable stays.
    assert!(names(&engine.run_compaction_now().unwrap_err(), &table));
    engine.put(b"after".to_vec(), b"z".to_vec()).unwrap();
    engine.close().unwrap();
    let engine = open_sim(&fs).unwrap();
    assert_eq!(engine.get(&key(199)).unwrap().unwrap(), "y");
    assert_eq!(engine.get(b"after").unwrap().unwrap(), "z");
    assert!(names(&engine.get(&key(bad)).unwrap_err(), &table));
}

#[test]
fn a_failing_compaction_fails_no_write_and_is_tried_again() {
    // Fails each operation of the disk in turn, from a write that is followed by a compaction on.
    let mut failed_at_least_once = false;
    for operation in 0..60 {
        let fs = SimFs::new(1);
        let mut config = sim_config();
        config.fsync_interval = Duration::from_hours(1);
        let (env, clock) = {
            let sim = Env::simulated_on(fs.clone(), 5);
            (sim.env, sim.clock)
        };
        let engine = SingleNodeEngine::with_env(&config, env).unwrap();
        let mut expected = BTreeMap::new();
        let mut write = |engine: &SingleNodeEngine, n: u64| {
            engine.put(key(n), value(n, 0, 100)).map(|_| {
                expected.insert(key(n), value(n, 0, 100));
            })
        };
        for n in 0..8 {
            write(&engine, n).unwrap();
        }
        fs.fail_operation(
            fs.operations() + operation,
            hightower_kv::env::fs_sim::SimError::NoSpace,
        );
        let mut poisoned = false;
        for n in 8..40 {
            match write(&engine, n) {
                Ok(()) => {}
                Err(Error::DiskFull(_)) => failed_at_least_once = true,
                Err(error) => {
                    poisoned = true;
                    assert!(matches!(error, Error::Poisoned { .. } | Error::OutcomeUnknown { .. }));
                }
            }
        }
        if !poisoned {
            clock.advance(Duration::from_mins(10));
            engine.put(b"last".to_vec(), Vec::new()).unwrap();
            expected.insert(b"last".to_vec(), Vec::new());
            assert!(engine.stats().snapshot_version.is_some(), "operation {operation}");
            assert!(pairs(&engine.snapshot_state()) == expected, "operation {operation}");
        }
    }
    assert!(failed_at_least_once);
}

#[test]
fn a_small_budget_bounds_what_is_kept_in_memory() {
    let fs = SimFs::new(1);
    let mut config = sim_config();
    config.max_segment_size = 16 << 20;
    config.memory_budget = 1 << 20;
    config.fsync_interval = Duration::from_hours(1);
    let engine = open_sim_with(&fs, &config).unwrap();
    let rng = SeededRng::new(3);
    for n in 0..20_000 {
        engine.put(key(n), value(n, 0, 300)).unwrap();
        let stats = engine.stats();
        assert!(stats.tail_bytes <= config.memory_budget / 2, "{} in the tail", stats.tail_bytes);
        if n % 16 == 0 {
            let wanted = rng.up_to(n);
            assert_eq!(engine.get(&key(wanted)).unwrap().unwrap(), value(wanted, 0, 300));
        }
        let stats = engine.stats();
        let kept = stats.tail_bytes + stats.cache_bytes;
        assert!(kept <= config.memory_budget + (64 << 10), "{kept} bytes at {n}");
    }
    assert!(engine.stats().table_bytes > 6_000_000);
}
