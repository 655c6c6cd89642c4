//! Work in a process of its own: so that it can be killed, and so that its memory is that of the
//! work and nothing else.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The first argument of a process that does the work for another.
const CHILD: &str = "child-of-a-bench";

/// How a process that had the store open ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Killed,
    Closed,
}

/// The task and the directory that a parent asked for; `None` when this process is no child.
pub(crate) fn asked() -> Option<(String, PathBuf)> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [child, task, directory] = arguments.as_slice() else { return None };
    (child == CHILD).then(|| (task.clone(), directory.into()))
}

/// Tells the parent numbers, and waits until it wants this process to end; it may kill it instead.
pub(crate) fn tell(numbers: &[u64]) {
    let texts: Vec<_> = numbers.iter().map(u64::to_string).collect();
    println!("{}", texts.join(" "));
    io::stdin().read_line(&mut String::new()).expect("a pipe");
}

/// Has a child do the task and end so; gives the numbers that it told.
pub(crate) fn run(task: &str, directory: &Path, ended: Ended) -> Vec<u64> {
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
    line.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

fn first_line(child: &mut Child) -> String {
    let output = child.stdout.take().expect("a pipe");
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("a line");
    line
}
