//! What a log must hold after each of its frames, and how far it was synced at each moment: the
//! oracle of the crash tests.

use super::*;
use crate::storage::frame::{Flag, FrameHeader, FrameKind};

/// Ends and entries: what [`read_log`] must return.
pub(super) type Expected = (HardState, Vec<(LogId, Vec<u8>)>);

/// All states that the log went through, one for each frame, and what was known at which moment.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) states: Vec<Expected>,
    /// How many frames are known to be synced.
    pub(super) synced: usize,
    /// The index of the newest snapshot of which the caller was told that it is there.
    pub(super) snapshot: Option<u64>,
    moments: Vec<Moment>,
}

/// What was known when that many operations of the disk had been done.
#[derive(Clone, Copy, Debug)]
struct Moment {
    operation: u64,
    synced: usize,
    appended: usize,
    snapshot: Option<u64>,
}

/// What may be found on an image of the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// This frame and all before it, after a power cut.
    pub(super) synced: usize,
    /// This frame and all before it, after a kill.
    pub(super) appended: usize,
    /// No frame behind this one.
    pub(super) most: usize,
    pub(super) snapshot: Option<u64>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { states: vec![Expected::default()], ..Self::default() }
    }

    pub(super) fn now(&self) -> &Expected {
        self.states.last().unwrap()
    }

    fn frame(&mut self, header: &FrameHeader, change: impl FnOnce(&mut Vec<(LogId, Vec<u8>)>)) {
        let (mut hard, mut entries) = self.now().clone();
        hard.observe(header).unwrap();
        change(&mut entries);
        self.states.push((hard, entries));
    }

    pub(super) fn entry(&mut self, entry: &NewEntry) {
        let header = FrameHeader::mark(FrameKind::Normal, Flag::Unset, entry.id);
        self.frame(&header, |entries| entries.push((entry.id, entry.payload.head.clone())));
    }

    pub(super) fn vote(&mut self, vote: Vote) {
        self.frame(&crate::storage::hard_state::vote_header(vote), |_| {});
    }

    pub(super) fn committed(&mut self, id: LogId) {
        self.frame(&FrameHeader::mark(FrameKind::Committed, Flag::Unset, id), |_| {});
    }

    pub(super) fn truncate_after(&mut self, last: LogId) {
        let header = FrameHeader::mark(FrameKind::TruncateAfter, Flag::Unset, last);
        self.frame(&header, |entries| entries.retain(|(id, _)| id.index <= last.index));
    }

    pub(super) fn truncate_all(&mut self) {
        let header = FrameHeader::mark(FrameKind::TruncateAfter, Flag::Set, LogId::default());
        self.frame(&header, Vec::clear);
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        let header = FrameHeader::mark(FrameKind::Purge, Flag::Unset, upto);
        self.frame(&header, |entries| entries.retain(|(id, _)| id.index > upto.index));
    }

    pub(super) fn all_synced(&mut self) {
        self.synced = self.states.len() - 1;
    }

    /// Notes what is known now.
    pub(super) fn note(&mut self, operation: u64) {
        let appended = self.states.len() - 1;
        let (synced, snapshot) = (self.synced, self.snapshot);
        self.moments.push(Moment { operation, synced, appended, snapshot });
    }

    /// What may be found after so many operations of the disk.
    pub(super) fn bounds(&self, operation: u64) -> Bounds {
        let after = self.moments.partition_point(|moment| moment.operation <= operation);
        let before = self.moments[after.saturating_sub(1)];
        let next = self.moments.get(after).or(self.moments.last()).unwrap();
        Bounds {
            synced: before.synced,
            appended: before.appended,
            most: next.appended,
            snapshot: before.snapshot,
        }
    }

    /// Which of the states from `least` to `most` the store shows.
    pub(super) fn find(&self, store: &Store, least: usize, most: usize) -> Option<usize> {
        let (hard, entries) = read_log(store.log()).unwrap();
        (least..=most).rev().find(|&at| {
            let (expected, ids) = &self.states[at];
            hard == *expected
                && entries.len() == ids.len()
                && entries
                    .iter()
                    .zip(ids)
                    .all(|(entry, (id, payload))| entry.id == *id && entry.payload == payload[..])
        })
    }
}
