//! A snapshot file: the state after one entry, as opaque rows with checksums.
//!
//! Until there are tables this is the whole checkpoint: written by compaction, loaded when the
//! store is opened, and what permits the log to be purged.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::{
    Fields, PROLOGUE_BYTES, SNAPSHOT_END_BYTES, SNAPSHOT_MAGIC, parse_snapshot_name, snapshot_name,
    take_u64,
};
use super::frame::{Flag, FrameHeader, FrameKind};
use super::frame_buffer::{Draft, FrameBuffer};
use super::frame_reader::FrameReader;
use super::prologue::Prologue;
use crate::env::fs::{FileKind, FsFile, OpenHow, read_up_to_at};
use crate::types::{LogId, LogIndex, Timestamp};

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The last entry that the state contains.
    pub last: LogId,
    /// The stamp of that entry.
    pub timestamp: Timestamp,
    /// The membership in force, opaque here.
    pub membership: Bytes,
}

/// A snapshot that was written or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The last entry that the state contains.
    pub last: LogId,
    /// Rows in it.
    pub rows: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Writes a snapshot and publishes it; older ones are removed afterwards.
///
/// What is on disk if we die here: the snapshots as before, or the new one whole beside them.
/// Memory: one chunk and a mebibyte.
///
/// # Errors
/// `DiskFull`, `Io`: the snapshots are as before. `SyncFailed`: the store is poisoned.
pub(crate) fn publish(
    context: &Context,
    head: &SnapshotHead,
    rows: u64,
    chunks: &mut dyn Iterator<Item = Vec<u8>>,
) -> Result<SnapshotInfo, StorageError> {
    let mut info = SnapshotInfo { last: head.last, rows, bytes: 0 };
    let prologue = Prologue {
        magic: SNAPSHOT_MAGIC,
        number: 0,
        salt: context.salt()?,
        tag: context.identity.tag(),
    };
    let name = snapshot_name(head.last.index.0);
    atomic_file::publish(&*context.env.fs, &context.gate, &context.root, &name, |file, path| {
        info.bytes = write_all(file, path, prologue, head, rows, chunks)?;
        Ok(())
    })?;
    remove_older(context, head.last.index);
    Ok(info)
}

fn write_all(
    file: &dyn FsFile,
    path: &Path,
    prologue: Prologue,
    head: &SnapshotHead,
    rows: u64,
    chunks: &mut dyn Iterator<Item = Vec<u8>>,
) -> Result<u64, StorageError> {
    let salt = prologue.salt();
    let failed = |source| StorageError::io("write", path, source);
    let mut buffer = FrameBuffer::new(salt, 0, salt.chain(), Vec::new());
    buffer.raw(&prologue.encode());
    let mut header = FrameHeader::mark(FrameKind::SnapshotHead, Flag::Unset, head.last);
    header.clock = head.timestamp;
    buffer.push(&Draft::new(header, [&head.membership, &[]]));
    let mut written = 0;
    let mut frames = 0;
    let mut payload_bytes = 0;
    for chunk in chunks {
        if buffer.end().0 - written >= WRITE_BYTES as u64 {
            buffer.write(file, written).map_err(failed)?;
            let (end, chain) = buffer.end();
            written = end;
            buffer = FrameBuffer::new(salt, end, chain, buffer.into_scratch());
        }
        let number = LogId { index: LogIndex(frames), ..LogId::default() };
        let header = FrameHeader::mark(FrameKind::SnapshotRows, Flag::Unset, number);
        buffer.push_copied(&Draft::new(header, [&chunk, &[]]));
        frames += 1;
        payload_bytes += chunk.len() as u64;
    }
    let end: [u8; SNAPSHOT_END_BYTES] = Fields::new().u64(rows).u64(payload_bytes).finish();
    let number = LogId { index: LogIndex(frames), ..LogId::default() };
    let header = FrameHeader::mark(FrameKind::SnapshotEnd, Flag::Unset, number);
    buffer.push_copied(&Draft::new(header, [&end, &[]]));
    buffer.write(file, written).map_err(failed)?;
    Ok(buffer.end().0)
}

/// The snapshots in a directory, by index. Foreign names are left out.
///
/// # Errors
/// `Io`; `Corrupt` when a snapshot's name is not that of a regular file.
pub(crate) fn list(context: &Context) -> Result<Vec<LogIndex>, StorageError> {
    let mut indexes = Vec::new();
    let entries =
        context.env.fs.list(&context.root).map_err(StorageError::wrap("list", &context.root))?;
    for entry in entries {
        if let Some(index) = parse_snapshot_name(&entry.name) {
            if entry.kind != FileKind::File {
                let path = context.root.join(&entry.name);
                return Err(StorageError::corrupt(&path, 0, "this is not a regular file"));
            }
            indexes.push(LogIndex(index));
        }
    }
    indexes.sort_unstable();
    Ok(indexes)
}

/// Removes the snapshots before `index`: the one at `index` has replaced them. One that stays is
/// tried again with the next snapshot.
fn remove_older(context: &Context, index: LogIndex) {
    let listed = list(context).unwrap_or_else(|error| {
        tracing::warn!(%error, "replaced snapshots stay");
        Vec::new()
    });
    for older in listed.into_iter().filter(|&older| older < index) {
        let path = context.root.join(snapshot_name(older.0));
        if let Err(error) = context.env.fs.remove(&path) {
            tracing::warn!(%error, file = %path.display(), "a replaced snapshot stays");
        }
    }
}

/// A snapshot that is being read.
#[derive(Debug)]
pub struct SnapshotReader {
    reader: FrameReader,
    path: PathBuf,
    head: SnapshotHead,
    frames: u64,
    payload_bytes: u64,
    /// How many rows the file says it has, once its end was read.
    rows: Option<u64>,
    bytes: u64,
}

impl SnapshotReader {
    /// Opens the snapshot at `index` and reads its head.
    ///
    /// # Errors
    /// `Corrupt`, `UnsupportedFormat`, `Io`.
    pub(crate) fn open(context: &Context, index: LogIndex) -> Result<Self, StorageError> {
        let path = context.root.join(snapshot_name(index.0));
        let file =
            context.env.fs.open(&path, OpenHow::Read).map_err(StorageError::wrap("open", &path))?;
        let bytes = file.len().map_err(StorageError::wrap("measure", &path))?;
        let mut prologue = [0; PROLOGUE_BYTES];
        let len =
            read_up_to_at(&*file, &mut prologue, 0).map_err(StorageError::wrap("read", &path))?;
        let prologue = Prologue::decode(
            prologue.get(..len).unwrap_or_default(),
            SNAPSHOT_MAGIC,
            0,
            context.identity.tag(),
            &path,
        )?;
        let salt = prologue.salt();
        let start = (PROLOGUE_BYTES as u64, salt.chain());
        let mut reader = FrameReader::new(file, &path, salt, start, CHUNK_BYTES);
        let head = match reader.next()? {
            Some(frame)
                if frame.header.kind == FrameKind::SnapshotHead
                    && frame.header.id.index == index =>
            {
                SnapshotHead {
                    last: frame.header.id,
                    timestamp: frame.header.clock,
                    membership: Bytes::copy_from_slice(frame.payload),
                }
            }
            _ => {
                let found = "the snapshot's head is missing or of another index than the name";
                return Err(StorageError::corrupt(&path, PROLOGUE_BYTES as u64, found));
            }
        };
        Ok(Self { reader, path, head, frames: 0, payload_bytes: 0, rows: None, bytes })
    }

    /// What the snapshot says of itself.
    #[must_use]
    pub const fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The next rows; `None` when all were read and the end says that they are all.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageError> {
        if self.rows.is_some() {
            return Ok(None);
        }
        let offset = self.reader.offset();
        let corrupt = |path: &Path, found: &str| Err(StorageError::corrupt(path, offset, found));
        let Some(frame) = self.reader.next()? else {
            return corrupt(&self.path, "the snapshot ends before its end frame");
        };
        if frame.header.id.index != LogIndex(self.frames) {
            return corrupt(&self.path, "a frame of the snapshot is missing");
        }
        match frame.header.kind {
            FrameKind::SnapshotRows => {
                self.frames += 1;
                self.payload_bytes += frame.payload.len() as u64;
                Ok(Some(Bytes::copy_from_slice(frame.payload)))
            }
            FrameKind::SnapshotEnd => {
                let (rows, bytes) = (take_u64(frame.payload, 0), take_u64(frame.payload, 8));
                if bytes != Some(self.payload_bytes) || frame.payload.len() != SNAPSHOT_END_BYTES {
                    return corrupt(&self.path, "the end of the snapshot tells other sizes");
                }
                if self.reader.offset() != self.bytes {
                    return corrupt(&self.path, "bytes follow the end of the snapshot");
                }
                self.rows = rows;
                Ok(None)
            }
            _ => corrupt(&self.path, "this frame does not belong in a snapshot"),
        }
    }

    /// What the whole file turned out to be; `None` before [`Self::next_chunk`] has returned
    /// `None`.
    #[must_use]
    pub fn info(&self) -> Option<SnapshotInfo> {
        Some(SnapshotInfo { last: self.head.last, rows: self.rows?, bytes: self.bytes })
    }
}
