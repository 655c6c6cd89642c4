//! `set`, `get`, `rm`, `scan`.

use std::ffi::OsStr;
use std::io::{self, Read, Write};

use hightower_kv::{ApplyOutcome, At, KvEngine, Outcome, Value};
use serde_json::json;

use crate::args::Args;
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::rows::JsonRow;
use crate::text::as_plain_text;

/// What `get` does with bytes that a terminal does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Escapes them.
    Shown,
    /// Prints them as they are.
    Raw,
}

impl From<bool> for Form {
    fn from(raw: bool) -> Self {
        if raw { Self::Raw } else { Self::Shown }
    }
}

/// Which key comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Forward,
    Reverse,
}

pub(crate) fn set(args: &Args, key: &OsStr, value: &OsStr) -> Result<()> {
    let key = args.plain_key(key)?;
    let value = if value == "-" { read_value(args)? } else { args.bytes(value)? };
    let engine = args.open_or_create()?;
    let outcome = engine.put(key, value)?;
    engine.close()?;
    tell(args, &outcome)
}

/// The value from standard input, read no further than the longest value there may be.
fn read_value(args: &Args) -> Result<Vec<u8>> {
    let limit = args.config().value_bytes_max as u64;
    let mut value = Vec::new();
    let failed = |error| Failure::Other(format!("cannot read standard input: {error}"));
    // One byte more: then the store says that it is too large.
    io::stdin().lock().take(limit + 1).read_to_end(&mut value).map_err(failed)?;
    Ok(value)
}

pub(crate) fn get(args: &Args, key: &OsStr, form: Form, at: Option<At>) -> Result<()> {
    let key = args.plain_key(key)?;
    let found = args.state(at)?.get_versioned(&key)?.ok_or(Failure::NotFound)?;
    let mut out = output();
    let value: &[u8] = &found.value;
    match as_plain_text(value) {
        _ if form == Form::Raw => out.write_all(value)?,
        _ if args.json => {
            let mut row = serde_json::to_value(JsonRow::new(&key, value, args.hex.into()))?;
            if let Some(fields) = row.as_object_mut() {
                fields.insert("version".to_owned(), found.version.0.into());
                fields.insert("timestamp_micros".to_owned(), found.timestamp.0.into());
            }
            writeln!(out, "{row}")?;
        }
        Some(text) if !args.hex => writeln!(out, "{text}")?,
        _ => writeln!(out, "{}", args.show(value))?,
    }
    Ok(out.flush()?)
}

pub(crate) fn rm(args: &Args, key: &OsStr) -> Result<()> {
    let key = args.plain_key(key)?;
    let engine = args.open()?;
    let outcome = engine.delete(key)?;
    engine.close()?;
    if outcome.outcome == Outcome::NotFound {
        return Err(Failure::NotFound);
    }
    tell(args, &outcome)
}

/// Nothing, or with `--json` what happened.
fn tell(args: &Args, outcome: &ApplyOutcome) -> Result<()> {
    if !args.json {
        return Ok(());
    }
    let what = if outcome.changed() { "applied" } else { "unchanged" };
    let mut out = output();
    let version = outcome.version.0;
    let micros = outcome.timestamp.0;
    let line = json!({"outcome": what, "version": version, "timestamp_micros": micros});
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

pub(crate) fn scan(
    args: &Args,
    prefix: Option<&OsStr>,
    limit: Option<usize>,
    order: Order,
    at: Option<At>,
) -> Result<()> {
    let prefix = prefix.map(|prefix| args.plain_key(prefix)).transpose()?.unwrap_or_default();
    let view = args.state(at)?;
    let rows = view.prefix(&prefix);
    let limit = limit.unwrap_or(usize::MAX);
    let mut out = output();
    match order {
        Order::Forward => {
            rows.take(limit).try_for_each(|found| {
                let (key, value) = found?;
                row(args, &mut out, &key, &value)
            })?;
        }
        Order::Reverse => {
            rows.rev().take(limit).try_for_each(|found| {
                let (key, value) = found?;
                row(args, &mut out, &key, &value)
            })?;
        }
    }
    Ok(out.flush()?)
}

fn row(args: &Args, out: &mut impl Write, key: &[u8], value: &Value) -> Result<()> {
    if args.json {
        serde_json::to_writer(&mut *out, &JsonRow::new(key, value, args.hex.into()))?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}\t{}", args.show(key), args.show(value))?;
    }
    Ok(())
}
