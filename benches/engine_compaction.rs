//! A compaction after 20,000 puts and 4,000 deletes; beside it writing and syncing a file with what
//! is left.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]

#[path = "support/compaction.rs"]
mod compaction;
#[path = "support/data.rs"]
mod data;
#[path = "support/store.rs"]
mod store;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

use crate::compaction::{DELETES, PUTS};

fn run_compaction_now(c: &mut Criterion) {
    type Run = fn() -> Duration;
    let kinds: [(&str, &str, Run); 2] = [
        ("compaction", "run_compaction_now", compaction::engine),
        ("bare_loop/compaction", "write_and_sync", compaction::bare),
    ];
    for (group, name, run) in kinds {
        let mut group = c.benchmark_group(group);
        group.throughput(Throughput::Elements((PUTS.rows + DELETES) as u64));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| (0..iterations).map(|_| run()).sum());
        });
    }
}

criterion_group!(benches, run_compaction_now);
criterion_main!(benches);
