//! A whole table in memory, made for gets: the contents of its blocks one behind the other, and a
//! hash index that says where in them a row stands.
//!
//! A get of many rows in memory is as slow as the number of times that it waits for memory, one
//! after the other. Here that is twice: for a line of the index, and for the row. By way of the
//! blocks it is four times: for their index, the place of the block, the block and the row.
//! It takes eleven bytes for each row beside what blocks take.
//!
//! An image is made at once, of a table that fits, and never changes; the blocks of the table are
//! parts of it then. It is dropped as a whole.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

use super::block::{Block, TRAILER_BYTES};
use super::block_file::BlockFile;
use super::key_hash::KeyHash;
use super::memory::Memory;
use super::sparse_index::SparseIndex;
use super::summary::TableSummary;
use crate::storage::error::StorageError;

/// Longest mean row, in bytes, of a table that is worth an image. Of longer rows reading the value
/// takes longer than finding it.
const MEAN_ROW_BYTES_MAX: u64 = 1 << 10;
/// Longest block of a table that is worth one, as it is stored and as it is in memory: values are
/// copied out of it, so that who keeps a value does not keep a whole table in memory.
const BLOCK_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the file that are read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// What the columns of a block take for a row at most, in bytes: five numbers.
const COLUMNS_BYTES_MAX: u64 = 5 * 8;

/// How many times the cache spares an image that was looked into.
const ROUNDS: u8 = 2;

/// Bytes that the processor gets from memory at once.
const LINE_BYTES: usize = 64;
/// Entries of a line.
const LANES: usize = LINE_BYTES / 8;
/// Rows for each line: so few that nearly all entries stand in the line that their hash names.
const ROWS_PER_LINE: u64 = 6;
/// Most lines that a search looks at. With hashes that differ, the entry that stands furthest
/// behind its line is 14 lines behind of 40,000 rows, and 26 of three million (counted with random
/// numbers). Keys can be chosen to have the same hash: a table of many such has no image, and costs
/// nobody a search of all.
const LINES_MAX: usize = 128;

// An entry, from its highest bit on: a tag of the hash, where the row begins, the length of its key
// and of its value, whether it is a tombstone. No tag is zero, and zero is no entry.
const START_BITS: u32 = 27;
const KEY_BITS: u32 = 10;
const VALUE_BITS: u32 = 14;
const TAG_SHIFT: u32 = START_BITS + KEY_BITS + VALUE_BITS + 1;
/// Most bytes of contents.
const CONTENT_BYTES_MAX: u64 = 1 << START_BITS;
/// The length of a key whose row has lengths for which an entry has no room.
const LONG: u64 = (1 << KEY_BITS) - 1;

/// What a table takes in memory as an image, and whether it is worth it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Fewest and most bytes of its contents.
    content_bytes: (usize, usize),
    lines: usize,
    blocks: usize,
    /// What it will take, nearly.
    pub(super) bytes: u64,
}

impl Plan {
    /// `None` for a table that is not worth an image.
    pub(super) fn of(summary: &TableSummary, index: &SparseIndex) -> Option<Self> {
        let blocks = index.blocks();
        let rows = summary.rows.max(1);
        let row_bytes = summary.key_bytes.checked_add(summary.value_bytes)?;
        let are_short = || {
            let length = |block| index.place(block..block + 1);
            (0..blocks).map(length).all(|place| place.end - place.start <= BLOCK_BYTES_MAX)
        };
        if row_bytes / rows > MEAN_ROW_BYTES_MAX || !are_short() {
            return None;
        }
        let lines = rows / ROWS_PER_LINE + 1;
        // One number more than rows in one of the columns, beside the trailer.
        let block_bytes = (blocks as u64).checked_mul(TRAILER_BYTES as u64 + 8)?;
        let least = row_bytes.checked_add(block_bytes)?;
        let most = rows.checked_mul(COLUMNS_BYTES_MAX)?.checked_add(least)?;
        // Rows that are compressed well may be more than entries can tell the places of.
        (least < CONTENT_BYTES_MAX).then_some(())?;
        let most = usize::try_from(most.min(CONTENT_BYTES_MAX)).ok()?;
        let content_bytes = (usize::try_from(least).ok()?, most);
        let fixed = (blocks as u64).checked_mul(Block::FIXED_BYTES as u64)?;
        let bytes = least.checked_add(fixed)?.checked_add(lines.checked_mul(LINE_BYTES as u64)?)?;
        Some(Self { content_bytes, lines: usize::try_from(lines).ok()?, blocks, bytes })
    }
}

/// A table in memory.
pub(super) struct Image {
    content: Bytes,
    /// Open addressing, a line of the processor's cache at a time: an entry stands in the first
    /// line, from that of its hash on, that had room for it, and lines fill from their beginning.
    /// There are more entries than rows, and none stands further behind than [`LINES_MAX`].
    lines: Bytes,
    line_count: usize,
    /// Where the content of each block begins.
    bases: Box<[usize]>,
    /// How many times the cache may go by before it takes it for unused.
    rounds: AtomicU8,
    bytes: u64,
}

/// Where a row stands in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageRow {
    start: usize,
    key_bytes: usize,
    value_bytes: usize,
    is_value: bool,
}

/// What an image says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen<T = ImageRow> {
    /// It has this row, or record.
    Row(T),
    /// It is not in the table.
    Absent,
    /// A row that may be its own is too long for an entry: its block knows.
    Unknown,
}

impl Image {
    /// Reads a whole table. Its blocks come along, parts of it.
    ///
    /// `None` when the memory is not there, when the table has another size than it should, or when
    /// it has a block or keys that no image is made of.
    ///
    /// # Errors
    /// `Corrupt`, `Io`, as reading the block has it that cannot be read.
    pub(super) fn read(
        plan: Plan,
        file: &BlockFile,
        index: &SparseIndex,
    ) -> Result<Option<(Self, Vec<Block>)>, StorageError> {
        let (least, most) = plan.content_bytes;
        let Some(mut content) = Memory::zeroed(most, least) else { return Ok(None) };
        let Some(bases) = read_contents(file, index, content.bytes())? else { return Ok(None) };
        let content = content.freeze();
        let ends = bases.iter().skip(1);
        let mut blocks = Vec::with_capacity(plan.blocks);
        for (number, (&start, &end)) in bases.iter().zip(ends).enumerate() {
            let parsed = Block::parse_part(content.slice(start..end));
            let checked = parsed.and_then(|block| index.check(number, &block).map(|()| block));
            let place = index.place(number..number + 1);
            blocks.push(checked.map_err(|found| file.corrupt(place.start, found))?);
        }
        let line_bytes = plan.lines * LINE_BYTES;
        let Some(mut lines) = Memory::zeroed(line_bytes, line_bytes) else { return Ok(None) };
        lines.touch();
        if !fill(lines.bytes(), plan.lines, &blocks, &bases) {
            return Ok(None);
        }
        let end = bases.last().copied().unwrap_or_default();
        let fixed = blocks.len() * Block::FIXED_BYTES + size_of_val(&*bases);
        let bytes = (end + plan.lines * LINE_BYTES + fixed) as u64;
        let image = Self {
            content: content.slice(..end),
            lines: lines.freeze(),
            line_count: plan.lines,
            bases: bases.into(),
            rounds: AtomicU8::new(0),
            bytes,
        };
        Ok(Some((image, blocks)))
    }

    /// Bytes of memory that it takes, its blocks included.
    pub(super) const fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    /// What it knows of `key`, whose hash is given too.
    #[inline]
    pub(super) fn find(&self, key: &[u8], hash: KeyHash) -> Seen {
        let wanted = tag(hash);
        let mut number = home(hash, self.line_count);
        for _ in 0..LINES_MAX.min(self.line_count) {
            let line = entries(&self.lines, number);
            // Without a branch for each entry, of which one would be guessed wrong.
            let mut same = line.iter().enumerate().fold(0_u32, |same, (lane, &entry)| {
                same | u32::from(entry >> TAG_SHIFT == wanted) << lane
            });
            while same != 0 {
                let entry = line.get(same.trailing_zeros() as usize).copied().unwrap_or_default();
                let Some(row) = unpack(entry) else { return Seen::Unknown };
                let end = row.start + row.key_bytes + row.value_bytes;
                // The end of the row is asked for together with its beginning: what of it stands
                // elsewhere in memory has arrived by the time that the key was compared.
                std::hint::black_box(self.content.get(end.saturating_sub(1)).copied());
                if self.part(row.start..row.start + row.key_bytes) == key {
                    return Seen::Row(row);
                }
                same &= same - 1;
            }
            if line.last() == Some(&0) {
                return Seen::Absent;
            }
            number = if number + 1 == self.line_count { 0 } else { number + 1 };
        }
        Seen::Absent
    }

    /// The value of a row, copied; `None` for a tombstone.
    #[inline]
    pub(super) fn value(&self, row: &ImageRow) -> Option<Bytes> {
        let start = row.start + row.key_bytes;
        let value = self.part(start..start + row.value_bytes);
        row.is_value.then(|| Bytes::copy_from_slice(value))
    }

    /// Where a row begins in the content of its block, which has this number.
    pub(super) fn start_in(&self, number: usize, row: &ImageRow) -> Option<usize> {
        row.start.checked_sub(*self.bases.get(number)?)
    }

    /// Notes that somebody looked into it.
    #[inline]
    pub(super) fn mark_referenced(&self) {
        // Looked at first: a line that is only read stays in the caches of all processors.
        if self.rounds.load(Ordering::Relaxed) != ROUNDS {
            self.rounds.store(ROUNDS, Ordering::Relaxed);
        }
    }

    /// Whether somebody looked into it since this was asked the time before last.
    pub(super) fn take_referenced(&self) -> bool {
        let rounds = self.rounds.load(Ordering::Relaxed);
        // A look in between may be lost, which the next one makes good.
        self.rounds.store(rounds.saturating_sub(1), Ordering::Relaxed);
        rounds > 0
    }

    #[inline]
    fn part(&self, range: Range<usize>) -> &[u8] {
        self.content.get(range).unwrap_or_default()
    }
}

impl std::fmt::Debug for Image {
    /// Shows the size only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Reads the contents of all blocks, one behind the other. Returns where each begins, and where the
/// last one ends; `None` when there is no room for them, or one is too long.
fn read_contents(
    file: &BlockFile,
    index: &SparseIndex,
    to: &mut [u8],
) -> Result<Option<Vec<usize>>, StorageError> {
    let mut bases = Vec::with_capacity(index.blocks() + 1);
    let mut at = 0_usize;
    let mut bytes = Vec::new();
    bases.push(at);
    let mut next = 0;
    while next < index.blocks() {
        let first = next;
        let start = index.place(first..first).start;
        let is_in_piece = |number: &usize| index.place(0..number + 1).end <= start + PIECE_BYTES;
        next = (first + 1..index.blocks()).find(|n| !is_in_piece(n)).unwrap_or(index.blocks());
        let place = index.place(first..next);
        bytes.resize(usize::try_from(place.end - place.start).unwrap_or(usize::MAX), 0);
        file.read_into(&mut bytes, place.start)?;
        for number in first..next {
            let block = index.place(number..number + 1);
            let within = |end: u64| usize::try_from(end - place.start).unwrap_or(usize::MAX);
            let stored = bytes.get(within(block.start)..within(block.end)).unwrap_or_default();
            let copied = file.with_content(stored, block.start, |content| {
                (content.len() as u64 <= BLOCK_BYTES_MAX).then_some(())?;
                let end = at.checked_add(content.len())?;
                to.get_mut(at..end)?.copy_from_slice(content);
                Some(end)
            })?;
            let Some(end) = copied else { return Ok(None) };
            at = end;
            bases.push(at);
        }
    }
    Ok(Some(bases))
}

/// Makes the index. `false` when there are more rows than there should be, or too far behind, or
/// too many with the same hash.
fn fill(lines: &mut [u8], line_count: usize, blocks: &[Block], bases: &[usize]) -> bool {
    let (words, _) = lines.as_chunks_mut::<8>();
    blocks.iter().zip(bases).all(|(block, base)| {
        (0..block.rows()).all(|row| {
            let place = block.place(row);
            let hash = KeyHash::of(block.key_at(&place));
            let row = ImageRow {
                start: base + place.start,
                key_bytes: place.key_end - place.start,
                value_bytes: place.end - place.key_end,
                is_value: place.is_value,
            };
            let Some(entry) = pack(hash, &row) else { return false };
            let (before, behind) = words.split_at_mut(home(hash, line_count) * LANES);
            let near = behind.iter_mut().chain(before).take(LINES_MAX * LANES);
            let free = { near }.find(|word| **word == [0; 8]);
            free.map(|word| *word = entry.to_le_bytes()).is_some()
        })
    })
}

#[inline]
fn entries(lines: &[u8], number: usize) -> [u64; LANES] {
    let line = lines.get(number * LINE_BYTES..).and_then(<[u8]>::first_chunk::<LINE_BYTES>);
    let mut entries = [0; LANES];
    if let Some(line) = line {
        let (words, _) = line.as_chunks::<8>();
        for (entry, word) in entries.iter_mut().zip(words) {
            *entry = u64::from_le_bytes(*word);
        }
    }
    entries
}

/// The line where the search for a hash begins.
#[inline]
fn home(hash: KeyHash, lines: usize) -> usize {
    (((hash.bits() & u64::from(u32::MAX)) * lines as u64) >> 32) as usize
}

/// The bits of a hash that an entry has: others than those that say where it stands. Never zero, so
/// that no place without an entry is taken for one.
#[inline]
fn tag(hash: KeyHash) -> u64 {
    (hash.bits() >> TAG_SHIFT).max(1)
}

/// `None` for a row that begins too far behind.
fn pack(hash: KeyHash, row: &ImageRow) -> Option<u64> {
    let (start, key, value) = (row.start as u64, row.key_bytes as u64, row.value_bytes as u64);
    (start >> START_BITS == 0).then_some(())?;
    let is_long = key >= LONG || value >> VALUE_BITS != 0;
    let (key, value) = if is_long { (LONG, 0) } else { (key, value) };
    let entry = (tag(hash) << START_BITS) | start;
    let entry = (((entry << KEY_BITS) | key) << VALUE_BITS) | value;
    Some((entry << 1) | u64::from(!row.is_value))
}

/// `None` for a long row.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "of at most 27 bits")]
const fn unpack(entry: u64) -> Option<ImageRow> {
    const fn number(entry: u64, shift: u32, bits: u32) -> u64 {
        (entry >> shift) & ((1 << bits) - 1)
    }
    let key_bytes = number(entry, 1 + VALUE_BITS, KEY_BITS);
    if key_bytes == LONG {
        return None;
    }
    Some(ImageRow {
        start: number(entry, 1 + VALUE_BITS + KEY_BITS, START_BITS) as usize,
        key_bytes: key_bytes as usize,
        value_bytes: number(entry, 1, VALUE_BITS) as usize,
        is_value: entry & 1 == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::PROLOGUE_BYTES;
    use crate::storage::table::sparse_index::IndexBuilder;
    use crate::types::TableId;
    use proptest::prelude::*;

    fn row(start: usize) -> ImageRow {
        ImageRow { start, key_bytes: 3, value_bytes: 4, is_value: true }
    }

    proptest! {
        #[test]
        fn an_entry_tells_its_row(
            hash in any::<u64>(),
            start in 0..1_usize << START_BITS,
            key_bytes in 0..2000_usize,
            value_bytes in 0..40_000_usize,
            is_value in any::<bool>(),
        ) {
            let row = ImageRow { start, key_bytes, value_bytes, is_value };
            let entry = pack(KeyHash::from_bits(hash), &row).unwrap();
            prop_assert_ne!(entry, 0);
            prop_assert_eq!(entry >> TAG_SHIFT, tag(KeyHash::from_bits(hash)));
            let fits = key_bytes < 1023 && value_bytes < 1 << 14;
            prop_assert_eq!(unpack(entry), fits.then_some(row));
        }
    }

    #[test]
    fn a_row_too_far_behind_has_no_entry() {
        assert!(pack(KeyHash::from_bits(1), &row((1 << START_BITS) - 1)).is_some());
        assert_eq!(pack(KeyHash::from_bits(1), &row(1 << START_BITS)), None);
    }

    #[test]
    fn a_table_whose_contents_no_entry_could_tell_the_places_of_has_none() {
        let mut builder = IndexBuilder::default();
        builder.push(PROLOGUE_BYTES as u64, None, b"key");
        let end = PROLOGUE_BYTES as u64 + 100;
        let index = SparseIndex::parse(builder.finish(end, b"key", b"key"), end).unwrap();
        let plan = |rows, value_bytes| {
            let key = Bytes::from_static(b"key");
            let summary = TableSummary {
                id: TableId(1),
                origin: None,
                bytes: end,
                rows,
                tombstones: 0,
                key_bytes: 3 * rows,
                value_bytes,
                hash: [0; 32],
                first_key: key.clone(),
                last_key: key,
            };
            Plan::of(&summary, &index)
        };
        assert!(plan(1 << 20, 1 << 26).is_some());
        assert!(plan(1 << 20, 1 << 27).is_none());
        let (least, most) = plan(1 << 22, 1 << 26).unwrap().content_bytes;
        assert!(least < 1 << 27 && most == 1 << 27);
    }

    #[test]
    fn a_place_without_an_entry_is_no_row_whatever_the_hash_is() {
        let image = Image {
            content: Bytes::from_static(b"keyvalue"),
            lines: vec![0; LINE_BYTES].into(),
            line_count: 1,
            bases: Box::default(),
            rounds: AtomicU8::new(0),
            bytes: 0,
        };
        assert_eq!(image.find(b"", KeyHash::from_bits(0)), Seen::Absent);
    }

    #[test]
    fn a_search_ends_where_no_line_has_room() {
        let hash = KeyHash::of(b"other");
        let entry = pack(KeyHash::from_bits(!hash.bits()), &row(1)).unwrap();
        let image = Image {
            content: Bytes::from_static(b"-keyvalue"),
            lines: entry.to_le_bytes().repeat(3 * LANES).into(),
            line_count: 3,
            bases: Box::default(),
            rounds: AtomicU8::new(0),
            bytes: 0,
        };
        assert_eq!(image.find(b"other", hash), Seen::Absent);
    }
}
