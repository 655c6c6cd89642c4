//! Finds the row of a key within a block, by the key's hash.
//!
//! A look-up waits for a line or two of memory here, which stand in the block itself, and then for
//! the row: neither columns nor other rows are touched. So it has few bytes for each row: the more
//! of all these fits into the processor's caches, the fewer gets wait for memory twice.

use super::key_hash::KeyHash;

/// Most rows of a block whose tags are all looked at, plus one.
const TAGS: usize = 64;
const ONES: u64 = u64::from_le_bytes([1; 8]);
const LOW_BITS: u64 = ONES * 0x7f;
/// Brings the lowest bits of eight bytes together in the highest byte.
const GATHER: u64 = 0x0102_0408_1020_4080;

const PLACE_BITS: u32 = 16;
const ROW_BITS: u32 = 12;
const TAG_SHIFT: u32 = 2 * PLACE_BITS + ROW_BITS;
/// Of a tag, so that no entry is zero, which is what a free one is.
const TAG_USED: u64 = 1;

/// Where a row stands in the content of its block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowPlace {
    /// The number of the row.
    pub(super) row: usize,
    /// Where its key begins.
    pub(super) start: usize,
    /// Where its key ends and its value begins.
    pub(super) key_end: usize,
    /// Where its value ends.
    pub(super) end: usize,
    /// Whether it has a value; else it is a tombstone.
    pub(super) is_value: bool,
}

/// A row, and where it begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) row: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The rows of one block by the hashes of their keys.
#[derive(Debug)]
pub(super) enum RowMap {
    /// For a usual block: no pointer to follow.
    Few(Tags),
    /// For a block of many small rows: open addressing, half as many entries again as rows.
    Many(Box<[u64]>),
    /// For a block whose rows have not been looked at, or have a place that no number here holds.
    Missing,
}

/// A byte of the hash of each key, in the order of the rows, and where the rows stand.
#[derive(Debug)]
pub(super) struct Tags {
    /// The lowest bits, one for each row.
    used: u64,
    /// Eight to a number, the first row in the lowest byte.
    words: [u64; TAGS / 8],
    /// One more than there are rows.
    starts: [u16; TAGS],
}

impl RowMap {
    /// A map of some rows, which fill a block from its beginning.
    pub(super) fn of(rows: impl ExactSizeIterator<Item = (KeyHash, Candidate)>) -> Self {
        let map = if rows.len() < TAGS {
            Tags::of(rows).map(Self::Few)
        } else {
            entries_of(rows).map(Self::Many)
        };
        map.unwrap_or(Self::Missing)
    }

    /// What `look` makes of the row with this hash that it makes something of; `Err` where the map
    /// was not made.
    #[inline]
    pub(super) fn find<T>(
        &self,
        hash: KeyHash,
        look: impl Fn(Candidate) -> Option<T>,
    ) -> Result<Option<T>, Unmapped> {
        match self {
            Self::Few(tags) => Ok(tags.find(hash, look)),
            Self::Many(entries) => Ok(find(entries, hash, look)),
            Self::Missing => Err(Unmapped),
        }
    }

    /// Bytes of memory outside the block itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Many(entries) => size_of_val::<[_]>(entries),
            Self::Few(_) | Self::Missing => 0,
        }
    }
}

impl Tags {
    /// `None` where a row stands too far from the beginning.
    fn of(rows: impl ExactSizeIterator<Item = (KeyHash, Candidate)>) -> Option<Self> {
        let mut made =
            Self { used: (1 << rows.len()) - 1, words: [0; TAGS / 8], starts: [0; TAGS] };
        for (hash, Candidate { row, end, .. }) in rows {
            *made.words.get_mut(row / 8)? |= u64::from(byte(hash)) << (row % 8 * 8);
            *made.starts.get_mut(row + 1)? = u16::try_from(end).ok()?;
        }
        Some(made)
    }

    #[inline]
    fn find<T>(&self, hash: KeyHash, look: impl Fn(Candidate) -> Option<T>) -> Option<T> {
        let wanted = u64::from(byte(hash)) * ONES;
        // Without a branch for each word, of which one would be guessed wrong.
        let mut rows = self.words.iter().rev().fold(0, |rows, &word| {
            let differs = word ^ wanted;
            // The highest bit of each byte, where no bit differs.
            let same = !(((differs & LOW_BITS) + LOW_BITS) | differs | LOW_BITS);
            (rows << 8) | ((same >> 7).wrapping_mul(GATHER) >> 56)
        }) & self.used;
        while rows != 0 {
            let row = rows.trailing_zeros() as usize;
            let place = |row: usize| self.starts.get(row).map_or(0, |&place| usize::from(place));
            let found = look(Candidate { row, start: place(row), end: place(row + 1) });
            if found.is_some() {
                return found;
            }
            rows &= rows - 1;
        }
        None
    }
}

/// The byte of a hash that a row is told by.
#[inline]
fn byte(KeyHash(hash): KeyHash) -> u8 {
    let [.., byte] = hash.to_le_bytes();
    byte
}

/// `None` where a row does not fit into an entry.
fn entries_of(rows: impl ExactSizeIterator<Item = (KeyHash, Candidate)>) -> Option<Box<[u64]>> {
    let mut entries = vec![0; rows.len() + rows.len() / 2].into_boxed_slice();
    for (hash, row) in rows {
        let entry = pack(hash, row)?;
        let (before, behind) = entries.split_at_mut(home(hash, entries.len()));
        // There is always a free one: there are more entries than rows.
        if let Some(free) = behind.iter_mut().chain(before).find(|entry| **entry == 0) {
            *free = entry;
        }
    }
    Some(entries)
}

/// The map was not made: the rows have to be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unmapped;

#[inline]
fn find<T>(entries: &[u64], hash: KeyHash, look: impl Fn(Candidate) -> Option<T>) -> Option<T> {
    let wanted = tag(hash);
    let (before, behind) = entries.split_at(home(hash, entries.len()));
    for &entry in behind.iter().chain(before).take_while(|entry| **entry != 0) {
        if entry >> TAG_SHIFT == wanted
            && let Some(found) = look(unpack(entry))
        {
            return Some(found);
        }
    }
    None
}

/// Where the search for a hash begins.
#[inline]
fn home(KeyHash(hash): KeyHash, entries: usize) -> usize {
    (((hash & u64::from(u32::MAX)) * entries as u64) >> 32) as usize
}

/// The bits of a hash that an entry has: others than those that say where it stands.
#[inline]
fn tag(KeyHash(hash): KeyHash) -> u64 {
    (hash >> TAG_SHIFT) | TAG_USED
}

/// `None` for a row that does not fit.
fn pack(hash: KeyHash, Candidate { row, start, end }: Candidate) -> Option<u64> {
    let add = |entry: u64, number: usize, bits: u32| {
        let number = number as u64;
        (number >> bits == 0).then_some((entry << bits) | number)
    };
    let entry = add(tag(hash), row, ROW_BITS)?;
    add(add(entry, end, PLACE_BITS)?, start, PLACE_BITS)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "of at most 16 bits")]
fn unpack(entry: u64) -> Candidate {
    let number = |shift: u32, bits: u32| ((entry >> shift) & ((1 << bits) - 1)) as usize;
    Candidate {
        row: number(2 * PLACE_BITS, ROW_BITS),
        start: number(0, PLACE_BITS),
        end: number(PLACE_BITS, PLACE_BITS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(row: usize) -> Candidate {
        Candidate { row, start: row * 4, end: row * 4 + 4 }
    }

    fn map(hashes: &[u64]) -> RowMap {
        let rows = hashes.iter().enumerate();
        RowMap::of(rows.map(|(row, &hash)| (KeyHash(hash), candidate(row))))
    }

    proptest! {
        #[test]
        fn every_row_is_found_and_no_other(
            // Few of them differ where an entry has its home, or in its tag.
            hashes in proptest::collection::vec((0..9_u64, 0..9_u64), 1..200),
            others in proptest::collection::vec((0..9_u64, 0..9_u64), 0..20),
        ) {
            let hash = |&(high, low): &(u64, u64)| (high << 55) | (low << 29);
            let hashes: Vec<u64> = hashes.iter().map(hash).collect();
            let map = map(&hashes);
            prop_assert!(matches!(map, RowMap::Few(_)) == (hashes.len() < TAGS));
            for (row, &hash) in hashes.iter().enumerate() {
                let found = map.find(KeyHash(hash), |it| (it.row == row).then_some(it));
                prop_assert_eq!(found, Ok(Some(candidate(row))));
            }
            for hash in others.iter().map(hash) {
                prop_assert_eq!(map.find(KeyHash(hash), |_| None::<()>), Ok(None));
            }
        }

        #[test]
        fn a_look_up_is_shown_the_rows_with_its_tag_only(
            hashes in proptest::collection::vec(any::<u64>(), 1..64),
            wanted in any::<u64>(),
        ) {
            let shown = std::cell::RefCell::new(Vec::new());
            let _ = map(&hashes).find(KeyHash(wanted), |it| {
                shown.borrow_mut().push(it.row);
                None::<()>
            });
            let same = |row: &usize| hashes[*row] >> 56 == wanted >> 56;
            let expected: Vec<usize> = (0..hashes.len()).filter(same).collect();
            prop_assert_eq!(shown.into_inner(), expected);
        }
    }

    #[test]
    fn a_row_that_does_not_fit_leaves_the_block_without_a_map() {
        let largest = Candidate {
            row: (1 << ROW_BITS) - 1,
            start: (1 << PLACE_BITS) - 1,
            end: (1 << PLACE_BITS) - 1,
        };
        let hash = KeyHash(u64::MAX);
        assert_eq!(pack(hash, largest).map(unpack), Some(largest));
        assert_eq!(pack(hash, Candidate { row: largest.row + 1, ..largest }), None);
        assert_eq!(pack(hash, Candidate { end: largest.end + 1, ..largest }), None);
        assert_eq!(pack(hash, Candidate { start: largest.start + 1, ..largest }), None);
        for rows in [1, TAGS] {
            let far = |row| (hash, Candidate { row, start: 0, end: 1 << PLACE_BITS });
            let map = RowMap::of((0..rows).map(far));
            assert_eq!(map.find(hash, Some), Err(Unmapped));
        }
    }

    #[test]
    fn a_row_without_bytes_is_not_taken_for_a_free_entry() {
        let nothing = Candidate::default();
        assert_eq!(pack(KeyHash(0), nothing).map(|entry| entry != 0), Some(true));
        let map = RowMap::of([(KeyHash(0), nothing)].into_iter());
        assert_eq!(map.find(KeyHash(0), Some), Ok(Some(nothing)));
    }
}
