//! One block in memory: rows whose places were all checked when it was read, so that looking into
//! it cannot fail.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::atomic::{self, AtomicBool};

use bytes::Bytes;

use super::column::{self, Column, ColumnHead, HEAD_BYTES};
use super::row::RowRef;
use crate::storage::format::{TABLE_KEY_BYTES_MAX, take_u32};
use crate::storage::record::Record;
use crate::types::{Timestamp, Version};

/// Columns of a block.
pub(super) const COLUMNS: usize = 5;
/// Bytes behind the columns' data: their heads and the number of rows.
pub(super) const TRAILER_BYTES: usize = COLUMNS * HEAD_BYTES + 4;
/// Kind of a row that has a value.
pub(super) const KIND_VALUE: u64 = 0;
/// Kind of a row that is a tombstone.
pub(super) const KIND_TOMBSTONE: u64 = 1;
/// Values up to this length are copied out of the block instead of sharing it. All that share a
/// block count in one place in memory, for which readers on several processors would queue; and a
/// small value that somebody keeps would keep the whole block.
const COPIED_BYTES_MAX: usize = 256;
/// What a block takes in memory beside its content and places: itself, its place in its table and
/// in the queue of the cache, and what the allocator adds to three allocations.
const FIXED_BYTES: usize = size_of::<Block>() + 96;

/// A block's content, checked.
///
/// Invariants: every column has as many numbers as there are rows, starts one more; every row and
/// key is within the content; a tombstone has no value; keys ascend strictly and share their first
/// `shared` bytes.
#[derive(Debug)]
pub(super) struct Block {
    content: Bytes,
    places: Box<[Place]>,
    /// Where the last row ends.
    end: u32,
    key_lens: Column,
    shared: usize,
    kinds: Column,
    versions: Column,
    stamps: Column,
    /// Whether somebody looked into it since the cache last went by.
    referenced: AtomicBool,
}

/// What a search in memory needs of a row. Taken out of the columns when the block is read: then a
/// look-up waits for these few lines of memory and for the row itself, and not for the columns.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The four bytes of the key behind those that all keys share.
    head: u32,
    /// Where the row begins.
    start: u32,
}

impl Block {
    /// Takes a content apart and checks all of it.
    ///
    /// # Errors
    /// What does not add up.
    pub(super) fn parse(content: Bytes) -> Result<Self, &'static str> {
        const TRAILER: &str = "a block ends before its columns do";
        let trailer_at = content.len().checked_sub(TRAILER_BYTES).ok_or(TRAILER)?;
        let rows = take_u32(&content, content.len() - 4).ok_or(TRAILER)? as usize;
        if rows == 0 {
            return Err("a block has no rows");
        }
        let mut heads = [ColumnHead::default(); COLUMNS];
        let mut data_bytes = 0_usize;
        for (number, head) in heads.iter_mut().enumerate() {
            let at = trailer_at + number * HEAD_BYTES;
            *head = ColumnHead::parse(&content, at).ok_or("a column of a block is too wide")?;
            let count = if number == 0 { rows + 1 } else { rows };
            let bytes = head.data_bytes(count).ok_or(TRAILER)?;
            data_bytes = data_bytes.checked_add(bytes).ok_or(TRAILER)?;
        }
        let rows_end = trailer_at.checked_sub(data_bytes).ok_or(TRAILER)?;
        if rows - 1 > rows_end {
            // Only the first key can be empty. Seen before anything is done for each row: without
            // data in its columns a block could claim any number of them.
            return Err("a block has more rows than bytes for them");
        }
        let mut at = rows_end;
        let mut next = |head: ColumnHead, count: usize| {
            let column = head.column_at(at);
            at += head.data_bytes(count).unwrap_or(0);
            column.ok_or(TRAILER)
        };
        let [starts, key_lens, kinds, versions, stamps] = heads;
        let starts = next(starts, rows + 1)?;
        let mut block = Self {
            key_lens: next(key_lens, rows)?,
            kinds: next(kinds, rows)?,
            versions: next(versions, rows)?,
            stamps: next(stamps, rows)?,
            places: Box::default(),
            end: u32::try_from(rows_end).map_err(|_| "a block is longer than any can be")?,
            shared: 0,
            referenced: AtomicBool::new(false),
            content,
        };
        let places = (0..=rows).map(|row| starts.get(&block.content, row));
        if !column::ascends(places.clone(), 0, rows_end as u64, 0) {
            return Err("the rows of a block do not fill it");
        }
        // They are at most `end`, which fits.
        let place = |start| Place { head: 0, start: u32::try_from(start).unwrap_or(block.end) };
        block.places = places.take(rows).map(place).collect();
        block.check_rows(rows)?;
        block.take_heads(rows)?;
        // The first clone of a buffer allocates its count of owners. Made now, the count lies
        // beside what a look touches anyway.
        drop(block.content.clone());
        Ok(block)
    }

    fn check_rows(&self, rows: usize) -> Result<(), &'static str> {
        for row in 0..rows {
            let key_bytes = self.key_lens.get(&self.content, row);
            let row_bytes = self.start(row + 1) - self.start(row);
            if key_bytes > row_bytes as u64 || key_bytes > TABLE_KEY_BYTES_MAX as u64 {
                return Err("a key of a block is longer than it can be");
            }
            match self.kinds.get(&self.content, row) {
                KIND_VALUE => {}
                KIND_TOMBSTONE if key_bytes == row_bytes as u64 => {}
                KIND_TOMBSTONE => return Err("a tombstone has a value"),
                _ => return Err("a row is of no known kind"),
            }
        }
        Ok(())
    }

    fn take_heads(&mut self, rows: usize) -> Result<(), &'static str> {
        let shared = shared_bytes(self.key(0), self.key(rows - 1));
        let mut places = std::mem::take(&mut self.places);
        let mut before: Option<Range<usize>> = None;
        for (row, place) in places.iter_mut().enumerate() {
            let start = place.start as usize;
            let range = start..start + self.key_lens.place(&self.content, row);
            let key = self.content.get(range.clone()).unwrap_or_default();
            // Equal heads say nothing of the order, smaller ones that it is wrong, and of greater
            // ones the keys may still differ before the head.
            let key_before = before.map(|range| self.content.get(range).unwrap_or_default());
            if key_before.is_some_and(|before| before >= key) {
                return Err("the keys of a block do not ascend");
            }
            place.head = head(key, shared);
            before = Some(range);
        }
        self.places = places;
        self.shared = shared;
        Ok(())
    }

    /// How many rows there are; at least one.
    #[inline]
    pub(super) fn rows(&self) -> usize {
        self.places.len()
    }

    /// Bytes of memory that it takes while it is cached.
    pub(super) fn memory_bytes(&self) -> u64 {
        (FIXED_BYTES + self.content.len() + size_of_val::<[_]>(&self.places)) as u64
    }

    #[inline]
    fn start(&self, row: usize) -> usize {
        self.places.get(row).map_or(self.end, |place| place.start) as usize
    }

    #[inline]
    fn key_range(&self, row: usize) -> Range<usize> {
        let start = self.start(row);
        start..start + self.key_lens.place(&self.content, row)
    }

    /// The key of a row; empty for one that there is not.
    #[inline]
    pub(super) fn key(&self, row: usize) -> &[u8] {
        self.content.get(self.key_range(row)).unwrap_or_default()
    }

    fn value_range(&self, row: usize) -> Option<Range<usize>> {
        let is_value = self.kinds.get(&self.content, row) == KIND_VALUE;
        is_value.then(|| self.key_range(row).end..self.start(row + 1))
    }

    fn version(&self, row: usize) -> Version {
        Version(self.versions.get(&self.content, row))
    }

    fn timestamp(&self, row: usize) -> Timestamp {
        Timestamp(self.stamps.get(&self.content, row))
    }

    /// The row, borrowed; `None` behind the last one.
    #[inline]
    pub(super) fn row(&self, row: usize) -> Option<RowRef<'_>> {
        (row < self.rows()).then_some(())?;
        let keys = self.key_range(row);
        let value = self.content.get(keys.end..self.start(row + 1)).unwrap_or_default();
        let is_value = self.kinds.get(&self.content, row) == KIND_VALUE;
        Some(RowRef {
            key: self.content.get(keys).unwrap_or_default(),
            value: is_value.then_some(value),
            version: self.version(row),
            timestamp: self.timestamp(row),
        })
    }

    /// The value of a row, a long one sharing the block's buffer; `None` for a tombstone.
    #[inline]
    pub(super) fn value(&self, row: usize) -> Option<Bytes> {
        self.value_range(row).map(|range| match self.content.get(range.clone()) {
            Some(value) if value.len() <= COPIED_BYTES_MAX => Bytes::copy_from_slice(value),
            _ => self.content.slice(range),
        })
    }

    /// What the key of a row has; its value shares the block's buffer.
    #[inline]
    pub(super) fn record(&self, row: usize) -> Record {
        Record {
            value: self.value(row),
            version: self.version(row),
            timestamp: self.timestamp(row),
        }
    }

    /// Key and record of a row, both sharing the block's buffer; `None` behind the last one.
    pub(super) fn shared_row(&self, row: usize) -> Option<(Bytes, Record)> {
        (row < self.rows()).then(|| (self.content.slice(self.key_range(row)), self.record(row)))
    }

    /// The rows that may have a key with this head: all before are less, all behind greater, if the
    /// key has the front part that all share.
    #[inline]
    fn candidates(&self, wanted: u32) -> Range<usize> {
        let start = self.places.partition_point(|place| place.head < wanted);
        let rest = self.places.get(start..).unwrap_or_default();
        let equal = match rest {
            [first, second, ..] if first.head == wanted && second.head == wanted => {
                rest.partition_point(|place| place.head == wanted)
            }
            [first, ..] => usize::from(first.head == wanted),
            [] => 0,
        };
        start..start + equal
    }

    /// The row with exactly this key.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        // A key without the shared front part may lead to any row; the comparison tells.
        let candidates = self.candidates(head(key, self.shared));
        if candidates.len() == 1 {
            return (self.key(candidates.start) == key).then_some(candidates.start);
        }
        let row = partition(candidates.clone(), |row| self.key(row) < key);
        (candidates.contains(&row) && self.key(row) == key).then_some(row)
    }

    /// How many rows have keys less than `key`, or not greater than it.
    pub(super) fn count_below(&self, key: &[u8], or_equal: bool) -> usize {
        let (begin, _) = split_at_most(key, self.shared);
        let (shared, _) = split_at_most(self.key(0), self.shared);
        match begin.cmp(shared) {
            Ordering::Less => return 0,
            Ordering::Greater => return self.rows(),
            Ordering::Equal => {}
        }
        partition(self.candidates(head(key, self.shared)), |row| match self.key(row).cmp(key) {
            Ordering::Less => true,
            Ordering::Equal => or_equal,
            Ordering::Greater => false,
        })
    }

    /// Notes that somebody looked into it.
    #[inline]
    pub(super) fn mark_referenced(&self) {
        // Looked at first: a line that is only read stays in the caches of all processors.
        if !self.referenced.load(atomic::Ordering::Relaxed) {
            self.referenced.store(true, atomic::Ordering::Relaxed);
        }
    }

    /// Whether somebody looked into it since this was last asked.
    pub(super) fn take_referenced(&self) -> bool {
        self.referenced.swap(false, atomic::Ordering::Relaxed)
    }
}

/// The first of `rows` for which `is_below` does not hold; the end when it holds for all.
fn partition(rows: Range<usize>, is_below: impl Fn(usize) -> bool) -> usize {
    let Range { mut start, mut end } = rows;
    while start < end {
        let middle = start.midpoint(end);
        if is_below(middle) {
            start = middle + 1;
        } else {
            end = middle;
        }
    }
    start
}

/// The four bytes of `key` behind `skip`, filled with zeros, as a number that orders as they do.
#[inline]
#[expect(
    clippy::big_endian_bytes,
    reason = "the first byte must weigh most for numbers to order as bytes do"
)]
fn head(key: &[u8], skip: usize) -> u32 {
    let (_, rest) = split_at_most(key, skip);
    if let Some(whole) = rest.first_chunk::<4>() {
        return u32::from_be_bytes(*whole);
    }
    let byte = |at: usize| rest.get(at).map_or(0, |&byte| u32::from(byte));
    (byte(0) << 24) | (byte(1) << 16) | (byte(2) << 8)
}

/// How many bytes two keys share at their front.
pub(super) fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// `bytes` taken apart at `at`, or at its end when it is shorter.
#[inline]
pub(super) fn split_at_most(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at(at.min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::table::block_builder::BlockBuilder;
    use proptest::prelude::*;

    fn content(rows: &[(&[u8], Option<&[u8]>)]) -> Vec<u8> {
        let mut builder = BlockBuilder::new(4096);
        for (number, (key, value)) in (0..).zip(rows) {
            let value = value.map(Bytes::copy_from_slice);
            let (version, timestamp) = (Version(number), Timestamp(number * 2));
            builder.push(key, &Record { value, version, timestamp });
        }
        builder.finish().to_vec()
    }

    /// Looks at everything that a block offers; nothing may panic.
    fn look_at(block: &Block) {
        let mut before: Option<&[u8]> = None;
        for row in 0..block.rows() {
            let found = block.row(row).unwrap();
            assert!(before.is_none_or(|before| before < found.key));
            assert_eq!(block.find(found.key), Some(row));
            assert_eq!(block.count_below(found.key, false), row);
            assert_eq!(block.count_below(found.key, true), row + 1);
            assert_eq!(block.record(row).value.as_deref(), found.value);
            before = Some(found.key);
        }
        assert!(block.row(block.rows()).is_none() && block.shared_row(block.rows()).is_none());
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let bytes = content(&[(b"ab", Some(b"xyz")), (b"b", None)]);
        // The worked example of docs/format.md.
        let golden = [
            b"abxyzb".as_slice(),
            &[0, 5, 6],
            &[1, 0],
            &[0, 1],
            &[0, 1],
            &[0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[1, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[2, 0, 0, 0],
        ];
        assert_eq!(bytes, golden.concat());
    }

    #[test]
    fn keys_out_of_order_are_refused() {
        let refused = |rows| Block::parse(content(rows).into()).unwrap_err();
        let ascend = "the keys of a block do not ascend";
        assert_eq!(refused(&[(b"b", None), (b"a", None)]), ascend);
        assert_eq!(refused(&[(b"a", None), (b"a", None)]), ascend);
        assert_eq!(refused(&[(b"a", None), (b"c", None), (b"b", None), (b"d", None)]), ascend);
    }

    #[test]
    fn no_rows_are_refused() {
        let mut builder = BlockBuilder::new(4096);
        assert_eq!(
            Block::parse(builder.finish().to_vec().into()).unwrap_err(),
            "a block has no rows"
        );
    }

    #[test]
    fn more_rows_than_bytes_are_refused_at_once() {
        let mut bytes = vec![0; TRAILER_BYTES];
        bytes[TRAILER_BYTES - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = Block::parse(bytes.into()).unwrap_err();
        assert_eq!(error, "a block has more rows than bytes for them");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_a_block(
            bytes in proptest::collection::vec(prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], 0..200),
        ) {
            if let Ok(block) = Block::parse(bytes.into()) {
                look_at(&block);
            }
        }

        #[test]
        fn mutated_blocks_are_refused_or_a_block(
            changes in proptest::collection::vec(
                (any::<prop::sample::Index>(), prop_oneof![0..9_u8, any::<u8>()]), 1..4
            ),
        ) {
            let keys: Vec<Vec<u8>> = (0..20).map(|n| format!("k{n:02}").into_bytes()).collect();
            let value = |key: &[u8]| (key[2] != b'3').then_some(b"value".as_slice());
            let rows: Vec<_> = keys.iter().map(|key| (key.as_slice(), value(key))).collect();
            let mut bytes = content(&rows);
            look_at(&Block::parse(bytes.clone().into()).unwrap());
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(block) = Block::parse(bytes.into()) {
                look_at(&block);
            }
        }
    }
}
