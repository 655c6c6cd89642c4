//! The newest entries of the log, decoded, and how far it reaches.
//!
//! What was appended a moment ago is read back by the state machine and by the replication to each
//! follower: they get clones, which are pointers, and no disk and no lock of the log is asked.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::entry::RaftEntry;
use openraft::type_config::alias::EntryOf;

use crate::raft::type_config::{TypeConfig, log_id_of};
use crate::storage::log::LogEnds;
use crate::types::{LogId, LogIndex};

/// Memory that an entry takes besides its payload, roughly.
const ENTRY_BYTES: usize = 256;

/// An entry, and the bytes that its payload has in the log.
pub(crate) type Sized = (EntryOf<TypeConfig>, usize);

/// Where the entries that were asked for are.
#[derive(Debug)]
pub(crate) enum Found {
    /// None of them is in the log.
    Nothing,
    /// The first of them, as many as were allowed.
    Cached(Vec<EntryOf<TypeConfig>>),
    /// These begin the range, and are on the disk only.
    OnDisk(Range<LogIndex>),
}

/// The newest entries, and the ends of the whole log.
///
/// Invariants: the entries follow one another and end with the last entry of the log, or there are
/// none.
#[derive(Debug)]
pub(crate) struct LogCache {
    entries: VecDeque<Sized>,
    bytes: usize,
    bytes_max: usize,
    ends: LogEnds,
    /// How often entries were taken away: who reads from the disk meanwhile may have read something
    /// that never stood in the log at one time.
    cuts: u64,
}

impl LogCache {
    /// Of a log that ends like this; nothing is cached yet.
    pub(crate) fn new(ends: LogEnds, bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max, ends, cuts: 0 }
    }

    pub(crate) const fn ends(&self) -> LogEnds {
        self.ends
    }

    pub(crate) const fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Whether an entry may be appended under this index.
    pub(crate) fn is_next(&self, index: LogIndex) -> bool {
        // An empty log takes any: openraft begins one behind an installed snapshot.
        self.ends.hard.last.is_none_or(|last| last.index.next() == index)
    }

    /// Takes in entries that were appended to the log.
    pub(crate) fn push(&mut self, entries: impl Iterator<Item = Sized>) {
        for (entry, payload_bytes) in entries {
            let id = log_id_of(&entry.log_id());
            debug_assert!(self.is_next(id.index), "entries follow one another");
            self.ends.first.get_or_insert(id.index);
            self.ends.hard.last = Some(id);
            self.bytes += payload_bytes + ENTRY_BYTES;
            self.entries.push_back((entry, payload_bytes));
        }
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    /// Forgets the entries behind `last`, before the log is told to.
    pub(crate) fn cut_after(&mut self, last: Option<LogId>) {
        self.cuts += 1;
        let keeps = |index| last.is_some_and(|last| index <= last.index);
        while self.entries.back().is_some_and(|(entry, _)| !keeps(index_of(entry))) {
            if let Some((_, payload_bytes)) = self.entries.pop_back() {
                self.bytes -= payload_bytes + ENTRY_BYTES;
            }
        }
        self.ends.hard.last = last;
        self.ends.first = self.ends.first.filter(|&first| keeps(first));
    }

    /// Takes over how far the log reaches, and forgets the entries that it has purged.
    pub(crate) fn settle(&mut self, ends: LogEnds) {
        if ends.first != self.ends.first || ends.hard.purged != self.ends.hard.purged {
            self.cuts += 1;
        }
        self.ends = ends;
        let is_gone = |(entry, _): &Sized| ends.first.is_none_or(|first| index_of(entry) < first);
        while self.entries.front().is_some_and(is_gone) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some((_, payload_bytes)) = self.entries.pop_front() {
            self.bytes -= payload_bytes + ENTRY_BYTES;
        }
    }

    /// The part of a range that is in the log.
    pub(crate) fn clip(&self, range: &Range<LogIndex>) -> Option<Range<LogIndex>> {
        let (first, last) = (self.ends.first?, self.ends.hard.last?);
        let clipped = range.start.max(first)..range.end.min(last.index.next());
        (clipped.start < clipped.end).then_some(clipped)
    }

    /// The first entries of a range, of `bytes_max` payload bytes together and at least one; or
    /// where they are.
    pub(crate) fn find(&self, range: &Range<LogIndex>, bytes_max: usize) -> Found {
        let Some(range) = self.clip(range) else { return Found::Nothing };
        let Some(cached) = self.entries.front().map(|(entry, _)| index_of(entry)) else {
            return Found::OnDisk(range);
        };
        let Some(skip) = range.start.0.checked_sub(cached.0) else {
            return Found::OnDisk(range.start..range.end.min(cached));
        };
        // What is in memory can be counted.
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let count = usize::try_from(range.end.0 - range.start.0).unwrap_or(usize::MAX);
        let mut room = bytes_max;
        let mut found = Vec::with_capacity(count.min(self.entries.len()));
        for (entry, payload_bytes) in self.entries.iter().skip(skip).take(count) {
            if *payload_bytes > room && !found.is_empty() {
                break;
            }
            room = room.saturating_sub(*payload_bytes);
            found.push(entry.clone());
        }
        Found::Cached(found)
    }
}

fn index_of(entry: &EntryOf<TypeConfig>) -> LogIndex {
    LogIndex(entry.index())
}
