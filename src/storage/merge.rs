//! Rows of several runs in one order, each key once.

use std::cmp::Ordering;
use std::ops::Bound;
use std::slice;
use std::sync::Arc;

use bytes::Bytes;

use super::cuts::{Cut, Cuts};
use super::error::StorageError;
use super::merge_cursor::{MergeCursor, RowCursor};
use super::record::{Direction, Record};
use super::run::{Run, RunCursor, RunTable};
use super::table::{Fill, KeyHash, TableSummary};

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

/// These runs, newest first, without the tables that newer cuts hide as a whole. One with
/// tombstones stays where an older table does that may have what they hide: else that would have to
/// be hidden anew, and nobody has kept room for it. All stay while any run is being merged, since a
/// merge goes on at the place where its runs stand.
pub(crate) fn without_hidden(runs: &[Arc<Run>], cuts: &Cuts) -> Vec<Arc<Run>> {
    if cuts.is_empty() || runs.iter().any(|run| run.is_being_merged()) {
        return runs.to_vec();
    }
    // Oldest first.
    let mut left: Vec<Arc<Run>> = Vec::with_capacity(runs.len());
    for run in runs.iter().rev() {
        let stays = |table: &&RunTable| {
            let TableSummary { first_key, last_key, tombstones, .. } = &table.entry.summary;
            let hides = || left.iter().any(|older| older.reaches_into(first_key, last_key));
            !cuts.hide_all(first_key, last_key) || (*tombstones > 0 && hides())
        };
        let tables: Vec<RunTable> = run.tables().iter().filter(stays).cloned().collect();
        if tables.len() == run.tables().len() {
            left.push(Arc::clone(run));
        } else if !tables.is_empty() {
            left.push(Arc::new(Run::new(tables)));
        }
    }
    left.reverse();
    left
}

/// A tombstone for each row that cuts hide, in key order.
#[derive(Debug)]
pub(crate) struct CutRows<'a> {
    /// What lies below the cuts.
    runs: &'a [Arc<Run>],
    /// Cuts that are still to come.
    rest: slice::Iter<'a, Cut>,
    /// The one that is under way, and the rows from there on.
    here: Option<(&'a Cut, MergeCursor<RunCursor>)>,
}

impl<'a> CutRows<'a> {
    /// Of these cuts above these runs, newest first. What is read is not kept in the cache, which
    /// belongs to readers.
    pub(crate) fn new(cuts: &'a Cuts, runs: &'a [Arc<Run>]) -> Self {
        Self { runs, rest: cuts.as_slice().iter(), here: None }
    }
}

impl RowSource for CutRows<'_> {
    fn next_row(&mut self) -> Result<Option<(Bytes, Record)>, StorageError> {
        loop {
            let Some((cut, rows)) = &mut self.here else {
                let Some(cut) = self.rest.next() else { return Ok(None) };
                let (from, to) = cut.stretch.bounds();
                let seek = |run| {
                    let to = to.map(Bytes::copy_from_slice);
                    RunCursor::seek_until(run, Direction::Forward, from, to, Fill::Bypass)
                };
                let cursors = self.runs.iter().map(seek).collect::<Result<_, _>>()?;
                self.here = Some((cut, MergeCursor::new(cursors, Direction::Forward)?));
                continue;
            };
            let Some(has_value) = rows.has_value() else {
                self.here = None;
                continue;
            };
            // The row of a table is of its block, which would stay in memory with it.
            let key = has_value.then(|| rows.key().map(Bytes::copy_from_slice)).flatten();
            if rows.advance_nearby().is_none() {
                rows.advance()?;
            }
            if let Some(key) = key {
                return Ok(Some((key, cut.tombstone.clone())));
            }
        }
    }
}

/// The rows of two sources; of a key that both have, the record of the first.
pub(crate) struct Either<A, B>(Peeked<A>, Peeked<B>);

impl<A: RowSource, B: RowSource> Either<A, B> {
    /// Those of both, the first of which is newer.
    ///
    /// # Errors
    /// Those of where the rows come from.
    pub(crate) fn new(newer: A, older: B) -> Result<Self, StorageError> {
        Ok(Self(Peeked::new(newer)?, Peeked::new(older)?))
    }

    /// The first source.
    pub(crate) fn into_newer(self) -> A {
        self.0.into_source()
    }
}

impl<A: RowSource, B: RowSource> RowSource for Either<A, B> {
    fn next_row(&mut self) -> Result<Option<(Bytes, Record)>, StorageError> {
        let Self(newer, older) = self;
        let which = match (newer.peek(), older.peek()) {
            (Some(key), Some(other)) => key.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        if which == Ordering::Greater {
            return older.next_row();
        }
        if which == Ordering::Equal {
            older.next_row()?;
        }
        newer.next_row()
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

    /// The key of the next row.
    fn peek(&self) -> Option<&Bytes> {
        self.next.as_ref().map(|(key, _)| key)
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
