//! `audit`: the trail of changes, verified.

use std::io::{self, Write};

use hightower_kv::Error;
use hightower_kv::auth::AuditRow;
use serde_json::json;

use crate::args::Args;
use crate::auth_args::KeySource;
use crate::authority::look_with_key;
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::text::{Escaped, Utc};

pub(crate) fn audit(args: &Args, key: &KeySource, from: u64, to: u64) -> Result<()> {
    let auth = look_with_key(args, &key.get()?)?;
    // A trail may be longer than memory, and of one that is not whole nothing is printed: so it is
    // followed twice.
    auth.audit_each(1, 0, |_| Ok(())).map_err(|error| match error {
        Error::Crypto(what) => {
            Failure::Other(format!("crypto: {what}. Expected the master key of this store"))
        }
        other => other.into(),
    })?;
    let (mut out, mut count) = (output(), 0_u64);
    let mut printed = Ok(());
    let read = auth.audit_each(from, to, |row| {
        count += 1;
        printed = print(args, &mut out, &row);
        // What this says is not told: `printed` is.
        if printed.is_ok() { Ok(()) } else { Err(Error::Closed("standard output")) }
    });
    printed?;
    read?;
    out.flush()?;
    let line = format!("the trail is whole, {count} rows of it printed");
    drop(writeln!(io::stderr().lock(), "{line}"));
    Ok(())
}

fn print(args: &Args, out: &mut impl Write, row: &AuditRow) -> Result<()> {
    if args.json {
        return Ok(writeln!(out, "{}", as_json(row))?);
    }
    let AuditRow { number, version, timestamp, .. } = row;
    let (actor, action) = (Escaped(row.actor.as_bytes()), Escaped(row.action.as_bytes()));
    let (subject, time) = (Escaped(row.subject.as_bytes()), Utc(*timestamp));
    Ok(writeln!(out, "{number}\t{time}\t{version}\t{actor}\t{action}\t{subject}")?)
}

fn as_json(row: &AuditRow) -> serde_json::Value {
    json!({
        "number": row.number,
        "timestamp_micros": row.timestamp.0,
        "version": row.version.0,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
    })
}
