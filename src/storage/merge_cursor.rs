//! Several ordered sources of rows as one: of each key the newest record.

use std::cmp::Ordering;

use bytes::Bytes;

use super::error::StorageError;
use super::key_head::KeyHead;
use super::record::{Direction, Record};
use super::run::RunCursor;
use super::table::RowRef;

/// A place in an ordered source of rows, which moves in one direction.
pub trait RowCursor {
    /// The row here; `None` behind the last one. Copies nothing.
    fn row(&self) -> Option<RowRef<'_>>;

    /// The key of the row here; `None` behind the last one.
    fn key(&self) -> Option<&[u8]>;

    /// Whether the row here has a value; `None` behind the last one.
    fn has_value(&self) -> Option<bool>;

    /// The row here, sharing the buffers it stands in.
    fn shared_row(&self) -> Option<(Bytes, Record)>;

    /// Goes on to the next row; stays behind the last one.
    ///
    /// # Errors
    /// `Corrupt`, `Io` of a source on disk; then the cursor is of no more use.
    fn advance(&mut self) -> Result<(), StorageError>;

    /// Goes on to the next row where that takes next to nothing and cannot fail, which is so most
    /// times; `None` where it did not.
    fn advance_nearby(&mut self) -> Option<Nearby>;
}

/// What is known of a row that is near the one before it.
#[derive(Clone, Copy, Debug)]
pub struct Nearby {
    /// Of its key.
    head: KeyHead,
    /// Whether it has a value.
    pub has_value: bool,
}

impl Nearby {
    /// Of a row with this key.
    #[inline]
    #[must_use]
    pub fn new(key: &[u8], has_value: bool) -> Self {
        Self { head: KeyHead::of(key), has_value }
    }
}

impl RowCursor for RunCursor {
    #[inline]
    fn row(&self) -> Option<RowRef<'_>> {
        Self::row(self)
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        Self::key(self)
    }

    #[inline]
    fn has_value(&self) -> Option<bool> {
        Self::has_value(self)
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        Self::shared_row(self)
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        Self::advance(self)
    }

    #[inline]
    fn advance_nearby(&mut self) -> Option<Nearby> {
        let (key, has_value) = Self::advance_nearby(self)?;
        Some(Nearby::new(key, has_value))
    }
}

/// A source that is on a row.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Of the key of that row, in the order in which the rows come.
    head: KeyHead,
    /// Which source it is; the newer of two has the smaller number.
    source: usize,
}

/// The rows of several sources in key order: of a key that several have, the newest record, which
/// may be a tombstone.
///
/// The sources are kept in the order of their rows, so a row costs one comparison of two numbers
/// where its source goes on leading, and half as many as there are sources where keys come from all
/// of them in turn.
#[derive(Debug)]
pub struct MergeCursor<C> {
    /// Newest first.
    sources: Vec<C>,
    direction: Direction,
    /// Those of `sources` that are on a row, in the order of their rows, and of one key the newest
    /// first. While the first `is_ahead`, its head may be that of an earlier row.
    order: Vec<Place>,
    /// The source of the first of them; any one where there is none.
    lead: usize,
    /// The head of the second of them; the greatest where there is none.
    second: KeyHead,
    /// Whether the heads alone tell that the row of the first comes before all others.
    is_ahead: bool,
}

impl<C: RowCursor> MergeCursor<C> {
    /// Merges cursors that all go in `direction`, given newest first.
    ///
    /// # Errors
    /// Those of [`RowCursor::advance`].
    pub fn new(sources: Vec<C>, direction: Direction) -> Result<Self, StorageError> {
        let place = |(source, cursor): (usize, &C)| {
            cursor.key().map(|key| Place { head: KeyHead::of(key).towards(direction), source })
        };
        let mut order: Vec<Place> = sources.iter().enumerate().filter_map(place).collect();
        let (lead, second, is_ahead) = (0, KeyHead::MAX, false);
        let mut merge = Self { sources, direction, order: Vec::new(), lead, second, is_ahead };
        order.sort_by(|a, b| merge.compare(a, b));
        merge.order = order;
        merge.note_lead();
        Ok(merge)
    }

    /// To be called when the order may have changed.
    #[inline]
    fn note_lead(&mut self) {
        let mut places = self.order.iter();
        let first = places.next();
        self.second = places.next().map_or(KeyHead::MAX, |place| place.head);
        self.lead = first.map_or(0, |place| place.source);
        self.is_ahead = first.is_some_and(|place| place.head < self.second);
    }

    /// The source of the row here; any of them behind the last row.
    #[inline]
    pub(crate) fn lead(&self) -> Option<&C> {
        self.sources.get(self.lead)
    }

    fn key_of(&self, place: &Place) -> Option<&[u8]> {
        self.sources.get(place.source)?.key()
    }

    /// Which of two rows comes first; of one key, that of the newer source.
    #[inline]
    fn compare(&self, a: &Place, b: &Place) -> Ordering {
        a.head.cmp(&b.head).then_with(|| self.compare_keys(a, b)).then(a.source.cmp(&b.source))
    }

    fn compare_keys(&self, a: &Place, b: &Place) -> Ordering {
        let (a, b) = (self.key_of(a), self.key_of(b));
        match self.direction {
            Direction::Forward => a.cmp(&b),
            Direction::Backward => b.cmp(&a),
        }
    }

    /// Moves the source at `at` of the order on, and to where it then belongs.
    fn step(&mut self, at: usize) -> Result<(), StorageError> {
        let Some(place) = self.order.get(at) else { return Ok(()) };
        let Some(cursor) = self.sources.get_mut(place.source) else { return Ok(()) };
        cursor.advance()?;
        match cursor.key().map(KeyHead::of) {
            Some(head) => self.sort_in(at, head),
            None => drop(self.order.remove(at)),
        }
        Ok(())
    }

    /// Moves the source at `at` of the order, which has moved on to a row with this head, to where
    /// it then belongs.
    #[inline]
    fn sort_in(&mut self, mut at: usize, head: KeyHead) {
        let Some(place) = self.order.get_mut(at) else { return };
        place.head = head.towards(self.direction);
        let moved = *place;
        while let Some(next) = self.order.get(at + 1) {
            if self.compare(&moved, next) == Ordering::Less {
                break;
            }
            self.order.swap(at, at + 1);
            at += 1;
        }
    }

    /// Moves the source that leads, which has moved on to a row with this head, to where it then
    /// belongs. What is known of the row that is the first then.
    fn sort_in_lead(&mut self, head: KeyHead) -> Option<Nearby> {
        self.sort_in(0, head);
        self.note_lead();
        let head = self.order.first()?.head.towards(self.direction);
        Some(Nearby { head, has_value: self.has_value()? })
    }

    /// Whether the second source is on the key of the first.
    fn second_is_older_record(&self) -> bool {
        if self.is_ahead {
            return false;
        }
        let [first, second, ..] = &*self.order else { return false };
        first.head == second.head && self.key_of(first) == self.key_of(second)
    }
}

impl<C: RowCursor> RowCursor for MergeCursor<C> {
    #[inline]
    fn row(&self) -> Option<RowRef<'_>> {
        self.lead()?.row()
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.lead()?.key()
    }

    #[inline]
    fn has_value(&self) -> Option<bool> {
        self.lead()?.has_value()
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        self.lead()?.shared_row()
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        // Older records of the key are passed over while the newest still says which key it is.
        while self.second_is_older_record() {
            self.step(1)?;
        }
        self.step(0)?;
        self.note_lead();
        Ok(())
    }

    #[inline]
    fn advance_nearby(&mut self) -> Option<Nearby> {
        if !self.is_ahead {
            return None;
        }
        let near = self.sources.get_mut(self.lead)?.advance_nearby()?;
        if near.head.towards(self.direction) < self.second {
            return Some(near);
        }
        self.sort_in_lead(near.head)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Timestamp, Version};

    /// Rows of one source, in the order in which they come.
    struct Listed(std::vec::IntoIter<(Vec<u8>, Record)>, RowOf);

    type RowOf = Option<(Bytes, Record)>;

    impl Listed {
        fn new(rows: &BTreeMap<Vec<u8>, Record>, direction: Direction) -> Self {
            let mut rows: Vec<_> = rows.clone().into_iter().collect();
            if direction == Direction::Backward {
                rows.reverse();
            }
            let mut cursor = Self(rows.into_iter(), None);
            cursor.advance().unwrap();
            cursor
        }
    }

    impl RowCursor for Listed {
        fn row(&self) -> Option<RowRef<'_>> {
            let (key, Record { value, version, timestamp }) = self.1.as_ref()?;
            let (version, timestamp) = (*version, *timestamp);
            Some(RowRef { key, value: value.as_deref(), version, timestamp })
        }

        fn key(&self) -> Option<&[u8]> {
            self.1.as_ref().map(|(key, _)| key.as_ref())
        }

        fn has_value(&self) -> Option<bool> {
            self.1.as_ref().map(|(_, record)| !record.is_tombstone())
        }

        fn shared_row(&self) -> RowOf {
            self.1.clone()
        }

        fn advance(&mut self) -> Result<(), StorageError> {
            self.1 = self.0.next().map(|(key, record)| (key.into(), record));
            Ok(())
        }

        fn advance_nearby(&mut self) -> Option<Nearby> {
            // Like a table: not to the next block, of which each has three rows.
            if self.0.len().is_multiple_of(3) {
                return None;
            }
            self.advance().unwrap();
            Some(Nearby::new(self.key()?, self.has_value()?))
        }
    }

    /// Keys of which many differ only behind what a head holds, or only in zeros at their end.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let same = prop_oneof![Just(0), Just(7), Just(14), Just(15), Just(16), Just(20)];
        let byte = prop_oneof![Just(0_u8), Just(1), Just(0x7f), Just(0x80), Just(0xff)];
        (same, vec(byte, 0..4)).prop_map(|(same, end)| [vec![b'k'; same], end].concat())
    }

    fn sources() -> impl Strategy<Value = Vec<BTreeMap<Vec<u8>, Record>>> {
        let value = proptest::option::weighted(0.8, vec(any::<u8>(), 0..3));
        vec(btree_map(key(), value, 0..40), 0..9).prop_map(|sources| {
            let runs = sources.into_iter().enumerate();
            let rows = runs.map(|(source, rows)| {
                let record = |value: Option<Vec<u8>>| {
                    let (version, timestamp) = (Version(100 - source as u64), Timestamp(1));
                    Record { value: value.map(Bytes::from), version, timestamp }
                };
                rows.into_iter().map(|(key, value)| (key, record(value))).collect()
            });
            rows.collect()
        })
    }

    proptest! {
        #[test]
        fn every_key_comes_once_in_order_with_its_newest_record(
            sources in sources(),
            is_backward in any::<bool>(),
        ) {
            let direction = if is_backward { Direction::Backward } else { Direction::Forward };
            let mut expected = BTreeMap::new();
            for rows in sources.iter().rev() {
                expected.extend(rows.clone());
            }
            let mut expected: Vec<_> =
                expected.into_iter().map(|(key, record)| (Bytes::from(key), record)).collect();
            if is_backward {
                expected.reverse();
            }
            let cursors = sources.iter().map(|rows| Listed::new(rows, direction)).collect();
            let mut merge = MergeCursor::new(cursors, direction).unwrap();
            let mut seen = Vec::new();
            while let Some(row) = merge.shared_row() {
                prop_assert_eq!(merge.key(), Some(&*row.0));
                prop_assert_eq!(merge.has_value(), Some(!row.1.is_tombstone()));
                prop_assert_eq!(merge.row().map(|lent| lent.version), Some(row.1.version));
                seen.push(row);
                match merge.advance_nearby() {
                    Some(near) => prop_assert_eq!(merge.has_value(), Some(near.has_value)),
                    None => merge.advance().unwrap(),
                }
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
