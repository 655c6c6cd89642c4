//! Work in a process of its own: so that it can be killed, and begins with nothing in memory.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::data::Shape;
use crate::failure::{Failure, Result, While};
use crate::store::{Opening, Store};
use crate::stores::Contender;

/// The first argument of a process that does the work for another.
const CHILD: &str = "child-of-compare";

/// What a child writes, and of which it gets one key when it opens a store.
pub(crate) const MILLION: Shape = Shape { rows: 1_000_000, key: 16, value: 100 };

/// Keys that must be there when a store has been opened.
const SAMPLE_KEYS: usize = 1000;

/// How a process that had the store open ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Killed,
    Closed,
}

/// Writes the rows of [`MILLION`] in a process of its own, which syncs them and then ends so.
pub(crate) fn write(contender: Contender, directory: &Path, ended: Ended) -> Result<()> {
    run("write", contender, directory, ended)?;
    Ok(())
}

/// How long a new process takes to open the store and get one key.
pub(crate) fn open(contender: Contender, directory: &Path) -> Result<Duration> {
    let line = run("open", contender, directory, Ended::Closed)?;
    let nanos =
        line.parse().during(format_args!("{}: the time, not {line:?}", contender.name()))?;
    Ok(Duration::from_nanos(nanos))
}

/// Does what a parent asked for, when this process is a child; `None` when it is not.
pub(crate) fn run_as_child() -> Option<Result<()>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [child, task, name, directory] = arguments.as_slice() else { return None };
    if child != CHILD {
        return None;
    }
    let work = || {
        let contender = Contender::named(name).during("the name of a store")?;
        let directory = Path::new(directory);
        let (store, line) = match task.as_str() {
            "write" => written(contender, directory)?,
            _ => opened(contender, directory)?,
        };
        println!("{line}");
        // The parent closes the pipe, or kills this process, which then never gets behind this.
        io::stdin().read_line(&mut String::new())?;
        drop(store);
        Ok(())
    };
    Some(work())
}

type Told = (Box<dyn Store>, String);

fn written(contender: Contender, directory: &Path) -> Result<Told> {
    let store = contender.open(directory, Opening::BUFFERED)?;
    for mut row in MILLION.rows() {
        store.put(&mut row)?;
    }
    store.sync()?;
    Ok((store, "written".to_owned()))
}

fn opened(contender: Contender, directory: &Path) -> Result<Told> {
    let keys = MILLION.drawn_keys(SAMPLE_KEYS);
    let first = keys.first().during("there are keys")?;
    let started = Instant::now();
    let store = contender.open(directory, Opening::BUFFERED)?;
    store.get(first)?.during("the first key is there")?;
    let time = started.elapsed();
    let there = store.get_all(&keys)?;
    if there != keys.len() {
        let lost = keys.len() - there;
        return Err(Failure::new(format!("{lost} of {SAMPLE_KEYS} keys are lost")));
    }
    Ok((store, time.as_nanos().to_string()))
}

/// Has a child do the task; gives the line that it printed.
fn run(task: &str, contender: Contender, directory: &Path, ended: Ended) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([CHILD, task, contender.name()]).arg(directory);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let line = first_line(&mut child)?;
    if ended == Ended::Killed {
        child.kill()?;
    }
    drop(child.stdin.take());
    let status = child.wait()?;
    if status.success() != (ended == Ended::Closed) {
        let what = format!("{task} with {} in a child ended as {status}", contender.name());
        return Err(Failure::new(what));
    }
    Ok(line)
}

fn first_line(child: &mut Child) -> Result<String> {
    let output = child.stdout.take().during("the child's output is a pipe")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
