//! A place in the rows of a state, which moves over tail and tables together.

use std::ops::Bound;

use bytes::Bytes;

use super::value::Value;
use crate::storage::error::StorageError;
use crate::storage::index::{Index, Range};
use crate::storage::merge_cursor::{MergeCursor, RowCursor};
use crate::storage::record::{Direction, Record};
use crate::storage::run::RunCursor;
use crate::storage::table::RowRef;
use crate::storage::table_set::TableSet;
use crate::types::{Timestamp, Version};

/// A row of a state, where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The log index of the entry that wrote it.
    pub version: Version,
    /// The stamp of that entry.
    pub timestamp: Timestamp,
}

/// Rows of a state one after the other, each lent until the next is asked for: nothing is copied,
/// allocated or counted for a row, which makes it the fastest way through many.
///
/// ```
/// # use hightower_kv::{KvEngine, SingleNodeEngine};
/// # let directory = tempfile::tempdir().unwrap();
/// # let engine = SingleNodeEngine::open(directory.path().join("data"))?;
/// engine.put(b"user:1".to_vec(), b"ann".to_vec())?;
/// let bytes = engine.read_with(|view| {
///     let mut bytes = 0;
///     let mut rows = view.cursor_prefix(b"user:")?;
///     while let Some(row) = rows.next()? {
///         bytes += row.value.len();
///     }
///     Ok::<_, hightower_kv::Error>(bytes)
/// })?;
/// assert_eq!(bytes, 3);
/// # Ok::<(), hightower_kv::Error>(())
/// ```
#[derive(Debug)]
pub struct Cursor<'a> {
    rows: Rows<'a>,
    direction: Direction,
    /// Rows beyond it are not given.
    end: Bound<Bytes>,
    /// Whether the row here was given.
    given: bool,
}

/// The merged rows; of a state without tables there is one source, and nothing to merge.
#[derive(Debug)]
enum Rows<'a> {
    Tail(TreeCursor<'a>),
    Merged(MergeCursor<Source<'a>>),
}

/// What a state is made of, newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layers<'a> {
    pub(super) tail: &'a Index<Record>,
    pub(super) frozen: &'a Index<Record>,
    pub(super) base: &'a TableSet,
}

/// Rows of one layer.
#[derive(Debug)]
enum Source<'a> {
    Tree(TreeCursor<'a>),
    Run(RunCursor),
}

/// A place in a tree in memory.
#[derive(Debug)]
struct TreeCursor<'a> {
    range: Range<'a, Record>,
    direction: Direction,
    here: Option<(&'a Bytes, &'a Record)>,
}

impl<'a> TreeCursor<'a> {
    fn new(range: Range<'a, Record>, direction: Direction) -> Self {
        let mut cursor = Self { range, direction, here: None };
        cursor.step();
        cursor
    }

    fn step(&mut self) {
        self.here = match self.direction {
            Direction::Forward => self.range.next(),
            Direction::Backward => self.range.next_back(),
        };
    }
}

impl RowCursor for TreeCursor<'_> {
    fn row(&self) -> Option<RowRef<'_>> {
        let (key, record) = self.here?;
        let Record { ref value, version, timestamp } = *record;
        Some(RowRef { key, value: value.as_deref(), version, timestamp })
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.here.map(|(key, _)| key.as_ref())
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        self.here.map(|(key, record)| (key.clone(), record.clone()))
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        self.step();
        Ok(())
    }
}

impl RowCursor for Source<'_> {
    fn row(&self) -> Option<RowRef<'_>> {
        match self {
            Self::Tree(cursor) => cursor.row(),
            Self::Run(cursor) => cursor.row(),
        }
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Tree(cursor) => cursor.key(),
            Self::Run(cursor) => cursor.key(),
        }
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        match self {
            Self::Tree(cursor) => cursor.shared_row(),
            Self::Run(cursor) => cursor.shared_row(),
        }
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        match self {
            Self::Tree(cursor) => cursor.advance(),
            Self::Run(cursor) => cursor.advance(),
        }
    }
}

impl RowCursor for Rows<'_> {
    fn row(&self) -> Option<RowRef<'_>> {
        match self {
            Self::Tail(cursor) => cursor.row(),
            Self::Merged(cursor) => cursor.row(),
        }
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Tail(cursor) => cursor.key(),
            Self::Merged(cursor) => cursor.key(),
        }
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        match self {
            Self::Tail(cursor) => cursor.shared_row(),
            Self::Merged(cursor) => cursor.shared_row(),
        }
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        match self {
            Self::Tail(cursor) => cursor.advance(),
            Self::Merged(cursor) => cursor.advance(),
        }
    }
}

impl<'a> Cursor<'a> {
    /// Stands before the first row within the bounds that lies in `direction`.
    pub(super) fn new(
        layers: Layers<'a>,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Self, StorageError> {
        let (start, end) = match direction {
            Direction::Forward => (from, to),
            Direction::Backward => (to, from),
        };
        let Layers { tail, frozen, base } = layers;
        let tree = |index: &'a Index<Record>| TreeCursor::new(index.range((from, to)), direction);
        let rows = if frozen.is_empty() && base.is_empty() {
            Rows::Tail(tree(tail))
        } else {
            let runs = base.cursors(direction, start)?;
            let mut sources = Vec::with_capacity(runs.len() + 2);
            for index in [tail, frozen].into_iter().filter(|index| !index.is_empty()) {
                sources.push(Source::Tree(tree(index)));
            }
            sources.extend(runs.into_iter().map(Source::Run));
            Rows::Merged(MergeCursor::new(sources, direction)?)
        };
        let end = end.map(Bytes::copy_from_slice);
        Ok(Self { rows, direction, end, given: false })
    }

    /// Goes to the next row that is there and within the end.
    fn step(&mut self) -> Result<bool, StorageError> {
        if self.given {
            self.rows.advance()?;
        }
        self.given = true;
        while let Some(row) = self.rows.row() {
            if row.value.is_some() {
                return Ok(self.is_within(row.key));
            }
            self.rows.advance()?;
        }
        Ok(false)
    }

    fn is_within(&self, key: &[u8]) -> bool {
        match (&self.rows, self.direction, &self.end) {
            // The tree's range ends by itself.
            (Rows::Tail(_), ..) | (.., Bound::Unbounded) => true,
            (_, Direction::Forward, Bound::Included(end)) => key <= end,
            (_, Direction::Forward, Bound::Excluded(end)) => key < end,
            (_, Direction::Backward, Bound::Included(end)) => key >= end,
            (_, Direction::Backward, Bound::Excluded(end)) => key > end,
        }
    }

    /// The next row; `None` when all were given.
    ///
    /// Not an [`Iterator`]: the row is lent until the next call.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read; then the cursor is of no more use.
    #[expect(clippy::should_implement_trait, reason = "an Iterator cannot lend its items")]
    pub fn next(&mut self) -> Result<Option<Row<'_>>, StorageError> {
        if !self.step()? {
            return Ok(None);
        }
        Ok(self.rows.row().and_then(|RowRef { key, value, version, timestamp }| {
            Some(Row { key, value: value?, version, timestamp })
        }))
    }

    /// The key of the row that was given last.
    pub(super) fn key_given(&self) -> Option<&[u8]> {
        if self.given { self.rows.key() } else { None }
    }

    /// As [`Self::next`], sharing the buffers of the row.
    pub(super) fn next_shared(&mut self) -> Result<Option<(Bytes, Value)>, StorageError> {
        if !self.step()? {
            return Ok(None);
        }
        let row = self.rows.shared_row();
        Ok(row.and_then(|(key, record)| Some((key, Value::from(record.value?)))))
    }
}
