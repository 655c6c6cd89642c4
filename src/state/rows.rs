//! Rows as bytes: what a snapshot is sent and restored as.
//!
//! # Layout
//!
//! A chunk is rows in strictly ascending key order, back to back; the next chunk goes on behind.
//! All numbers are little-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of the key: 1 to 65,536 |
//! | 4 | length of the value |
//! | 8 | version: the log index of the entry that wrote the value |
//! | 8 | stamp of that entry, in microseconds since the Unix epoch |
//! | | the key |
//! | | the value |
//!
//! A chunk carries no checksum: whoever stores or sends it adds one.

use std::iter::Peekable;

use bytes::Bytes;

use super::view::{Record, StateView};
use crate::command::limits::{KEY_BYTES_HARD_MAX, VALUE_BYTES_HARD_MAX};
use crate::storage::index::Range;
use crate::types::{Timestamp, Version};

/// Bytes of a row before its key.
const HEADER_BYTES: usize = 4 + 4 + 8 + 8;

/// Most bytes of a chunk; one of a single row may be larger.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;

/// The rows of a state as chunks of bytes. Made as they are asked for; each copies its rows.
#[derive(Clone, Debug)]
pub struct RowChunks<'a> {
    rows: Peekable<Range<'a, Record>>,
}

impl<'a> RowChunks<'a> {
    /// All rows of `view`.
    #[must_use]
    pub fn of(view: &'a StateView) -> Self {
        Self { rows: view.rows.iter().peekable() }
    }
}

impl Iterator for RowChunks<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let (key, record) = self.rows.next()?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES_MAX.max(row_bytes(key, record)));
        write_row(&mut chunk, key, record);
        let fits = |chunk: &[u8], key: &[u8], record: &Record| {
            chunk.len() + row_bytes(key, record) <= CHUNK_BYTES_MAX
        };
        while let Some((key, record)) =
            self.rows.next_if(|&(key, record)| fits(&chunk, key, record))
        {
            write_row(&mut chunk, key, record);
        }
        Some(chunk)
    }
}

fn row_bytes(key: &[u8], record: &Record) -> usize {
    HEADER_BYTES + key.len() + record.value.len()
}

/// The limits keep both lengths below 2^30.
fn length(bytes: &[u8]) -> [u8; 4] {
    debug_assert!(bytes.len() <= VALUE_BYTES_HARD_MAX, "{} bytes", bytes.len());
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn write_row(chunk: &mut Vec<u8>, key: &[u8], record: &Record) {
    chunk.extend_from_slice(&length(key));
    chunk.extend_from_slice(&length(&record.value));
    chunk.extend_from_slice(&record.version.0.to_le_bytes());
    chunk.extend_from_slice(&record.timestamp.0.to_le_bytes());
    chunk.extend_from_slice(key);
    chunk.extend_from_slice(&record.value);
}

/// Rows that are not the rows of a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// A chunk ends within a row, or a length in it is wrong.
    #[error("chunk {chunk} ends within a row, or a length in it is wrong")]
    UnexpectedEnd {
        /// Which chunk, counting from 0.
        chunk: usize,
    },
    /// A key or a value has a length that cannot be written.
    #[error("chunk {chunk}: key of {key_bytes} and value of {value_bytes} bytes are not allowed")]
    LengthNotAllowed {
        /// Which chunk, counting from 0.
        chunk: usize,
        /// Length of the key.
        key_bytes: usize,
        /// Length of the value.
        value_bytes: usize,
    },
    /// A key is not above the one before.
    #[error("row {row}: its key is not above the one before")]
    NotAscending {
        /// Which row of all, counting from 0.
        row: usize,
    },
    /// A row is newer than the state that it should belong to.
    #[error("chunk {chunk}: a row has version {version} and stamp {timestamp}, after the state's")]
    FromTheFuture {
        /// Which chunk, counting from 0.
        chunk: usize,
        /// Version of the row.
        version: Version,
        /// Stamp of the row.
        timestamp: Timestamp,
    },
}

/// The rows of a chunk, until it ends or does not make sense.
pub(super) struct ChunkRows {
    /// What has not been read.
    rest: Bytes,
    /// Number of the chunk, for errors.
    chunk: usize,
}

impl ChunkRows {
    pub(super) fn new(chunk: usize, bytes: Bytes) -> Self {
        Self { rest: bytes, chunk }
    }

    fn read(&mut self) -> Result<(Bytes, Record), RowsError> {
        let chunk = self.chunk;
        let end = || RowsError::UnexpectedEnd { chunk };
        let header = Header::read(&self.rest).ok_or_else(end)?;
        let (key_bytes, value_bytes) = (header.key_bytes, header.value_bytes);
        if !(1..=KEY_BYTES_HARD_MAX).contains(&key_bytes) || value_bytes > VALUE_BYTES_HARD_MAX {
            return Err(RowsError::LengthNotAllowed { chunk, key_bytes, value_bytes });
        }
        let row_end = HEADER_BYTES + key_bytes + value_bytes;
        let content = self.rest.get(HEADER_BYTES..row_end).ok_or_else(end)?;
        // A copy of the row alone: a part of the chunk would keep all of it in memory for as long
        // as one of its rows lives.
        let mut key = Bytes::copy_from_slice(content);
        let value = key.split_off(key_bytes);
        self.rest = self.rest.slice(row_end..);
        let record = Record { value, version: header.version, timestamp: header.timestamp };
        Ok((key, record))
    }
}

impl Iterator for ChunkRows {
    type Item = Result<(Bytes, Record), RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.read())
    }
}

/// What stands before a row's key.
struct Header {
    key_bytes: usize,
    value_bytes: usize,
    version: Version,
    timestamp: Timestamp,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&key_bytes, bytes) = bytes.split_first_chunk::<4>()?;
        let (&value_bytes, bytes) = bytes.split_first_chunk::<4>()?;
        let (&version, bytes) = bytes.split_first_chunk::<8>()?;
        let (&timestamp, _) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            key_bytes: u32::from_le_bytes(key_bytes).try_into().ok()?,
            value_bytes: u32::from_le_bytes(value_bytes).try_into().ok()?,
            version: Version(u64::from_le_bytes(version)),
            timestamp: Timestamp(u64::from_le_bytes(timestamp)),
        })
    }
}
