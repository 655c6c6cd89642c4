//! All rows beside their bare loops as one table: `cargo bench --bench summary`.
//!
//! Not criterion: engine and bare loop take turns within each repetition, so that whatever else the
//! machine does meanwhile befalls both, and the ratio of the medians means something on a machine
//! that is not quiet.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and looks at files")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/age.rs"]
mod age;
#[path = "support/bare.rs"]
mod bare;
#[path = "support/child.rs"]
mod child;
#[path = "support/data.rs"]
mod data;
#[path = "support/durable.rs"]
mod durable;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/opening.rs"]
mod opening;
#[path = "support/reads.rs"]
mod reads;
#[path = "support/store.rs"]
mod store;
#[path = "support/system.rs"]
mod system;
#[path = "support/writes.rs"]
mod writes;

use std::cell::RefCell;
use std::time::Duration;

use crate::child::Ended;
use crate::data::Shape;
use crate::durable::LOADS;
use crate::numbers::thousands;
use crate::opening::Directory;
use crate::reads::{BareMap, GET_4K, Store};
use crate::writes::{PUT_1K, PUT_200K};

const REPETITIONS: usize = 7;
/// Opening takes a second each time.
const OPEN_REPETITIONS: usize = 3;
/// How often a repetition of a hot row gets every key.
const GET_PASSES: u64 = 50;
/// How often a repetition of a short row is run; what counts is the sum.
const SHORT_RUNS: u32 = 5;

/// One line of the table.
struct Row<'a> {
    name: String,
    durability: &'static str,
    /// What one run works on.
    shape: Shape,
    /// Operations in one run.
    operations: f64,
    engine: Box<dyn FnMut() -> Duration + 'a>,
    bare: Box<dyn FnMut() -> Duration + 'a>,
}

/// Medians of a row, in operations a second.
struct Rates {
    engine: f64,
    bare: f64,
}

fn main() {
    if opening::ran_as_child() || !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // First, while this process holds nothing else.
    println!("1,000 keys x 16 B / 64 B, overwritten again and again, buffered:\n");
    age::print_growth();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("\n{cores} cores, medians of {REPETITIONS} repetitions, operations a second\n");
    println!("| row | engine | bare loop | engine / bare | durability | data size |");
    println!("|---|--:|--:|--:|---|---|");
    measure(write_rows());
    let durable = measure(durable_rows());
    let store = RefCell::new(Store::new());
    let map = BareMap::new();
    let hot = measure(read_rows(&store, &map));
    measure(vec![cold_row(&store, &map)]);
    println!();
    print_ratio("durable puts, 16 threads / 1 thread", &durable, (1, 0));
    print_ratio("durable puts, 64 threads / 1 thread", &durable, (2, 0));
    print_ratio("hot gets, 2 threads / 1 thread", &hot, (1, 0));
    println!("\n| opening | engine, s | read and checksum alone, s | peak memory, MiB |");
    println!("|---|--:|--:|--:|");
    print_opening();
}

fn print_ratio(name: &str, rates: &[Rates], (of, to): (usize, usize)) {
    if let (Some(of), Some(to)) = (rates.get(of), rates.get(to)) {
        println!("* {name}: {:.2} (bare loop: {:.2})", of.engine / to.engine, of.bare / to.bare);
    }
}

/// Runs the rows in turn, engine and bare loop in turn, and prints them.
fn measure(mut rows: Vec<Row<'_>>) -> Vec<Rates> {
    let mut times = vec![(Vec::new(), Vec::new()); rows.len()];
    for _ in 0..REPETITIONS {
        for (row, (engine, bare)) in rows.iter_mut().zip(&mut times) {
            bare.push((row.bare)());
            engine.push((row.engine)());
        }
    }
    let mut rates = Vec::new();
    for (row, (engine, bare)) in rows.iter().zip(times) {
        let rate = |times| row.operations / median(times).as_secs_f64();
        let (engine, bare) = (rate(engine), rate(bare));
        let Row { name, durability, shape: Shape { rows, key, value }, .. } = row;
        println!(
            "| {name} | {} | {} | {:.2} | {durability} | {} x {key} B / {value} B |",
            thousands(engine),
            thousands(bare),
            engine / bare,
            thousands(*rows as f64),
        );
        rates.push(Rates { engine, bare });
    }
    rates
}

fn write_rows() -> Vec<Row<'static>> {
    let small = PUT_1K.map(|(name, shape)| (format!("put_1k/{name}"), shape, SHORT_RUNS));
    let large = ("put_200k/small100".to_owned(), PUT_200K, 1);
    let rows = small.into_iter().chain([large]).map(|(name, shape, runs)| {
        let data = shape.rows();
        let same = data.clone();
        Row {
            name: format!("engine_writes/{name}"),
            durability: "buffered",
            shape,
            operations: shape.rows as f64 * f64::from(runs),
            engine: Box::new(move || (0..runs).map(|_| writes::engine(data.clone())).sum()),
            bare: Box::new(move || (0..runs).map(|_| writes::bare(shape, &same)).sum()),
        }
    });
    rows.collect()
}

fn durable_rows() -> Vec<Row<'static>> {
    let alone = LOADS[0].shape();
    let rows = LOADS.map(|load| Row {
        name: format!("durable/put/{}_threads", load.threads),
        durability: "synced",
        shape: load.shape(),
        operations: load.shape().rows as f64,
        engine: Box::new(move || durable::engine(load)),
        // One thread, whatever the engine has, and as many operations.
        bare: Box::new(move || {
            durable::bare(alone).mul_f64(load.shape().rows as f64 / alone.rows as f64)
        }),
    });
    rows.into()
}

fn read_rows<'a>(store: &'a RefCell<Store>, map: &'a BareMap) -> Vec<Row<'a>> {
    let row = |name: &str, threads: usize, passes: u64| Row {
        name: format!("engine_reads/get_4k/{name}"),
        durability: "buffered",
        shape: GET_4K,
        operations: (GET_4K.rows * threads) as f64 * passes as f64,
        engine: Box::new(move || store.borrow().get_all(threads, passes)),
        bare: Box::new(move || map.get_all(threads, passes)),
    };
    vec![row("hot", 1, GET_PASSES), row("hot_2_threads", 2, GET_PASSES)]
}

/// Opens the store before each repetition: measured after the hot rows, which read what was written
/// by the process itself.
fn cold_row<'a>(store: &'a RefCell<Store>, map: &'a BareMap) -> Row<'a> {
    Row {
        name: "engine_reads/get_4k/cold".to_owned(),
        durability: "buffered",
        shape: GET_4K,
        operations: GET_4K.rows as f64,
        engine: Box::new(move || {
            store.borrow_mut().reopen();
            store.borrow().get_all(1, 1)
        }),
        bare: Box::new(move || map.get_all(1, 1)),
    }
}

fn print_opening() {
    let directory = Directory::written();
    print_openings("after a kill", &directory, Ended::Killed);
    // The first of these still finds what the kill left.
    directory.open(Ended::Closed);
    print_openings("after a clean close", &directory, Ended::Closed);
    directory.compact();
    print_openings("after a compaction", &directory, Ended::Closed);
}

fn print_openings(name: &str, directory: &Directory, ended: Ended) {
    let (mut engine, mut bare, mut peak) = (Vec::new(), Vec::new(), 0);
    for _ in 0..OPEN_REPETITIONS {
        bare.push(directory.read_through());
        let opened = directory.open(ended);
        engine.push(opened.time);
        peak = peak.max(opened.peak_mib);
    }
    let (engine, bare) = (median(engine).as_secs_f64(), median(bare).as_secs_f64());
    println!("| 1,000,000 x 16 B / 64 B, {name} | {engine:.3} | {bare:.3} | {peak} |");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().expect("at least one repetition")
}
