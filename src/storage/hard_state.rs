//! What the log's frames add up to, apart from the entries themselves: vote, purged, committed,
//! last.
//!
//! Pure: one function says what a frame does to it, for the writer and for recovery alike.

use super::format::{Fields, STATE_BYTES, take_u32, take_u64};
use super::frame::{Chain, Flag, FrameHeader, FrameKind};
use crate::types::{LogId, LogIndex, LogPosition, NodeId, Term, Vote};

/// Vote and ends of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The last vote saved.
    pub vote: Option<Vote>,
    /// The last entry purged.
    ///
    /// Invariant: `purged <= last` where both are there.
    pub purged: Option<LogId>,
    /// The last entry that was marked as committed. May name an entry that a crash took; readers
    /// clamp it to `last`.
    pub committed: Option<LogId>,
    /// The last entry; the last purged one when the log holds none.
    pub last: Option<LogId>,
}

impl HardState {
    /// The last entry that was marked as committed, clamped to the last entry there is.
    #[must_use]
    pub fn committed_there(&self) -> Option<LogId> {
        earlier(self.committed, self.last)
    }
}

/// Why a frame cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfOrder {
    /// What was expected of it.
    pub(crate) expected: &'static str,
}

impl HardState {
    /// Takes in one frame of the log.
    ///
    /// # Errors
    /// `OutOfOrder` when the frame cannot follow what was before; then nothing is changed.
    pub(crate) fn observe(&mut self, header: &FrameHeader) -> Result<(), OutOfOrder> {
        let refuse = |expected| Err(OutOfOrder { expected });
        match header.kind {
            kind if kind.is_entry() => {
                // An empty log takes any index: openraft begins one behind an installed snapshot.
                if self.last.is_some_and(|last| header.id.index != last.index.next()) {
                    return refuse("an entry with the next index");
                }
                self.last = Some(header.id);
            }
            FrameKind::Vote => self.vote = Some(vote_of(header)),
            FrameKind::TruncateAfter => {
                let kept = (header.flag == Flag::Unset).then_some(header.id);
                let at = index_of(kept);
                if at < index_of(self.purged) || at > index_of(self.last) {
                    return refuse("a truncation within the log");
                }
                self.last = kept;
                self.committed = earlier(self.committed, kept);
            }
            FrameKind::Purge => {
                let purged = Some(header.id);
                if index_of(purged) < index_of(self.purged) {
                    return refuse("a purge that does not go back");
                }
                self.purged = purged;
                if index_of(self.last) <= index_of(purged) {
                    self.last = purged;
                }
            }
            FrameKind::Committed => {
                if index_of(self.committed) < Some(header.id.index) {
                    self.committed = Some(header.id);
                }
            }
            FrameKind::Seal => {}
            _ => return refuse("a frame of the log"),
        }
        Ok(())
    }
}

/// Where an entry stands. Ends of the log are compared by this and never as whole [`LogId`]s, which
/// are ordered by term first: an entry that lost an election may have a greater term and a lower
/// index than the snapshot that replaces it.
fn index_of(id: Option<LogId>) -> Option<LogIndex> {
    id.map(|id| id.index)
}

/// The one that stands earlier in the log.
fn earlier(one: Option<LogId>, other: Option<LogId>) -> Option<LogId> {
    if index_of(one) < index_of(other) { one } else { other }
}

/// The vote that a vote frame holds.
fn vote_of(header: &FrameHeader) -> Vote {
    Vote { term: header.id.term, node: header.id.leader, committed: header.flag == Flag::Set }
}

/// The header of the frame that saves a vote.
pub(crate) fn vote_header(vote: Vote) -> FrameHeader {
    let flag = if vote.committed { Flag::Set } else { Flag::Unset };
    let id = LogId { term: vote.term, leader: vote.node, index: LogIndex(0) };
    FrameHeader::mark(FrameKind::Vote, flag, id)
}

/// Where the segment before a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PreviousEnd {
    /// Behind the last byte that is part of the log.
    pub(crate) position: LogPosition,
    /// Frame checksum of the last frame there.
    pub(crate) chain: Chain,
}

/// The content of the frame with which each segment begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentState {
    /// What the frames of all segments before add up to.
    pub(crate) hard: HardState,
    /// `None` in the first segment of a directory.
    pub(crate) previous: Option<PreviousEnd>,
}

impl SegmentState {
    pub(crate) fn encode(&self) -> [u8; STATE_BYTES] {
        let HardState { vote, purged, committed, last } = self.hard;
        let present = [
            vote.is_some(),
            vote.is_some_and(|vote| vote.committed),
            purged.is_some(),
            committed.is_some(),
            last.is_some(),
            self.previous.is_some(),
        ];
        let mut bits = 0;
        for (bit, present) in present.into_iter().enumerate() {
            bits |= u32::from(present) << bit;
        }
        let mut fields = Fields::new()
            .u32(bits)
            .u32(0)
            .u64(vote.map_or(0, |vote| vote.term.0))
            .u64(vote.map_or(0, |vote| vote.node.0));
        for id in [purged, committed, last] {
            let id = id.unwrap_or_default();
            fields = fields.u64(id.term.0).u64(id.leader.0).u64(id.index.0);
        }
        fields
            .u64(self.previous.map_or(0, |previous| previous.position.to_u64()))
            .u32(self.previous.map_or(0, |previous| previous.chain.0))
            .u32(0)
            .finish()
    }

    /// `None` when the bytes are none that [`Self::encode`] writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != STATE_BYTES {
            return None;
        }
        let bits = take_u32(bytes, 0)?;
        let has = |bit: u32| bits & (1 << bit) != 0;
        let log_id = |at, bit| {
            let id = LogId {
                term: Term(take_u64(bytes, at)?),
                leader: NodeId(take_u64(bytes, at + 8)?),
                index: LogIndex(take_u64(bytes, at + 16)?),
            };
            has(bit).then_some(id)
        };
        let vote = Vote {
            term: Term(take_u64(bytes, 8)?),
            node: NodeId(take_u64(bytes, 16)?),
            committed: has(1),
        };
        let previous = PreviousEnd {
            position: LogPosition::from_u64(take_u64(bytes, 96)?),
            chain: Chain(take_u32(bytes, 104)?),
        };
        let state = Self {
            hard: HardState {
                vote: has(0).then_some(vote),
                purged: log_id(24, 2),
                committed: log_id(48, 3),
                last: log_id(72, 4),
            },
            previous: has(5).then_some(previous),
        };
        (state.encode() == bytes).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SegmentId;

    fn id(index: u64) -> LogId {
        LogId { term: Term(1), leader: NodeId(1), index: LogIndex(index) }
    }

    fn entry(index: u64) -> FrameHeader {
        FrameHeader::mark(FrameKind::Normal, Flag::Unset, id(index))
    }

    fn observe(state: &mut HardState, kind: FrameKind, index: u64) -> Result<(), OutOfOrder> {
        state.observe(&FrameHeader::mark(kind, Flag::Unset, id(index)))
    }

    #[test]
    fn state_frames_read_back_with_any_part_absent() {
        let vote = Vote { term: Term(9), node: NodeId(2), committed: true };
        let position = LogPosition { segment: SegmentId(4), offset: 99 };
        for bits in 0..32 {
            let has = |bit: u32| bits & (1 << bit) != 0;
            let state = SegmentState {
                hard: HardState {
                    vote: has(0).then_some(vote),
                    purged: has(1).then_some(id(3)),
                    committed: has(2).then_some(id(5)),
                    last: has(3).then_some(id(7)),
                },
                previous: has(4).then_some(PreviousEnd { position, chain: Chain(8) }),
            };
            assert_eq!(SegmentState::decode(&state.encode()), Some(state));
        }
        assert_eq!(SegmentState::decode(&[0xff; STATE_BYTES]), None);
        assert_eq!(SegmentState::decode(&[0; STATE_BYTES - 1]), None);
    }

    #[test]
    fn an_entry_must_have_the_next_index_unless_the_log_is_empty() {
        let mut state = HardState::default();
        state.observe(&entry(5)).unwrap();
        assert!(state.observe(&entry(5)).is_err());
        assert!(state.observe(&entry(7)).is_err());
        state.observe(&entry(6)).unwrap();
        assert_eq!(state.last, Some(id(6)));
    }

    #[test]
    fn truncation_keeps_its_argument_and_takes_the_commit_mark_along() {
        let mut state = HardState::default();
        for index in 0..6 {
            state.observe(&entry(index)).unwrap();
        }
        observe(&mut state, FrameKind::Committed, 5).unwrap();
        observe(&mut state, FrameKind::TruncateAfter, 3).unwrap();
        assert_eq!((state.last, state.committed), (Some(id(3)), Some(id(3))));
        assert!(observe(&mut state, FrameKind::TruncateAfter, 4).is_err());
        state.observe(&FrameHeader::mark(FrameKind::TruncateAfter, Flag::Set, id(0))).unwrap();
        assert_eq!(state.last, None);
    }

    #[test]
    fn purging_past_the_end_leaves_an_empty_log_that_goes_on_behind_it() {
        let mut state = HardState::default();
        state.observe(&entry(0)).unwrap();
        observe(&mut state, FrameKind::Purge, 9).unwrap();
        assert_eq!((state.purged, state.last), (Some(id(9)), Some(id(9))));
        assert!(observe(&mut state, FrameKind::Purge, 8).is_err());
        assert!(observe(&mut state, FrameKind::TruncateAfter, 8).is_err());
        state.observe(&entry(10)).unwrap();
    }

    #[test]
    fn ends_are_compared_by_index_whatever_the_terms_say() {
        let at = |term, index| LogId { term: Term(term), ..id(index) };
        let mark = |kind, id| FrameHeader::mark(kind, Flag::Unset, id);
        let mut state = HardState::default();
        state.observe(&mark(FrameKind::Normal, at(3, 5))).unwrap();
        state.observe(&mark(FrameKind::Committed, at(2, 9))).unwrap();
        assert_eq!(state.committed_there(), Some(at(3, 5)));
        // A snapshot of an older term replaces entries that never were committed.
        state.observe(&mark(FrameKind::Purge, at(2, 9))).unwrap();
        assert_eq!((state.purged, state.last), (Some(at(2, 9)), Some(at(2, 9))));
        assert!(state.observe(&mark(FrameKind::TruncateAfter, at(9, 8))).is_err());
        state.observe(&mark(FrameKind::Normal, at(4, 10))).unwrap();
        assert!(state.observe(&mark(FrameKind::Purge, at(9, 8))).is_err());
    }
}
