//! What keeping the past costs: puts with and without it in turn, opening a state of a million
//! writes ago, and how much room it takes beside the log that it was made of.
//!
//! `cargo bench --bench history`. Prints a line for each.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::print_stdout, reason = "a bench shows what it found")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]

#[path = "support/random.rs"]
mod random;

use std::path::Path;
use std::time::{Duration, Instant};

use hightower_kv::command::codec;
use hightower_kv::storage::frame::entry_frame_len;
use hightower_kv::storage::history::EraInfo;
use hightower_kv::{
    Command, KvEngine, Retention, SingleNodeEngine, StateView, StoreConfig, Version,
};

use crate::random::Random;

/// Puts of each round, and rounds of each kind.
const PUTS: u64 = 400_000;
const ROUNDS: usize = 5;
/// Keys that are written again and again.
const KEYS: u64 = 100_000;
/// How far back the state is that is opened.
const BACK: u64 = 1_000_000;

fn open(directory: &Path, retention: Option<Retention>, threads: usize) -> SingleNodeEngine {
    let mut config = StoreConfig::default();
    config.data_dir = directory.join("data");
    config.fsync_interval = Duration::from_millis(100);
    config.retention = retention;
    config.worker_threads = threads;
    SingleNodeEngine::with_config(config).expect("the store opens")
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the store")
}

/// A line as a log or a record has it: words and numbers.
fn text(random: &mut Random, number: u64) -> Vec<u8> {
    const WORDS: [&str; 8] =
        ["status", "engine", "running", "speed", "heading", "warning", "captain", "position"];
    let mut line = format!("{{\"id\":{number}");
    for draw in random.bytes(12).chunks(2) {
        let [word, amount] = draw else { continue };
        let word = WORDS.get(usize::from(word % 8)).unwrap_or(&"none");
        line.extend([",\"", word, "\":"]);
        line += &(u32::from(*amount) * 7).to_string();
    }
    line.push('}');
    line.into_bytes()
}

fn key_of(number: u64) -> Vec<u8> {
    // Not in the order of the keys.
    format!("ship/{:08}", number.wrapping_mul(7_919) % KEYS).into_bytes()
}

/// Writes, and returns how long that took and how many bytes it was in the log.
fn write(engine: &SingleNodeEngine, puts: u64, seed: u64) -> (Duration, u64) {
    let mut random = Random(seed);
    let mut bytes = 0;
    let mut elapsed = Duration::ZERO;
    for chunk in 0..puts / 1_000 {
        let mut commands: Vec<Command> = (chunk * 1_000..(chunk + 1) * 1_000)
            .map(|number| Command::set(key_of(number), text(&mut random, number)))
            .collect();
        random.shuffle(&mut commands);
        let len = |command| entry_frame_len(codec::encode(command).to_payload().len()) as u64;
        bytes += commands.iter().map(len).sum::<u64>();
        let started = Instant::now();
        for command in commands {
            engine.submit(command).expect("a put");
        }
        elapsed += started.elapsed();
    }
    (elapsed, bytes)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn throughput() {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        for (retention, times) in [(None, &mut without), (Some(Retention::default()), &mut with)] {
            let directory = scratch();
            let engine = open(directory.path(), retention, 2);
            times.push(write(&engine, PUTS, round + 1).0);
            engine.close().expect("the store closes");
        }
    }
    let (without, with) = (median(without), median(with));
    let rate = |time: Duration| PUTS as f64 / time.as_secs_f64();
    println!(
        "puts: {:.0} a second without the past, {:.0} with it: {:+.1} %",
        rate(without),
        rate(with),
        (rate(with) / rate(without) - 1.0) * 100.0
    );
}

fn opening_and_room() {
    let directory = scratch();
    let engine = open(directory.path(), Some(Retention::default()), 2);
    let (_, log_bytes) = write(&engine, BACK + PUTS, 77);
    engine.run_compaction_now().expect("a compaction");
    let last = engine.read_with(StateView::version).unwrap_or_default();
    for back in [BACK, BACK / 2, 1] {
        let started = Instant::now();
        let view = engine.snapshot_at(Version(last.0 - back)).expect("a state of the past");
        println!("a state of {back} writes ago, {} keys: {:?}", view.len(), started.elapsed());
    }
    engine.close().expect("the store closes");
    // Without threads each compaction does one step of compression.
    let engine = open(directory.path(), Some(Retention::default()), 0);
    for _ in 0..64 {
        engine.run_compaction_now().expect("a compaction");
    }
    let eras = engine.eras();
    let bytes: u64 = eras.iter().map(EraInfo::file_bytes).sum();
    let started = Instant::now();
    engine.snapshot_at(Version(last.0 - BACK)).expect("a state of the past");
    println!("the same, compressed: {:?}", started.elapsed());
    println!(
        "room: {bytes} bytes of changes in {} eras beside {log_bytes} bytes of log: {:.2}",
        eras.len(),
        bytes as f64 / log_bytes as f64
    );
}

fn main() {
    throughput();
    opening_and_room();
}
