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
pub(crate) const MILLION: Shape = Shape { rows: 1_000_000, key: 16, value: 64 };

/// What opening cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    pub(crate) time: Duration,
    /// The most memory that the process had, in MiB; 0 where the system does not say.
    pub(crate) peak_mib: u64,
}

/// A directory with the rows of [`MILLION`].
pub(crate) struct Directory(TempDir);

impl Directory {
    /// Written by a process that was killed behind the last put.
    pub(crate) fn written() -> Self {
        let directory = scratch();
        child::run("write", directory.path(), Ended::Killed);
        Self(directory)
    }

    /// Opens it in a new process, which then ends so: that is what the next opening finds.
    pub(crate) fn open(&self, ended: Ended) -> Opened {
        let told = child::run("open", self.0.path(), ended);
        let [micros, kib] = told.try_into().expect("time and memory");
        Opened { time: Duration::from_micros(micros), peak_mib: kib / 1024 }
    }

    /// Has a new process compact it and close it.
    pub(crate) fn compact(&self) {
        child::run("compact", self.0.path(), Ended::Closed);
    }

    /// How long it takes to read all files once and checksum them.
    pub(crate) fn read_through(&self) -> Duration {
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
