//! A snapshot of this store: the newest manifest and its tables, kept for whoever they are sent to.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::error::StorageError;
use super::format::PIECE_BYTES_MAX;
use super::manifest::{Manifest, ManifestHead, TableEntry};
use super::manifest_frames;
use super::run::{Run, RunTable};
use super::table::Table;
use super::table_set::TableSet;
use super::table_store::TableStore;
use crate::types::TableId;

/// A table of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// BLAKE3 of all of its bytes: whoever has a table with this hash has this table.
    pub hash: [u8; 32],
    /// How many bytes it has.
    pub bytes: u64,
}

impl PartInfo {
    pub(crate) fn of(entry: &TableEntry) -> Self {
        Self { hash: entry.summary.hash, bytes: entry.summary.bytes }
    }
}

/// The state of a store at one moment, for as long as anybody holds it.
///
/// What the store does meanwhile changes nothing of it: its tables are open, and reading them goes
/// on when they were merged away and their names are gone. The room that such tables take is given
/// back when the last clone is dropped. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct HeldSnapshot {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    manifest: Manifest,
    tag: u64,
    bytes: OnceLock<Bytes>,
    parts: Vec<PartInfo>,
    set: Arc<TableSet>,
}

impl TableStore {
    /// The state in the tables as it is now; `None` before the first manifest. Does not wait for a
    /// change that is under way. Cost: what the manifest takes in memory; no disk.
    #[must_use]
    pub fn hold(&self) -> Option<HeldSnapshot> {
        let (set, head) = self.set_and_head();
        let entries = |run: &Arc<Run>| run.tables().iter().map(|t| t.entry.clone()).collect();
        let runs: Vec<Vec<TableEntry>> = set.runs().iter().map(entries).collect();
        let greatest = set.tables().map(|entry| entry.summary.id).max().unwrap_or_default();
        // There is no table with the greatest number, so this saturation is never seen.
        let next_table = greatest.next().unwrap_or(TableId(u32::MAX));
        let manifest = Manifest { number: set.number(), head: head?, next_table, runs };
        let parts = manifest.tables().map(PartInfo::of).collect();
        let tag = self.context().identity.tag();
        let bytes = OnceLock::new();
        Some(HeldSnapshot { held: Arc::new(Held { manifest, tag, bytes, parts, set }) })
    }
}

impl HeldSnapshot {
    /// Which state it is.
    #[must_use]
    pub fn head(&self) -> &ManifestHead {
        &self.held.manifest.head
    }

    /// What is sent first: which state it is and which tables it consists of, with checksums. Equal
    /// bytes each time. Some hundred bytes for each table, and what the membership and the sessions
    /// have.
    #[must_use]
    pub fn manifest_bytes(&self) -> Bytes {
        let encode = || {
            // Every file has a salt so that bytes of another one do not pass for its own. This is
            // no file: any salt will do.
            let Held { manifest, tag, .. } = &*self.held;
            manifest_frames::encode(manifest, manifest.number, *tag).into()
        };
        self.held.bytes.get_or_init(encode).clone()
    }

    /// Its tables, in the order of the manifest.
    #[must_use]
    pub fn parts(&self) -> &[PartInfo] {
        &self.held.parts
    }

    /// A piece of a table: `len` bytes from `offset` on, or as many as there are, and
    /// [`PIECE_BYTES_MAX`] at most. Empty behind the end. Nothing of it is checked: who receives
    /// the whole table compares its hash.
    ///
    /// # Errors
    /// `BadSnapshot` when there is no such table; `Io`.
    pub fn read(&self, part: usize, offset: u64, len: usize) -> Result<Bytes, StorageError> {
        let table = self.tables().nth(part);
        let table = table.ok_or_else(|| StorageError::bad_snapshot(no_such(part)))?;
        table.table.read_file(offset, len.min(PIECE_BYTES_MAX)).map(Bytes::from)
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.held.manifest
    }

    /// Its tables, open, in the order of the manifest.
    pub(crate) fn open_tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables().map(|table| &table.table)
    }

    fn tables(&self) -> impl Iterator<Item = &RunTable> {
        self.held.set.runs().iter().flat_map(|run| run.tables())
    }
}

/// What is said of a table that a snapshot does not have.
pub(crate) fn no_such(part: usize) -> String {
    format!("it has no table {part}")
}
