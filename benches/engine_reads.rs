//! Gets of keys that were just written, and after the store was opened again; beside them gets from
//! a shared map.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]

#[path = "support/data.rs"]
mod data;
#[path = "support/reads.rs"]
mod reads;
#[path = "support/store.rs"]
mod store;

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};

use crate::reads::{BareMap, GET_4K, Store};

fn group<'a>(c: &'a mut Criterion, name: &str, threads: u64) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(GET_4K.rows as u64 * threads));
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    group
}

fn get_4k(c: &mut Criterion) {
    let mut store = Store::new();
    let bare = BareMap::new();
    let mut engine = group(c, "engine_reads/get_4k", 1);
    engine.bench_function("hot", |b| b.iter_custom(|passes| store.get_all(1, passes)));
    engine.finish();
    let mut engine = group(c, "engine_reads/get_4k", 2);
    engine.bench_function("hot_2_threads", |b| b.iter_custom(|passes| store.get_all(2, passes)));
    engine.finish();
    for threads in [1, 2] {
        let mut map = group(c, "bare_loop/get_4k", threads as u64);
        let name = format!("map_{threads}_threads");
        map.bench_function(name, |b| b.iter_custom(|passes| bare.get_all(threads, passes)));
        map.finish();
    }
    let mut engine = group(c, "engine_reads/get_4k", 1);
    // Opening is outside the timed part and takes longer than it.
    engine.measurement_time(Duration::from_millis(100));
    engine.bench_function("cold", |b| {
        b.iter_custom(|iterations| {
            (0..iterations)
                .map(|_| {
                    store.reopen();
                    store.get_all(1, 1)
                })
                .sum()
        });
    });
}

criterion_group!(benches, get_4k);
criterion_main!(benches);
