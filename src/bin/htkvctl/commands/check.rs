//! `verify` and `repair`.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hightower_kv::env::Env;
use hightower_kv::storage::format::{LOG_NAME, TABLES_NAME, TORN_SUFFIX};
use hightower_kv::storage::inspect::{self, VerifyReport};
use hightower_kv::storage::log_scan::TailPolicy;
use hightower_kv::storage::store::{Store, StoreOptions};
use hightower_kv::storage::store_lock::Absent;
use hightower_kv::storage::table_store::TableStoreOptions;
use serde_json::json;

use crate::args::Args;
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::progress;
use crate::text::Escaped;

pub(crate) fn verify(args: &Args) -> Result<()> {
    let env = Env::system();
    let bar = progress::bytes("verifying", Some(bytes_in(&env, &args.data_dir)));
    let report = inspect::verify_with(&env, &args.data_dir, &mut |read| bar.set_position(read));
    bar.finish_and_clear();
    let report = report?;
    let mut out = output();
    let mut print_all = || {
        if args.json {
            writeln!(out, "{}", as_json(&report))?;
        } else {
            print(&report, &mut out)?;
        }
        Ok(out.flush()?)
    };
    let printed = print_all();
    match report.damages.len() {
        0 => printed,
        // Also where nobody reads on.
        count => Err(Failure::Damaged(count)),
    }
}

fn print(report: &VerifyReport, out: &mut impl Write) -> Result<()> {
    for damage in &report.damages {
        let (file, offset, found) = (shown(&damage.file), damage.offset, &damage.found);
        writeln!(out, "damaged: {file} at offset {offset}: {found}")?;
    }
    for leftover in &report.leftovers {
        writeln!(out, "leftover: {}: {}", shown(&leftover.file), leftover.what)?;
    }
    let VerifyReport { files, bytes, frames, checksums, .. } = report;
    writeln!(out, "{files} files, {bytes} bytes, {frames} frames, {checksums} checksums")?;
    if report.damages.is_empty() {
        writeln!(out, "no damage")?;
    }
    Ok(())
}

/// The path of a file, which may have any name: nothing in it ends a line or talks to a terminal.
fn shown(path: &Path) -> impl fmt::Display {
    Escaped(path.as_os_str().as_encoded_bytes())
}

fn as_json(report: &VerifyReport) -> serde_json::Value {
    let damages: Vec<_> = report
        .damages
        .iter()
        .map(|damage| {
            let file = damage.file.to_string_lossy();
            json!({"file": file, "offset": damage.offset, "found": damage.found})
        })
        .collect();
    let leftovers: Vec<_> = report
        .leftovers
        .iter()
        .map(|leftover| json!({"file": leftover.file.to_string_lossy(), "what": leftover.what}))
        .collect();
    json!({
        "files": report.files,
        "bytes": report.bytes,
        "frames": report.frames,
        "checksums": report.checksums,
        "damages": damages,
        "leftovers": leftovers,
    })
}

/// How much there is to read, roughly: only a bar depends on it.
fn bytes_in(env: &Env, directory: &Path) -> u64 {
    let folders = [directory.to_owned(), directory.join(LOG_NAME), directory.join(TABLES_NAME)];
    let sizes = folders.iter().flat_map(|folder| {
        let files = env.fs.list(folder).unwrap_or_default().into_iter();
        files.map(|entry| len_of(env, &folder.join(entry.name)).unwrap_or_default())
    });
    sizes.sum()
}

/// Opens the store once with leave to cut the end of its log, and closes it again.
pub(crate) fn truncate_tail(args: &Args) -> Result<()> {
    let env = Env::system();
    let config = args.config();
    let before = kept_files(&env, &args.data_dir);
    let options = StoreOptions {
        segment_bytes_max: config.max_segment_size,
        unsynced_bytes_max: config.unsynced_bytes_max,
        wait_max: config.submit_timeout,
        reserve_bytes: config.disk_reserve,
        node: config.node_id,
        cluster: None,
        tail: TailPolicy::Truncate,
        absent: Absent::Refuse,
        tables: TableStoreOptions::default(),
    };
    let store = Store::open(env.clone(), &args.data_dir, &options)?;
    let last = store.log().hard_state().last.map(|last| last.index.0);
    store.close()?;
    drop(store);
    let kept: Vec<PathBuf> =
        kept_files(&env, &args.data_dir).difference(&before).cloned().collect();
    let mut cut = Vec::new();
    for path in kept {
        let bytes = len_of(&env, &path)?;
        cut.push((path, bytes));
    }
    if !cut.is_empty() {
        warn_of_others(args);
    }
    let mut out = output();
    if args.json {
        let cut: Vec<_> = cut
            .iter()
            .map(|(path, bytes)| json!({"bytes": bytes, "kept_in": path.to_string_lossy()}))
            .collect();
        writeln!(out, "{}", json!({"cut": cut, "last_index": last}))?;
        return Ok(out.flush()?);
    }
    if cut.is_empty() {
        writeln!(out, "nothing was cut")?;
    }
    for (path, bytes) in &cut {
        writeln!(out, "cut {bytes} bytes, kept in {}", path.display())?;
    }
    if let Some(last) = last {
        writeln!(out, "the log ends with entry {last}")?;
    }
    Ok(out.flush()?)
}

/// Says that a voter of several must not go on with what is left. What was cut may have been
/// entries that it acknowledged, and before the cut nobody could read who votes.
fn warn_of_others(args: &Args) {
    let Ok(engine) = args.look() else { return };
    let node = engine.identity().node;
    if engine.membership().is_some_and(|members| !members.is_only(node)) {
        let line = format!(
            "htkvctl: warning: this is node {node} of several. What was cut may be writes that it \
             has acknowledged to the others: do not open it again; replace it by a new directory \
             under a new id"
        );
        drop(writeln!(io::stderr().lock(), "{line}"));
    }
}

/// The files with bytes that were cut off, now and earlier.
fn kept_files(env: &Env, directory: &Path) -> BTreeSet<PathBuf> {
    let log = directory.join(LOG_NAME);
    // Where it cannot be listed, opening says why.
    let entries = env.fs.list(&log).unwrap_or_default();
    let torn = entries.iter().filter(|entry| entry.name.ends_with(TORN_SUFFIX));
    torn.map(|entry| log.join(&entry.name)).collect()
}

fn len_of(env: &Env, path: &Path) -> Result<u64> {
    let file = env.fs.open(path, hightower_kv::env::fs::OpenHow::Read);
    file.and_then(|file| file.len())
        .map_err(|error| Failure::Other(format!("cannot measure {}: {error}", path.display())))
}
