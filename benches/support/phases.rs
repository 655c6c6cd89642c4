//! What is done to a store that is larger than its memory, each phase by a process of its own.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hightower_kv::storage::record::Direction;
use hightower_kv::{Command, KvEngine, Outcome, ReadContext, SingleNodeEngine, StoreConfig};

use crate::child::{self, Ended};
use crate::settings::{mix, setting};
use crate::system::{bytes_below, number_of, status_kib};

pub(crate) const KEY_BYTES: usize = 16;
pub(crate) const VALUE_BYTES: usize = 100;
/// Gets of a phase, or of each of its threads.
pub(crate) const GETS: u64 = 200_000;

/// Fewest puts that overwrite: merges of all tables come now and then.
const OVERWRITES_MIN: u64 = 4_000_000;
/// Puts between two looks at the length of all files.
const LOOK_EVERY: u64 = 20_000;

/// How many keys the store has.
pub(crate) fn keys() -> u64 {
    setting("KEYS", 10_000_000).max(1)
}

/// How many puts overwrite keys: each once on average, and four times in a small store.
pub(crate) fn overwrites() -> u64 {
    keys().max(OVERWRITES_MIN)
}

/// What the store may keep in memory.
pub(crate) fn budget_mib() -> u64 {
    setting("BUDGET_MIB", 64)
}

/// How many threads put.
pub(crate) fn writers() -> u64 {
    setting("WRITERS", 1).max(1)
}

/// What a phase tells of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) nanos: u64,
    /// Most memory that the process had, and what it has behind the phase.
    pub(crate) peak_kib: u64,
    pub(crate) resident_kib: u64,
    /// Read calls and their bytes, within the phase.
    pub(crate) read_calls: u64,
    pub(crate) read_bytes: u64,
    /// Bytes handed to write calls, within the phase.
    pub(crate) written_bytes: u64,
    pub(crate) runs: u64,
    pub(crate) tables: u64,
    /// Most bytes that the files had, where the phase has looked.
    pub(crate) most_bytes: u64,
}

/// Has a child do a phase and end so.
pub(crate) fn run(phase: &str, directory: &Path, ended: Ended) -> Told {
    let told: [u64; 9] = child::run(phase, directory, ended).try_into().expect("nine numbers");
    let [nanos, peak_kib, resident_kib, read_calls, read_bytes, written_bytes, rest @ ..] = told;
    let [runs, tables, most_bytes] = rest;
    Told {
        nanos,
        peak_kib,
        resident_kib,
        read_calls,
        read_bytes,
        written_bytes,
        runs,
        tables,
        most_bytes,
    }
}

/// Does the phase that a parent asked for, when this process is a child. Whether it was.
pub(crate) fn ran_as_child() -> bool {
    let Some((phase, directory)) = child::asked() else { return false };
    let begun = Begun::now();
    let store = open(&directory);
    match phase.as_str() {
        "open" => {
            assert!(store.get(&key(0)).expect("a get").is_some(), "the first key is there");
            begun.tell(Some(&store), 0);
        }
        "close" => {
            let begun = Begun::now();
            store.close().expect("closes");
            begun.tell(None, 0);
        }
        "overwrite" => {
            let begun = Begun::now();
            let most_bytes = overwrite(&store, &directory);
            begun.tell(Some(&store), most_bytes);
        }
        other => {
            let begun = Begun::now();
            do_phase(other, &store);
            begun.tell(Some(&store), 0);
        }
    }
    true
}

fn do_phase(phase: &str, store: &SingleNodeEngine) {
    match phase {
        "load" => load(store),
        "get" => get(store, Keys::There, 1),
        "get-parallel" => std::thread::scope(|scope| {
            scope.spawn(|| get(store, Keys::There, 1));
            get(store, Keys::There, 2);
        }),
        "get-absent" => get(store, Keys::Absent, 1),
        "scan" => scan(store),
        "compact" => drop(store.run_compaction_now().expect("a compaction")),
        "remove" => remove(store),
        other => unreachable!("no phase is called {other}"),
    }
}

fn open(directory: &Path) -> SingleNodeEngine {
    let mut config = StoreConfig::default();
    config.data_dir = directory.join("data");
    config.fsync_interval = Duration::from_millis(100);
    config.memory_budget = budget_mib() << 20;
    SingleNodeEngine::with_config(config).expect("the store opens")
}

fn load(store: &SingleNodeEngine) {
    in_parallel(keys(), |number| {
        store.put(key(number), value(number)).expect("a put");
    });
}

/// Returns how many bytes the files had at most, as far as was looked.
fn overwrite(store: &SingleNodeEngine, directory: &Path) -> u64 {
    let most_bytes = AtomicU64::new(0);
    in_parallel(overwrites(), |put| {
        let number = mix(put ^ (3 << 40)) % keys();
        store.put(key(number), value(keys() + put)).expect("a put");
        if put % LOOK_EVERY == 0 {
            most_bytes.fetch_max(bytes_below(directory), Ordering::Relaxed);
        }
    });
    most_bytes.into_inner()
}

/// Does so many puts, each writer every so-manieth of them.
fn in_parallel(puts: u64, put: impl Fn(u64) + Sync) {
    let step = usize::try_from(writers()).expect("so many threads");
    let put = &put;
    std::thread::scope(|scope| {
        for first in 1..writers() {
            scope.spawn(move || (first..puts).step_by(step).for_each(put));
        }
        (0..puts).step_by(step).for_each(put);
    });
}

/// Which keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    There,
    Absent,
}

fn get(store: &SingleNodeEngine, which: Keys, seed: u64) {
    let keys = keys();
    for drawn in 0..GETS {
        let number = mix(drawn ^ (seed << 40)) % keys;
        let number = if which == Keys::There { number } else { keys + number };
        let found = store.get(&key(number)).expect("a get");
        assert!(found.is_some() == (which == Keys::There), "key {number}");
        black_box(found.as_deref().and_then(<[u8]>::first));
    }
}

fn scan(store: &SingleNodeEngine) {
    let view = store.view(ReadContext::default()).expect("a view");
    let mut rows = view.cursor::<&[u8]>(.., Direction::Forward).expect("a cursor");
    let (mut count, mut bytes) = (0, 0);
    while let Some(row) = rows.next().expect("a row") {
        count += 1;
        bytes += row.key.len() + row.value.len();
    }
    assert_eq!((count, bytes as u64), (keys(), keys() * (KEY_BYTES + VALUE_BYTES) as u64));
}

/// Removes every key at once.
fn remove(store: &SingleNodeEngine) {
    let removed = store.submit(Command::delete_prefix("")).expect("a removal");
    assert_eq!(removed.outcome, Outcome::Removed { keys: keys() });
}

/// The key that is written as the so-manieth: their order has nothing to do with that of their
/// numbers, and no two are the same.
fn key(number: u64) -> Vec<u8> {
    format!("{:0KEY_BYTES$x}", mix(number)).into_bytes()
}

fn value(number: u64) -> Vec<u8> {
    let words = (0..).flat_map(|word| mix(number.wrapping_mul(31) + word).to_le_bytes());
    words.take(VALUE_BYTES).collect()
}

/// Calls that read, the bytes that they read, and the bytes that were handed to calls that write.
fn io_counters() -> [u64; 3] {
    ["syscr", "rchar", "wchar"].map(|name| number_of("/proc/self/io", name))
}

/// Where the clock and the counters stood.
struct Begun {
    at: Instant,
    read_calls: u64,
    read_bytes: u64,
    written_bytes: u64,
}

impl Begun {
    fn now() -> Self {
        let [read_calls, read_bytes, written_bytes] = io_counters();
        Self { read_calls, read_bytes, written_bytes, at: Instant::now() }
    }

    /// Tells the parent what the phase took, and waits for it.
    fn tell(self, store: Option<&SingleNodeEngine>, most_bytes: u64) {
        let nanos = u64::try_from(self.at.elapsed().as_nanos()).expect("a time");
        let [read_calls, read_bytes, written_bytes] = io_counters();
        let stats = store.map(SingleNodeEngine::stats).unwrap_or_default();
        child::tell(&[
            nanos,
            status_kib("VmHWM"),
            status_kib("VmRSS"),
            read_calls - self.read_calls,
            read_bytes - self.read_bytes,
            written_bytes - self.written_bytes,
            stats.runs as u64,
            stats.tables as u64,
            most_bytes,
        ]);
    }
}
