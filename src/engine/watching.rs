//! What the watchers of a machine read.

use std::ops::Range;

use bytes::Bytes;

use super::changes::{ChangeSource, LiveChanges};
use super::machine::Machine;
use super::maintenance::Maintenance;
use super::watch::source::{Chunk, Source};
use crate::error::{Error, Result};
use crate::state::StateView;
use crate::storage::error::StorageError;
use crate::storage::history::{EntryChanges, KeyChange};
use crate::types::{LogIndex, Version};

impl Machine {
    /// Runs `during` with the index of the next entry to be applied. Meanwhile none is.
    pub(crate) fn hold(&self, during: &mut dyn FnMut(LogIndex)) {
        let replica = self.replica.read();
        during(replica.last.map_or(LogIndex(0), |last| last.index.next()));
    }

    /// Ends all watching: the store is being closed.
    pub(crate) fn end_watching(&self) {
        self.hold(&mut |next| self.watchers.note_end(next));
        self.watchers.stop();
    }

    /// The changes of applied entries, as [`Source::changes`] promises them: from the log, or from
    /// the archive what is older.
    ///
    /// # Errors
    /// Those of [`Source::changes`].
    pub(crate) fn changes(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Chunk> {
        match LiveChanges::of(self).read(range.clone(), bytes_max) {
            // What is gone from the log was put into the archive before, if anybody wanted it.
            Err(Error::Compacted { .. }) => self.archived(&range, bytes_max),
            Err(error) => Err(error),
            Ok(entries) => match entries.last() {
                Some(last) => Ok(Chunk { next: last.index.next(), entries }),
                // All of them were applied, so they are there or gone.
                None => self.archived(&range, bytes_max),
            },
        }
    }

    /// What the era has in which the range begins.
    fn archived(&self, range: &Range<LogIndex>, bytes_max: usize) -> Result<Chunk> {
        let eras = self.store.archive().eras();
        let behind = eras.partition_point(|era| era.first <= range.start);
        let compacted = || {
            let next = eras.get(behind).map(|era| era.first);
            let oldest = next.unwrap_or_else(|| LiveChanges::of(self).range().start);
            Error::Compacted { oldest: Version::from(oldest) }
        };
        let era = behind.checked_sub(1).and_then(|at| eras.get(at));
        let last = era.and_then(|era| era.last).filter(|&last| last >= range.start);
        let last = last.ok_or_else(compacted)?.min(range.end.previous().unwrap_or_default());
        let mut entries: Vec<EntryChanges> = Vec::new();
        let mut bytes = 0;
        for entry in self.store.archive().read(range.start..=last) {
            let next = match entry {
                Ok(entry) => {
                    let next = entry.index.next();
                    bytes += bytes_of(&entry);
                    entries.push(entry);
                    next
                }
                // Given up meanwhile.
                Err(StorageError::Compacted { .. }) if entries.is_empty() => {
                    return Err(compacted());
                }
                Err(error) => match entries.last() {
                    None => return Err(error.into()),
                    // What was read is told first. The next call finds the same.
                    Some(read) => return Ok(Chunk { next: read.index.next(), entries }),
                },
            };
            if bytes >= bytes_max {
                return Ok(Chunk { entries, next });
            }
        }
        Ok(Chunk { next: last.next(), entries })
    }
}

/// Memory that the changes of an entry take, roughly.
fn bytes_of(entry: &EntryChanges) -> usize {
    let bytes = |change: &KeyChange| {
        let value = change.value.as_ref().map_or(0, Bytes::len);
        size_of::<KeyChange>() + change.key.len() + value
    };
    size_of::<EntryChanges>() + entry.changes.iter().map(bytes).sum::<usize>()
}

impl Source for Maintenance {
    fn check(&self) -> Result<()> {
        Ok(self.committer.machine.store.log().check()?)
    }

    fn hold(&self, during: &mut dyn FnMut(LogIndex)) {
        self.committer.machine.hold(during);
    }

    fn view(&self) -> Result<StateView> {
        self.committer.machine.check_readable()?;
        Ok(self.committer.machine.replica.view())
    }

    fn changes(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Chunk> {
        self.committer.machine.changes(range, bytes_max)
    }
}
