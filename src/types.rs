//! Newtypes for every number that means something, so that no two of them can be swapped silently.
//!
//! They are plain copies of an integer: no cost at run time. Arithmetic is offered only where it
//! has a meaning, and is checked.

use std::fmt;
use std::time::{Duration, SystemTime};

/// Position of an entry in the replicated log, counting from 0.
///
/// Index 0 is the membership entry with which a store is created; an index never names two
/// committed entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The index after this one.
    ///
    /// 2^64 entries cannot be written in the lifetime of any device, so the sum saturates instead
    /// of being an error that every caller would have to name.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The index before this one; `None` before the first.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A Raft term: grows with each election; a store of one voter begins a new one each time it opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

impl Term {
    /// The term after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one voter or learner within its cluster. Never used again for another directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 128 random bits that name a cluster or a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RandomId(pub [u8; 16]);

impl fmt::Display for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The full name of an entry: which leader, in which term, put it at which index.
///
/// Two entries with the same `LogId` are the same entry, on every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader that proposed the entry.
    pub term: Term,
    /// The leader that proposed the entry.
    pub leader: NodeId,
    /// Where it stands in the log.
    pub index: LogIndex,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}-N{}-{}", self.term, self.leader, self.index)
    }
}

/// What this node has promised in the election of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The term voted in.
    pub term: Term,
    /// The candidate voted for.
    pub node: NodeId,
    /// Whether a quorum granted it, so that `node` is the leader of `term`.
    pub committed: bool,
}

/// Version of a key: the log index of the entry that wrote it (rule R11). A caller never chooses
/// one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl From<LogIndex> for Version {
    fn from(index: LogIndex) -> Self {
        Self(index.0)
    }
}

impl From<Version> for LogIndex {
    fn from(version: Version) -> Self {
        Self(version.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Microseconds since the Unix epoch.
///
/// The stamp of a write is the proposer's clock, raised where needed so that it never goes back in
/// log order, whatever the clocks do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The same moment as the standard library has it.
    ///
    /// `None` for a moment that the platform's clock cannot express.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(self.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a segment file; grows by one with each file and is never used twice in a directory.
///
/// 32 bits: with the smallest segment that a configuration allows, they last for 16 TiB of writes,
/// with the default one for 256 PiB. The last number is refused, not wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

impl SegmentId {
    /// The next number; `None` when there is none left.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one table file; counts from 1 and is never used twice in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

impl TableId {
    /// The next number; `None` when there is none left.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the log as bytes: which segment, and how far into its file.
///
/// Ordered as the log is written. As a number it is `segment << 32 | offset`, which is how files
/// hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The segment file.
    pub segment: SegmentId,
    /// Bytes from the beginning of that file.
    pub offset: u32,
}

impl LogPosition {
    /// As files hold it.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        ((self.segment.0 as u64) << 32) | self.offset as u64
    }

    /// From what a file holds.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
    pub const fn from_u64(packed: u64) -> Self {
        Self { segment: SegmentId((packed >> 32) as u32), offset: packed as u32 }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_position_survives_packing() {
        for (segment, offset) in [(0, 0), (1, 7), (u32::MAX, 0), (0, u32::MAX), (9, 1 << 31)] {
            let position = LogPosition { segment: SegmentId(segment), offset };
            assert_eq!(LogPosition::from_u64(position.to_u64()), position);
        }
    }

    #[test]
    fn log_position_orders_as_the_log_is_written() {
        let early = LogPosition { segment: SegmentId(1), offset: 900 };
        let late = LogPosition { segment: SegmentId(2), offset: 0 };
        assert!(early < late);
        assert!(early.to_u64() < late.to_u64());
    }

    #[test]
    fn numbers_end_instead_of_wrapping() {
        assert_eq!(LogIndex(0).previous(), None);
        assert_eq!(LogIndex(4).previous(), Some(LogIndex(3)));
        assert_eq!(SegmentId(u32::MAX).next(), None);
        assert_eq!(Term(1).next(), Term(2));
    }
}
