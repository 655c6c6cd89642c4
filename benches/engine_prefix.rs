//! Rows of a prefix: as a list, lent one by one, and by going over everything.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]

#[path = "support/data.rs"]
mod data;
#[path = "support/prefixes.rs"]
mod prefixes;
#[path = "support/store.rs"]
mod store;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

use crate::prefixes::{MATCHES, Prefixed, STORED};

/// Each sample gives every row of the store once, but for the manual scan, which goes over all of
/// them for each of the ten prefixes.
fn prefixes(c: &mut Criterion) {
    const THOUSAND: usize = 1000;
    let store = Prefixed::new();
    let mut measure = |group: &str, name: &str, run: &dyn Fn() -> Duration| {
        let mut group = c.benchmark_group(group);
        group.throughput(Throughput::Elements(STORED.rows as u64));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| (0..iterations).map(|_| run()).sum());
        });
    };
    for matches in MATCHES {
        let name = format!("get_prefix/{matches}");
        measure("prefix_queries", &name, &|| store.get_prefix(matches));
        measure("bare_loop/prefix", &format!("map/{matches}"), &|| store.bare(matches));
    }
    measure("prefix_vs_scan", "prefix_query", &|| store.get_prefix(THOUSAND));
    measure("prefix_vs_scan", "prefix_cursor", &|| store.cursor(THOUSAND));
    measure("prefix_vs_scan", "manual_scan", &|| store.scan(THOUSAND));
}

criterion_group!(benches, prefixes);
criterion_main!(benches);
