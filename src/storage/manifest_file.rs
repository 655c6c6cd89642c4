//! Manifests on the disk: one file each, named by its number.

use std::path::{Path, PathBuf};

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::{
    Fields, MANIFEST_END_BYTES, MANIFEST_MAGIC, PROLOGUE_BYTES, manifest_name, parse_manifest_name,
    take_u64,
};
use super::frame::{Flag, Frame, FrameHeader, FrameKind};
use super::frame_buffer::{Draft, FrameBuffer};
use super::frame_reader::FrameReader;
use super::manifest::{Manifest, decode_entry, decode_head, encode_entry, encode_head};
use super::prologue::Prologue;
use crate::env::fs::{FileKind, FsFile, OpenHow, read_up_to_at};
use crate::types::{LogId, LogIndex};

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 16;

pub(crate) fn path_of(context: &Context, number: u64) -> PathBuf {
    context.root.join(manifest_name(number))
}

/// Writes a manifest and publishes it. The tables that it names must be on the device, names
/// included. Returns how long the file is.
///
/// What is on disk if we die here: the manifests as before, or this one whole beside them.
///
/// # Errors
/// `DiskFull`, `Io`: the manifests are as before, for good. `SyncFailed`, `Poisoned`: the store is
/// poisoned; after `SyncFailed` either manifest may be found at the next open.
///
/// # Panics
/// When the manifest has a flaw: it would be refused when it is read.
pub(crate) fn publish(context: &Context, manifest: &Manifest) -> Result<u64, StorageError> {
    assert_eq!(manifest.flaw(), None, "a manifest that cannot be read is not written");
    let prologue = Prologue {
        magic: MANIFEST_MAGIC,
        number: 0,
        salt: context.salt()?,
        tag: context.identity.tag(),
    };
    let name = manifest_name(manifest.number);
    let (fs, gate, root) = (&*context.env.fs, &context.gate, &context.root);
    let mut bytes = 0;
    atomic_file::publish(fs, gate, root, &name, |file, path| {
        bytes = write_all(file, path, prologue, manifest)?;
        Ok(())
    })?;
    Ok(bytes)
}

fn write_all(
    file: &dyn FsFile,
    path: &Path,
    prologue: Prologue,
    manifest: &Manifest,
) -> Result<u64, StorageError> {
    let salt = prologue.salt();
    let mut buffer = FrameBuffer::new(salt, 0, salt.chain(), Vec::new());
    buffer.raw(&prologue.encode());
    let mut header = FrameHeader::mark(FrameKind::ManifestHead, Flag::Unset, manifest.head.last);
    header.clock = manifest.head.timestamp;
    buffer.push_copied(&Draft::new(header, [&encode_head(manifest), &[]]));
    let mut frames = 0;
    let numbered = |kind, flag, number| {
        let id = LogId { index: LogIndex(number), ..LogId::default() };
        FrameHeader::mark(kind, flag, id)
    };
    for run in &manifest.runs {
        for (at, entry) in run.iter().enumerate() {
            let flag = if at == 0 { Flag::Set } else { Flag::Unset };
            let header = numbered(FrameKind::ManifestTable, flag, frames);
            buffer.push_copied(&Draft::new(header, [&encode_entry(entry), &[]]));
            frames += 1;
        }
    }
    let (runs, table_bytes) = (manifest.runs.len() as u64, table_bytes(manifest));
    let end: [u8; MANIFEST_END_BYTES] = Fields::new().u64(runs).u64(table_bytes).finish();
    let header = numbered(FrameKind::ManifestEnd, Flag::Unset, frames);
    buffer.push_copied(&Draft::new(header, [&end, &[]]));
    buffer.write(file, 0).map_err(|source| StorageError::io("write", path, source))?;
    Ok(buffer.end().0)
}

/// The numbers of the manifests in a directory, ascending. Foreign names are left out.
///
/// The last one counts. Where it is damaged no older one takes its place: the log may be purged up
/// to the newest, and tables of older ones are gone.
///
/// # Errors
/// `Io`; `Corrupt` when a manifest's name is not that of a regular file.
pub(crate) fn list(context: &Context) -> Result<Vec<u64>, StorageError> {
    let root = &context.root;
    let mut numbers = Vec::new();
    for entry in context.env.fs.list(root).map_err(StorageError::wrap("list", root))? {
        if let Some(number) = parse_manifest_name(&entry.name) {
            if entry.kind != FileKind::File {
                let path = root.join(&entry.name);
                return Err(StorageError::corrupt(&path, 0, "this is not a regular file"));
            }
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a manifest, and how long its file is.
///
/// # Errors
/// `Corrupt`, `UnsupportedFormat`, `Io`.
pub(crate) fn read(context: &Context, number: u64) -> Result<(Manifest, u64), StorageError> {
    let path = path_of(context, number);
    let opened = context.env.fs.open(&path, OpenHow::Read);
    let file = opened.map_err(StorageError::wrap("open", &path))?;
    let bytes = file.len().map_err(StorageError::wrap("measure", &path))?;
    let mut start = [0; PROLOGUE_BYTES];
    let len = read_up_to_at(&*file, &mut start, 0).map_err(StorageError::wrap("read", &path))?;
    let start = start.get(..len).unwrap_or_default();
    let tag = context.identity.tag();
    let salt = Prologue::decode(start, MANIFEST_MAGIC, 0, tag, &path)?.salt();
    let start = (PROLOGUE_BYTES as u64, salt.chain());
    let mut reader = FrameReader::new(file, &path, salt, start, CHUNK_BYTES);
    let corrupt = |offset, found: &str| Err(StorageError::corrupt(&path, offset, found));
    let mut manifest = match reader.next()?.as_ref().and_then(head_of) {
        Some(manifest) if manifest.number == number => manifest,
        _ => {
            let found = "the manifest's head is missing or of another number than the name";
            return corrupt(PROLOGUE_BYTES as u64, found);
        }
    };
    let mut frames = 0;
    loop {
        let offset = reader.offset();
        let Some(frame) = reader.next()? else {
            return corrupt(offset, "the manifest ends before its end frame");
        };
        if frame.header.id.index != LogIndex(frames) {
            return corrupt(offset, "a frame of the manifest is missing");
        }
        frames += 1;
        match (frame.header.kind, decode_entry(frame.payload)) {
            (FrameKind::ManifestTable, Some(entry)) => {
                if frame.header.flag == Flag::Set {
                    manifest.runs.push(Vec::new());
                }
                match manifest.runs.last_mut() {
                    Some(run) => run.push(entry),
                    None => return corrupt(offset, "a table of the manifest is in no run"),
                }
            }
            (FrameKind::ManifestEnd, _) if is_end_of(&manifest, frame.payload) => break,
            (FrameKind::ManifestEnd, _) => return corrupt(offset, "the end tells other sizes"),
            _ => return corrupt(offset, "this frame does not belong in a manifest"),
        }
    }
    if reader.offset() != bytes {
        return corrupt(reader.offset(), "bytes follow the end of the manifest");
    }
    // The checksums say that this is what was written, so only a fault of ours can be found here.
    if let Some(flaw) = manifest.flaw() {
        return corrupt(PROLOGUE_BYTES as u64, flaw);
    }
    Ok((manifest, bytes))
}

fn head_of(frame: &Frame<'_>) -> Option<Manifest> {
    let header = &frame.header;
    let is_head = header.kind == FrameKind::ManifestHead;
    is_head.then(|| decode_head(header.id, header.clock, frame.payload))?
}

fn is_end_of(manifest: &Manifest, payload: &[u8]) -> bool {
    payload.len() == MANIFEST_END_BYTES
        && take_u64(payload, 0) == Some(manifest.runs.len() as u64)
        && take_u64(payload, 8) == Some(table_bytes(manifest))
}

fn table_bytes(manifest: &Manifest) -> u64 {
    manifest.tables().fold(0, |sum, entry| sum.saturating_add(entry.summary.bytes))
}

/// Removes the manifests before `number`: the one with that number, which is on the device, has
/// replaced them. One that stays is tried again with the next manifest.
pub(crate) fn remove_older(context: &Context, number: u64) {
    let listed = list(context).unwrap_or_else(|error| {
        tracing::warn!(%error, "replaced manifests stay");
        Vec::new()
    });
    for older in listed.into_iter().filter(|&older| older < number) {
        let path = path_of(context, older);
        if let Err(error) = context.env.fs.remove(&path) {
            tracing::warn!(%error, file = %path.display(), "a replaced manifest stays");
        }
    }
}
