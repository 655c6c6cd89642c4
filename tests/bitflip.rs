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

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hightower_kv::config::Compression;
use hightower_kv::env::clock::{Clock, SystemClock};
use hightower_kv::env::fs_sim::{DiskImage, SECTOR_BYTES, SimFs};
use hightower_kv::env::rng::SeededRng;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::storage::inspect::verify;
use hightower_kv::{
    Command, Error, KvEngine, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine, StateView,
    StoreConfig,
};

const FLIPS: u64 = 20_000;
/// Of each file at least so many bits are tried, or all.
const FLIPS_OF_FILE_MIN: u64 = 256;
const THREADS: u64 = 2;
const DIRECTORY: &str = "/data";

/// Segments, and with them tables and what is merged, of one size or another.
fn config(segment_bytes: u64, compression: Compression) -> StoreConfig {
    let mut config = StoreConfig::default();
    config.data_dir = DIRECTORY.into();
    config.max_segment_size = segment_bytes;
    config.compression = compression;
    config.compaction_threshold = 1 << 30;
    config.disk_reserve = 512;
    config.worker_threads = 0;
    config
}

/// With this one, nothing is written to tables but at a close, and nothing is merged.
fn calm() -> StoreConfig {
    config(64 << 10, Compression::Off)
}

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

/// Key, value, version and stamp of each row.
type Row = (Vec<u8>, Vec<u8>, u64, u64);

fn rows(view: &StateView) -> Vec<Row> {
    let row = |(key, _): (bytes::Bytes, hightower_kv::Value)| {
        let found = view.get_versioned(&key).unwrap().unwrap();
        (key.to_vec(), found.value.to_vec(), found.version.0, found.timestamp.0)
    };
    view.iter().map(Result::unwrap).map(row).collect()
}

struct Original {
    image: SimFs,
    files: Vec<(PathBuf, Vec<u8>)>,
    state: Vec<Row>,
}

/// What came of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// An error that names the file, and nothing was changed.
    Refused,
    /// It opens; some rows are what they were, others an error that names the file, which is a
    /// table.
    Named,
    /// The state is what it was.
    Harmless,
    /// The state is another.
    Silent,
    /// An error that does not name the file, or something was written all the same, or `verify`
    /// names another file or none.
    Wrong,
    Panicked,
}

#[derive(Default)]
struct Counts {
    refused: AtomicU64,
    named: AtomicU64,
    harmless: AtomicU64,
    silent: AtomicU64,
    wrong: AtomicU64,
    panics: AtomicU64,
}

impl Counts {
    fn note(&self, came: Came, what: &dyn fmt::Display) {
        let (count, bad) = match came {
            Came::Refused => (&self.refused, false),
            Came::Named => (&self.named, false),
            Came::Harmless => (&self.harmless, false),
            Came::Silent => (&self.silent, true),
            Came::Wrong => (&self.wrong, true),
            Came::Panicked => (&self.panics, true),
        };
        if count.fetch_add(1, Ordering::Relaxed) < 5 && bad {
            show(&format!("{came:?}: {what}"));
        }
    }

    fn bad(&self) -> [u64; 3] {
        [&self.silent, &self.wrong, &self.panics].map(|count| count.load(Ordering::Relaxed))
    }

    /// Refused, named when read, harmless.
    fn good(&self) -> [u64; 3] {
        [&self.refused, &self.named, &self.harmless].map(|count| count.load(Ordering::Relaxed))
    }

    fn show(&self, what: &str) {
        let [refused, named, harmless] = self.good();
        let [silent, wrong, panics] = self.bad();
        show(&format!(
            "{what}: refused at opening: {refused}, named when read: {named}, harmless: \
             {harmless}, silent: {silent}, wrong: {wrong}, panics: {panics}"
        ));
    }
}

#[expect(clippy::print_stdout, reason = "a helper of a test that shows failures")]
fn show(text: &str) {
    println!("{text}");
}

fn is_table(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "tbl")
}

fn read_only(fs: &SimFs) -> Result<ReadOnlyEngine, Error> {
    ReadOnlyEngine::open_in(Env::simulated_on(fs.clone(), 9).env, Path::new(DIRECTORY))
}

impl Original {
    /// The original once more, with nothing open and nothing pending.
    fn copy(&self) -> SimFs {
        self.image.kill()
    }

    /// Damages a copy, opens it in both ways, reads it, verifies it, and notes what came of it.
    fn try_damage(
        &self,
        counts: &Counts,
        file: &Path,
        what: &dyn fmt::Display,
        damage: impl Fn(&SimFs),
    ) {
        let damaged = || {
            let fs = self.copy();
            damage(&fs);
            let before = fs.files();
            (fs, before)
        };
        let caught = |come: &dyn Fn() -> Came| {
            catch_unwind(AssertUnwindSafe(come)).unwrap_or(Came::Panicked)
        };
        let reading = caught(&|| {
            let (fs, before) = damaged();
            let came = match read_only(&fs) {
                Ok(engine) => self.read_all(engine.view(), file),
                Err(error) => refused(&error, file, before == fs.files()),
            };
            self.verified(&fs, file, came)
        });
        counts.note(reading, &format!("{what} (reading)"));
        let writing = caught(&|| {
            let (fs, before) = damaged();
            let env = Env::simulated_on(fs.clone(), 9).env;
            match SingleNodeEngine::with_env(&calm(), env) {
                Ok(engine) => {
                    let came = self.read_all(&engine.snapshot_state(), file);
                    self.merged(&engine, file, came)
                }
                Err(error) => refused(&error, file, before == fs.files()),
            }
        });
        counts.note(writing, &format!("{what} (writing)"));
    }

    /// Reads every key, keys that are absent, and all rows from both ends.
    fn read_all(&self, view: &StateView, file: &Path) -> Came {
        let mut is_named = false;
        let mut tells = |error: Error| {
            is_named = true;
            if is_table(file) && names(&error, file) { Ok(()) } else { Err(Came::Wrong) }
        };
        let absent = (0..100).map(|n| format!("key/{n:03}").into_bytes());
        let absent = absent.chain([b"a".to_vec(), b"key/0".to_vec(), b"z".to_vec()]);
        let absent =
            absent.filter(|key| self.state.binary_search_by(|row| row.0.cmp(key)).is_err());
        let all = || {
            for row in &self.state {
                match view.get_versioned(&row.0) {
                    Ok(Some(found))
                        if (&*found.value, found.version.0, found.timestamp.0)
                            == (&*row.1, row.2, row.3) => {}
                    Ok(_) => return Err(Came::Silent),
                    Err(error) => tells(error.into())?,
                }
            }
            for key in absent {
                match view.get(&key) {
                    Ok(None) => {}
                    Ok(Some(_)) => return Err(Came::Silent),
                    Err(error) => tells(error.into())?,
                }
            }
            let mut forward = view.iter();
            let mut backward = view.iter().rev();
            let ends: [(&mut dyn Iterator<Item = _>, &mut dyn Iterator<Item = &Row>); 2] = [
                (&mut forward, &mut self.state.iter()),
                (&mut backward, &mut self.state.iter().rev()),
            ];
            for (found, expected) in ends {
                loop {
                    let wanted = expected.next();
                    match (found.next(), wanted) {
                        (None, None) => break,
                        (Some(Ok((key, value))), Some(row))
                            if key == row.0 && value.as_bytes() == row.1 => {}
                        (Some(Err(error)), _) => {
                            tells(Error::from(error))?;
                            // It is told once, as the last item.
                            if found.next().is_some() {
                                return Err(Came::Wrong);
                            }
                            break;
                        }
                        _ => return Err(Came::Silent),
                    }
                }
            }
            if view.len() == self.state.len() { Ok(()) } else { Err(Came::Silent) }
        };
        match all() {
            Err(came) => came,
            Ok(()) if is_named => Came::Named,
            Ok(()) => Came::Harmless,
        }
    }

    /// Merges what was damaged: that is refused, or no row is another afterwards.
    fn merged(&self, engine: &SingleNodeEngine, file: &Path, came: Came) -> Came {
        if !is_table(file) || !matches!(came, Came::Named | Came::Harmless) {
            return came;
        }
        match engine.run_compaction_now() {
            Err(error) if !names(&error, file) => return Came::Wrong,
            // Whatever is damaged and counts is read by a merge of everything.
            Ok(_) if came == Came::Named => return Came::Wrong,
            _ => {}
        }
        match self.read_all(&engine.snapshot_state(), file) {
            again if again == came => came,
            Came::Silent => Came::Silent,
            _ => Came::Wrong,
        }
    }

    /// Judges what `verify` says of it.
    fn verified(&self, fs: &SimFs, file: &Path, came: Came) -> Came {
        if !matches!(came, Came::Refused | Came::Named | Came::Harmless) {
            return came;
        }
        let env = Env::simulated_on(fs.clone(), 9).env;
        let damages = match verify(&env, Path::new(DIRECTORY)) {
            Ok(report) => report.damages,
            Err(error) => {
                show(&format!("verify: {error}"));
                return Came::Wrong;
            }
        };
        let is_changed = || {
            let (now, before) = (fs.read_file(file).unwrap(), self.file(file));
            now != before
        };
        let must_be_named = came != Came::Harmless || (is_table(file) && is_changed());
        let is_right = damages.iter().all(|damage| damage.file == file)
            && (!must_be_named || !damages.is_empty());
        if !is_right {
            show(&format!("verify of {} names {damages:?}", file.display()));
            return Came::Wrong;
        }
        came
    }

    fn file(&self, path: &Path) -> &[u8] {
        self.files.iter().find(|(name, _)| name == path).map_or(&[], |(_, bytes)| bytes)
    }

    /// Which bits to flip: every bit of the small files, and of the others a sample as large as the
    /// gate asks for, or every bit, too.
    fn flips(&self, every: bool, least: u64) -> Vec<(&Path, u64)> {
        let all: u64 = self.files.iter().map(|(_, bytes)| bytes.len() as u64 * 8).sum();
        let rng = SeededRng::new(20);
        let mut flips: Vec<(&Path, u64)> = Vec::new();
        for (path, bytes) in &self.files {
            let bits = bytes.len() as u64 * 8;
            if every || bytes.len() <= 64 {
                flips.extend((0..bits).map(|bit| (path.as_path(), bit)));
            } else {
                let share = (least * bits).div_ceil(all).max(FLIPS_OF_FILE_MIN);
                flips.extend((0..share).map(|_| (path.as_path(), rng.up_to(bits - 1))));
            }
        }
        flips
    }

    /// Flips them all, and shows what came of it.
    fn try_flips(&self, flips: &[(&Path, u64)], what: &str) -> Counts {
        let clock = SystemClock::new();
        let counts = Counts::default();
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                        let Some(&(path, bit)) = flips.get(at) else {
                            return;
                        };
                        let what = format!("bit {bit} of {}", path.display());
                        let flip = |fs: &SimFs| fs.flip_bit(path, bit).unwrap();
                        self.try_damage(&counts, path, &what, flip);
                    }
                });
            }
        });
        let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (path, _) in &self.files {
            kinds.entry(kind_of(path)).or_default().0 += 1;
        }
        for (path, _) in flips {
            kinds.entry(kind_of(path)).or_default().1 += 1;
        }
        let seconds = clock.elapsed().as_secs_f64();
        counts.show(&format!(
            "{what}: {} flips, each opened twice, {seconds:.1} s, (files, flips) of {kinds:?}",
            flips.len(),
        ));
        counts
    }
}

/// Judges an opening that was refused.
fn refused(error: &Error, file: &Path, nothing_changed: bool) -> Came {
    if names(error, file) && nothing_changed {
        return Came::Refused;
    }
    show(&format!("{error}"));
    Came::Wrong
}

fn kind_of(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("tbl") => "tables",
        Some("seg") => "segments",
        _ if name.starts_with("MANIFEST") => "manifests",
        _ => name,
    }
}

/// Whether an error says which file it is about.
fn names(error: &Error, file: &Path) -> bool {
    let kind = matches!(
        error,
        Error::Corrupt(_)
            | Error::TailAmbiguous(_)
            | Error::MissingSegment(_)
            | Error::UnsupportedFormat(_)
    );
    kind && error.to_string().contains(&*file.to_string_lossy())
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
    for key in 0..14_u8 {
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
