//! Back to any moment: what a key was, what the state was, and a store made of it.
//!
//! `cargo run --release --example time_travel`. Works in a temporary directory, which is removed at
//! the end.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use hightower_kv::{Error, KvEngine, Retention, SingleNodeEngine, StoreConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let mut config = StoreConfig::default();
    config.data_dir = scratch.path().join("data");
    // Without limits: everything that was is kept.
    config.retention = Some(Retention::default());
    let engine = SingleNodeEngine::with_config(config)?;

    let calm = engine.put(b"ship/alert".to_vec(), b"green".to_vec())?;
    engine.put(b"ship/captain".to_vec(), b"ann".to_vec())?;
    let red = engine.put(b"ship/alert".to_vec(), b"red".to_vec())?;
    engine.delete(b"ship/captain".to_vec())?;
    // What is in the log only, what is in tables, what is in the archive: it makes no difference.
    engine.run_compaction_now()?;
    let last = engine.put(b"ship/alert".to_vec(), b"yellow".to_vec())?;

    println!("the alert, as it was:");
    for version in engine.history(b"ship/alert")?.versions {
        let value = version.value.as_deref().map(String::from_utf8_lossy);
        let value = value.unwrap_or_else(|| "removed".into());
        println!("  version {:>2}  stamp {}  {value}", version.version, version.timestamp);
    }

    // By version, or by time: the last entry that is not after it.
    for (name, view) in [
        ("when all was calm", engine.snapshot_at(calm.version)?),
        ("when the alert was red", engine.snapshot_at(red.timestamp)?),
        ("now", engine.snapshot_at(last.version)?),
    ] {
        println!("{name}, at version {}:", view.version().unwrap_or_default());
        for row in &view {
            let (key, value) = row?;
            let (key, value) = (String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
            println!("  {key} = {value}");
        }
    }

    // What has not come is told from what is gone.
    let early = engine.snapshot_at(hightower_kv::Version(last.version.0 + 1_000));
    if let Err(error @ Error::NotYet { .. }) = early {
        println!("and then: {error}");
    }

    // The captain is wanted back: a store of that moment, which goes on by itself.
    let directory = scratch.path().join("with-captain");
    let report = engine.restore_at(red.version, &directory)?;
    let other = SingleNodeEngine::open(&directory)?;
    let captain = other.get(b"ship/captain")?;
    println!(
        "restored {} bytes at version {}: the captain is {}",
        report.bytes,
        report.version,
        captain.as_deref().map(String::from_utf8_lossy).unwrap_or_default()
    );
    other.close()?;
    engine.close()?;
    Ok(())
}
