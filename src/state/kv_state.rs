//! Applying entries to the state, in log order.

use std::sync::Arc;

use super::changes::{Changes, Found, TAIL_ROW_BYTES, check, tail_bytes_of};
use super::check::{Sum, Tracker};
use super::digest::StateDigest;
use super::effects::Effects;
use super::leases;
use super::met_rows::TABLE_ROW_BYTES;
use super::outcome::{Applied, CheckResult, Outcome};
use super::run::{Logged, NotInOrder, Order, Run, Told};
use super::sessions::{Admission, Place, Sessions};
use super::tail::Tail;
use super::view::{Counts, StateView};
use crate::command::{Command, SessionId, StateCheck, is_reserved};
use crate::storage::error::StorageError;
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

/// What applying a command will find, as [`StateView::check`] has seen it.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    found: Option<Found>,
    /// How often the tail had been set aside.
    freezes: u64,
    tombstone_bytes: u64,
}

impl Looked {
    /// Bytes that tables take, at most, for keys that the command removes without naming them: the
    /// log has next to nothing of those.
    #[must_use]
    pub const fn tombstone_bytes(&self) -> u64 {
        self.tombstone_bytes
    }
}

impl StateView {
    /// As [`KvState::check`], where this is its state: for whoever must not hold that up.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn check(&self, command: &Command) -> Result<Looked, StorageError> {
        let (found, tombstone_bytes) = if command.is_about_time() {
            (None, leases::check(self, command)?)
        } else {
            check(self, command)?
        };
        Ok(Looked { found, freezes: self.gaps.freezes(), tombstone_bytes })
    }
}

/// What a state begins with: everything up to one entry.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The rows.
    pub tables: Arc<TableSet>,
    /// How many there are; `None`: they are to be counted.
    pub counts: Option<Counts>,
    /// The last entry in it.
    pub last_applied: Option<LogIndex>,
    /// The stamp of that entry.
    pub last_timestamp: Timestamp,
    /// [`StateView::due_floor`] of then; zero where nobody knows.
    pub due_floor: Timestamp,
    /// The sessions of clients.
    pub sessions: Sessions,
    /// The sum over all rows, where it is known: then the digest is tracked.
    pub sum: Option<Sum>,
}

/// The state that the entries applied so far have made.
///
/// It is read through [`as_view`](Self::as_view), and kept as it is with [`view`](Self::view).
///
/// It is a function of the entries (rule R1): tables never change, so reading one is no more than
/// looking at an argument, and how rows are spread over tail and tables is not part of the state.
///
/// Invariants: no row's version is after the last applied index, none's stamp after the last stamp,
/// and `live_bytes` is the sum of all keys and values.
#[derive(Debug, Default)]
pub struct KvState {
    now: StateView,
    /// Memory that the tail takes, roughly.
    tail_bytes: u64,
    /// That of the frozen one.
    frozen_bytes: u64,
    /// The digest, while it is tracked.
    tracker: Option<Tracker>,
    /// The first entry of which a check has found that it left another state here than elsewhere.
    /// Not part of the state: it says something of this replica.
    diverged: Option<LogIndex>,
}

#[cfg(test)]
impl Clone for KvState {
    fn clone(&self) -> Self {
        // What readers of one find is not so in the other.
        let now = StateView { gaps: self.now.gaps.apart(), ..self.now.clone() };
        let (tracker, diverged) = (self.tracker.clone(), self.diverged);
        Self { now, tracker, diverged, ..*self }
    }
}

impl KvState {
    /// The state before any entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state that a checkpoint holds. O(1), but that rows are read where nobody has counted
    /// them, and where any is reserved it is looked whether one is the time of a key.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when rows are to be counted and cannot be read.
    pub fn from_checkpoint(checkpoint: Checkpoint) -> Result<Self, StorageError> {
        let Checkpoint { tables, counts, last_applied, last_timestamp, due_floor, sessions, sum } =
            checkpoint;
        let tail = if tables.is_empty() { Tail::default() } else { Tail::above() };
        let mut now = StateView {
            tail,
            base: tables,
            last_applied,
            last_timestamp,
            due_floor,
            sessions,
            ..StateView::default()
        };
        let Counts { keys, reserved_keys, live_bytes } = match counts {
            Some(counts) => counts,
            None => now.count()?,
        };
        (now.keys, now.live_bytes) = (keys, live_bytes);
        now.reserved_keys = match reserved_keys {
            Some(reserved) => reserved,
            None => now.reserved().count()?,
        };
        // Where that cannot be read, sets look for times: of keys without one that changes nothing,
        // and of the others a set that would have to know is refused.
        now.has_times = now.any_time().unwrap_or(true);
        Ok(Self { now, tracker: sum.map(Tracker::new), ..Self::default() })
    }

    /// Sets the tail aside, to be written to a table, and begins a new one. O(1). Does nothing
    /// while another is set aside.
    pub fn freeze(&mut self) {
        if self.now.frozen.is_empty() {
            self.now.frozen = std::mem::replace(&mut self.now.tail, Tail::above());
            self.frozen_bytes = std::mem::take(&mut self.tail_bytes);
            self.now.gaps.froze();
        }
    }

    /// Puts other tables with the same rows below the tail. `written` says that they hold the
    /// frozen tail, too, which is given back: dropping it takes time.
    pub fn rebase(&mut self, tables: Arc<TableSet>, written: bool) -> (Tail, Arc<TableSet>) {
        let mut frozen = Tail::default();
        if written {
            frozen = std::mem::take(&mut self.now.frozen);
            self.frozen_bytes = 0;
            self.now.written = self.now.gaps.freezes();
        } else {
            self.now.gaps.forget();
        }
        (frozen, std::mem::replace(&mut self.now.base, tables))
    }

    /// The tail that was set aside.
    #[must_use]
    pub fn frozen(&self) -> Tail {
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

    /// Bytes that a table of what is in memory only takes, roughly and rather more. O(1).
    #[must_use]
    pub fn unwritten_bytes(&self) -> u64 {
        let StateView { tail, frozen, .. } = &self.now;
        let rows = (tail.rows().len() + frozen.rows().len()) as u64;
        let in_memory = self.tail_bytes + self.frozen_bytes;
        let hidden = tail.cuts().hidden().and(frozen.cuts().hidden());
        in_memory.saturating_sub(rows * TAIL_ROW_BYTES)
            + (rows + hidden.rows) * TABLE_ROW_BYTES
            + hidden.key_bytes
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

    /// Tracks the digest from now on: O(n) to begin with, for a scan of the state, unless it is
    /// tracked already; some tens of nanoseconds for each row that an entry changes.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn track_digest(&mut self) -> Result<(), StorageError> {
        if self.tracker.is_none() {
            self.tracker = Some(Tracker::new(sum_of(&self.now)?));
        }
        Ok(())
    }

    /// Tracks the digest no longer. O(1).
    pub fn forget_digest(&mut self) {
        self.tracker = None;
    }

    /// The digest of the state as it is now; `None` unless it is tracked. O(1).
    #[must_use]
    pub fn state_check(&self) -> Option<StateCheck> {
        self.tracker.as_ref().map(|tracker| tracker.digest(self.now.sessions.sum()))
    }

    /// The sum over all rows, for a checkpoint; `None` unless the digest is tracked. O(1).
    #[must_use]
    pub fn sum(&self) -> Option<Sum> {
        self.tracker.as_ref().map(|tracker| tracker.rows)
    }

    /// The digest of the state after entry `index`. It is known of the newest
    /// [`CHECKS_KEPT`](super::CHECKS_KEPT) multiples of [`CHECK_INTERVAL`](super::CHECK_INTERVAL)
    /// that were applied while the digest was tracked.
    #[must_use]
    pub fn recorded(&self, index: LogIndex) -> Option<StateCheck> {
        self.tracker.as_ref()?.recorded(index)
    }

    /// The first entry of which a check has found that the state after it was another here than on
    /// most of the voters, or that no majority had the same.
    ///
    /// It is about this replica since it was made, and not part of the state: no checkpoint holds
    /// it, and it is for whoever owns the replica to stop it and to write no snapshot.
    #[must_use]
    pub const fn diverged(&self) -> Option<LogIndex> {
        self.diverged
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
        self.apply_telling(index, clock, command, Looked::default()).map(|(applied, _)| applied)
    }

    /// As [`Self::apply`]; tells what was changed, too. `looked` is what [`Self::check`] has seen
    /// for this command, if nothing was applied since: then it is not looked up again.
    ///
    /// # Errors
    ///
    /// As [`Self::apply`].
    ///
    /// # Panics
    ///
    /// As [`Self::apply`].
    pub fn apply_telling(
        &mut self,
        index: LogIndex,
        clock: Timestamp,
        command: Command,
        looked: Looked,
    ) -> Result<(Applied, Effects), ApplyError> {
        let at = self.begin(index, clock)?;
        Ok(self.apply_begun(at, command, looked)?)
    }

    /// Makes entry `index` the last one applied, and says where that is. The caller goes on with
    /// [`Self::apply_begun`].
    ///
    /// # Errors
    ///
    /// That `index` is not behind the last entry applied. Then nothing is changed.
    pub(crate) fn begin(&mut self, index: LogIndex, clock: Timestamp) -> Result<Place, NotInOrder> {
        Ok(Place { index, timestamp: self.advance(index, clock)? })
    }

    /// Does what the command of the entry says that was just begun; the rest is as in
    /// [`Self::apply_telling`].
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Io`: the state is of no more use.
    ///
    /// # Panics
    ///
    /// As [`Self::apply`].
    pub(crate) fn apply_begun(
        &mut self,
        at: Place,
        command: Command,
        looked: Looked,
    ) -> Result<(Applied, Effects), StorageError> {
        // The tail may have been set aside since, and other tables put below it. Of these two only
        // the first changes which layer has a row.
        let found = looked.found.filter(|_| looked.freezes == self.now.gaps.freezes());
        let told = self.step(at, command, found);
        if told.is_ok() {
            self.note(at.index);
        }
        told
    }

    /// Does what the command of an entry says.
    fn step(
        &mut self,
        at: Place,
        command: Command,
        found: Option<Found>,
    ) -> Result<(Applied, Effects), StorageError> {
        let sessions = &mut self.now.sessions;
        let outcome = match command {
            Command::OpenSession { session } => sessions.open(session, at),
            Command::CloseSession { session } => sessions.close(session, at),
            Command::InSession { session, request, command } => {
                return self.in_session(session, request, *command, at);
            }
            Command::Check { index, digest } => Outcome::Checked(self.compare(index, digest)),
            timed if timed.is_about_time() => return leases::apply(self.changes(at), timed),
            change => return self.changes(at).knowing(found).all(change),
        };
        let (version, timestamp) = (Version::from(at.index), at.timestamp);
        Ok((Applied { outcome, version, timestamp, stale_bytes: 0 }, Effects::default()))
    }

    /// Applies a request, unless it was applied before.
    fn in_session(
        &mut self,
        session: SessionId,
        request: u64,
        command: Command,
        at: Place,
    ) -> Result<(Applied, Effects), StorageError> {
        match self.now.sessions.admit(session, request, at) {
            Admission::New => {
                let (applied, effects) = self.changes(at).all(command)?;
                self.now.sessions.keep(session, request, applied, at);
                Ok((applied, effects))
            }
            Admission::Answered(applied) => Ok((applied, Effects::default())),
            Admission::Refused(outcome) => {
                let (version, timestamp) = (Version::from(at.index), at.timestamp);
                let applied = Applied { outcome, version, timestamp, stale_bytes: 0 };
                Ok((applied, Effects::default()))
            }
        }
    }

    /// Holds a digest that was agreed on against the own one.
    fn compare(&mut self, index: LogIndex, digest: Option<StateCheck>) -> CheckResult {
        let result = match (digest, self.recorded(index)) {
            (Some(agreed), Some(own)) if agreed == own => CheckResult::Equal,
            (Some(_), None) => CheckResult::Unknown,
            (Some(_), Some(_)) | (None, _) => CheckResult::Different,
        };
        if result == CheckResult::Different {
            self.diverged.get_or_insert(index);
        }
        result
    }

    /// Whether everything can be read that applying `command` would look at. What was read is
    /// cached, so that applying it at once reads nothing more; what was seen is given back, so that
    /// it need not be looked up again.
    ///
    /// A command that would have to look at damaged rows must not get into the log, where every
    /// replay would meet it.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn check(&self, command: &Command) -> Result<Looked, StorageError> {
        self.now.check(command)
    }

    fn changes(&mut self, at: Place) -> Changes<'_> {
        let sum = self.tracker.as_mut().map(|tracker| &mut tracker.rows);
        let named = (Version::from(at.index), at.timestamp);
        Changes::new(&mut self.now, &mut self.tail_bytes, named, sum)
    }

    /// Notes the digest, where it is tracked and the entry is one whose digest is noted.
    fn note(&mut self, index: LogIndex) {
        if let Some(tracker) = &mut self.tracker {
            tracker.note(index, self.now.sessions.sum());
        }
    }

    /// Applies a run of entries: the same as [`Self::apply`] one by one, and much cheaper for many.
    /// `told` learns what each did and changed, in any order.
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
        mut told: impl FnMut(Told<'_>),
    ) -> Result<(), ApplyError> {
        let Some((first, last, clock)) = run.span else {
            return Ok(());
        };
        self.check_order(first)?;
        let before = self.now.last_timestamp;
        self.advance(last, clock)?;
        // In another order than that of the log there is no moment at which the state is that after
        // an entry, so the digests to note are made up from what each entry changes.
        let mut sums = match &self.tracker {
            Some(tracker) if run.order == Order::Keys => Some(tracker.begin_run()),
            _ => None,
        };
        for Logged { index, clock, command, payload_bytes } in run.into_entries() {
            let timestamp = before.max(clock);
            let (applied, effects) = self.step(Place { index, timestamp }, command, None)?;
            told(Told { index, timestamp, applied: &applied, effects, payload_bytes });
            match (&mut sums, &self.tracker) {
                (Some(sums), Some(tracker)) => sums.applied(index, tracker.rows),
                _ => self.note(index),
            }
        }
        if let (Some(sums), Some(tracker)) = (sums, &mut self.tracker) {
            tracker.end_run(sums, self.now.sessions.sum());
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
        let timestamp = self.advance(index, clock)?;
        self.note(index);
        Ok(timestamp)
    }

    /// Makes an entry the last one applied. Returns its stamp.
    fn advance(&mut self, index: LogIndex, clock: Timestamp) -> Result<Timestamp, NotInOrder> {
        self.check_order(index)?;
        self.now.gaps.take_found(self.now.tail.rows());
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
        let (mut keys, mut reserved, mut live_bytes) = (0, 0, 0);
        let mut rows = now.cursor_of_everything()?;
        while let Some(row) = rows.next()? {
            keys += 1;
            reserved += u64::from(is_reserved(row.key));
            live_bytes += (row.key.len() + row.value.len()) as u64;
            assert!(Some(row.version) <= now.version(), "a row from the future");
            assert!(row.timestamp <= now.last_timestamp, "a stamp from the future");
            assert!(!now.gaps.contain(row.key), "a row where there is none for scans");
        }
        assert_eq!(now.keys, keys, "keys");
        assert_eq!(now.reserved_keys, reserved, "reserved keys");
        assert_eq!(now.live_bytes, live_bytes, "live bytes");
        let sizes = now.tail.rows().iter().map(|(key, record)| tail_bytes_of(key, record));
        assert_eq!(self.tail_bytes, sizes.sum::<u64>(), "bytes of the tail");
        now.validate_times()?;
        now.sessions.validate();
        for (id, session) in now.sessions.iter() {
            assert!(Some(session.used) <= now.last_applied, "{id} was used in the future");
            assert!(session.used_at <= now.last_timestamp, "{id} was used in the future");
        }
        if let Some(tracker) = &self.tracker {
            assert_eq!(tracker.rows, sum_of(now)?, "sum over the rows");
        }
        Ok(())
    }
}

/// The sum over all rows. O(n).
fn sum_of(view: &StateView) -> Result<Sum, StorageError> {
    let mut sum = Sum::default();
    let mut rows = view.cursor_of_everything()?;
    while let Some(row) = rows.next()? {
        sum.add(Sum::of_row(row.key, row.value, row.version, row.timestamp));
    }
    Ok(sum)
}
