//! Reading the reserved keyspace.

use std::ops::Bound;

use bytes::Bytes;

use super::value::{Value, Versioned};
use super::view::{StateView, versioned};
use crate::command::{RESERVED_PREFIX, is_reserved};
use crate::storage::error::StorageError;
use crate::storage::prefix_index::{as_slice, prefix_range};
use crate::storage::record::Direction;

/// The reserved rows of a state, which its other reads do not show: for the parts of this crate
/// that keep records there.
#[derive(Clone, Copy, Debug)]
pub struct Reserved<'a>(&'a StateView);

impl StateView {
    /// The reserved rows.
    #[must_use]
    pub const fn reserved(&self) -> Reserved<'_> {
        Reserved(self)
    }
}

impl Reserved<'_> {
    /// The value of a reserved key with its version and stamp; `None` for a plain key.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StorageError> {
        if !is_reserved(key) {
            return Ok(None);
        }
        Ok(self.0.record(key)?.and_then(versioned))
    }

    /// At most `limit` rows whose keys begin with `prefix` and stand behind `after`, in key order;
    /// none for a plain prefix.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Versioned)>, StorageError> {
        let mut found = Vec::new();
        if !is_reserved(prefix) {
            return Ok(found);
        }
        let (from, to) = prefix_range(prefix);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => as_slice(&from),
        };
        let mut rows = self.0.cursor_of_both((from, as_slice(&to)), Direction::Forward)?;
        while found.len() < limit {
            let Some(row) = rows.next()? else { break };
            let value = Value::from(Bytes::copy_from_slice(row.value));
            let (version, timestamp) = (row.version, row.timestamp);
            found.push((Bytes::copy_from_slice(row.key), Versioned { value, version, timestamp }));
        }
        Ok(found)
    }

    /// How many rows. Reads all of them.
    pub(super) fn count(self) -> Result<u64, StorageError> {
        let bounds = (Bound::Included(RESERVED_PREFIX), Bound::Unbounded);
        let mut rows = self.0.cursor_of_all(bounds)?;
        let mut count = 0;
        while rows.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}
