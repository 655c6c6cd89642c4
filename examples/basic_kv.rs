//! The quick start: put, get, update, delete, prefix query.
//!
//! `cargo run --example basic_kv [DIRECTORY]`. Without a directory it works in a
//! temporary one, which is removed at the end.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::PathBuf;

use hightower_kv::{KvEngine, SingleNodeEngine, StoreConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let argument = std::env::args_os().nth(1).map(PathBuf::from);

    let mut config = StoreConfig::default();
    config.data_dir = argument.unwrap_or_else(|| scratch.path().join("kv-data"));
    config.worker_threads = 4;

    let engine = SingleNodeEngine::with_config(config)?;
    // Create
    engine.put(b"alpha".to_vec(), b"bravo".to_vec())?;
    engine.put(b"charlie".to_vec(), b"delta".to_vec())?;

    // Read
    let alpha = engine.get(b"alpha")?.ok_or("alpha should exist")?;
    println!("alpha => {}", String::from_utf8_lossy(&alpha));

    // Update
    engine.put(b"alpha".to_vec(), b"echo".to_vec())?;
    let alpha_updated = engine.get(b"alpha")?.ok_or("alpha should still exist")?;
    println!("alpha (updated) => {}", String::from_utf8_lossy(&alpha_updated));

    // Delete
    engine.delete(b"charlie".to_vec())?;
    assert!(engine.get(b"charlie")?.is_none());
    println!("charlie is gone");

    // Prefix query: rows come in the order of their keys
    engine.put(b"user:123".to_vec(), b"alice".to_vec())?;
    engine.put(b"user:456".to_vec(), b"bob".to_vec())?;
    engine.put(b"session:789".to_vec(), b"active".to_vec())?;

    let users = engine.get_prefix(b"user:")?;
    println!("Found {} users", users.len());
    for (key, value) in users {
        println!("  {} => {}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
    }

    engine.flush()?;
    engine.close()?;
    Ok(())
}
