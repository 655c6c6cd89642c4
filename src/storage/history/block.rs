//! The content of a block of changes: what is written, checked and compressed as a whole.
//!
//! The numbers stand together, and the keys, and the values, because like compresses well with
//! like. An entry may go on in the next block.

use bytes::Bytes;

use super::change::{EntryChanges, KeyChange};
use super::place::Span;
use crate::storage::format::{
    CHANGES_HEAD_BYTES, TABLE_KEY_BYTES_MAX, TABLE_VALUE_BYTES_MAX, take_u32,
};
use crate::storage::table::KeyHash;
use crate::types::{LogIndex, Timestamp};

/// Fewest bytes of marks that a change takes.
const MARKS_MIN: usize = 3;
/// What is said of numbers that are no numbers, or too great.
const BAD: &str = "the marks of a block of changes make no sense";

/// Gathers the content of one block.
#[derive(Debug, Default)]
pub(super) struct BlockBuilder {
    entries: u32,
    marks: Vec<u8>,
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Marks of the changes of the entry that is being written, and how many they are.
    part: Vec<u8>,
    part_changes: u64,
    /// The entry that is being written.
    index: LogIndex,
    stamp: Timestamp,
    span: Option<Span>,
    hashes: Vec<u64>,
}

impl BlockBuilder {
    /// Bytes of the content so far.
    pub(super) fn bytes(&self) -> usize {
        CHANGES_HEAD_BYTES
            + self.marks.len()
            + self.part.len()
            + self.keys.len()
            + self.values.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Begins an entry, or the rest of one. [`Self::end`] is to follow.
    pub(super) fn begin(&mut self, index: LogIndex, stamp: Timestamp) {
        (self.index, self.stamp) = (index, stamp);
    }

    /// Adds a change of the entry.
    pub(super) fn push(&mut self, change: &KeyChange) {
        put(&mut self.part, change.key.len() as u64);
        put(&mut self.part, change.value.as_ref().map_or(0, |value| value.len() as u64 + 1));
        put(&mut self.part, change.before.map_or(0, |before| u64::from(before) + 1));
        self.part_changes += 1;
        self.keys.extend_from_slice(&change.key);
        self.values.extend_from_slice(change.value.as_deref().unwrap_or_default());
        self.hashes.push(KeyHash::of(&change.key).bits());
    }

    /// Ends the entry, or the part of it that this block holds; does nothing where it holds none.
    pub(super) fn end(&mut self) {
        if self.part_changes == 0 {
            return;
        }
        let (index, stamp) = (self.index, self.stamp);
        // The first entry of a block stands there as it is, the others as what is added.
        let (base, base_stamp) = self.span.map_or((0, 0), |span| (span.last.0, span.stamps.1.0));
        put(&mut self.marks, index.0 - base);
        put(&mut self.marks, stamp.0 - base_stamp);
        put(&mut self.marks, self.part_changes);
        self.marks.append(&mut self.part);
        self.part_changes = 0;
        self.entries += 1;
        let one = Span { first: index, last: index, stamps: (stamp, stamp) };
        let span = self.span.get_or_insert(one);
        (span.last, span.stamps.1) = (index, stamp);
    }

    /// The content. The last entry was ended.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.bytes());
        for number in [self.entries as usize, self.marks.len(), self.keys.len()] {
            // Bounded by the limits of a block.
            content.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        for part in [&self.marks, &self.keys, &self.values] {
            content.extend_from_slice(part);
        }
        content
    }

    /// What the block covers; `None` while it is empty.
    pub(super) const fn span(&self) -> Option<Span> {
        self.span
    }

    /// The hashes of its keys, each once.
    pub(super) fn hashes(&mut self) -> &[u64] {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        &self.hashes
    }

    /// Begins the next block.
    pub(super) fn clear(&mut self) {
        self.entries = 0;
        self.span = None;
        for part in [&mut self.marks, &mut self.keys, &mut self.values] {
            part.clear();
            // One huge value must not stay for the life of the file.
            part.shrink_to(1 << 20);
        }
        self.hashes.clear();
    }
}

/// Reads the entries of one block in order.
#[derive(Debug)]
pub(super) struct BlockReader {
    content: Bytes,
    entries_left: u32,
    /// Where the next mark, key and value stand.
    marks: usize,
    keys: usize,
    values: usize,
    marks_end: usize,
    keys_end: usize,
    index: u64,
    stamp: u64,
    is_first: bool,
}

impl BlockReader {
    /// Begins with a content whose checksum was right.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(content: Bytes) -> Result<Self, &'static str> {
        const SHORT: &str = "a block of changes ends before what its head says";
        let field = |at| take_u32(&content, at).ok_or(SHORT);
        let (entries_left, marks_len, keys_len) = (field(0)?, field(4)?, field(8)?);
        let marks = CHANGES_HEAD_BYTES;
        let marks_end = marks.checked_add(marks_len as usize).ok_or(SHORT)?;
        let keys_end = marks_end.checked_add(keys_len as usize).ok_or(SHORT)?;
        if keys_end > content.len() {
            return Err(SHORT);
        }
        if entries_left == 0 {
            return Err("a block of changes has no entry");
        }
        let (keys, values) = (marks_end, keys_end);
        Ok(Self {
            content,
            entries_left,
            marks,
            keys,
            values,
            marks_end,
            keys_end,
            index: 0,
            stamp: 0,
            is_first: true,
        })
    }

    /// Whether all entries were read.
    pub(super) const fn is_done(&self) -> bool {
        self.entries_left == 0
    }

    /// The next entry, or the part of it that stands here; `None` at the end of the block.
    ///
    /// # Errors
    /// What is wrong with the block; it is not to be read on.
    pub(super) fn next(&mut self) -> Result<Option<EntryChanges>, &'static str> {
        if self.entries_left == 0 {
            let ends = (self.marks, self.keys, self.values);
            return if ends == (self.marks_end, self.keys_end, self.content.len()) {
                Ok(None)
            } else {
                Err("bytes follow the last entry of a block of changes")
            };
        }
        let (more, later, count) = (self.mark(), self.mark(), self.mark());
        let (Some(more), Some(later), Some(count)) = (more, later, count) else {
            return Err(BAD);
        };
        self.index = self.index.checked_add(more).ok_or(BAD)?;
        self.stamp = self.stamp.checked_add(later).ok_or(BAD)?;
        if more == 0 && !self.is_first {
            return Err("an entry stands twice in a block of changes");
        }
        self.is_first = false;
        let count = usize::try_from(count).map_err(|_| BAD)?;
        let most = self.marks_end.saturating_sub(self.marks) / MARKS_MIN;
        if count == 0 || count > most {
            return Err("an entry has an impossible number of changes");
        }
        let mut changes = Vec::with_capacity(count);
        for _ in 0..count {
            changes.push(self.change().ok_or("a change is longer than its block")?);
        }
        self.entries_left -= 1;
        let (index, timestamp) = (LogIndex(self.index), Timestamp(self.stamp));
        Ok(Some(EntryChanges { index, timestamp, changes }))
    }

    fn change(&mut self) -> Option<KeyChange> {
        let (key_len, value, before) = (self.mark()?, self.mark()?, self.mark()?);
        let key_len = usize::try_from(key_len).ok()?;
        (1..=TABLE_KEY_BYTES_MAX).contains(&key_len).then_some(())?;
        let key_end = self.keys.checked_add(key_len).filter(|&end| end <= self.keys_end)?;
        let key = self.content.slice(self.keys..key_end);
        self.keys = key_end;
        let value = match value.checked_sub(1) {
            None => None,
            Some(len) => {
                let len = usize::try_from(len).ok()?;
                (len <= TABLE_VALUE_BYTES_MAX).then_some(())?;
                let end = self.values.checked_add(len).filter(|&end| end <= self.content.len())?;
                let value = self.content.slice(self.values..end);
                self.values = end;
                Some(value)
            }
        };
        let before = match before.checked_sub(1) {
            None => None,
            Some(len) => Some(u32::try_from(len).ok()?),
        };
        Some(KeyChange { key, value, before })
    }

    /// The next number of the marks.
    #[inline]
    fn mark(&mut self) -> Option<u64> {
        let marks = self.content.get(self.marks..self.marks_end)?;
        let (&first, rest) = marks.split_first()?;
        if first < 0x80 {
            self.marks += 1;
            return Some(u64::from(first));
        }
        let mut number = u64::from(first & 0x7f);
        let mut shift = 7;
        for &byte in rest {
            let bits = u64::from(byte & 0x7f);
            number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
            shift += 7;
            if byte < 0x80 {
                self.marks += (shift / 7) as usize;
                return Some(number);
            }
        }
        None
    }
}

/// Appends a number: seven bits a byte, the low ones first, the top bit set in all but the last.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(entries: &[EntryChanges]) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for entry in entries {
            builder.begin(entry.index, entry.timestamp);
            for change in &entry.changes {
                builder.push(change);
            }
            builder.end();
        }
        let content = builder.content();
        assert_eq!(content.len(), builder.bytes());
        content
    }

    fn read(content: &[u8]) -> Result<Vec<EntryChanges>, &'static str> {
        let mut reader = BlockReader::parse(Bytes::copy_from_slice(content))?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    prop_compose! {
        fn any_change()(
            key in proptest::collection::vec(any::<u8>(), 1..200),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
            before in proptest::option::of(any::<u32>()),
        ) -> KeyChange {
            KeyChange { key: key.into(), value: value.map(Bytes::from), before }
        }
    }

    proptest! {
        #[test]
        fn entries_read_back(
            steps in proptest::collection::vec(
                (1_u64..1 << 40, 0_u64..1 << 50, proptest::collection::vec(any_change(), 1..5)),
                1..20,
            ),
        ) {
            let (mut index, mut stamp) = (0, 0);
            let mut entries = Vec::new();
            for (more, later, changes) in steps {
                (index, stamp) = (index + more, stamp + later);
                let (index, timestamp) = (LogIndex(index), Timestamp(stamp));
                entries.push(EntryChanges { index, timestamp, changes });
            }
            let content = written(&entries);
            prop_assert_eq!(read(&content), Ok(entries));
            for len in 0..content.len() {
                prop_assert!(read(&content[..len]).is_err());
            }
        }

        #[test]
        fn numbers_read_back(number in any::<u64>(), bits in 0..64_u32) {
            let number = number >> bits;
            let mut marks = Vec::new();
            put(&mut marks, number);
            let marks_end = CHANGES_HEAD_BYTES + marks.len();
            let mut content = vec![0; CHANGES_HEAD_BYTES];
            content[0] = 1;
            content[4] = u8::try_from(marks.len()).unwrap();
            content.extend(marks);
            let mut reader = BlockReader::parse(content.into()).unwrap();
            prop_assert_eq!(reader.mark(), Some(number));
            prop_assert_eq!(reader.marks, marks_end);
        }

        #[test]
        fn any_bytes_are_refused_or_read(
            content in proptest::collection::vec(any::<u8>(), 0..300),
            entries in 0..5_u8,
            marks in 0..40_u8,
            keys in 0..40_u8,
        ) {
            let _ = read(&content);
            // With a head that is nearly right.
            let head = [entries, 0, 0, 0, marks, 0, 0, 0, keys, 0, 0, 0];
            let _ = read(&[&head, &*content].concat());
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let block = |marks: &[u8]| {
            let mut content = vec![1, 0, 0, 0, u8::try_from(marks.len()).unwrap(), 0, 0, 0];
            content.extend([0; 4]);
            content.extend(marks);
            BlockReader::parse(content.into()).unwrap().mark()
        };
        assert_eq!(block(&[0xff; 9]), None);
        assert_eq!(
            block(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            Some(u64::MAX)
        );
        assert_eq!(block(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), None);
        assert_eq!(block(&[0x80; 12]), None);
    }
}
