//! Damage at rest (rows S3 and S5 of `docs/testing.md`): bits that flipped, sectors that read as
//! zero, ends that were cut, filled or grown.
//!
//! A store is written on a simulated disk and closed. Then one thing of it is damaged, and it is
//! opened for reading and for writing. Either the opening is refused by an error that names the
//! damaged file, with no byte on the disk changed; or the state is exactly what it was. Anything
//! else would be a value that nobody wrote, or the silent loss of one that somebody did.
//!
//! `cargo test --test bitflip -- --nocapture` prints the counts; with `HTKV_EVERY_BIT=1` it tries
//! every bit instead of a sample.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hightower_kv::env::clock::{Clock, SystemClock};
use hightower_kv::env::fs_sim::{SECTOR_BYTES, SimFs};
use hightower_kv::env::rng::SeededRng;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{
    Error, KvEngine, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine, StateView, StoreConfig,
};

const FLIPS: u64 = 20_000;
const THREADS: u64 = 2;

fn config() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.data_dir = "/data".into();
    config.max_segment_size = 8192;
    config.compaction_threshold = 1 << 30;
    config.disk_reserve = 512;
    config.worker_threads = 0;
    config
}

/// A store of about 64 KiB that was closed: a snapshot, segments that it covers in part,
/// overwritten keys, a batch, removals.
fn closed_store() -> Original {
    let Simulated { env, fs, .. } = Env::simulated(7);
    let engine = SingleNodeEngine::with_env(&config(), env.clone()).unwrap();
    let rng = SeededRng::new(7);
    let put = |engine: &SingleNodeEngine, key: u64, len: usize| {
        let mut value = vec![0; len];
        rng.fill_bytes(&mut value);
        engine.put(format!("key/{key:03}").into_bytes(), value).unwrap();
    };
    for key in 0..40 {
        put(&engine, key, 400);
    }
    engine.run_compaction_now().unwrap();
    for key in 20..80 {
        put(&engine, key, 100 + usize::try_from(key).unwrap() * 8);
    }
    engine.delete(b"key/003".to_vec()).unwrap();
    put(&engine, 90, 5000);
    engine.close().unwrap();
    // The last of it was written by another process than the first.
    let engine = SingleNodeEngine::with_env(&config(), env).unwrap();
    put(&engine, 91, 10);
    let state = rows(&engine.snapshot_state());
    engine.close().unwrap();
    Original { files: fs.files(), state, image: fs }
}

/// Key, value, version and stamp of each row.
type Rows = Vec<(Vec<u8>, Vec<u8>, u64, u64)>;

fn rows(view: &StateView) -> Rows {
    let row = |(key, _): (bytes::Bytes, hightower_kv::Value)| {
        let found = view.get_versioned(&key).unwrap().unwrap();
        (key.to_vec(), found.value.to_vec(), found.version.0, found.timestamp.0)
    };
    view.iter().map(Result::unwrap).map(row).collect()
}

struct Original {
    image: SimFs,
    files: Vec<(PathBuf, Vec<u8>)>,
    state: Rows,
}

/// What came of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// An error that names the file, and nothing was changed.
    Refused,
    /// The state is what it was.
    Harmless,
    /// The state is another.
    Silent,
    /// An error that does not name the file, or something was written all the same.
    Wrong,
    Panicked,
}

#[derive(Default)]
struct Counts {
    refused: AtomicU64,
    harmless: AtomicU64,
    silent: AtomicU64,
    wrong: AtomicU64,
    panics: AtomicU64,
}

impl Counts {
    fn note(&self, came: Came, what: &dyn fmt::Display) {
        let (count, bad) = match came {
            Came::Refused => (&self.refused, false),
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

    fn all(&self) -> [u64; 2] {
        [&self.refused, &self.harmless].map(|count| count.load(Ordering::Relaxed))
    }
}

#[expect(clippy::print_stdout, reason = "a helper of a test that shows failures")]
fn show(text: &str) {
    println!("{text}");
}

impl Original {
    /// The original once more, with nothing open and nothing pending.
    fn copy(&self) -> SimFs {
        self.image.kill()
    }

    /// Damages a copy, opens it in both ways and notes what came of it.
    fn try_damage(
        &self,
        counts: &Counts,
        file: &Path,
        what: &dyn fmt::Display,
        damage: impl Fn(&SimFs),
    ) {
        let open = |writing: bool| {
            let fs = self.copy();
            damage(&fs);
            let before = fs.files();
            let opened = catch_unwind(AssertUnwindSafe(|| open(&fs, writing)));
            match opened {
                Err(_) => Came::Panicked,
                Ok(Ok(state)) if state == self.state => Came::Harmless,
                Ok(Ok(_)) => Came::Silent,
                Ok(Err(error)) if names(&error, file) && before == fs.files() => Came::Refused,
                Ok(Err(error)) => {
                    show(&format!("{error}"));
                    Came::Wrong
                }
            }
        };
        for writing in [false, true] {
            counts.note(open(writing), &format!("{what} (writing: {writing})"));
        }
    }
}

impl Original {
    /// Which bits to flip: every bit of the small files, and of the others a sample as large as the
    /// gate asks for, or every bit, too.
    fn flips(&self, every: bool) -> Vec<(&Path, u64)> {
        let bits_of = |bytes: &[u8]| 0..bytes.len() as u64 * 8;
        let (small, large): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|(_, bytes)| every || bytes.len() <= 64);
        let mut flips: Vec<(&Path, u64)> = Vec::new();
        for (path, bytes) in small {
            flips.extend(bits_of(bytes).map(|bit| (path.as_path(), bit)));
        }
        let all: u64 = large.iter().map(|(_, bytes)| bits_of(bytes).end).sum();
        let rng = SeededRng::new(20);
        while (flips.len() as u64) < FLIPS {
            let mut bit = rng.up_to(all - 1);
            for (path, bytes) in &large {
                if bits_of(bytes).contains(&bit) {
                    flips.push((path.as_path(), bit));
                    break;
                }
                bit -= bits_of(bytes).end;
            }
        }
        flips
    }
}

fn open(fs: &SimFs, writing: bool) -> Result<Rows, Error> {
    let Simulated { env, .. } = Env::simulated_on(fs.clone(), 9);
    if writing {
        let engine = SingleNodeEngine::with_env(&config(), env)?;
        return Ok(rows(&engine.snapshot_state()));
    }
    let engine = ReadOnlyEngine::open_in(env, Path::new("/data"))?;
    Ok(rows(engine.view()))
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
    let clock = SystemClock::new();
    let original = closed_store();
    let total: usize = original.files.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!((50_000..90_000).contains(&total), "{total} bytes");
    let counts = Counts::default();
    let flips = original.flips(std::env::var_os("HTKV_EVERY_BIT").is_some());
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
                    original.try_damage(&counts, path, &what, flip);
                }
            });
        }
    });
    let [refused, harmless] = counts.all();
    let [silent, wrong, panics] = counts.bad();
    println!(
        "flips: {}, openings: {}, refused: {refused}, harmless: {harmless}, silent: {silent}, \
         wrong: {wrong}, panics: {panics}, seconds: {:.1}",
        flips.len(),
        2 * flips.len(),
        clock.elapsed().as_secs_f64()
    );
    assert_eq!(counts.bad(), [0, 0, 0]);
    // Nearly every bit of this store counts.
    assert!(refused > 9 * harmless, "{harmless} flips were harmless");
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
    let [refused, harmless] = counts.all();
    println!("zeroed sectors: refused: {refused}, harmless: {harmless}");
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
    let [refused, harmless] = counts.all();
    println!("lost and misdirected writes: refused: {refused}, harmless: {harmless}");
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
    let [refused, harmless] = counts.all();
    println!("other ends: refused: {refused}, harmless: {harmless}");
    assert_eq!(counts.bad(), [0, 0, 0]);
}

#[test]
fn zeros_behind_the_log_are_room_to_write_on() {
    let original = closed_store();
    let fs = original.copy();
    let last = original.files.iter().rev().find(|(path, _)| path.extension().is_some());
    let Some((path, bytes)) = last else { panic!("the store has segments") };
    fs.write_file(path, &[bytes.as_slice(), &[0; 4096]].concat()).unwrap();
    let Simulated { env, .. } = Env::simulated_on(fs.clone(), 1);
    let engine = SingleNodeEngine::with_env(&config(), env.clone()).unwrap();
    engine.put(b"more".to_vec(), b"written".to_vec()).unwrap();
    engine.close().unwrap();
    let engine = SingleNodeEngine::with_env(&config(), env).unwrap();
    assert_eq!(engine.get(b"more").unwrap().as_deref(), Some(b"written".as_slice()));
    assert_eq!(engine.len().unwrap(), original.state.len() + 1);
}

#[test]
fn without_the_watermark_the_headers_behind_damage_show_that_it_was_synced() {
    let Simulated { env, fs, .. } = Env::simulated(8);
    let engine = SingleNodeEngine::with_env(&config(), env).unwrap();
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
    assert_eq!(counts.all(), [2 * (sectors as u64 - 4), 0]);
}
