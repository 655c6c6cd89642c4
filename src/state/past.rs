//! A state of the past: an earlier one, and what entries changed since.

use bytes::Bytes;

use super::gaps::Gaps;
use super::sessions::Sessions;
use super::view::StateView;
use crate::command::is_reserved;
use crate::storage::record::Record;
use crate::types::{LogIndex, Timestamp, Version};

/// What an entry made of one row.
#[derive(Clone, Copy, Debug)]
pub struct RowChange<'a> {
    /// The key, of either keyspace.
    pub key: &'a [u8],
    /// Its new value; `None`: it was removed.
    pub value: Option<&'a [u8]>,
    /// Bytes of the value that it had before; `None`: there was none.
    pub before: Option<u32>,
    /// The entry.
    pub version: Version,
    /// Its stamp.
    pub timestamp: Timestamp,
}

/// A state that is led on from an earlier one, change by change, without applying a command.
///
/// Only rows are: the sessions of clients are not part of what changes tell, so that a state of the
/// past has none.
#[derive(Clone, Debug)]
pub struct PastState {
    view: StateView,
}

impl PastState {
    /// Begins with an earlier state.
    #[must_use]
    pub fn new(mut earlier: StateView) -> Self {
        earlier.sessions = Sessions::default();
        // What changes bring was not made by applying commands here.
        earlier.due_floor = Timestamp::default();
        // Changes go past what closes gaps.
        earlier.gaps = Gaps::default();
        Self { view: earlier }
    }

    /// Takes in a change; they come in the order of the log. Copies key and value: what is read
    /// from the archive shares a larger buffer. Cost: that of applying a set.
    ///
    /// Returns false when it cannot follow: then the state is of no use.
    #[must_use]
    pub fn change(&mut self, change: RowChange<'_>) -> bool {
        let RowChange { key, value, before, version, timestamp } = change;
        let bytes = |value: usize| (key.len() + value) as u64;
        let gone = before.map_or(0, |before| bytes(usize::try_from(before).unwrap_or(usize::MAX)));
        let come = value.map_or(0, |value| bytes(value.len()));
        let (was, is) = (u64::from(before.is_some()), u64::from(value.is_some()));
        let view = &mut self.view;
        let moved = |count: u64, gone, come| count.checked_add(come)?.checked_sub(gone);
        let reserved = if is_reserved(key) { (was, is) } else { (0, 0) };
        let (Some(keys), Some(reserved_keys), Some(live_bytes)) = (
            moved(view.keys, was, is),
            moved(view.reserved_keys, reserved.0, reserved.1),
            moved(view.live_bytes, gone, come),
        ) else {
            return false;
        };
        (view.keys, view.reserved_keys, view.live_bytes) = (keys, reserved_keys, live_bytes);
        let value = value.map(Bytes::copy_from_slice);
        view.tail.insert(Bytes::copy_from_slice(key), Record { value, version, timestamp });
        true
    }

    /// The state after entry `last`, whose stamp is `timestamp`.
    #[must_use]
    pub fn finish(mut self, last: LogIndex, timestamp: Timestamp) -> StateView {
        self.view.last_applied = Some(last);
        self.view.last_timestamp = timestamp;
        self.view
    }
}
