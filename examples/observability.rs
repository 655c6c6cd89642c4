//! Events and metrics: what the store tells about itself, received by a `tracing` subscriber and
//! a `metrics` recorder. An application installs its own of each; `docs/metrics.md` lists the
//! metrics.
//!
//! `cargo run --release --example observability`. Works in a temporary directory, which is removed
//! at the end.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use hightower_kv::{Command, KvEngine, SingleNodeEngine};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

fn main() -> Result<(), Box<dyn Error>> {
    // Events: opening, recovery's decision, rolling, compaction, a full disk, a failed sync.
    tracing_subscriber::fmt().with_writer(std::io::stdout).with_ansi(false).init();
    // Metrics: here kept in memory; a service would install an exporter.
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install()?;

    let scratch = tempfile::tempdir()?;
    let engine = SingleNodeEngine::open(scratch.path().join("kv-data"))?;
    for n in 0..100 {
        engine.put(format!("key:{n}").into_bytes(), vec![b'x'; 100])?;
    }
    engine.submit_batch((0..50).map(|n| Command::delete(format!("key:{n}"))).collect())?;
    engine.run_compaction_now()?;
    engine.close()?;

    println!();
    let mut lines: Vec<String> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<String> = key
                .key()
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            let name = format!("{}{{{}}}", key.key().name(), labels.join(","));
            match value {
                DebugValue::Counter(count) => format!("counter    {name:<60} {count}"),
                DebugValue::Gauge(value) => format!("gauge      {name:<60} {value}"),
                DebugValue::Histogram(values) => {
                    let sum: f64 = values.iter().fold(0.0, |sum, value| sum + value.0);
                    format!("histogram  {name:<60} {} values, sum {sum:.6}", values.len())
                }
            }
        })
        .collect();
    lines.sort();
    for line in lines {
        println!("{line}");
    }
    Ok(())
}
