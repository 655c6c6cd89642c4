//! Reading one scope of a state.

use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use super::cursor::{Cursor, Row};
use super::scan::OwnedScan;
use super::value::{Value, Versioned};
use super::view::{Rows, StateView, versioned};
use crate::command::scope::{OWNER_BYTES, Owner, Scope};
use crate::storage::error::StorageError;
use crate::storage::prefix_index::{as_slice, prefix_range};
use crate::storage::record::Direction;
use crate::types::{Timestamp, Version};

/// What of a physical row is not the caller's.
#[derive(Clone, Copy, Debug)]
struct Cut {
    key: usize,
    value: usize,
}

impl Cut {
    fn of(scope: &Scope) -> Self {
        let value = if *scope == Scope::Ephemeral { OWNER_BYTES } else { 0 };
        Self { key: scope.prefix_bytes(), value }
    }

    /// The caller's part of a value; empty where a value has no owner, which this crate never
    /// writes.
    fn value(self, value: Value) -> Value {
        let bytes = value.into_bytes();
        Value::from(bytes.slice(self.value.min(bytes.len())..))
    }

    fn row(self, (key, value): (Bytes, Value)) -> (Bytes, Value) {
        (key.slice(self.key.min(key.len())..), self.value(value))
    }
}

/// One scope of a state, as [`StateView`] is of the plain keyspace: keys and values are those that
/// the callers gave. The state may be one of the past.
///
/// Nothing is copied but physical keys to look for.
#[derive(Clone, Debug)]
pub struct ScopedView<'a> {
    view: &'a StateView,
    scope: Scope,
    cut: Cut,
}

impl StateView {
    /// One scope of this state. A clone of the name.
    #[must_use]
    pub fn scope(&self, scope: &Scope) -> ScopedView<'_> {
        ScopedView { view: self, scope: scope.clone(), cut: Cut::of(scope) }
    }
}

impl StateView {
    /// Physical keys and versions of ephemeral rows whose owner is `wanted`, in key order: up to
    /// `rows_max`, and as many as have `bytes_max` bytes in their keys. Reads all rows before the
    /// last one.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn ephemeral_rows(
        &self,
        rows_max: usize,
        bytes_max: usize,
        wanted: impl Fn(Option<Owner>) -> bool,
    ) -> Result<Vec<(Bytes, Version)>, StorageError> {
        let (from, to) = prefix_range(&Scope::Ephemeral.prefix());
        let mut rows = self.cursor_of_both((as_slice(&from), as_slice(&to)), Direction::Forward)?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < rows_max
            && bytes < bytes_max
            && let Some(row) = rows.next()?
        {
            if wanted(Owner::of(row.value)) {
                bytes += row.key.len();
                found.push((Bytes::copy_from_slice(row.key), row.version));
            }
        }
        Ok(found)
    }
}

impl<'a> ScopedView<'a> {
    /// The value of `key`. Copies nothing, but for what [`Value`] names; reads at most one block of
    /// each table that may have it.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read; that holds for all reads.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StorageError> {
        if self.scope == Scope::Permanent {
            return self.view.get(key);
        }
        Ok(self.get_versioned(key)?.map(|row| row.value))
    }

    /// The value of `key` with its version and stamp.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn get_versioned(&self, key: &[u8]) -> Result<Option<Versioned>, StorageError> {
        if self.scope == Scope::Permanent {
            return self.view.get_versioned(key);
        }
        let found = self.view.record(&self.scope.key(key))?.and_then(versioned);
        Ok(found.map(|row| Versioned { value: self.cut.value(row.value), ..row }))
    }

    /// Whether `key` exists.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn contains(&self, key: &[u8]) -> Result<bool, StorageError> {
        Ok(self.get_versioned(key)?.is_some())
    }

    /// The stamp from which on a key is removed: see [`StateView::expires_at`].
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn expires_at(&self, key: &[u8]) -> Result<Option<Timestamp>, StorageError> {
        if self.scope == Scope::Permanent {
            return self.view.expires_at(key);
        }
        self.view.ends_at(&self.scope.key(key))
    }

    /// Who wrote the value of a key: of the ephemeral scope only.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn owner(&self, key: &[u8]) -> Result<Option<Owner>, StorageError> {
        if self.scope != Scope::Ephemeral {
            return Ok(None);
        }
        let found = self.view.live(&self.scope.key(key))?;
        Ok(found.and_then(|record| Owner::of(record.value.as_deref()?)))
    }

    /// All rows in key order, from either end.
    #[must_use]
    pub fn iter(&self) -> ScopedRows<'a> {
        self.prefix(&[])
    }

    /// The rows whose keys begin with `prefix`, in key order, from either end.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> ScopedRows<'a> {
        if self.scope == Scope::Permanent {
            return ScopedRows { rows: self.view.prefix(prefix), cut: self.cut };
        }
        let (from, to) = prefix_range(&self.scope.key(prefix));
        ScopedRows { rows: self.view.rows_of_all(from, to), cut: self.cut }
    }

    /// The rows whose keys lie within `bounds`, in key order, from either end. Costs O(log n) and
    /// then O(1) a row, as they are asked for.
    #[must_use]
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> ScopedRows<'a> {
        if self.scope == Scope::Permanent {
            return ScopedRows { rows: self.view.range(bounds), cut: self.cut };
        }
        let (from, to) = self.physical(&bounds);
        ScopedRows { rows: self.view.rows_of_all(from, to), cut: self.cut }
    }

    /// The same rows as [`Self::range`], from an iterator that keeps the state by itself.
    #[must_use]
    pub fn scan<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> ScopedScan {
        let scan = if self.scope == Scope::Permanent {
            self.view.scan(bounds)
        } else {
            let (from, to) = self.physical(&bounds);
            OwnedScan::of_all(self.view.clone(), from, to)
        };
        ScopedScan { scan, cut: self.cut }
    }

    /// The rows within `bounds`, each lent where it stands: see [`Cursor`].
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn cursor<K: AsRef<[u8]>>(
        &self,
        bounds: impl RangeBounds<K>,
        direction: Direction,
    ) -> Result<ScopedCursor<'a>, StorageError> {
        let cursor = if self.scope == Scope::Permanent {
            self.view.cursor(bounds, direction)?
        } else {
            let (from, to) = self.physical(&bounds);
            self.view.cursor_of_both((as_slice(&from), as_slice(&to)), direction)?
        };
        Ok(ScopedCursor { cursor, cut: self.cut })
    }

    /// How many keys there are. Reads all of them, O(n), but for the permanent scope, where the
    /// number is known.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn len(&self) -> Result<usize, StorageError> {
        if self.scope == Scope::Permanent {
            return Ok(self.view.len());
        }
        let mut rows = self.cursor::<&[u8]>(.., Direction::Forward)?;
        let mut count = 0;
        while rows.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Whether there is no key. Looks for the first one.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.cursor::<&[u8]>(.., Direction::Forward)?.next()?.is_none())
    }

    /// The bounds as physical keys have them; not of the permanent scope, which has reserved keys
    /// above.
    fn physical<K: AsRef<[u8]>>(
        &self,
        bounds: &impl RangeBounds<K>,
    ) -> (Bound<Bytes>, Bound<Bytes>) {
        let (first, end) = prefix_range(&self.scope.prefix());
        let key = |bound: Bound<&K>| bound.map(|key| self.scope.key(key.as_ref()));
        let within = |bound, outer| match bound {
            Bound::Unbounded => outer,
            bound => bound,
        };
        (within(key(bounds.start_bound()), first), within(key(bounds.end_bound()), end))
    }
}

impl<'a> IntoIterator for &ScopedView<'a> {
    type Item = Result<(Bytes, Value), StorageError>;
    type IntoIter = ScopedRows<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Rows of a scope in key order, from either end. Nothing is copied. A table that cannot be read is
/// told once, as the last item.
#[derive(Debug)]
pub struct ScopedRows<'a> {
    rows: Rows<'a>,
    cut: Cut,
}

impl Iterator for ScopedRows<'_> {
    type Item = Result<(Bytes, Value), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next().map(|row| Ok(self.cut.row(row?)))
    }
}

impl DoubleEndedIterator for ScopedRows<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.rows.next_back().map(|row| Ok(self.cut.row(row?)))
    }
}

impl FusedIterator for ScopedRows<'_> {}

/// As [`ScopedRows`], and keeps its state by itself: see [`OwnedScan`].
#[derive(Clone, Debug)]
pub struct ScopedScan {
    scan: OwnedScan,
    cut: Cut,
}

impl Iterator for ScopedScan {
    type Item = Result<(Bytes, Value), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.scan.next().map(|row| Ok(self.cut.row(row?)))
    }
}

impl DoubleEndedIterator for ScopedScan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.scan.next_back().map(|row| Ok(self.cut.row(row?)))
    }
}

impl FusedIterator for ScopedScan {}

/// Rows of a scope one after the other, each lent until the next is asked for: see [`Cursor`].
#[derive(Debug)]
pub struct ScopedCursor<'a> {
    cursor: Cursor<'a>,
    cut: Cut,
}

impl ScopedCursor<'_> {
    /// The next row; `None` when all were given.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read; from then on always.
    #[expect(clippy::should_implement_trait, reason = "an Iterator cannot lend its items")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Row<'_>>, StorageError> {
        let Cut { key, value } = self.cut;
        let row = self.cursor.next()?;
        Ok(row.map(|row| Row {
            key: row.key.get(key..).unwrap_or_default(),
            value: row.value.get(value..).unwrap_or_default(),
            ..row
        }))
    }
}
