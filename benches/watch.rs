//! What watchers cost: `cargo bench --bench watch`.
//!
//! Buffered puts from one thread, in turn without watchers and with each kind of them, so that a
//! machine that others use as well is as slow for all; and the memory of a thousand.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and looks at files")]
#![expect(clippy::indexing_slicing, reason = "as many times as there are kinds")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/store.rs"]
mod store;
#[path = "support/system.rs"]
mod system;

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hightower_kv::state::Durability;
use hightower_kv::{KvEngine, SingleNodeEngine, WatchEngine, WatchEvent, Watcher};

use crate::store::{open, scratch};
use crate::system::{bytes_below, status_kib};

const WATCHERS: usize = 1_000;
const ROUNDS: usize = 15;
const PUTS: u32 = 20_000;
const KEYS: u32 = 1_000;
/// The goals: microseconds a write, and MiB for a thousand.
const COST_MAX: f64 = 5.0;
const MEMORY_MAX: f64 = 10.0;

/// Who watches while the puts are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    /// Each a prefix of its own, which no key has; tasks that wait.
    Elsewhere,
    /// The same, with prefixes of thirty-two lengths.
    ElsewhereOfManyLengths,
    /// All one prefix that every key has; never asked.
    NeverRead,
    /// One prefix that every key has; a thread that reads.
    OneReads,
    /// One task for each put's key, asked after every put.
    OneReadsEach,
}

const ALL: [(Who, &str); 6] = [
    (Who::Nobody, "nobody"),
    (Who::Elsewhere, "1,000 that wait, other prefixes"),
    (Who::ElsewhereOfManyLengths, "1,000 that wait, other prefixes of 32 lengths"),
    (Who::NeverRead, "1,000 of one prefix that has all keys, never asked"),
    (Who::OneReads, "one of all keys, on a thread that waits"),
    (Who::OneReadsEach, "one of all keys, asked after every put"),
];

fn watchers(engine: &SingleNodeEngine, who: Who) -> Vec<Watcher> {
    let watch = |prefix: String| engine.watch(prefix.as_bytes()).expect("a watcher");
    let elsewhere = |len: usize, n: usize| format!("{n:04}{:.<len$}", "");
    let mut watchers: Vec<Watcher> = match who {
        Who::Nobody => return Vec::new(),
        Who::Elsewhere => (0..WATCHERS).map(|n| watch(elsewhere(8, n))).collect(),
        Who::ElsewhereOfManyLengths => (0..WATCHERS).map(|n| watch(elsewhere(n % 32, n))).collect(),
        Who::NeverRead => (0..WATCHERS).map(|_| watch("key/".to_owned())).collect(),
        Who::OneReads | Who::OneReadsEach => vec![watch("key/".to_owned())],
    };
    if matches!(who, Who::Elsewhere | Who::ElsewhereOfManyLengths) {
        for watcher in &mut watchers {
            let polled = watcher.poll_next(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending), "{polled:?}");
        }
    }
    watchers
}

/// Keys longer than every prefix, so that each length is looked up.
fn key(n: u32) -> Vec<u8> {
    format!("key/{:032}", n % KEYS).into_bytes()
}

fn puts(engine: &SingleNodeEngine, round: usize, mut after: impl FnMut()) -> Duration {
    let started = Instant::now();
    for n in 0..PUTS {
        engine.put(key(n), format!("{round:08}{n:092}").into_bytes()).expect("a put");
        after();
    }
    started.elapsed()
}

fn time(engine: &SingleNodeEngine, who: Who, round: usize) -> Duration {
    let mut watchers = watchers(engine, who);
    let is_last = |event: &WatchEvent| match event {
        WatchEvent::Changed(entry) => entry.changes[0].key == "key/end",
        _ => false,
    };
    match who {
        Who::OneReads => std::thread::scope(|scope| {
            let mut watcher = watchers.remove(0);
            scope.spawn(move || while !is_last(&watcher.next().expect("an event")) {});
            let took = puts(engine, round, || ());
            engine.put(b"key/end".to_vec(), round.to_le_bytes().to_vec()).expect("a put");
            took
        }),
        Who::OneReadsEach => {
            let mut watcher = watchers.remove(0);
            puts(engine, round, || assert!(watcher.try_next().expect("an event").is_some()))
        }
        _ => puts(engine, round, || ()),
    }
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let directory = scratch();
    let engine = open(directory.path(), Durability::Buffered);
    puts(&engine, 0, || ());
    let mut times = vec![Vec::new(); ALL.len()];
    for round in 1..=ROUNDS {
        for (times, (who, _)) in times.iter_mut().zip(ALL) {
            let each = time(&engine, who, round).as_secs_f64() * 1e6 / f64::from(PUTS);
            times.push(each);
        }
    }
    println!("{PUTS} puts a round of 36 B / 100 B, buffered, one thread, median of {ROUNDS}");
    println!("goal: 1,000 idle watchers cost at most {COST_MAX} us a write\n");
    println!("| who watches | us a put | more than nobody, us | |\n|---|--:|--:|---|");
    let medians: Vec<f64> = times
        .iter_mut()
        .map(|times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
        .collect();
    for (median, (who, name)) in medians.iter().zip(ALL) {
        let more = median - medians[0];
        let is_idle = !matches!(who, Who::Nobody | Who::OneReads | Who::OneReadsEach);
        let verdict = match (is_idle, more <= COST_MAX) {
            (false, _) => "",
            (true, true) => "reached",
            (true, false) => "MISSED",
        };
        println!("| {name} | {median:.2} | {more:.2} | {verdict} |");
    }
    print_memory(&engine);
    println!("\n{} MiB in the directory", bytes_below(directory.path()) >> 20);
}

/// Resident memory before a thousand watchers, with them, and after writes that they do not read.
fn print_memory(engine: &SingleNodeEngine) {
    let before = status_kib("VmRSS");
    let mut all = watchers(engine, Who::Elsewhere);
    all.extend(watchers(engine, Who::NeverRead));
    let made = status_kib("VmRSS");
    for round in 0..10 {
        puts(engine, 100 + round, || ());
    }
    let later = status_kib("VmRSS");
    let mib = |kib: u64| kib as f64 / 1024.0;
    let verdict = if mib(made.saturating_sub(before)) <= MEMORY_MAX { "reached" } else { "MISSED" };
    println!(
        "\n{} watchers: {:.1} MiB, goal {MEMORY_MAX} MiB for {WATCHERS}: {verdict}; after {} more \
         puts {:.1} MiB in all",
        all.len(),
        mib(made.saturating_sub(before)),
        10 * PUTS,
        mib(later.saturating_sub(before)),
    );
}
