//! One open table: answers for one key.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::block::Block;
use super::block_cache::{BlockCache, Room, Slots};
use super::block_file::BlockFile;
use super::bloom::Filter;
use super::footer::Footer;
use super::image::{Image, Plan, Seen};
use super::key_hash::KeyHash;
use super::row::Cached;
use super::sparse_index::SparseIndex;
use super::summary::{TableOrigin, TableSummary};
use crate::config::Compression;
use crate::env::fs::{OpenHow, read_exact_at};
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::format::{PROLOGUE_BYTES, TABLE_FOOTER_BYTES, TABLE_MAGIC};
use crate::storage::prologue::Prologue;
use crate::storage::record::Record;

/// Blocks that are read at once while the cache has plenty of room.
const GROUP_BLOCKS: usize = 16;
/// Which part of the blocks of a table is read one by one, and in groups, before all of it is.
const IMAGE_SHARE: usize = 16;
/// How many blocks are read and not kept while the image is waited for, for each block of the
/// table. Where it does not come, because the thread does not get to run or the table was replaced
/// and only an old view reads it, blocks are kept again.
const READS_WHILE_WAITING: usize = 4;
/// Longest such group, unless a single block is longer.
const GROUP_BYTES_MAX: u64 = 128 << 10;

/// An open table. Its index and filter are in memory, its blocks as far as the cache has room.
///
/// The file stays open, and can be read, until the table is dropped, whatever becomes of its name.
#[derive(Debug)]
pub struct Table {
    summary: TableSummary,
    compression: Compression,
    file: BlockFile,
    index: SparseIndex,
    filter: Filter,
    /// Of its image, where that is worth it.
    plan: Option<Plan>,
    /// What the image took, where there was no room for it in the end; the greatest number where it
    /// could not be made, which is not tried again.
    image_bytes: AtomicU64,
    /// Blocks that were read and not kept.
    reads_waiting: AtomicUsize,
    slots: Arc<Slots>,
}

impl Table {
    /// Opens the table that `summary` tells of. Reads its prologue, footer, index and filter.
    ///
    /// # Errors
    /// `Corrupt` when one of them does not check or differs from the summary, or when the file is
    /// of another table or directory; `UnsupportedFormat`; `Io`.
    pub(crate) fn open(
        context: &Context,
        summary: &TableSummary,
        cache: &Arc<BlockCache>,
    ) -> Result<Arc<Self>, StorageError> {
        let path = context.table_path(summary.id);
        let wrap = |operation| StorageError::wrap(operation, &path);
        let file = context.env.fs.open(&path, OpenHow::Read).map_err(wrap("open"))?;
        let len = file.len().map_err(wrap("measure"))?;
        let least = (PROLOGUE_BYTES + TABLE_FOOTER_BYTES) as u64;
        if len != summary.bytes || len < least {
            let found = format!("the table has {len} bytes, expected {}", summary.bytes);
            return Err(StorageError::corrupt(&path, len.min(summary.bytes), found));
        }
        let mut prologue = [0; PROLOGUE_BYTES];
        read_exact_at(&*file, &mut prologue, 0).map_err(wrap("read"))?;
        let TableOrigin { id, tag } =
            summary.origin.unwrap_or(TableOrigin { id: summary.id, tag: context.identity.tag() });
        let prologue = Prologue::decode(&prologue, TABLE_MAGIC, id.0, tag, &path)?;
        let mut footer = [0; TABLE_FOOTER_BYTES];
        let footer_at = len - TABLE_FOOTER_BYTES as u64;
        read_exact_at(&*file, &mut footer, footer_at).map_err(wrap("read"))?;
        let file = BlockFile { file, path, salt: prologue.salt() };
        let footer = Footer::decode(&footer, file.salt, footer_at)
            .map_err(|found| file.corrupt(footer_at, found))?;
        let index = read_index(&file, &footer)?;
        let filter = read_filter(&file, &footer)?;
        if !agrees(&footer, &index, summary) {
            return Err(file.corrupt(footer_at, "the table is another than the one expected"));
        }
        let slots = Slots::new(index.blocks(), cache);
        let plan = Plan::of(summary, &index);
        Ok(Arc::new(Self {
            summary: summary.clone(),
            compression: footer.compression,
            file,
            index,
            filter,
            plan,
            image_bytes: AtomicU64::new(0),
            reads_waiting: AtomicUsize::new(0),
            slots,
        }))
    }

    /// What is known of it without opening it.
    #[must_use]
    pub fn summary(&self) -> &TableSummary {
        &self.summary
    }

    /// How it was written.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Whether a key with this hash may be in it: always when it is, seldom when it is not. Never
    /// touches the disk.
    #[must_use]
    #[inline]
    pub fn may_contain(&self, hash: KeyHash) -> bool {
        self.filter.may_contain(hash)
    }

    /// What `key` has. Does not ask the filter: whoever looks into several tables asks
    /// [`Self::may_contain`] of each first, with one hash.
    ///
    /// A long value shares the block's buffer where that is cached by itself. Reads one block when
    /// it is not in memory; where the key is in it and the cache has plenty of room, its neighbours
    /// too.
    ///
    /// # Errors
    /// `Corrupt` with the offset of the block that does not check; `Io`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Record>, StorageError> {
        self.get_with(key, KeyHash::of(key))
    }

    /// As [`Self::get`], with the hash of the key.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_with(&self, key: &[u8], hash: KeyHash) -> Result<Option<Record>, StorageError> {
        let Some(number) = self.block_of(key) else {
            return Ok(None);
        };
        match self.slots.with_image(|image| self.seen_in(image, number, key, hash)) {
            Some(Seen::Row(record)) => return Ok(Some(record)),
            Some(Seen::Absent) => return Ok(None),
            Some(Seen::Unknown) | None => {}
        }
        if let Some(found) = self.slots.with(number, |block| find(block, key, hash)) {
            return Ok(found);
        }
        let block = self.read(number)?;
        if self.waits_for_image() {
            // It is not made here: it takes some ten milliseconds. Until it is there nothing else
            // is kept of the table, which would be in memory twice.
            return Ok(find(&block, key, hash));
        }
        let block = Arc::new(block.mapped());
        let block = self.slots.cache().insert(&self.slots, number, block, Room::Make);
        let found = find(&block, key, hash);
        // A key that is not there, and that the filter let pass, says nothing of others nearby. Nor
        // is there room for them where there is none for this one.
        let is_kept = self.slots.has(number);
        if found.is_some() && is_kept && self.slots.cache().has_plenty_of_room() {
            self.read_group(self.group_at(number));
        }
        Ok(found)
    }

    /// The value of `key`, whose hash is given, as far as it can be told without the disk. Less
    /// work than [`Self::get`]: version and stamp stand elsewhere in memory.
    #[must_use]
    #[inline]
    pub fn cached_value(&self, key: &[u8], hash: KeyHash) -> Cached {
        let seen = self.slots.with_image(|image| match image.find(key, hash) {
            Seen::Row(row) => Some(Cached::from(image.value(&row))),
            Seen::Absent => Some(Cached::Absent),
            Seen::Unknown => None,
        });
        if let Some(Some(seen)) = seen {
            return seen;
        }
        let look = |block: &Block| match block.find(key, hash) {
            Some(place) => Cached::from(block.value_at(&place)),
            None => Cached::Absent,
        };
        // A key before the first or behind the last is looked for where it would stand, in vain.
        self.slots.with(self.index.find(key), look).unwrap_or(Cached::NeedsRead)
    }

    /// What an image of the table says of the key, which can only stand in block `number`.
    fn seen_in(&self, image: &Image, number: usize, key: &[u8], hash: KeyHash) -> Seen<Record> {
        let row = match image.find(key, hash) {
            Seen::Row(row) => row,
            Seen::Absent => return Seen::Absent,
            Seen::Unknown => return Seen::Unknown,
        };
        // Version and stamp stand in the block. Two rows begin at the same place where the first
        // has neither key nor value.
        let record = image.start_in(number, &row).and_then(|start| {
            self.slots.with(number, |block| {
                let place = block.row_from(start).filter(|place| block.key_at(place) == key)?;
                Some(block.record_at(&place))
            })
        });
        record.flatten().map_or(Seen::Unknown, Seen::Row)
    }

    /// Bytes of memory that it takes while it is open, without the blocks in the cache.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.index.memory_bytes() + self.filter.bytes() as u64 + self.slots.memory_bytes()
    }

    /// As many bytes of the file as there are from `offset` on, `len` at most.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn read_file(&self, offset: u64, len: usize) -> Result<Vec<u8>, StorageError> {
        let rest = self.summary.bytes.saturating_sub(offset);
        let len = usize::try_from(rest).map_or(len, |rest| rest.min(len));
        self.file.read(offset, len)
    }

    /// How many blocks it has.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.index.blocks()
    }

    /// Bytes of its longest block in the file. O(blocks).
    pub(in crate::storage) fn longest_block(&self) -> u64 {
        let places = (0..self.blocks()).map(|number| self.index.place(number..number + 1));
        places.map(|place| place.end - place.start).max().unwrap_or_default()
    }

    #[inline]
    fn block_of(&self, key: &[u8]) -> Option<usize> {
        let is_within = self.index.first_key() <= key && key <= self.index.last_key();
        is_within.then(|| self.index.find(key))
    }

    /// Reads the whole table into one piece of memory, where gets find rows soonest, if it is worth
    /// it and nothing else has to leave the cache for it. Then nothing is read from the file again.
    ///
    /// What cannot be read is left to whoever asks for it, and the table without an image.
    pub(in crate::storage) fn make_image(&self) {
        let Some(plan) = self.plan_that_fits() else { return };
        let made = Image::read(plan, &self.file, &self.index).ok().flatten();
        let bytes = made.as_ref().map_or(u64::MAX, |(image, _)| image.memory_bytes());
        // First: who finds it there, and then evicted, may want it again.
        self.image_bytes.store(bytes, Ordering::Relaxed);
        if let Some((image, blocks)) = made {
            self.slots.cache().insert_image(&self.slots, image, blocks);
        }
        self.reads_waiting.store(0, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(in crate::storage) fn has_image(&self) -> bool {
        self.slots.has_image()
    }

    /// Whether so much of it was asked for that it should be in memory as a whole, where it fits.
    pub(in crate::storage) fn wants_image(&self) -> bool {
        self.slots.taken() > self.blocks() / IMAGE_SHARE && self.plan_that_fits().is_some()
    }

    /// Whether an image is on its way, so that blocks need not be kept.
    fn waits_for_image(&self) -> bool {
        self.wants_image() && self.slots.cache().bell().ask() && {
            let reads = self.reads_waiting.fetch_add(1, Ordering::Relaxed);
            reads < READS_WHILE_WAITING.saturating_mul(self.blocks())
        }
    }

    fn plan_that_fits(&self) -> Option<Plan> {
        let plan = self.plan?;
        let bytes = plan.bytes.max(self.image_bytes.load(Ordering::Relaxed));
        let fits = !self.slots.has_image() && self.slots.cache().has_room_for(&self.slots, bytes);
        fits.then_some(plan)
    }

    /// Reads all blocks while the cache has plenty of room. What cannot be read is left to whoever
    /// asks for it.
    pub(in crate::storage) fn read_in_advance(&self) {
        self.read_while(BlockCache::has_plenty_of_room);
    }

    /// Reads blocks that nobody asked for, as far as they are not in memory.
    fn read_group(&self, group: Range<usize>) {
        let is_missing = |number: &usize| !self.slots.has(*number);
        if !group.clone().any(|number| is_missing(&number)) {
            return;
        }
        let place = self.index.place(group.clone());
        let Ok(bytes) = self.file.read(place.start, length(&place)) else { return };
        for number in group.filter(is_missing) {
            // Damage there is told to whoever asks for it.
            if let Ok(block) = self.decode(&bytes, place.start, number) {
                let block = Arc::new(block.mapped());
                self.slots.cache().insert(&self.slots, number, block, Room::Spare);
            }
        }
    }

    /// Reads all blocks for which the cache has room without another one having to go.
    pub(in crate::storage) fn read_into_spare_room(&self) {
        self.read_while(|cache| cache.has_room(GROUP_BYTES_MAX));
    }

    /// Reads it whole, or else group by group for as long as there is room.
    fn read_while(&self, has_room: impl Fn(&BlockCache) -> bool) {
        self.make_image();
        let mut number = if self.slots.has_image() { self.blocks() } else { 0 };
        while number < self.blocks() && has_room(self.slots.cache()) {
            let group = self.group_at(number);
            number = group.end;
            self.read_group(group);
        }
    }

    /// Reads a block that is not in memory.
    fn read(&self, number: usize) -> Result<Block, StorageError> {
        let place = self.index.place(number..number + 1);
        let bytes = self.file.read(place.start, length(&place))?;
        self.decode(&bytes, place.start, number)
    }

    /// A block and its neighbours that can be read at once.
    fn group_at(&self, number: usize) -> Range<usize> {
        let first = number - number % GROUP_BLOCKS;
        let group = first..(first + GROUP_BLOCKS).min(self.index.blocks());
        let place = self.index.place(group.clone());
        if place.end - place.start <= GROUP_BYTES_MAX { group } else { number..number + 1 }
    }

    /// The block `number`, of bytes that begin at `offset` of the file.
    pub(super) fn decode(
        &self,
        bytes: &[u8],
        offset: u64,
        number: usize,
    ) -> Result<Block, StorageError> {
        let place = self.index.place(number..number + 1);
        let within = |at: u64| at.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
        let stored = match (within(place.start), within(place.end)) {
            (Some(start), Some(end)) => bytes.get(start..end).unwrap_or_default(),
            _ => &[],
        };
        let block = self.file.decode(stored, place.start)?;
        let checked = self.index.check(number, &block);
        checked.map_err(|found| self.file.corrupt(place.start, found))?;
        Ok(block)
    }

    pub(super) fn index(&self) -> &SparseIndex {
        &self.index
    }

    pub(super) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    pub(super) fn file(&self) -> &BlockFile {
        &self.file
    }
}

/// Bytes of a part of the file; what was held against the file's length fits memory's numbers.
pub(super) fn length(place: &Range<u64>) -> usize {
    usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(usize::MAX)
}

#[inline]
fn find(block: &Block, key: &[u8], hash: KeyHash) -> Option<Record> {
    block.find(key, hash).map(|place| block.record_at(&place))
}

fn read_index(file: &BlockFile, footer: &Footer) -> Result<SparseIndex, StorageError> {
    let place = footer.index_at..footer.index_at + footer.index_bytes;
    let bytes = file.read_part(place.start, length(&place), footer.index_crc, "table's index")?;
    SparseIndex::parse(bytes, footer.index_at).map_err(|found| file.corrupt(place.start, found))
}

fn read_filter(file: &BlockFile, footer: &Footer) -> Result<Filter, StorageError> {
    let start = footer.index_at + footer.index_bytes;
    let place = start..start + footer.filter_bytes;
    let bytes = file.read_part(start, length(&place), footer.filter_crc, "table's filter")?;
    Filter::parse(&bytes).ok_or_else(|| file.corrupt(start, "the table's filter is not whole"))
}

fn agrees(footer: &Footer, index: &SparseIndex, summary: &TableSummary) -> bool {
    footer.rows == summary.rows
        && footer.tombstones == summary.tombstones
        && footer.key_bytes == summary.key_bytes
        && footer.value_bytes == summary.value_bytes
        && index.first_key() == summary.first_key
        && index.last_key() == summary.last_key
}
