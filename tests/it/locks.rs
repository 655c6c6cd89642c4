//! Row S19: two openers. One wins; the other gets `Locked` and writes nothing; the lock dies with
//! the process.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;

use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::{Error, KvEngine, ReadOnlyEngine, SingleNodeEngine};

use crate::support::{REAL_MACHINE, bytes_below, open_sim, real_config};

const HANDLE_RACES: usize = 900;
const PROCESS_RACES: usize = 100;
const DIRECTORY_VARIABLE: &str = "HTKV_LOCKS_DIRECTORY";

fn open(directory: &Path) -> hightower_kv::Result<SingleNodeEngine> {
    let mut config = real_config(directory);
    config.worker_threads = 0;
    SingleNodeEngine::with_config(config)
}

#[test]
fn a_second_handle_gets_locked_and_writes_nothing() {
    let fs = SimFs::new(1);
    let first = open_sim(&fs).unwrap();
    first.put(b"k".to_vec(), b"v".to_vec()).unwrap();
    let before = fs.files();
    assert!(matches!(open_sim(&fs), Err(Error::Locked(_))));
    let env = hightower_kv::env::Env::simulated_on(fs.clone(), 2).env;
    let reader = ReadOnlyEngine::open_in(env, Path::new("/data"));
    assert!(matches!(reader, Err(Error::Locked(_))));
    assert!(before == fs.files());
    first.close().unwrap();
    open_sim(&fs).unwrap();
}

#[test]
fn readers_share_and_keep_a_writer_out() {
    let fs = SimFs::new(1);
    open_sim(&fs).unwrap().close().unwrap();
    let read = || {
        let env = hightower_kv::env::Env::simulated_on(fs.clone(), 2).env;
        ReadOnlyEngine::open_in(env, Path::new("/data"))
    };
    let (first, second) = (read().unwrap(), read().unwrap());
    assert!(matches!(open_sim(&fs), Err(Error::Locked(_))));
    drop((first, second));
    open_sim(&fs).unwrap();
}

#[test]
fn a_lock_file_that_nobody_holds_is_harmless() {
    let _alone = REAL_MACHINE.lock();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    open(&path).unwrap().put(b"k".to_vec(), b"v".to_vec()).unwrap();
    std::fs::write(path.join("LOCK"), b"12345 a process of the past").unwrap();
    assert_eq!(open(&path).unwrap().get(b"k").unwrap().as_deref(), Some(b"v".as_slice()));
}

#[test]
fn of_two_handles_exactly_one_wins_each_race() {
    let _alone = REAL_MACHINE.lock();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let barrier = Barrier::new(2);
    for race in 0..HANDLE_RACES {
        // In the first race both want to create the store.
        let contend = || {
            barrier.wait();
            let opened = open(&path);
            // The winner holds it until the loser has lost.
            barrier.wait();
            opened.map(drop)
        };
        let results = std::thread::scope(|scope| {
            let threads = [scope.spawn(contend), scope.spawn(contend)];
            threads.map(|thread| thread.join().unwrap())
        });
        let winners = results.iter().filter(|result| result.is_ok()).count();
        let losers =
            results.iter().filter(|result| matches!(result, Err(Error::Locked(_)))).count();
        assert_eq!((winners, losers), (1, 1), "race {race}: {results:?}");
    }
}

/// Not a test of its own: what the processes do that the others start.
#[test]
fn child_opens_says_so_and_waits() {
    let Some(path) = std::env::var_os(DIRECTORY_VARIABLE) else {
        return;
    };
    wait_for_line();
    let opened = open(Path::new(&path));
    let said = match &opened {
        Ok(_) => "won".to_owned(),
        Err(Error::Locked(_)) => "locked".to_owned(),
        Err(error) => error.to_string(),
    };
    println!("\nCHILD {said}");
    std::io::stdout().flush().unwrap();
    wait_for_line();
    drop(opened);
}

fn wait_for_line() {
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

struct Opener {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Opener {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "locks::child_opens_says_so_and_waits", "--nocapture"])
            .env(DIRECTORY_VARIABLE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn tell(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some(said) = line.strip_prefix("CHILD ") {
                return said.trim().to_owned();
            }
            line.clear();
        }
        panic!("the process ended without a word");
    }

    fn end(mut self) {
        self.tell();
        self.said.read_to_end(&mut Vec::new()).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn of_two_processes_exactly_one_wins_each_race() {
    let _alone = REAL_MACHINE.lock();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    for race in 0..PROCESS_RACES {
        let mut openers = [Opener::start(&path), Opener::start(&path)];
        openers.iter_mut().for_each(Opener::tell);
        let mut said = openers.each_mut().map(Opener::hear);
        said.sort();
        assert_eq!(said, ["locked", "won"], "race {race}");
        openers.into_iter().for_each(Opener::end);
    }
}

#[test]
fn the_lock_dies_with_the_process_and_the_loser_writes_nothing() {
    let _alone = REAL_MACHINE.lock();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    open(&path).unwrap().put(b"k".to_vec(), b"v".to_vec()).unwrap();
    for _ in 0..5 {
        let mut opener = Opener::start(&path);
        opener.tell();
        assert_eq!(opener.hear(), "won");
        let before = bytes_below(&path);
        assert!(matches!(open(&path), Err(Error::Locked(_))));
        assert!(matches!(ReadOnlyEngine::open(&path), Err(Error::Locked(_))));
        assert!(before == bytes_below(&path), "the loser wrote");
        // SIGKILL: nothing is tidied up.
        opener.child.kill().unwrap();
        opener.child.wait().unwrap();
        assert_eq!(open(&path).unwrap().get(b"k").unwrap().as_deref(), Some(b"v".as_slice()));
    }
}
