//! Several ordered sources of rows as one: of each key the newest record.

use std::cmp::Ordering;

use bytes::Bytes;

use super::error::StorageError;
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

    #[inline]
    fn advance(&mut self) -> Result<(), StorageError> {
        Self::advance(self)
    }
}

/// The rows of several sources in key order: of a key that several have, the newest record, which
/// may be a tombstone.
///
/// The sources are kept in the order of their rows, so a row costs one comparison where its source
/// goes on leading, and half as many as there are sources where keys come from all of them in turn.
#[derive(Debug)]
pub struct MergeCursor<C> {
    /// Newest first.
    sources: Vec<C>,
    direction: Direction,
    /// Places in `sources`: those that are on a row, in the order of their rows, and of one key the
    /// newest first.
    order: Vec<usize>,
}

impl<C: RowCursor> MergeCursor<C> {
    /// Merges cursors that all go in `direction`, given newest first.
    ///
    /// # Errors
    /// Those of [`RowCursor::advance`].
    pub fn new(sources: Vec<C>, direction: Direction) -> Result<Self, StorageError> {
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.retain(|&at| sources.get(at).is_some_and(|source| source.key().is_some()));
        let mut merge = Self { sources, direction, order: Vec::new() };
        // Stable: of one key the newest stays first.
        order.sort_by(|&a, &b| merge.compare(a, b));
        merge.order = order;
        Ok(merge)
    }

    fn key_of(&self, source: usize) -> Option<&[u8]> {
        self.sources.get(source)?.key()
    }

    /// Which of two sources has the row that comes first.
    #[inline]
    fn compare(&self, a: usize, b: usize) -> Ordering {
        let (a, b) = (self.key_of(a), self.key_of(b));
        match self.direction {
            Direction::Forward => a.cmp(&b),
            Direction::Backward => b.cmp(&a),
        }
    }

    /// Moves the source at `place` of the order on, and to where it then belongs.
    #[inline]
    fn step(&mut self, place: usize) -> Result<(), StorageError> {
        let Some(&source) = self.order.get(place) else { return Ok(()) };
        if let Some(cursor) = self.sources.get_mut(source) {
            cursor.advance()?;
        }
        if self.key_of(source).is_none() {
            self.order.remove(place);
            return Ok(());
        }
        let mut place = place;
        while let Some(&next) = self.order.get(place + 1) {
            // Of one key the newer source, which has the smaller number, stays first.
            if self.compare(source, next).then(source.cmp(&next)) == Ordering::Less {
                break;
            }
            self.order.swap(place, place + 1);
            place += 1;
        }
        Ok(())
    }

    /// Whether the second source is on the key of the first.
    #[inline]
    fn second_is_older_record(&self) -> bool {
        let [first, second, ..] = *self.order else { return false };
        self.key_of(first) == self.key_of(second)
    }
}

impl<C: RowCursor> RowCursor for MergeCursor<C> {
    #[inline]
    fn row(&self) -> Option<RowRef<'_>> {
        self.sources.get(*self.order.first()?)?.row()
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.key_of(*self.order.first()?)
    }

    #[inline]
    fn has_value(&self) -> Option<bool> {
        self.sources.get(*self.order.first()?)?.has_value()
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        self.sources.get(*self.order.first()?)?.shared_row()
    }

    #[inline]
    fn advance(&mut self) -> Result<(), StorageError> {
        // Older records of the key are passed over while the newest still says which key it is.
        while self.second_is_older_record() {
            self.step(1)?;
        }
        self.step(0)
    }
}
