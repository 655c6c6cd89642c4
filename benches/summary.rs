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
#[path = "support/calls.rs"]
mod calls;
#[path = "support/child.rs"]
mod child;
#[path = "support/compaction.rs"]
mod compaction;
#[path = "support/data.rs"]
mod data;
#[path = "support/durable.rs"]
mod durable;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/opening.rs"]
mod opening;
#[path = "support/parallel.rs"]
mod parallel;
#[path = "support/prefixes.rs"]
mod prefixes;
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

use crate::data::{Rows, Shape};
use crate::durable::LOADS;
use crate::numbers::thousands;
use crate::prefixes::{MATCHES, Prefixed, STORED};
use crate::reads::{BareMap, GET_4K, Store};
use crate::writes::{PARALLEL, PARALLEL_THREADS, PUT_1K, PUT_200K};

const REPETITIONS: usize = 7;
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
    measure(kept_rows());
    let parallel = measure(parallel_rows());
    let durable = measure(durable_rows());
    let store = RefCell::new(Store::new());
    let map = BareMap::new();
    let hot = measure(read_rows(&store, &map));
    measure(vec![cold_row(&store, &map)]);
    measure(prefix_rows(&Prefixed::new()));
    measure(vec![compaction_row()]);
    println!();
    for (at, threads) in PARALLEL_THREADS.into_iter().enumerate().skip(1) {
        let name = format!("buffered puts, {threads} threads / 1 thread");
        print_ratio(&name, &parallel, (at, 0));
    }
    for (at, load) in LOADS.into_iter().enumerate().skip(1) {
        let name = format!("durable puts, {} threads / 1 thread", load.threads);
        print_ratio(&name, &durable, (at, 0));
    }
    print_ratio("hot gets, 2 threads / 1 thread", &hot, (1, 0));
    println!("\nThe machine:\n");
    calls::print_depths();
    memory::print_pauses();
    println!();
    opening::print_openings();
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

/// Puts the rows of a shape and says how long that took.
type Put = fn(Shape, Rows) -> Duration;

fn write_rows() -> Vec<Row<'static>> {
    put_rows("engine_writes", |_, rows| writes::engine(rows))
}

/// The bare loop that keeps its rows, in the place of the engine: what of the distance to the bare
/// loop is left to any store that has its newest rows in memory, and to one whose readers have
/// states that stand still.
fn kept_rows() -> Vec<Row<'static>> {
    let mut rows = put_rows("bare_loop_with_map", writes::bare_with_map);
    rows.extend(put_rows("bare_loop_with_states", writes::bare_with_states));
    rows
}

/// Puts from one thread, of every shape, beside the bare loop.
fn put_rows(group: &str, put: Put) -> Vec<Row<'static>> {
    let small = PUT_1K.map(|(name, shape)| (format!("put_1k/{name}"), shape, SHORT_RUNS));
    let large = ("put_200k/small100".to_owned(), PUT_200K, 1);
    let rows = small.into_iter().chain([large]).map(|(name, shape, runs)| {
        let data = shape.rows();
        let same = data.clone();
        Row {
            name: format!("{group}/{name}"),
            durability: "buffered",
            shape,
            operations: shape.rows as f64 * f64::from(runs),
            engine: Box::new(move || (0..runs).map(|_| put(shape, data.clone())).sum()),
            bare: Box::new(move || (0..runs).map(|_| writes::bare(shape, &same)).sum()),
        }
    });
    rows.collect()
}

fn parallel_rows() -> Vec<Row<'static>> {
    let rows = PARALLEL_THREADS.map(|threads| {
        let data = PARALLEL.rows();
        let same = data.clone();
        Row {
            name: format!("engine_writes_parallel/{threads}"),
            durability: "buffered",
            shape: PARALLEL,
            operations: PARALLEL.rows as f64 * f64::from(SHORT_RUNS),
            engine: Box::new(move || {
                let runs = (0..SHORT_RUNS).map(|_| writes::engine_parallel(data.clone(), threads));
                runs.sum()
            }),
            // As many threads, which take turns.
            bare: Box::new(move || {
                let run = || writes::bare_parallel(PARALLEL, same.clone(), threads);
                (0..SHORT_RUNS).map(|_| run()).sum()
            }),
        }
    });
    rows.into()
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

fn compaction_row() -> Row<'static> {
    Row {
        name: "compaction/run_compaction_now".to_owned(),
        durability: "synced",
        shape: compaction::PUTS,
        operations: (compaction::PUTS.rows + compaction::DELETES) as f64,
        engine: Box::new(compaction::engine),
        bare: Box::new(compaction::bare),
    }
}

/// Rows a second: each run gives all of them once.
fn prefix_rows(store: &Prefixed) -> Vec<Row<'_>> {
    type Read = fn(&Prefixed, usize) -> Duration;
    let row = |name: &str, matches: usize, read: Read| Row {
        name: format!("{name}/{matches}"),
        durability: "buffered",
        shape: STORED,
        operations: STORED.rows as f64 * f64::from(SHORT_RUNS),
        engine: Box::new(move || (0..SHORT_RUNS).map(|_| read(store, matches)).sum()),
        bare: Box::new(move || (0..SHORT_RUNS).map(|_| store.bare(matches)).sum()),
    };
    let lists = MATCHES
        .map(|matches| row("prefix_queries/get_prefix", matches, Prefixed::get_prefix as Read));
    let mut rows: Vec<_> = lists.into();
    rows.push(row("prefix_vs_scan/prefix_cursor", 1000, Prefixed::cursor));
    rows.push(row("prefix_vs_scan/manual_scan", 1000, Prefixed::scan));
    rows
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().expect("at least one repetition")
}
