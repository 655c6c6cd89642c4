//! `import`: sets the rows of JSON lines, in batches that are applied whole or not at all.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hightower_kv::command::limits::{Limits, validate_command};
use hightower_kv::env::Env;
use hightower_kv::{Command, KvEngine, SingleNodeEngine, StoreConfig};
use indicatif::ProgressBar;
use serde_json::json;

use crate::args::Args;
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::lines::{LineError, Lines};
use crate::progress;
use crate::rows::JsonRow;

/// A batch is committed at so many rows,
const BATCH_ROWS: usize = 1000;
/// or at so many bytes of keys and values, whichever comes first.
const BATCH_BYTES: usize = 1 << 20;

pub(crate) fn import(args: &Args, config: StoreConfig, file: &Path) -> Result<()> {
    let limits = config.limits();
    let line_bytes_max = line_bytes_max(&config);
    let clock = Env::system().clock;
    let started = clock.elapsed();
    let (reader, len) = open(file)?;
    let mut import =
        Import { config, engine: None, limits, batch: Batch::default(), imported: 0, unchanged: 0 };
    let bar = progress::bytes("importing", len);
    let mut lines = Lines::new(reader, line_bytes_max);
    let done = import.all(&mut lines, file, &bar);
    // What stands before a line that is refused is committed.
    let done = import.commit().and(done);
    bar.finish_and_clear();
    let Import { engine, imported, unchanged, .. } = import;
    engine.map_or(Ok(()), SingleNodeEngine::close)?;
    // Whether anybody reads it or not, a line that was refused is what counts.
    let told = tell(args, imported, unchanged, clock.elapsed().saturating_sub(started));
    done.and(told)
}

/// The file and its length, where it has one.
#[expect(clippy::disallowed_methods, reason = "the operator's file, no part of any store")]
fn open(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>)> {
    if path == "-" {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let failed = |error| Failure::Other(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Failure::Other(format!("cannot read {}: it is a directory", path.display())));
    }
    let len = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(BufReader::with_capacity(256 << 10, file)), len))
}

/// The longest line that `export` writes: JSON has six characters for a control character.
const fn line_bytes_max(config: &StoreConfig) -> usize {
    6 * (config.key_bytes_max + config.value_bytes_max) + 64
}

#[derive(Default)]
struct Batch {
    commands: Vec<Command>,
    keys: BTreeSet<Bytes>,
    bytes: usize,
}

struct Import {
    config: StoreConfig,
    /// Opened for the first row: no store is created for lines of which none is one.
    engine: Option<SingleNodeEngine>,
    limits: Limits,
    batch: Batch,
    imported: u64,
    unchanged: u64,
}

impl Import {
    fn all(
        &mut self,
        lines: &mut Lines<impl BufRead>,
        file: &Path,
        bar: &ProgressBar,
    ) -> Result<()> {
        let name = if file == "-" { "standard input".into() } else { file.display().to_string() };
        loop {
            let command = match lines.next() {
                Ok(None) => return Ok(()),
                Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
                Ok(Some(line)) => self.command(line),
                Err(LineError::Io(error)) => Err(format!("cannot read on: {error}")),
                Err(LineError::TooLong { limit }) => {
                    Err(format!("expected at most {limit} bytes in a line, found more"))
                }
            };
            let number = lines.number();
            let refused = |what| Failure::Other(format!("{name}:{number}: {what}"));
            self.push(command.map_err(refused)?)?;
            bar.set_position(lines.bytes());
        }
    }

    /// What a line asks for.
    ///
    /// # Errors
    /// What was expected and what was found.
    fn command(&self, line: &[u8]) -> std::result::Result<Command, String> {
        let (key, value) = JsonRow::parse(line)?;
        let command = Command::set(key, value);
        validate_command(&command, &self.limits).map_err(|error| error.to_string())?;
        Ok(command)
    }

    /// Puts a row into the batch, unless the store has it already, and for good.
    fn push(&mut self, command: Command) -> Result<()> {
        let Command::Set { key, value } = &command else {
            return Ok(());
        };
        // Behind a row for the same key that still waits, what the store has does not count.
        let waits = self.batch.keys.contains(key);
        let engine = opened(&mut self.engine, &self.config)?;
        let has_it = || Ok::<_, Failure>(engine.get(key)?.is_some_and(|it| it == value[..]));
        if !waits && has_it()? && engine.expires_at(key)?.is_none() {
            self.unchanged += 1;
            return Ok(());
        }
        self.batch.keys.insert(key.clone());
        self.batch.bytes += key.len() + value.len();
        self.batch.commands.push(command);
        if self.batch.commands.len() >= BATCH_ROWS || self.batch.bytes >= BATCH_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    /// Commits the batch. Returns when it is on the device.
    fn commit(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.commands.is_empty() {
            return Ok(());
        }
        let rows = batch.commands.len() as u64;
        opened(&mut self.engine, &self.config)?.submit_batch(batch.commands)?;
        self.imported += rows;
        Ok(())
    }
}

fn opened<'a>(
    engine: &'a mut Option<SingleNodeEngine>,
    config: &StoreConfig,
) -> Result<&'a SingleNodeEngine> {
    let open = match engine.take() {
        Some(open) => open,
        None => SingleNodeEngine::with_config(config.clone())?,
    };
    Ok(engine.insert(open))
}

fn tell(args: &Args, imported: u64, unchanged: u64, took: Duration) -> Result<()> {
    let seconds = took.as_secs_f64();
    if args.json {
        let line = json!({"imported": imported, "unchanged": unchanged, "seconds": seconds});
        let mut out = output();
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    let line = format!("imported {imported} rows, {unchanged} unchanged, in {seconds:.2} s");
    drop(writeln!(io::stderr().lock(), "{line}"));
    Ok(())
}
