//! A scan that lives by itself.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use super::value::{Value, Versioned};
use super::view::{Rows, StateView, owned};
use crate::command::is_reserved;
use crate::storage::error::StorageError;
use crate::storage::prefix_index::{as_slice, prefix_range};
use crate::storage::record::Direction;

/// Rows that the first look-up fetches; the number doubles with each, up to [`CHUNK_ROWS_MAX`], so
/// that a scan which ends early has fetched little.
const CHUNK_ROWS_FIRST: usize = 8;

/// Most rows that are fetched in one look-up.
const CHUNK_ROWS_MAX: usize = 256;

/// A look-up fetches no more rows once their keys and values have so many bytes, and there are
/// [`CHUNK_ROWS_FIRST`] of them.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Nor once they have so many bytes, however few they are. Each look-up reads the block before its
/// place in each run anew, so that one for each long row would read twice of what it gives.
const CHUNK_BYTES_OF_FEW: usize = 8 << 20;

/// Rows of one state in key order, from either end. It keeps its state and can outlive everything
/// else. A table that cannot be read is told once, as the last item.
///
/// It looks its place up anew every few hundred rows, so it costs a little more than
/// [`StateView::range`], and holds at most that many rows besides the state: from either end none
/// more once their keys and values are a mebibyte together, or eight where they are fewer than
/// eight rows.
#[derive(Clone, Debug)]
pub struct OwnedScan {
    view: StateView,
    /// Whether rows of the reserved keyspace are given, too.
    of_all: bool,
    /// What has not been fetched lies within `from` and `to`.
    from: Bound<Bytes>,
    to: Bound<Bytes>,
    /// Fetched from the front and not yet given, in key order.
    front: VecDeque<(Bytes, Value)>,
    /// Fetched from the back and not yet given, in key order.
    back: VecDeque<(Bytes, Value)>,
    chunk_rows: usize,
    /// Why no more rows could be fetched, until it was told.
    failed: Option<StorageError>,
}

impl OwnedScan {
    pub(super) fn new(view: StateView, from: Bound<Bytes>, to: Bound<Bytes>) -> Self {
        Self {
            view,
            of_all: false,
            from,
            to,
            front: VecDeque::new(),
            back: VecDeque::new(),
            chunk_rows: CHUNK_ROWS_FIRST,
            failed: None,
        }
    }

    /// As [`Self::new`], of both keyspaces.
    pub(super) fn of_all(view: StateView, from: Bound<Bytes>, to: Bound<Bytes>) -> Self {
        Self { of_all: true, ..Self::new(view, from, to) }
    }

    /// The state that is read.
    #[must_use]
    pub fn view(&self) -> &StateView {
        &self.view
    }

    /// Rows that are fetched and not given yet.
    #[cfg(test)]
    pub(super) fn fetched(&self) -> usize {
        self.front.len() + self.back.len()
    }

    fn fetch_front(&mut self) {
        let rows = rows_between(&self.view, self.of_all, &self.from, &self.to);
        self.failed = fetch(rows.take(self.chunk_rows), |row| self.front.push_back(row)).err();
        if let Some((key, _)) = self.front.back() {
            self.from = Bound::Excluded(key.clone());
        }
        self.grow_chunk();
    }

    fn fetch_back(&mut self) {
        let rows = rows_between(&self.view, self.of_all, &self.from, &self.to);
        let rows = rows.rev().take(self.chunk_rows);
        self.failed = fetch(rows, |row| self.back.push_front(row)).err();
        if let Some((key, _)) = self.back.front() {
            self.to = Bound::Excluded(key.clone());
        }
        self.grow_chunk();
    }

    /// What could not be read, once; afterwards there are no more rows.
    fn failure(&mut self) -> Option<StorageError> {
        let error = self.failed.take()?;
        (self.from, self.to) = (Bound::Excluded(Bytes::new()), Bound::Excluded(Bytes::new()));
        self.front.clear();
        self.back.clear();
        Some(error)
    }

    fn grow_chunk(&mut self) {
        self.chunk_rows = CHUNK_ROWS_MAX.min(self.chunk_rows * 2);
    }
}

/// Hands on the rows of one look-up, at least one where there is any.
fn fetch(
    rows: impl Iterator<Item = Result<(Bytes, Value), StorageError>>,
    mut take: impl FnMut((Bytes, Value)),
) -> Result<(), StorageError> {
    let mut bytes = 0;
    for (before, row) in rows.enumerate() {
        let (key, value) = row?;
        bytes += key.len() + value.len();
        take((key, value));
        let is_few = before + 1 < CHUNK_ROWS_FIRST;
        if bytes >= if is_few { CHUNK_BYTES_OF_FEW } else { CHUNK_BYTES_MAX } {
            break;
        }
    }
    Ok(())
}

/// The rows of one keyspace or of both.
fn rows_between<'a>(
    view: &'a StateView,
    of_all: bool,
    from: &Bound<Bytes>,
    to: &Bound<Bytes>,
) -> Rows<'a> {
    if of_all {
        view.rows_of_all(from.clone(), to.clone())
    } else {
        view.range::<&[u8]>((as_slice(from), as_slice(to)))
    }
}

impl StateView {
    /// The same rows as [`range`](Self::range), from an iterator that keeps this state by itself.
    #[must_use]
    pub fn scan<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> OwnedScan {
        let (from, to) = owned(&bounds);
        OwnedScan::new(self.clone(), from, to)
    }

    /// The same rows as [`prefix`](Self::prefix), from an iterator that keeps this state by itself.
    #[must_use]
    pub fn scan_prefix(&self, prefix: &[u8]) -> OwnedScan {
        let (from, to) = prefix_range(prefix);
        OwnedScan::new(self.clone(), from, to)
    }

    /// The rows of either keyspace whose keys begin with `prefix` and stand behind `after`, in key
    /// order: as many as fit `bytes_max`, at least one where there is any. Copies them.
    pub(crate) fn rows_behind(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Vec<(Bytes, Versioned)>, StorageError> {
        let (from, to) = prefix_range(prefix);
        let from = after.map_or(as_slice(&from), Bound::Excluded);
        let bounds = (from, as_slice(&to));
        let mut cursor = if is_reserved(prefix) {
            self.cursor_of_both(bounds, Direction::Forward)?
        } else {
            self.cursor::<&[u8]>(bounds, Direction::Forward)?
        };
        let mut rows = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(row) = cursor.next()?
        {
            bytes += row.key.len() + row.value.len();
            let value = Value::from(Bytes::copy_from_slice(row.value));
            let (version, timestamp) = (row.version, row.timestamp);
            rows.push((Bytes::copy_from_slice(row.key), Versioned { value, version, timestamp }));
        }
        Ok(rows)
    }
}

impl Iterator for OwnedScan {
    type Item = Result<(Bytes, Value), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.front.is_empty() {
            if self.failed.is_none() {
                self.fetch_front();
            }
            if self.front.is_empty()
                && let Some(error) = self.failure()
            {
                return Some(Err(error));
            }
        }
        self.front.pop_front().or_else(|| self.back.pop_front()).map(Ok)
    }
}

impl DoubleEndedIterator for OwnedScan {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.back.is_empty() {
            if self.failed.is_none() {
                self.fetch_back();
            }
            if self.back.is_empty()
                && let Some(error) = self.failure()
            {
                return Some(Err(error));
            }
        }
        self.back.pop_back().or_else(|| self.front.pop_back()).map(Ok)
    }
}

impl FusedIterator for OwnedScan {}
