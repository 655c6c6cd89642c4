//! What holds from one opening to the next: sizes, versions, terms, stamps.

use std::time::Duration;

use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{KvEngine, SingleNodeEngine, SnapshotEngine, StoreConfig, Timestamp};

use crate::support::{open_sim, open_sim_with, pairs, sim_config};

fn bytes_on(fs: &SimFs) -> usize {
    fs.files().iter().map(|(_, bytes)| bytes.len()).sum()
}

#[test]
fn a_hundred_openings_hardly_grow_the_directory() {
    let fs = SimFs::new(1);
    open_sim(&fs).unwrap().put(b"k".to_vec(), b"v".to_vec()).unwrap();
    let before = bytes_on(&fs);
    for _ in 0..100 {
        drop(open_sim(&fs).unwrap());
    }
    let closed = bytes_on(&fs) - before;
    // A vote and a blank entry each.
    assert!(closed <= 100 * 200 + 20 * 300, "{closed} bytes more after 100 openings");
    open_sim(&fs).unwrap().run_compaction_now().unwrap();
    assert!(bytes_on(&fs) < before + 8192, "compaction gives it back");
}

#[test]
fn a_hundred_kills_do_not_grow_the_directory_without_bound() {
    let mut fs = SimFs::new(1);
    let mut most = 0;
    for round in 0..100_u32 {
        let engine = open_sim_with(&fs, &{
            let mut config = sim_config();
            config.compaction_threshold = 2000;
            config.fsync_interval = Duration::from_hours(1);
            config
        })
        .unwrap();
        engine.put(b"k".to_vec(), round.to_le_bytes().repeat(50)).unwrap();
        let killed = fs.kill();
        drop(engine);
        fs = killed;
        if round == 30 {
            most = bytes_on(&fs);
        }
    }
    assert!(bytes_on(&fs) <= most + 40_000, "{} after {most}", bytes_on(&fs));
    assert_eq!(open_sim(&fs).unwrap().len().unwrap(), 1);
}

#[test]
fn versions_go_on_and_terms_grow() {
    let fs = SimFs::new(1);
    let (mut version, mut term) = (None, None);
    for round in 0..20_u8 {
        let engine = open_sim(&fs).unwrap();
        assert!(Some(engine.stats().term) > term);
        term = Some(engine.stats().term);
        for _ in 0..3 {
            let put = engine.put(b"k".to_vec(), vec![round; 10]).unwrap();
            let removed = engine.delete(b"k".to_vec()).unwrap();
            assert!(Some(put.version) > version && removed.version > put.version);
            version = Some(removed.version);
        }
        if round % 5 == 4 {
            engine.run_compaction_now().unwrap();
        }
        assert_eq!(Some(engine.latest_version()), version);
    }
}

#[test]
fn stamps_never_go_back_though_the_clock_does() {
    let Simulated { env, clock, .. } = Env::simulated(1);
    let mut last = Timestamp::default();
    for round in 0..30_u64 {
        clock.set_now(Timestamp(if round % 3 == 2 { 5 } else { 1_000_000 * (round + 1) }));
        let engine = SingleNodeEngine::with_env(&sim_config(), env.clone()).unwrap();
        for count in 0..3 {
            clock.set_now(Timestamp(1_000_000 * round + 100 - count));
            let put = engine.put(b"k".to_vec(), (round * 10 + count).to_le_bytes().to_vec());
            let stamp = put.unwrap().timestamp;
            assert!(stamp >= last, "{stamp} after {last}");
            assert_eq!(engine.get_versioned(b"k").unwrap().unwrap().timestamp, stamp);
            last = stamp;
        }
        if round % 7 == 6 {
            engine.run_compaction_now().unwrap();
        }
        assert_eq!(engine.stats().last_timestamp, last);
    }
}

#[test]
fn compaction_without_purge_keeps_the_whole_log() {
    let fs = SimFs::new(1);
    let mut config = sim_config();
    config.emit_snapshot_after_compaction = false;
    let engine = open_sim_with(&fs, &config).unwrap();
    for count in 0..100_u8 {
        engine.put(vec![count % 5], vec![count; 100]).unwrap();
    }
    let (state, version) = (pairs(&engine.snapshot_state()), engine.latest_version());
    let report = engine.run_compaction_now().unwrap();
    assert_eq!((report.version, report.segments_removed), (version, 0));
    assert_eq!(report.tables, 1);
    engine.close().unwrap();
    // From the tables, and from the whole log once there are none.
    assert!(pairs(&open_sim_with(&fs, &config).unwrap().snapshot_state()) == state);
    let manifests = fs.files().into_iter().map(|(path, _)| path);
    let manifests = manifests.filter(|path| path.to_string_lossy().contains("MANIFEST"));
    for path in manifests.collect::<Vec<_>>() {
        fs.remove_file(&path).unwrap();
    }
    let env = Env::simulated_on(fs.clone(), 1).env;
    let reader = hightower_kv::ReadOnlyEngine::open_in(env, "/data".as_ref()).unwrap();
    assert!(pairs(reader.view()) == state);
    assert_eq!(reader.entries(None).next().unwrap().unwrap().id.index.0, 0);
}

/// Most bytes of a directory while one key is overwritten again and again.
fn most_bytes_of(config: &StoreConfig, between: impl Fn(&SingleNodeEngine, u64)) -> usize {
    let fs = SimFs::new(1);
    let engine = open_sim_with(&fs, config).unwrap();
    let mut most = 0;
    for count in 0..3_000_u64 {
        engine.put(b"k".to_vec(), count.to_le_bytes().repeat(20)).unwrap();
        between(&engine, count);
        most = most.max(bytes_on(&fs));
    }
    most
}

#[test]
fn overwriting_one_key_for_ever_keeps_the_directory_small() {
    let mut config = sim_config();
    config.compaction_threshold = 10_000;
    let most = most_bytes_of(&config, |_, _| {});
    assert!(most < 60_000, "{most}");
    config.compaction_threshold = 0;
    let most = most_bytes_of(&config, |_, _| {});
    assert!(most < 40_000, "{most}");
}

#[test]
fn the_threshold_of_an_open_store_can_be_changed() {
    let mut config = sim_config();
    config.max_segment_size = 8 << 20;
    config.compaction_threshold = 1 << 40;
    most_bytes_of(&config, |engine, count| {
        if count == 1_000 {
            assert!(engine.stats().snapshot_version.is_none(), "it was not due");
            engine.set_compaction_threshold(10_000);
            assert!(engine.stats().snapshot_version.is_some(), "it is due at once");
        }
    });
}

#[test]
fn compaction_by_time_runs_when_anything_was_written() {
    let Simulated { env, clock, .. } = Env::simulated(1);
    let mut config = sim_config();
    config.compaction_interval = Duration::from_secs(10);
    let engine = SingleNodeEngine::with_env(&config, env).unwrap();
    engine.put(b"k".to_vec(), b"1".to_vec()).unwrap();
    assert_eq!(engine.stats().snapshot_version, None, "it is not time");
    clock.advance(Duration::from_secs(11));
    engine.put(b"other".to_vec(), b"1".to_vec()).unwrap();
    let version = engine.stats().snapshot_version;
    assert_eq!(version, Some(engine.latest_version()));
    clock.advance(Duration::from_secs(11));
    engine.flush().unwrap();
    assert_eq!(engine.stats().snapshot_version, version, "nothing was written");
}

#[test]
fn a_second_compaction_with_nothing_new_writes_nothing() {
    let fs = SimFs::new(1);
    let engine = open_sim(&fs).unwrap();
    engine.put(b"k".to_vec(), b"v".to_vec()).unwrap();
    engine.run_compaction_now().unwrap();
    let files = fs.files();
    let report = engine.run_compaction_now().unwrap();
    assert_eq!((report.rows_written, report.merges, report.segments_removed), (0, 0, 0));
    assert!(files == fs.files());
}

#[test]
fn an_engine_that_only_reads_refuses_writes_through_the_trait_and_shows_its_one_state() {
    let directory = tempfile::tempdir().unwrap();
    let engine = SingleNodeEngine::open(directory.path()).unwrap();
    let version = engine.put(b"a".to_vec(), b"1".to_vec()).unwrap().version;
    engine.close().unwrap();
    let engine = hightower_kv::ReadOnlyEngine::open(directory.path()).unwrap();
    let put = engine.put(b"a".to_vec(), b"2".to_vec());
    assert!(matches!(put, Err(hightower_kv::Error::Closed(_))), "{put:?}");
    let submitted = engine.submit_async(hightower_kv::Command::delete("a")).wait();
    assert!(matches!(submitted, Err(hightower_kv::Error::Closed(_))), "{submitted:?}");
    assert_eq!(engine.get(b"a").unwrap().unwrap(), "1");
    assert!(KvEngine::view(&engine, hightower_kv::ReadContext::AtLeast(version)).is_ok());
    let later = hightower_kv::Version(version.0 + 100);
    let asked = KvEngine::view(&engine, hightower_kv::ReadContext::AtLeast(later));
    assert!(matches!(asked, Err(hightower_kv::Error::NotYet { .. })), "{asked:?}");
}
