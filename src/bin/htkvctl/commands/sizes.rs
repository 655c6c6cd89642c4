//! `stats`, `segments`, `compact`: how much there is, and making it less.

use std::io::{IsTerminal, Write};

use hightower_kv::engine::stats::TableStats;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::args::Args;
use crate::console::output;
use crate::failure::Result;
use crate::progress;
use crate::text::{Size, Utc};

pub(crate) fn stats(args: &Args) -> Result<()> {
    let engine = args.look()?;
    let stats = engine.stats();
    let identity = engine.identity();
    // What the library keeps for itself: counted, never shown.
    let reserved = engine.view().keys_of_all().saturating_sub(stats.keys as u64);
    let voters = engine
        .membership()
        .map(|membership| membership.voters().iter().map(|voter| voter.0).collect::<Vec<_>>());
    let mut out = output();
    if args.json {
        let line = json!({
            "cluster": identity.cluster.to_string(),
            "node": identity.node.0,
            "voters": voters,
            "keys": stats.keys,
            "reserved_keys": reserved,
            "live_bytes": stats.live_bytes,
            "stale_bytes": stats.stale_bytes,
            "latest_version": stats.latest_version.0,
            "last_timestamp_micros": stats.last_timestamp.0,
            "term": stats.term.0,
            "segments": stats.segments,
            "log_bytes": stats.log_bytes,
            "snapshot_version": stats.snapshot_version.map(|version| version.0),
            "tables": stats.tables,
            "table_bytes": stats.table_bytes,
            "runs": stats.runs,
            "stale_table_bytes": stats.stale_table_bytes,
        });
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    let snapshot = stats
        .snapshot_version
        .map_or_else(|| "none".to_owned(), |version| format!("at version {version}"));
    writeln!(out, "cluster         {}", identity.cluster)?;
    writeln!(out, "node            {}", identity.node)?;
    writeln!(out, "voters          {:?}", voters.unwrap_or_default())?;
    writeln!(out, "keys            {}", stats.keys)?;
    writeln!(out, "reserved keys   {reserved}")?;
    writeln!(out, "live bytes      {}", Size(stats.live_bytes))?;
    writeln!(out, "stale bytes     {}", Size(stats.stale_bytes))?;
    writeln!(out, "latest version  {}", stats.latest_version)?;
    writeln!(out, "last write      {}", Utc(stats.last_timestamp))?;
    writeln!(out, "term            {}", stats.term)?;
    writeln!(out, "log bytes       {} in {} segments", Size(stats.log_bytes), stats.segments)?;
    writeln!(out, "snapshot        {snapshot}")?;
    writeln!(
        out,
        "table bytes     {} in {} tables of {} runs",
        Size(stats.table_bytes),
        stats.tables,
        stats.runs
    )?;
    Ok(out.flush()?)
}

pub(crate) fn segments(args: &Args) -> Result<()> {
    let engine = args.look()?;
    let stats = engine.stats();
    let segments = engine.segments();
    let mut out = output();
    if args.json {
        let segments: Vec<_> = segments
            .iter()
            .map(|&(id, bytes)| {
                json!({"segment": id.0, "entries": engine.entries_in(id), "bytes": bytes})
            })
            .collect();
        let tables: Vec<_> = engine.tables().iter().map(table_as_json).collect();
        let line = json!({
            "segments": segments,
            "tables": tables,
            "table_bytes": stats.table_bytes,
            "live_bytes": stats.live_bytes,
            "stale_bytes": stats.stale_bytes,
            "stale_table_bytes": stats.stale_table_bytes,
        });
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    for &(id, bytes) in &segments {
        writeln!(out, "segment-{id} entries:{} bytes:{bytes}", engine.entries_in(id))?;
    }
    for TableStats { table, run, rows, bytes, .. } in engine.tables() {
        writeln!(out, "table-{table} rows:{rows} bytes:{bytes} run:{run}")?;
    }
    writeln!(out, "tables:{} bytes:{}", stats.tables, stats.table_bytes)?;
    writeln!(out, "live bytes:{} stale bytes:{}", stats.live_bytes, stats.stale_bytes)?;
    out.flush()?;
    let in_log = stats.stale_bytes.saturating_sub(stats.stale_table_bytes);
    map_of("log", stats.log_bytes, in_log)?;
    map_of("tables", stats.table_bytes, stats.stale_table_bytes)
}

fn table_as_json(table: &TableStats) -> serde_json::Value {
    let TableStats { table, run, rows, removals, bytes, .. } = *table;
    json!({"table": table.0, "run": run, "rows": rows, "removals": removals, "bytes": bytes})
}

/// On a terminal a line as wide as it: the part of some files that is live, and the part that a
/// compaction would free.
fn map_of(files: &'static str, bytes: u64, useless: u64) -> Result<()> {
    let live = bytes.saturating_sub(useless);
    let percent = (u128::from(live) * 100).checked_div(u128::from(bytes)).unwrap_or(100);
    let style = ProgressStyle::with_template("{prefix:6} [{wide_bar}] {msg:36}");
    let (true, Ok(style)) = (std::io::stdout().is_terminal(), style) else {
        return Ok(());
    };
    let bar = ProgressBar::with_draw_target(Some(bytes.max(1)), ProgressDrawTarget::stdout())
        .with_style(style.progress_chars("#."))
        .with_prefix(files)
        .with_message(format!("{percent}% live of {}", Size(bytes)))
        .with_position(live);
    bar.abandon();
    Ok(writeln!(std::io::stdout().lock())?)
}

pub(crate) fn compact(args: &Args) -> Result<()> {
    let engine = args.open()?;
    let bar = progress::waiting("compacting");
    let report = engine.run_compaction_now();
    bar.finish_and_clear();
    let report = report?;
    engine.close()?;
    let seconds = report.elapsed.as_secs_f64();
    let mut out = output();
    if args.json {
        let line = json!({
            "version": report.version.0,
            "rows": report.rows,
            "bytes_before": report.bytes_before,
            "bytes_after": report.bytes_after,
            "segments_removed": report.segments_removed,
            "rows_written": report.rows_written,
            "merges": report.merges,
            "tables": report.tables,
            "table_bytes": report.table_bytes,
            "seconds": seconds,
        });
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    writeln!(out, "bytes before      {}", Size(report.bytes_before))?;
    writeln!(out, "bytes after       {}", Size(report.bytes_after))?;
    writeln!(out, "segments removed  {}", report.segments_removed)?;
    writeln!(out, "rows              {}, {} newly written", report.rows, report.rows_written)?;
    writeln!(out, "merges            {}", report.merges)?;
    writeln!(out, "tables            {}, bytes {}", report.tables, Size(report.table_bytes))?;
    writeln!(out, "took              {seconds:.3} s")?;
    Ok(out.flush()?)
}
