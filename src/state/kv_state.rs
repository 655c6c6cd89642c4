//! Applying entries to the state, in log order.

use bytes::Bytes;

use super::digest::StateDigest;
use super::outcome::{Applied, Outcome};
use super::rows::{ChunkRows, RowsError};
use super::run::{Logged, NotInOrder, Run};
use super::view::{Record, StateView};
use crate::command::{Command, Condition, Guard};
use crate::storage::index::{Index, Inserted, NotAscending};
use crate::storage::prefix_index;
use crate::types::{LogIndex, Timestamp, Version};

/// The state that the entries applied so far have made; a clone is O(1).
///
/// It is read through [`as_view`](Self::as_view), and kept as it is with [`view`](Self::view).
///
/// Invariants: no row's version is after the last applied index, none's stamp after the last stamp,
/// and `live_bytes` is the sum of all keys and values.
#[derive(Clone, Debug, Default)]
pub struct KvState {
    now: StateView,
}

impl KvState {
    /// The state before any entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state that some rows make: chunks as [`RowChunks`](super::rows::RowChunks) gave them,
    /// and the last entry and stamp that they were taken at. Copies the rows; costs O(n).
    ///
    /// # Errors
    ///
    /// Why the chunks are not the rows of such a state. Any bytes give a state or an error.
    pub fn from_rows(
        chunks: impl IntoIterator<Item = Bytes>,
        last_applied: Option<LogIndex>,
        last_timestamp: Timestamp,
    ) -> Result<Self, RowsError> {
        let mut live_bytes = 0;
        let mut failed = None;
        let rows = chunks.into_iter().enumerate().flat_map(|(chunk, bytes)| {
            let belongs = move |record: &Record| {
                let in_time = last_applied.is_some_and(|last| record.version.0 <= last.0);
                if in_time && record.timestamp <= last_timestamp {
                    return Ok(());
                }
                Err(RowsError::FromTheFuture {
                    chunk,
                    version: record.version,
                    timestamp: record.timestamp,
                })
            };
            ChunkRows::new(chunk, bytes).map(move |row| {
                let (key, record) = row?;
                belongs(&record).map(|()| (key, record))
            })
        });
        let rows = rows.map_while(|row| match row {
            Ok((key, record)) => {
                live_bytes += bytes_of(&key, &record);
                Some((key, record))
            }
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let built = Index::from_sorted(rows);
        if let Some(error) = failed {
            return Err(error);
        }
        let rows = built.map_err(|NotAscending { row }| RowsError::NotAscending { row })?;
        let now = StateView { rows, last_applied, last_timestamp, live_bytes };
        Ok(Self { now })
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
    #[must_use]
    pub fn digest(&self) -> StateDigest {
        StateDigest::of(&self.now)
    }

    /// Applies the command of entry `index`, whose proposer's clock said `clock`.
    ///
    /// The entry's stamp is the greater of `clock` and the last stamp, whatever the outcome.
    /// Indexes may have gaps. The state takes over the command's buffers.
    ///
    /// # Errors
    ///
    /// That `index` is not behind the last entry applied. An entry is not applied twice: replay
    /// after a snapshot begins behind it.
    ///
    /// # Panics
    ///
    /// On a batch within a batch, which can be neither proposed nor decoded.
    pub fn apply(
        &mut self,
        index: LogIndex,
        clock: Timestamp,
        command: Command,
    ) -> Result<Applied, NotInOrder> {
        let timestamp = self.apply_blank(index, clock)?;
        Ok(Changes::new(&mut self.now, Version::from(index), timestamp).all(command))
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
    ) -> Result<(), NotInOrder> {
        let Some((first, last, clock)) = run.span else {
            return Ok(());
        };
        self.check_order(first)?;
        let before = self.now.last_timestamp;
        self.apply_blank(last, clock)?;
        for Logged { index, clock, command, payload_bytes } in run.entries {
            let timestamp = before.max(clock);
            let changes = Changes::new(&mut self.now, Version::from(index), timestamp);
            told(&changes.all(command), payload_bytes);
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
    /// # Panics
    ///
    /// When one does not hold.
    pub fn validate(&self) {
        let now = &self.now;
        now.rows.validate();
        let live_bytes: u64 = now.rows.iter().map(|(key, record)| bytes_of(key, record)).sum();
        assert_eq!(now.live_bytes, live_bytes, "live bytes");
        for (_, record) in &now.rows {
            assert!(Some(record.version) <= now.version(), "a row from the future");
            assert!(record.timestamp <= now.last_timestamp, "a stamp from the future");
        }
    }
}

/// Bytes of a row that count as live.
fn bytes_of(key: &[u8], record: &Record) -> u64 {
    // A length in memory fits.
    u64::try_from(key.len() + record.value.len()).unwrap_or(u64::MAX)
}

/// The changes that one entry makes.
struct Changes<'a> {
    now: &'a mut StateView,
    version: Version,
    timestamp: Timestamp,
    stale_bytes: u64,
}

impl<'a> Changes<'a> {
    fn new(now: &'a mut StateView, version: Version, timestamp: Timestamp) -> Self {
        Self { now, version, timestamp, stale_bytes: 0 }
    }

    /// Makes them. A set that changed nothing tells the version and the stamp that the key keeps.
    fn all(mut self, command: Command) -> Applied {
        let (mut version, mut timestamp) = (self.version, self.timestamp);
        let outcome = match command {
            Command::Batch { guards, commands } => self.batch(&guards, commands),
            Command::Set { key, value } => match self.set(key, value) {
                None => Outcome::Applied,
                Some(kept) => {
                    (version, timestamp) = (kept.version, kept.timestamp);
                    Outcome::Unchanged
                }
            },
            single => self.single(single),
        };
        Applied { outcome, version, timestamp, stale_bytes: self.stale_bytes }
    }

    /// All commands if every guard holds. Guards are looked at before anything is changed.
    fn batch(&mut self, guards: &[Guard], commands: Vec<Command>) -> Outcome {
        let broken = guards.iter().enumerate().find_map(|(at, guard)| {
            let found = self.now.rows.get(&guard.key);
            (!holds(&guard.condition, found)).then(|| Outcome::GuardFailed {
                guard: at,
                found: found.map(|record| record.version),
            })
        });
        if let Some(failed) = broken {
            return failed;
        }
        let mut changed = false;
        for command in commands {
            changed |= self.single(command).changed();
        }
        if changed { Outcome::Applied } else { Outcome::Unchanged }
    }

    fn single(&mut self, command: Command) -> Outcome {
        match command {
            Command::Set { key, value } => match self.set(key, value) {
                None => Outcome::Applied,
                Some(_) => Outcome::Unchanged,
            },
            Command::Delete { key } => self.delete(&key),
            Command::DeletePrefix { prefix } => self.delete_prefix(&prefix),
            Command::Batch { .. } => unreachable!("a batch within a batch was not validated"),
        }
    }

    /// Sets a key; returns what it keeps when it has that value already.
    fn set(&mut self, key: Bytes, value: Bytes) -> Option<Record> {
        let key_bytes = key.len();
        let record = Record { value, version: self.version, timestamp: self.timestamp };
        let bytes = (key_bytes + record.value.len()) as u64;
        let same = |old: &Record, new: &Record| old.value == new.value;
        match self.now.rows.insert_unless(key, record, same) {
            Inserted::New => self.now.live_bytes += bytes,
            Inserted::Kept(kept) => return Some(kept),
            Inserted::Replaced(old) => {
                self.now.live_bytes += bytes;
                self.retire((key_bytes + old.value.len()) as u64);
            }
        }
        None
    }

    fn delete(&mut self, key: &[u8]) -> Outcome {
        match self.now.rows.remove(key) {
            None => Outcome::NotFound,
            Some(old) => {
                self.retire(bytes_of(key, &old));
                Outcome::Removed { keys: 1 }
            }
        }
    }

    fn delete_prefix(&mut self, prefix: &[u8]) -> Outcome {
        let rows = &self.now.rows;
        let keys: Vec<Bytes> = match prefix {
            [] => return self.delete_everything(),
            _ => prefix_index::prefix(rows, prefix).map(|(key, _)| key.clone()).collect(),
        };
        let mut removed = 0;
        for key in &keys {
            removed += u64::from(self.delete(key).changed());
        }
        removed_or_not_found(removed)
    }

    fn delete_everything(&mut self) -> Outcome {
        let all = std::mem::take(&mut self.now.rows);
        self.retire(self.now.live_bytes);
        removed_or_not_found(u64::try_from(all.len()).unwrap_or(u64::MAX))
    }

    fn retire(&mut self, bytes: u64) {
        self.now.live_bytes -= bytes;
        self.stale_bytes += bytes;
    }
}

fn removed_or_not_found(keys: u64) -> Outcome {
    if keys == 0 { Outcome::NotFound } else { Outcome::Removed { keys } }
}

fn holds(condition: &Condition, found: Option<&Record>) -> bool {
    match condition {
        Condition::Absent => found.is_none(),
        Condition::Present => found.is_some(),
        Condition::VersionEquals(version) => found.is_some_and(|record| record.version == *version),
        Condition::ValueEquals(value) => found.is_some_and(|record| record.value == *value),
    }
}
