//! More keys than the memory budget has room for: `cargo bench --bench capacity`.
//!
//! Ten million keys of 16 B with values of 100 B, one thread that puts and a budget of 64 MiB,
//! unless `KEYS`, `WRITERS`, `BUDGET_MIB` and `DIR` say otherwise: loaded, killed, opened, read at
//! random, scanned, compacted, opened again, overwritten at random, and removed at once. Every
//! phase is a process of its own, which tells how much memory it had.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and looks at files")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/child.rs"]
mod child;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/phases.rs"]
mod phases;
#[path = "support/settings.rs"]
mod settings;
#[path = "support/system.rs"]
mod system;

use std::path::Path;

use crate::child::Ended;
use crate::numbers::thousands;
use crate::phases::{GETS, Told, VALUE_BYTES, overwrites};
use crate::system::bytes_below;

/// Openings of which the median counts.
const OPENINGS: usize = 3;
/// What a process may take in the issue: the budget and 64 MiB.
const RESIDENT_OVER_BUDGET_MIB: u64 = 64;

fn main() {
    if phases::ran_as_child() || !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (keys, budget) = (phases::keys(), phases::budget_mib());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{} keys x {} B / {VALUE_BYTES} B in random order, put by {}, `memory_budget` {budget} \
         MiB, {cores} cores, buffered; goal: resident at most {} MiB\n",
        thousands(keys as f64),
        phases::KEY_BYTES,
        match phases::writers() {
            1 => "one thread".to_owned(),
            several => format!("{several} threads"),
        },
        budget + RESIDENT_OVER_BUDGET_MIB,
    );
    println!("| phase | s | a second | peak, MiB | at its end, MiB | runs | tables |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let parent = std::env::var_os("DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let directory = tempfile::tempdir_in(parent).expect("a directory for the store");
    measure(directory.path(), keys);
}

fn measure(directory: &Path, keys: u64) {
    let user_bytes = keys as f64 * (phases::KEY_BYTES + VALUE_BYTES) as f64;
    let of_user = |bytes: u64| bytes as f64 / user_bytes;

    let loaded = phases::run("load", directory, Ended::Killed);
    print_row("loaded, then killed", &loaded, keys);
    print_opened("opened after the kill", directory, Ended::Killed);
    let closed = phases::run("close", directory, Ended::Closed);
    print_row("closed", &closed, 0);
    print_opened("opened after a clean close", directory, Ended::Closed);
    let size_loaded = bytes_below(directory);
    let reads = print_reads(directory, keys);

    let compacted = phases::run("compact", directory, Ended::Closed);
    print_row("compacted into one run", &compacted, keys);
    print_opened("opened after that", directory, Ended::Closed);
    let size_compacted = bytes_below(directory);
    let reads_compacted = print_reads(directory, keys);

    let overwritten = phases::run("overwrite", directory, Ended::Closed);
    print_row("overwritten at random", &overwritten, overwrites());

    let removed = phases::run("remove", directory, Ended::Closed);
    print_row("all removed by one `delete_prefix`", &removed, keys);
    let size_removed = bytes_below(directory);

    println!();
    for (when, reads) in [("loaded", reads), ("compacted", reads_compacted)] {
        let (there, absent) = reads;
        let gets = GETS as f64;
        println!(
            "* reads for a get, {when}: {:.2} of {:.0} B ({:.3} for a key that is not there)",
            there.read_calls as f64 / gets,
            there.read_bytes as f64 / there.read_calls.max(1) as f64,
            absent.read_calls as f64 / gets,
        );
    }
    println!(
        "* files for each byte of keys and values: {:.2} loaded, {:.2} compacted",
        of_user(size_loaded),
        of_user(size_compacted),
    );
    println!(
        "* written for each byte put while it was loaded: {:.2} (log and tables, by write calls: \
         `wchar`); the compaction wrote another {:.2}",
        of_user(loaded.written_bytes),
        of_user(compacted.written_bytes),
    );
    println!("* files when everything is removed: {:.3} MB", size_removed as f64 / 1e6);
    println!(
        "* written for each byte put by {} overwrites: {:.2}; files for each byte meanwhile: at \
         most {:.2}",
        thousands(overwrites() as f64),
        of_user(overwritten.written_bytes) * keys as f64 / overwrites() as f64,
        of_user(overwritten.most_bytes),
    );
}

/// Gets and scans, each in its own process. What the gets of keys that are there and of keys that
/// are not have read.
fn print_reads(directory: &Path, keys: u64) -> (Told, Told) {
    let there = phases::run("get", directory, Ended::Closed);
    print_row(&format!("{} random gets", thousands(GETS as f64)), &there, GETS);
    let absent = phases::run("get-absent", directory, Ended::Closed);
    print_row("as many of keys that are not there", &absent, GETS);
    let threads = phases::run("get-parallel", directory, Ended::Closed);
    print_row("random gets, two threads", &threads, 2 * GETS);
    let scanned = phases::run("scan", directory, Ended::Closed);
    print_row("scanned", &scanned, keys);
    (there, absent)
}

fn print_opened(name: &str, directory: &Path, ended: Ended) {
    let mut told: Vec<_> = (0..OPENINGS).map(|_| phases::run("open", directory, ended)).collect();
    told.sort_by_key(|told| told.nanos);
    print_row(name, told.get(OPENINGS / 2).expect("one in the middle"), 0);
}

fn print_row(name: &str, told: &Told, operations: u64) {
    let seconds = told.nanos as f64 / 1e9;
    let rate = if operations == 0 { String::new() } else { thousands(operations as f64 / seconds) };
    let Told { peak_kib, resident_kib, runs, tables, .. } = told;
    let (peak, resident) = (peak_kib.div_ceil(1024), resident_kib.div_ceil(1024));
    println!("| {name} | {seconds:.3} | {rate} | {peak} | {resident} | {runs} | {tables} |");
}
