//! Numbers packed into as few bytes as the widest of them needs beside a common base.

use crate::storage::format::{take, take_u64};

/// Length of a column's head: its base and its width.
pub(super) const HEAD_BYTES: usize = 9;
/// Bytes that one look reads, whatever the width: as many must follow the data of every column.
const WORD_BYTES: usize = 8;
const _: () = assert!(HEAD_BYTES >= WORD_BYTES);

/// Where the numbers of one column stand in a part of a file, and how to read them.
///
/// Invariant: of whoever made it, that the data of all rows, and a word behind them, are within the
/// bytes that [`Self::get`] is given. Then it reads right; else it reads zeros, and never panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    base: u64,
    /// The bits that belong to one number.
    mask: u64,
    at: u32,
    width: u32,
}

/// Base and width, as a head holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ColumnHead {
    base: u64,
    width: u8,
}

impl ColumnHead {
    /// Reads the head at `at`; `None` when it does not fit or has a width that no column has.
    pub(super) fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        let [width] = take(bytes, at.checked_add(8)?)?;
        (width <= 8).then_some(())?;
        Some(Self { base: take_u64(bytes, at)?, width })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base.to_le_bytes());
        out.push(self.width);
    }

    /// Bytes that the data of so many numbers take; `None` when that is more than can be.
    pub(super) fn data_bytes(self, count: usize) -> Option<usize> {
        count.checked_mul(usize::from(self.width))
    }

    /// The column whose data begin at `at`.
    pub(super) fn column_at(self, at: usize) -> Option<Column> {
        let mask = u64::MAX.checked_shr(64 - 8 * u32::from(self.width)).unwrap_or(0);
        let (base, width) = (self.base, u32::from(self.width));
        Some(Column { base, mask, at: at.try_into().ok()?, width })
    }
}

impl Column {
    /// The number at `index`.
    #[inline]
    pub(super) fn get(&self, bytes: &[u8], index: usize) -> u64 {
        // Most columns of most blocks are constant: then their place is not even looked at.
        if self.width == 0 {
            return self.base;
        }
        let at = self.at as usize + index * self.width as usize;
        let word = bytes.get(at..).and_then(<[u8]>::first_chunk::<WORD_BYTES>);
        let word = word.map_or(0, |word| u64::from_le_bytes(*word));
        self.base.wrapping_add(word & self.mask)
    }

    /// The number at `index`, of a column whose numbers are places in bytes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "was compared with a length when checked")]
    pub(super) fn place(&self, bytes: &[u8], index: usize) -> usize {
        self.get(bytes, index) as usize
    }
}

/// Appends the data of a column to `out`; the head is to be written where the format wants it.
pub(super) fn write_data(
    numbers: impl Iterator<Item = u64> + Clone,
    out: &mut Vec<u8>,
) -> ColumnHead {
    let (least, greatest) = numbers
        .clone()
        .fold((u64::MAX, 0), |(least, greatest), number| (number.min(least), number.max(greatest)));
    let range = greatest.saturating_sub(least);
    let width = (u64::BITS - range.leading_zeros()).div_ceil(8) as usize;
    for number in numbers {
        let word = number.wrapping_sub(least).to_le_bytes();
        out.extend_from_slice(word.get(..width).unwrap_or_default());
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
    ColumnHead { base: least, width: width as u8 }
}

/// Whether numbers ascend from `first` to `last`, each at least by `step`.
pub(super) fn ascends(
    mut numbers: impl Iterator<Item = u64>,
    first: u64,
    last: u64,
    step: u64,
) -> bool {
    let mut before = first;
    if numbers.next() != Some(first) {
        return false;
    }
    for number in numbers {
        if before.checked_add(step).is_none_or(|least| number < least) {
            return false;
        }
        before = number;
    }
    before == last
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(numbers: &[u64]) -> (Vec<u64>, usize) {
        let mut bytes = vec![7; 3];
        let head = write_data(numbers.iter().copied(), &mut bytes);
        let data_bytes = bytes.len() - 3;
        assert_eq!(head.data_bytes(numbers.len()), Some(data_bytes));
        let at = bytes.len();
        head.write(&mut bytes);
        let column = ColumnHead::parse(&bytes, at).unwrap().column_at(3).unwrap();
        ((0..numbers.len()).map(|index| column.get(&bytes, index)).collect(), data_bytes)
    }

    proptest! {
        #[test]
        fn columns_read_back(
            bits in 0..64_u32,
            numbers in proptest::collection::vec(any::<u64>(), 1..50),
        ) {
            let numbers: Vec<u64> = numbers.into_iter().map(|number| number >> bits).collect();
            prop_assert_eq!(round_trip(&numbers).0, numbers);
        }
    }

    #[test]
    fn a_constant_column_has_no_data() {
        assert_eq!(round_trip(&[u64::MAX; 9]), (vec![u64::MAX; 9], 0));
        assert_eq!(round_trip(&[5, 260]), (vec![5, 260], 2));
        assert_eq!(round_trip(&[5, 261]), (vec![5, 261], 4));
    }

    #[test]
    fn a_width_that_no_column_has_is_refused() {
        assert_eq!(ColumnHead::parse(&[0, 0, 0, 0, 0, 0, 0, 0, 9], 0), None);
        assert_eq!(ColumnHead::parse(&[0; 8], 0), None);
    }

    #[test]
    fn what_does_not_ascend_is_told() {
        let check = |numbers: &[u64], step| ascends(numbers.iter().copied(), 1, 9, step);
        assert!(check(&[1, 1, 4, 9], 0));
        assert!(!check(&[1, 1, 4, 9], 1));
        assert!(!check(&[1, 4, 3, 9], 0));
        assert!(!check(&[0, 4, 9], 0));
        assert!(!check(&[1, 4, 8], 0));
        assert!(!check(&[], 0));
    }
}
