//! `stats`, `segments`, `compact`: how much there is, and making it less.

use std::io::{IsTerminal, Write};

use serde_json::json;

use crate::args::Args;
use crate::console::output;
use crate::failure::Result;
use crate::text::Utc;

pub(crate) fn stats(args: &Args) -> Result<()> {
    let engine = args.look()?;
    let stats = engine.stats();
    let identity = engine.identity();
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
    writeln!(out, "live bytes      {}", stats.live_bytes)?;
    writeln!(out, "stale bytes     {}", stats.stale_bytes)?;
    writeln!(out, "latest version  {}", stats.latest_version)?;
    writeln!(out, "last write      {}", Utc(stats.last_timestamp))?;
    writeln!(out, "term            {}", stats.term)?;
    writeln!(out, "log             {} bytes in {} segments", stats.log_bytes, stats.segments)?;
    writeln!(out, "snapshot        {snapshot}")?;
    writeln!(
        out,
        "tables          {} bytes in {} tables, {} runs",
        stats.table_bytes, stats.tables, stats.runs
    )?;
    Ok(out.flush()?)
}

pub(crate) fn segments(args: &Args) -> Result<()> {
    let engine = args.look()?;
    let stats = engine.stats();
    let segments = engine.segments();
    let mut out = output();
    if args.json {
        let rows: Vec<_> = segments
            .iter()
            .map(|&(id, bytes)| {
                json!({"segment": id.0, "entries": engine.entries_in(id), "bytes": bytes})
            })
            .collect();
        let line = json!({
            "segments": rows,
            "table_bytes": stats.table_bytes,
            "live_bytes": stats.live_bytes,
            "stale_bytes": stats.stale_bytes,
        });
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    for &(id, bytes) in &segments {
        writeln!(out, "segment-{id} entries:{} bytes:{bytes}", engine.entries_in(id))?;
    }
    writeln!(out, "tables:{} bytes:{}", stats.tables, stats.table_bytes)?;
    writeln!(out, "live bytes:{} stale bytes:{}", stats.live_bytes, stats.stale_bytes)?;
    if std::io::stdout().is_terminal() {
        writeln!(out, "{}", bar(stats.live_bytes, stats.stale_bytes))?;
    }
    Ok(out.flush()?)
}

/// Which part is live, as a bar.
fn bar(live: u64, stale: u64) -> String {
    const CELLS: u8 = 40;
    let all = u128::from(live) + u128::from(stale);
    let part = |of: u64| (u128::from(live) * u128::from(of)).checked_div(all).unwrap_or(0);
    let full = usize::try_from(part(u64::from(CELLS))).unwrap_or(0);
    let rest = usize::from(CELLS).saturating_sub(full);
    format!("[{}{}] {}% live", "#".repeat(full), ".".repeat(rest), part(100))
}

pub(crate) fn compact(args: &Args) -> Result<()> {
    let engine = args.open()?;
    let report = engine.run_compaction_now()?;
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
    writeln!(out, "bytes before      {}", report.bytes_before)?;
    writeln!(out, "bytes after       {}", report.bytes_after)?;
    writeln!(out, "segments removed  {}", report.segments_removed)?;
    writeln!(out, "rows              {}, {} newly written", report.rows, report.rows_written)?;
    writeln!(out, "merges            {}", report.merges)?;
    writeln!(out, "tables            {}, {} bytes", report.tables, report.table_bytes)?;
    writeln!(out, "took              {seconds:.3} s")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_the_part_that_is_live() {
        assert!(bar(0, 0).ends_with("0% live"));
        assert!(bar(1, 1).starts_with("[####################....................] 50%"));
        assert!(bar(u64::MAX, 0).contains("] 100%"));
    }
}
