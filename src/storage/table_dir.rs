//! The folder of tables: writing one, opening those that a manifest names, removing the others.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::{TABLES_NAME, parse_table_name, table_name};
use super::manifest::TableEntry;
use super::merge::RowSource;
use super::recovery::{Needed, Part, judge};
use super::run::{Run, RunTable};
use super::table::{BlockCache, Table, TableOptions, TableSummary, TableWriter};
use crate::env::fs::FileKind;
use crate::types::TableId;

/// What is wrong with a table that has the greatest number.
pub(crate) const NO_TABLES_NUMBER: &str = "no table ever gets this number: move the file away";

/// How tables are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) table: TableOptions,
    /// A table ends with the row that reaches this length.
    pub(crate) table_bytes_max: u64,
}

/// Writes rows into the table `id` until it is long enough or there are no more, and publishes it.
///
/// What is on disk if we die here: nothing, a temporary file, or a whole table that no manifest
/// names; the next open removes it.
///
/// # Errors
/// Those of the rows; `DiskFull`, `Io`: there is no such table. `SyncFailed`, `Poisoned`.
///
/// # Panics
/// When there is no row: the caller has looked.
pub(crate) fn write_table(
    context: &Context,
    id: TableId,
    output: Output,
    rows: &mut dyn RowSource,
) -> Result<TableSummary, StorageError> {
    let (fs, gate, name) = (&*context.env.fs, &context.gate, table_name(id));
    let mut summary = None;
    atomic_file::publish(fs, gate, &context.tables, &name, |file, path| {
        let mut writer = TableWriter::new(context, id, output.table, file, path)?;
        while writer.written() < output.table_bytes_max
            && let Some((key, record)) = rows.next_row()?
        {
            writer.push(&key, &record)?;
        }
        summary = Some(writer.finish()?);
        Ok(())
    })?;
    summary.ok_or_else(|| StorageError::corrupt(&context.table_path(id), 0, "it was not written"))
}

/// Opens a table that a manifest names.
///
/// # Errors
/// What the recovery table refuses: `MissingFile`, `Corrupt`, `UnsupportedFormat`; `Io`.
pub(crate) fn open_table(
    context: &Context,
    entry: TableEntry,
    cache: &Arc<BlockCache>,
) -> Result<RunTable, StorageError> {
    let path = context.table_path(entry.summary.id);
    let found = match context.env.fs.kind(&path).map_err(StorageError::wrap("look at", &path))? {
        None => Ok(None),
        Some(FileKind::File) => Table::open(context, &entry.summary, cache).map(Some),
        Some(_) => Err(StorageError::corrupt(&path, 0, "this is not a regular file")),
    };
    match judge(Part::Table, Needed::Yes, &path, found)? {
        Some(table) => Ok(RunTable { entry, table }),
        None => Err(StorageError::MissingFile {
            file: path,
            reason: "the manifest names it".to_owned(),
        }),
    }
}

/// Opens the runs that a manifest names. Reads no value: of each table its head, its end, its index
/// and its filter.
///
/// # Errors
/// Those of [`open_table`]; `Corrupt` when the folder is none.
pub(crate) fn open_runs(
    context: &Context,
    runs: &[Vec<TableEntry>],
    cache: &Arc<BlockCache>,
) -> Result<Vec<Arc<Run>>, StorageError> {
    check_folder(context)?;
    let open = |entry: &TableEntry| open_table(context, entry.clone(), cache);
    let run = |run: &Vec<TableEntry>| {
        Ok(Arc::new(Run::new(run.iter().map(open).collect::<Result<_, StorageError>>()?)))
    };
    runs.iter().map(run).collect()
}

/// Refuses a folder of tables that is none: a symbolic link would be followed. One that is absent
/// holds no table.
pub(crate) fn check_folder(context: &Context) -> Result<bool, StorageError> {
    let path = &context.tables;
    match context.env.fs.kind(path).map_err(StorageError::wrap("look at", path))? {
        Some(FileKind::Directory) => Ok(true),
        None => Ok(false),
        Some(_) => Err(StorageError::corrupt(path, 0, "this is not a directory")),
    }
}

/// Numbers of the tables in the folder, ascending, whoever names them. Foreign names, and names of
/// tables that are not files, are left out: what a manifest needs is looked for by name.
///
/// # Errors
/// `Io`; `Corrupt` when the folder is none.
pub(crate) fn list(context: &Context) -> Result<Vec<TableId>, StorageError> {
    if !check_folder(context)? {
        return Ok(Vec::new());
    }
    let folder = &context.tables;
    let entries = context.env.fs.list(folder).map_err(StorageError::wrap("list", folder))?;
    let files = entries.iter().filter(|entry| entry.kind != FileKind::Directory);
    let mut ids: Vec<TableId> = files.filter_map(|entry| parse_table_name(&entry.name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Sees to it that the folder is there, and makes durable every name in it and beside it: nothing
/// may be removed on the strength of a name that a power cut could still take back.
///
/// `is_relied_on` says that there is a manifest: then the folder was durable before it was
/// published. Otherwise its name is given anew where it cannot be made durable.
///
/// # Errors
/// `Io`, `SyncFailed`.
pub(crate) fn prepare(context: &Context, is_relied_on: bool) -> Result<(), StorageError> {
    let (fs, gate) = (&*context.env.fs, &context.gate);
    if is_relied_on && check_folder(context)? {
        gate.sync_dir(&context.root)?;
    } else {
        atomic_file::publish_directory(fs, gate, &context.root, TABLES_NAME)?;
    }
    atomic_file::remove_temporaries(fs, &context.tables)?;
    gate.sync_dir(&context.tables)
}

/// Removes tables that nothing on the device names. Returns those that stay, to be tried again.
pub(crate) fn remove(context: &Context, ids: &[TableId]) -> Vec<TableId> {
    let stays = |id: &TableId| {
        let path = context.table_path(*id);
        match context.env.fs.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn_stays(&path, &error);
                true
            }
            _ => false,
        }
    };
    ids.iter().copied().filter(stays).collect()
}

fn warn_stays(path: &Path, error: &std::io::Error) {
    tracing::warn!(%error, file = %path.display(), "a replaced table stays for now");
}
