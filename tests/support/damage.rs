//! A store, damage done to it, and what came of that.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hightower_kv::config::Compression;
use hightower_kv::env::Env;
use hightower_kv::env::clock::{Clock, SystemClock};
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::env::rng::SeededRng;
use hightower_kv::storage::inspect::verify;
use hightower_kv::{
    Error, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine, StateView, StoreConfig,
};

/// Of each file at least so many bits are tried, or all.
const FLIPS_OF_FILE_MIN: u64 = 256;
const THREADS: u64 = 2;
pub(crate) const DIRECTORY: &str = "/data";

/// Segments, and with them tables and what is merged, of one size or another.
pub(crate) fn config(segment_bytes: u64, compression: Compression) -> StoreConfig {
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
pub(crate) fn calm() -> StoreConfig {
    config(64 << 10, Compression::Off)
}

/// Key, value, version and stamp of each row.
pub(crate) type Row = (Vec<u8>, Vec<u8>, u64, u64);

pub(crate) fn rows(view: &StateView) -> Vec<Row> {
    let row = |(key, _): (bytes::Bytes, hightower_kv::Value)| {
        let found = view.get_versioned(&key).unwrap().unwrap();
        (key.to_vec(), found.value.to_vec(), found.version.0, found.timestamp.0)
    };
    view.iter().map(Result::unwrap).map(row).collect()
}

pub(crate) struct Original {
    pub(crate) image: SimFs,
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) state: Vec<Row>,
}

/// What came of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
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
pub(crate) struct Counts {
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

    pub(crate) fn bad(&self) -> [u64; 3] {
        [&self.silent, &self.wrong, &self.panics].map(|count| count.load(Ordering::Relaxed))
    }

    /// Refused, named when read, harmless.
    pub(crate) fn good(&self) -> [u64; 3] {
        [&self.refused, &self.named, &self.harmless].map(|count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn show(&self, what: &str) {
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

pub(crate) fn read_only(fs: &SimFs) -> Result<ReadOnlyEngine, Error> {
    ReadOnlyEngine::open_in(Env::simulated_on(fs.clone(), 9).env, Path::new(DIRECTORY))
}

impl Original {
    /// The original once more, with nothing open and nothing pending.
    pub(crate) fn copy(&self) -> SimFs {
        self.image.kill()
    }

    /// Damages a copy, opens it in both ways, reads it, verifies it, and notes what came of it.
    pub(crate) fn try_damage(
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
    pub(crate) fn flips(&self, every: bool, least: u64) -> Vec<(&Path, u64)> {
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
    pub(crate) fn try_flips(&self, flips: &[(&Path, u64)], what: &str) -> Counts {
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

pub(crate) fn kind_of(path: &Path) -> &str {
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
