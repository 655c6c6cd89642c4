//! A snapshot that is being received from another store.
//!
//! The sender's manifest comes first. It says which tables there are; those that this store has are
//! not sent. The others come in pieces, each with its checksum, and are kept in `incoming/`, so
//! that a transfer that was broken off, by a crash too, goes on where it stopped. When all are
//! there each is read from the disk once and compared with its hash, and only then can the snapshot
//! be installed. Until that is done nothing of the store has changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::error::StorageError;
use super::format::{
    PART_SUFFIX, PIECE_BYTES_MAX, PROLOGUE_BYTES, SUMS_SUFFIX, TABLE_FOOTER_BYTES, TABLE_SUFFIX,
    incoming_name,
};
use super::incoming_dir::{self, Turn};
use super::incoming_part::{self, PartFile};
use super::manifest::{Manifest, ManifestHead};
use super::manifest_frames;
use super::snapshot_held::{HeldSnapshot, PartInfo, no_such};
use super::table::Table;
use super::table_set::TableSet;
use super::table_store::TableStore;

/// What is to be sent of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the table is here.
    Have,
    /// What stands in it from this offset on.
    From(u64),
}

/// Where a table of a snapshot comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// An open table of some store: of this one, where it had the table when the transfer began.
    Table(Arc<Table>),
    /// It was received as a whole.
    Received,
}

#[derive(Debug)]
enum Part {
    Ready(Source),
    Partial(PartFile),
}

/// A snapshot of which not everything is there yet. One at a time for each store: when another one
/// begins, this one refuses what comes. Dropping it leaves what was received for the next attempt.
#[derive(Debug)]
pub struct IncomingSnapshot {
    context: Context,
    turn: Turn,
    manifest: Manifest,
    infos: Vec<PartInfo>,
    parts: Vec<Part>,
}

/// A snapshot of which every byte is there and was checked. While it is there no other one can be
/// begun. Dropping it leaves what was received.
#[derive(Debug)]
pub struct ReceivedSnapshot {
    turn: Turn,
    manifest: Manifest,
    sources: Vec<Source>,
}

/// A snapshot as a whole: one of a store in this process, or one that was received.
#[derive(Debug)]
pub enum Snapshot {
    /// Of a store in this process.
    Held(HeldSnapshot),
    /// Received, and not installed yet.
    Received(ReceivedSnapshot),
}

impl Snapshot {
    /// Which state it is.
    #[must_use]
    pub fn head(&self) -> &ManifestHead {
        match self {
            Self::Held(held) => held.head(),
            Self::Received(received) => received.head(),
        }
    }
}

impl From<HeldSnapshot> for Snapshot {
    fn from(held: HeldSnapshot) -> Self {
        Self::Held(held)
    }
}

impl From<ReceivedSnapshot> for Snapshot {
    fn from(received: ReceivedSnapshot) -> Self {
        Self::Received(received)
    }
}

impl IncomingSnapshot {
    /// Begins to receive a snapshot, given what [`HeldSnapshot::manifest_bytes`] is at the sender,
    /// and says for each of its tables what is to be sent. Tables of other snapshots that were
    /// being received are removed; what is there of these is gone through and goes on.
    ///
    /// The tables together may have `bytes_max` bytes.
    ///
    /// # Errors
    /// `BadSnapshot`, `UnsupportedFormat`: the manifest is none, or asks for too much; nothing was
    /// written. `Outdated`: this store has a newer state. `SnapshotWaits`: another one was received
    /// as a whole, and is neither installed nor dropped. `DiskFull`, `Io`, `SyncFailed`,
    /// `Poisoned`.
    pub fn begin(
        store: &TableStore,
        manifest: &Bytes,
        bytes_max: u64,
    ) -> Result<(Self, Vec<Need>), StorageError> {
        let context = store.context();
        context.gate.check()?;
        let manifest = manifest_frames::decode(manifest, &context.incoming)?;
        check_sizes(&manifest, bytes_max)?;
        store.check_not_older(&manifest.head)?;
        let infos: Vec<PartInfo> = manifest.tables().map(PartInfo::of).collect();
        let set = store.set();
        let last = manifest.head.last.index;
        let (turn, parts) = store.incoming().begin(last, || prepare(context, &infos, &set))?;
        let need = |part: &Part| match part {
            Part::Ready(_) => Need::Have,
            Part::Partial(file) => Need::From(file.written()),
        };
        let needs = parts.iter().map(need).collect();
        Ok((Self { context: context.clone(), turn, manifest, infos, parts }, needs))
    }

    /// Which state it is.
    #[must_use]
    pub const fn head(&self) -> &ManifestHead {
        &self.manifest.head
    }

    /// Its tables, in the order of the manifest.
    #[must_use]
    pub fn parts(&self) -> &[PartInfo] {
        &self.infos
    }

    /// Takes the next piece of a table, with its CRC-32C. It is in the file then, and survives the
    /// end of the process; a power cut may take what was written last. With the last piece the
    /// table is synced.
    ///
    /// # Errors
    /// `BadSnapshot`: the piece is not the next one, is longer than [`PIECE_BYTES_MAX`] or than
    /// what is missing, does not have its checksum, or another snapshot began; nothing was written.
    /// `DiskFull`, `Io`: the piece is not there, and may be given again. `SyncFailed`, `Poisoned`.
    pub fn write(
        &mut self,
        part: usize,
        offset: u64,
        piece: &[u8],
        crc32c: u32,
    ) -> Result<(), StorageError> {
        let bad = |found: String| Err(StorageError::bad_snapshot(found));
        let (Some(place), Some(info)) = (self.parts.get_mut(part), self.infos.get(part)) else {
            return bad(no_such(part));
        };
        let Part::Partial(file) = place else {
            return bad(format!("table {part} is there as a whole"));
        };
        let _folder = self.turn.take()?;
        if !file.is_written() {
            let rest = info.bytes - file.written();
            if offset != file.written() {
                let expected = file.written();
                return bad(format!("table {part} goes on at {expected}, not at {offset}"));
            }
            if piece.is_empty() || piece.len() > PIECE_BYTES_MAX || piece.len() as u64 > rest {
                return bad(format!("a piece of table {part} has {} bytes", piece.len()));
            }
            if crc32c::crc32c(piece) != crc32c {
                return bad(format!("a piece of table {part} at {offset} was damaged on its way"));
            }
            file.push(&self.context, piece, crc32c)?;
        }
        if file.is_written() {
            file.complete(&self.context)?;
            *place = Part::Ready(Source::Received);
        }
        Ok(())
    }

    /// Reads everything that was received and compares it with the hashes of the manifest.
    ///
    /// # Errors
    /// `BadSnapshot`: a table is not whole, or is not the one that was promised; then it was
    /// removed. In either case what is good stays: begin again, and send what is needed. `Io`,
    /// `DiskFull`, `SyncFailed`, `Poisoned`.
    pub fn finish(self) -> Result<ReceivedSnapshot, StorageError> {
        let folder = self.turn.take()?;
        let mut sources = Vec::with_capacity(self.parts.len());
        let mut bad = Vec::new();
        for (number, (part, info)) in self.parts.into_iter().zip(&self.infos).enumerate() {
            match part {
                Part::Partial(file) => {
                    let (has, of) = (file.written(), info.bytes);
                    let found = format!("table {number} has {has} bytes of {of}");
                    return Err(StorageError::bad_snapshot(found));
                }
                Part::Ready(Source::Received)
                    if !incoming_part::checks(&self.context, &info.hash, info.bytes)? =>
                {
                    bad.push(number);
                }
                Part::Ready(source) => sources.push(source),
            }
        }
        if !bad.is_empty() {
            let found = format!("the hashes of its tables {bad:?} differ; they were removed");
            return Err(StorageError::bad_snapshot(found));
        }
        self.turn.set_whole();
        drop(folder);
        Ok(ReceivedSnapshot { turn: self.turn, manifest: self.manifest, sources })
    }
}

impl ReceivedSnapshot {
    /// Which state it is.
    #[must_use]
    pub const fn head(&self) -> &ManifestHead {
        &self.manifest.head
    }

    pub(crate) const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(crate) const fn turn(&self) -> &Turn {
        &self.turn
    }
}

/// Makes the folder ready for these tables, and finds out what is there of each.
fn prepare(
    context: &Context,
    infos: &[PartInfo],
    set: &TableSet,
) -> Result<Vec<Part>, StorageError> {
    incoming_dir::prepare(context)?;
    let tables = set.runs().iter().flat_map(|run| run.tables());
    let own: HashMap<[u8; 32], &Arc<Table>> =
        tables.map(|table| (table.entry.summary.hash, &table.table)).collect();
    let mut wanted = HashSet::new();
    for info in infos.iter().filter(|info| !own.contains_key(&info.hash)) {
        for suffix in [TABLE_SUFFIX, PART_SUFFIX, SUMS_SUFFIX] {
            wanted.insert(incoming_name(&info.hash, suffix));
        }
    }
    incoming_dir::remove_unless(context, |name| wanted.contains(name))?;
    let part = |info: &PartInfo| {
        if let Some(&table) = own.get(&info.hash) {
            return Ok(Part::Ready(Source::Table(Arc::clone(table))));
        }
        if incoming_part::is_whole(context, &info.hash, info.bytes)? {
            return Ok(Part::Ready(Source::Received));
        }
        let mut file = PartFile::resume(context, info.hash, info.bytes)?;
        if file.is_written() {
            file.complete(context)?;
            return Ok(Part::Ready(Source::Received));
        }
        Ok(Part::Partial(file))
    };
    infos.iter().map(part).collect()
}

/// Refuses a manifest whose tables are too long, or too short to be any, or twice the same, or that
/// counts more than they can hold.
fn check_sizes(manifest: &Manifest, bytes_max: u64) -> Result<(), StorageError> {
    let mut bytes: u64 = 0;
    let mut hashes = HashSet::new();
    for entry in manifest.tables() {
        if entry.summary.bytes <= (PROLOGUE_BYTES + TABLE_FOOTER_BYTES) as u64 {
            return Err(StorageError::bad_snapshot("a table is shorter than any"));
        }
        if !hashes.insert(entry.summary.hash) {
            return Err(StorageError::bad_snapshot("two tables have the same hash"));
        }
        bytes = bytes.saturating_add(entry.summary.bytes);
    }
    if bytes > bytes_max {
        let found = format!("its tables have {bytes} bytes, the limit is {bytes_max}");
        return Err(StorageError::bad_snapshot(found));
    }
    if !manifest.head.fits(manifest.tables().map(|entry| &entry.summary)) {
        return Err(StorageError::bad_snapshot("it has more keys or live bytes than its tables"));
    }
    Ok(())
}
