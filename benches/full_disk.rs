//! How a full disk is got out of by deleting alone:
//! `SMALL_DIR=/mnt/small cargo bench --bench full_disk`.
//!
//! `SMALL_DIR` is a folder of a small file system that nobody else writes to (as root: `mount -t
//! tmpfs -o size=300m tmpfs /mnt/small`). It is filled until new data is refused; a part of the
//! rows is deleted, in random order, each again where it is refused; then one row is put, again
//! and again until there is room. In the end every row that is left is looked for. `DELETE=`
//! percent (25), `KEY_BYTES=` (16) and `VALUE_BYTES=` (100).
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and waits")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/settings.rs"]
mod settings;

use std::path::Path;
use std::time::{Duration, Instant};

use hightower_kv::{Error, KvEngine, Result, SingleNodeEngine, StoreConfig};

use crate::numbers::thousands;
use crate::settings::{mix, setting};

/// How long a refused delete or put waits before it is tried again.
const PAUSE: Duration = Duration::from_micros(100);
/// How long room is waited for.
const PATIENCE: Duration = Duration::from_mins(10);

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(parent) = std::env::var_os("SMALL_DIR") else {
        println!("full_disk: skipped, SMALL_DIR names no folder of a small file system of its own");
        return;
    };
    let directory = tempfile::tempdir_in(parent).expect("a directory for the store");
    live(directory.path());
}

fn open(directory: &Path) -> SingleNodeEngine {
    let mut config = StoreConfig::default();
    config.data_dir = directory.join("data");
    config.fsync_interval = Duration::from_millis(100);
    SingleNodeEngine::with_config(config).expect("the store opens")
}

fn live(directory: &Path) {
    let percent = setting("DELETE", 25).min(100);
    let lengths = [setting("KEY_BYTES", 16), setting("VALUE_BYTES", 100)];
    let [key_bytes, value_bytes] = lengths.map(|it| usize::try_from(it).expect("a length"));
    assert!(key_bytes >= 16, "KEY_BYTES is {key_bytes}, expected at least 16");
    let key = |number: u64| format!("{:0key_bytes$x}", mix(number)).into_bytes();
    let value = |number: u64| {
        let words = (0..).flat_map(|word| mix(number.wrapping_mul(31) + word).to_le_bytes());
        words.take(value_bytes).collect::<Vec<u8>>()
    };
    let is_deleted = |number: u64| mix(number ^ (5 << 40)) % 100 < percent;

    let store = open(directory);
    let started = Instant::now();
    let mut rows = 0;
    while !is_refused(store.put(key(rows), value(rows))) {
        rows += 1;
    }
    let filled = started.elapsed();

    let started = Instant::now();
    let (mut deleted, mut refused) = (0_u64, 0_u64);
    for number in (0..rows).filter(|&number| is_deleted(number)) {
        let from = Instant::now();
        while is_refused(store.delete(key(number))) {
            refused += 1;
            assert!(from.elapsed() < PATIENCE, "no room to delete after {deleted} deletes");
            std::thread::sleep(PAUSE);
        }
        deleted += 1;
    }
    let emptied = started.elapsed();

    let started = Instant::now();
    let mut tries = 1_u64;
    while is_refused(store.put(key(rows), value(rows))) {
        tries += 1;
        assert!(started.elapsed() < PATIENCE, "no room came back");
        std::thread::sleep(PAUSE);
    }
    let waited = started.elapsed();

    store.close().expect("closes");
    let store = open(directory);
    for number in (0..=rows).filter(|&number| number == rows || !is_deleted(number)) {
        let found = store.get(&key(number)).expect("a get");
        assert_eq!(found.as_deref(), Some(&*value(number)), "row {number}");
    }
    assert_eq!(store.stats().keys as u64, rows + 1 - deleted);
    println!(
        "{} rows of {key_bytes} + {value_bytes} B until the disk was full, in {:.1} s; {} deleted \
         ({percent} %) in {:.1} s, {} refused; first put after {:.3} ms at the try {tries}; all \
         that is left is there",
        thousands(rows as f64),
        filled.as_secs_f64(),
        thousands(deleted as f64),
        emptied.as_secs_f64(),
        thousands(refused as f64),
        waited.as_secs_f64() * 1e3,
    );
}

/// Whether there was no room for it.
fn is_refused<T>(done: Result<T>) -> bool {
    let is_full = matches!(done, Err(Error::DiskFull(_)));
    if !is_full {
        drop(done.expect("a write that finds room"));
    }
    is_full
}
