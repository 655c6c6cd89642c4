//! `audit`: the trail of changes, verified.

use std::io::{self, Write};

use hightower_kv::auth::AuditRow;
use serde_json::json;

use crate::args::Args;
use crate::auth_args::KeySource;
use crate::authority::look_with_key;
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::text::{Escaped, Utc};

pub(crate) fn audit(args: &Args, key: &KeySource, from: u64, to: u64) -> Result<()> {
    let rows = look_with_key(args, &key.get()?)?.audit(from, to).map_err(|error| match error {
        hightower_kv::Error::Crypto(what) => {
            Failure::Other(format!("crypto: {what}. Expected the master key of this store"))
        }
        other => other.into(),
    })?;
    let mut out = output();
    for row in &rows {
        if args.json {
            writeln!(out, "{}", as_json(row))?;
        } else {
            let AuditRow { number, version, timestamp, .. } = row;
            let (actor, action) = (Escaped(row.actor.as_bytes()), Escaped(row.action.as_bytes()));
            let (subject, time) = (Escaped(row.subject.as_bytes()), Utc(*timestamp));
            writeln!(out, "{number}\t{time}\t{version}\t{actor}\t{action}\t{subject}")?;
        }
    }
    out.flush()?;
    let line = format!("the trail is whole, {} rows of it printed", rows.len());
    drop(writeln!(io::stderr().lock(), "{line}"));
    Ok(())
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
