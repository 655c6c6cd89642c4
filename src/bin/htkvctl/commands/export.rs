//! `export`: rows as JSON lines.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};

use hightower_kv::env::Env;
use indicatif::ProgressBar;

use crate::args::Args;
use crate::console::output;
use crate::failure::Result;
use crate::progress;
use crate::rows::JsonRow;

pub(crate) fn export(args: &Args, prefix: Option<&OsStr>) -> Result<()> {
    let prefix = prefix.map(|prefix| args.plain_key(prefix)).transpose()?.unwrap_or_default();
    let clock = Env::system().clock;
    let started = clock.elapsed();
    let engine = args.look()?;
    let view = engine.view();
    // On a terminal that the rows go to, a bar would stand between them.
    let bar = if std::io::stdout().is_terminal() || !prefix.is_empty() {
        ProgressBar::hidden()
    } else {
        progress::rows(view.len() as u64)
    };
    let mut out = output();
    let mut rows: u64 = 0;
    let mut found = view.cursor_prefix(&prefix)?;
    while let Some(row) = found.next()? {
        serde_json::to_writer(&mut out, &JsonRow::new(row.key, row.value, args.hex.into()))?;
        writeln!(out)?;
        rows += 1;
        bar.inc(1);
    }
    out.flush()?;
    bar.finish_and_clear();
    let seconds = clock.elapsed().saturating_sub(started).as_secs_f64();
    // Whoever takes an export for a backup is told what is not in it.
    let left_out = match view.keys_of_all().saturating_sub(view.len() as u64) {
        0 => String::new(),
        reserved => format!(
            "; {reserved} reserved rows are not exported: of scopes, times, leases, users, API \
             keys and roles"
        ),
    };
    let line = format!("exported {rows} rows in {seconds:.2} s{left_out}");
    drop(writeln!(std::io::stderr().lock(), "{line}"));
    Ok(())
}
