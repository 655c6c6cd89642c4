//! Reads of a store with a million rows that was closed and opened again. Its files are in the
//! cache of the operating system.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::bare_store::BareStore;
use super::few_prefixes::{prefix_lines, prefix_rates};
use super::few_reads::get_each;
use super::{Group, Values, buffered, rate};
use crate::child::MILLION;
use crate::data::{Random, Row, Shape};
use crate::failure::{Failure, Result};
use crate::line::{Goal, Line, Unit};
use crate::parallel;
use crate::scratch::Scratch;
use crate::store::{Opening, Store};
use crate::stores::Contender;

/// Gets after the store was opened.
const GETS: usize = 500_000;
/// Gets of each reader in the rows that find the store as the first one left it.
const GETS_WARM: usize = 200_000;
/// Prefixes that a repetition goes over.
const PREFIXES: usize = 200;
/// The writer beside the readers puts so many rows, then waits until the pause is over.
const BURST_PUTS: usize = 100;
const BURST_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct MillionReads {
    /// Written when a store is measured for the first time.
    written: HashMap<Contender, TempDir>,
    keys: Vec<Vec<u8>>,
    prefixes: Vec<Vec<u8>>,
    scratch: Scratch,
}

impl MillionReads {
    pub(super) fn new(scratch: &Scratch) -> Self {
        let mut prefixes = MILLION.prefixes();
        prefixes.truncate(PREFIXES);
        let keys = MILLION.drawn_keys(GETS);
        Self { written: HashMap::new(), keys, prefixes, scratch: scratch.clone() }
    }

    fn directory(&mut self, contender: Contender) -> Result<PathBuf> {
        let directory = match self.written.entry(contender) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(missing) => {
                let directory = self.scratch.new_directory()?;
                write_all(contender, directory.path())?;
                missing.insert(directory)
            }
        };
        Ok(directory.path().to_owned())
    }

    fn get_warm(&self, store: &dyn Store, readers: usize) -> Result<f64> {
        // Other keys for each reader: none finds in the processor's cache what another one needed.
        let keys = self.keys.chunks_exact(GETS_WARM).take(readers);
        let time = parallel::timed(keys.collect(), |keys| get_each(store, keys))?;
        Ok(rate(GETS_WARM * readers, time))
    }

    fn get_by_view(&self, store: &dyn Store) -> Result<f64> {
        let keys = self.keys.get(..GETS_WARM).unwrap_or(&self.keys);
        let started = Instant::now();
        if store.get_all(keys)? != keys.len() {
            return Err(Failure::new("a key is not there"));
        }
        Ok(rate(keys.len(), started.elapsed()))
    }

    /// What two readers get while a writer overwrites.
    fn get_beside_writer(&self, store: &dyn Store) -> Result<f64> {
        let is_over = AtomicBool::new(false);
        // Keys that are drawn already: making some would keep a core busy for a good part of the
        // time that is measured.
        let keys = self.keys.get(2 * GETS_WARM..).unwrap_or(&self.keys);
        thread::scope(|scope| {
            let writer = scope.spawn(|| overwrite_until(store, keys, &is_over));
            let got = self.get_warm(store, 2);
            is_over.store(true, Ordering::Relaxed);
            writer.join().unwrap_or_else(|_| Err(Failure::new("the writer panicked")))?;
            got
        })
    }
}

fn write_all(contender: Contender, directory: &Path) -> Result<()> {
    let store = contender.open(directory, Opening::BUFFERED)?;
    MILLION.rows().iter_mut().try_for_each(|row| store.put(row))
}

/// 10,000 puts a second, so that a writer takes little of the cores that the readers use.
fn overwrite_until(store: &dyn Store, keys: &[Vec<u8>], is_over: &AtomicBool) -> Result<()> {
    let mut random = Random(0x0BAD);
    let mut keys = keys.iter().cycle();
    while !is_over.load(Ordering::Relaxed) {
        let next = Instant::now() + BURST_PAUSE;
        for key in keys.by_ref().take(BURST_PUTS) {
            store.put(&mut Row { key: key.clone(), value: random.bytes(MILLION.value) })?;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

impl Group for MillionReads {
    fn lines(&self) -> Vec<Line> {
        const SHAPE: Shape = MILLION;
        let line = |name: &str, goals| buffered(name, Unit::PerSecond, SHAPE, goals);
        let more_than_one = || vec![Goal::TimesLine("gets_1m/warm".to_owned(), 1.8)];
        let mut lines = vec![
            line("gets_1m/reopened", vec![Goal::TimesBest(1.5)]),
            line("gets_1m/warm", vec![Goal::TimesBest(1.5)]),
            line("gets_1m/warm_view", vec![Goal::TimesBest(1.5)]),
            line("gets_1m/warm_2_readers", more_than_one()),
            line("gets_1m/warm_2_readers_beside_writer", more_than_one()),
        ];
        lines.extend(prefix_lines(["prefix_1m/scan", "prefix_1m/get_prefix"], SHAPE));
        lines
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let directory = self.directory(contender)?;
        let store = contender.open(&directory, Opening::BUFFERED)?;
        let started = Instant::now();
        get_each(&*store, &self.keys)?;
        let reopened = rate(GETS, started.elapsed());
        let warm = self.get_warm(&*store, 1)?;
        let view = self.get_by_view(&*store)?;
        let two = self.get_warm(&*store, 2)?;
        let prefixes = prefix_rates(&*store, &self.prefixes, 1)?;
        // Last, because it changes what the others read.
        let beside = self.get_beside_writer(&*store)?;
        let mut values: Values = [reopened, warm, view, two, beside].map(Some).into();
        values.extend(prefixes);
        Ok(values)
    }

    fn measure_bare(&mut self) -> Result<Values> {
        let store = BareStore::new(&self.scratch, MILLION.rows(), MILLION)?;
        // As the stores, it has been read before what counts.
        get_each(&store, &self.keys)?;
        let warm = self.get_warm(&store, 1)?;
        let view = self.get_by_view(&store)?;
        let two = self.get_warm(&store, 2)?;
        let beside = self.get_beside_writer(&store)?;
        Ok(vec![None, Some(warm), Some(view), Some(two), Some(beside)])
    }
}
