//! `log`: the entries that the log holds.

use std::io::Write;

use hightower_kv::Command;
use hightower_kv::command::{RESERVED_PREFIX, ReservedBatch};
use hightower_kv::engine::log_record::{LogContent, LogRecord};
use hightower_kv::types::LogIndex;
use serde_json::json;

use crate::args::Args;
use crate::console::output;
use crate::failure::Result;
use crate::text::{Escaped, Utc};

pub(crate) fn log(args: &Args, from: Option<u64>) -> Result<()> {
    let engine = args.look()?;
    let mut out = output();
    for record in engine.entries(from.map(LogIndex)) {
        let record = record?;
        if args.json {
            writeln!(out, "{}", as_json(&record))?;
        } else {
            let LogRecord { id, clock, content, .. } = &record;
            let (kind, summary) = describe(content);
            writeln!(out, "{}\tterm {}\t{}\t{kind}\t{summary}", id.index, id.term, Utc(*clock))?;
        }
    }
    Ok(out.flush()?)
}

fn as_json(record: &LogRecord) -> serde_json::Value {
    let (kind, summary) = describe(&record.content);
    json!({
        "index": record.id.index.0,
        "term": record.id.term.0,
        "leader": record.id.leader.0,
        "timestamp_micros": record.clock.0,
        "payload_bytes": record.payload_bytes,
        "kind": kind,
        "summary": summary,
    })
}

/// Which kind of entry, and in short what is in it.
fn describe(content: &LogContent) -> (&'static str, String) {
    match content {
        LogContent::Blank => ("blank", String::new()),
        LogContent::Membership(membership) => {
            let voters: Vec<u64> = membership.voters().iter().map(|voter| voter.0).collect();
            ("membership", format!("voters {voters:?}"))
        }
        // Escaped and shortened: keys and values may be megabytes.
        LogContent::Command(command) => ("command", summary(command)),
    }
}

fn summary(command: &Command) -> String {
    match command {
        Command::Reserved(batch) => of_reserved(batch),
        Command::InSession { session, request, command } => {
            format!("InSession {{ session: {session}, request: {request}, {} }}", summary(command))
        }
        other => format!("{other:?}"),
    }
}

/// Most changes of one entry that are shown before the rest is only counted.
const CHANGES_SHOWN_MAX: usize = 8;

/// Which reserved keys a command names, and nothing of their values or of what guards ask for.
fn of_reserved(batch: &ReservedBatch) -> String {
    let name = |key: &[u8]| Escaped(key.strip_prefix(RESERVED_PREFIX).unwrap_or(key)).to_string();
    let mut shown: Vec<String> = Vec::new();
    for command in batch.commands.iter().take(CHANGES_SHOWN_MAX) {
        shown.push(match command {
            Command::Set { key, .. } => format!("set {}", name(key)),
            Command::Delete { key } => format!("delete {}", name(key)),
            Command::DeletePrefix { prefix } => format!("delete all of {}", name(prefix)),
            _ => "another command".to_owned(),
        });
    }
    let rest = batch.commands.len().saturating_sub(shown.len());
    if rest > 0 {
        shown.push(format!("and {rest} more"));
    }
    let guards = batch.guards.len();
    format!("Reserved {{ {guards} guards, {}; values are not shown }}", shown.join(", "))
}
