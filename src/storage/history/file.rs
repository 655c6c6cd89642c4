//! One change file, open for reading.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::block::BlockReader;
use super::change::EntryChanges;
use super::footer::Footer;
use super::name::ChangeName;
use super::place::{self, Place, Span};
use crate::env::fs::{FsFile, OpenHow, read_exact_at};
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::format::{
    CHANGES_FOOTER_BYTES, CHANGES_MAGIC, PROLOGUE_BYTES, TABLE_BLOCK_BYTES_MAX,
    TABLE_BLOCK_HEADER_BYTES,
};
use crate::storage::prologue::Prologue;
use crate::storage::table::{BlockFile, Filter, KeyHash, part_crc};
use crate::types::{LogIndex, Timestamp};

/// Most bytes of filters that are in memory at once, unless a single one is longer.
const FILTERS_BYTES_MAX: u64 = 1 << 20;

/// An open change file: 80 bytes of memory for each of its blocks, which it reads one at a time.
///
/// It can be read until it is dropped, whatever becomes of its name.
#[derive(Debug)]
pub(crate) struct ChangeFile {
    file: BlockFile,
    footer: Footer,
    places: Vec<Place>,
}

impl ChangeFile {
    /// Opens the file of this name; `None` where there is none.
    ///
    /// # Errors
    /// `Corrupt` when its head, its end or its places do not check, or when it is another file than
    /// the name says; `UnsupportedFormat`; `Io`.
    pub(super) fn open(
        context: &Context,
        path: &Path,
        name: &ChangeName,
    ) -> Result<Option<Self>, StorageError> {
        match context.env.fs.open(path, OpenHow::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => {
                let file = opened.map_err(StorageError::wrap("open", path))?;
                Self::of(context, file, path, name).map(Some)
            }
        }
    }

    /// Opens the file that stands at `path` of an archive, whatever its name says of it.
    ///
    /// # Errors
    /// Those of opening; `Corrupt` for a name that no change file has.
    pub(crate) fn open_named(context: &Context, path: &Path) -> Result<Self, StorageError> {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(ChangeName::parse);
        let name = name.ok_or_else(|| {
            StorageError::corrupt(path, 0, "this is not the name of a change file")
        })?;
        Self::open(context, path, &name)?.ok_or_else(|| {
            let found = std::io::Error::from(ErrorKind::NotFound);
            StorageError::io("open", path, found)
        })
    }

    /// Reads the head, the end and the places of a file, which must be the one of this name.
    pub(super) fn of(
        context: &Context,
        file: Arc<dyn FsFile>,
        path: &Path,
        name: &ChangeName,
    ) -> Result<Self, StorageError> {
        let wrap = |operation| StorageError::wrap(operation, path);
        let len = file.len().map_err(wrap("measure"))?;
        let least = (PROLOGUE_BYTES + CHANGES_FOOTER_BYTES) as u64;
        if len != name.bytes || len < least {
            let found = format!("the file has {len} bytes, its name says {}", name.bytes);
            return Err(StorageError::corrupt(path, len.min(name.bytes), found));
        }
        let mut prologue = [0; PROLOGUE_BYTES];
        read_exact_at(&*file, &mut prologue, 0).map_err(wrap("read"))?;
        let tag = context.identity.tag();
        let salt = Prologue::decode(&prologue, CHANGES_MAGIC, 0, tag, path)?.salt();
        let footer_at = len - CHANGES_FOOTER_BYTES as u64;
        let mut footer = [0; CHANGES_FOOTER_BYTES];
        read_exact_at(&*file, &mut footer, footer_at).map_err(wrap("read"))?;
        let file = BlockFile { file, path: path.to_owned(), salt };
        let footer = Footer::decode(&footer, salt, footer_at)
            .map_err(|found| file.corrupt(footer_at, found))?;
        if footer.covers != name.span() || footer.content_bytes != name.content_bytes {
            return Err(file.corrupt(footer_at, "the changes are others than the name says"));
        }
        let places = read_places(&file, &footer)?;
        Ok(Self { file, footer, places })
    }

    pub(super) const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// How many blocks it has.
    pub(crate) fn blocks(&self) -> usize {
        self.places.len()
    }

    /// Length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        let end = self.footer.filters().map_or(0, |filters| filters.end);
        end + CHANGES_FOOTER_BYTES as u64
    }

    /// What a block covers; `None` behind the last one.
    pub(super) fn span(&self, number: usize) -> Option<Span> {
        self.places.get(number).map(|place| place.span)
    }

    /// The first block that may hold entries from `index` on; the number of blocks for none.
    pub(super) fn block_from(&self, index: LogIndex) -> usize {
        self.places.partition_point(|place| place.span.last < index)
    }

    /// How many blocks begin at or before `time`.
    pub(super) fn blocks_until(&self, time: Timestamp) -> usize {
        self.places.partition_point(|place| place.span.stamps.0 <= time)
    }

    /// Reads a block.
    ///
    /// # Errors
    /// `Corrupt` with the block's offset; `Io`.
    pub(super) fn block(&self, number: usize) -> Result<BlockReader, StorageError> {
        self.sized_block(number).map(|(reader, _)| reader)
    }

    /// Reads a block, and says how long its content is.
    fn sized_block(&self, number: usize) -> Result<(BlockReader, u64), StorageError> {
        let place = self.places.get(number).map(|place| place.block.clone()).unwrap_or_default();
        let stored = self.file.read(place.start, length(&place))?;
        let content = self.file.content(stored, place.start)?;
        let bytes = content.len() as u64;
        let reader =
            BlockReader::parse(content).map_err(|found| self.file.corrupt(place.start, found))?;
        Ok((reader, bytes))
    }

    /// The next entry of a block, or the part of it that stands there.
    ///
    /// # Errors
    /// `Corrupt` with the block's offset.
    pub(super) fn next_of(
        &self,
        number: usize,
        reader: &mut BlockReader,
    ) -> Result<Option<EntryChanges>, StorageError> {
        let corrupt = |found: &str| self.file.corrupt(self.offset(number), found);
        let entry = reader.next().map_err(corrupt)?;
        if let (Some(entry), Some(span)) = (&entry, self.span(number)) {
            let stamps = (entry.timestamp, entry.timestamp);
            let one = Span { first: entry.index, last: entry.index, stamps };
            let ends_right = !reader.is_done() || entry.index == span.last;
            if !span.contains(&one) || !ends_right {
                return Err(corrupt("a block of changes holds others than the file says"));
            }
        }
        Ok(entry)
    }

    fn offset(&self, number: usize) -> u64 {
        self.places.get(number).map_or(0, |place| place.block.start)
    }

    /// Which of these blocks may hold a key with this hash.
    ///
    /// # Errors
    /// `Corrupt` with the offset of the filter; `Io`.
    pub(super) fn blocks_with(
        &self,
        blocks: Range<usize>,
        hash: KeyHash,
    ) -> Result<Vec<usize>, StorageError> {
        let mut found = Vec::new();
        let mut at = blocks.start;
        while at < blocks.end {
            let group = self.filters_from(at, blocks.end);
            let next = group.end;
            for (number, filter) in group.clone().zip(self.read_filters(group)?) {
                if filter.may_contain(hash) {
                    found.push(number);
                }
            }
            at = next;
        }
        Ok(found)
    }

    /// Blocks from `first` on whose filters are read at once.
    fn filters_from(&self, first: usize, end: usize) -> Range<usize> {
        let places = self.places.get(first..end).unwrap_or_default();
        let start = places.first().map_or(0, |place| place.filter.start);
        let fits = |place: &&Place| place.filter.end - start <= FILTERS_BYTES_MAX;
        first..first + places.iter().take_while(fits).count().max(1)
    }

    fn read_filters(&self, blocks: Range<usize>) -> Result<Vec<Filter>, StorageError> {
        let places = self.places.get(blocks).unwrap_or_default();
        let start = places.first().map_or(0, |place| place.filter.start);
        let end = places.last().map_or(start, |place| place.filter.end);
        let bytes = self.file.read(start, length(&(start..end)))?;
        let filter = |place: &Place| {
            let from = length(&(start..place.filter.start));
            let bytes = bytes.get(from..from + length(&place.filter)).unwrap_or_default();
            let corrupt = |found: &str| self.file.corrupt(place.filter.start, found);
            if part_crc(self.file.salt, place.filter.start, bytes) != place.filter_crc {
                return Err(corrupt("the checksum of a filter differs from its content"));
            }
            Filter::parse(bytes).ok_or_else(|| corrupt("a filter is not whole"))
        };
        places.iter().map(filter).collect()
    }

    /// Whether every byte of the file is what was written: every block and every filter with its
    /// checksum, the order of the entries and the counts. Reads the file once, a block at a time.
    ///
    /// # Errors
    /// `Corrupt` with the offset of the first part that does not check; `Io`.
    pub(crate) fn verify(&self) -> Result<(), StorageError> {
        let (mut entries, mut changes, mut content_bytes) = (0, 0, 0);
        let mut last = None;
        for number in 0..self.blocks() {
            let filters = self.read_filters(number..number + 1)?;
            let (mut reader, bytes) = self.sized_block(number)?;
            content_bytes += bytes;
            while let Some(entry) = self.next_of(number, &mut reader)? {
                let denied = |hash| filters.iter().any(|filter| !filter.may_contain(hash));
                if entry.changes.iter().any(|change| denied(KeyHash::of(&change.key))) {
                    let offset = self.offset(number);
                    return Err(self.file.corrupt(offset, "the filter denies a key of this block"));
                }
                entries += u64::from(last != Some(entry.index));
                changes += entry.changes.len() as u64;
                last = Some(entry.index);
            }
        }
        let Footer { entries: said_entries, changes: said_changes, .. } = self.footer;
        let said = (said_entries, said_changes, self.footer.content_bytes);
        if (entries, changes, content_bytes) != said {
            return Err(self.file.corrupt(0, "the changes do not add up to their counts"));
        }
        Ok(())
    }
}

fn read_places(file: &BlockFile, footer: &Footer) -> Result<Vec<Place>, StorageError> {
    // The footer ends where they do, so both lie within the file.
    let place = footer.places().unwrap_or_default();
    let filters = footer.filters().unwrap_or_default();
    let bytes = file.read_part(place.start, length(&place), footer.places_crc, "places")?;
    let corrupt = |found: &str| file.corrupt(place.start, found);
    let places = place::parse(&bytes, footer.places_at, &filters)
        .ok_or_else(|| corrupt("the places of the blocks make no sense"))?;
    let longest = (TABLE_BLOCK_BYTES_MAX + TABLE_BLOCK_HEADER_BYTES) as u64;
    let is_short = |place: &Place| place.block.end - place.block.start <= longest;
    let is_covered = |place: &Place| footer.covers.contains(&place.span);
    if !places.iter().all(|place| is_short(place) && is_covered(place)) {
        return Err(corrupt("a block is elsewhere than the file covers"));
    }
    Ok(places)
}

/// Bytes of a part of the file; what was held against the file's length fits memory's numbers.
fn length(place: &Range<u64>) -> usize {
    usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(usize::MAX)
}
