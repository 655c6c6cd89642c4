//! The state that an era begins with: a manifest and its tables, shared with the store.
//!
//! A second name is not a second copy: a byte that is damaged in a table of the store is damaged in
//! each era that shares it.

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::name::EraName;
use crate::env::fs::{FsFile, OpenHow, read_exact_at, write_all_at};
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::format::{TABLES_NAME, manifest_name, table_name};
use crate::storage::hot_map::HotMap;
use crate::storage::manifest::ManifestHead;
use crate::storage::manifest_file;
use crate::storage::table::{BlockCache, TableSummary};
use crate::storage::table_dir;
use crate::storage::table_set::TableSet;
use crate::storage::table_store::KeptTables;
use crate::types::LogIndex;

/// How much is copied at once.
const COPY_BYTES: u64 = 1 << 20;

/// A state to begin with.
#[derive(Clone, Debug)]
pub struct Base {
    /// Which state it is; `None` for the empty one, before entry 0.
    pub head: Option<ManifestHead>,
    /// Its tables, which can be read for as long as this is held, whatever is removed.
    pub set: Arc<TableSet>,
    /// The first entry that is not in it: changes are to be read from here on.
    pub from: LogIndex,
}

/// A file that could get no second name here.
struct ToCopy {
    file: Arc<dyn FsFile>,
    from: PathBuf,
    to: PathBuf,
}

/// Fills the folder of a new era with the tables as they are kept, and makes it all durable but for
/// the folder itself. Does nothing where there is no manifest. Lets go of the tables as soon as
/// their files can no longer be lost.
///
/// # Errors
/// `Io`, `DiskFull`, `SyncFailed`.
pub(super) fn build(
    context: &Context,
    kept: KeptTables<'_>,
    folder: &Path,
) -> Result<(), StorageError> {
    let number = kept.set.number();
    if number == 0 {
        return Ok(());
    }
    let fs = &*context.env.fs;
    let tables = folder.join(TABLES_NAME);
    fs.create_dir(&tables).map_err(StorageError::wrap("create", &tables))?;
    let mut to_copy = Vec::new();
    let mut share = |from: PathBuf, to: PathBuf| match fs.hard_link(&from, &to) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let opened = fs.open(&from, OpenHow::Read);
            let file = opened.map_err(StorageError::wrap("open", &from))?;
            to_copy.push(ToCopy { file, from, to });
            Ok(())
        }
        linked => linked.map_err(StorageError::wrap("link", &to)),
    };
    share(manifest_file::path_of(context, number), folder.join(manifest_name(number)))?;
    for id in kept.set.tables().map(|entry| entry.summary.id) {
        share(context.table_path(id), tables.join(table_name(id)))?;
    }
    drop(kept);
    for file in &to_copy {
        copy(context, file)?;
    }
    context.gate.sync_dir(&tables)
}

fn copy(context: &Context, ToCopy { file, from, to }: &ToCopy) -> Result<(), StorageError> {
    let bytes = file.len().map_err(StorageError::wrap("measure", from))?;
    let made = context.env.fs.open(to, OpenHow::CreateNew);
    let made = made.map_err(StorageError::wrap("create", to))?;
    let mut buffer = vec![0; usize::try_from(bytes.min(COPY_BYTES)).unwrap_or_default()];
    let mut at = 0;
    while at < bytes {
        let wanted = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        read_exact_at(&**file, piece, at).map_err(StorageError::wrap("read", from))?;
        write_all_at(&*made, &mut [IoSlice::new(piece)], at)
            .map_err(StorageError::wrap("write", to))?;
        at += wanted as u64;
    }
    context.gate.sync_file(&*made, to)
}

/// The context of an era's base: it is in the era's folder what the tables are in a store.
pub(crate) fn context_of(context: &Context, folder: &Path) -> Context {
    Context::new(context.env.clone(), context.gate.clone(), folder, context.identity)
}

/// Opens the base of an era, or only those tables of it that may have a key. Reads the manifest,
/// and of each table its head, index and filter.
///
/// # Errors
/// `MissingFile`, `Corrupt`, `UnsupportedFormat` with the file; `Io`.
pub(super) fn open(
    context: &Context,
    folder: &Path,
    name: &EraName,
    key: Option<&[u8]>,
    cache: &Arc<BlockCache>,
) -> Result<Base, StorageError> {
    let Some(last) = name.base_last() else {
        return Ok(Base { head: None, set: TableSet::empty(), from: name.first });
    };
    let context = context_of(context, folder);
    let number = manifest_file::list(&context)?.pop().ok_or_else(|| StorageError::MissingFile {
        file: manifest_file::path_of(&context, 1),
        reason: format!("the era begins with the state after entry {last}"),
    })?;
    let (manifest, _) = manifest_file::read(&context, number)?;
    let head = manifest.head;
    if head.last.index != last || head.timestamp != name.stamp {
        let path = manifest_file::path_of(&context, number);
        let found = format!("it holds the state after entry {}", head.last.index);
        return Err(StorageError::corrupt(&path, 0, found));
    }
    let mut runs = manifest.runs;
    if let Some(key) = key {
        let encloses = |table: &TableSummary| *table.first_key <= *key && *key <= *table.last_key;
        for run in &mut runs {
            run.retain(|entry| encloses(&entry.summary));
        }
        runs.retain(|run| !run.is_empty());
    }
    let runs = table_dir::open_runs(&context, &runs, cache)?;
    let hot = Arc::new(HotMap::new(0, number));
    let set = Arc::new(TableSet::new(number, runs, Arc::clone(cache), hot));
    Ok(Base { head: Some(head), set, from: name.first })
}
