//! A manifest as bytes: the same in its file and in what is sent to another store.

use std::path::Path;

use bytes::Bytes;

use super::error::StorageError;
use super::format::{
    Fields, HEADER_BYTES, MANIFEST_END_BYTES, MANIFEST_MAGIC, PROLOGUE_BYTES, take_u64,
};
use super::frame::{Flag, Frame, FrameHeader, FrameKind, Salt, check_frame};
use super::frame_buffer::{Draft, FrameBuffer};
use super::manifest::{Manifest, decode_entry, decode_head, encode_entry, encode_head};
use super::prologue::Prologue;
use super::table::TableOrigin;
use crate::types::{LogId, LogIndex, NodeId, TableId, Term};

/// The bytes of a manifest, for a file with this salt in the directory with this tag.
///
/// # Panics
/// When the manifest has a flaw: it would be refused when it is read.
pub(crate) fn encode(manifest: &Manifest, salt: u64, tag: u64) -> Vec<u8> {
    assert_eq!(manifest.flaw(), None, "a manifest that cannot be read is not written");
    let prologue = Prologue { magic: MANIFEST_MAGIC, number: 0, salt, tag };
    let salt = prologue.salt();
    let mut buffer = FrameBuffer::new(salt, 0, salt.chain(), Vec::new());
    buffer.raw(&prologue.encode());
    let mut header = FrameHeader::mark(FrameKind::ManifestHead, Flag::Unset, manifest.head.last);
    header.clock = manifest.head.timestamp;
    buffer.push_copied(&Draft::new(header, [&encode_head(manifest), &[]]));
    let mut frames = 0;
    for run in &manifest.runs {
        for (at, entry) in run.iter().enumerate() {
            let flag = if at == 0 { Flag::Set } else { Flag::Unset };
            let id = numbered(frames, entry.summary.origin);
            let header = FrameHeader::mark(FrameKind::ManifestTable, flag, id);
            buffer.push_copied(&Draft::new(header, [&encode_entry(entry), &[]]));
            frames += 1;
        }
    }
    let (runs, table_bytes) = (manifest.runs.len() as u64, table_bytes(manifest));
    let end: [u8; MANIFEST_END_BYTES] = Fields::new().u64(runs).u64(table_bytes).finish();
    let header = FrameHeader::mark(FrameKind::ManifestEnd, Flag::Unset, numbered(frames, None));
    buffer.push_copied(&Draft::new(header, [&end, &[]]));
    buffer.into_scratch()
}

/// The id of a frame that is no entry: its number, and where its table comes from.
fn numbered(number: u64, origin: Option<TableOrigin>) -> LogId {
    let (term, leader) = match origin {
        Some(TableOrigin { id, tag }) => (Term(tag), NodeId(u64::from(id.0))),
        None => (Term(0), NodeId(0)),
    };
    LogId { term, leader, index: LogIndex(number) }
}

/// Where a table comes from; `Err` when the header says what no release writes.
fn origin_of(id: LogId) -> Result<Option<TableOrigin>, &'static str> {
    const FOUND: &str = "a table of the manifest comes from nowhere";
    match (id.term.0, u32::try_from(id.leader.0).map_err(|_| FOUND)?) {
        (0, 0) => Ok(None),
        (_, 0) => Err(FOUND),
        (tag, id) => Ok(Some(TableOrigin { id: TableId(id), tag })),
    }
}

/// Makes a manifest of its frames, one after the other.
#[derive(Debug)]
pub(crate) struct Assembly {
    manifest: Option<Manifest>,
    /// Frames behind the head.
    frames: u64,
    is_whole: bool,
}

impl Assembly {
    pub(crate) const fn new() -> Self {
        Self { manifest: None, frames: 0, is_whole: false }
    }

    /// Whether the last frame was the end.
    pub(crate) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Takes in the next frame.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take(&mut self, frame: &Frame<'_>) -> Result<(), &'static str> {
        let Some(manifest) = &mut self.manifest else {
            self.manifest = head_of(frame);
            return self.manifest.as_ref().map(drop).ok_or("the manifest's head is missing");
        };
        if frame.header.id.index != LogIndex(self.frames) {
            return Err("a frame of the manifest is missing");
        }
        self.frames += 1;
        match frame.header.kind {
            FrameKind::ManifestTable => {
                let origin = origin_of(frame.header.id)?;
                let entry = decode_entry(origin, frame.payload)
                    .ok_or("this frame does not belong in a manifest")?;
                if frame.header.flag == Flag::Set {
                    manifest.runs.push(Vec::new());
                }
                let run = manifest.runs.last_mut();
                run.ok_or("a table of the manifest is in no run")?.push(entry);
                Ok(())
            }
            FrameKind::ManifestEnd if is_end_of(manifest, frame.payload) => {
                self.is_whole = true;
                Ok(())
            }
            FrameKind::ManifestEnd => Err("the end tells other sizes"),
            _ => Err("this frame does not belong in a manifest"),
        }
    }

    /// The manifest, once it is whole.
    ///
    /// # Errors
    /// What is wrong with the order of keys and numbers: the checksums say that this is what was
    /// written, so only a fault of ours can be found here.
    pub(crate) fn finish(self) -> Result<Manifest, &'static str> {
        let manifest = self.manifest.filter(|_| self.is_whole).ok_or("the manifest has no end")?;
        manifest.flaw().map_or(Ok(manifest), Err)
    }
}

/// Reads the bytes of a manifest of any directory. Memory: as much again as they have.
///
/// # Errors
/// `BadSnapshot` when they are none; `UnsupportedFormat`, naming `path`, when a newer release wrote
/// them.
pub(crate) fn decode(bytes: &Bytes, path: &Path) -> Result<Manifest, StorageError> {
    let prologue = match Prologue::decode_any(bytes, MANIFEST_MAGIC, path) {
        Err(StorageError::Corrupt { found, .. }) => return Err(StorageError::bad_snapshot(found)),
        decoded => decoded?,
    };
    decode_frames(bytes, prologue.salt()).map_err(StorageError::bad_snapshot)
}

fn decode_frames(bytes: &[u8], salt: Salt) -> Result<Manifest, &'static str> {
    let mut assembly = Assembly::new();
    let (mut at, mut chain) = (PROLOGUE_BYTES, salt.chain());
    while !assembly.is_whole() {
        let rest = bytes.get(at..).filter(|rest| rest.len() >= HEADER_BYTES);
        let rest = rest.ok_or("the manifest ends before its end frame")?;
        let frame = check_frame(rest, salt, at as u64, chain)
            .map_err(|_| "a checksum of the manifest differs from its content")?;
        assembly.take(&frame)?;
        at += frame.len;
        chain = frame.chain;
    }
    if at != bytes.len() {
        return Err("bytes follow the end of the manifest");
    }
    assembly.finish()
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
