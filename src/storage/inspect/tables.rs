//! Checks the newest manifest and the tables that it names.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::names::Names;
use super::report::VerifyReport;
use crate::config::Compression;
use crate::env::Env;
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::manifest::{Manifest, TableEntry};
use crate::storage::manifest_file;
use crate::storage::store::{prepare_directory, read_identity};
use crate::storage::store_lock::Absent;
use crate::storage::sync_gate::SyncGate;
use crate::storage::table::BlockCache;
use crate::storage::table_dir::{NO_TABLES_NUMBER, open_table};
use crate::types::{LogIndex, TableId};

/// How tables that are written now should be compressed to be as those of the store are: as the
/// first of the newest. `None` where there are none.
///
/// # Errors
/// `NoStore`, `UnusableDirectory`; `Corrupt`, `Io` for what of that cannot be read.
pub fn compression_of_newest(
    env: &Env,
    directory: &Path,
) -> Result<Option<Compression>, StorageError> {
    prepare_directory(env, directory, Absent::Refuse)?;
    let identity = read_identity(env, directory)?
        .ok_or_else(|| StorageError::NoStore { directory: directory.to_owned() })?;
    let context = Context::new(env.clone(), SyncGate::new(env.fs.clone()), directory, identity);
    let Some(number) = manifest_file::list(&context)?.pop() else { return Ok(None) };
    let (manifest, _) = manifest_file::read(&context, number)?;
    let Some(newest) = manifest.tables().next() else { return Ok(None) };
    let open = open_table(&context, newest.clone(), &Arc::new(BlockCache::new(0)))?;
    Ok(Some(open.table.compression()))
}

/// Checks what the log's purge relies on: the newest manifest, and every byte of its tables. Tells
/// the last entry in them.
pub(super) fn check_tables(
    context: &Context,
    names: &Names,
    purged: Option<LogIndex>,
    report: &mut VerifyReport,
    on_read: &mut dyn FnMut(u64),
) -> Option<LogIndex> {
    let newest = names.manifests.last().copied();
    for &older in names.manifests.iter().filter(|&&number| Some(number) < newest) {
        let what = "a replaced manifest; removed when the store is opened";
        report.leftover(manifest_file::path_of(context, older), what);
    }
    let missing =
        manifest_file::path_of(context, newest.map_or(1, |number| number.saturating_add(1)));
    let Some(number) = newest else {
        if purged.is_some() {
            report.damage(
                &missing,
                0,
                "it is missing: the log is purged, and no manifest says what \
                                     was in it",
            );
        }
        check_leftovers(context, names, &HashSet::new(), report);
        return None;
    };
    let path = manifest_file::path_of(context, number);
    let manifest = match manifest_file::read(context, number) {
        Ok((manifest, bytes)) => {
            count_manifest(&manifest, bytes, report);
            manifest
        }
        // Without it nobody knows what the tables are.
        Err(error) => {
            report.refused(&path, error);
            return None;
        }
    };
    if purged > Some(manifest.head.last.index) {
        report.damage(
            &missing,
            0,
            "it is missing: the log is purged further than the newest manifest",
        );
    }
    for entry in manifest.tables() {
        if let Err(error) = check_table(context, entry, report) {
            report.refused(&context.table_path(entry.summary.id), error);
        }
        on_read(report.bytes);
    }
    let live = manifest.tables().map(|entry| entry.summary.id).collect();
    check_leftovers(context, names, &live, report);
    Some(manifest.head.last.index)
}

pub(super) fn count_manifest(manifest: &Manifest, bytes: u64, report: &mut VerifyReport) {
    let frames = manifest.tables().count() as u64 + 2;
    report.read(bytes, 1 + 2 * frames);
    report.frames += frames;
}

pub(super) fn check_table(
    context: &Context,
    entry: &TableEntry,
    report: &mut VerifyReport,
) -> Result<(), StorageError> {
    let cache = Arc::new(BlockCache::new(0));
    let open = open_table(context, entry.clone(), &cache)?;
    open.table.verify()?;
    // Prologue, footer, index, filter, the whole, and each block.
    report.read(entry.summary.bytes, 5 + open.table.blocks() as u64);
    Ok(())
}

fn check_leftovers(
    context: &Context,
    names: &Names,
    live: &HashSet<TableId>,
    report: &mut VerifyReport,
) {
    for &id in names.tables.iter().filter(|id| !live.contains(id)) {
        if id.next().is_none() {
            report.damage(&context.table_path(id), 0, NO_TABLES_NUMBER);
            continue;
        }
        let what = "a table that no manifest names; removed when the store is opened";
        report.leftover(context.table_path(id), what);
    }
}
