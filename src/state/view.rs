//! One state, for reading.

use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;

use super::cursor::{Cursor, Layers, is_empty};
use super::gaps::Gaps;
use super::sessions::Sessions;
use super::tail::Tail;
use super::value::{Value, Versioned};
use crate::command::keyspace::{RESERVED_PREFIX, is_reserved};
use crate::storage::error::StorageError;
use crate::storage::prefix_index::{as_slice, prefix_range};
use crate::storage::record::{Direction, Record};
use crate::storage::table::Cached;
use crate::storage::table_set::TableSet;
use crate::types::{LogIndex, Timestamp, Version};

/// How many rows a state has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Keys.
    pub keys: u64,
    /// How many of them are reserved, at most all; `None`: they are to be counted.
    pub reserved_keys: Option<u64>,
    /// Bytes of keys and values.
    pub live_bytes: u64,
}

/// The state after one entry of the log. It never changes; a clone is O(1) and shares all memory.
///
/// It is layers: the *tail*, which is what changed since the last snapshot, in memory; while a
/// compaction runs, the *frozen* tail that it writes; and tables, which are read from disk where
/// they are not cached. As long as a view exists, what is in memory of it stays there, and the
/// tables that it reads stay on disk, also those that a compaction has replaced.
#[derive(Clone, Debug)]
pub struct StateView {
    /// The newest record of each key since the last freeze, tombstones included.
    pub(super) tail: Tail,
    /// What was the tail before; empty when no compaction runs.
    pub(super) frozen: Tail,
    /// Everything before.
    pub(super) base: Arc<TableSet>,
    /// Of both keyspaces.
    pub(super) keys: u64,
    /// How many of them are reserved.
    pub(super) reserved_keys: u64,
    pub(super) last_applied: Option<LogIndex>,
    pub(super) last_timestamp: Timestamp,
    pub(super) live_bytes: u64,
    pub(super) sessions: Sessions,
    /// Whether any key may have a time, so that sets have to look. Not part of the state.
    pub(super) has_times: bool,
    /// Nothing is due before it: what was has been removed by entries that this replica applied,
    /// and later ones name later moments. Whoever looks for what is due begins here, and not at the
    /// tombstones of all that went since they were last merged. Not part of the state.
    pub(super) due_floor: Timestamp,
    /// Where scans need not look. Not part of the state.
    pub(super) gaps: Gaps,
    /// How many of the tails that were set aside are in tables. Not part of the state.
    pub(super) written: u64,
}

/// What can be told of a key without reading from disk.
#[derive(Debug)]
pub enum Resident {
    /// Its value, or that it is not there.
    Known(Option<Value>),
    /// It may be in these tables.
    InTables(Arc<TableSet>),
}

impl Resident {
    /// What tables say of a key.
    pub(crate) fn of(tables: &Arc<TableSet>, key: &[u8]) -> Self {
        if tables.is_empty() {
            return Self::Known(None);
        }
        match tables.cached_value(key) {
            Cached::Value(value) => Self::Known(Some(Value::from(value))),
            Cached::Removed | Cached::Absent => Self::Known(None),
            Cached::NeedsRead => Self::InTables(Arc::clone(tables)),
        }
    }
}

impl Default for StateView {
    fn default() -> Self {
        Self {
            tail: Tail::default(),
            frozen: Tail::default(),
            base: TableSet::empty(),
            keys: 0,
            reserved_keys: 0,
            last_applied: None,
            last_timestamp: Timestamp::default(),
            live_bytes: 0,
            sessions: Sessions::default(),
            has_times: false,
            due_floor: Timestamp::default(),
            gaps: Gaps::default(),
            written: 0,
        }
    }
}

pub(super) fn versioned(record: Record) -> Option<Versioned> {
    let Record { value, version, timestamp } = record;
    Some(Versioned { value: Value::from(value?), version, timestamp })
}

impl StateView {
    /// The value of `key`. Copies nothing, but for what [`Value`] names; reads at most one block of
    /// each table that may have it.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StorageError> {
        match self.get_resident(key) {
            Resident::Known(value) => Ok(value),
            Resident::InTables(tables) => {
                Ok(tables.get(key)?.and_then(|record| record.value).map(Value::from))
            }
        }
    }

    /// As [`Self::get`], without ever waiting for the disk.
    #[must_use]
    pub fn get_resident(&self, key: &[u8]) -> Resident {
        if is_reserved(key) {
            return Resident::Known(None);
        }
        self.resident(key, self.tail.get(key))
    }

    /// As [`Self::get_resident`], where this is what the newest layer has of a plain key.
    pub(super) fn resident(&self, key: &[u8], newest: Option<&Record>) -> Resident {
        match newest.or_else(|| self.frozen.get(key)) {
            Some(record) => Resident::Known(record.value.clone().map(Value::from)),
            None => Resident::of(&self.base, key),
        }
    }

    /// The value of `key` with its version and stamp.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn get_versioned(&self, key: &[u8]) -> Result<Option<Versioned>, StorageError> {
        if is_reserved(key) {
            return Ok(None);
        }
        Ok(self.record(key)?.and_then(versioned))
    }

    /// Whether `key` exists.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn contains(&self, key: &[u8]) -> Result<bool, StorageError> {
        Ok(!is_reserved(key) && self.record(key)?.is_some_and(|record| !record.is_tombstone()))
    }

    /// The newest record of `key` in any layer.
    pub(super) fn record(&self, key: &[u8]) -> Result<Option<Record>, StorageError> {
        match self.in_memory(key) {
            Some(record) => Ok(Some(record.clone())),
            None => self.base.get(key),
        }
    }

    /// As [`Self::record`], for whoever only wants to know that it can be read.
    pub(super) fn look_at(&self, key: &[u8]) -> Result<(), StorageError> {
        if self.in_memory(key).is_none() {
            self.base.get(key)?;
        }
        Ok(())
    }

    fn layers(&self) -> Layers<'_> {
        let Self { tail, frozen, base, gaps, .. } = self;
        Layers { tail, frozen, base, gaps: Some(gaps) }
    }

    /// The newest record of `key` that is in memory, of either keyspace; where there is none, what
    /// is in tables counts.
    pub(crate) fn in_memory(&self, key: &[u8]) -> Option<&Record> {
        self.tail.get(key).or_else(|| self.frozen.get(key))
    }

    /// What the layers below the tail have of `key`.
    pub(super) fn below(&self, key: &[u8]) -> Result<Option<Record>, StorageError> {
        match self.frozen.get(key) {
            Some(record) => Ok(Some(record.clone())),
            None => self.base.get(key),
        }
    }

    /// Whether a layer below the tail may have something of `key` that counts where the tail has no
    /// row of it. Reads nothing from disk.
    pub(super) fn may_be_below(&self, key: &[u8]) -> bool {
        self.tail.cuts().tombstone_of(key).is_none()
            && (self.frozen.get(key).is_some() || self.base.may_contain(key))
    }

    /// Whether all of the state is in the tail.
    pub(super) fn is_tail_only(&self) -> bool {
        self.frozen.is_empty() && self.base.is_empty()
    }

    /// Number of keys, without reserved ones. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.keys.saturating_sub(self.reserved_keys)).unwrap_or(usize::MAX)
    }

    /// Number of reserved keys. O(1).
    #[must_use]
    pub const fn reserved_keys(&self) -> u64 {
        self.reserved_keys
    }

    /// Number of keys of both keyspaces. O(1).
    #[must_use]
    pub fn keys_of_all(&self) -> u64 {
        self.keys
    }

    /// Whether there is no key. O(1).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys == self.reserved_keys
    }

    /// The last entry applied; `None` before the first.
    #[must_use]
    pub fn last_applied(&self) -> Option<LogIndex> {
        self.last_applied
    }

    /// The version of the last entry applied, whether or not it changed a key.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.last_applied.map(Version::from)
    }

    /// The stamp of the last entry applied; zero before the first.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.last_timestamp
    }

    /// Nothing that has a time is due before it; zero where nobody knows.
    #[must_use]
    pub const fn due_floor(&self) -> Timestamp {
        self.due_floor
    }

    /// Bytes of all keys and values, reserved ones included, without what holding them costs. O(1).
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The sessions of clients.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The tables below the tail.
    #[must_use]
    pub fn tables(&self) -> &Arc<TableSet> {
        &self.base
    }

    /// All rows in key order, from either end.
    #[must_use]
    pub fn iter(&self) -> Rows<'_> {
        Rows::new(self, (Bound::Unbounded, Bound::Unbounded))
    }

    /// The rows whose keys begin with `prefix`, in key order, from either end. Costs O(prefix) and
    /// then O(1) a row.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> Rows<'_> {
        Rows::new(self, prefix_range(prefix))
    }

    /// The rows whose keys lie within `bounds`, in key order, from either end; none when the bounds
    /// are the wrong way round. Costs O(log n) and then O(1) a row, as they are asked for.
    ///
    /// For the last ten keys below `"k"`: `view.range(.."k").rev().take(10)`.
    #[must_use]
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Rows<'_> {
        Rows::new(self, owned(&bounds))
    }

    /// The rows within `bounds`, each lent where it stands: see [`Cursor`].
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn cursor<K: AsRef<[u8]>>(
        &self,
        bounds: impl RangeBounds<K>,
        direction: Direction,
    ) -> Result<Cursor<'_>, StorageError> {
        let from = bounds.start_bound().map(AsRef::as_ref);
        let to = bounds.end_bound().map(AsRef::as_ref);
        self.cursor_of_both(self.plain(from, to), direction)
    }

    /// All rows of both keyspaces, as [`Self::cursor_of_all`].
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub(crate) fn cursor_of_everything(&self) -> Result<Cursor<'_>, StorageError> {
        self.cursor_of_all((Bound::Unbounded, Bound::Unbounded))
    }

    /// How many rows there are. Reads all of them.
    pub(super) fn count(&self) -> Result<Counts, StorageError> {
        let (mut keys, mut reserved, mut live_bytes) = (0, 0, 0);
        let mut rows = self.cursor_of_everything()?;
        while let Some(row) = rows.next()? {
            keys += 1;
            reserved += u64::from(is_reserved(row.key));
            live_bytes += (row.key.len() + row.value.len()) as u64;
        }
        Ok(Counts { keys, reserved_keys: Some(reserved), live_bytes })
    }

    /// As [`Self::cursor`], of both keyspaces.
    pub(super) fn cursor_of_both(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Cursor<'_>, StorageError> {
        Cursor::new(self.layers(), bounds, direction)
    }

    /// The rows of both keyspaces within bounds, for applying entries and for looking whether they
    /// can be applied. It looks at whatever lies within the bounds, also where scans know that
    /// there is no row: replay does not know that, and an entry must not get into the log that
    /// replay cannot apply, because what it looks at is damaged.
    pub(crate) fn cursor_of_all(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> Result<Cursor<'_>, StorageError> {
        Cursor::new(Layers { gaps: None, ..self.layers() }, bounds, Direction::Forward)
    }

    /// The rows within bounds, of both keyspaces.
    pub(super) fn rows_of_all(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> Rows<'_> {
        let is_over = is_empty(as_slice(&from), as_slice(&to));
        Rows { view: self, from, to, front: None, back: None, is_over }
    }

    /// The part of these bounds that is not reserved. Where nothing is, that is all of it.
    pub(super) fn plain<'a>(
        &self,
        from: Bound<&'a [u8]>,
        to: Bound<&'a [u8]>,
    ) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
        let beyond = |bound: &Bound<&[u8]>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => is_reserved(key),
            Bound::Unbounded => false,
        };
        if self.reserved_keys == 0 {
            (from, to)
        } else if beyond(&from) {
            (Bound::Included(RESERVED_PREFIX), Bound::Excluded(RESERVED_PREFIX))
        } else if beyond(&to) || matches!(to, Bound::Unbounded) {
            (from, Bound::Excluded(RESERVED_PREFIX))
        } else {
            (from, to)
        }
    }

    /// All rows whose keys begin with `prefix`, in key order. The fastest way to have them all.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn rows_with_prefix(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Value)>, StorageError> {
        let mut cursor = self.cursor_prefix(prefix)?;
        let mut rows = Vec::new();
        while let Some(row) = cursor.next_shared()? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// The rows whose keys begin with `prefix`, in key order, each lent where it stands.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn cursor_prefix(&self, prefix: &[u8]) -> Result<Cursor<'_>, StorageError> {
        let (from, to) = prefix_range(prefix);
        self.cursor_of_both(self.plain(as_slice(&from), as_slice(&to)), Direction::Forward)
    }
}

/// Bounds that keep their keys.
pub(super) fn owned<K: AsRef<[u8]>>(bounds: &impl RangeBounds<K>) -> (Bound<Bytes>, Bound<Bytes>) {
    let owned = |bound: Bound<&K>| bound.map(|key| Bytes::copy_from_slice(key.as_ref()));
    (owned(bounds.start_bound()), owned(bounds.end_bound()))
}

impl<'a> IntoIterator for &'a StateView {
    type Item = Result<(Bytes, Value), StorageError>;
    type IntoIter = Rows<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Keys with their values, in key order, from either end. Nothing is copied. A table that cannot be
/// read is told once, as the last item.
#[derive(Debug)]
pub struct Rows<'a> {
    view: &'a StateView,
    from: Bound<Bytes>,
    to: Bound<Bytes>,
    /// Made when an end is first asked for a row; each stays on the row that it gave last.
    front: Option<Cursor<'a>>,
    back: Option<Cursor<'a>>,
    is_over: bool,
}

impl<'a> Rows<'a> {
    fn new(view: &'a StateView, (from, to): (Bound<Bytes>, Bound<Bytes>)) -> Self {
        let copied = |bound: Bound<&[u8]>| bound.map(Bytes::copy_from_slice);
        let (from, to) = if view.reserved_keys == 0 {
            (from, to)
        } else {
            let (from, to) = view.plain(as_slice(&from), as_slice(&to));
            (copied(from), copied(to))
        };
        view.rows_of_all(from, to)
    }

    fn fetch(&mut self, direction: Direction) -> Result<Option<(Bytes, Value)>, StorageError> {
        let (near, far) = match direction {
            Direction::Forward => (&mut self.front, &self.back),
            Direction::Backward => (&mut self.back, &self.front),
        };
        let cursor = if let Some(cursor) = near {
            cursor
        } else {
            let bounds = (as_slice(&self.from), as_slice(&self.to));
            near.insert(Cursor::new(self.view.layers(), bounds, direction)?)
        };
        let row = cursor.next_shared()?;
        // The other end may have come here already.
        let met = match (&row, far.as_ref().and_then(Cursor::key_given)) {
            (Some((key, _)), Some(other)) if direction == Direction::Forward => **key >= *other,
            (Some((key, _)), Some(other)) => **key <= *other,
            _ => false,
        };
        Ok(row.filter(|_| !met))
    }

    fn give(&mut self, direction: Direction) -> Option<Result<(Bytes, Value), StorageError>> {
        if self.is_over {
            return None;
        }
        let row = self.fetch(direction).transpose();
        self.is_over = !matches!(row, Some(Ok(_)));
        row
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<(Bytes, Value), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.give(Direction::Forward)
    }
}

impl DoubleEndedIterator for Rows<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.give(Direction::Backward)
    }
}

impl FusedIterator for Rows<'_> {}
