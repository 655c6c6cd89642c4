//! A run: tables in ascending order of keys, none of which is in two of them.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::compaction_plan::RunSize;
use super::error::StorageError;
use super::key_head::KeyHead;
use super::manifest::TableEntry;
use super::record::{Direction, Record};
use super::table::{Cached, Fill, KeyHash, RowRef, Table, TableCursor, TableSummary};

/// A table that is open, and how much of it counts.
#[derive(Clone, Debug)]
pub struct RunTable {
    /// As the manifest has it.
    pub entry: TableEntry,
    /// The table.
    pub table: Arc<Table>,
}

impl RunTable {
    /// Whether a row with this key would count.
    fn admits(&self, key: &[u8]) -> bool {
        self.entry.after.as_ref().is_none_or(|after| **after < *key)
    }
}

/// A run of open tables.
#[derive(Debug)]
pub struct Run {
    tables: Vec<RunTable>,
    /// Where each of them begins and ends.
    reaches: Vec<Reach>,
}

/// The heads of the first and the last key of a table. In one piece of memory for a whole run: the
/// keys stand elsewhere, each somewhere else.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// Its place among the tables.
    at: usize,
    first: KeyHead,
    last: KeyHead,
}

impl Run {
    /// A run of these tables.
    #[must_use]
    pub(crate) fn new(tables: Vec<RunTable>) -> Self {
        let reach = |(at, table): (usize, &RunTable)| {
            let TableSummary { first_key, last_key, .. } = &table.entry.summary;
            Reach { at, first: KeyHead::of(first_key), last: KeyHead::of(last_key) }
        };
        let reaches = tables.iter().enumerate().map(reach).collect();
        Self { tables, reaches }
    }

    /// Its tables, ascending.
    #[must_use]
    pub fn tables(&self) -> &[RunTable] {
        &self.tables
    }

    /// Bytes of the keys and values of its tables; what a merge under way has read already is
    /// counted until its table is given up.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.sum(TableSummary::data_bytes)
    }

    /// How many of its rows are tombstones, counted as [`Self::data_bytes`] is.
    #[must_use]
    pub fn tombstones(&self) -> u64 {
        self.sum(|summary| summary.tombstones)
    }

    /// Numbers of its tables together. What another node said of a table may be anything.
    fn sum(&self, number: impl Fn(&TableSummary) -> u64) -> u64 {
        let tables = self.tables.iter().map(|table| number(&table.entry.summary));
        tables.fold(0, u64::saturating_add)
    }

    /// What the plan wants to know of it.
    #[must_use]
    pub fn size(&self) -> RunSize {
        let lengths = self.tables.iter().map(|table| table.entry.summary.bytes);
        RunSize {
            data_bytes: self.data_bytes(),
            file_bytes: self.sum(|summary| summary.bytes),
            rows: self.sum(|summary| summary.rows),
            tombstones: self.tombstones(),
            listed_bytes: self.tables.iter().map(|table| table.entry.listed_bytes()).sum(),
            longest_table: lengths.max().unwrap_or_default(),
            is_being_merged: self.is_being_merged(),
        }
    }

    /// Whether any of its tables may have a key from one up to another, both included.
    #[must_use]
    pub fn reaches_into(&self, first: &[u8], last: &[u8]) -> bool {
        let ends_before = |table: &RunTable| *table.entry.summary.last_key < *first;
        let next = self.tables.get(self.tables.partition_point(ends_before));
        next.is_some_and(|table| *table.entry.summary.first_key <= *last)
    }

    /// Whether a merge under way reads it.
    #[must_use]
    pub fn is_being_merged(&self) -> bool {
        self.tables.first().is_some_and(|table| table.entry.after.is_some())
    }

    /// The one table that `key` may stand in.
    fn table_of(&self, key: &[u8]) -> Option<&Table> {
        let head = KeyHead::of(key);
        let end = |at: usize| self.tables.get(at).map(|table| &*table.entry.summary.last_key);
        let ends_before = |reach: &Reach| {
            reach.last < head || (reach.last == head && end(reach.at).is_some_and(|end| end < key))
        };
        let reach = self.reaches.get(self.reaches.partition_point(ends_before))?;
        let found = self.tables.get(reach.at)?;
        let begins =
            reach.first < head || (reach.first == head && *found.entry.summary.first_key <= *key);
        (begins && found.admits(key)).then_some(&*found.table)
    }

    /// Whether `key`, whose hash it is, may be in the run. Never touches the disk.
    #[must_use]
    pub fn may_contain(&self, key: &[u8], hash: KeyHash) -> bool {
        self.table_of(key).is_some_and(|table| table.may_contain(hash))
    }

    /// What the run knows of `key`.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn get(&self, key: &[u8], hash: KeyHash) -> Result<Option<Record>, StorageError> {
        match self.table_of(key).filter(|table| table.may_contain(hash)) {
            Some(table) => table.get_with(key, hash),
            None => Ok(None),
        }
    }

    /// The value of `key`, as far as it can be told without the disk.
    #[must_use]
    pub fn cached_value(&self, key: &[u8], hash: KeyHash) -> Cached {
        match self.table_of(key).filter(|table| table.may_contain(hash)) {
            Some(table) => table.cached_value(key, hash),
            None => Cached::Absent,
        }
    }

    /// As [`Self::cached_value`], where a key that is asked for is likely to be here: the filter,
    /// which costs a wait for memory, is asked only where it saves reading a block.
    #[must_use]
    #[inline]
    pub fn likely_cached_value(&self, key: &[u8], hash: KeyHash) -> Cached {
        let table = match &*self.tables {
            // A key beyond its ends is looked for in vain; most that are asked for are there.
            [only] if only.entry.after.is_none() => &only.table,
            _ => match self.table_of(key) {
                Some(table) => table,
                None => return Cached::Absent,
            },
        };
        match table.cached_value(key, hash) {
            Cached::NeedsRead if !table.may_contain(hash) => Cached::Absent,
            answer => answer,
        }
    }
}

/// A place in a run, on a row or behind the last one. Keeps the tables of the run open.
#[derive(Debug)]
pub struct RunCursor {
    run: Arc<Run>,
    direction: Direction,
    /// Rows beyond it are not there.
    to: Bound<Bytes>,
    fill: Fill,
    /// Which table `cursor` is in.
    at: usize,
    /// `None` behind the last row.
    cursor: Option<TableCursor>,
    /// Whether all rows that are still to come in that table count.
    all_count: bool,
    /// Whether its rows are not merged with those of others.
    is_alone: bool,
}

impl RunCursor {
    /// A cursor on the first row within the bound, in the given direction: `Forward` from the least
    /// key that the bound admits, `Backward` from the greatest.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn seek(
        run: &Arc<Run>,
        direction: Direction,
        from: Bound<&[u8]>,
        fill: Fill,
    ) -> Result<Self, StorageError> {
        Self::seek_until(run, direction, from, Bound::Unbounded, fill)
    }

    /// As [`Self::seek`], over rows up to another bound, which lies in the direction.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn seek_until(
        run: &Arc<Run>,
        direction: Direction,
        from: Bound<&[u8]>,
        to: Bound<Bytes>,
        fill: Fill,
    ) -> Result<Self, StorageError> {
        let run = Arc::clone(run);
        let (at, cursor, all_count, is_alone) = (0, None, false, false);
        let mut cursor = Self { run, direction, to, fill, at, cursor, all_count, is_alone };
        let tables = &cursor.run.tables;
        let start = match (direction, from) {
            (Direction::Forward, Bound::Unbounded) => Some(0),
            // A table that ends with the bound itself is entered for nothing where the bound is
            // excluded; then the next one is.
            (Direction::Forward, Bound::Included(key) | Bound::Excluded(key)) => {
                Some(tables.partition_point(|table| *table.entry.summary.last_key < *key))
            }
            (Direction::Backward, Bound::Unbounded) => tables.len().checked_sub(1),
            (Direction::Backward, Bound::Included(key) | Bound::Excluded(key)) => tables
                .partition_point(|table| *table.entry.summary.first_key <= *key)
                .checked_sub(1),
        };
        if let Some(start) = start {
            cursor.enter(start, from)?;
            cursor.settle()?;
        }
        Ok(cursor)
    }

    /// Lets it know that its rows are not merged with those of others.
    pub fn go_alone(&mut self) {
        self.is_alone = true;
        if let Some(cursor) = &mut self.cursor {
            cursor.go_alone();
        }
    }

    /// The row it is on; `None` behind the last one.
    #[must_use]
    #[inline]
    pub fn row(&self) -> Option<RowRef<'_>> {
        self.cursor.as_ref()?.row()
    }

    /// The key of the row it is on; `None` behind the last one. Less work than [`Self::row`].
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.cursor.as_ref()?.key()
    }

    /// Whether the row it is on has a value; `None` behind the last one.
    #[must_use]
    #[inline]
    pub fn has_value(&self) -> Option<bool> {
        self.cursor.as_ref()?.has_value()
    }

    /// Key and record of the row it is on, sharing the buffer of the block; `None` behind the last
    /// one. Whoever keeps one keeps the whole block in memory.
    #[must_use]
    pub fn shared_row(&self) -> Option<(Bytes, Record)> {
        self.cursor.as_ref()?.shared_row()
    }

    /// Moves on by one row in its direction. Behind the last row it stays there.
    ///
    /// # Errors
    /// `Corrupt`, `Io`. Then it is on no row.
    pub fn advance(&mut self) -> Result<(), StorageError> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(());
        };
        let moved = cursor.advance();
        if moved.is_err() {
            self.cursor = None;
        }
        moved?;
        self.settle()
    }

    /// Moves on by one row where that is in the same block and certainly counts; then its key, and
    /// whether it has a value. `None` where it did not.
    #[inline]
    pub fn advance_nearby(&mut self) -> Option<(&[u8], bool)> {
        if !self.all_count {
            return None;
        }
        self.cursor.as_mut()?.advance_nearby()
    }

    /// Goes on to the next table while the one it is in has no more rows that count.
    #[inline]
    fn settle(&mut self) -> Result<(), StorageError> {
        while let Some(cursor) = &self.cursor {
            let counts = |table: &RunTable| cursor.key().is_some_and(|key| table.admits(key));
            if self.run.tables.get(self.at).is_some_and(counts) {
                return Ok(());
            }
            self.cursor = None;
            let next = match self.direction {
                Direction::Forward => self.at.checked_add(1),
                Direction::Backward => self.at.checked_sub(1),
            };
            if let Some(next) = next {
                self.enter(next, Bound::Unbounded)?;
            }
        }
        Ok(())
    }

    /// Goes into a table; into none where there is no such table, or none of its rows is wanted.
    fn enter(&mut self, at: usize, from: Bound<&[u8]>) -> Result<(), StorageError> {
        self.at = at;
        let Some(RunTable { entry, table }) = self.run.tables.get(at) else {
            return Ok(());
        };
        let is_wanted = match (self.direction, &self.to) {
            (_, Bound::Unbounded) => true,
            (Direction::Forward, Bound::Included(to)) => entry.summary.first_key <= *to,
            (Direction::Forward, Bound::Excluded(to)) => entry.summary.first_key < *to,
            (Direction::Backward, Bound::Included(to)) => entry.summary.last_key >= *to,
            (Direction::Backward, Bound::Excluded(to)) => entry.summary.last_key > *to,
        };
        if !is_wanted {
            return Ok(());
        }
        let from = match (self.direction, &entry.after) {
            (Direction::Forward, Some(after)) => match from {
                Bound::Included(key) | Bound::Excluded(key) if *key > **after => from,
                _ => Bound::Excluded(&**after),
            },
            _ => from,
        };
        // Forward, those that do not are behind the cursor.
        self.all_count = self.direction == Direction::Forward || entry.after.is_none();
        let to = self.to.clone();
        let mut cursor = TableCursor::seek_until(table, self.direction, from, to, self.fill)?;
        if self.is_alone {
            cursor.go_alone();
        }
        self.cursor = Some(cursor);
        Ok(())
    }
}
