//! Watchers that do not read.

use std::fs;

use hightower_kv::{Error, KvEngine, SnapshotEngine, WatchEngine, WatchEvent, WatchOptions};

use crate::alone::run_alone;
use crate::support::{changed_version, open_real};

const PUTS: u64 = 200_000;
const KEYS: u64 = 500;
const WATCHERS: usize = 1_000;
/// By how much the process may grow, in KiB. Eight bytes for each watcher and each write would be
/// two hundred times as much.
const GROWTH_MAX: u64 = 64 << 10;

/// Resident memory of this process, in KiB; 0 where the system does not tell.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[test]
fn one_that_never_reads_costs_no_memory_that_grows_and_holds_nobody_up() {
    let test = "slow::one_that_never_reads_costs_no_memory_that_grows_and_holds_nobody_up";
    if run_alone(test).is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let engine = open_real(directory.path());
    let mut watchers: Vec<_> = (0..WATCHERS).map(|_| engine.watch(b"key/").unwrap()).collect();
    let first = engine.latest_version().0 + 1;
    let mut before = 0;
    for n in 0..PUTS {
        let key = format!("key/{}", n % KEYS).into_bytes();
        engine.put(key, format!("value {n}").into_bytes()).unwrap();
        if n == PUTS / 4 {
            before = resident();
        }
        if n % (PUTS / 10) == 0 {
            engine.run_compaction_now().unwrap();
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} KiB");
    // All it has missed is gone: it is told so, and from where on there is something.
    let mut watcher = watchers.pop().unwrap();
    let Err(Error::Compacted { oldest }) = watcher.try_next() else { panic!("nothing is gone") };
    assert!(oldest.0 > first);
    let mut rest = engine.watch_with(WatchOptions::new(b"key/").from_version(oldest)).unwrap();
    let mut next = oldest.0;
    while let Some(event) = rest.try_next().unwrap() {
        assert_eq!(changed_version(&event), next);
        next += 1;
    }
    assert_eq!(next, engine.latest_version().0 + 1);
}

#[test]
fn one_that_reads_late_is_told_everything_the_log_still_has() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_real(directory.path());
    let mut watcher = engine.watch(b"key/").unwrap();
    let mut elsewhere = engine.watch(b"other/").unwrap();
    let first = engine.latest_version().0 + 1;
    for n in 0..PUTS / 4 {
        let key = format!("key/{}", n % KEYS).into_bytes();
        engine.put(key, format!("value {n}").into_bytes()).unwrap();
    }
    for version in first..first + PUTS / 4 {
        let event = watcher.try_next().unwrap().unwrap();
        let WatchEvent::Changed(entry) = event else { panic!("not a change") };
        assert_eq!(entry.version.0, version);
        let expected = format!("value {}", version - first);
        assert_eq!(entry.changes[0].value.as_deref(), Some(expected.as_bytes()));
    }
    assert_eq!(watcher.try_next().unwrap(), None);
    assert_eq!(elsewhere.try_next().unwrap(), None);
    assert_eq!(elsewhere.position(), watcher.position());
}
