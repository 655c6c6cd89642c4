//! Puts that are on the device when they return, from 1, 16 and 64 threads; beside them a bare loop
//! of append and sync.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]
#![expect(clippy::print_stdout, reason = "the ratios are printed at the end")]

#[path = "support/bare.rs"]
mod bare;
#[path = "support/data.rs"]
mod data;
#[path = "support/durable.rs"]
mod durable;
#[path = "support/parallel.rs"]
mod parallel;
#[path = "support/store.rs"]
mod store;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};

use crate::data::Shape;
use crate::durable::LOADS;

/// Measures one row; returns the operations per second of all its runs together, if any ran.
fn measure(
    c: &mut Criterion,
    (group, name): (&str, &str),
    shape: Shape,
    run: impl Fn() -> Duration,
) -> Option<f64> {
    let (mut operations, mut seconds) = (0.0, 0.0);
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(shape.rows as u64));
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.bench_function(name, |b| {
        b.iter_custom(|iterations| {
            let time: Duration = (0..iterations).map(|_| run()).sum();
            operations += shape.rows as f64 * iterations as f64;
            seconds += time.as_secs_f64();
            time
        });
    });
    (seconds > 0.0).then_some(operations / seconds)
}

fn main() {
    let mut c = Criterion::default().configure_from_args();
    let alone = LOADS[0].shape();
    let bare = measure(&mut c, ("bare_loop", "append_fdatasync"), alone, || durable::bare(alone));
    let engine = LOADS.map(|load| {
        let name = format!("{}_threads", load.threads);
        measure(&mut c, ("durable/put", &name), load.shape(), || durable::engine(load))
    });
    c.final_summary();
    let [one, rest @ ..] = engine;
    if let (Some(bare), Some(one)) = (bare, one) {
        println!("1 thread / bare loop: {:.2}", one / bare);
        for (load, rate) in LOADS.iter().skip(1).zip(rest) {
            if let Some(rate) = rate {
                println!("{} threads / 1 thread: {:.2}", load.threads, rate / one);
            }
        }
    }
}
