//! Opening a million small keys: after a kill, after a clean close, after a compaction. Then
//! whether memory and disk grow with the age of a directory.
//!
//! Not criterion: every sample is a process, a second long.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and looks at files")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/age.rs"]
mod age;
#[path = "support/child.rs"]
mod child;
#[path = "support/data.rs"]
mod data;
#[path = "support/opening.rs"]
mod opening;
#[path = "support/store.rs"]
mod store;
#[path = "support/system.rs"]
mod system;

use std::time::Duration;

use crate::child::Ended;
use crate::opening::{Directory, Opened};

const SAMPLES: usize = 5;

fn main() {
    if opening::ran_as_child() || !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("| opening 1,000,000 x 16 B / 64 B | s | read and checksum alone, s | peak, MiB |");
    println!("|---|--:|--:|--:|");
    let directory = Directory::written();
    print_row("after a kill", &directory, Ended::Killed);
    // The first of these still finds what the kill left.
    directory.open(Ended::Closed);
    print_row("after a clean close", &directory, Ended::Closed);
    directory.compact();
    print_row("after a compaction", &directory, Ended::Closed);
    println!("\n1,000 keys overwritten again and again:\n");
    age::print_growth();
}

/// Opens several times; each process ends so that the next finds the same.
fn print_row(name: &str, directory: &Directory, ended: Ended) {
    let (mut opened, mut read) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        read.push(directory.read_through());
        opened.push(directory.open(ended));
    }
    opened.sort_by_key(|opened| opened.time);
    read.sort();
    let none = Opened { time: Duration::ZERO, peak_mib: 0 };
    let Opened { time, peak_mib } = opened.get(SAMPLES / 2).copied().unwrap_or(none);
    let read = read.get(SAMPLES / 2).copied().unwrap_or_default();
    println!("| {name} | {:.3} | {:.3} | {peak_mib} |", time.as_secs_f64(), read.as_secs_f64());
}
