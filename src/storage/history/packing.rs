//! Which change files are to become one. Pure.

use std::ops::Range;
use std::sync::Arc;

use super::catalog::Era;
use super::name::{ChangeName, Kind};

/// Bytes of changes after which a compressed file ends, unless a single raw one is longer.
const PACKED_BYTES: u64 = 32 << 20;
/// Bytes of raw changes that are worth it in the newest era.
const RAW_BYTES_MIN: u64 = 8 << 20;
/// How many raw files are, however short.
const RAW_FILES_MAX: usize = 32;
/// How many compressed files are, where they fit into one.
const PACKED_FILES_MAX: usize = 8;

/// Files of one era that are to become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) era: Arc<Era>,
    pub(super) files: Range<usize>,
}

impl Group {
    pub(super) fn files(&self) -> &[ChangeName] {
        self.era.files.get(self.files.clone()).unwrap_or_default()
    }
}

/// The files that are to be compressed next, of the oldest era that has any. Those that cannot be
/// read are passed over.
pub(super) fn plan(eras: &[Arc<Era>], is_damaged: impl Fn(&ChangeName) -> bool) -> Option<Group> {
    let newest = eras.len().checked_sub(1)?;
    eras.iter().enumerate().find_map(|(at, era)| {
        let worth = |files: &[ChangeName]| is_worth_it(files, at == newest);
        let groups = groups(&era.files, &is_damaged).into_iter();
        // Behind a long one stand the short ones that came later: they are merged without it.
        let mut ends = groups.flat_map(|files| files.clone().map(move |from| from..files.end));
        let files = ends.find(|files| era.files.get(files.clone()).is_some_and(worth))?;
        Some(Group { era: Arc::clone(era), files })
    })
}

fn is_worth_it(files: &[ChangeName], is_newest: bool) -> bool {
    let bytes = || files.iter().map(|file| file.content_bytes).sum::<u64>();
    match files.first().map(|file| file.kind) {
        None => false,
        Some(Kind::Raw) => !is_newest || bytes() >= RAW_BYTES_MIN || files.len() >= RAW_FILES_MAX,
        // One that is most of it would be rewritten again and again.
        Some(Kind::Packed) => {
            let greatest = files.iter().map(|file| file.content_bytes).max();
            files.len() >= PACKED_FILES_MAX && greatest.unwrap_or(0) <= bytes() / 2
        }
    }
}

/// Neighbours of one kind, as many as become one file.
fn groups(files: &[ChangeName], is_damaged: &impl Fn(&ChangeName) -> bool) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut bytes: u64 = 0;
    let mut before: Option<&ChangeName> = None;
    for (at, file) in files.iter().enumerate() {
        if is_damaged(file) {
            before = None;
            continue;
        }
        bytes = bytes.saturating_add(file.content_bytes);
        let goes_on = before.is_some_and(|before| {
            before.kind == file.kind && before.last.next() == file.first && bytes <= PACKED_BYTES
        });
        if let Some(group) = groups.last_mut().filter(|_| goes_on) {
            group.end = at + 1;
        } else {
            groups.push(at..at + 1);
            bytes = file.content_bytes;
        }
        before = Some(file);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::history::name::EraName;
    use crate::types::{LogIndex, Timestamp};

    const MIB: u64 = 1 << 20;

    /// An era whose files have so many bytes of changes, ten entries each.
    fn era(first: u64, files: &[(Kind, u64)]) -> Arc<Era> {
        let name = EraName { first: LogIndex(first), stamp: Timestamp(0), bytes: 0 };
        let file = |(at, &(kind, content_bytes)): (usize, &(Kind, u64))| {
            let first = LogIndex(first + 10 * at as u64);
            ChangeName {
                first,
                last: LogIndex(first.0 + 9),
                stamps: (Timestamp(0), Timestamp(0)),
                content_bytes,
                bytes: content_bytes,
                kind,
            }
        };
        let files = files.iter().enumerate().map(file).collect();
        Arc::new(Era { name, files })
    }

    fn planned(eras: &[Arc<Era>]) -> Option<(u64, Range<usize>)> {
        plan(eras, |_| false).map(|group| (group.era.name.first.0, group.files))
    }

    use Kind::{Packed, Raw};

    #[test]
    fn little_in_the_newest_era_waits() {
        assert_eq!(planned(&[]), None);
        assert_eq!(planned(&[era(0, &[])]), None);
        assert_eq!(planned(&[era(0, &[(Raw, MIB), (Raw, MIB)])]), None);
        assert_eq!(planned(&[era(0, &[(Raw, 8 * MIB)])]), Some((0, 0..1)));
        assert_eq!(planned(&[era(0, &[(Raw, 5 * MIB), (Raw, 5 * MIB)])]), Some((0, 0..2)));
        assert_eq!(planned(&[era(0, &[(Raw, 0); 31])]), None);
        assert_eq!(planned(&[era(0, &[(Raw, 0); 32])]), Some((0, 0..32)));
    }

    #[test]
    fn all_of_an_older_era_is_compressed() {
        assert_eq!(planned(&[era(0, &[(Raw, 1)]), era(10, &[])]), Some((0, 0..1)));
        assert_eq!(planned(&[era(0, &[(Packed, 1), (Raw, 1)]), era(20, &[])]), Some((0, 1..2)));
        assert_eq!(
            planned(&[era(0, &[(Packed, 1)]), era(10, &[(Raw, 9 * MIB)])]),
            Some((10, 0..1))
        );
    }

    #[test]
    fn a_compressed_file_is_not_much_longer_than_it_may_be() {
        let files = [(Raw, 20 * MIB), (Raw, 12 * MIB), (Raw, 1)];
        assert_eq!(planned(&[era(0, &files)]), Some((0, 0..2)));
        assert_eq!(planned(&[era(0, &[(Raw, MIB), (Raw, 500 * MIB)])]), Some((0, 1..2)));
    }

    #[test]
    fn many_short_compressed_files_become_one_but_not_with_one_that_is_most_of_it() {
        assert_eq!(planned(&[era(0, &[(Packed, 1); 7])]), None);
        assert_eq!(planned(&[era(0, &[(Packed, 2); 8])]), Some((0, 0..8)));
        let mut files = [(Packed, 1); 8];
        files[3].1 = MIB;
        assert_eq!(planned(&[era(0, &files)]), None);
    }

    #[test]
    fn short_compressed_files_become_one_behind_longer_ones() {
        let of = |long: &[u64], short: usize| {
            let long = long.iter().map(|&bytes| (Packed, bytes));
            long.chain([(Packed, 2)].repeat(short)).collect::<Vec<_>>()
        };
        assert_eq!(planned(&[era(0, &of(&[MIB], 7))]), None);
        assert_eq!(planned(&[era(0, &of(&[MIB], 8))]), Some((0, 1..9)));
        assert_eq!(planned(&[era(0, &of(&[9 * MIB, MIB, 100], 8))]), Some((0, 3..11)));
        // One that came after some of them ends a row as one before them does.
        let mut files = of(&[], 20);
        files[5].1 = MIB;
        assert_eq!(planned(&[era(0, &files)]), Some((0, 6..20)));
    }

    #[test]
    fn what_short_compressed_files_are_merged_from_is_rewritten_seldom() {
        let mut files: Vec<(Kind, u64)> = Vec::new();
        let mut rewritten = 0;
        for _ in 0..4_000 {
            files.push((Packed, 4_096));
            while let Some((_, range)) = planned(&[era(0, &files)]) {
                let bytes = files[range.clone()].iter().map(|file| file.1).sum();
                rewritten += bytes;
                files.splice(range, [(Packed, bytes)]);
            }
            assert!(files.len() < 60, "{} files", files.len());
        }
        let written = files.iter().map(|file| file.1).sum::<u64>();
        assert!(rewritten < 6 * written, "{rewritten} of {written}");
    }

    #[test]
    fn holes_and_damaged_files_divide() {
        let mut holed = (*era(0, &[(Raw, 5 * MIB), (Raw, 5 * MIB)])).clone();
        holed.files[1].first = LogIndex(11);
        assert_eq!(planned(&[Arc::new(holed)]), None);
        let eras = [era(0, &[(Raw, 8 * MIB), (Raw, MIB), (Raw, 8 * MIB)])];
        let group = plan(&eras, |file| file.first == LogIndex(0)).unwrap();
        assert_eq!(group.files, 1..3);
    }
}
