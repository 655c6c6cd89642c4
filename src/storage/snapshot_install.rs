//! Puts the state of a snapshot in the place of the state in the tables.
//!
//! The tables that are not here yet get numbers of this store and names in `tables/`, by a second
//! name for what was received, or by copying. Their bytes stay as they are, so that their hash
//! does, and the manifest says under which number and in which directory each was written. Then the
//! manifest is published, which is the moment at which the state is the new one. What crashes leave
//! before it are tables that no manifest names; behind it, tables of the state before, and second
//! names in `incoming/`.

use std::collections::HashMap;
use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::{PROLOGUE_BYTES, TABLE_MAGIC, table_name};
use super::incoming_dir;
use super::incoming_part::whole_path;
use super::manifest::{Manifest, ManifestHead, TableEntry};
use super::prologue::Prologue;
use super::run::{Run, RunTable};
use super::snapshot_incoming::{Snapshot, Source};
use super::table::{Table, TableOrigin, TableSummary};
use super::table_dir;
use super::table_set::TableSet;
use super::table_store::{Names, Stale, TableStore};
use crate::env::fs::{FsFile, OpenHow, read_exact_at, write_all_at};
use crate::types::TableId;

/// How much is copied at once.
const COPY_BYTES: usize = 1 << 20;

impl TableStore {
    /// Makes the state that of the snapshot, exactly. Tables that are here already stay; the log is
    /// not touched.
    ///
    /// The set that is returned must be shown to readers in place of the one before, together with
    /// the rest of the state after the head's last entry. Readers of the set before go on reading
    /// it. After a crash: the state before, or that of the snapshot. Cost: opening the new tables,
    /// and copying them where the file system has no second names or the snapshot is that of a
    /// store in this process.
    ///
    /// # Errors
    /// `Outdated`: the tables hold a newer state. `BadSnapshot`: a table of the other store is
    /// damaged. `DiskFull`, `Io`, `Corrupt`: the state is as before, and what was received is still
    /// there. `SyncFailed`, `Poisoned`: the store stops, and opening it again tells which state it
    /// is.
    pub fn install(
        &self,
        snapshot: &Snapshot,
    ) -> Result<(Arc<TableSet>, ManifestHead), StorageError> {
        let (manifest, sources) = match snapshot {
            Snapshot::Held(held) => {
                let tables = held.open_tables().map(|table| Source::Table(Arc::clone(table)));
                (held.manifest(), tables.collect())
            }
            Snapshot::Received(received) => (received.manifest(), received.sources().to_vec()),
        };
        let folder = match snapshot {
            Snapshot::Held(_) => None,
            Snapshot::Received(received) => Some(received.turn().take()?),
        };
        let mut names = self.names();
        self.context().gate.check()?;
        self.check_not_older(&manifest.head)?;
        let mut placed = Vec::new();
        let installed = self
            .place_all(&mut names, manifest, &sources, &mut placed)
            .and_then(|runs| self.publish(&mut names, manifest.head.clone(), runs, &Stale::All));
        let set = installed.inspect_err(|error| {
            self.give_up_tables(&mut names, placed.iter().copied(), error);
        })?;
        names.forget_merge();
        drop(names);
        if folder.is_some() {
            warn_of(incoming_dir::remove_unless(self.context(), |_| false));
        }
        Ok((set, manifest.head.clone()))
    }

    /// Removes what was received of a snapshot that nobody goes on with: not while one is being
    /// received that goes further than the tables do, or one waits to be installed. What cannot be
    /// removed stays for the next time, and a warning says so.
    pub fn discard_incoming(&self) {
        let has = self.manifest_head().map(|head| head.last.index);
        self.incoming().end_before(has, || {
            warn_of(incoming_dir::remove_unless(self.context(), |_| false));
        });
    }

    /// Gives every table of the manifest a name and opens it. `placed` are those that are new.
    fn place_all(
        &self,
        names: &mut Names,
        manifest: &Manifest,
        sources: &[Source],
        placed: &mut Vec<TableId>,
    ) -> Result<Vec<Arc<Run>>, StorageError> {
        let (context, set) = (self.context(), self.set());
        let own = set.runs().iter().flat_map(|run| run.tables());
        let own: HashMap<[u8; 32], &RunTable> =
            own.map(|table| (table.entry.summary.hash, table)).collect();
        let mut sources = sources.iter();
        let mut runs: Vec<Vec<RunTable>> = Vec::new();
        // First all names, then one sync of them, then the tables are opened.
        let mut entries: Vec<Vec<TableEntry>> = manifest.runs.clone();
        for entry in entries.iter_mut().flatten() {
            let source = sources.next();
            if let Some(own) = own.get(&entry.summary.hash) {
                // As this store knows it; how much of it counts is for the snapshot to say.
                let TableSummary { id, origin, .. } = own.entry.summary;
                (entry.summary.id, entry.summary.origin) = (id, origin);
                if entry.summary != own.entry.summary {
                    return Err(StorageError::bad_snapshot("a table is told to be another"));
                }
                continue;
            }
            let id = names.take_number()?;
            placed.push(id);
            match source {
                Some(Source::Table(table)) => copy(context, id, table)?,
                Some(Source::Received) => place_received(context, id, &entry.summary.hash)?,
                None => return Err(StorageError::bad_snapshot("a table of it is missing")),
            }
            entry.summary.id = id;
            entry.summary.origin = origin_of(context, id)?;
        }
        context.gate.sync_dir(&context.tables)?;
        for run in entries {
            let open = |entry: TableEntry| match own.get(&entry.summary.hash) {
                Some(own) => Ok(RunTable { entry, table: Arc::clone(&own.table) }),
                None => table_dir::open_table(context, entry, self.cache()),
            };
            runs.push(run.into_iter().map(open).collect::<Result<_, StorageError>>()?);
        }
        Ok(runs.into_iter().map(|tables| Arc::new(Run::new(tables))).collect())
    }
}

fn warn_of(removed: Result<(), StorageError>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "what was received stays for now");
    }
}

/// Gives a table that was received its name: a second one where the file system can do that.
fn place_received(context: &Context, id: TableId, hash: &[u8; 32]) -> Result<(), StorageError> {
    let (from, to) = (whole_path(context, hash), context.table_path(id));
    let fs = &*context.env.fs;
    match fs.hard_link(&from, &to) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let file = fs.open(&from, OpenHow::Read).map_err(StorageError::wrap("open", &from))?;
            let bytes = file.len().map_err(StorageError::wrap("measure", &from))?;
            let mut read = |buffer: &mut [u8], at| {
                read_exact_at(&*file, buffer, at).map_err(StorageError::wrap("read", &from))
            };
            copy_bytes(context, id, (bytes, hash), &mut read)
        }
        linked => linked.map_err(StorageError::wrap("link", &to)),
    }
}

/// Copies a table of another store, or one of this store that was merged away since.
fn copy(context: &Context, id: TableId, table: &Table) -> Result<(), StorageError> {
    let summary = table.summary();
    let mut read = |buffer: &mut [u8], at| {
        buffer.copy_from_slice(&table.read_file(at, buffer.len())?);
        Ok(())
    };
    copy_bytes(context, id, (summary.bytes, &summary.hash), &mut read)
}

/// Fills a buffer with what stands at an offset.
type Read<'a> = &'a mut dyn FnMut(&mut [u8], u64) -> Result<(), StorageError>;

fn copy_bytes(
    context: &Context,
    id: TableId,
    (bytes, hash): (u64, &[u8; 32]),
    read: Read<'_>,
) -> Result<(), StorageError> {
    let write = |file: &dyn FsFile, path: &Path| {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(COPY_BYTES).min(COPY_BYTES)];
        let mut at = 0;
        while at < bytes {
            let len = usize::try_from(bytes - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let piece = buffer.get_mut(..len).unwrap_or_default();
            read(piece, at)?;
            hasher.update(piece);
            write_all_at(file, &mut [IoSlice::new(piece)], at)
                .map_err(StorageError::wrap("write", path))?;
            at += len as u64;
        }
        if hasher.finalize() == *hash {
            Ok(())
        } else {
            Err(StorageError::bad_snapshot("the hash of a table differs"))
        }
    };
    let (fs, gate) = (&*context.env.fs, &context.gate);
    atomic_file::publish(fs, gate, &context.tables, &table_name(id), write).map(drop)
}

/// Under which number and where the table `id` was written, unless it was here and under this one.
fn origin_of(context: &Context, id: TableId) -> Result<Option<TableOrigin>, StorageError> {
    let path = context.table_path(id);
    let opened = context.env.fs.open(&path, OpenHow::Read);
    let file = opened.map_err(StorageError::wrap("open", &path))?;
    let mut bytes = [0; PROLOGUE_BYTES];
    read_exact_at(&*file, &mut bytes, 0).map_err(StorageError::wrap("read", &path))?;
    let prologue = Prologue::decode_any(&bytes, TABLE_MAGIC, &path)?;
    if prologue.number == 0 {
        // No table ever has it, so the manifest says with it that a table was written here.
        return Err(StorageError::bad_snapshot("a table has the number 0, which none ever gets"));
    }
    let origin = TableOrigin { id: TableId(prologue.number), tag: prologue.tag };
    Ok((origin != TableOrigin { id, tag: context.identity.tag() }).then_some(origin))
}
