//! `set`, `get`, `rm`, `scan`.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use hightower_kv::command::lease::ttl_micros;
use hightower_kv::command::limits::{CommandError, Limits, validate_command};
use hightower_kv::{
    ApplyOutcome, At, Command, Error, Outcome, Scope, SingleNodeEngine, StoreConfig, Until, Value,
};
use serde_json::json;

use crate::args::Args;
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::rows::JsonRow;
use crate::text::{as_plain_text, parse_time};

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

/// The scope with the name that was given, or the plain keyspace.
fn scope_of(name: Option<&str>) -> Result<Scope> {
    match name {
        None => Ok(Scope::Permanent),
        Some("ephemeral") => Ok(Scope::Ephemeral),
        Some(name) => {
            Scope::named(name).map_err(|error| Failure::Usage(format!("--scope: {error}")))
        }
    }
}

/// A key or a prefix of a scope: any bytes, but of the plain keyspace no reserved one.
fn key_in(args: &Args, scope: &Scope, key: &OsStr) -> Result<Vec<u8>> {
    if *scope == Scope::Permanent { args.plain_key(key) } else { args.bytes(key) }
}

pub(crate) fn set(
    args: &Args,
    config: StoreConfig,
    scope: Option<&str>,
    key: &OsStr,
    value: &OsStr,
    ttl: Option<&str>,
) -> Result<()> {
    let scope = scope_of(scope)?;
    let key = key_in(args, &scope, key)?;
    let ttl = ttl.map(|text| {
        let wrong = || format!("--ttl: expected a number and ms, s, m, h or d, found '{text}'");
        parse_time(text).ok_or_else(|| Failure::Usage(wrong()))
    });
    let ttl = ttl.transpose()?;
    let value = if value == "-" { read_value(&config)? } else { args.bytes(value)? };
    check(&config.limits(), &scope, &key, &value, ttl)?;
    let engine = SingleNodeEngine::with_config(config)?;
    let scoped = engine.scope(scope);
    let outcome = match ttl {
        None => scoped.put(key, value)?,
        Some(ttl) => scoped.put_with_ttl(key, value, ttl)?,
    };
    engine.close()?;
    tell(args, &outcome)
}

/// Refuses what the store would refuse, before one is created for it.
fn check(
    limits: &Limits,
    scope: &Scope,
    key: &[u8],
    value: &[u8],
    ttl: Option<Duration>,
) -> Result<()> {
    if key.is_empty() {
        return Err(Error::from(CommandError::EmptyKey).into());
    }
    // Of a plain name that is as long as the physical key: those of scopes are reserved.
    let key = Bytes::from(vec![b'k'; scope.key(key).len()]);
    let value = Bytes::copy_from_slice(value);
    let command = match ttl {
        None => Command::set(key, value),
        Some(ttl) => Command::SetExpiring { key, value, until: Until::After(ttl_micros(ttl)) },
    };
    Ok(validate_command(&command, limits).map_err(Error::from)?)
}

/// The value from standard input, read no further than the longest value there may be.
fn read_value(config: &StoreConfig) -> Result<Vec<u8>> {
    let limit = config.value_bytes_max as u64;
    let mut value = Vec::new();
    let failed = |error| Failure::Other(format!("cannot read standard input: {error}"));
    // One byte more: then the store says that it is too large.
    io::stdin().lock().take(limit + 1).read_to_end(&mut value).map_err(failed)?;
    Ok(value)
}

pub(crate) fn get(
    args: &Args,
    scope: Option<&str>,
    key: &OsStr,
    form: Form,
    at: Option<At>,
) -> Result<()> {
    let scope = scope_of(scope)?;
    let key = key_in(args, &scope, key)?;
    let found = args.state(at)?.scope(&scope).get_versioned(&key)?.ok_or(Failure::NotFound)?;
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

pub(crate) fn rm(args: &Args, scope: Option<&str>, key: &OsStr) -> Result<()> {
    let scope = scope_of(scope)?;
    let key = key_in(args, &scope, key)?;
    let engine = args.open()?;
    let outcome = engine.scope(scope).delete(key)?;
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
    scope: Option<&str>,
    prefix: Option<&OsStr>,
    limit: Option<usize>,
    order: Order,
    at: Option<At>,
) -> Result<()> {
    let scope = scope_of(scope)?;
    let prefix = prefix.map(|prefix| key_in(args, &scope, prefix)).transpose()?.unwrap_or_default();
    let view = args.state(at)?;
    let rows = view.scope(&scope).prefix(&prefix);
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
