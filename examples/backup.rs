//! A backup while writes go on, and the way back.
//!
//! `cargo run --release --example backup`. Works in a temporary directory, which is removed at the
//! end.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use hightower_kv::{KvEngine, SingleNodeEngine, restore};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let [data, backup, restored] = ["data", "backup", "restored"].map(|it| scratch.path().join(it));

    let engine = SingleNodeEngine::open(&data)?;
    for n in 0..10_000_u32 {
        engine.put(format!("order/{n:06}").into_bytes(), vec![b'x'; 200])?;
        if n == 5_000 {
            // What is in a table never changes, so a backup on the same file system shares it.
            engine.run_compaction_now()?;
        }
    }

    // Another thread may write meanwhile: the backup holds what was acknowledged before the call,
    // and perhaps a little more, never a part of a batch.
    let report = std::thread::scope(|scope| {
        let writer = scope.spawn(|| engine.put(b"order/late".to_vec(), b"1".to_vec()));
        let report = engine.backup(&backup);
        writer.join().map_err(|_| "the writer panicked")??;
        Ok::<_, Box<dyn std::error::Error>>(report?)
    })?;
    println!(
        "backed up version {}: {} files of {} bytes, {} of them shared with the store",
        report.version, report.files, report.bytes, report.linked_files
    );

    // The accident.
    engine.delete(b"order/000123".to_vec())?;
    engine.close()?;

    // A backup is a store by itself. To use it in place of the lost one, give it back: every byte
    // is checked before and after.
    let report = restore(&backup, &restored)?;
    let engine = SingleNodeEngine::open(&restored)?;
    println!(
        "restored {} bytes: order/000123 is {}, {} keys in all",
        report.bytes,
        if engine.contains(b"order/000123")? { "there again" } else { "missing" },
        engine.len()?
    );
    engine.close()?;
    Ok(())
}
