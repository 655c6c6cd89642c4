//! Prefix queries: the same rows as looking at every key, in key order, for the price of the rows
//! that match.
//!
//! `cargo run --release --example prefix_queries`. Works in a temporary directory, which is removed
//! at the end.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use hightower_kv::env::Env;
use hightower_kv::{Command, Error, KvEngine, Result, SingleNodeEngine};

/// As many keys of each of these kinds.
const KEYS: usize = 1000;
const KINDS: [&str; 10] =
    ["cache", "config", "event", "job", "lease", "node", "route", "secret", "session", "user"];
const ROUNDS: u32 = 100;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let engine = SingleNodeEngine::open(scratch.path().join("kv-data"))?;

    // One batch a kind: all of its keys are there, or none.
    for kind in KINDS {
        let set = |n: usize| Command::set(format!("{kind}:{n:06}"), format!("value {n} of {kind}"));
        engine.submit_batch((0..KEYS).map(set).collect())?;
    }
    println!("{} keys of {} kinds", engine.len()?, KINDS.len());

    let users = engine.get_prefix(b"user:")?;
    println!("{} of them begin with `user:`, in key order:", users.len());
    for (key, value) in users.iter().take(3) {
        println!("  {} => {}", String::from_utf8_lossy(key), String::from_utf8_lossy(value));
    }

    // A prefix need not end at a separator.
    println!("{} begin with `s`", engine.get_prefix(b"s")?.len());
    println!("{} begin with `user:00009`", engine.get_prefix(b"user:00009")?.len());
    println!("{} begin with `nothing:`", engine.get_prefix(b"nothing:")?.len());

    // The rows from either end, one at a time: nothing is gathered.
    let last = engine.read_with(|view| view.prefix(b"user:").next_back());
    if let Some((key, _)) = last.transpose()? {
        println!("the last user is {}", String::from_utf8_lossy(&key));
    }

    // By hand: look at every key there is. A cursor lends each row where it stands.
    let by_hand = || {
        engine.read_with(|view| {
            let mut rows = view.cursor_prefix(b"")?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                count += usize::from(row.key.starts_with(b"user:"));
            }
            Ok::<_, Error>(count)
        })
    };
    let by_prefix = || {
        engine.read_with(|view| {
            let mut rows = view.cursor_prefix(b"user:")?;
            let mut count = 0;
            while rows.next()?.is_some() {
                count += 1;
            }
            Ok::<_, Error>(count)
        })
    };
    assert_eq!(by_hand()?, by_prefix()?);
    let clock = Env::system().clock;
    let took = |count: &dyn Fn() -> Result<usize>| -> Result<Duration> {
        let started = clock.elapsed();
        let mut rows = 0;
        for _ in 0..ROUNDS {
            rows += count()?;
        }
        assert_eq!(rows, KEYS * ROUNDS as usize);
        Ok(clock.elapsed().saturating_sub(started) / ROUNDS)
    };
    println!("prefix query:       {:?} for {KEYS} rows", took(&by_prefix)?);
    println!("looking at all keys: {:?} for the same rows", took(&by_hand)?);

    engine.close()?;
    Ok(())
}
