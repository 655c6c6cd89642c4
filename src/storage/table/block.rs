//! One block in memory: rows whose places were all checked when it was read, so that looking into
//! it cannot fail.

use std::cmp::Ordering;
use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{self, AtomicBool};

use bytes::Bytes;

use super::column::{Column, ColumnHead, HEAD_BYTES};
use super::key_hash::KeyHash;
use super::row::RowRef;
use super::row_map::{Candidate, RowMap, RowPlace, Unmapped};
use crate::storage::format::{TABLE_KEY_BYTES_MAX, TABLE_VALUE_BYTES_MAX, take_u32};
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
/// Bytes that the processor gets from memory at once.
const LINE_BYTES: usize = 64;
/// A longer block has long values, which not everybody looks at.
const ASKED_FOR_BYTES_MAX: usize = 8 << 10;

/// A block's content, checked.
///
/// Invariants: every column has as many numbers as there are rows, starts one more; every row and
/// key is within the content; a tombstone has no value; keys ascend strictly.
///
/// In this order, so that what a look-up needs stands together in memory.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Block {
    content: Bytes,
    key_lens: Column,
    kinds: Column,
    /// Whether somebody looked into it since the cache last went by.
    referenced: AtomicBool,
    /// Whether the content is a part of a whole table in memory.
    is_part: bool,
    map: RowMap,
    rows: usize,
    starts: Column,
    versions: Column,
    stamps: Column,
}

impl Block {
    /// What a block takes in memory beside its content and a large map: itself, its place in its
    /// table and in the queue of the cache, and what the allocator adds to three allocations.
    pub(super) const FIXED_BYTES: usize = size_of::<Self>() + 96;

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
        let block = Self {
            rows,
            referenced: AtomicBool::new(false),
            is_part: false,
            map: RowMap::Missing,
            starts: next(starts, rows + 1)?,
            key_lens: next(key_lens, rows)?,
            kinds: next(kinds, rows)?,
            versions: next(versions, rows)?,
            stamps: next(stamps, rows)?,
            content,
        };
        block.check_rows(rows_end as u64)?;
        // The first clone of a buffer allocates its count of owners. Made now, the count lies
        // beside what a look touches anyway.
        drop(block.content.clone());
        Ok(block)
    }

    /// As [`Self::parse`], of a content that is a part of a whole table in memory. Nothing that it
    /// hands out shares the buffer, or a row that somebody keeps would keep the table.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(super) fn parse_part(content: Bytes) -> Result<Self, &'static str> {
        Ok(Self { is_part: true, ..Self::parse(content)? })
    }

    fn check_rows(&self, rows_end: u64) -> Result<(), &'static str> {
        const FILL: &str = "the rows of a block do not fill it";
        let mut start = self.starts.get(&self.content, 0);
        if start != 0 {
            return Err(FILL);
        }
        let mut before: Option<&[u8]> = None;
        for row in 0..self.rows {
            let end = self.starts.get(&self.content, row + 1);
            let row_bytes = end.checked_sub(start).filter(|_| end <= rows_end).ok_or(FILL)?;
            let key_bytes = self.key_lens.get(&self.content, row);
            if key_bytes > row_bytes || key_bytes > TABLE_KEY_BYTES_MAX as u64 {
                return Err("a key of a block is longer than it can be");
            }
            if row_bytes - key_bytes > TABLE_VALUE_BYTES_MAX as u64 {
                return Err("a value of a block is longer than it can be");
            }
            match self.kinds.get(&self.content, row) {
                KIND_VALUE => {}
                KIND_TOMBSTONE if key_bytes == row_bytes => {}
                KIND_TOMBSTONE => return Err("a tombstone has a value"),
                _ => return Err("a row is of no known kind"),
            }
            let key = self.key(row);
            if before.is_some_and(|before| before >= key) {
                return Err("the keys of a block do not ascend");
            }
            before = Some(key);
            start = end;
        }
        if start == rows_end { Ok(()) } else { Err(FILL) }
    }

    /// Gets ready for many look-ups: from now on [`Self::find`] goes by the hash of a key.
    #[must_use]
    pub(super) fn mapped(mut self) -> Self {
        let rows = (0..self.rows).map(|row| {
            let RowPlace { start, key_end, end, .. } = self.place(row);
            (KeyHash::of(self.bytes(start..key_end)), Candidate { row, start, end })
        });
        self.map = RowMap::of(rows);
        self
    }

    /// Whether the content is a part of a whole table in memory.
    pub(super) fn is_part(&self) -> bool {
        self.is_part
    }

    /// How many rows there are; at least one.
    #[inline]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory that it takes while it is cached; none where it is a part: see
    /// [`Self::FIXED_BYTES`].
    pub(super) fn memory_bytes(&self) -> u64 {
        if self.is_part {
            return 0;
        }
        (Self::FIXED_BYTES + self.content.len() + self.map.heap_bytes()) as u64
    }

    #[inline]
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.content.get(range).unwrap_or_default()
    }

    /// Where a row stands, which must be one of the block.
    #[inline]
    pub(super) fn place(&self, row: usize) -> RowPlace {
        self.place_from(row, self.starts.place(&self.content, row))
    }

    /// Where the row behind that at a place stands, which must be one of the block.
    #[inline]
    pub(super) fn place_behind(&self, before: &RowPlace) -> RowPlace {
        self.place_from(before.row + 1, before.end)
    }

    #[inline]
    fn place_from(&self, row: usize, start: usize) -> RowPlace {
        RowPlace {
            row,
            start,
            key_end: start + self.key_lens.place(&self.content, row),
            end: self.starts.place(&self.content, row + 1),
            is_value: self.kinds.get(&self.content, row) == KIND_VALUE,
        }
    }

    /// The key of a row of the block.
    #[inline]
    pub(super) fn key(&self, row: usize) -> &[u8] {
        let start = self.starts.place(&self.content, row);
        self.bytes(start..start + self.key_lens.place(&self.content, row))
    }

    /// The key of the row at a place.
    #[inline]
    pub(super) fn key_at(&self, place: &RowPlace) -> &[u8] {
        self.bytes(place.start..place.key_end)
    }

    fn version(&self, row: usize) -> Version {
        Version(self.versions.get(&self.content, row))
    }

    fn timestamp(&self, row: usize) -> Timestamp {
        Timestamp(self.stamps.get(&self.content, row))
    }

    /// The row at a place, borrowed.
    #[inline]
    pub(super) fn row_at(&self, place: &RowPlace) -> RowRef<'_> {
        let value = self.bytes(place.key_end..place.end);
        RowRef {
            key: self.key_at(place),
            value: place.is_value.then_some(value),
            version: self.version(place.row),
            timestamp: self.timestamp(place.row),
        }
    }

    /// The row, borrowed; `None` behind the last one.
    #[inline]
    pub(super) fn row(&self, row: usize) -> Option<RowRef<'_>> {
        (row < self.rows).then(|| self.row_at(&self.place(row)))
    }

    /// The value at a place, a long one sharing the block's buffer where that is no part of a whole
    /// table; `None` for a tombstone.
    #[inline]
    pub(super) fn value_at(&self, place: &RowPlace) -> Option<Bytes> {
        let range = place.key_end..place.end;
        place.is_value.then(|| match self.content.get(range.clone()) {
            Some(value) if value.len() <= COPIED_BYTES_MAX || self.is_part => {
                Bytes::copy_from_slice(value)
            }
            _ => self.content.slice(range),
        })
    }

    /// What the key at a place has; a long value shares the block's buffer.
    pub(super) fn record_at(&self, place: &RowPlace) -> Record {
        Record {
            value: self.value_at(place),
            version: self.version(place.row),
            timestamp: self.timestamp(place.row),
        }
    }

    /// Key and record at a place, both sharing one buffer: the block's, or a copy of the row where
    /// the block is a part of a whole table.
    pub(super) fn shared_row_at(&self, place: &RowPlace) -> (Bytes, Record) {
        if !self.is_part {
            return (self.content.slice(place.start..place.key_end), self.record_at(place));
        }
        let mut key = Bytes::copy_from_slice(self.bytes(place.start..place.end));
        let value = key.split_off(place.key_end - place.start);
        let record = Record {
            value: place.is_value.then_some(value),
            version: self.version(place.row),
            timestamp: self.timestamp(place.row),
        };
        (key, record)
    }

    /// Where the row with exactly this key stands, whose hash is given too.
    #[inline]
    pub(super) fn find(&self, key: &[u8], hash: KeyHash) -> Option<RowPlace> {
        let look = |Candidate { row, start, end }| {
            // The end of the row is asked for together with its beginning: what of it stands
            // elsewhere in memory has arrived by the time that the key was compared.
            black_box(self.content.get(end.saturating_sub(1)).copied());
            let key_end = start + self.key_lens.place(&self.content, row);
            (self.bytes(start..key_end) == key).then(|| {
                let is_value = self.kinds.get(&self.content, row) == KIND_VALUE;
                RowPlace { row, start, key_end, end, is_value }
            })
        };
        match self.map.find(hash, look) {
            Ok(found) => found,
            Err(Unmapped) => self.search(key),
        }
    }

    /// The row that begins at `start`.
    pub(super) fn row_from(&self, start: usize) -> Option<RowPlace> {
        let row = self.partition(|row| self.starts.place(&self.content, row) < start);
        (row < self.rows).then(|| self.place(row)).filter(|place| place.start == start)
    }

    fn search(&self, key: &[u8]) -> Option<RowPlace> {
        let row = self.count_below(key, false);
        (row < self.rows && self.key(row) == key).then(|| self.place(row))
    }

    /// How many rows have keys less than `key`, or not greater than it.
    pub(super) fn count_below(&self, key: &[u8], or_equal: bool) -> usize {
        self.partition(|row| match self.key(row).cmp(key) {
            Ordering::Less => true,
            Ordering::Equal => or_equal,
            Ordering::Greater => false,
        })
    }

    /// The first row that is not below; rows that are stand before all others.
    #[inline]
    fn partition(&self, is_below: impl Fn(usize) -> bool) -> usize {
        let (mut start, mut end) = (0, self.rows);
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

    /// Looks at each line of memory that a usual block stands in. For whoever goes through it: all
    /// of them are asked for at the same time, instead of one after the other as the rows come.
    #[inline]
    pub(super) fn ask_for_all(&self) {
        if self.content.len() <= ASKED_FOR_BYTES_MAX {
            let lines = self.content.chunks(LINE_BYTES).filter_map(<[u8]>::first);
            black_box(lines.fold(0_u8, |all, byte| all | byte));
        }
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

    fn parse(bytes: Vec<u8>) -> Result<Block, &'static str> {
        Block::parse(bytes.into())
    }

    /// Looks at everything that a block offers; nothing may panic.
    fn look_at(block: Block) {
        look_at_all(&block);
        look_at_all(&block.mapped());
    }

    fn look_at_all(block: &Block) {
        let mut before: Option<&[u8]> = None;
        for row in 0..block.rows() {
            let found = block.row(row).unwrap();
            assert!(before.is_none_or(|before| before < found.key));
            assert_eq!(block.find(found.key, KeyHash::of(found.key)), Some(block.place(row)));
            let next = [found.key, b"\0"].concat();
            let is_next = block.row(row + 1).is_some_and(|row| row.key == next);
            assert_eq!(block.find(&next, KeyHash::of(&next)).is_some(), is_next);
            assert_eq!(block.count_below(found.key, false), row);
            assert_eq!(block.count_below(found.key, true), row + 1);
            assert_eq!(block.record_at(&block.place(row)).value.as_deref(), found.value);
            before = Some(found.key);
        }
        assert!(block.row(block.rows()).is_none());
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
    fn nothing_that_a_part_of_a_table_hands_out_shares_its_memory() {
        let long = [7; 5000];
        let bytes = Bytes::from(content(&[(b"a", Some(&long)), (b"b", Some(b"1")), (b"c", None)]));
        let whole = Block::parse(bytes.clone()).unwrap();
        let kept = whole.shared_row_at(&whole.place(0));
        drop(whole);
        assert!(!bytes.is_unique(), "a block by itself is shared");
        drop(kept);
        let part = Block::parse_part(bytes.clone()).unwrap();
        let rows: Vec<_> = (0..3).map(|row| part.shared_row_at(&part.place(row))).collect();
        let value = part.value_at(&part.place(0));
        drop(part);
        assert!(bytes.is_unique());
        let whole = Block::parse(bytes).unwrap();
        let expected: Vec<_> = (0..3).map(|row| whole.shared_row_at(&whole.place(row))).collect();
        assert_eq!(rows, expected);
        assert_eq!(value, expected[0].1.value);
    }

    #[test]
    fn keys_out_of_order_are_refused() {
        let refused = |rows| parse(content(rows)).unwrap_err();
        let ascend = "the keys of a block do not ascend";
        assert_eq!(refused(&[(b"b", None), (b"a", None)]), ascend);
        assert_eq!(refused(&[(b"a", None), (b"a", None)]), ascend);
        assert_eq!(refused(&[(b"a", None), (b"c", None), (b"b", None), (b"d", None)]), ascend);
    }

    #[test]
    fn no_rows_are_refused() {
        let mut builder = BlockBuilder::new(4096);
        assert_eq!(parse(builder.finish().to_vec()).unwrap_err(), "a block has no rows");
    }

    #[test]
    fn more_rows_than_bytes_are_refused_at_once() {
        let mut bytes = vec![0; TRAILER_BYTES];
        bytes[TRAILER_BYTES - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = parse(bytes).unwrap_err();
        assert_eq!(error, "a block has more rows than bytes for them");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_a_block(
            bytes in proptest::collection::vec(prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], 0..200),
        ) {
            if let Ok(block) = parse(bytes) {
                look_at(block);
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
            look_at(parse(bytes.clone()).unwrap());
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(block) = parse(bytes) {
                look_at(block);
            }
        }
    }
}
