//! Finds the row of a key within a block, by the key's hash.
//!
//! A look-up waits for one line of memory here and then for the row itself: an entry has all that
//! is needed of a row but its bytes, so that neither columns nor other rows are touched.

use super::key_hash::KeyHash;

/// Entries of a map that stands in its block, without a pointer to follow.
const FEW_ENTRIES: usize = 64;
/// Most rows of such a map. Fuller ones take more steps for a key.
const FEW_ROWS_MAX: usize = 48;

const PLACE_BITS: u32 = 14;
const KEY_LEN_BITS: u32 = 13;
const ROW_BITS: u32 = 10;
const TAG_SHIFT: u32 = 2 * PLACE_BITS + KEY_LEN_BITS + ROW_BITS + 1;
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

/// The rows of one block by the hashes of their keys: open addressing, one number for each row.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is the usual one, and stands in a heap block")]
pub(super) enum RowMap {
    /// For a usual block.
    Few([u64; FEW_ENTRIES]),
    /// For a block of many small rows: half as many entries again as there are rows.
    Many(Box<[u64]>),
    /// For a block whose rows have not been looked at, or have a place that no entry can hold.
    Missing,
}

impl RowMap {
    /// A map of so many rows, given with their hashes.
    pub(super) fn of(rows: usize, places: impl Iterator<Item = (KeyHash, RowPlace)>) -> Self {
        let mut map = if rows <= FEW_ROWS_MAX {
            Self::Few([0; FEW_ENTRIES])
        } else {
            Self::Many(vec![0; rows + rows / 2].into_boxed_slice())
        };
        for (hash, place) in places {
            let Some(entry) = pack(hash, &place) else {
                return Self::Missing;
            };
            map.insert(hash, entry);
        }
        map
    }

    fn insert(&mut self, hash: KeyHash, entry: u64) {
        let entries = match self {
            Self::Few(entries) => entries.as_mut_slice(),
            Self::Many(entries) => entries,
            Self::Missing => return,
        };
        let (before, behind) = entries.split_at_mut(home(hash, entries.len()));
        // There is always a free one: there are more entries than rows.
        if let Some(free) = behind.iter_mut().chain(before).find(|entry| **entry == 0) {
            *free = entry;
        }
    }

    /// The row with this hash that is the one looked for; `Err` where the map does not know.
    #[inline]
    pub(super) fn find(
        &self,
        hash: KeyHash,
        is_it: impl Fn(&RowPlace) -> bool,
    ) -> Result<Option<RowPlace>, Unmapped> {
        match self {
            Self::Few(entries) => Ok(find(entries, hash, is_it)),
            Self::Many(entries) => Ok(find(entries, hash, is_it)),
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

/// The map was not made: the rows have to be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unmapped;

#[inline]
fn find(entries: &[u64], hash: KeyHash, is_it: impl Fn(&RowPlace) -> bool) -> Option<RowPlace> {
    let wanted = tag(hash);
    let home = home(hash, entries.len());
    let (before, behind) = entries.split_at(home);
    for &entry in behind.iter().chain(before) {
        if entry >> TAG_SHIFT == wanted {
            let place = unpack(entry);
            if is_it(&place) {
                return Some(place);
            }
        }
        if entry == 0 {
            return None;
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

/// `None` for a place that does not fit.
fn pack(hash: KeyHash, place: &RowPlace) -> Option<u64> {
    let number = |number: usize, bits: u32| {
        let number = number as u64;
        (number >> bits == 0).then_some(number)
    };
    let mut entry = tag(hash);
    entry = (entry << 1) | u64::from(place.is_value);
    entry = (entry << ROW_BITS) | number(place.row, ROW_BITS)?;
    entry = (entry << KEY_LEN_BITS) | number(place.key_end - place.start, KEY_LEN_BITS)?;
    entry = (entry << PLACE_BITS) | number(place.end, PLACE_BITS)?;
    Some((entry << PLACE_BITS) | number(place.start, PLACE_BITS)?)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "of at most 14 bits")]
fn unpack(entry: u64) -> RowPlace {
    let mut rest = entry;
    let mut next = |bits: u32| {
        let number = rest & ((1 << bits) - 1);
        rest >>= bits;
        number as usize
    };
    let (start, end) = (next(PLACE_BITS), next(PLACE_BITS));
    let (key_len, row) = (next(KEY_LEN_BITS), next(ROW_BITS));
    RowPlace { row, start, key_end: start + key_len, end, is_value: next(1) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(row: usize) -> RowPlace {
        RowPlace { row, start: row * 4, key_end: row * 4 + 3, end: row * 4 + 4, is_value: true }
    }

    fn map(hashes: &[u64]) -> RowMap {
        let places = hashes.iter().enumerate().map(|(row, &hash)| (KeyHash(hash), place(row)));
        RowMap::of(hashes.len(), places)
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
            for (row, &hash) in hashes.iter().enumerate() {
                let found = map.find(KeyHash(hash), |place| place.row == row);
                prop_assert_eq!(found, Ok(Some(place(row))));
            }
            for hash in others.iter().map(hash) {
                prop_assert_eq!(map.find(KeyHash(hash), |_| false), Ok(None));
            }
        }
    }

    #[test]
    fn entries_have_room_for_the_largest_place_and_no_larger_one() {
        let largest = RowPlace {
            row: (1 << ROW_BITS) - 1,
            start: 1 << (PLACE_BITS - 1),
            key_end: (1 << PLACE_BITS) - 1,
            end: (1 << PLACE_BITS) - 1,
            is_value: false,
        };
        let hash = KeyHash(u64::MAX);
        assert_eq!(pack(hash, &largest).map(unpack), Some(largest));
        let start = largest.start - 1;
        for larger in [
            RowPlace { row: largest.row + 1, ..largest },
            RowPlace { end: largest.end + 1, ..largest },
            RowPlace { start, ..largest },
        ] {
            assert_eq!(pack(hash, &larger), None);
            let map = RowMap::of(2, [(hash, place(0)), (hash, larger)].into_iter());
            assert_eq!(map.find(hash, |_| true), Err(Unmapped));
        }
    }

    #[test]
    fn a_row_without_bytes_is_not_taken_for_a_free_entry() {
        let nothing = RowPlace { row: 0, start: 0, key_end: 0, end: 0, is_value: false };
        let map = RowMap::of(1, [(KeyHash(0), nothing)].into_iter());
        assert_eq!(map.find(KeyHash(0), |_| true), Ok(Some(nothing)));
    }
}
