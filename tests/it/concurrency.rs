//! Many threads on one store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use hightower_kv::env::fs::Fs;
use hightower_kv::env::fs_sim::{PowerCut, SimFs};
use hightower_kv::{
    Command, Condition, Error, Guard, KvEngine, SingleNodeEngine, SnapshotEngine, StoreConfig,
};
use parking_lot::Mutex;

use crate::support::{HANGS_AFTER, open_sim, open_sim_with, sim_config, within_reason};

const THREADS: u64 = 8;

fn config(workers: usize) -> StoreConfig {
    let mut config = sim_config();
    config.max_segment_size = 64 << 10;
    config.compaction_threshold = 32 << 10;
    config.worker_threads = workers;
    config
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

/// Adds one by compare and set, until it holds.
fn increment(engine: &SingleNodeEngine, key: &[u8]) {
    loop {
        let found = engine.get_versioned(key).unwrap();
        let (condition, next) = match found {
            None => (Condition::Absent, 1),
            Some(found) => (Condition::VersionEquals(found.version), number(&found.value) + 1),
        };
        let value = next.to_le_bytes().to_vec();
        if engine.compare_and_set(key.to_vec(), condition, value).unwrap().is_applied() {
            return;
        }
    }
}

#[test]
fn each_increment_of_many_threads_counts_exactly_once() {
    for workers in [0, 2] {
        let fs = SimFs::new(1);
        let engine = open_sim_with(&fs, &config(workers)).unwrap();
        within_reason(|| {
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let engine = &engine;
                    scope.spawn(move || {
                        for count in 0..300_u64 {
                            increment(engine, if (count + thread) % 2 == 0 { b"a" } else { b"b" });
                        }
                    });
                }
            });
        });
        let sum = |engine: &SingleNodeEngine| {
            [b"a", b"b"].map(|key| number(&engine.get(key).unwrap().unwrap())).iter().sum::<u64>()
        };
        assert_eq!(sum(&engine), THREADS * 300);
        engine.close().unwrap();
        assert_eq!(sum(&open_sim(&fs).unwrap()), THREADS * 300);
    }
}

#[test]
fn readers_see_versions_go_up_and_batches_whole() {
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, &config(2)).unwrap();
    let done = AtomicBool::new(false);
    within_reason(|| {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut last = engine.latest_version();
                    while !done.load(Ordering::Relaxed) {
                        let view = engine.snapshot_state();
                        assert!(view.version().unwrap() >= last, "the state went back");
                        last = view.version().unwrap();
                        let all: Vec<_> = view.prefix(b"pair/").map(Result::unwrap).collect();
                        let mut values = all.iter().map(|(_, value)| value.to_vec());
                        let first = values.next();
                        assert!(values.all(|value| Some(value) == first), "half a batch");
                        assert!(all.is_empty() || all.len() == 4);
                    }
                });
            }
            for round in 0..2_000_u64 {
                let value = round.to_le_bytes().to_vec();
                let set = |key: u8| Command::set([b"pair/", &[key][..]].concat(), value.clone());
                let commands = if round % 50 == 49 {
                    vec![Command::delete_prefix("pair/")]
                } else {
                    (0..4).map(set).collect()
                };
                engine.submit_batch(commands).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn what_one_caller_hands_in_is_committed_and_answered_in_order() {
    for workers in [0, 1, 3] {
        let fs = SimFs::new(1);
        let engine = open_sim_with(&fs, &config(workers)).unwrap();
        let (tell, told) = mpsc::channel();
        for count in 0..500_u64 {
            let tell = tell.clone();
            let command = Command::set("k", count.to_le_bytes().to_vec());
            let callback = move |result: hightower_kv::Result<hightower_kv::ApplyOutcome>| {
                tell.send((count, result.unwrap().version)).unwrap();
            };
            engine.submit_with(command, Box::new(callback));
        }
        let mut last = None;
        for count in 0..500 {
            let (answered, version) = told.recv_timeout(HANGS_AFTER).unwrap();
            assert_eq!(answered, count);
            assert!(Some(version) > last);
            last = Some(version);
        }
        assert_eq!(number(&engine.get(b"k").unwrap().unwrap()), 499);
    }
}

#[test]
fn a_submission_that_is_dropped_is_committed_all_the_same() {
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, &config(1)).unwrap();
    for count in 0..200_u64 {
        drop(engine.submit_async(Command::set("k", count.to_le_bytes().to_vec())));
    }
    // Behind all of them in the queue.
    within_reason(|| engine.submit_async(Command::set("last", "x")).wait().unwrap());
    assert_eq!(number(&engine.get(b"k").unwrap().unwrap()), 199);
}

#[test]
fn callers_beyond_the_queue_get_overloaded_and_the_store_goes_on() {
    let fs = SimFs::new(1);
    let mut config = config(1);
    config.queue_commands_max = 2;
    config.submit_timeout = Duration::from_millis(50);
    let engine = open_sim_with(&fs, &config).unwrap();
    // A callback that does not return keeps the worker, and with it the queue.
    let (release, wait) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    let hold = move |_| {
        started.send(()).unwrap();
        wait.recv().unwrap();
    };
    engine.submit_with(Command::set("first", "1"), Box::new(hold));
    has_started.recv_timeout(HANGS_AFTER).unwrap();
    let queued: Vec<_> =
        (0..2).map(|key: u64| engine.submit_async(Command::set(key.to_string(), "q"))).collect();
    let refused = within_reason(|| engine.submit_async(Command::set("more", "m")).wait());
    assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
    release.send(()).unwrap();
    within_reason(|| {
        for submission in queued {
            submission.wait().unwrap();
        }
    });
    engine.put(b"after".to_vec(), b"x".to_vec()).unwrap();
    assert_eq!(engine.get(b"more").unwrap(), None);
}

#[test]
fn a_store_that_is_dropped_under_way_answers_everybody() {
    within_reason(|| {
        for round in 0..20 {
            let fs = SimFs::new(round);
            let engine = Arc::new(open_sim_with(&fs, &config(2)).unwrap());
            let acknowledged = Mutex::new(0_u64);
            std::thread::scope(|scope| {
                for thread in 0..4_u64 {
                    let (engine, acknowledged) = (Arc::clone(&engine), &acknowledged);
                    scope.spawn(move || {
                        let submissions: Vec<_> = (0..50 * (thread + 1))
                            .map(|count| {
                                let key = format!("{thread}/{count}");
                                engine.submit_async(Command::set(key, "v"))
                            })
                            .collect();
                        // The last handle may go while they are under way.
                        drop(engine);
                        for submission in submissions {
                            match submission.wait() {
                                Ok(_) => *acknowledged.lock() += 1,
                                Err(Error::Closed(_)) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    });
                }
                drop(engine);
            });
            let found = open_sim(&fs).unwrap().len().unwrap() as u64;
            assert!(found >= acknowledged.into_inner(), "round {round}");
        }
    });
}

#[test]
fn a_buffered_write_is_synced_by_the_interval_without_another_call() {
    let fs = SimFs::new(1);
    let mut config = config(1);
    config.fsync_interval = Duration::from_millis(1);
    let engine = open_sim_with(&fs, &config).unwrap();
    engine.put(b"k".to_vec(), b"v".to_vec()).unwrap();
    within_reason(|| {
        while engine.stats().unsynced_bytes > 0 {
            std::thread::yield_now();
        }
    });
    let cut = fs.power_cut(PowerCut::Nothing);
    let reopened = open_sim(&cut).unwrap();
    assert_eq!(reopened.get(b"k").unwrap().as_deref(), Some(b"v".as_slice()));
}

#[test]
fn a_view_stays_what_it_is_through_writes_compaction_and_close() {
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, &config(0)).unwrap();
    for key in 0..100_u8 {
        engine.put(vec![key], vec![key; 100]).unwrap();
    }
    let view = engine.snapshot_state();
    let scan = engine.scan::<&[u8], _>(..).unwrap();
    engine.submit(Command::delete_prefix("")).unwrap();
    let compacted = engine.run_compaction_now().unwrap();
    assert_eq!(compacted.rows, 0);
    engine.close().unwrap();
    fs.remove(std::path::Path::new("/data/IDENTITY")).unwrap();
    assert_eq!(view.len(), 100);
    assert!(
        view.iter()
            .map(Result::unwrap)
            .zip(0..100_u8)
            .all(|((key, value), n)| *key == [n] && value == vec![n; 100])
    );
    assert_eq!(scan.count(), 100);
}

#[test]
fn a_read_closure_sees_one_state_while_others_write() {
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, &config(1)).unwrap();
    let written = AtomicU64::new(0);
    within_reason(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for count in 0..2_000_u64 {
                    engine.put(b"k".to_vec(), count.to_le_bytes().to_vec()).unwrap();
                    written.store(count + 1, Ordering::Release);
                }
            });
            for _ in 0..200 {
                engine.read_with(|view| {
                    let (first, before) =
                        (view.get(b"k").unwrap(), written.load(Ordering::Acquire));
                    // Long enough for the writer to go on.
                    while before < 2_000 && written.load(Ordering::Acquire) < before + 2 {
                        if written.load(Ordering::Acquire) == 2_000 {
                            break;
                        }
                        std::thread::yield_now();
                    }
                    assert_eq!(view.get(b"k").unwrap(), first);
                });
            }
        });
    });
}

/// A get looks at memory first and at tables then; rows that move from the one into the others in
/// between must be found in one of them, and not as they were before.
#[test]
fn a_get_never_goes_back_while_rows_move_into_tables() {
    const LAST: u64 = 3_000;
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, &config(1)).unwrap();
    let written = AtomicU64::new(0);
    within_reason(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for count in 1..=LAST {
                    engine.put(b"k".to_vec(), count.to_le_bytes().to_vec()).unwrap();
                    written.store(count, Ordering::Release);
                    if count % 16 == 0 {
                        engine.delete(b"gone".to_vec()).unwrap();
                        engine.put(b"other".to_vec(), count.to_le_bytes().to_vec()).unwrap();
                    }
                }
            });
            scope.spawn(|| {
                while written.load(Ordering::Acquire) < LAST {
                    engine.run_compaction_now().unwrap();
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < LAST {
                        let least = written.load(Ordering::Acquire).max(seen);
                        let found = engine.get(b"k").unwrap();
                        seen = found.map_or(0, |value| number(&value));
                        assert!(least <= seen, "{seen} after {least}");
                        assert_eq!(engine.get(b"gone").unwrap(), None);
                    }
                });
            }
        });
    });
}

#[test]
fn writers_go_on_during_compactions_and_nothing_is_lost() {
    let fs = SimFs::new(1);
    let mut config = config(2);
    config.compaction_threshold = 0;
    let engine = open_sim_with(&fs, &config).unwrap();
    within_reason(|| {
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let engine = &engine;
                scope.spawn(move || {
                    for count in 0..400_u64 {
                        let key = format!("{thread}/{}", count % 10).into_bytes();
                        engine.put(key, count.to_le_bytes().to_vec()).unwrap();
                    }
                });
            }
            for _ in 0..20 {
                engine.run_compaction_now().unwrap();
            }
        });
    });
    let expect = |engine: &SingleNodeEngine| {
        for thread in 0..4 {
            for slot in 0..10 {
                let found = engine.get(format!("{thread}/{slot}").as_bytes()).unwrap().unwrap();
                assert_eq!(number(&found), 390 + slot);
            }
        }
    };
    expect(&engine);
    let killed = fs.kill();
    expect(&open_sim(&killed).unwrap());
    expect(&open_sim(&fs.power_cut(PowerCut::random(3))).unwrap());
}

#[test]
fn a_guarded_take_has_one_winner_in_each_round() {
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, &config(2)).unwrap();
    within_reason(|| {
        for round in 0..100_u64 {
            let key = round.to_le_bytes().to_vec();
            let winners = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for thread in 0..4_u8 {
                    let (engine, winners, key) = (&engine, &winners, &key);
                    scope.spawn(move || {
                        let take = Command::guarded(
                            [Guard::absent(key.clone())],
                            [Command::set(key.clone(), vec![thread])],
                        );
                        if engine.submit(take).unwrap().is_applied() {
                            winners.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(winners.into_inner(), 1, "round {round}");
        }
    });
}

/// A callback that waits for another command would wait for the round that it is answered in.
#[test]
fn a_callback_may_hand_in_but_not_wait_and_its_panic_harms_nobody() {
    let fs = SimFs::new(1);
    let engine = Arc::new(open_sim_with(&fs, &config(1)).unwrap());
    let (tell, told) = mpsc::channel();
    let inner = Arc::clone(&engine);
    let first = tell.clone();
    engine.submit_with(
        Command::set("outer", "1"),
        Box::new(move |answer| {
            answer.unwrap();
            let waited = inner.put(b"inner".to_vec(), b"1".to_vec());
            let last = first.clone();
            let handed_in = Command::set("handed in", "1");
            inner.submit_with(handed_in, Box::new(move |answer| last.send(answer).unwrap()));
            first.send(waited).unwrap();
        }),
    );
    let waited = told.recv_timeout(HANGS_AFTER).unwrap();
    assert!(matches!(waited, Err(Error::Validation(_))), "{waited:?}");
    told.recv_timeout(HANGS_AFTER).unwrap().unwrap();
    engine.submit_with(
        Command::set("loud", "1"),
        Box::new(move |answer| {
            tell.send(answer).unwrap();
            panic!("as planned");
        }),
    );
    told.recv_timeout(HANGS_AFTER).unwrap().unwrap();
    engine.put(b"after".to_vec(), b"1".to_vec()).unwrap();
    let keys = ["after", "handed in", "loud", "outer"];
    assert!(keys.iter().all(|key| engine.contains(key.as_bytes()).unwrap()));
    assert!(!engine.contains(b"inner").unwrap());
}

#[test]
fn writes_that_are_not_worth_a_compaction_cause_no_syncs() {
    let fs = SimFs::new(1);
    let mut config = config(1);
    config.max_segment_size = 4 << 20;
    config.compaction_threshold = 1 << 30;
    config.compaction_interval = Duration::ZERO;
    config.fsync_interval = Duration::from_hours(1);
    let engine = open_sim_with(&fs, &config).unwrap();
    let before = fs.syncs();
    for count in 0..4000_u64 {
        engine.put(b"counter".to_vec(), count.to_le_bytes().to_vec()).unwrap();
        if count % 8 == 0 {
            std::thread::yield_now();
        }
    }
    assert!(engine.stats().stale_bytes > 1);
    assert_eq!(engine.stats().snapshot_version, None);
    assert_eq!(fs.syncs(), before);
}

#[test]
fn statistics_tell_the_newest_snapshot() {
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, &config(0)).unwrap();
    assert_eq!(engine.stats().snapshot_version, None);
    let report = engine.run_compaction_now().unwrap();
    let stats = engine.stats();
    assert_eq!(stats.snapshot_version, Some(report.version));
    assert_eq!((stats.tables, stats.table_bytes), (report.tables, report.table_bytes));
}
