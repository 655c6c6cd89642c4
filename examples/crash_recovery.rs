//! Kills a process in the middle of writing, opens what it left behind, and shows that nothing that
//! was acknowledged is gone and that nothing is there that was not submitted.
//!
//! `cargo run --release --example crash_recovery`. Works in a temporary directory, which is removed
//! at the end.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hightower_kv::{KvEngine, SingleNodeEngine};

const ROUNDS: u64 = 3;
/// The child is killed once it has acknowledged so many writes.
const ACKNOWLEDGED: usize = 500;
/// How the child is told what it is.
const WRITER: &str = "--write-until-killed";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let [writer, directory, round] = arguments.as_slice()
        && writer == WRITER
    {
        return write_until_killed(Path::new(directory), round);
    }
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().join("kv-data");
    for round in 1..=ROUNDS {
        let acknowledged = run_and_kill(&directory, round)?;
        check(&directory, round, &acknowledged)?;
    }
    println!("nothing that was acknowledged is gone");
    Ok(())
}

/// The child: a write is acknowledged, by a line on standard output, after `put` has returned `Ok`.
fn write_until_killed(directory: &Path, round: &OsStr) -> Result<(), Box<dyn Error>> {
    let engine = SingleNodeEngine::open(directory)?;
    let mut out = std::io::stdout().lock();
    for n in 0_u64.. {
        let key = format!("{}:{n:08}", round.to_string_lossy());
        engine.put(key.clone().into_bytes(), value_of(&key).into_bytes())?;
        writeln!(out, "{key}")?;
        out.flush()?;
    }
    Ok(())
}

/// What the child writes under a key: longer than a sector now and then.
fn value_of(key: &str) -> String {
    key.repeat(1 + key.bytes().map(usize::from).sum::<usize>() % 100)
}

/// Lets a child write and kills it in the middle. Returns the keys that it acknowledged.
fn run_and_kill(directory: &Path, round: u64) -> Result<Vec<String>, Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(WRITER)
        .arg(directory)
        .arg(round.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let acknowledged = kill_in_the_middle(&mut child);
    // Whatever happened, no child is left behind.
    drop(child.kill());
    child.wait()?;
    acknowledged
}

fn kill_in_the_middle(child: &mut Child) -> Result<Vec<String>, Box<dyn Error>> {
    let output = child.stdout.take().ok_or("the child has no standard output")?;
    let mut reader = BufReader::new(output);
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        // What the child managed to say before it died counts as well; half a line does not.
        let Some(key) = line.strip_suffix('\n') else {
            break;
        };
        acknowledged.push(key.to_owned());
        line.clear();
        if acknowledged.len() == ACKNOWLEDGED {
            // On Unix this is SIGKILL: the child cannot do anything about it.
            child.kill()?;
        }
    }
    Ok(acknowledged)
}

/// Opens the store and holds it against what was acknowledged.
fn check(directory: &Path, round: u64, acknowledged: &[String]) -> Result<(), Box<dyn Error>> {
    let engine = SingleNodeEngine::open(directory)?;
    for key in acknowledged {
        let value = engine.get(key.as_bytes())?;
        if value.is_none_or(|value| value != value_of(key).as_str()) {
            return Err(format!("{key} was acknowledged and is gone").into());
        }
    }
    // The child wrote its keys one after the other, so what is there must be a beginning of them,
    // each with its value: the write that was under way may be there or not.
    let rows = engine.get_prefix(format!("{round}:").as_bytes())?;
    for (n, (key, value)) in rows.iter().enumerate() {
        let expected = format!("{round}:{n:08}");
        if key != expected.as_bytes() || *value != value_of(&expected).as_str() {
            return Err(format!("{key:?} is there and was never submitted").into());
        }
    }
    let extra = rows.len().saturating_sub(acknowledged.len());
    println!(
        "round {round}: killed after {} acknowledged writes; {} are there, {extra} of them on the \
         way when it died; {} keys in all",
        acknowledged.len(),
        rows.len(),
        engine.len()?
    );
    engine.close()?;
    Ok(())
}
