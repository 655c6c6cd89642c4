//! Buffered puts into a new store, from one thread and from several; beside them the bare loop.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]

#[path = "support/bare.rs"]
mod bare;
#[path = "support/data.rs"]
mod data;
#[path = "support/overhead.rs"]
mod overhead;
#[path = "support/parallel.rs"]
mod parallel;
#[path = "support/store.rs"]
mod store;
#[path = "support/writes.rs"]
mod writes;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

use crate::data::Shape;
use crate::overhead::{OVERHEAD, overhead_rows};
use crate::writes::{PARALLEL, PARALLEL_THREADS, PUT_1K, PUT_200K};

/// Measures one row. Set-up and tear-down take longer than what is timed, so the time asked for is
/// short.
fn measure_row(
    c: &mut Criterion,
    (group, name): (&str, &str),
    shape: Shape,
    time: Duration,
    run: impl Fn() -> Duration,
) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(shape.rows as u64));
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(time);
    group.bench_function(name, |b| {
        b.iter_custom(|iterations| (0..iterations).map(|_| run()).sum());
    });
}

/// Measures the rows under `engine_writes/{group}` and `bare_loop/{group}`.
fn measure(c: &mut Criterion, group: &str, shapes: &[(&str, Shape)], time: Duration) {
    for &(name, shape) in shapes {
        let rows = shape.rows();
        let engine = format!("engine_writes/{group}");
        measure_row(c, (&engine, name), shape, time, || writes::engine(rows.clone()));
        let bare = format!("bare_loop/{group}");
        measure_row(c, (&bare, name), shape, time, || writes::bare(shape, &rows));
        let kept = format!("bare_loop_with_map/{group}");
        let run = || writes::bare_with_map(shape, rows.clone());
        measure_row(c, (&kept, name), shape, time, run);
        let states = format!("bare_loop_with_states/{group}");
        let run = || writes::bare_with_states(shape, rows.clone());
        measure_row(c, (&states, name), shape, time, run);
    }
}

fn put_1k(c: &mut Criterion) {
    measure(c, "put_1k", &PUT_1K, Duration::from_millis(500));
}

fn put_200k(c: &mut Criterion) {
    measure(c, "put_200k", &[("small100", PUT_200K)], Duration::from_secs(5));
}

fn parallel_puts(c: &mut Criterion) {
    let rows = PARALLEL.rows();
    for threads in PARALLEL_THREADS {
        let name = ("engine_writes_parallel", &*threads.to_string());
        let run = || writes::engine_parallel(rows.clone(), threads);
        measure_row(c, name, PARALLEL, Duration::from_millis(500), run);
        let bare = ("bare_loop/parallel", &*threads.to_string());
        let run = || writes::bare_parallel(PARALLEL, rows.clone(), threads);
        measure_row(c, bare, PARALLEL, Duration::from_millis(500), run);
    }
}

fn write_overhead(c: &mut Criterion) {
    for (name, rows) in overhead_rows() {
        let run = || writes::engine(rows.clone());
        measure_row(c, ("write_overhead", name), OVERHEAD, Duration::from_millis(500), run);
    }
}

criterion_group!(benches, put_1k, put_200k, parallel_puts, write_overhead);
criterion_main!(benches);
