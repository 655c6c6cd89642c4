//! Buffered puts from one thread into a new store; beside each the bare loop.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]

#[path = "support/bare.rs"]
mod bare;
#[path = "support/data.rs"]
mod data;
#[path = "support/store.rs"]
mod store;
#[path = "support/writes.rs"]
mod writes;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

use crate::data::Shape;
use crate::writes::{PUT_1K, PUT_200K};

/// Measures the rows under `engine_writes/{group}` and `bare_loop/{group}`. Set-up and tear-down
/// take longer than what is timed, so the time asked for is short.
fn measure(c: &mut Criterion, group: &str, shapes: &[(&str, Shape)], time: Duration) {
    type Measured = fn(Shape, &data::Rows) -> Duration;
    let kinds: [(&str, Measured); 2] =
        [("engine_writes", |_, rows| writes::engine(rows.clone())), ("bare_loop", writes::bare)];
    for &(name, shape) in shapes {
        let rows = shape.rows();
        for (kind, run) in kinds {
            let mut group = c.benchmark_group(format!("{kind}/{group}"));
            group.throughput(Throughput::Elements(shape.rows as u64));
            group.sampling_mode(SamplingMode::Flat).sample_size(10);
            group.warm_up_time(Duration::from_millis(500)).measurement_time(time);
            group.bench_function(name, |b| {
                b.iter_custom(|iterations| (0..iterations).map(|_| run(shape, &rows)).sum());
            });
        }
    }
}

fn put_1k(c: &mut Criterion) {
    measure(c, "put_1k", &PUT_1K, Duration::from_millis(500));
}

fn put_200k(c: &mut Criterion) {
    measure(c, "put_200k", &[("small100", PUT_200K)], Duration::from_secs(5));
}

criterion_group!(benches, put_1k, put_200k);
criterion_main!(benches);
