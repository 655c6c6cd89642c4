//! The rows of the state that a watcher begins with.

use std::collections::VecDeque;

use bytes::Bytes;

use super::event::WatchEvent;
use super::shown::Shown;
use crate::error::Result;
use crate::state::{StateView, Versioned};

/// How much of them is in memory at once, beside the state itself.
const CHUNK_BYTES: usize = 64 << 10;

/// The rows of one state under a prefix, in key order. Keeps the state.
#[derive(Debug)]
pub(super) struct StateRows {
    view: StateView,
    /// The last row that was fetched.
    after: Option<Bytes>,
    fetched: VecDeque<(Bytes, Versioned)>,
}

impl StateRows {
    pub(super) const fn new(view: StateView) -> Self {
        Self { view, after: None, fetched: VecDeque::new() }
    }

    /// The state.
    pub(super) const fn view(&self) -> &StateView {
        &self.view
    }

    /// The next row; `None` when all were given.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read. The next call tries again.
    pub(super) fn next(&mut self, shown: &Shown) -> Result<Option<WatchEvent>> {
        if self.fetched.is_empty() {
            let rows = self.view.rows_behind(shown.prefix(), self.after.as_deref(), CHUNK_BYTES)?;
            self.fetched = rows.into();
            if let Some((key, _)) = self.fetched.back() {
                self.after = Some(key.clone());
            }
        }
        Ok(self.fetched.pop_front().map(|(key, row)| {
            let Versioned { value, version, timestamp } = row;
            let (key, value) = (shown.key(&key), shown.value(&value.into_bytes()).into());
            WatchEvent::Row { key, value, version, timestamp }
        }))
    }
}
