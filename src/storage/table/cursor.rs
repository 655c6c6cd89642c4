//! Rows of a table in key order, from either end.

use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::block::Block;
use super::block_cache::Room;
use super::reader::{Table, length};
use super::row::RowRef;
use super::row_map::RowPlace;
use crate::storage::error::StorageError;
use crate::storage::record::{Direction, Record};

/// Bytes that are read at once where a cursor begins; twice as many each time it goes on.
const AHEAD_BYTES_FIRST: u64 = 16 << 10;
/// Most bytes that are read at once, unless a single block is longer.
const AHEAD_BYTES_MAX: u64 = 256 << 10;

/// What becomes of the blocks that a cursor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// They are cached, as those of a get are.
    Cache,
    /// They are not: for who reads everything once, such as a merge, and must not evict what
    /// others need. What is cached already is used all the same.
    Bypass,
}

/// A place in a table, on a row or behind the last one. Keeps its table open.
///
/// Moving within a block costs nothing but arithmetic; the next block is found in the cache or read
/// ahead in pieces that grow up to 256 KiB, which the cursor keeps to itself.
#[derive(Debug)]
pub struct TableCursor {
    table: Arc<Table>,
    direction: Direction,
    /// Rows beyond it are not there.
    to: Bound<Bytes>,
    fill: Fill,
    /// `None` when there are no more rows.
    block: Option<Arc<Block>>,
    /// Number of the block in the table.
    number: usize,
    /// Rows of the block that are there. All of them but for the last block that is entered.
    rows: Range<usize>,
    /// The row in the block; one of `rows`.
    here: RowPlace,
    ahead: Ahead,
    /// Whether its rows are not merged with those of others.
    is_alone: bool,
}

/// Blocks that were read and not decoded yet.
#[derive(Debug, Default)]
struct Ahead {
    blocks: Range<usize>,
    /// Where the bytes begin in the file.
    offset: u64,
    bytes: Vec<u8>,
    /// Most bytes to read the next time.
    limit: u64,
}

impl TableCursor {
    /// A cursor on the first row within the bound, in the given direction: `Forward` from the least
    /// key that the bound admits, `Backward` from the greatest. Caches what it reads.
    ///
    /// # Errors
    /// `Corrupt` with the offset of the block that does not check; `Io`.
    pub fn seek(
        table: &Arc<Table>,
        direction: Direction,
        from: Bound<&[u8]>,
    ) -> Result<Self, StorageError> {
        Self::seek_with(table, direction, from, Fill::Cache)
    }

    /// As [`Self::seek`], with a choice of what becomes of the blocks.
    ///
    /// # Errors
    /// As [`Self::seek`].
    pub fn seek_with(
        table: &Arc<Table>,
        direction: Direction,
        from: Bound<&[u8]>,
        fill: Fill,
    ) -> Result<Self, StorageError> {
        Self::seek_until(table, direction, from, Bound::Unbounded, fill)
    }

    /// As [`Self::seek_with`], over rows up to another bound, which lies in the direction.
    ///
    /// # Errors
    /// As [`Self::seek`].
    pub(in crate::storage) fn seek_until(
        table: &Arc<Table>,
        direction: Direction,
        from: Bound<&[u8]>,
        to: Bound<Bytes>,
        fill: Fill,
    ) -> Result<Self, StorageError> {
        let mut cursor = Self {
            table: Arc::clone(table),
            direction,
            to,
            fill,
            block: None,
            number: 0,
            rows: 0..0,
            here: RowPlace::default(),
            ahead: Ahead { limit: AHEAD_BYTES_FIRST, ..Ahead::default() },
            is_alone: false,
        };
        match direction {
            Direction::Forward => cursor.seek_forward(from)?,
            Direction::Backward => cursor.seek_backward(from)?,
        }
        Ok(cursor)
    }

    /// Lets it know that its rows are not merged with those of others.
    pub(in crate::storage) fn go_alone(&mut self) {
        self.is_alone = true;
    }

    fn seek_forward(&mut self, from: Bound<&[u8]>) -> Result<(), StorageError> {
        let index = self.table.index();
        let (key, or_equal) = match from {
            Bound::Included(key) => (key, false),
            Bound::Excluded(key) => (key, true),
            Bound::Unbounded => return self.enter(0),
        };
        if key < index.first_key() {
            return self.enter(0);
        }
        if key > index.last_key() {
            return Ok(());
        }
        self.enter(index.find(key))?;
        let below = self.block.as_ref().map_or(0, |block| block.count_below(key, or_equal));
        self.go_to(below)
    }

    fn seek_backward(&mut self, from: Bound<&[u8]>) -> Result<(), StorageError> {
        let index = self.table.index();
        let last = index.blocks() - 1;
        let (key, or_equal) = match from {
            Bound::Included(key) => (key, true),
            Bound::Excluded(key) => (key, false),
            Bound::Unbounded => return self.enter(last),
        };
        if key > index.last_key() {
            return self.enter(last);
        }
        if key < index.first_key() {
            return Ok(());
        }
        self.enter(index.find(key))?;
        match self.block.as_ref().map_or(0, |block| block.count_below(key, or_equal)) {
            0 => self.leave_backward(),
            below => self.go_to(below - 1),
        }
    }

    /// The row it is on; `None` behind the last one.
    #[must_use]
    #[inline]
    pub fn row(&self) -> Option<RowRef<'_>> {
        Some(self.block.as_ref()?.row_at(&self.here))
    }

    /// The key of the row it is on; `None` behind the last one. Less work than [`Self::row`].
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        Some(self.block.as_ref()?.key_at(&self.here))
    }

    /// Whether the row it is on has a value; `None` behind the last one.
    #[must_use]
    #[inline]
    pub fn has_value(&self) -> Option<bool> {
        self.block.as_ref().map(|_| self.here.is_value)
    }

    /// Key and record of the row it is on, sharing the buffer of the block; `None` behind the last
    /// one. Whoever keeps one keeps the whole block in memory.
    #[must_use]
    pub fn shared_row(&self) -> Option<(Bytes, Record)> {
        Some(self.block.as_ref()?.shared_row_at(&self.here))
    }

    /// Moves on by one row where that is in the same block; then its key, and whether it has a
    /// value. `None` where it did not.
    #[inline]
    pub(in crate::storage) fn advance_nearby(&mut self) -> Option<(&[u8], bool)> {
        let block = self.block.as_ref()?;
        self.here = match self.direction {
            Direction::Forward if self.here.row + 1 < self.rows.end => {
                block.place_behind(&self.here)
            }
            Direction::Backward if self.here.row > self.rows.start => {
                block.place(self.here.row - 1)
            }
            _ => return None,
        };
        Some((block.key_at(&self.here), self.here.is_value))
    }

    /// Moves on by one row in its direction. Behind the last row it stays there.
    ///
    /// # Errors
    /// `Corrupt` with the offset of the block that does not check; `Io`. Then it is on no row.
    pub fn advance(&mut self) -> Result<(), StorageError> {
        match self.direction {
            Direction::Forward => self.go_to(self.here.row + 1),
            Direction::Backward if self.here.row > self.rows.start => self.go_to(self.here.row - 1),
            Direction::Backward => self.leave_backward(),
        }
    }

    /// Goes to a row of the block that it is in, or on to the next one where that has fewer rows.
    #[inline]
    fn go_to(&mut self, row: usize) -> Result<(), StorageError> {
        let Some(block) = &self.block else {
            return Ok(());
        };
        if self.rows.contains(&row) {
            self.here = block.place(row);
            return Ok(());
        }
        match self.direction {
            Direction::Forward => self.leave_forward(),
            Direction::Backward => self.leave_backward(),
        }
    }

    #[cold]
    fn leave_forward(&mut self) -> Result<(), StorageError> {
        let ends_here = self.block.as_ref().is_none_or(|block| self.rows.end < block.rows());
        match self.number + 1 {
            next if !ends_here && next < self.table.index().blocks() => self.enter(next),
            _ => {
                self.block = None;
                Ok(())
            }
        }
    }

    #[cold]
    fn leave_backward(&mut self) -> Result<(), StorageError> {
        let ends_here = self.block.is_none() || self.rows.start > 0;
        match self.number.checked_sub(1) {
            Some(previous) if !ends_here => self.enter(previous),
            _ => {
                self.block = None;
                Ok(())
            }
        }
    }

    /// Goes to the first row of a block, or to its last one on the way back; behind the last row
    /// where none of them is there.
    fn enter(&mut self, number: usize) -> Result<(), StorageError> {
        self.block = None;
        let block = self.load(number)?;
        // Who goes through one piece of memory and nothing else has the next lines brought by the
        // processor, in time and unasked; asking would wait for them.
        if !(self.is_alone && block.is_part()) {
            block.ask_for_all();
        }
        self.number = number;
        self.rows = self.rows_within(&block);
        let row = match self.direction {
            Direction::Forward => Some(self.rows.start),
            Direction::Backward => self.rows.end.checked_sub(1),
        };
        if let Some(row) = row.filter(|row| self.rows.contains(row)) {
            self.here = block.place(row);
            self.block = Some(block);
        }
        Ok(())
    }

    /// The rows of a block that are not beyond the bound: one comparison for all of them, but in
    /// the block where it lies.
    fn rows_within(&self, block: &Block) -> Range<usize> {
        let all = 0..block.rows();
        let (to, is_included) = match &self.to {
            Bound::Included(to) => (to, true),
            Bound::Excluded(to) => (to, false),
            Bound::Unbounded => return all,
        };
        match self.direction {
            Direction::Forward if block.key(all.end - 1) < &**to => all,
            Direction::Forward => 0..block.count_below(to, is_included),
            Direction::Backward if block.key(0) > &**to => all,
            Direction::Backward => block.count_below(to, !is_included)..all.end,
        }
    }

    fn load(&mut self, number: usize) -> Result<Arc<Block>, StorageError> {
        if let Some(block) = self.table.slots().get(number) {
            if self.fill == Fill::Cache {
                block.mark_referenced();
            }
            return Ok(block);
        }
        if !self.ahead.blocks.contains(&number) {
            self.read_ahead(number)?;
        }
        let block = self.table.decode(&self.ahead.bytes, self.ahead.offset, number)?;
        match self.fill {
            Fill::Cache => {
                let slots = self.table.slots();
                Ok(slots.cache().insert(slots, number, Arc::new(block.mapped()), Room::Make))
            }
            Fill::Bypass => Ok(Arc::new(block)),
        }
    }

    /// Reads the block and those that come next.
    fn read_ahead(&mut self, number: usize) -> Result<(), StorageError> {
        let index = self.table.index();
        let mut blocks = number..number + 1;
        loop {
            let wider = match self.direction {
                Direction::Forward => blocks.start..blocks.end + 1,
                Direction::Backward => blocks.start.wrapping_sub(1)..blocks.end,
            };
            if wider.end > index.blocks() || wider.start > blocks.start {
                break;
            }
            let place = index.place(wider.clone());
            if place.end - place.start > self.ahead.limit {
                break;
            }
            blocks = wider;
        }
        let place = index.place(blocks.clone());
        self.ahead.blocks = 0..0;
        self.ahead.bytes = self.table.file().read(place.start, length(&place))?;
        self.ahead.offset = place.start;
        self.ahead.blocks = blocks;
        self.ahead.limit = (self.ahead.limit * 2).min(AHEAD_BYTES_MAX);
        Ok(())
    }
}
