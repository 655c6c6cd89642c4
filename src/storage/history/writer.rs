//! Writes one change file: entries in, blocks out, then places, filters and footer.

use std::ops::RangeInclusive;
use std::path::Path;

use bytes::Bytes;

use super::block::BlockBuilder;
use super::change::{EntryChanges, KeyChange};
use super::footer::Footer;
use super::name::{ChangeName, Kind};
use super::output::Output;
use super::place::{self, Place, Span};
use crate::config::Compression;
use crate::env::fs::FsFile;
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::format::{CHANGES_MAGIC, TABLE_KEY_BYTES_MAX, TABLE_VALUE_BYTES_MAX};
use crate::storage::prologue::Prologue;
use crate::storage::table::{Compressor, Effort, FEATURE, Filter, block_header, part_crc};
use crate::types::{LogIndex, Timestamp};

/// A block ends before the change with which its content would be longer.
const BLOCK_BYTES: usize = 64 << 10;
/// Most bytes of marks that a change takes, and those of the entry before them.
const MARKS_MAX: usize = 32;

/// What a change file is to be.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The entries that it covers.
    pub(super) range: RangeInclusive<LogIndex>,
    /// The stamps of the first and the last of them.
    pub(super) stamps: (Timestamp, Timestamp),
    pub(super) kind: Kind,
    pub(super) compression: Compression,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) name: ChangeName,
    pub(super) entries: u64,
    pub(super) changes: u64,
}

/// A change file that is being written. Memory: a mebibyte, a block twice, and for each block its
/// place and its filter.
struct ChangeWriter<'a> {
    out: Output<'a>,
    prologue: Prologue,
    draft: &'a Draft,
    builder: BlockBuilder,
    compressor: Compressor,
    places: Vec<Place>,
    filters: Vec<u8>,
    last: Option<(LogIndex, Timestamp)>,
    entries: u64,
    changes: u64,
    content_bytes: u64,
}

/// Writes a change file into a new, empty file. It is whole then and not synced.
///
/// # Errors
/// Those of the entries; `MissingFeature`, `Io`, `DiskFull`.
///
/// # Panics
/// When entries do not ascend within the range, or one has no change: the caller makes them so.
pub(super) fn write_changes(
    context: &Context,
    draft: &Draft,
    entries: &mut dyn Iterator<Item = Result<EntryChanges, StorageError>>,
    (file, path): (&dyn FsFile, &Path),
) -> Result<Written, StorageError> {
    let mut writer = ChangeWriter::new(context, draft, file, path)?;
    for entry in entries {
        writer.push(&entry?)?;
    }
    writer.finish()
}

impl<'a> ChangeWriter<'a> {
    fn new(
        context: &Context,
        draft: &'a Draft,
        file: &'a dyn FsFile,
        path: &'a Path,
    ) -> Result<Self, StorageError> {
        let prologue = Prologue {
            magic: CHANGES_MAGIC,
            number: 0,
            salt: context.salt()?,
            tag: context.identity.tag(),
        };
        let compressor = Compressor::new(draft.compression, Effort::Ordinary)
            .map_err(StorageError::wrap("compress", path))?
            .ok_or_else(|| StorageError::MissingFeature {
                file: path.to_owned(),
                feature: FEATURE,
            })?;
        let mut out = Output::new(file, path);
        out.push(&[&prologue.encode()])?;
        Ok(Self {
            out,
            prologue,
            draft,
            builder: BlockBuilder::default(),
            compressor,
            places: Vec::new(),
            filters: Vec::new(),
            last: None,
            entries: 0,
            changes: 0,
            content_bytes: 0,
        })
    }

    fn push(&mut self, entry: &EntryChanges) -> Result<(), StorageError> {
        let (index, stamp) = (entry.index, entry.timestamp);
        assert!(self.draft.range.contains(&index), "entries must be of the range");
        assert!(!entry.changes.is_empty(), "an entry that changed nothing is not written");
        let (from, to) = self.draft.stamps;
        assert!((from..=to).contains(&stamp), "stamps must be between those of the ends");
        let follows = |(last, before)| last < index && before <= stamp;
        assert!(self.last.is_none_or(follows), "entries must ascend strictly");
        self.builder.begin(index, stamp);
        for change in &entry.changes {
            self.make_room(change, entry)?;
            self.builder.push(change);
        }
        self.builder.end();
        self.last = Some((index, stamp));
        self.entries += 1;
        self.changes += entry.changes.len() as u64;
        Ok(())
    }

    /// Ends the block where the change would make it too long; the entry goes on in the next one.
    fn make_room(&mut self, change: &KeyChange, entry: &EntryChanges) -> Result<(), StorageError> {
        let value_bytes = change.value.as_ref().map_or(0, Bytes::len);
        let lens = (1..=TABLE_KEY_BYTES_MAX).contains(&change.key.len())
            && value_bytes <= TABLE_VALUE_BYTES_MAX;
        assert!(lens, "the caller checks the limits");
        let more = change.key.len() + value_bytes + MARKS_MAX;
        if !self.builder.is_empty() && self.builder.bytes() + more > BLOCK_BYTES {
            self.builder.end();
            self.write_block()?;
            self.builder.begin(entry.index, entry.timestamp);
        }
        Ok(())
    }

    fn write_block(&mut self) -> Result<(), StorageError> {
        let Some(span) = self.builder.span() else { return Ok(()) };
        let (salt, offset) = (self.prologue.salt(), self.out.end());
        let content = self.builder.content();
        let (method, stored) = self.compressor.compress(&content);
        let header = block_header(salt, offset, method, content.len(), &[stored]);
        self.out.push(&[&header, stored])?;
        let start = self.filters.len() as u64;
        Filter::of(self.builder.hashes()).write(&mut self.filters);
        // Where the filters will stand is known at the end.
        let filter = start..self.filters.len() as u64;
        self.places.push(Place { block: offset..self.out.end(), filter, filter_crc: 0, span });
        self.content_bytes += content.len() as u64;
        self.builder.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Written, StorageError> {
        self.write_block()?;
        let (salt, places_at) = (self.prologue.salt(), self.out.end());
        let blocks = self.places.len() as u64;
        let range = (*self.draft.range.start(), *self.draft.range.end());
        let covers = Span { first: range.0, last: range.1, stamps: self.draft.stamps };
        let mut footer = Footer {
            places_at,
            blocks,
            filter_bytes: self.filters.len() as u64,
            covers,
            entries: self.entries,
            changes: self.changes,
            content_bytes: self.content_bytes,
            places_crc: 0,
            compression: self.draft.compression,
        };
        let filters_at = footer.places().map_or(places_at, |places| places.end);
        let mut places = Vec::new();
        for place in &mut self.places {
            let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
            let filter = self.filters.get(at(place.filter.start)..at(place.filter.end));
            let start = filters_at + place.filter.start;
            place.filter_crc = part_crc(salt, start, filter.unwrap_or_default());
            place::write(place, &mut places);
        }
        footer.places_crc = part_crc(salt, places_at, &places);
        self.out.push(&[&places, &self.filters])?;
        let footer = footer.encode(salt, self.out.end());
        self.out.push(&[&footer])?;
        let bytes = self.out.flush()?;
        let name = ChangeName {
            first: covers.first,
            last: covers.last,
            stamps: covers.stamps,
            content_bytes: self.content_bytes,
            bytes,
            kind: self.draft.kind,
        };
        Ok(Written { name, entries: self.entries, changes: self.changes })
    }
}
