//! Where the entries of the log are: runs of indexes in segments, with a point every so often.
//!
//! Memory: one point of 16 bytes for [`POINT_SPACING`] bytes of log, so 16 KiB for a segment of
//! 64 MiB. It grows with the log, which compaction purges, not with the age of the directory.

use std::collections::VecDeque;

use super::frame::Chain;
use crate::types::{LogIndex, LogPosition, SegmentId};

/// A reader starts at the last point before the entry it wants, so this is what it may have to
/// skip.
const POINT_SPACING: u32 = 32 * 1024;

/// A frame from which reading can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The entry in the frame.
    pub(crate) index: LogIndex,
    /// Where the frame begins in its segment.
    pub(crate) offset: u32,
    /// Seed of its frame checksum.
    pub(crate) before: Chain,
}

/// Entries that follow each other in one segment. Other frames may stand between them.
#[derive(Clone, Debug)]
struct Run {
    segment: SegmentId,
    first: LogIndex,
    last: LogIndex,
    /// Ascending; the first is at or before `first`.
    points: Vec<Point>,
}

/// Where to read: a segment, a point at or before the entry, and the last entry that can be read on
/// from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: SegmentId,
    pub(crate) point: Point,
    pub(crate) last: LogIndex,
}

/// Where all entries are that are neither truncated nor purged.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryMap {
    /// Invariant: ascending in index and in segment, without gaps.
    runs: VecDeque<Run>,
    /// Whether the next entry begins a run of its own: after a truncation it has the index that
    /// follows, but a reader that went on in the same bytes would find the truncated entry there.
    broken: bool,
}

impl EntryMap {
    /// Takes in an entry that was appended, its frame beginning at `position`.
    pub(crate) fn push(&mut self, index: LogIndex, position: LogPosition, before: Chain) {
        let point = Point { index, offset: position.offset, before };
        if let Some(run) = self.runs.back_mut()
            && !self.broken
            && run.segment == position.segment
            && run.last.next() == index
        {
            run.last = index;
            let spaced = |last: &Point| position.offset - last.offset >= POINT_SPACING;
            if run.points.last().is_none_or(spaced) {
                run.points.push(point);
            }
            return;
        }
        self.broken = false;
        self.runs.push_back(Run {
            segment: position.segment,
            first: index,
            last: index,
            points: vec![point],
        });
    }

    /// Forgets the entries behind `last`; all of them for `None`.
    pub(crate) fn truncate_after(&mut self, last: Option<LogIndex>) {
        self.broken = true;
        let Some(last) = last else {
            self.runs.clear();
            return;
        };
        while self.runs.back().is_some_and(|run| run.first > last) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut()
            && run.last > last
        {
            run.last = last;
            run.points.retain(|point| point.index <= last);
        }
    }

    /// How many entries are in a segment. Costs one step a run.
    pub(crate) fn count_in(&self, segment: SegmentId) -> u64 {
        let runs = self.runs.iter().filter(|run| run.segment == segment);
        runs.map(|run| run.last.0 - run.first.0 + 1).sum()
    }

    /// Forgets the entries up to `upto`.
    pub(crate) fn purge(&mut self, upto: LogIndex) {
        while self.runs.front().is_some_and(|run| run.last <= upto) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut()
            && run.first <= upto
        {
            run.first = upto.next();
            let keep = run.points.partition_point(|point| point.index <= run.first);
            run.points.drain(..keep.saturating_sub(1));
        }
    }

    /// Where to start reading for the entry `index`.
    pub(crate) fn locate(&self, index: LogIndex) -> Option<Place> {
        let at = self.runs.partition_point(|run| run.last < index);
        let run = self.runs.get(at).filter(|run| run.first <= index)?;
        let at = run.points.partition_point(|point| point.index <= index);
        let point = *run.points.get(at.checked_sub(1)?)?;
        Some(Place { segment: run.segment, point, last: run.last })
    }

    /// The first entry there is.
    pub(crate) fn first_index(&self) -> Option<LogIndex> {
        self.runs.front().map(|run| run.first)
    }

    /// The first entry there is in a segment.
    pub(crate) fn first_in(&self, segment: SegmentId) -> Option<LogIndex> {
        let at = self.runs.partition_point(|run| run.segment < segment);
        self.runs.get(at).filter(|run| run.segment == segment).map(|run| run.first)
    }

    /// The oldest segment that still holds entries.
    pub(crate) fn first_segment(&self) -> Option<SegmentId> {
        self.runs.front().map(|run| run.segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u32, offset: u32) -> LogPosition {
        LogPosition { segment: SegmentId(segment), offset }
    }

    fn filled(indexes: std::ops::RangeInclusive<u64>) -> EntryMap {
        let mut map = EntryMap::default();
        for (n, index) in (0..).zip(indexes) {
            map.push(LogIndex(index), at(1, 40 + n * 10_000), Chain(n));
        }
        map
    }

    fn located(map: &EntryMap, index: u64) -> Option<(u32, u64, u64)> {
        let place = map.locate(LogIndex(index))?;
        Some((place.segment.0, place.point.index.0, place.last.0))
    }

    #[test]
    fn reading_starts_at_the_last_point_before_the_entry() {
        let map = filled(5..=14);
        assert_eq!(located(&map, 4), None);
        assert_eq!(located(&map, 5), Some((1, 5, 14)));
        assert_eq!(located(&map, 8), Some((1, 5, 14)));
        assert_eq!(located(&map, 9), Some((1, 9, 14)));
        assert_eq!(located(&map, 15), None);
    }

    #[test]
    fn an_entry_behind_a_truncation_is_never_reached_through_the_truncated_ones() {
        let mut map = filled(0..=9);
        map.truncate_after(Some(LogIndex(5)));
        map.push(LogIndex(6), at(1, 200_000), Chain(77));
        assert_eq!(located(&map, 5), Some((1, 4, 5)));
        assert_eq!(located(&map, 6), Some((1, 6, 6)));
        map.truncate_after(None);
        assert_eq!(located(&map, 0), None);
    }

    #[test]
    fn purging_keeps_a_point_for_the_first_entry_left() {
        let mut map = filled(0..=9);
        map.push(LogIndex(10), at(2, 40), Chain(0));
        map.purge(LogIndex(6));
        assert_eq!(located(&map, 6), None);
        assert_eq!(located(&map, 7), Some((1, 4, 9)));
        assert_eq!(map.first_segment(), Some(SegmentId(1)));
        map.purge(LogIndex(9));
        assert_eq!(map.first_segment(), Some(SegmentId(2)));
        map.purge(LogIndex(30));
        assert_eq!(map.first_segment(), None);
    }
}
