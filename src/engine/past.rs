//! Reading the past: a state as it was, and the versions of a key.
//!
//! A state is built from the newest one before it that is still there (the tables of the store, or
//! the base of an era of the archive) and from the changes behind that, which the archive and the
//! log have.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::changes::{ChangeSource, LiveChanges};
use super::machine::Machine;
use super::replay::checkpoint;
use crate::error::{Error, Result};
use crate::state::{PastState, RowChange, StateView, Value};
use crate::storage::error::StorageError;
use crate::storage::history::{Archive, EntryChanges, EraInfo, KeyChange};
use crate::storage::manifest::ManifestHead;
use crate::storage::record::Record;
use crate::storage::table_set::TableSet;
use crate::storage::table_store::TableStore;
use crate::types::{LogIndex, Timestamp, Version};

/// How much is read from the log at once.
const READ_BYTES: usize = 1 << 20;
/// How often reading begins anew because a compaction moved what it was about to read.
const ATTEMPTS: usize = 4;

/// A moment of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// After the entry of this version, whether or not it changed something.
    Version(Version),
    /// After the last entry whose stamp is not after this one. Of several with the same stamp the
    /// last in the log.
    Time(Timestamp),
}

impl From<Version> for At {
    fn from(version: Version) -> Self {
        Self::Version(version)
    }
}

impl From<Timestamp> for At {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

impl From<SystemTime> for At {
    /// A time before 1970 is the beginning of 1970.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::Time(Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// What a key had at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// The entry that gave it this value, or removed it.
    pub version: Version,
    /// The stamp of that entry.
    pub timestamp: Timestamp,
    /// The value; `None`: the entry removed the key.
    pub value: Option<Value>,
}

/// The versions of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHistory {
    /// What the key had in the state of this version and in every later one is among `versions`;
    /// what it had before may be missing. Zero: nothing is missing.
    pub complete_from: Version,
    /// Oldest first. A removal stands only where there was something to remove.
    pub versions: Vec<KeyVersion>,
}

/// What a state of the past is made of.
pub(crate) struct Past<'a> {
    pub(crate) archive: &'a Archive,
    pub(crate) tables: &'a TableStore,
    pub(crate) live: &'a dyn ChangeSource,
    /// The newest state.
    pub(crate) now: StateView,
}

impl Machine {
    /// The state at a moment.
    ///
    /// # Errors
    /// Those of [`Past::state_at`].
    pub(crate) fn state_at(&self, at: At) -> Result<StateView> {
        self.with_past(|past| past.state_at(at, self.env.clock.now()))
    }

    /// The versions of a key.
    ///
    /// # Errors
    /// Those of [`Past::history`].
    pub(crate) fn history(&self, key: &[u8]) -> Result<KeyHistory> {
        let mut attempts = 1;
        loop {
            match self.with_past(|past| past.history(key)) {
                // Between two looks a compaction may have put into the archive, or into tables,
                // what the log had: then it is looked for in a newer state.
                Err(Error::Compacted { .. }) if attempts < ATTEMPTS => attempts += 1,
                found => return found,
            }
        }
    }

    fn with_past<T>(&self, read: impl FnOnce(&Past<'_>) -> Result<T>) -> Result<T> {
        let now = self.replica.view();
        let live = LiveChanges::of(self);
        let (archive, tables) = (self.store.archive(), self.store.tables());
        read(&Past { archive, tables, live: &live, now })
    }
}

/// A state, and the first entry that is not in it.
struct Begin {
    view: StateView,
    from: LogIndex,
}

impl Past<'_> {
    /// The state at a moment; `clock` says which times are in the future.
    ///
    /// # Errors
    /// `NotYet`, `InFuture`; `Compacted` for what was given up; `Corrupt`, `MissingSegment`, `Io`
    /// with the file when what is needed is damaged or gone.
    pub(crate) fn state_at(&self, at: At, clock: Timestamp) -> Result<StateView> {
        let mut attempts = 1;
        loop {
            let found = match at {
                At::Version(version) => self.state_of(version.into()),
                At::Time(time) => self.state_at_time(time, clock),
            };
            match found {
                // Between two looks a compaction may have put into the archive what the log had.
                Err(Error::Compacted { .. }) if attempts < ATTEMPTS => attempts += 1,
                found => return found,
            }
        }
    }

    fn state_at_time(&self, time: Timestamp, clock: Timestamp) -> Result<StateView> {
        if time >= self.now.timestamp() {
            let now = clock.max(self.now.timestamp());
            // Entries that are still to come may get a stamp that is not after it.
            return if time <= now {
                Ok(self.now.clone())
            } else {
                Err(Error::InFuture { asked: time, now })
            };
        }
        if let Some((index, _)) = self.live.last_at(time) {
            return self.state_of(index);
        }
        // All that the log tells came later: then it was what the tables hold, or before that.
        if let Some(head) = self.tables.manifest_head().filter(|head| head.timestamp <= time) {
            return self.state_of(head.last.index);
        }
        let live = self.live.range();
        match self.archive.index_at(time).map_err(|error| self.gone(error))? {
            Some(index) => match self.gap_behind(index, &live) {
                None => self.state_of(index),
                Some(oldest) => Err(compacted(oldest)),
            },
            // Everything that there ever was came later.
            None if self.is_complete(&live) => Ok(StateView::default()),
            None => Err(compacted(self.oldest(&live))),
        }
    }

    /// Where it goes on behind entry `index` of the archive, when what follows it is not known.
    fn gap_behind(&self, index: LogIndex, live: &Range<LogIndex>) -> Option<LogIndex> {
        let eras = self.archive.eras();
        let at = eras.iter().rposition(|era| era.base_last() <= Some(index))?;
        let ends = eras.get(at).and_then(|era| era.last).is_none_or(|last| last <= index);
        let next = eras.get(at + 1).map_or(live.start, |era| era.first);
        (ends && next > index.next()).then(|| next.previous()).flatten()
    }

    /// Whether everything since the first entry is there.
    fn is_complete(&self, live: &Range<LogIndex>) -> bool {
        self.joined(live).1 == LogIndex(0)
    }

    /// The oldest version that can be read.
    fn oldest(&self, live: &Range<LogIndex>) -> LogIndex {
        let eras = self.archive.eras();
        match eras.first() {
            Some(oldest) => oldest.base_last().unwrap_or_default(),
            None if live.start == LogIndex(0) => live.start,
            None => self.tables.manifest_head().map_or(live.start, |head| head.last.index),
        }
    }

    /// An error of the archive. Of what somebody gave up since it was looked for, what is left now
    /// is told: the archive names the first entry of that, and nothing where nothing is left.
    fn gone(&self, error: StorageError) -> Error {
        match error {
            StorageError::Compacted { .. } => compacted(self.oldest(&self.live.range())),
            other => other.into(),
        }
    }

    /// The newest eras that join each other and the log, oldest first, and the first entry of them;
    /// none where the log does not join them.
    fn joined(&self, live: &Range<LogIndex>) -> (Vec<EraInfo>, LogIndex) {
        let mut next = live.start;
        let mut joined = Vec::new();
        for era in self.archive.eras().into_iter().rev() {
            let end = era.last.map_or(LogIndex(0), LogIndex::next);
            if end < next {
                break;
            }
            next = era.first;
            joined.push(era);
        }
        joined.reverse();
        (joined, next)
    }

    /// The state after entry `at`.
    fn state_of(&self, at: LogIndex) -> Result<StateView> {
        let last = self.now.last_applied();
        if last < Some(at) {
            return Err(Error::NotYet { asked: at.into(), at: self.now.version() });
        }
        if last == Some(at) {
            return Ok(self.now.clone());
        }
        let Begin { view, from } = self.begin_for(at)?;
        let mut stamp = view.timestamp();
        if from > at {
            return Ok(PastState::new(view).finish(at, stamp));
        }
        let mut state = PastState::new(view);
        self.each_change(from..at.next(), |entry| {
            stamp = entry.timestamp;
            for KeyChange { key, value, before } in &entry.changes {
                let (version, timestamp) = (Version::from(entry.index), entry.timestamp);
                let (value, before) = (value.as_deref(), *before);
                if !state.change(RowChange { key, value, before, version, timestamp }) {
                    return Err(cannot_follow(entry.index));
                }
            }
            Ok(())
        })?;
        Ok(state.finish(at, self.archived_stamp(at).unwrap_or(stamp)))
    }

    /// The newest state at or before entry `at`.
    fn begin_for(&self, at: LogIndex) -> Result<Begin> {
        let (set, head) = self.tables.set_and_head();
        let live = self.live.range();
        match head {
            Some(head) if head.last.index <= at => begin(Some(&head), set),
            None => begin(None, set),
            // What is in the tables is newer.
            Some(head) => match self.archive.base_for(at) {
                Ok(base) => begin(base.head.as_ref(), base.set),
                Err(error) => self.begin_in_log(at, &live, &head, error),
            },
        }
    }

    /// As [`Self::begin_for`], where the archive alone does not lead to the entry. What is beyond
    /// its end may still be in the log.
    fn begin_in_log(
        &self,
        at: LogIndex,
        live: &Range<LogIndex>,
        head: &ManifestHead,
        error: StorageError,
    ) -> Result<Begin> {
        let last = self.archive.last();
        let joins = last.map_or(LogIndex(0), LogIndex::next) >= live.start;
        match error {
            StorageError::BeyondEnd { .. } if joins => match last {
                Some(last) => {
                    let base = self.archive.base_for(last).map_err(|error| self.gone(error))?;
                    begin(base.head.as_ref(), base.set)
                }
                None => begin(None, TableSet::empty()),
            },
            StorageError::BeyondEnd { .. } => Err(compacted(head.last.index)),
            StorageError::Compacted { .. } if live.start == LogIndex(0) => {
                begin(None, TableSet::empty())
            }
            StorageError::Compacted { .. } => Err(compacted(self.oldest(live))),
            StorageError::MissingChanges { .. } => match self.era_behind(at) {
                // Nobody asked for what is between two eras.
                Some(oldest) => Err(compacted(oldest)),
                None => Err(error.into()),
            },
            other => Err(other.into()),
        }
    }

    /// The beginning of the era that follows the gap in which entry `at` is.
    fn era_behind(&self, at: LogIndex) -> Option<LogIndex> {
        let eras = self.archive.eras();
        let gap = eras.windows(2).find(|pair| {
            let (era, next) = (pair.first(), pair.last());
            era.is_some_and(|era| era.last < Some(at))
                && next.is_some_and(|next| next.base_last() > Some(at))
        });
        gap?.last()?.base_last()
    }

    /// Tells the changes of entries in the order of the log, those of the archive and those of the
    /// log. Entries that changed nothing may be left out.
    fn each_change(
        &self,
        range: Range<LogIndex>,
        mut tell: impl FnMut(&EntryChanges) -> Result<()>,
    ) -> Result<()> {
        let mut next = range.start;
        let archived = self.archive.last().filter(|&last| last >= next);
        if next < self.live.range().start
            && let Some(last) = archived
        {
            let upto = last.min(range.end.previous().unwrap_or_default());
            for entry in self.archive.read(next..=upto) {
                tell(&entry.map_err(|error| self.gone(error))?)?;
            }
            next = upto.next();
        }
        while next < range.end {
            let read = self.live.read(next..range.end, READ_BYTES)?;
            let Some(last) = read.last().map(|entry| entry.index) else {
                return Err(Error::NotYet { asked: next.into(), at: self.now.version() });
            };
            read.iter().try_for_each(&mut tell)?;
            next = last.next();
        }
        Ok(())
    }

    /// The stamp of an entry with which a file of the archive begins or ends: those are known also
    /// where the entry changed nothing.
    fn archived_stamp(&self, at: LogIndex) -> Option<Timestamp> {
        if at >= self.live.range().start {
            return None;
        }
        let eras = self.archive.eras();
        let mut files = eras.iter().flat_map(|era| &era.files);
        files.find_map(|file| match file.stamps {
            (_, stamp) if file.last == at => Some(stamp),
            (stamp, _) if file.first == at => Some(stamp),
            _ => None,
        })
    }

    /// The versions of a key, of either keyspace. Cost: a look into the filters of each change file
    /// and the blocks that have the key, and into the tables of the oldest base that may have it;
    /// and reading what the log has.
    ///
    /// # Errors
    /// `Corrupt`, `MissingSegment`, `Io` with the file when a part of the past is damaged or gone;
    /// `Compacted` when a compaction came in between: with a newer state it is there.
    pub(crate) fn history(&self, key: &[u8]) -> Result<KeyHistory> {
        let live = self.live.range();
        let (eras, first) = self.joined(&live);
        let mut versions = Vec::new();
        let mut next = live.start;
        let mut complete_from = Version(0);
        if let (Some(oldest), Some(newest)) = (eras.first(), eras.last()) {
            if let Some(base) = oldest.base_last() {
                complete_from = base.into();
                let row = self.archive.base_row_for(base, key).map_err(|error| self.gone(error))?;
                versions.extend(row.map(version_in));
            }
            if let Some(last) = newest.last.filter(|&last| last >= first) {
                let changes = self.archive.changes_of(key, first..=last);
                for (index, timestamp, change) in changes.map_err(|error| self.gone(error))? {
                    versions.push(version_of(index, timestamp, &change));
                }
                next = last.next();
            } else {
                next = first;
            }
        }
        let before = versions.len();
        let (mut first_before, mut first_index) = (None, None);
        let last = self.now.last_applied().unwrap_or_default();
        let log_range = next..last.next();
        if log_range.start < log_range.end {
            self.each_live(log_range, |entry| {
                let of_key = entry.changes.iter().find(|change| change.key == key);
                let Some(change) = of_key else { return };
                if first_index.is_none() {
                    (first_index, first_before) = (Some(entry.index), change.before);
                }
                versions.push(version_of(entry.index, entry.timestamp, change));
            })?;
        }
        if eras.is_empty() && live.start > LogIndex(0) {
            // As before the first entry that the log tells.
            complete_from = live.start.previous().unwrap_or_default().into();
            let (set, head) = self.tables.set_and_head();
            let in_tables = head.map(|head| head.last.index);
            if let Some(newer) = in_tables.filter(|&index| index > last) {
                // What the key had is gone from them with what came since.
                return Err(compacted(newer));
            }
            match first_index {
                // It stands in the tables as it was before all that the log tells.
                None => versions.splice(before..before, row_in(&set, key)?).for_each(drop),
                Some(index) if Some(index) > in_tables => {
                    versions.splice(before..before, row_in(&set, key)?).for_each(drop);
                }
                // The value that this entry replaced is gone.
                Some(index) if first_before.is_some() => complete_from = index.into(),
                Some(_) => {}
            }
        }
        Ok(KeyHistory { complete_from, versions })
    }

    fn each_live(&self, range: Range<LogIndex>, mut tell: impl FnMut(&EntryChanges)) -> Result<()> {
        let mut next = range.start;
        while next < range.end {
            let read = self.live.read(next..range.end, READ_BYTES)?;
            let Some(last) = read.last().map(|entry| entry.index) else { return Ok(()) };
            read.iter().for_each(&mut tell);
            next = last.next();
        }
        Ok(())
    }
}

fn begin(head: Option<&ManifestHead>, set: Arc<TableSet>) -> Result<Begin> {
    let from = head.map_or(LogIndex(0), |head| head.last.index.next());
    Ok(Begin { view: checkpoint(head, set)?.kv.view(), from })
}

/// The row of a key in tables, as a version of it.
fn row_in(set: &TableSet, key: &[u8]) -> Result<Option<KeyVersion>> {
    Ok(set.get(key)?.filter(|record| !record.is_tombstone()).map(version_in))
}

fn version_in(record: Record) -> KeyVersion {
    let value = record.value.map(Value::from);
    KeyVersion { version: record.version, timestamp: record.timestamp, value }
}

fn version_of(index: LogIndex, timestamp: Timestamp, change: &KeyChange) -> KeyVersion {
    let value = change.value.as_deref().map(Bytes::copy_from_slice).map(Value::from);
    KeyVersion { version: index.into(), timestamp, value }
}

fn compacted(oldest: LogIndex) -> Error {
    Error::Compacted { oldest: oldest.into() }
}

fn cannot_follow(index: LogIndex) -> Error {
    let reason = "its changes do not follow those before them".to_owned();
    Error::Serialization { index, reason }
}
