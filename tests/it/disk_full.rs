//! Row S9: the disk is full. New data is refused, nothing acknowledged is lost, reads and deletes
//! go on, and writes succeed again by themselves when there is room.

use std::collections::BTreeSet;
use std::time::Duration;

use hightower_kv::env::clock::ManualClock;
use hightower_kv::env::fs_sim::{PowerCut, SimFs};
use hightower_kv::env::rng::SeededRng;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{
    Command, Error, KvEngine, Retention, SingleNodeEngine, SnapshotEngine, StoreConfig,
};

use crate::support::{Pairs, open_sim, open_sim_with, pairs, sim_config};

/// Beyond this a store of the workload has all the room it wants.
const PLENTY: u64 = 100_000;
const STEP: u64 = 512;

/// Puts until the disk is full or all is done. Returns whether it was full.
fn fill(engine: &SingleNodeEngine, acknowledged: &mut Pairs) -> bool {
    for step in 0..120_u8 {
        let (key, value) = (vec![b'k', step % 50], vec![step; 200 + usize::from(step)]);
        match engine.put(key.clone(), value.clone()) {
            Ok(_) => drop(acknowledged.insert(key, value)),
            Err(error) => {
                assert!(matches!(error, Error::DiskFull(_)), "step {step}: {error}");
                if engine.stats().disk_full {
                    return true;
                }
                // A compaction has made room meanwhile.
                engine.put(key.clone(), value.clone()).unwrap();
                acknowledged.insert(key, value);
            }
        }
    }
    false
}

/// What goes on while the disk is full.
fn check_full(engine: &SingleNodeEngine, acknowledged: &mut Pairs, budget: u64) {
    assert!(pairs(&engine.snapshot_state()) == *acknowledged, "budget {budget}");
    let Some(key) = acknowledged.keys().next().cloned() else {
        return;
    };
    assert_eq!(engine.get(&key).unwrap().as_deref(), acknowledged.get(&key).map(Vec::as_slice));
    let deleted = engine.delete(key.clone());
    assert!(deleted.is_ok(), "budget {budget}: a delete: {deleted:?}");
    acknowledged.remove(&key);
    match engine.run_compaction_now() {
        Ok(_) | Err(Error::DiskFull(_)) => {}
        Err(error) => panic!("budget {budget}: compaction: {error}"),
    }
    assert!(pairs(&engine.snapshot_state()) == *acknowledged, "budget {budget}");
}

fn check_reopened(fs: &SimFs, acknowledged: &Pairs, what: &str) {
    let engine = open_sim(fs).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(pairs(&engine.snapshot_state()) == *acknowledged, "{what}");
    engine.put(b"more".to_vec(), b"x".to_vec()).unwrap();
}

#[test]
fn with_any_amount_of_room_nothing_is_lost_and_writes_resume() {
    let (mut full, mut refused_to_open) = (0, 0);
    let (mut with_tables, mut closed_full) = (0, 0);
    // What is too little to open is hardly more than a kilobyte.
    let budgets =
        (64..2 * STEP).step_by(64).chain((0..PLENTY).step_by(usize::try_from(STEP).unwrap()));
    for budget in budgets {
        let fs = SimFs::new(1);
        fs.set_space(Some(budget));
        let engine = match open_sim(&fs) {
            Ok(engine) => engine,
            Err(error) => {
                assert!(matches!(error, Error::DiskFull(_)), "budget {budget}: {error}");
                refused_to_open += 1;
                fs.set_space(None);
                check_reopened(&fs, &Pairs::new(), &format!("budget {budget}, then room"));
                continue;
            }
        };
        let mut acknowledged = Pairs::new();
        let was_full = fill(&engine, &mut acknowledged);
        if was_full {
            full += 1;
            with_tables += u64::from(engine.stats().tables > 1);
            check_full(&engine, &mut acknowledged, budget);
        }
        let image = fs.image();
        for (cut, what) in [
            (image.kill(), "killed"),
            (image.power_cut(PowerCut::Nothing), "power cut"),
            (image.power_cut(PowerCut::random(budget)), "random power cut"),
        ] {
            check_reopened(&cut, &acknowledged, &format!("budget {budget}, {what}"));
        }
        // Opening on a disk that is still full works, or says that it is full and loses nothing.
        let still_full = image.kill();
        still_full.set_space(Some(budget));
        match open_sim(&still_full) {
            Ok(engine) => {
                assert!(pairs(&engine.snapshot_state()) == acknowledged);
                closed_full += 1;
                engine.close().unwrap_or_else(|error| panic!("budget {budget}: close: {error}"));
                still_full.set_space(None);
                check_reopened(
                    &still_full,
                    &acknowledged,
                    &format!("budget {budget}, closed full"),
                );
            }
            Err(error) => {
                assert!(matches!(error, Error::DiskFull(_)), "budget {budget}: {error}");
                still_full.set_space(None);
                let what = format!("budget {budget}, opened full, then room");
                check_reopened(&still_full, &acknowledged, &what);
            }
        }
        fs.set_space(Some(2 * PLENTY));
        engine.put(b"more".to_vec(), vec![7; 3000]).unwrap();
        acknowledged.insert(b"more".to_vec(), vec![7; 3000]);
        assert!(!engine.stats().disk_full);
        engine.close().unwrap();
        check_reopened(&fs, &acknowledged, &format!("budget {budget}, closed"));
    }
    assert!(full > 40, "the disk was full for {full} budgets");
    assert!(refused_to_open > 10, "{refused_to_open}");
    assert!(with_tables > 20, "there were tables for {with_tables} budgets");
    assert!(closed_full > 60, "{closed_full} were closed while the disk was full");
}

#[test]
fn a_batch_that_does_not_fit_leaves_nothing_behind() {
    let fs = SimFs::new(1);
    let engine = open_sim(&fs).unwrap();
    engine.put(b"a".to_vec(), b"1".to_vec()).unwrap();
    let version = engine.latest_version();
    fs.set_space(Some(fs.used_bytes()));
    let big = || (0..9_u8).map(|key| Command::set(vec![key], vec![key; 2000])).collect();
    assert!(matches!(engine.submit_batch(big()), Err(Error::DiskFull(_))));
    assert_eq!((engine.latest_version(), engine.len().unwrap()), (version, 1));
    assert!(engine.delete(b"a".to_vec()).unwrap().changed());
    fs.set_space(None);
    engine.submit_batch(big()).unwrap();
    assert_eq!(engine.len().unwrap(), 9);
}

/// Small tables beside a reserve that has room for one and for the tail.
fn roomy_config() -> StoreConfig {
    let mut config = sim_config();
    config.max_segment_size = 64 << 10;
    config.disk_reserve = 64 << 10;
    config.fsync_interval = Duration::from_secs(1);
    config
}

#[test]
fn a_log_that_tables_have_goes_when_it_is_asked_for() {
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, &roomy_config()).unwrap();
    let mut version = None;
    for n in 0..60_u8 {
        engine.put(vec![b'k', n], vec![n; 300]).unwrap();
        if engine.stats().snapshot_version != version {
            version = engine.stats().snapshot_version;
        }
        if version.is_some() && engine.stats().snapshot_version == Some(engine.latest_version()) {
            break;
        }
    }
    let before = engine.stats();
    assert_eq!(before.snapshot_version, Some(before.latest_version), "nothing is in no table");
    engine.run_compaction_now().unwrap();
    assert!(engine.stats().log_bytes + 5_000 < before.log_bytes, "{before:?}");
}

#[test]
fn deleting_brings_room_back_without_anything_being_called() {
    // Two of three rows, or one of five, in all tables.
    let shares: [fn(u64) -> bool; 2] = [|n| n % 3 > 0, |n| n % 5 == 0];
    for (budget, is_deleted) in
        (600_000..900_000).step_by(30_011).flat_map(|budget| shares.map(|share| (budget, share)))
    {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let engine = SingleNodeEngine::with_env(&roomy_config(), env).unwrap();
        fs.set_space(Some(budget));
        let key = |n: u64| format!("key/{:05}", n * 7919 % 100_003).into_bytes();
        let mut keys = 0;
        while engine.put(key(keys), vec![7; 300]).is_ok() {
            keys += 1;
        }
        assert!(keys > 700, "{budget}: {keys} keys");
        // So that nothing is merged for the number of runs.
        engine.run_compaction_now().unwrap();
        while engine.put(key(keys), vec![7; 300]).is_ok() {
            keys += 1;
        }
        let mut deleted = 0;
        for n in (0..keys).filter(|&n| is_deleted(n)) {
            engine.delete(key(n)).unwrap_or_else(|error| panic!("{budget}: delete {n}: {error}"));
            deleted += 1;
            // What failed for want of room is tried again when some time has passed.
            clock.advance(Duration::from_secs(1));
        }
        for n in 0..deleted / 4 {
            let put = engine.put(key(100_000 - n), vec![8; 300]);
            put.unwrap_or_else(|error| panic!("{budget}: put {n} of {deleted}: {error}"));
        }
    }
}

#[test]
fn a_full_disk_gets_back_what_the_past_may_give_up() {
    // Values that become short in tables, where compaction finds something to do again and again,
    // and such as do not, where all is in tables and only the past can give something. With
    // nothing to spare there would not be room for the reserve and what merges take.
    let mut times_refused = 0;
    for (spare, is_random) in
        (2_000..100_000).step_by(5_001).flat_map(|spare| [(spare, false), (spare, true)])
    {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let rng = SeededRng::new(spare);
        let mut config = roomy_config();
        let age_max = Some(Duration::from_hours(1));
        config.retention = Some(Retention { age_max, ..Retention::default() });
        let engine = SingleNodeEngine::with_env(&config, env).unwrap();
        let put = |n: u64| {
            let mut value = vec![7; 300];
            if is_random {
                rng.fill_bytes(&mut value);
            }
            engine.put(format!("key/{}", n % 50).into_bytes(), value)
        };
        // A live state that is short beside what it was.
        for n in 0..2_000 {
            put(n).unwrap();
            if n % 200 == 0 {
                clock.advance(Duration::from_mins(5));
            }
        }
        let what = format!("{spare} bytes, random values: {is_random}");
        assert!(engine.eras().len() > 2, "{what}");
        // Somebody else takes the room, and what is new of the past takes the rest.
        fs.set_space(Some(fs.used_bytes() + spare));
        // Also where a compaction makes room at once, of log that tables have.
        let refused = (0..10_000).find(|&n| put(n).is_err());
        assert!(refused.is_some() || spare > 80_000, "{what}");
        times_refused += u64::from(refused.is_some());
        clock.advance(Duration::from_hours(2));
        for n in 0..500 {
            let mut attempts = 0;
            while let Err(error) = put(n) {
                assert!(matches!(error, Error::DiskFull(_)), "{what}: put {n}: {error}");
                attempts += 1;
                assert!(attempts < 100, "{what}: put {n} never finds room");
                clock.advance(Duration::from_secs(1));
            }
        }
        engine.close().unwrap();
    }
    assert!(times_refused > 30, "{times_refused}");
}

/// Writes until there is no room although compaction had time to make some. Returns how many were
/// written.
fn fill_for_good(clock: &ManualClock, mut write: impl FnMut(u64) -> bool) -> u64 {
    let (mut written, mut refused) = (0, 0);
    while refused < 10 {
        if write(written) {
            written += 1;
        } else {
            refused += 1;
            clock.advance(Duration::from_secs(1));
        }
    }
    written
}

/// As [`roomy_config`], with tables that a manifest is short beside.
fn longer_config() -> StoreConfig {
    let mut config = roomy_config();
    config.max_segment_size = 256 << 10;
    config
}

/// Deletes what begins with `prefix`: at once, or in parts where there is no room for that. Returns
/// how often there was none.
fn delete_in_parts(engine: &SingleNodeEngine, clock: &ManualClock, prefix: &str) -> u64 {
    let delete = || {
        let deleted = engine.submit(Command::delete_prefix(prefix.to_owned()));
        clock.advance(Duration::from_secs(1));
        deleted
    };
    match delete() {
        Ok(_) => 0,
        Err(Error::DiskFull(_)) if prefix.len() < 3 => {
            let parts =
                (0..10).map(|part| delete_in_parts(engine, clock, &format!("{prefix}{part}")));
            1 + parts.sum::<u64>()
        }
        // What little there is left has a compaction make more.
        Err(Error::DiskFull(_)) => match delete() {
            Ok(_) => 1,
            Err(error) => panic!("{prefix}: {error}"),
        },
        Err(error) => panic!("{prefix}: {error}"),
    }
}

#[test]
fn a_prefix_with_more_keys_than_there_is_room_for_is_deleted_in_parts() {
    // Tables that are short beside the store, and longer than it, also than the device.
    for (budget, segment) in (1_650_021..3_000_000).step_by(200_042).flat_map(|budget| {
        [64 << 10, 128 << 10, 256 << 10, 4 << 20].map(|segment| (budget, segment))
    }) {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let mut config = longer_config();
        config.max_segment_size = segment;
        fs.set_space(Some(budget));
        let engine = SingleNodeEngine::with_env(&config, env).unwrap();
        let key = |n: u64| format!("{:03}/{n:056}", n % 200).into_bytes();
        let keys = fill_for_good(&clock, |n| engine.put(key(n), vec![7; 4]).is_ok());
        assert!(keys > 5_000, "{budget}: {keys} keys");
        // Their tombstones are nearly as long as they are themselves.
        let refused = delete_in_parts(&engine, &clock, "");
        assert!(refused > 0, "{budget} {segment}");
        assert!(engine.is_empty().unwrap(), "{budget} {segment}");
        for n in 0..keys / 2 {
            // One that is refused has compaction make the room.
            let put = || engine.put(key(n), vec![8; 4]);
            let put = put().or_else(|_| {
                clock.advance(Duration::from_secs(1));
                put()
            });
            put.unwrap_or_else(|error| panic!("{budget} {segment}: put {n} of {keys}: {error}"));
        }
    }
}

/// Tables as short as those of small segments, on a disk that gives whole blocks: what merges take
/// in little room must be no more than what they read.
#[test]
fn small_segments_find_room_to_merge_on_a_disk_that_gives_whole_blocks() {
    for (segment, budget) in [(16 << 10, 2_500_000), (64 << 10, 4_000_000)] {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let mut config = roomy_config();
        config.max_segment_size = segment;
        fs.set_space(Some(budget));
        fs.set_block_bytes(4096);
        let engine = SingleNodeEngine::with_env(&config, env).unwrap();
        let rng = SeededRng::new(budget);
        let mut keys = BTreeSet::new();
        for round in 0..3 {
            fill_for_good(&clock, |_| {
                let key = format!("{:08}", rng.up_to(100_000)).into_bytes();
                let len = usize::try_from(rng.up_to(400)).unwrap();
                let is_put = engine.put(key.clone(), vec![7; len]).is_ok();
                if is_put {
                    keys.insert(key);
                }
                is_put
            });
            let deleted: Vec<_> = keys.iter().filter(|_| rng.up_to(9) < 4).cloned().collect();
            for key in deleted {
                let mut attempts = 0;
                while let Err(error) = engine.delete(key.clone()) {
                    assert!(matches!(error, Error::DiskFull(_)), "{segment} {round}: {error}");
                    attempts += 1;
                    assert!(attempts < 100, "{segment} {round}: {:?}", engine.stats());
                    clock.advance(Duration::from_secs(1));
                }
                keys.remove(&key);
            }
        }
    }
}

#[test]
fn what_is_due_goes_from_a_full_disk_as_far_as_there_is_room_for_it() {
    for budget in (2_000_000..3_000_000).step_by(200_021) {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let engine = SingleNodeEngine::with_env(&longer_config(), env).unwrap();
        fs.set_space(Some(budget));
        let key = |n: u64| format!("{n:060}").into_bytes();
        let ttl = Duration::from_hours(1);
        let keys = fill_for_good(&clock, |n| engine.put_with_ttl(key(n), vec![7; 4], ttl).is_ok());
        assert!(keys > 2_000, "{budget}: {keys} keys");
        clock.advance(ttl);
        // Without threads, what is due is removed with writes.
        for _ in 0..2000 {
            drop(engine.delete(b"another".to_vec()));
            clock.advance(Duration::from_secs(1));
        }
        assert!(engine.is_empty().unwrap(), "{budget}: {} of {keys} keys", engine.len().unwrap());
        for n in 0..keys / 2 {
            let put = engine.put(key(n), vec![8; 4]);
            put.unwrap_or_else(|error| panic!("{budget}: put {n} of {keys}: {error}"));
        }
    }
}
