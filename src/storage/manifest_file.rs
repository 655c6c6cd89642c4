//! Manifests on the disk: one file each, named by its number.

use std::path::PathBuf;

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::{MANIFEST_MAGIC, PROLOGUE_BYTES, manifest_name, parse_manifest_name};
use super::frame_reader::FrameReader;
use super::manifest::Manifest;
use super::manifest_frames::{self, Assembly};
use super::prologue::Prologue;
use crate::env::fs::{FileKind, OpenHow, read_up_to_at};

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
    let bytes = manifest_frames::encode(manifest, context.salt()?, context.identity.tag());
    let name = manifest_name(manifest.number);
    let (fs, gate, root) = (&*context.env.fs, &context.gate, &context.root);
    atomic_file::publish_bytes(fs, gate, root, &name, &bytes)?;
    Ok(bytes.len() as u64)
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
    if number == u64::MAX {
        let found = "no manifest ever gets this number: move the file away";
        return Err(StorageError::corrupt(&path, 0, found));
    }
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
    let mut assembly = Assembly::new();
    while !assembly.is_whole() {
        let offset = reader.offset();
        let Some(frame) = reader.next()? else {
            return corrupt(offset, "the manifest ends before its end frame");
        };
        if let Err(found) = assembly.take(&frame) {
            return corrupt(offset, found);
        }
    }
    if reader.offset() != bytes {
        return corrupt(reader.offset(), "bytes follow the end of the manifest");
    }
    match assembly.finish() {
        Ok(manifest) if manifest.number == number => Ok((manifest, bytes)),
        Ok(_) => corrupt(PROLOGUE_BYTES as u64, "the manifest is of another number than the name"),
        Err(flaw) => corrupt(PROLOGUE_BYTES as u64, flaw),
    }
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
