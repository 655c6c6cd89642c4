//! Rows of a layer of which others, above it, have cut some off.

use std::ops::Bound;

use bytes::Bytes;

use crate::storage::cuts::Cuts;
use crate::storage::error::StorageError;
use crate::storage::merge_cursor::{Nearby, RowCursor};
use crate::storage::record::{Direction, Record};
use crate::storage::table::RowRef;

/// The cuts above a layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Above<'a>([Option<&'a Cuts>; 2]);

impl<'a> Above<'a> {
    /// Those of these layers.
    pub(super) fn new<const N: usize>(layers: [&'a Cuts; N]) -> Self {
        let mut cuts = layers.into_iter().filter(|cuts| !cuts.is_empty());
        Self([cuts.next(), cuts.next()])
    }

    fn hide(self, key: &[u8]) -> bool {
        self.0.into_iter().flatten().any(|cuts| cuts.tombstone_of(key).is_some())
    }

    /// Where the first rows may be, from a bound on, that are not hidden; `None`: nowhere.
    pub(super) fn start<'b>(
        self,
        start: Bound<&'b [u8]>,
        direction: Direction,
    ) -> Option<Bound<&'b [u8]>>
    where
        'a: 'b,
    {
        let mut start = start;
        let at = |start| self.0.into_iter().flatten().find_map(|cuts| cuts.at(start, direction));
        while let Some(cut) = at(start) {
            start = cut.stretch.beyond(direction)?;
        }
        Some(start)
    }
}

/// Rows below cuts: of those that are hidden it says that they were removed.
#[derive(Debug)]
pub(super) struct Below<'a, C> {
    rows: C,
    above: Above<'a>,
    /// Whether the row here is hidden.
    is_hidden: bool,
}

impl<'a, C: RowCursor> Below<'a, C> {
    pub(super) fn new(rows: C, above: Above<'a>) -> Self {
        let mut below = Self { rows, above, is_hidden: false };
        below.look();
        below
    }

    /// The rows, hidden ones included.
    pub(super) const fn rows(&self) -> &C {
        &self.rows
    }

    /// Whether the row here is hidden.
    pub(super) const fn is_hidden(&self) -> bool {
        self.is_hidden
    }

    fn look(&mut self) {
        self.is_hidden = self.rows.key().is_some_and(|key| self.above.hide(key));
    }
}

impl<C: RowCursor> RowCursor for Below<'_, C> {
    fn row(&self) -> Option<RowRef<'_>> {
        let row = self.rows.row()?;
        Some(if self.is_hidden { RowRef { value: None, ..row } } else { row })
    }

    fn key(&self) -> Option<&[u8]> {
        self.rows.key()
    }

    fn has_value(&self) -> Option<bool> {
        Some(self.rows.has_value()? && !self.is_hidden)
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        let (key, record) = self.rows.shared_row()?;
        Some((key, if self.is_hidden { Record { value: None, ..record } } else { record }))
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        self.rows.advance()?;
        self.look();
        Ok(())
    }

    fn advance_nearby(&mut self) -> Option<Nearby> {
        let mut near = self.rows.advance_nearby()?;
        self.look();
        near.has_value &= !self.is_hidden;
        Some(near)
    }
}
