//! Which eras and change files there are, by their names. Pure.

use std::sync::Arc;

use super::name::{ChangeName, EraName, Kind};
use crate::types::{LogIndex, Timestamp};

/// A change file, as its name has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeFileInfo {
    /// The first entry that it covers.
    pub first: LogIndex,
    /// The last one.
    pub last: LogIndex,
    /// Their stamps.
    pub stamps: (Timestamp, Timestamp),
    /// Length of the file.
    pub bytes: u64,
    /// Bytes of the changes in it before compression.
    pub content_bytes: u64,
    /// Whether it was compressed.
    pub compressed: bool,
}

/// An era: a state and the changes behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EraInfo {
    /// The first entry whose changes it holds, or is to hold: the one behind its base.
    pub first: LogIndex,
    /// The last entry that it covers: its base's last one where it has no change file yet; `None`:
    /// it begins before the first entry, and has none.
    pub last: Option<LogIndex>,
    /// The stamp of the last entry in its base; 0 for the empty base.
    pub base_stamp: Timestamp,
    /// The stamp of the last entry that it covers.
    pub last_stamp: Timestamp,
    /// Bytes of the base's tables. Mostly they are shared with the store, or with other eras.
    pub base_bytes: u64,
    /// Its change files, oldest first.
    pub files: Vec<ChangeFileInfo>,
    /// Bytes of its changes before compression.
    pub content_bytes: u64,
}

impl EraInfo {
    /// The last entry in its base; `None` for the empty base.
    #[must_use]
    pub const fn base_last(&self) -> Option<LogIndex> {
        self.first.previous()
    }

    /// Length of its change files together.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// One era.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Era {
    pub(super) name: EraName,
    /// Ascending; no two cover the same entry.
    pub(super) files: Vec<ChangeName>,
}

impl Era {
    /// The era of these files, and those of them that do not count because another one covers what
    /// they do.
    pub(super) fn of(name: EraName, mut files: Vec<ChangeName>) -> (Self, Vec<ChangeName>) {
        let order = |file: &ChangeName| {
            (file.first, std::cmp::Reverse(file.last), file.kind, file.content_bytes, file.bytes)
        };
        files.sort_unstable_by_key(order);
        let (mut counted, mut others) = (Vec::<ChangeName>::new(), Vec::new());
        for file in files {
            if file.first >= counted.last().map_or(name.first, |before| before.last.next()) {
                counted.push(file);
            } else {
                others.push(file);
            }
        }
        (Self { name, files: counted }, others)
    }

    pub(super) fn last(&self) -> Option<LogIndex> {
        self.files.last().map(|file| file.last).or(self.name.base_last())
    }

    /// Whether the file is covered by one that was made of it.
    pub(super) fn replaces(&self, file: &ChangeName) -> bool {
        let covers = |packed: &&ChangeName| packed.first <= file.first && file.last <= packed.last;
        self.files.iter().filter(covers).any(|packed| packed.kind == Kind::Packed)
    }

    pub(super) fn info(&self) -> EraInfo {
        let file = |file: &ChangeName| ChangeFileInfo {
            first: file.first,
            last: file.last,
            stamps: file.stamps,
            bytes: file.bytes,
            content_bytes: file.content_bytes,
            compressed: file.kind == Kind::Packed,
        };
        EraInfo {
            first: self.name.first,
            last: self.last(),
            base_stamp: self.name.stamp,
            last_stamp: self.files.last().map_or(self.name.stamp, |file| file.stamps.1),
            base_bytes: self.name.bytes,
            files: self.files.iter().map(file).collect(),
            content_bytes: self
                .files
                .iter()
                .fold(0, |sum, file| sum.saturating_add(file.content_bytes)),
        }
    }
}

/// All eras, oldest first. Never changes: a change makes another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Catalog {
    pub(super) eras: Vec<Arc<Era>>,
}

/// Where the changes of an entry are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In this file of this era.
    In(&'a Era, &'a ChangeName),
    /// Nowhere: they stand before the oldest era, or there is none.
    Before(Option<LogIndex>),
    /// Nowhere: from the first to the last of these, changes are in no file; in this era, or
    /// between it and the next one.
    Hole(&'a Era, LogIndex, LogIndex),
    /// Nowhere yet: the newest era ends before.
    Behind(Option<LogIndex>),
}

impl Catalog {
    /// Of eras in any order.
    pub(super) fn of(mut eras: Vec<Era>) -> Self {
        eras.sort_by_key(|era| era.name);
        Self { eras: eras.into_iter().map(Arc::new).collect() }
    }

    pub(super) fn newest(&self) -> Option<&Arc<Era>> {
        self.eras.last()
    }

    /// The last entry that is archived.
    pub(super) fn last(&self) -> Option<LogIndex> {
        self.newest().and_then(|era| era.last())
    }

    /// Where the changes of `index` are.
    pub(super) fn find(&self, index: LogIndex) -> Place<'_> {
        let next = self.eras.partition_point(|era| era.name.first <= index);
        let (before, behind) = self.eras.split_at(next);
        let Some(era) = before.last() else {
            return Place::Before(self.eras.first().map(|era| era.name.first));
        };
        let at = era.files.partition_point(|file| file.first <= index);
        let (files, later) = era.files.split_at(at);
        if let Some(file) = files.last().filter(|file| file.covers(index)) {
            return Place::In(era, file);
        }
        let first = files.last().map_or(era.name.first, |file| file.last.next());
        let next = later.first().map(|file| file.first);
        match next.or(behind.first().map(|era| era.name.first)).and_then(LogIndex::previous) {
            Some(last) => Place::Hole(era, first, last),
            None => Place::Behind(era.last()),
        }
    }

    /// Entries within an era whose changes are in no file, with the era. Between eras there may be
    /// some for good reasons: what was not archived.
    pub(super) fn holes(&self) -> Vec<(&Era, LogIndex, LogIndex)> {
        let mut holes = Vec::new();
        for era in &self.eras {
            let mut next = era.name.first;
            for file in &era.files {
                if let Some(last) = file.first.previous().filter(|&last| next <= last) {
                    holes.push((&**era, next, last));
                }
                next = file.last.next();
            }
        }
        holes
    }

    /// The eras that a store which ends with `last` may go on with, and those that reach further:
    /// of entries that it does not have, and which are to become others.
    pub(super) fn split_ahead(&self, last: Option<LogIndex>) -> (Self, Vec<Arc<Era>>) {
        let (ahead, eras) = self.eras.iter().cloned().partition(|era| era.last() > last);
        (Self { eras }, ahead)
    }

    /// With the newest era, or in the place of one of the same beginning, this one.
    pub(super) fn with(&self, era: Era) -> Self {
        let mut eras = self.eras.clone();
        match eras.iter_mut().find(|before| before.name.first == era.name.first) {
            Some(place) => *place = Arc::new(era),
            None => eras.push(Arc::new(era)),
        }
        Self { eras }
    }

    /// Without this era.
    pub(super) fn without(&self, name: &EraName) -> Self {
        let mut eras = self.eras.clone();
        eras.retain(|era| era.name != *name);
        Self { eras }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn era(first: u64, files: &[(u64, u64, Kind)]) -> (Era, Vec<ChangeName>) {
        let name = EraName { first: LogIndex(first), stamp: Timestamp(first), bytes: 5 };
        let file = |&(first, last, kind): &(u64, u64, Kind)| ChangeName {
            first: LogIndex(first),
            last: LogIndex(last),
            stamps: (Timestamp(first), Timestamp(last)),
            content_bytes: 10,
            bytes: 20,
            kind,
        };
        Era::of(name, files.iter().map(file).collect())
    }

    fn ends(files: &[ChangeName]) -> Vec<(u64, u64, Kind)> {
        files.iter().map(|file| (file.first.0, file.last.0, file.kind)).collect()
    }

    use Kind::{Packed, Raw};

    #[test]
    fn the_file_that_covers_others_counts() {
        let (one, others) = era(0, &[(5, 9, Raw), (0, 4, Raw), (0, 9, Packed), (10, 12, Raw)]);
        assert_eq!(ends(&one.files), [(0, 9, Packed), (10, 12, Raw)]);
        assert_eq!(ends(&others), [(0, 4, Raw), (5, 9, Raw)]);
        assert!(others.iter().all(|file| one.replaces(file)));
        let (one, others) = era(0, &[(0, 4, Raw), (0, 4, Packed)]);
        assert_eq!((ends(&one.files), ends(&others)), (vec![(0, 4, Packed)], vec![(0, 4, Raw)]));
    }

    #[test]
    fn what_overlaps_without_being_covered_neither_counts_nor_is_replaced() {
        let (one, others) = era(3, &[(3, 6, Raw), (5, 9, Raw), (2, 2, Raw)]);
        assert_eq!(ends(&one.files), [(3, 6, Raw)]);
        assert_eq!(ends(&others), [(2, 2, Raw), (5, 9, Raw)]);
        assert!(!others.iter().any(|file| one.replaces(file)));
    }

    #[test]
    fn each_entry_has_one_place() {
        let eras = [(20, vec![(20, 25, Raw), (28, 30, Raw)]), (3, vec![(3, 9, Raw)]), (40, vec![])];
        let catalog = Catalog::of(eras.iter().map(|(first, files)| era(*first, files).0).collect());
        let place = |index| match catalog.find(LogIndex(index)) {
            Place::In(_, file) => ("in", file.first.0, file.last.0),
            Place::Before(oldest) => ("before", oldest.unwrap().0, 0),
            Place::Hole(_, first, last) => ("hole", first.0, last.0),
            Place::Behind(last) => ("behind", last.unwrap().0, 0),
        };
        for (indexes, expected) in [
            (0..3, ("before", 3, 0)),
            (3..10, ("in", 3, 9)),
            (10..20, ("hole", 10, 19)),
            (20..26, ("in", 20, 25)),
            (26..28, ("hole", 26, 27)),
            (28..31, ("in", 28, 30)),
            (31..40, ("hole", 31, 39)),
            (40..50, ("behind", 39, 0)),
        ] {
            for index in indexes {
                assert_eq!(place(index), expected, "{index}");
            }
        }
        let holes = catalog.holes();
        let holes: Vec<_> = holes.iter().map(|(_, first, last)| (first.0, last.0)).collect();
        assert_eq!(holes, [(26, 27)]);
        assert_eq!(catalog.last(), Some(LogIndex(39)));
        assert_eq!(Catalog::default().find(LogIndex(0)), Place::Before(None));
        let empty = Catalog::of(vec![era(0, &[]).0]);
        assert_eq!(empty.find(LogIndex(0)), Place::Behind(None));
    }

    #[test]
    fn eras_that_reach_further_are_told_from_the_others() {
        let eras = [(0, vec![(0, 9, Raw)]), (10, vec![(10, 19, Packed)]), (30, vec![])];
        let catalog = Catalog::of(eras.iter().map(|(first, files)| era(*first, files).0).collect());
        let first = |eras: &[Arc<Era>]| eras.iter().map(|era| era.name.first.0).collect::<Vec<_>>();
        for (last, kept, ahead) in [
            (None, vec![], vec![0, 10, 30]),
            (Some(8), vec![], vec![0, 10, 30]),
            (Some(9), vec![0], vec![10, 30]),
            (Some(18), vec![0], vec![10, 30]),
            (Some(19), vec![0, 10], vec![30]),
            // The base of the newest one holds entry 29.
            (Some(28), vec![0, 10], vec![30]),
            (Some(29), vec![0, 10, 30], vec![]),
        ] {
            let found = catalog.split_ahead(last.map(LogIndex));
            assert_eq!((first(&found.0.eras), first(&found.1)), (kept, ahead), "{last:?}");
        }
        // One that holds nothing reaches no further than an empty store.
        let empty = Catalog::of(vec![era(0, &[]).0]);
        assert_eq!(empty.split_ahead(None).1, []);
    }
}
