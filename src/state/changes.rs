//! The changes that one entry makes.

use std::sync::Arc;

use bytes::Bytes;

use super::check::Sum;
use super::effects::{Detail, Effects, Recorder, Removal, Source};
use super::met_rows::{MetRows, TABLE_ROW_BYTES, len_of};
use super::outcome::{Applied, Outcome};
use super::times::{Attachment, attachment_row};
use super::view::StateView;
use crate::command::keyspace::{is_reserved, is_within_reserved, touches_reserved};
use crate::command::limits::TIMED_KEY_ROOM;
use crate::command::{Command, Condition, Guard, ReservedBatch};
use crate::storage::cuts::{Cut, Hidden};
use crate::storage::error::StorageError;
use crate::storage::index::Inserted;
use crate::storage::prefix_index::{as_slice, prefix_range};
use crate::storage::record::Record;
use crate::storage::stretch::Stretch;
use crate::types::{Timestamp, Version};

/// What a row of the tail takes in memory besides its bytes: its place in the index, and the heads
/// of the buffers it shares.
pub(super) const TAIL_ROW_BYTES: u64 = 176;

/// Memory that a row of the tail takes, roughly.
pub(super) fn tail_bytes_of(key: &[u8], record: &Record) -> u64 {
    row_bytes(key, record) + TAIL_ROW_BYTES
}

/// Bytes that tables take, at most, for what removing a key leaves there: its tombstone, and those
/// of the two rows that say when it was to go.
pub(super) fn tombstone_bytes_of(key: &[u8], has_times: bool) -> u64 {
    let one = key.len() as u64 + TABLE_ROW_BYTES;
    if has_times { 3 * one + 2 * TIMED_KEY_ROOM as u64 } else { one }
}

/// Bytes of a row that count as live while it is.
fn row_bytes(key: &[u8], record: &Record) -> u64 {
    // A length in memory fits.
    (key.len() + record.value_bytes()) as u64
}

/// Bytes of a value.
fn value_len(record: &Record) -> u32 {
    len_of(record.value_bytes())
}

/// What a row adds to the digest; nothing where there is none.
fn record_sum(key: &[u8], record: &Record) -> Sum {
    let Record { value, version, timestamp } = record;
    value.as_ref().map_or_else(Sum::default, |value| Sum::of_row(key, value, *version, *timestamp))
}

/// What a key keeps whose value a set found to be its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) version: Version,
    pub(super) timestamp: Timestamp,
}

impl Kept {
    pub(super) const fn of(record: &Record) -> Self {
        Self { version: record.version, timestamp: record.timestamp }
    }
}

/// What there is of what a command names.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Of the key of a set or a delete: the tail has it, and what it has counts.
    InTail,
    /// The tail does not; what the layers below it have.
    Below(Option<Record>),
    /// Of a prefix: these rows.
    Rows(Box<MetRows>),
}

impl Found {
    fn of(view: &StateView, key: &[u8]) -> Result<Self, StorageError> {
        // Layers below count where the tail has nothing of the key.
        Ok(if view.is_tail_only() || view.tail.get(key).is_some() {
            Self::InTail
        } else {
            // A merge may drop a tombstone at any time; then nothing is as it was with it.
            Self::Below(view.below(key)?.filter(|record| !record.is_tombstone()))
        })
    }

    /// What the layers below the tail have that counts.
    fn below(self) -> Option<Record> {
        match self {
            Self::Below(found) => found,
            Self::InTail | Self::Rows(_) => None,
        }
    }
}

/// Whether everything that applying `command`, a change in a session or not, would look at can be
/// read. Of a set, a delete or a prefix without more to look at, what it will find; and the bytes
/// that tables take for what it removes without naming it.
///
/// # Errors
/// `Corrupt`, `Io`.
pub(super) fn check(
    view: &StateView,
    command: &Command,
) -> Result<(Option<Found>, u64), StorageError> {
    match command {
        Command::Set { key, .. } if !view.has_times => Ok((Some(Found::of(view, key)?), 0)),
        Command::Delete { key } => Ok((Some(Found::of(view, key)?), 0)),
        Command::DeletePrefix { prefix } if !view.base.is_empty() => {
            let stretch = stretch_to_remove(view, prefix, Keyspace::Plain);
            let met = MetRows::look(view, &stretch, false)?;
            let bytes = met.tombstone_bytes();
            Ok((Some(Found::Rows(Box::new(met))), bytes))
        }
        other => Ok((None, check_read(view, other, Keyspace::Plain)?)),
    }
}

/// Whose keys a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyspace {
    Plain,
    Reserved,
}

impl Keyspace {
    fn of(key: &[u8]) -> Self {
        if is_reserved(key) { Self::Reserved } else { Self::Plain }
    }
}

/// Where the rows are that removing a prefix removes.
fn stretch_to_remove(view: &StateView, prefix: &[u8], keyspace: Keyspace) -> Stretch {
    let (from, to) = prefix_range(prefix);
    let (from, to) = match keyspace {
        Keyspace::Reserved => (as_slice(&from), as_slice(&to)),
        Keyspace::Plain => view.plain(as_slice(&from), as_slice(&to)),
    };
    Stretch::between(from, to)
}

fn check_read(
    view: &StateView,
    command: &Command,
    keyspace: Keyspace,
) -> Result<u64, StorageError> {
    if view.base.is_empty() {
        return Ok(0);
    }
    match command {
        Command::Set { key, value } if view.has_times => {
            // A set that finds its own value ends the time of the key.
            if view.record(key)?.is_some_and(|found| found.value.as_ref() == Some(value))
                && let Some(attachment) = view.attachment(key)?
            {
                view.record(&attachment.index_row(key))?;
            }
        }
        Command::Set { key, .. } | Command::Delete { key } => view.look_at(key)?,
        Command::DeletePrefix { prefix } => {
            let stretch = stretch_to_remove(view, prefix, keyspace);
            return Ok(MetRows::look(view, &stretch, false)?.tombstone_bytes());
        }
        Command::Batch { guards, commands } => {
            guards.iter().try_for_each(|guard| view.look_at(&guard.key))?;
            return commands.iter().map(|command| check_read(view, command, keyspace)).sum();
        }
        Command::Reserved(batch) => {
            batch.guards.iter().try_for_each(|guard| view.look_at(&guard.key))?;
            let reserved = |command| check_read(view, command, Keyspace::Reserved);
            return batch.commands.iter().map(reserved).sum();
        }
        // What it holds is a change, so this goes no deeper.
        Command::InSession { command, .. } => return check_read(view, command, keyspace),
        _ => {}
    }
    Ok(0)
}

/// One entry at work on the state.
pub(super) struct Changes<'a> {
    now: &'a mut StateView,
    tail_bytes: &'a mut u64,
    version: Version,
    timestamp: Timestamp,
    stale_bytes: u64,
    keyspace: Keyspace,
    /// The sum over all rows, where it is kept.
    sum: Option<&'a mut Sum>,
    /// Notes what is changed.
    recorder: Recorder,
    /// What the set, the delete or the prefix that is the whole command finds, where that is known.
    found: Option<Found>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(
        now: &'a mut StateView,
        tail_bytes: &'a mut u64,
        (version, timestamp): (Version, Timestamp),
        sum: Option<&'a mut Sum>,
    ) -> Self {
        Self {
            now,
            tail_bytes,
            version,
            timestamp,
            stale_bytes: 0,
            keyspace: Keyspace::Plain,
            sum,
            recorder: Recorder::default(),
            found: None,
        }
    }

    /// The same; of the set, delete or prefix that is the whole command it is known what it finds.
    pub(super) fn knowing(mut self, found: Option<Found>) -> Self {
        self.found = found;
        self
    }

    /// Makes a change. A set that changed nothing tells which version and stamp the key keeps.
    pub(super) fn all(mut self, command: Command) -> Result<(Applied, Effects), StorageError> {
        let (outcome, kept) = match command {
            // Nearly always.
            Command::Set { key, value } if !is_reserved(&key) => self.set_telling(key, value)?,
            Command::Reserved(batch) if is_within_reserved(&batch) => {
                self.keyspace = Keyspace::Reserved;
                let ReservedBatch { guards, mut commands } = *batch;
                match commands.pop() {
                    Some(only) if guards.is_empty() && commands.is_empty() => self.alone(only)?,
                    last => {
                        commands.extend(last);
                        (self.batch(&guards, commands)?, None)
                    }
                }
            }
            Command::Reserved(_) => (Outcome::ReservedKey, None),
            // Checked here too, so that whoever brings a command past validation reaches nothing.
            plain if touches_reserved(&plain) => (Outcome::ReservedKey, None),
            Command::Batch { guards, commands } => (self.batch(&guards, commands)?, None),
            single => self.alone(single)?,
        };
        Ok(self.told(outcome, kept))
    }

    /// What was done; `kept` is of the row of a set that found its own value.
    pub(super) fn told(self, outcome: Outcome, kept: Option<Kept>) -> (Applied, Effects) {
        let Kept { version, timestamp } =
            kept.unwrap_or(Kept { version: self.version, timestamp: self.timestamp });
        let applied = Applied { outcome, version, timestamp, stale_bytes: self.stale_bytes };
        (applied, self.recorder.finish())
    }

    /// A change that is the only one, with what a set found that had its value already.
    fn alone(&mut self, command: Command) -> Result<(Outcome, Option<Kept>), StorageError> {
        match command {
            Command::Set { key, value } => self.set_telling(key, value),
            single => Ok((self.single(single)?, None)),
        }
    }

    /// As [`Self::set`], with what that comes to.
    fn set_telling(
        &mut self,
        key: Bytes,
        value: Bytes,
    ) -> Result<(Outcome, Option<Kept>), StorageError> {
        let kept = self.set(key, value)?;
        Ok((if kept.is_some() { Outcome::Unchanged } else { Outcome::Applied }, kept))
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
            Command::Set { key, value } => Ok(self.set_telling(key, value)?.0),
            Command::Delete { key } => self.delete(key),
            Command::DeletePrefix { prefix } => self.delete_prefix(&prefix),
            Command::Batch { .. } => unreachable!("a batch within a batch was not validated"),
            other => unreachable!("not a change, and not validated: {other:?}"),
        }
    }

    /// What is known of the key that the whole command names.
    #[inline]
    fn take_found(&mut self, key: &[u8]) -> Option<Found> {
        let found = self.found.take();
        // Where it stands may be another: a compaction may have left nothing below.
        debug_assert!(
            found.clone().is_none_or(|found| {
                Found::of(self.now, key).map_or(true, |again| again.below() == found.below())
            }),
            "nothing came in between"
        );
        found
    }

    /// Sets a key; returns what it keeps when it has that value already.
    fn set(&mut self, key: Bytes, value: Bytes) -> Result<Option<Kept>, StorageError> {
        let record =
            Record { value: Some(value), version: self.version, timestamp: self.timestamp };
        let key_bytes = key.len() as u64;
        let bytes = row_bytes(&key, &record);
        let below = match self.take_found(&key) {
            Some(found) => found.below(),
            None if self.now.is_tail_only() => None,
            None => Found::of(self.now, &key)?.below(),
        };
        if let Some(old) = below.as_ref().filter(|old| old.value == record.value) {
            let kept = Kept::of(old);
            if self.now.has_times {
                let found = self.now.record(&attachment_row(&key))?;
                self.end_time(&key, found, kept.version)?;
            }
            return Ok(Some(kept));
        }
        let summed = self.sum.is_some().then(|| (key.clone(), record_sum(&key, &record)));
        let told = self.recorder.wants_rows().then(|| (key.clone(), record.value.clone()));
        let timed = self.now.has_times.then(|| key.clone());
        self.now.gaps.close(&key);
        // One search finds the old record and puts the new one in.
        let same = |old: &Record, new: &Record| old.value == new.value;
        let old = match self.now.tail.insert_unless(key, record, same) {
            Inserted::Kept(old) => {
                let kept = Kept::of(&old);
                if let Some(key) = timed {
                    // What is about a row of the tail is in the tail: it was written later.
                    let found = self.now.tail.get(&attachment_row(&key)).cloned();
                    self.end_time(&key, found, kept.version)?;
                }
                return Ok(Some(kept));
            }
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
        self.now.live_bytes = self.now.live_bytes.saturating_add(bytes);
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

    /// A set that found its own value ends the time of the key, which `found` says, if it is about
    /// that row.
    fn end_time(
        &mut self,
        key: &[u8],
        found: Option<Record>,
        row: Version,
    ) -> Result<(), StorageError> {
        let attachment = found.and_then(|found| Attachment::decode(found.value.as_deref()?));
        match attachment {
            Some(attachment) if attachment.version == row => self.detach(key, &attachment),
            _ => Ok(()),
        }
    }

    /// Removes an attachment, and the row that finds it.
    pub(super) fn detach(
        &mut self,
        key: &[u8],
        attachment: &Attachment,
    ) -> Result<(), StorageError> {
        self.remove_row(attachment.index_row(key))?;
        self.remove_row(attachment_row(key))
    }

    pub(super) fn view(&self) -> &StateView {
        self.now
    }

    pub(super) const fn version(&self) -> Version {
        self.version
    }

    pub(super) const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// From now on sets look whether the key has a time.
    pub(super) const fn sets_look_for_times(&mut self) {
        self.now.has_times = true;
    }

    /// Notes that nothing that is due before a moment is left.
    pub(super) const fn raise_due_floor(&mut self, to: Timestamp) {
        self.now.due_floor = to;
    }

    /// Sets the key that the command names, of whichever keyspace. As [`Self::set`].
    pub(super) fn set_named(
        &mut self,
        key: Bytes,
        value: Bytes,
    ) -> Result<Option<Kept>, StorageError> {
        self.keyspace = Keyspace::of(&key);
        self.set(key, value)
    }

    /// Sets a row that no command names.
    pub(super) fn set_row(&mut self, key: Bytes, value: Bytes) -> Result<(), StorageError> {
        self.unnamed(&key.clone(), |this| this.set(key, value).map(drop))
    }

    /// Removes a row that no command names, if it is there.
    pub(super) fn remove_row(&mut self, key: Bytes) -> Result<(), StorageError> {
        self.unnamed(&key.clone(), |this| this.delete(key).map(drop))
    }

    /// Sets a row that no command names and that is certainly not there, without looking for it.
    pub(super) fn put_new_row(&mut self, key: Bytes, value: Bytes) {
        self.unnamed(&key.clone(), |this| this.put_new(key, value));
    }

    fn put_new(&mut self, key: Bytes, value: Bytes) {
        let (version, timestamp) = (self.version, self.timestamp);
        let record = Record { value: Some(value), version, timestamp };
        if let Some(sum) = &mut self.sum {
            sum.add(record_sum(&key, &record));
        }
        let bytes = row_bytes(&key, &record);
        self.now.live_bytes = self.now.live_bytes.saturating_add(bytes);
        self.count_up();
        self.recorder.changed(None, Some((key.clone(), record.value.clone())));
        *self.tail_bytes += tail_bytes_of(&key, &record);
        let key_bytes = key.len() as u64;
        self.now.gaps.close(&key);
        // There may be a tombstone.
        if let Some(old) = self.now.tail.insert(key, record) {
            *self.tail_bytes -= key_bytes + old.value_bytes() as u64 + TAIL_ROW_BYTES;
        }
    }

    /// Works on a row that no command names, of whichever keyspace.
    fn unnamed<T>(&mut self, key: &[u8], work: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.keyspace, Keyspace::of(key));
        let source = self.recorder.begin(Source::Unnamed);
        let done = work(self);
        self.recorder.begin(source);
        self.keyspace = before;
        done
    }

    fn delete(&mut self, key: Bytes) -> Result<Outcome, StorageError> {
        let found = match self.take_found(&key) {
            Some(Found::Below(found)) => found,
            Some(Found::InTail | Found::Rows(_)) | None => self.now.record(&key)?,
        };
        let Some(old) = found.filter(|old| !old.is_tombstone()) else {
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
        let stretch = stretch_to_remove(self.now, prefix, self.keyspace);
        // Everything is read before anything is changed.
        let met = match self.found.take() {
            Some(Found::Rows(met)) if self.sum.is_none() => {
                debug_assert!(
                    MetRows::look(self.now, &stretch, false)
                        .map_or(true, |again| again.rows == met.rows),
                    "nothing came in between"
                );
                *met
            }
            _ => MetRows::look(self.now, &stretch, self.sum.is_some())?,
        };
        let MetRows { rows, value_bytes, sum, noted } = met;
        if rows.rows == 0 {
            return Ok(Outcome::NotFound);
        }
        if let Some(all) = &mut self.sum {
            all.take_away(sum);
        }
        self.retire(rows.key_bytes + value_bytes);
        self.count_down(rows.rows);
        let are_many = noted.is_none();
        let details = noted.unwrap_or_else(|| {
            vec![Detail::Many(Arc::new(Removal::new(stretch.clone(), rows.rows, self.now)))]
        });
        if self.now.keys == 0 && self.now.is_tail_only() {
            self.now.tail.clear();
            *self.tail_bytes = 0;
        } else if are_many {
            self.cut(stretch, rows);
        } else {
            for detail in &details {
                if let Detail::Explicit { key, .. } = detail {
                    self.remove(key.clone());
                }
            }
        }
        self.recorder.changed_unnamed(details);
        Ok(Outcome::Removed { keys: rows.rows })
    }

    /// Removes all rows of a stretch, of which there are these, as one.
    fn cut(&mut self, stretch: Stretch, rows: Hidden) {
        let mut hidden = rows;
        let own = self.now.tail.rows().range(stretch.bounds()).map(|(key, _)| key.clone());
        for key in own.collect::<Vec<_>>() {
            let is_new = !self.now.may_be_below(&key);
            let is_tombstone = self.forget(&key).is_some_and(|record| record.is_tombstone());
            let key_bytes = key.len() as u64;
            if is_tombstone {
                // The cut hides what it has hidden.
                hidden = hidden.and(Hidden { rows: 1, key_bytes });
            } else if is_new {
                hidden.rows -= 1;
                hidden.key_bytes -= key_bytes;
            }
        }
        let tombstone = Record { value: None, version: self.version, timestamp: self.timestamp };
        if !self.now.is_tail_only() {
            self.now.tail.cut(Cut { stretch, tombstone, hidden });
        }
    }

    fn count_up(&mut self) {
        self.now.keys = self.now.keys.saturating_add(1);
        let reserved =
            self.now.reserved_keys.saturating_add(u64::from(self.keyspace == Keyspace::Reserved));
        self.now.reserved_keys = reserved;
    }

    /// What a manifest of another node said may have been too little.
    fn count_down(&mut self, keys: u64) {
        let reserved = if self.keyspace == Keyspace::Reserved { keys } else { 0 };
        self.now.reserved_keys = self.now.reserved_keys.saturating_sub(reserved);
        self.now.keys = self.now.keys.saturating_sub(keys).max(self.now.reserved_keys);
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
    fn forget(&mut self, key: &[u8]) -> Option<Record> {
        let old = self.now.tail.remove(key)?;
        *self.tail_bytes -= tail_bytes_of(key, &old);
        Some(old)
    }

    fn retire(&mut self, bytes: u64) {
        self.now.live_bytes = self.now.live_bytes.saturating_sub(bytes);
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
