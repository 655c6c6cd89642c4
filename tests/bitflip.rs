//! Damage at rest (rows S3 and S5 of `docs/testing.md`): bits that flipped, sectors that read as
//! zero, ends that were cut, filled or grown.
//!
//! A store is written on a simulated disk and closed. Then one thing of it is damaged, and it is
//! opened for reading and for writing, and read: every key, keys that are not there, and all rows
//! from both ends. Either the opening is refused by an error that names the damaged file, with no
//! byte on the disk changed. Or what is read is exactly what it was. Or, where a table is damaged
//! in a block that opening does not read, each row is what it was or an error that names the table.
//! Anything else would be a value that nobody wrote, or the silent loss of one that somebody did.
//! And `inspect::verify` names the damaged file, and no other.
//!
//! `cargo test --test bitflip -- --nocapture` prints the counts; with `HTKV_EVERY_BIT=1` it tries
//! every bit instead of a sample.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/damage.rs"]
mod damage;

use std::path::Path;

use hightower_kv::config::Compression;
use hightower_kv::env::fs_sim::{DiskImage, SECTOR_BYTES, SimFs};
use hightower_kv::env::rng::SeededRng;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{Command, KvEngine, SingleNodeEngine, SnapshotEngine, StoreConfig};

use crate::damage::{Counts, Original, calm, config, kind_of, read_only, rows};

const FLIPS: u64 = 20_000;

fn engine_on(fs: &SimFs, config: &StoreConfig) -> SingleNodeEngine {
    SingleNodeEngine::with_env(config, Env::simulated_on(fs.clone(), 9).env).unwrap()
}

fn put(engine: &SingleNodeEngine, rng: &SeededRng, key: u64, len: usize) {
    let mut value = vec![0; len];
    rng.fill_bytes(value.get_mut(..len / 2).unwrap());
    engine.put(format!("key/{key:03}").into_bytes(), value).unwrap();
}

/// A disk with several runs of several tables each, compressed in each way, that are being merged:
/// some of the output is there. All is synced, nothing is only in the log.
fn being_merged(rng: &SeededRng) -> SimFs {
    let mut fs = SimFs::new(7);
    let ways = [Compression::Off, Compression::Lz4, Compression::Zstd];
    for (round, compression) in (0..).zip(ways) {
        let engine = engine_on(&fs, &config(8192, compression));
        for key in (round * 7..90).step_by(2 + usize::try_from(round).unwrap()) {
            put(&engine, rng, key, 100 + usize::try_from(key).unwrap() * 6);
        }
        engine.submit(Command::delete_prefix(format!("key/0{round}"))).unwrap();
        engine.close().unwrap();
        fs = fs.kill();
    }
    let engine = engine_on(&fs, &config(8192, Compression::Lz4));
    fs.start_history();
    engine.run_compaction_now().unwrap();
    let history = fs.take_history();
    let is_halfway = |image: &&DiskImage| {
        let reader = read_only(&image.kill()).unwrap();
        let runs = reader.view().tables().runs();
        let output = runs
            .iter()
            .position(|run| run.is_being_merged())
            .map_or(0, |at| runs.get(at - 1).unwrap().tables().len());
        output >= 2
    };
    let image = history.iter().find(is_halfway).unwrap();
    image.kill()
}

/// A store of some tens of kibibytes that was closed: the runs above, two newer ones, and a log
/// that the tables cover.
fn closed_store() -> Original {
    let rng = SeededRng::new(7);
    let fs = being_merged(&rng);
    let engine = engine_on(&fs, &calm());
    for key in (5..60).step_by(5) {
        put(&engine, &rng, key, 300);
    }
    engine.delete(b"key/021".to_vec()).unwrap();
    put(&engine, &rng, 95, 5000);
    engine.close().unwrap();
    // The last of it was written by another process than the first.
    let engine = engine_on(&fs, &calm());
    put(&engine, &rng, 96, 10);
    let state = rows(&engine.snapshot_state());
    engine.close().unwrap();
    let set = |original: &Original| {
        let reader = read_only(&original.copy()).unwrap();
        let runs = reader.view().tables().runs().to_vec();
        let merged = runs.iter().filter(|run| run.is_being_merged()).count();
        (runs.len(), merged, reader.view().tables().tables().count())
    };
    let original = Original { files: fs.files(), state, image: fs };
    let (runs, merged, tables) = set(&original);
    assert!(runs > 4 && merged > 1 && tables > 8, "{runs} runs, {merged}, {tables} tables");
    original
}

/// A store whose process was killed: much is only in the log.
fn killed_store() -> Original {
    let rng = SeededRng::new(8);
    let fs = being_merged(&rng);
    let engine = engine_on(&fs, &calm());
    for key in (3..70).step_by(3) {
        put(&engine, &rng, key, 350);
    }
    engine.submit(Command::delete_prefix("key/08")).unwrap();
    let state = rows(&engine.snapshot_state());
    let image = fs.image().kill();
    Original { files: image.files(), state, image }
}

/// A closed store that keeps its whole log: many segments that tables cover.
fn store_with_a_long_log() -> Original {
    let rng = SeededRng::new(9);
    let fs = SimFs::new(9);
    let mut config = config(8192, Compression::Zstd);
    config.emit_snapshot_after_compaction = false;
    let engine = engine_on(&fs, &config);
    for key in 0..90 {
        put(&engine, &rng, key % 60, 100 + usize::try_from(key).unwrap() * 8);
    }
    put(&engine, &rng, 95, 9000);
    let state = rows(&engine.snapshot_state());
    engine.close().unwrap();
    Original { files: fs.files(), state, image: fs }
}

#[test]
fn no_flipped_bit_is_served_or_cut_or_panicked_over() {
    let original = closed_store();
    let every = std::env::var_os("HTKV_EVERY_BIT").is_some();
    let counts = original.try_flips(&original.flips(every, FLIPS), "closed");
    assert_eq!(counts.bad(), [0, 0, 0]);
    // Nearly every bit of this store counts; what a merge has read already counts no more.
    let [refused, named, harmless] = counts.good();
    assert!(refused + named > 4 * harmless, "{harmless} flips were harmless");
    assert!(named > 10_000 && refused > 10_000, "{named} named, {refused} refused");
}

#[test]
fn no_flipped_bit_of_a_killed_store_is() {
    let original = killed_store();
    let counts = original.try_flips(&original.flips(false, FLIPS / 8), "killed");
    assert_eq!(counts.bad(), [0, 0, 0]);
}

#[test]
fn no_flipped_bit_of_a_log_that_tables_cover_is() {
    let original = store_with_a_long_log();
    let segments = original.files.iter().filter(|(path, _)| kind_of(path) == "segments");
    assert!(segments.count() > 4);
    let counts = original.try_flips(&original.flips(false, FLIPS / 8), "a log that tables cover");
    assert_eq!(counts.bad(), [0, 0, 0]);
}

#[test]
fn no_zeroed_sector_is_served_or_cut_or_panicked_over() {
    let original = closed_store();
    let counts = Counts::default();
    for (path, bytes) in &original.files {
        for sector in 0..bytes.len().div_ceil(SECTOR_BYTES) {
            let what = format!("sector {sector} of {}", path.display());
            original.try_damage(&counts, path, &what, |fs| fs.zero_sector(path, sector).unwrap());
        }
    }
    counts.show("zeroed sectors");
    assert_eq!(counts.bad(), [0, 0, 0]);
}

#[test]
fn a_synced_write_that_the_device_lost_or_misdirected_is_seen() {
    let original = closed_store();
    let counts = Counts::default();
    for (path, bytes) in &original.files {
        let sectors = bytes.len().div_ceil(SECTOR_BYTES);
        for sector in 0..sectors {
            let what = format!("the last write to sector {sector} of {}", path.display());
            original.try_damage(&counts, path, &what, |fs| {
                fs.lose_synced_write(path, sector).unwrap();
            });
            let hit = (sector + 3) % sectors;
            original.try_damage(&counts, path, &what, |fs| {
                fs.misdirect_sector(path, sector, hit).unwrap();
            });
        }
    }
    counts.show("lost and misdirected writes");
    assert_eq!(counts.bad(), [0, 0, 0]);
}

#[test]
fn an_end_that_was_cut_filled_or_grown_is_seen_or_harmless() {
    let original = closed_store();
    let counts = Counts::default();
    for (path, bytes) in &original.files {
        let mut ends: Vec<Vec<u8>> = Vec::new();
        // Zeros behind the end, as a file system leaves them that reserved room.
        for more in [1, 7, 8, 55, 56, 512, 4096, 100_000] {
            ends.push([bytes.as_slice(), &vec![0; more]].concat());
        }
        let steps = bytes.len().div_ceil(64).min(80);
        for step in 0..steps {
            let kept = bytes.len() * step / steps;
            let (kept_bytes, cut) = bytes.split_at(kept);
            ends.push(kept_bytes.to_vec());
            ends.push([kept_bytes, &vec![0; cut.len()]].concat());
            ends.push([kept_bytes, &vec![0xff; cut.len()]].concat());
        }
        for end in ends {
            let what =
                format!("{} bytes in place of {} in {}", end.len(), bytes.len(), path.display());
            original.try_damage(&counts, path, &what, |fs| fs.write_file(path, &end).unwrap());
        }
    }
    counts.show("other ends");
    assert_eq!(counts.bad(), [0, 0, 0]);
}

#[test]
fn zeros_behind_the_log_are_room_to_write_on() {
    let original = closed_store();
    let fs = original.copy();
    let last = original.files.iter().rev().find(|(path, _)| kind_of(path) == "segments");
    let Some((path, bytes)) = last else { panic!("the store has segments") };
    fs.write_file(path, &[bytes.as_slice(), &[0; 4096]].concat()).unwrap();
    let Simulated { env, .. } = Env::simulated_on(fs.clone(), 1);
    let engine = SingleNodeEngine::with_env(&calm(), env.clone()).unwrap();
    engine.put(b"more".to_vec(), b"written".to_vec()).unwrap();
    engine.close().unwrap();
    let engine = SingleNodeEngine::with_env(&calm(), env).unwrap();
    assert_eq!(engine.get(b"more").unwrap().as_deref(), Some(b"written".as_slice()));
    assert_eq!(engine.len().unwrap(), original.state.len() + 1);
}

#[test]
fn without_the_watermark_the_headers_behind_damage_show_that_it_was_synced() {
    let Simulated { env, fs, .. } = Env::simulated(8);
    let engine = SingleNodeEngine::with_env(&calm(), env).unwrap();
    for key in 0..16_u8 {
        engine.put(vec![key], vec![key + 1; 400]).unwrap();
    }
    let state = rows(&engine.snapshot_state());
    engine.close().unwrap();
    fs.remove_file(Path::new("/data/log/WATERMARK")).unwrap();
    let original = Original { files: fs.files(), state, image: fs };
    let path = Path::new("/data/log/0000000001.seg");
    let sectors = original.image.read_file(path).unwrap().len() / SECTOR_BYTES;
    assert!(sectors > 12, "{sectors}");
    let counts = Counts::default();
    // A zeroed sector looks as an unsynced write does. Of the last frames only the watermark knew.
    for sector in 1..sectors - 3 {
        let what = format!("sector {sector} of {}", path.display());
        original.try_damage(&counts, path, &what, |fs| fs.zero_sector(path, sector).unwrap());
    }
    assert_eq!(counts.bad(), [0, 0, 0]);
    assert_eq!(counts.good(), [2 * (sectors as u64 - 4), 0, 0]);
}
