//! Opening a store of a million small keys, in a process of its own: so that it can be killed, and
//! so that its memory is that of opening and nothing else.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hightower_kv::state::Durability;
use hightower_kv::{KvEngine, SingleNodeEngine};
use tempfile::TempDir;

use crate::data::Shape;
use crate::store::{open, scratch};

/// What the store holds.
pub(crate) const MILLION: Shape = Shape { rows: 1_000_000, key: 16, value: 64 };

/// The first argument of a process that does the work for another.
const CHILD: &str = "child-of-a-bench";

/// How a process that had the store open ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Killed,
    Closed,
}

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
        run("write", directory.path(), Ended::Killed);
        Self(directory)
    }

    /// Opens it in a new process, which then ends so: that is what the next opening finds.
    pub(crate) fn open(&self, ended: Ended) -> Opened {
        let told = run("open", self.0.path(), ended);
        let mut numbers = told.split(' ').map(|number| number.parse().expect("a number"));
        let mut next = || numbers.next().expect("time and memory");
        Opened { time: Duration::from_micros(next()), peak_mib: next() }
    }

    /// Has a new process compact it and close it.
    pub(crate) fn compact(&self) {
        run("compact", self.0.path(), Ended::Closed);
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [child, task, directory] = arguments.as_slice() else { return false };
    if child != CHILD {
        return false;
    }
    let directory = Path::new(directory);
    let store = match task.as_str() {
        "write" => write(directory),
        "open" => time_opening(directory),
        _ => compact(directory),
    };
    // The parent closes the pipe, or kills this process, which then never gets behind this line.
    let mut line = String::new();
    io::stdin().read_line(&mut line).expect("a pipe");
    drop(store);
    true
}

fn write(directory: &Path) -> SingleNodeEngine {
    let store = open(directory, Durability::Buffered);
    for (key, value) in MILLION.rows() {
        store.put(key, value).expect("a put");
    }
    println!("written");
    store
}

fn time_opening(directory: &Path) -> SingleNodeEngine {
    let started = Instant::now();
    let store = open(directory, Durability::Buffered);
    let time = started.elapsed();
    assert_eq!(store.len().expect("a store that stands"), MILLION.rows);
    println!("{} {}", time.as_micros(), status_kib("VmHWM:") / 1024);
    store
}

fn compact(directory: &Path) -> SingleNodeEngine {
    let store = open(directory, Durability::Buffered);
    store.run_compaction_now().expect("a compaction");
    println!("compacted");
    store
}

/// Has a child do the task; returns the line that it printed.
fn run(task: &str, directory: &Path, ended: Ended) -> String {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    command.arg(CHILD).arg(task).arg(directory);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts once more");
    let line = first_line(&mut child);
    if ended == Ended::Killed {
        child.kill().expect("a child of ours");
    }
    drop(child.stdin.take());
    let status = child.wait().expect("a child of ours");
    assert!(status.success() == (ended == Ended::Closed), "the child ended as {status}");
    line
}

fn first_line(child: &mut Child) -> String {
    let output = child.stdout.take().expect("a pipe");
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}

/// A number of `/proc/self/status` in KiB; 0 where there is no such file.
pub(crate) fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// All files below a directory of a store.
pub(crate) fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of the store") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
