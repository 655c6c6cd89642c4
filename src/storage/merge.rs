//! Rows of several runs in one order, each key once.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::error::StorageError;
use super::merge_cursor::{MergeCursor, RowCursor};
use super::record::{Direction, Record};
use super::run::{Run, RunCursor};
use super::table::{Fill, KeyHash};

/// What a table is written from: rows in strictly ascending order of keys.
pub(crate) trait RowSource {
    /// The next row; `None` behind the last one.
    ///
    /// # Errors
    /// Those of where the rows come from.
    fn next_row(&mut self) -> Result<Option<(Bytes, Record)>, StorageError>;
}

/// Whether any of `runs`, which are older than a tombstone of `key`, may have a record that the
/// tombstone must go on hiding.
pub(crate) fn must_hide(runs: &[Arc<Run>], key: &[u8]) -> bool {
    let hash = KeyHash::of(key);
    runs.iter().any(|run| run.may_contain(key, hash))
}

/// The rows that a merge writes: of each key the newest record; a tombstone only where an older run
/// may have what it hides.
#[derive(Debug)]
pub(crate) struct MergedRows<'a> {
    cursor: MergeCursor<RunCursor>,
    /// The runs that are older than all that are merged.
    older: &'a [Arc<Run>],
}

impl<'a> MergedRows<'a> {
    /// The rows of `inputs`, newest first, that their `after` admits. What is read is not kept in
    /// the cache, which belongs to readers.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub(crate) fn new(inputs: &[Arc<Run>], older: &'a [Arc<Run>]) -> Result<Self, StorageError> {
        let seek = |run| RunCursor::seek(run, Direction::Forward, Bound::Unbounded, Fill::Bypass);
        let cursors = inputs.iter().map(seek).collect::<Result<_, _>>()?;
        Ok(Self { cursor: MergeCursor::new(cursors, Direction::Forward)?, older })
    }
}

impl RowSource for MergedRows<'_> {
    fn next_row(&mut self) -> Result<Option<(Bytes, Record)>, StorageError> {
        while let Some((key, record)) = self.cursor.shared_row() {
            if self.cursor.advance_nearby().is_none() {
                self.cursor.advance()?;
            }
            if !record.is_tombstone() || must_hide(self.older, &key) {
                return Ok(Some((key, record)));
            }
        }
        Ok(None)
    }
}

/// Rows that come from memory, without the tombstones that hide nothing; remembers which keys there
/// were.
pub(crate) struct NewRows<'a> {
    pub(crate) rows: &'a mut dyn Iterator<Item = (Bytes, Record)>,
    /// All runs there are.
    pub(crate) older: &'a [Arc<Run>],
    /// Of every key that came by, dropped tombstones included.
    pub(crate) hashes: Vec<KeyHash>,
}

impl RowSource for NewRows<'_> {
    fn next_row(&mut self) -> Result<Option<(Bytes, Record)>, StorageError> {
        for (key, record) in &mut *self.rows {
            self.hashes.push(KeyHash::of(&key));
            if !record.is_tombstone() || must_hide(self.older, &key) {
                return Ok(Some((key, record)));
            }
        }
        Ok(None)
    }
}

/// A source that can be asked whether there is another row.
pub(crate) struct Peeked<S> {
    source: S,
    next: Option<(Bytes, Record)>,
}

impl<S: RowSource> Peeked<S> {
    pub(crate) fn new(mut source: S) -> Result<Self, StorageError> {
        let next = source.next_row()?;
        Ok(Self { source, next })
    }

    pub(crate) const fn has_more(&self) -> bool {
        self.next.is_some()
    }

    pub(crate) fn into_source(self) -> S {
        self.source
    }
}

impl<S: RowSource> RowSource for Peeked<S> {
    fn next_row(&mut self) -> Result<Option<(Bytes, Record)>, StorageError> {
        match self.next.take() {
            None => Ok(None),
            row => {
                self.next = self.source.next_row()?;
                Ok(row)
            }
        }
    }
}
