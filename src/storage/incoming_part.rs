//! A table that is being received: how much of it is there, piece by piece.
//!
//! Its beginning stands in `<hash>.part`, the checksum of each piece in `<hash>.sums`. Neither is
//! synced for each piece: after a crash the pieces that still have their checksum count, and the
//! first one that does not ends them. Once the table is whole it is synced and becomes
//! `<hash>.tbl`, so whatever has that name was on the device as a whole.

use std::io::{ErrorKind, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use super::atomic_file;
use super::context::Context;
use super::error::StorageError;
use super::format::{
    Fields, PART_SUFFIX, PIECE_BYTES_MAX, SUM_BYTES, SUMS_SUFFIX, TABLE_SUFFIX, incoming_name,
    take_u32, take_u64,
};
use crate::env::fs::{FileKind, FsFile, OpenHow, read_exact_at, write_all_at};

/// Bytes after which what was received is synced: that much may have to be sent again after a
/// power cut.
const SYNC_BYTES: u64 = 16 << 20;
/// How much is hashed at once.
const HASH_BYTES: u64 = 1 << 20;

/// The beginning of a table, open for what follows.
#[derive(Debug)]
pub(crate) struct PartFile {
    hash: [u8; 32],
    /// Length of the whole table.
    bytes: u64,
    /// `None` until there is something to be written.
    files: Option<Files>,
    /// How many bytes are there.
    written: u64,
    /// In how many pieces.
    pieces: u64,
    /// Bytes that no sync has covered.
    unsynced: u64,
}

#[derive(Debug)]
struct Files {
    part: Arc<dyn FsFile>,
    sums: Arc<dyn FsFile>,
}

/// Where the table `hash` stands once it was received as a whole.
pub(crate) fn whole_path(context: &Context, hash: &[u8; 32]) -> PathBuf {
    context.incoming.join(incoming_name(hash, TABLE_SUFFIX))
}

fn path(context: &Context, hash: &[u8; 32], suffix: &str) -> PathBuf {
    context.incoming.join(incoming_name(hash, suffix))
}

/// Whether the table was received as a whole. What has its name and another length is removed.
///
/// # Errors
/// `Io`.
pub(crate) fn is_whole(
    context: &Context,
    hash: &[u8; 32],
    bytes: u64,
) -> Result<bool, StorageError> {
    let path = whole_path(context, hash);
    let fs = &*context.env.fs;
    match fs.kind(&path).map_err(StorageError::wrap("look at", &path))? {
        None => return Ok(false),
        Some(FileKind::File) => {
            let file = fs.open(&path, OpenHow::Read).map_err(StorageError::wrap("open", &path))?;
            if file.len().map_err(StorageError::wrap("measure", &path))? == bytes {
                return Ok(true);
            }
        }
        Some(_) => {}
    }
    remove(context, &path)?;
    Ok(false)
}

/// Whether a table that was received as a whole is what its name says. Reads all of it; one that is
/// not is removed.
///
/// # Errors
/// `Io`.
pub(crate) fn checks(context: &Context, hash: &[u8; 32], bytes: u64) -> Result<bool, StorageError> {
    let path = whole_path(context, hash);
    let opened = context.env.fs.open(&path, OpenHow::Read);
    let file = opened.map_err(StorageError::wrap("open", &path))?;
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < bytes {
        let piece = read(&*file, at, (bytes - at).min(HASH_BYTES));
        hasher.update(&piece.map_err(StorageError::wrap("read", &path))?);
        at = (at + HASH_BYTES).min(bytes);
    }
    drop(file);
    if hasher.finalize() == *hash {
        return Ok(true);
    }
    remove(context, &path)?;
    Ok(false)
}

/// `len` bytes at `offset`; the caller has bounded the length.
fn read(file: &dyn FsFile, offset: u64, len: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| ErrorKind::OutOfMemory)?];
    read_exact_at(file, &mut bytes, offset)?;
    Ok(bytes)
}

fn remove(context: &Context, path: &std::path::Path) -> Result<(), StorageError> {
    match context.env.fs.remove(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(StorageError::wrap("remove", path)),
    }
}

impl PartFile {
    /// Goes on with what an earlier attempt has left of the table, as far as its pieces have their
    /// checksums.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub(crate) fn resume(
        context: &Context,
        hash: [u8; 32],
        bytes: u64,
    ) -> Result<Self, StorageError> {
        let mut part = Self { hash, bytes, files: None, written: 0, pieces: 0, unsynced: 0 };
        let mut opened = Vec::new();
        for suffix in [PART_SUFFIX, SUMS_SUFFIX] {
            let path = path(context, &hash, suffix);
            let kind = context.env.fs.kind(&path).map_err(StorageError::wrap("look at", &path))?;
            match kind {
                Some(FileKind::File) => {
                    let file = context.env.fs.open(&path, OpenHow::ReadWrite);
                    opened.push(file.map_err(StorageError::wrap("open", &path))?);
                }
                Some(_) => remove(context, &path)?,
                None => {}
            }
        }
        if let Ok([one, other]) = <[Arc<dyn FsFile>; 2]>::try_from(opened) {
            part.files = Some(Files { part: one, sums: other });
            part.go_through(context)?;
        }
        Ok(part)
    }

    /// Finds out how much is there. What is there is written once more: that it can be read does
    /// not mean that the device has it, nor that a sync would bring it there, if an earlier one
    /// failed.
    fn go_through(&mut self, context: &Context) -> Result<(), StorageError> {
        let Some(Files { part, sums }) = &self.files else { return Ok(()) };
        let path = path(context, &self.hash, PART_SUFFIX);
        let ends = |error: &std::io::Error| error.kind() == ErrorKind::UnexpectedEof;
        loop {
            let mut line = [0; SUM_BYTES];
            match read_exact_at(&**sums, &mut line, self.pieces * SUM_BYTES as u64) {
                Err(error) if ends(&error) => break,
                read => read.map_err(StorageError::wrap("read the checksums of", &path))?,
            }
            let Some((end, crc)) = decode_line(&self.hash, self.pieces, &line) else { break };
            let len = end.saturating_sub(self.written);
            if len == 0 || len > PIECE_BYTES_MAX as u64 || end > self.bytes {
                break;
            }
            let piece = match read(&**part, self.written, len) {
                Err(error) if ends(&error) => break,
                piece => piece.map_err(StorageError::wrap("read", &path))?,
            };
            if crc32c::crc32c(&piece) != crc {
                break;
            }
            write_all_at(&**part, &mut [IoSlice::new(&piece)], self.written)
                .map_err(StorageError::wrap("write", &path))?;
            self.written = end;
            self.pieces += 1;
            self.unsynced += len;
        }
        Ok(())
    }

    /// How many bytes are there.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Whether all bytes are there: then [`Self::complete`] is to be called.
    pub(crate) const fn is_written(&self) -> bool {
        self.written == self.bytes
    }

    /// Adds the next piece, whose length and checksum the caller has checked.
    ///
    /// # Errors
    /// `DiskFull`, `Io`: the piece is not there. `SyncFailed`, `Poisoned`.
    pub(crate) fn push(
        &mut self,
        context: &Context,
        piece: &[u8],
        crc: u32,
    ) -> Result<(), StorageError> {
        context.gate.check()?;
        let path = path(context, &self.hash, PART_SUFFIX);
        let files = match self.files.take() {
            Some(files) => files,
            None => create(context, &self.hash)?,
        };
        let Files { part, sums } = self.files.insert(files);
        let end = self.written + piece.len() as u64;
        let line = encode_line(&self.hash, self.pieces, end, crc);
        write_all_at(&**part, &mut [IoSlice::new(piece)], self.written)
            .and_then(|()| {
                let at = self.pieces * SUM_BYTES as u64;
                write_all_at(&**sums, &mut [IoSlice::new(&line)], at)
            })
            .map_err(StorageError::wrap("write", &path))?;
        self.written = end;
        self.pieces += 1;
        self.unsynced += piece.len() as u64;
        if self.unsynced >= SYNC_BYTES && !self.is_written() {
            self.sync(context)?;
        }
        Ok(())
    }

    fn sync(&mut self, context: &Context) -> Result<(), StorageError> {
        let Some(Files { part, sums }) = &self.files else { return Ok(()) };
        let path = |suffix| path(context, &self.hash, suffix);
        context.gate.sync_file(&**part, &path(PART_SUFFIX))?;
        context.gate.sync_file(&**sums, &path(SUMS_SUFFIX))?;
        // So that the names are there too; both files may be new.
        context.gate.sync_dir(&context.incoming)?;
        self.unsynced = 0;
        Ok(())
    }

    /// Makes the table, of which all bytes are there, one that was received as a whole.
    ///
    /// What is on disk if we die here: all pieces, or the whole table.
    ///
    /// # Errors
    /// `Io`, `SyncFailed`, `Poisoned`.
    pub(crate) fn complete(&mut self, context: &Context) -> Result<(), StorageError> {
        assert!(self.is_written(), "the caller has asked");
        let part = path(context, &self.hash, PART_SUFFIX);
        let Some(files) = &self.files else { return Ok(()) };
        let (fs, gate, folder) = (&*context.env.fs, &context.gate, &context.incoming);
        // Pieces of another attempt may stand behind the end.
        files.part.set_len(self.bytes).map_err(StorageError::wrap("cut", &part))?;
        let name = incoming_name(&self.hash, TABLE_SUFFIX);
        atomic_file::publish_written(fs, gate, folder, (&*files.part, &part), &name)?;
        self.files = None;
        // Left there by a crash it is removed when the next snapshot begins.
        if let Err(error) = remove(context, &path(context, &self.hash, SUMS_SUFFIX)) {
            tracing::debug!(%error, "the checksums of a received table stay for now");
        }
        Ok(())
    }
}

/// Makes the two files of a part. What an earlier attempt has left of only one of them is of no
/// use.
fn create(context: &Context, hash: &[u8; 32]) -> Result<Files, StorageError> {
    let fs = &*context.env.fs;
    let new = |suffix| {
        let path = path(context, hash, suffix);
        remove(context, &path)?;
        fs.open(&path, OpenHow::CreateNew).map_err(StorageError::wrap("create", &path))
    };
    Ok(Files { part: new(PART_SUFFIX)?, sums: new(SUMS_SUFFIX)? })
}

/// A line of checksums: where the piece `number` ends, its checksum, and one over the line.
fn encode_line(hash: &[u8; 32], number: u64, end: u64, crc: u32) -> [u8; SUM_BYTES] {
    Fields::new().u64(end).u32(crc).crc(line_seed(hash, number)).finish()
}

/// End and checksum of the piece `number`; `None` for a line that does not check.
fn decode_line(hash: &[u8; 32], number: u64, line: &[u8; SUM_BYTES]) -> Option<(u64, u32)> {
    let (end, crc) = (take_u64(line, 0)?, take_u32(line, 8)?);
    (encode_line(hash, number, end, crc) == *line).then_some((end, crc))
}

fn line_seed(hash: &[u8; 32], number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(hash), &number.to_le_bytes())
}
