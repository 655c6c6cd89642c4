//! Applying entries to the state, in log order.

use std::sync::Arc;

use super::changes::{Changes, check, tail_bytes_of};
use super::digest::StateDigest;
use super::outcome::{Applied, CheckResult, Outcome};
use super::run::{Logged, NotInOrder, Run};
use super::view::StateView;
use crate::command::Command;
use crate::storage::error::StorageError;
use crate::storage::index::Index;
use crate::storage::record::{Direction, Record};
use crate::storage::table_set::TableSet;
use crate::types::{LogIndex, Timestamp, Version};

/// Why an entry could not be applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing was changed.
    #[error(transparent)]
    NotInOrder(#[from] NotInOrder),
    /// A table that the entry looks at cannot be read. The entry may be applied in part: the state
    /// is of no more use.
    #[error(transparent)]
    Unreadable(#[from] StorageError),
}

/// What a state begins with: everything up to one entry.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The rows.
    pub tables: Arc<TableSet>,
    /// How many keys they have.
    pub keys: u64,
    /// Bytes of their keys and values.
    pub live_bytes: u64,
    /// The last entry in it.
    pub last_applied: Option<LogIndex>,
    /// The stamp of that entry.
    pub last_timestamp: Timestamp,
}

/// The state that the entries applied so far have made; a clone is O(1).
///
/// It is read through [`as_view`](Self::as_view), and kept as it is with [`view`](Self::view).
///
/// It is a function of the entries (rule R1): tables never change, so reading one is no more than
/// looking at an argument, and how rows are spread over tail and tables is not part of the state.
///
/// Invariants: no row's version is after the last applied index, none's stamp after the last stamp,
/// and `live_bytes` is the sum of all keys and values.
#[derive(Clone, Debug, Default)]
pub struct KvState {
    now: StateView,
    /// Memory that the tail takes, roughly.
    tail_bytes: u64,
    /// That of the frozen one.
    frozen_bytes: u64,
}

impl KvState {
    /// The state before any entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state that a checkpoint holds. O(1).
    #[must_use]
    pub fn from_checkpoint(checkpoint: Checkpoint) -> Self {
        let Checkpoint { tables, keys, live_bytes, last_applied, last_timestamp } = checkpoint;
        let now = StateView {
            base: tables,
            keys,
            live_bytes,
            last_applied,
            last_timestamp,
            ..StateView::default()
        };
        Self { now, ..Self::default() }
    }

    /// Sets the tail aside, to be written to a table, and begins a new one. O(1). Does nothing
    /// while another is set aside.
    pub fn freeze(&mut self) {
        if self.now.frozen.is_empty() {
            self.now.frozen = std::mem::take(&mut self.now.tail);
            self.frozen_bytes = std::mem::take(&mut self.tail_bytes);
        }
    }

    /// Puts other tables with the same rows below the tail. `written` says that they hold the
    /// frozen tail, too, which is given back: dropping it takes time.
    pub fn rebase(
        &mut self,
        tables: Arc<TableSet>,
        written: bool,
    ) -> (Index<Record>, Arc<TableSet>) {
        let mut frozen = Index::new();
        if written {
            frozen = std::mem::take(&mut self.now.frozen);
            self.frozen_bytes = 0;
        }
        (frozen, std::mem::replace(&mut self.now.base, tables))
    }

    /// Rows that were set aside, in key order, tombstones included.
    #[must_use]
    pub fn frozen(&self) -> Index<Record> {
        self.now.frozen.clone()
    }

    /// Whether anything is in memory only.
    #[must_use]
    pub fn has_tail(&self) -> bool {
        !self.now.tail.is_empty() || !self.now.frozen.is_empty()
    }

    /// Memory that the tail takes, roughly, without the frozen one. O(1).
    #[must_use]
    pub fn tail_bytes(&self) -> u64 {
        self.tail_bytes
    }

    /// Memory that the frozen tail takes, roughly. O(1).
    #[must_use]
    pub fn frozen_bytes(&self) -> u64 {
        self.frozen_bytes
    }

    /// The state as it is now, to read.
    #[must_use]
    pub fn as_view(&self) -> &StateView {
        &self.now
    }

    /// The state as it is now, to keep. O(1); later entries do not change it.
    #[must_use]
    pub fn view(&self) -> StateView {
        self.now.clone()
    }

    /// The digest of the state as it is now. O(n).
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn digest(&self) -> Result<StateDigest, StorageError> {
        StateDigest::of(&self.now)
    }

    /// Applies the command of entry `index`, whose proposer's clock said `clock`.
    ///
    /// The entry's stamp is the greater of `clock` and the last stamp, whatever the outcome.
    /// Indexes may have gaps. The state takes over the command's buffers.
    ///
    /// # Errors
    ///
    /// `NotInOrder` when `index` is not behind the last entry applied. An entry is not applied
    /// twice: replay after a snapshot begins behind it. `Unreadable`, which
    /// [`check`](Self::check) tells beforehand.
    ///
    /// # Panics
    ///
    /// On anything but sets and deletes within a batch, and on anything but a change within a
    /// session: such a command can be neither proposed nor decoded.
    pub fn apply(
        &mut self,
        index: LogIndex,
        clock: Timestamp,
        command: Command,
    ) -> Result<Applied, ApplyError> {
        let timestamp = self.apply_blank(index, clock)?;
        Ok(self.step(index, timestamp, command)?)
    }

    /// Does what the command of an entry with this stamp says.
    fn step(
        &mut self,
        index: LogIndex,
        timestamp: Timestamp,
        command: Command,
    ) -> Result<Applied, StorageError> {
        let outcome = match command {
            Command::OpenSession { .. } | Command::InSession { .. } => Outcome::SessionExpired,
            Command::CloseSession { .. } => Outcome::NotFound,
            Command::Check { .. } => Outcome::Checked(CheckResult::Unknown),
            change => return self.changes(index, timestamp).all(change),
        };
        Ok(Applied { outcome, version: Version::from(index), timestamp, stale_bytes: 0 })
    }

    /// Whether everything can be read that applying `command` would look at. What was read is
    /// cached, so that applying it at once reads nothing more.
    ///
    /// A command that would have to look at damaged rows must not get into the log, where every
    /// replay would meet it.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn check(&self, command: &Command) -> Result<(), StorageError> {
        check(&self.now, command)
    }

    fn changes(&mut self, index: LogIndex, timestamp: Timestamp) -> Changes<'_> {
        Changes::new(&mut self.now, &mut self.tail_bytes, Version::from(index), timestamp)
    }

    /// Applies a run of entries: the same as [`Self::apply`] one by one, and much cheaper for many.
    /// `told` learns what each did and how many bytes it has in the log, in any order.
    ///
    /// # Errors
    ///
    /// As [`Self::apply`], for the first entry of the run; then nothing is changed.
    ///
    /// # Panics
    ///
    /// As [`Self::apply`].
    pub fn apply_run(
        &mut self,
        run: Run,
        mut told: impl FnMut(&Applied, usize),
    ) -> Result<(), ApplyError> {
        let Some((first, last, clock)) = run.span else {
            return Ok(());
        };
        self.check_order(first)?;
        let before = self.now.last_timestamp;
        self.apply_blank(last, clock)?;
        for Logged { index, clock, command, payload_bytes } in run.entries {
            let timestamp = before.max(clock);
            told(&self.step(index, timestamp, command)?, payload_bytes);
        }
        Ok(())
    }

    fn check_order(&self, got: LogIndex) -> Result<(), NotInOrder> {
        match self.now.last_applied {
            Some(last) if got <= last => Err(NotInOrder { last, got }),
            _ => Ok(()),
        }
    }

    /// Applies an entry that changes no key: a blank one, or a membership. Returns its stamp.
    ///
    /// # Errors
    ///
    /// That `index` is not behind the last entry applied.
    pub fn apply_blank(
        &mut self,
        index: LogIndex,
        clock: Timestamp,
    ) -> Result<Timestamp, NotInOrder> {
        self.check_order(index)?;
        self.now.last_applied = Some(index);
        self.now.last_timestamp = self.now.last_timestamp.max(clock);
        Ok(self.now.last_timestamp)
    }

    /// Checks the invariants. O(n), for tests and for debugging.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    ///
    /// # Panics
    ///
    /// When one does not hold.
    pub fn validate(&self) -> Result<(), StorageError> {
        let now = &self.now;
        now.tail.validate();
        now.frozen.validate();
        let (mut keys, mut live_bytes) = (0, 0);
        let mut rows = now.cursor::<&[u8]>(.., Direction::Forward)?;
        while let Some(row) = rows.next()? {
            keys += 1;
            live_bytes += (row.key.len() + row.value.len()) as u64;
            assert!(Some(row.version) <= now.version(), "a row from the future");
            assert!(row.timestamp <= now.last_timestamp, "a stamp from the future");
        }
        assert_eq!(now.keys, keys, "keys");
        assert_eq!(now.live_bytes, live_bytes, "live bytes");
        let sizes = now.tail.iter().map(|(key, record)| tail_bytes_of(key, record));
        assert_eq!(self.tail_bytes, sizes.sum::<u64>(), "bytes of the tail");
        Ok(())
    }
}
