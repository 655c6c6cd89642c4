//! Names in the folder of the past. They say everything that is needed to decide what to read, to
//! compress and to remove; the files are held against their names when they are read.

use std::fmt;

use super::place::Span;
use crate::storage::format::{
    AHEAD_SUFFIX, ERA_SUFFIX, PACKED_SUFFIX, RAW_SUFFIX, TEMPORARY_SUFFIX,
};
use crate::types::{LogIndex, Timestamp};

/// The name of an era: `<first>-<stamp>-<bytes>.era`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EraName {
    /// The first entry whose changes it holds, or is to hold: the one behind its base.
    pub(super) first: LogIndex,
    /// The stamp of the last entry in the base; 0 for the empty base.
    pub(super) stamp: Timestamp,
    /// Bytes of the base's tables.
    pub(super) bytes: u64,
}

impl fmt::Display for EraName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:020}-{}{ERA_SUFFIX}", self.first.0, self.stamp.0, self.bytes)
    }
}

impl EraName {
    /// The era that a name means; `None` for a name that is not exactly an era's.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let [first, stamp, bytes] = numbers(name.strip_suffix(ERA_SUFFIX)?)?;
        let era = Self { first: LogIndex(first), stamp: Timestamp(stamp), bytes };
        (era.to_string() == name).then_some(era)
    }

    /// The last entry in the base; `None` for the empty base.
    pub(super) const fn base_last(&self) -> Option<LogIndex> {
        self.first.previous()
    }
}

/// Whether the folder of an era may have this name, or that of one that was set aside.
pub(crate) fn is_era_name(name: &str) -> bool {
    EraName::parse(name).is_some() || is_ahead_era(name)
}

/// What an era is called that was set aside because it reaches further than a store that ended with
/// `last`; `again` tells apart those of one name, from 1 on. No era's name.
pub(super) fn ahead(era: &EraName, last: Option<LogIndex>, again: u32) -> String {
    let last = last.map_or(0, |last| last.0);
    let more = if again > 1 { format!("-{again}") } else { String::new() };
    format!("{era}{AHEAD_SUFFIX}{last:020}{more}")
}

/// Whether a name is that of an era that was set aside.
pub(super) fn is_ahead_era(name: &str) -> bool {
    let parse = || {
        let (era, rest) = name.split_once(AHEAD_SUFFIX)?;
        let (last, again) = match numbers(rest) {
            Some([last]) => (last, 1),
            None => numbers(rest).map(|[last, again]| (last, again))?,
        };
        let expected = ahead(&EraName::parse(era)?, Some(LogIndex(last)), again.try_into().ok()?);
        (expected == name).then_some(())
    };
    parse().is_some()
}

/// How a change file came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It was compressed, from others that it replaces: of two that hold the same it counts.
    Packed,
    /// As it was first written.
    Raw,
}

/// The name of a change file: `<first>-<last>-<stamp>-<stamp>-<content>-<bytes>.chg`, or `.chz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChangeName {
    /// The first entry that it covers.
    pub(super) first: LogIndex,
    /// The last one.
    pub(super) last: LogIndex,
    /// Their stamps.
    pub(super) stamps: (Timestamp, Timestamp),
    /// Bytes of its blocks before compression.
    pub(super) content_bytes: u64,
    /// Length of the file.
    pub(super) bytes: u64,
    pub(super) kind: Kind,
}

impl fmt::Display for ChangeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, stamps: (from, to), content_bytes, bytes, kind } = self;
        let suffix = kind.suffix();
        write!(f, "{:020}-{:020}-{:020}-{:020}", first.0, last.0, from.0, to.0)?;
        write!(f, "-{content_bytes}-{bytes}{suffix}")
    }
}

impl ChangeName {
    /// The file that a name means; `None` for a name that is not exactly a change file's.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (kind, stem) = Kind::split(name)?;
        let [first, last, from, to, content_bytes, bytes] = numbers(stem)?;
        let file = Self {
            first: LogIndex(first),
            last: LogIndex(last),
            stamps: (Timestamp(from), Timestamp(to)),
            content_bytes,
            bytes,
            kind,
        };
        let is_ordered = first <= last && from <= to;
        (is_ordered && file.to_string() == name).then_some(file)
    }

    pub(super) fn covers(&self, index: LogIndex) -> bool {
        (self.first..=self.last).contains(&index)
    }

    pub(super) const fn span(&self) -> Span {
        Span { first: self.first, last: self.last, stamps: self.stamps }
    }
}

impl Kind {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Packed => PACKED_SUFFIX,
            Self::Raw => RAW_SUFFIX,
        }
    }

    fn split(name: &str) -> Option<(Self, &str)> {
        let mut kinds = [Self::Packed, Self::Raw].into_iter();
        kinds.find_map(|kind| Some((kind, name.strip_suffix(kind.suffix())?)))
    }
}

/// What a change file is called, but for [`TEMPORARY_SUFFIX`], while it is being written: its
/// lengths are not known yet.
pub(super) fn unfinished(first: LogIndex, last: LogIndex, kind: Kind) -> String {
    format!("{:020}-{:020}{}", first.0, last.0, kind.suffix())
}

/// Whether a name is that of a change file that is being written.
pub(super) fn is_unfinished_file(name: &str) -> bool {
    let parse = || {
        let (kind, stem) = Kind::split(name.strip_suffix(TEMPORARY_SUFFIX)?)?;
        let [first, last] = numbers(stem)?;
        let expected = unfinished(LogIndex(first), LogIndex(last), kind) + TEMPORARY_SUFFIX;
        (expected == name).then_some(())
    };
    parse().is_some()
}

/// Whether a name is that of an era that is being built or removed.
pub(super) fn is_unfinished_era(name: &str) -> bool {
    name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(|name| EraName::parse(name).is_some())
}

/// Exactly `N` numbers with hyphens between them.
fn numbers<const N: usize>(stem: &str) -> Option<[u64; N]> {
    let mut parts = stem.split('-');
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_no_other_spelling_does() {
        let era = EraName { first: LogIndex(7), stamp: Timestamp(9), bytes: 12 };
        assert_eq!(era.to_string(), "00000000000000000007-00000000000000000009-12.era");
        assert_eq!(EraName::parse(&era.to_string()), Some(era));
        for name in ["7-9-12.era", "00000000000000000007.era", ".era", "x-y-z.era"] {
            assert_eq!(EraName::parse(name), None, "{name}");
        }
        let spelled = era.to_string().replace("-12", "-012");
        assert_eq!(EraName::parse(&spelled), None);
        for kind in [Kind::Raw, Kind::Packed] {
            let file = ChangeName {
                first: LogIndex(7),
                last: LogIndex(u64::MAX),
                stamps: (Timestamp(1), Timestamp(2)),
                content_bytes: 3,
                bytes: 4,
                kind,
            };
            assert_eq!(ChangeName::parse(&file.to_string()), Some(file));
            let turned = ChangeName { last: LogIndex(6), ..file };
            assert_eq!(ChangeName::parse(&turned.to_string()), None);
        }
    }

    #[test]
    fn only_our_unfinished_names_are_ours() {
        let name = unfinished(LogIndex(1), LogIndex(2), Kind::Raw) + ".tmp";
        assert!(is_unfinished_file(&name));
        assert!(!is_unfinished_file("1-2.chg.tmp"));
        assert!(!is_unfinished_file(name.strip_suffix(".tmp").unwrap()));
        let era = EraName { first: LogIndex(7), stamp: Timestamp(9), bytes: 12 };
        assert!(is_unfinished_era(&format!("{era}.tmp")));
        assert!(!is_unfinished_era(&era.to_string()));
        assert!(!is_unfinished_era("notes.era.tmp"));
    }

    #[test]
    fn what_was_set_aside_has_a_name_of_its_own() {
        let era = EraName { first: LogIndex(7), stamp: Timestamp(9), bytes: 12 };
        let name = ahead(&era, Some(LogIndex(3)), 1);
        let expected =
            "00000000000000000007-00000000000000000009-12.era.ahead-00000000000000000003";
        assert_eq!(name, expected);
        assert_eq!(ahead(&era, Some(LogIndex(3)), 2), format!("{expected}-2"));
        for (last, again) in [(None, 1), (None, 2), (Some(LogIndex(u64::MAX)), 12)] {
            let name = ahead(&era, last, again);
            assert!(is_ahead_era(&name) && is_era_name(&name), "{name}");
            assert!(EraName::parse(&name).is_none() && !is_unfinished_era(&name), "{name}");
        }
        for other in [
            era.to_string(),
            format!("{era}.ahead-3"),
            format!("{name}-1"),
            format!("{name}-02"),
            format!("{name}-2-2"),
            format!("{name}.tmp"),
            name.replace("-12.era", "-012.era"),
        ] {
            assert!(!is_ahead_era(&other), "{other}");
        }
    }
}
