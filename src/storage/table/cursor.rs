//! Rows of a table in key order, from either end.

use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::block::Block;
use super::block_cache::Room;
use super::reader::{Table, length};
use super::row::RowRef;
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
    fill: Fill,
    /// `None` when there are no more rows.
    block: Option<Arc<Block>>,
    /// Number of the block in the table.
    number: usize,
    /// Row in the block.
    row: usize,
    ahead: Ahead,
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
        let mut cursor = Self {
            table: Arc::clone(table),
            direction,
            fill,
            block: None,
            number: 0,
            row: 0,
            ahead: Ahead { limit: AHEAD_BYTES_FIRST, ..Ahead::default() },
        };
        match direction {
            Direction::Forward => cursor.seek_forward(from)?,
            Direction::Backward => cursor.seek_backward(from)?,
        }
        Ok(cursor)
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
        self.row = self.block.as_ref().map_or(0, |block| block.count_below(key, or_equal));
        self.skip_end_of_block()
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
            0 => self.enter_previous(),
            below => {
                self.row = below - 1;
                Ok(())
            }
        }
    }

    /// The row it is on; `None` behind the last one.
    #[must_use]
    #[inline]
    pub fn row(&self) -> Option<RowRef<'_>> {
        self.block.as_ref()?.row(self.row)
    }

    /// The key of the row it is on; `None` behind the last one. Less work than [`Self::row`].
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        // On a row, or without a block: the row is never behind the last one of its block.
        Some(self.block.as_ref()?.key(self.row))
    }

    /// Key and record of the row it is on, sharing the buffer of the block; `None` behind the last
    /// one. Whoever keeps one keeps the whole block in memory.
    #[must_use]
    pub fn shared_row(&self) -> Option<(Bytes, Record)> {
        self.block.as_ref()?.shared_row(self.row)
    }

    /// Moves on by one row in its direction. Behind the last row it stays there.
    ///
    /// # Errors
    /// `Corrupt` with the offset of the block that does not check; `Io`. Then it is on no row.
    #[inline]
    pub fn advance(&mut self) -> Result<(), StorageError> {
        match self.direction {
            Direction::Forward => {
                self.row += 1;
                self.skip_end_of_block()
            }
            Direction::Backward if self.row > 0 => {
                self.row -= 1;
                Ok(())
            }
            Direction::Backward => self.enter_previous(),
        }
    }

    #[inline]
    fn skip_end_of_block(&mut self) -> Result<(), StorageError> {
        match &self.block {
            Some(block) if self.row >= block.rows() => self.enter_next(),
            _ => Ok(()),
        }
    }

    #[cold]
    fn enter_next(&mut self) -> Result<(), StorageError> {
        match self.number + 1 {
            next if next < self.table.index().blocks() => self.enter(next),
            _ => {
                self.block = None;
                Ok(())
            }
        }
    }

    #[cold]
    fn enter_previous(&mut self) -> Result<(), StorageError> {
        if let (Some(_), Some(previous)) = (&self.block, self.number.checked_sub(1)) {
            return self.enter(previous);
        }
        self.block = None;
        Ok(())
    }

    /// Goes to the first row of a block, or to its last one on the way back.
    fn enter(&mut self, number: usize) -> Result<(), StorageError> {
        self.block = None;
        let block = self.load(number)?;
        self.number = number;
        self.row = match self.direction {
            Direction::Forward => 0,
            Direction::Backward => block.rows() - 1,
        };
        self.block = Some(block);
        Ok(())
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
        let block = Arc::new(self.table.decode(&self.ahead.bytes, self.ahead.offset, number)?);
        match self.fill {
            Fill::Cache => {
                let slots = self.table.slots();
                Ok(slots.cache().insert(slots, number, block, Room::Make))
            }
            Fill::Bypass => Ok(block),
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
