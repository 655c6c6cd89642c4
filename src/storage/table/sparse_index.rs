//! Says in which block a key would stand.

use std::hint::select_unpredictable;
use std::ops::Range;

use super::block::{Block, shared_bytes, split_at_most};
use super::column::{self, Column, ColumnHead, HEAD_BYTES};
use crate::storage::format::{PROLOGUE_BYTES, take_u32};
use crate::storage::key_head::KeyHead;

/// Heads of two columns, two lengths, one count.
const TRAILER_BYTES: usize = 2 * HEAD_BYTES + 12;
/// Blocks for each head that a search begins with: few enough of these that they stay in the
/// processor's nearest cache.
const STRIDE: usize = 16;
const TRAILER: &str = "the table's index ends before its columns do";

/// The index of one open table, as it stands in the file, and beside it what a search begins with.
///
/// Invariants: both columns have one number more than there are blocks and ascend, so that every
/// block and separator is within its bounds; separators ascend strictly.
pub(super) struct SparseIndex {
    bytes: Box<[u8]>,
    /// For each block that of its separator.
    heads: Box<[KeyHead]>,
    /// Every one of `STRIDE` heads.
    tops: Box<[KeyHead]>,
    offsets: Column,
    separators: Column,
    /// Bytes that the first and the last key share, and no separator has.
    shared: usize,
    first_key: Range<usize>,
    last_key: Range<usize>,
}

impl SparseIndex {
    /// Takes an index apart that begins at `index_at` of its file, and checks all of it.
    ///
    /// # Errors
    /// What does not add up.
    pub(super) fn parse(bytes: Vec<u8>, index_at: u64) -> Result<Self, &'static str> {
        let len = bytes.len();
        let trailer_at = len.checked_sub(TRAILER_BYTES).ok_or(TRAILER)?;
        let number = |back: usize| take_u32(&bytes, len - back).map_or(0, |number| number as usize);
        let (first_bytes, last_bytes, blocks) = (number(12), number(8), number(4));
        if blocks == 0 {
            return Err("the table's index has no blocks");
        }
        let head = |at| ColumnHead::parse(&bytes, at).ok_or("a column of the index is too wide");
        let (offsets, separators) = (head(trailer_at)?, head(trailer_at + HEAD_BYTES)?);
        let before = |end: usize, bytes: Option<usize>| {
            bytes.and_then(|bytes| end.checked_sub(bytes)).ok_or(TRAILER)
        };
        let separators_at = before(trailer_at, separators.data_bytes(blocks + 1))?;
        let offsets_at = before(separators_at, offsets.data_bytes(blocks + 1))?;
        let last_at = before(offsets_at, Some(last_bytes))?;
        let first_at = before(last_at, Some(first_bytes))?;
        let mut index = Self {
            heads: Box::default(),
            tops: Box::default(),
            offsets: offsets.column_at(offsets_at).ok_or(TRAILER)?,
            separators: separators.column_at(separators_at).ok_or(TRAILER)?,
            shared: 0,
            first_key: first_at..last_at,
            last_key: last_at..offsets_at,
            bytes: bytes.into_boxed_slice(),
        };
        index.shared = shared_bytes(index.first_key(), index.last_key());
        let offsets = (0..=blocks).map(|block| index.offsets.get(&index.bytes, block));
        let starts = (0..=blocks).map(|block| index.separators.get(&index.bytes, block));
        if !column::ascends(offsets, PROLOGUE_BYTES as u64, index_at, 1)
            || !column::ascends(starts, 0, first_at as u64, 0)
        {
            return Err("the blocks or separators of the index do not fill it");
        }
        let separators = (0..blocks).map(|block| index.separator(block));
        if !separators.clone().is_sorted_by(|a, b| a < b) || index.first_key() > index.last_key() {
            return Err("the keys of the index do not ascend");
        }
        index.heads = separators.map(KeyHead::of).collect();
        index.tops = index.heads.iter().copied().step_by(STRIDE).collect();
        Ok(index)
    }

    pub(super) fn blocks(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let heads = size_of_val::<[_]>(&self.heads) + size_of_val::<[_]>(&self.tops);
        (self.bytes.len() + heads) as u64
    }

    pub(super) fn first_key(&self) -> &[u8] {
        self.bytes.get(self.first_key.clone()).unwrap_or_default()
    }

    pub(super) fn last_key(&self) -> &[u8] {
        self.bytes.get(self.last_key.clone()).unwrap_or_default()
    }

    /// Where some blocks that follow each other stand in the file.
    #[inline]
    pub(super) fn place(&self, blocks: Range<usize>) -> Range<u64> {
        self.offsets.get(&self.bytes, blocks.start)..self.offsets.get(&self.bytes, blocks.end)
    }

    /// The separator of a block, without what all keys share.
    pub(super) fn separator(&self, block: usize) -> &[u8] {
        let start = self.separators.place(&self.bytes, block);
        let end = self.separators.place(&self.bytes, block + 1);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Whether `block` is where its keys belong: they stand between the separators, and none before
    /// the first key of the table or behind its last. So rows ascend from block to block, too.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(&self, number: usize, block: &Block) -> Result<(), &'static str> {
        let (first, last) = (block.key(0), block.key(block.rows() - 1));
        // Whatever is between the first and the last key begins as both of them do.
        let rest = |key| split_at_most(key, self.shared).1;
        let next = number + 1;
        let is_between = first >= self.first_key()
            && last <= self.last_key()
            && rest(first) >= self.separator(number)
            && (next == self.blocks() || rest(last) < self.separator(next));
        is_between.then_some(()).ok_or("the keys of a block belong to another one")
    }

    /// Bytes that the first and the last key share.
    pub(super) fn shared(&self) -> usize {
        self.shared
    }

    /// The only block that `key` can stand in; any block where it is before the first or behind the
    /// last key.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> usize {
        let (_, rest) = split_at_most(key, self.shared);
        let wanted = KeyHead::of(rest);
        // The first head that is not less stands behind the last of `tops` that is.
        let end = count_less(&self.tops, wanted) * STRIDE;
        let begin = end.saturating_sub(STRIDE);
        let group = self.heads.get(begin..end.min(self.heads.len())).unwrap_or_default();
        let start = begin + group.iter().map(|&head| usize::from(head < wanted)).sum::<usize>();
        let same = self.heads.get(start..).unwrap_or_default();
        // Heads that are equal say nothing: there the separators themselves are compared.
        let after = if same.first() == Some(&wanted) {
            let end = start + same.partition_point(|&head| head == wanted);
            self.partition(start..end, |separator| separator <= rest)
        } else {
            start
        };
        // The separator of the first block is not greater than anything.
        after.saturating_sub(1)
    }

    fn partition(&self, blocks: Range<usize>, is_below: impl Fn(&[u8]) -> bool) -> usize {
        let Range { mut start, mut end } = blocks;
        while start < end {
            let middle = start.midpoint(end);
            if is_below(self.separator(middle)) {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }
}

impl std::fmt::Debug for SparseIndex {
    /// Shows the number of blocks only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SparseIndex").field("blocks", &self.blocks()).finish_non_exhaustive()
    }
}

/// How many of some ascending heads are less than `wanted`. Without a branch that depends on them,
/// which would be guessed wrong every other time: `partition_point` has one for numbers as wide.
#[inline]
fn count_less(heads: &[KeyHead], wanted: KeyHead) -> usize {
    let (mut start, mut len) = (0, heads.len());
    while len > 0 {
        let half = len.div_ceil(2);
        let is_less = heads.get(start + half - 1).is_some_and(|&head| head < wanted);
        start += select_unpredictable(is_less, half, 0);
        len -= half;
    }
    start
}

/// Gathers what the index of a table is made of while its blocks are written.
#[derive(Debug, Default)]
pub(super) struct IndexBuilder {
    offsets: Vec<u64>,
    /// Separators one behind the other, with what all keys share.
    separators: Vec<u8>,
    ends: Vec<usize>,
}

impl IndexBuilder {
    /// The next block begins at `offset` with `first`; the one before it ended with `last_before`.
    pub(super) fn push(&mut self, offset: u64, last_before: Option<&[u8]>, first: &[u8]) {
        self.offsets.push(offset);
        if let Some(before) = last_before {
            // One byte behind what both share tells them apart.
            let (separator, _) = split_at_most(first, shared_bytes(before, first) + 1);
            self.separators.extend_from_slice(separator);
        }
        self.ends.push(self.separators.len());
    }

    pub(super) fn blocks(&self) -> usize {
        self.offsets.len()
    }

    /// The index of a table whose last block ends at `index_at`.
    pub(super) fn finish(mut self, index_at: u64, first_key: &[u8], last_key: &[u8]) -> Vec<u8> {
        let shared = shared_bytes(first_key, last_key);
        let mut out = Vec::new();
        let mut starts = vec![0];
        let mut at = 0;
        for (number, &end) in self.ends.iter().enumerate() {
            // That of the first block is empty and stays so.
            let skip = if number == 0 { 0 } else { shared };
            let (_, rest) = split_at_most(self.separators.get(at..end).unwrap_or_default(), skip);
            out.extend_from_slice(rest);
            starts.push(out.len() as u64);
            at = end;
        }
        self.offsets.push(index_at);
        out.extend_from_slice(first_key);
        out.extend_from_slice(last_key);
        let heads = [
            column::write_data(self.offsets.iter().copied(), &mut out),
            column::write_data(starts.iter().copied(), &mut out),
        ];
        for head in heads {
            head.write(&mut out);
        }
        for number in [first_key.len(), last_key.len(), self.ends.len()] {
            out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An index of blocks with one key each.
    fn index_of(keys: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = IndexBuilder::default();
        let mut before = None;
        for (number, key) in keys.iter().enumerate() {
            builder.push(PROLOGUE_BYTES as u64 + number as u64 * 10, before, key);
            before = Some(key.as_slice());
        }
        let end = PROLOGUE_BYTES as u64 + keys.len() as u64 * 10;
        builder.finish(end, &keys[0], &keys[keys.len() - 1])
    }

    fn parse(bytes: Vec<u8>, keys: usize) -> Result<SparseIndex, &'static str> {
        SparseIndex::parse(bytes, (PROLOGUE_BYTES + keys * 10) as u64)
    }

    fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let letter = prop_oneof![Just(0_u8), Just(b'a'), Just(0xff)];
        let end = proptest::collection::vec(letter, 0..12);
        let keys = proptest::collection::btree_set(end, 1..60);
        (keys, any::<bool>()).prop_map(|(keys, long)| {
            let prefix: &[u8] = if long { b"a long prefix" } else { b"" };
            keys.into_iter().map(|key| [prefix, &key].concat()).collect()
        })
    }

    proptest! {
        #[test]
        fn a_key_is_looked_for_where_it_is(keys in keys(), probes in keys()) {
            let index = parse(index_of(&keys), keys.len()).unwrap();
            prop_assert_eq!(index.blocks(), keys.len());
            prop_assert_eq!(index.first_key(), &keys[0][..]);
            prop_assert_eq!(index.last_key(), &keys[keys.len() - 1][..]);
            for (number, key) in keys.iter().enumerate() {
                prop_assert_eq!(index.find(key), number);
                let start = (PROLOGUE_BYTES + number * 10) as u64;
                prop_assert_eq!(index.place(number..number + 1), start..start + 10);
            }
            for probe in probes.iter().filter(|p| **p >= keys[0] && **p <= keys[keys.len() - 1]) {
                let (_, rest) = split_at_most(probe, index.shared());
                let number = index.find(probe);
                prop_assert!(index.separator(number) <= rest);
                prop_assert!(number + 1 == keys.len() || rest < index.separator(number + 1));
            }
        }

        #[test]
        fn mutated_indexes_are_refused_or_harmless(
            changes in proptest::collection::vec(
                (any::<prop::sample::Index>(), prop_oneof![0..9_u8, any::<u8>()]), 1..4
            ),
        ) {
            let keys: Vec<Vec<u8>> = (0..20).map(|n| format!("k{n:02}").into_bytes()).collect();
            let mut bytes = index_of(&keys);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(index) = parse(bytes, 20) {
                let end = PROLOGUE_BYTES as u64 + 200;
                for key in &keys {
                    let number = index.find(key);
                    prop_assert!(number < index.blocks());
                    prop_assert!(index.place(number..number + 1).end <= end);
                }
            }
        }

        #[test]
        fn any_bytes_are_refused_or_an_index(
            bytes in proptest::collection::vec(prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], 0..200),
        ) {
            if let Ok(index) = SparseIndex::parse(bytes, 100) {
                prop_assert!(index.find(b"key") < index.blocks());
            }
        }
    }
}
