//! Opening a store of a million small keys.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use hightower_kv::KvEngine;
use hightower_kv::state::Durability;
use tempfile::TempDir;

use crate::child::{self, Ended};
use crate::data::Shape;
use crate::store::{open, scratch};
use crate::system::{files, status_kib};

/// What the store holds.
const MILLION: Shape = Shape { rows: 1_000_000, key: 16, value: 64 };

/// Openings of which the median counts.
const SAMPLES: usize = 5;

/// What opening cost.
#[derive(Clone, Copy, Debug)]
struct Opened {
    time: Duration,
    /// The most memory that the process had, in MiB; 0 where the system does not say.
    peak_mib: u64,
}

/// A directory with the rows of [`MILLION`].
struct Directory(TempDir);

impl Directory {
    /// Written by a process that was killed behind the last put.
    fn written() -> Self {
        let directory = scratch();
        child::run("write", directory.path(), Ended::Killed);
        Self(directory)
    }

    /// Opens it in a new process, which then ends so: that is what the next opening finds.
    fn open(&self, ended: Ended) -> Opened {
        let told = child::run("open", self.0.path(), ended);
        let [micros, kib] = told.try_into().expect("time and memory");
        Opened { time: Duration::from_micros(micros), peak_mib: kib / 1024 }
    }

    /// Has a new process compact it and close it.
    fn compact(&self) {
        child::run("compact", self.0.path(), Ended::Closed);
    }

    /// How long it takes to read all files once and checksum them.
    fn read_through(&self) -> Duration {
        let started = Instant::now();
        let mut buffer = vec![0; 1 << 20];
        for file in files(&self.0.path().join("data")) {
            let mut file = fs::File::open(file).expect("a file of the store");
            let mut crc = 0;
            loop {
                let read = io::Read::read(&mut file, &mut buffer).expect("a read");
                let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                    break;
                };
                crc = crc32c::crc32c_append(crc, bytes);
            }
            std::hint::black_box(crc);
        }
        started.elapsed()
    }
}

/// Opens it after a kill, after a clean close and after a compaction, and prints a table.
pub(crate) fn print_openings() {
    println!(
        "| opening 1,000,000 x 16 B / 64 B | ms | goal, ms | read and checksum alone, ms | peak, \
         MiB |"
    );
    println!("|---|--:|--:|--:|--:|");
    let directory = Directory::written();
    print_row(("after a kill", 300), &directory, Ended::Killed);
    // The first of these still finds what the kill left.
    directory.open(Ended::Closed);
    print_row(("after a clean close", 20), &directory, Ended::Closed);
    directory.compact();
    print_row(("after a compaction", 20), &directory, Ended::Closed);
}

/// Opens several times; each process ends so that the next finds the same.
fn print_row((name, goal): (&str, u64), directory: &Directory, ended: Ended) {
    let (mut opened, mut read) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        read.push(directory.read_through());
        opened.push(directory.open(ended));
    }
    opened.sort_by_key(|opened| opened.time);
    read.sort();
    let (Some(opened), Some(read)) = (opened.get(SAMPLES / 2), read.get(SAMPLES / 2)) else {
        unreachable!("there are samples");
    };
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (time, read) = (millis(opened.time), millis(*read));
    println!("| {name} | {time:.1} | {goal} | {read:.1} | {} |", opened.peak_mib);
}

/// Runs what a parent asked for, when this process is a child. Whether it was.
pub(crate) fn ran_as_child() -> bool {
    let Some((task, directory)) = child::asked() else { return false };
    match task.as_str() {
        "write" => write(&directory),
        "open" => time_opening(&directory),
        _ => compact(&directory),
    }
    true
}

fn write(directory: &Path) {
    let store = open(directory, Durability::Buffered);
    for (key, value) in MILLION.rows() {
        store.put(key, value).expect("a put");
    }
    child::tell(&[]);
}

/// Until it has answered one get.
fn time_opening(directory: &Path) {
    let [(key, _)] = Shape { rows: 1, ..MILLION }.rows().try_into().expect("one row");
    let started = Instant::now();
    let store = open(directory, Durability::Buffered);
    let found = store.get(&key).expect("a get");
    let time = started.elapsed();
    assert!(found.is_some() && store.len().expect("a store that stands") == MILLION.rows);
    let micros = u64::try_from(time.as_micros()).expect("a short time");
    child::tell(&[micros, status_kib("VmHWM")]);
}

fn compact(directory: &Path) {
    let store = open(directory, Durability::Buffered);
    store.run_compaction_now().expect("a compaction");
    child::tell(&[]);
}
