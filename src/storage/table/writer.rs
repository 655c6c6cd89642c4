//! Writes one table: rows in, blocks out, then index, filter and footer.

use std::io::IoSlice;
use std::path::Path;

use bytes::Bytes;

use super::block_builder::BlockBuilder;
use super::block_file::{block_header, part_crc};
use super::bloom::Filter;
use super::compression::{self, Compressor, Effort};
use super::footer::Footer;
use super::key_hash::KeyHash;
use super::sparse_index::IndexBuilder;
use super::summary::{TableOptions, TableSummary};
use crate::env::fs::{FsFile, write_all_at};
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::format::{TABLE_KEY_BYTES_MAX, TABLE_MAGIC, TABLE_VALUE_BYTES_MAX};
use crate::storage::frame::Salt;
use crate::storage::prologue::Prologue;
use crate::storage::record::Record;
use crate::types::TableId;

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// A table that is being written, within `atomic_file::publish`.
///
/// Memory: a mebibyte, the longest row twice, and for each row eight bytes, which the filter is
/// made of at the end.
#[derive(Debug)]
pub(crate) struct TableWriter<'a> {
    out: Output<'a>,
    salt: Salt,
    options: TableOptions,
    builder: BlockBuilder,
    compressor: Compressor,
    index: IndexBuilder,
    hashes: Vec<u64>,
    /// What the summary will say; its hash and keys only at the end.
    counts: TableSummary,
    first_key: Option<Vec<u8>>,
    last_key: Vec<u8>,
    /// The last key of the last block that was written.
    last_of_block: Vec<u8>,
}

impl<'a> TableWriter<'a> {
    /// Begins table `id` in a new, empty file.
    ///
    /// # Errors
    /// `MissingFeature` when this build leaves the compression out; `Io` when the operating system
    /// gives no random bytes; `DiskFull`.
    pub(crate) fn new(
        context: &Context,
        id: TableId,
        options: TableOptions,
        file: &'a dyn FsFile,
        path: &'a Path,
    ) -> Result<Self, StorageError> {
        let prologue = Prologue {
            magic: TABLE_MAGIC,
            number: id.0,
            salt: context.salt()?,
            tag: context.identity.tag(),
        };
        let compressor = Compressor::new(options.compression, Effort::Least)
            .map_err(StorageError::wrap("compress", path))?
            .ok_or_else(|| StorageError::MissingFeature {
                file: path.to_owned(),
                feature: compression::FEATURE,
            })?;
        let mut out = Output::new(file, path);
        out.push(&[&prologue.encode()])?;
        Ok(Self {
            out,
            salt: prologue.salt(),
            options,
            builder: BlockBuilder::new(options.block_bytes),
            compressor,
            index: IndexBuilder::default(),
            hashes: Vec::new(),
            counts: TableSummary {
                id,
                origin: None,
                bytes: 0,
                rows: 0,
                tombstones: 0,
                key_bytes: 0,
                value_bytes: 0,
                hash: [0; 32],
                first_key: Bytes::new(),
                last_key: Bytes::new(),
            },
            first_key: None,
            last_key: Vec::new(),
            last_of_block: Vec::new(),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    ///
    /// # Panics
    /// When the key is not greater than the one before, or key or value are longer than a table
    /// holds: the caller has checked the limits of commands.
    pub(crate) fn push(&mut self, key: &[u8], record: &Record) -> Result<(), StorageError> {
        assert!(key.len() <= TABLE_KEY_BYTES_MAX, "the caller checks the limits");
        assert!(record.value_bytes() <= TABLE_VALUE_BYTES_MAX, "the caller checks the limits");
        if self.first_key.is_none() {
            self.first_key = Some(key.to_vec());
        } else {
            assert!(self.last_key.as_slice() < key, "rows must ascend strictly");
        }
        let row_bytes = key.len() + record.value_bytes();
        if !self.builder.is_empty()
            && self.builder.row_bytes() + row_bytes > self.options.block_bytes
        {
            self.write_block()?;
        }
        if self.builder.is_empty() {
            let before = (self.index.blocks() > 0).then_some(self.last_of_block.as_slice());
            self.index.push(self.out.end(), before, key);
        }
        self.builder.push(key, record);
        self.hashes.push(KeyHash::of(key).0);
        self.counts.rows += 1;
        self.counts.tombstones += u64::from(record.is_tombstone());
        self.counts.key_bytes += key.len() as u64;
        self.counts.value_bytes += record.value_bytes() as u64;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    /// Bytes of the file so far, rows that are still gathered included.
    pub(crate) fn written(&self) -> u64 {
        self.out.end() + self.builder.row_bytes() as u64
    }

    fn write_block(&mut self) -> Result<(), StorageError> {
        let content = self.builder.finish();
        let offset = self.out.end();
        let (method, stored) = self.compressor.compress(content);
        let header = block_header(self.salt, offset, method, content.len(), &[stored]);
        self.out.push(&[&header, stored])?;
        self.builder.clear();
        self.last_of_block.clone_from(&self.last_key);
        Ok(())
    }

    /// Writes what is left, index, filter and footer. The file is whole then and not synced.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    ///
    /// # Panics
    /// When no row was pushed: a table has at least one.
    pub(crate) fn finish(mut self) -> Result<TableSummary, StorageError> {
        assert!(!self.builder.is_empty(), "a table has at least one row");
        self.write_block()?;
        let first_key = self.first_key.take().unwrap_or_default();
        let index_at = self.out.end();
        let index = self.index.finish(index_at, &first_key, &self.last_key);
        let index_crc = part_crc(self.salt, index_at, &index);
        self.out.push(&[&index])?;
        let filter_at = self.out.end();
        let mut filter = Vec::new();
        Filter::of(&self.hashes).write(&mut filter);
        let filter_crc = part_crc(self.salt, filter_at, &filter);
        self.out.push(&[&filter])?;
        let footer = Footer {
            index_at,
            index_bytes: index.len() as u64,
            filter_bytes: filter.len() as u64,
            rows: self.counts.rows,
            tombstones: self.counts.tombstones,
            key_bytes: self.counts.key_bytes,
            value_bytes: self.counts.value_bytes,
            index_crc,
            filter_crc,
            compression: self.options.compression,
        };
        let footer = footer.encode(self.salt, self.out.end());
        self.out.push(&[&footer])?;
        let (bytes, hash) = self.out.finish()?;
        Ok(TableSummary {
            bytes,
            hash,
            first_key: first_key.into(),
            last_key: self.last_key.into(),
            ..self.counts
        })
    }
}

/// Bytes on their way to a file, and the hash of all of them.
#[derive(Debug)]
struct Output<'a> {
    file: &'a dyn FsFile,
    path: &'a Path,
    buffer: Vec<u8>,
    written: u64,
    hasher: blake3::Hasher,
}

impl<'a> Output<'a> {
    fn new(file: &'a dyn FsFile, path: &'a Path) -> Self {
        let buffer = Vec::with_capacity(WRITE_BYTES);
        Self { file, path, buffer, written: 0, hasher: blake3::Hasher::new() }
    }

    /// Where the next byte goes.
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn push(&mut self, parts: &[&[u8]]) -> Result<(), StorageError> {
        for part in parts {
            if self.buffer.len() + part.len() > WRITE_BYTES {
                self.write()?;
            }
            if part.len() > WRITE_BYTES {
                self.put(part)?;
            } else {
                self.buffer.extend_from_slice(part);
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StorageError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.hasher.update(bytes);
        write_all_at(self.file, &mut [IoSlice::new(bytes)], self.written)
            .map_err(StorageError::wrap("write", self.path))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<(u64, [u8; 32]), StorageError> {
        self.write()?;
        Ok((self.written, *self.hasher.finalize().as_bytes()))
    }
}
