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
/// A row costs one comparison with the runner-up, and one for each source where the lead changes.
#[derive(Debug)]
pub struct MergeCursor<C> {
    /// Newest first. Invariant: no other source has the leader's key.
    sources: Vec<C>,
    direction: Direction,
    /// Which source has the row.
    leader: Option<usize>,
    /// Which source has the next one, as long as the leader does not have it.
    runner_up: Option<usize>,
}

impl<C: RowCursor> MergeCursor<C> {
    /// Merges cursors that all go in `direction`, given newest first.
    ///
    /// # Errors
    /// Those of [`RowCursor::advance`].
    pub fn new(sources: Vec<C>, direction: Direction) -> Result<Self, StorageError> {
        let mut merge = Self { sources, direction, leader: None, runner_up: None };
        merge.settle()?;
        Ok(merge)
    }

    /// How many sources there are.
    #[must_use]
    pub fn width(&self) -> usize {
        self.sources.len()
    }

    fn key_of(&self, source: usize) -> Option<&[u8]> {
        self.sources.get(source)?.row().map(|row| row.key)
    }

    fn step(&mut self, source: usize) -> Result<(), StorageError> {
        self.sources.get_mut(source).map_or(Ok(()), C::advance)
    }

    /// Which of two keys comes first.
    fn order(&self, a: &[u8], b: &[u8]) -> Ordering {
        match self.direction {
            Direction::Forward => a.cmp(b),
            Direction::Backward => b.cmp(a),
        }
    }

    /// Finds the leader and the runner-up, and moves older records of the leader's key, and of each
    /// other's, out of the way.
    fn settle(&mut self) -> Result<(), StorageError> {
        (self.leader, self.runner_up) = (None, None);
        for at in 0..self.sources.len() {
            self.place(at)?;
        }
        Ok(())
    }

    /// Compares source `at` with those before it, which are newer.
    fn place(&mut self, at: usize) -> Result<(), StorageError> {
        loop {
            let Some(key) = self.key_of(at) else { return Ok(()) };
            let against = |source: Option<usize>| {
                let key_there = source.and_then(|source| self.key_of(source));
                key_there.map_or(Ordering::Less, |there| self.order(key, there))
            };
            match against(self.leader) {
                Ordering::Equal => self.step(at)?,
                Ordering::Less => {
                    self.runner_up = self.leader;
                    self.leader = Some(at);
                    return Ok(());
                }
                // An equal runner-up is newer; it is met again when it leads.
                Ordering::Greater => {
                    if against(self.runner_up) == Ordering::Less {
                        self.runner_up = Some(at);
                    }
                    return Ok(());
                }
            }
        }
    }
}

impl<C: RowCursor> RowCursor for MergeCursor<C> {
    fn row(&self) -> Option<RowRef<'_>> {
        self.sources.get(self.leader?)?.row()
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        self.sources.get(self.leader?)?.shared_row()
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        let Some(leader) = self.leader else { return Ok(()) };
        let Some(runner_up) = self.runner_up else {
            // Every other source is at its end.
            return self.step(leader);
        };
        self.step(leader)?;
        // All others are at or behind the runner-up, so one comparison tells.
        let still_first = match (self.key_of(leader), self.key_of(runner_up)) {
            (Some(key), Some(next)) => self.order(key, next) == Ordering::Less,
            _ => false,
        };
        if still_first { Ok(()) } else { self.settle() }
    }
}
