//! The changes that one entry makes.

use bytes::Bytes;

use super::check::Sum;
use super::effects::{Effects, Recorder, Source};
use super::outcome::{Applied, Outcome};
use super::view::StateView;
use crate::command::keyspace::{is_within_reserved, touches_reserved};
use crate::command::{Command, Condition, Guard};
use crate::storage::error::StorageError;
use crate::storage::index::{Index, Inserted};
use crate::storage::prefix_index::{as_slice, prefix_range};
use crate::storage::record::{Direction, Record};
use crate::types::{Timestamp, Version};

/// What a row of the tail takes in memory besides its bytes: its place in the index, and the heads
/// of the buffers it shares.
const TAIL_ROW_BYTES: u64 = 176;

/// Memory that a row of the tail takes, roughly.
pub(super) fn tail_bytes_of(key: &[u8], record: &Record) -> u64 {
    row_bytes(key, record) + TAIL_ROW_BYTES
}

/// Bytes of a row that count as live while it is.
fn row_bytes(key: &[u8], record: &Record) -> u64 {
    // A length in memory fits.
    (key.len() + record.value_bytes()) as u64
}

/// Bytes of a value, which are less than 2^30.
fn value_len(record: &Record) -> u32 {
    len_of(record.value_bytes())
}

fn len_of(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What a row adds to the digest; nothing where there is none.
fn record_sum(key: &[u8], record: &Record) -> Sum {
    let Record { value, version, timestamp } = record;
    value.as_ref().map_or_else(Sum::default, |value| Sum::of_row(key, value, *version, *timestamp))
}

/// Whether everything that applying `command` would look at can be read.
///
/// # Errors
/// `Corrupt`, `Io`.
pub(super) fn check(view: &StateView, command: &Command) -> Result<(), StorageError> {
    if view.base.is_empty() {
        return Ok(());
    }
    match command {
        Command::Set { key, .. } | Command::Delete { key } => view.look_at(key),
        Command::DeletePrefix { prefix } => {
            let (from, to) = prefix_range(prefix);
            let bounds = (as_slice(&from), as_slice(&to));
            let mut rows = view.cursor_of_all(bounds, Direction::Forward)?;
            while rows.next()?.is_some() {}
            Ok(())
        }
        Command::Batch { guards, commands } => {
            guards.iter().try_for_each(|guard| view.look_at(&guard.key))?;
            commands.iter().try_for_each(|command| check(view, command))
        }
        Command::Reserved(batch) => {
            batch.guards.iter().try_for_each(|guard| view.look_at(&guard.key))?;
            batch.commands.iter().try_for_each(|command| check(view, command))
        }
        // What it holds is a change, so this goes no deeper.
        Command::InSession { command, .. } => check(view, command),
        Command::OpenSession { .. } | Command::CloseSession { .. } | Command::Check { .. } => {
            Ok(())
        }
    }
}

/// One entry at work on the state.
pub(super) struct Changes<'a> {
    now: &'a mut StateView,
    tail_bytes: &'a mut u64,
    version: Version,
    timestamp: Timestamp,
    stale_bytes: u64,
    /// Whether the keys are those of the reserved keyspace.
    reserved: bool,
    /// The sum over all rows, where it is kept.
    sum: Option<&'a mut Sum>,
    /// Notes what is changed.
    recorder: Recorder,
}

impl<'a> Changes<'a> {
    pub(super) fn new(
        now: &'a mut StateView,
        tail_bytes: &'a mut u64,
        (version, timestamp): (Version, Timestamp),
        sum: Option<&'a mut Sum>,
    ) -> Self {
        let recorder = Recorder::default();
        Self { now, tail_bytes, version, timestamp, stale_bytes: 0, reserved: false, sum, recorder }
    }

    /// Makes a change. A set that changed nothing tells which version and stamp the key keeps.
    pub(super) fn all(mut self, command: Command) -> Result<(Applied, Effects), StorageError> {
        let (mut version, mut timestamp) = (self.version, self.timestamp);
        let outcome = match command {
            Command::Reserved(batch) if is_within_reserved(&batch) => {
                self.reserved = true;
                self.batch(&batch.guards, batch.commands)?
            }
            Command::Reserved(_) => Outcome::ReservedKey,
            // Checked here too, so that whoever brings a command past validation reaches nothing.
            plain if touches_reserved(&plain) => Outcome::ReservedKey,
            Command::Batch { guards, commands } => self.batch(&guards, commands)?,
            Command::Set { key, value } => match self.set(key, value)? {
                None => Outcome::Applied,
                Some(kept) => {
                    (version, timestamp) = (kept.version, kept.timestamp);
                    Outcome::Unchanged
                }
            },
            single => self.single(single)?,
        };
        let applied = Applied { outcome, version, timestamp, stale_bytes: self.stale_bytes };
        Ok((applied, self.recorder.finish()))
    }

    /// All commands if every guard holds. Guards are looked at before anything is changed.
    fn batch(&mut self, guards: &[Guard], commands: Vec<Command>) -> Result<Outcome, StorageError> {
        for (at, guard) in guards.iter().enumerate() {
            let found = self.now.record(&guard.key)?.filter(|record| !record.is_tombstone());
            if !holds(&guard.condition, found.as_ref()) {
                let found = found.map(|record| record.version);
                return Ok(Outcome::GuardFailed { guard: at, found });
            }
        }
        let mut changed = false;
        for (at, command) in (0..).zip(commands) {
            self.recorder.begin(Source::At(at));
            changed |= self.single(command)?.changed();
        }
        Ok(if changed { Outcome::Applied } else { Outcome::Unchanged })
    }

    fn single(&mut self, command: Command) -> Result<Outcome, StorageError> {
        match command {
            Command::Set { key, value } => Ok(match self.set(key, value)? {
                None => Outcome::Applied,
                Some(_) => Outcome::Unchanged,
            }),
            Command::Delete { key } => self.delete(key),
            Command::DeletePrefix { prefix } => self.delete_prefix(&prefix),
            Command::Batch { .. } => unreachable!("a batch within a batch was not validated"),
            other => unreachable!("not a change, and not validated: {other:?}"),
        }
    }

    /// Sets a key; returns what it keeps when it has that value already.
    fn set(&mut self, key: Bytes, value: Bytes) -> Result<Option<Record>, StorageError> {
        let record =
            Record { value: Some(value), version: self.version, timestamp: self.timestamp };
        let key_bytes = key.len() as u64;
        let bytes = row_bytes(&key, &record);
        // Layers below count where the tail has nothing of the key.
        let below = if self.now.is_tail_only() || self.now.tail.get(&key).is_some() {
            None
        } else {
            self.now.below(&key)?
        };
        if below.as_ref().is_some_and(|old| old.value == record.value) {
            return Ok(below);
        }
        let summed = self.sum.is_some().then(|| (key.clone(), record_sum(&key, &record)));
        let told = self.recorder.wants_rows().then(|| (key.clone(), record.value.clone()));
        // One search finds the old record and puts the new one in.
        let same = |old: &Record, new: &Record| old.value == new.value;
        let old = match self.now.tail.insert_unless(key, record, same) {
            Inserted::Kept(kept) => return Ok(Some(kept)),
            Inserted::Replaced(old) => {
                *self.tail_bytes += bytes;
                *self.tail_bytes -= key_bytes + old.value_bytes() as u64;
                Some(old)
            }
            Inserted::New => {
                *self.tail_bytes += bytes + TAIL_ROW_BYTES;
                below
            }
        };
        self.now.live_bytes += bytes;
        let old = old.filter(|old| !old.is_tombstone());
        if let (Some(sum), Some((key, new))) = (&mut self.sum, summed) {
            sum.add(new);
            if let Some(old) = &old {
                sum.take_away(record_sum(&key, old));
            }
        }
        self.recorder.changed(old.as_ref().map(value_len), told);
        match old {
            None => self.count_up(),
            Some(old) => self.retire(key_bytes + old.value_bytes() as u64),
        }
        Ok(None)
    }

    fn delete(&mut self, key: Bytes) -> Result<Outcome, StorageError> {
        let Some(old) = self.now.record(&key)?.filter(|old| !old.is_tombstone()) else {
            return Ok(Outcome::NotFound);
        };
        if let Some(sum) = &mut self.sum {
            sum.take_away(record_sum(&key, &old));
        }
        let told = self.recorder.wants_rows().then(|| (key.clone(), None));
        self.recorder.changed(Some(value_len(&old)), told);
        self.retire(row_bytes(&key, &old));
        self.count_down(1);
        self.remove(key);
        Ok(Outcome::Removed { keys: 1 })
    }

    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<Outcome, StorageError> {
        // Everything is read before anything is changed.
        let (from, to) = prefix_range(prefix);
        let bounds = (as_slice(&from), as_slice(&to));
        let mut rows = if self.reserved {
            self.now.cursor_of_all(bounds, Direction::Forward)?
        } else {
            self.now.cursor::<&[u8]>(bounds, Direction::Forward)?
        };
        let mut keys = Vec::new();
        let mut bytes = 0;
        let mut removed = Sum::default();
        while let Some(row) = rows.next()? {
            if self.sum.is_some() {
                removed.add(Sum::of_row(row.key, row.value, row.version, row.timestamp));
            }
            bytes += (row.key.len() + row.value.len()) as u64;
            keys.push((Bytes::copy_from_slice(row.key), len_of(row.value.len())));
        }
        if keys.is_empty() {
            return Ok(Outcome::NotFound);
        }
        if let Some(sum) = &mut self.sum {
            sum.take_away(removed);
        }
        let removed = keys.len() as u64;
        self.retire(bytes);
        self.count_down(removed);
        let named = self.recorder.begin(Source::Unnamed);
        for (key, before) in &keys {
            self.recorder.changed(Some(*before), Some((key.clone(), None)));
        }
        self.recorder.begin(named);
        if removed > 0 && self.now.keys == 0 && self.now.is_tail_only() {
            self.now.tail = Index::default();
            *self.tail_bytes = 0;
        } else {
            for (key, _) in keys {
                self.remove(key);
            }
        }
        Ok(Outcome::Removed { keys: removed })
    }

    fn count_up(&mut self) {
        self.now.keys += 1;
        self.now.reserved_keys += u64::from(self.reserved);
    }

    fn count_down(&mut self, keys: u64) {
        self.now.keys -= keys;
        self.now.reserved_keys -= if self.reserved { keys } else { 0 };
    }

    /// Takes a key out of the tail, or hides what layers below may have of it.
    fn remove(&mut self, key: Bytes) {
        if self.now.may_be_below(&key) {
            let tombstone =
                Record { value: None, version: self.version, timestamp: self.timestamp };
            *self.tail_bytes += tail_bytes_of(&key, &tombstone);
            let key_bytes = key.len() as u64;
            if let Some(old) = self.now.tail.insert(key, tombstone) {
                *self.tail_bytes -= key_bytes + old.value_bytes() as u64 + TAIL_ROW_BYTES;
            }
        } else {
            self.forget(&key);
        }
    }

    /// Takes a key out of the tail.
    fn forget(&mut self, key: &[u8]) {
        if let Some(old) = self.now.tail.remove(key) {
            *self.tail_bytes -= tail_bytes_of(key, &old);
        }
    }

    fn retire(&mut self, bytes: u64) {
        self.now.live_bytes -= bytes;
        self.stale_bytes += bytes;
    }
}

fn holds(condition: &Condition, found: Option<&Record>) -> bool {
    match condition {
        Condition::Absent => found.is_none(),
        Condition::Present => found.is_some(),
        Condition::VersionEquals(version) => found.is_some_and(|record| record.version == *version),
        Condition::ValueEquals(value) => {
            found.is_some_and(|record| record.value.as_ref() == Some(value))
        }
    }
}
