//! What is done with each file as it is found when a store is opened: one table, nothing else.
//!
//! [`decide`] is pure. Who executes the decisions is `log_open` for the log, `store` for the rest.
//! `docs/durability.md` prints the same rows.

use std::path::Path;

use super::error::StorageError;
use super::segment_scan::Written;

/// Which file, or which part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A file under a temporary name.
    Temporary,
    /// `IDENTITY`.
    Identity,
    /// `log/WATERMARK`.
    Watermark,
    /// The newest manifest.
    Manifest,
    /// A table.
    Table,
    /// A table, or the beginning of one, that was received and is not in the state.
    Incoming,
    /// Prologue and state frame of a segment.
    SegmentHead,
    /// Any later frame of a segment.
    Frame,
}

/// Whether it is there and what its checksum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// It is not there; of a frame: the log ends here.
    Absent,
    /// It checks.
    Intact,
    /// It does not check, or it checks and cannot stand here.
    Damaged,
    /// It checks and was written by a newer release.
    Newer,
}

/// Whether something else proves that it was on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needed {
    /// A frame: it begins below what is known to be synced. A segment: what a later file says must
    /// be in it. A manifest: the log is purged up to it. A table: the newest manifest names it. The
    /// identity: the log holds entries.
    Yes,
    /// Nothing proves it.
    No,
}

/// One thing found, with all that the decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    pub(crate) part: Part,
    pub(crate) check: Check,
    pub(crate) needed: Needed,
    /// Says something of damaged frames only.
    pub(crate) written: Written,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It counts as it is.
    Keep,
    /// It counts as not there.
    Ignore,
    /// It is removed.
    Remove,
    /// The directory is created anew.
    Create,
    /// The log ends before it; its bytes are kept as evidence.
    Cut,
    /// `Corrupt`; nothing is written.
    RefuseCorrupt,
    /// `MissingFile` or `MissingSegment`; nothing is written.
    RefuseMissing,
    /// `UnsupportedFormat`; nothing is written.
    RefuseNewer,
    /// `TailAmbiguous`; nothing is written unless the operator says so.
    RefuseAmbiguous,
}

/// A row: what it matches (an empty list matches all), what is done, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) letter: char,
    pub(crate) part: Part,
    check: &'static [Check],
    needed: &'static [Needed],
    written: &'static [Written],
    pub(crate) decision: Decision,
    pub(crate) reason: &'static str,
}

/// A row that matches all situations of a part with one of these checks.
const fn case(
    letter: char,
    part: Part,
    check: &'static [Check],
    decision: Decision,
    reason: &'static str,
) -> Case {
    Case { letter, part, check, needed: &[], written: &[], decision, reason }
}

impl Case {
    const fn needed(mut self, needed: &'static [Needed]) -> Self {
        self.needed = needed;
        self
    }

    const fn written(mut self, written: &'static [Written]) -> Self {
        self.written = written;
        self
    }

    fn matches(&self, situation: Situation) -> bool {
        fn one_of<T: PartialEq>(pattern: &[T], value: &T) -> bool {
            pattern.is_empty() || pattern.contains(value)
        }
        self.part == situation.part
            && one_of(self.check, &situation.check)
            && one_of(self.needed, &situation.needed)
            && one_of(self.written, &situation.written)
    }
}

/// The table. Exactly one row matches any situation.
pub(crate) const CASES: [Case; 31] = {
    use Check::{Absent, Damaged, Intact, Newer};
    use Decision::{
        Create, Cut, Ignore, Keep, RefuseAmbiguous, RefuseCorrupt, RefuseMissing, RefuseNewer,
        Remove,
    };
    use Needed::{No, Yes};
    use Part::{Frame, Identity, Incoming, Manifest, SegmentHead, Table, Temporary, Watermark};
    use Written::{FileEnds, Unclear, ZeroSector};
    const SYNCED_FIRST: &str = "it got its name after its bytes were synced";
    const TABLE_FIRST: &str = "it is synced before the manifest that names it";
    const NOT_GUESSED: &str = "what a newer release wrote is not guessed at";
    [
        case('A', Temporary, &[], Remove, "it never got its name, so nothing relies on it"),
        case('B', Identity, &[Intact], Keep, "this is the directory it says it is"),
        case('C', Identity, &[Newer], RefuseNewer, NOT_GUESSED),
        case('D', Identity, &[Damaged], RefuseCorrupt, SYNCED_FIRST),
        case('E', Identity, &[Absent], RefuseMissing, "it is synced before the first entry")
            .needed(&[Yes]),
        case('F', Identity, &[Absent], Create, "the creation was interrupted: nothing is lost")
            .needed(&[No]),
        case('G', Watermark, &[Intact], Keep, "it proves how far the log was synced"),
        case('H', Watermark, &[Absent, Damaged, Newer], Ignore, "the headers prove it too"),
        case('I', Manifest, &[Intact], Keep, SYNCED_FIRST),
        case('J', Manifest, &[Damaged], RefuseCorrupt, SYNCED_FIRST),
        case('K', Manifest, &[Newer], RefuseNewer, NOT_GUESSED),
        case('L', Manifest, &[Absent], RefuseMissing, "the log is purged after it is synced")
            .needed(&[Yes]),
        case('M', Manifest, &[Absent], Ignore, "the log holds everything").needed(&[No]),
        case('N', SegmentHead, &[Intact], Keep, "it got its name after its head was synced"),
        case(
            'O',
            SegmentHead,
            &[Damaged],
            RefuseCorrupt,
            "it got its name after its head was synced",
        ),
        case('P', SegmentHead, &[Newer], RefuseNewer, NOT_GUESSED),
        case('Q', SegmentHead, &[Absent], RefuseMissing, "a later file proves that it was there")
            .needed(&[Yes]),
        case('R', SegmentHead, &[Absent], Ignore, "its entries were purged").needed(&[No]),
        case('S', Frame, &[Intact], Keep, "it is what was written"),
        case('T', Frame, &[Newer], RefuseNewer, NOT_GUESSED),
        case('U', Frame, &[Absent, Damaged], RefuseCorrupt, "the log was synced beyond it")
            .needed(&[Yes]),
        case('V', Frame, &[Absent], Keep, "the log ends here").needed(&[No]),
        case('W', Frame, &[Damaged], Cut, "the file ends inside it: it was never fully written")
            .needed(&[No])
            .written(&[FileEnds]),
        case('X', Frame, &[Damaged], Cut, "a sector of it is zero: it was never fully written")
            .needed(&[No])
            .written(&[ZeroSector]),
        case('Y', Frame, &[Damaged], RefuseAmbiguous, "it may be damage or an unsynced write")
            .needed(&[No])
            .written(&[Unclear]),
        case('Z', Table, &[], Remove, "no manifest that counts names it").needed(&[No]),
        case('a', Table, &[Intact], Keep, TABLE_FIRST).needed(&[Yes]),
        case('b', Table, &[Damaged], RefuseCorrupt, TABLE_FIRST).needed(&[Yes]),
        case('c', Table, &[Newer], RefuseNewer, NOT_GUESSED).needed(&[Yes]),
        case('d', Table, &[Absent], RefuseMissing, TABLE_FIRST).needed(&[Yes]),
        case('e', Incoming, &[], Ignore, "it is not in the state; who receives the rest judges it"),
    ]
};

/// The row that matches.
pub(crate) fn decide(situation: Situation) -> &'static Case {
    static TABLE: [Case; 31] = CASES;
    // The row before the last is a refusal; the test below shows that it is never reached this way.
    let [.., refusal, _] = &TABLE;
    TABLE.iter().find(|case| case.matches(situation)).unwrap_or(refusal)
}

/// Asks the table about a whole file: what was read of it, or that it is absent, or why not.
/// `Ok(None)` when it counts as not there.
///
/// # Errors
/// What was found, where the table refuses it; `MissingFile` where it must be there.
pub(crate) fn judge<T>(
    part: Part,
    needed: Needed,
    file: &Path,
    found: Result<Option<T>, StorageError>,
) -> Result<Option<T>, StorageError> {
    let check = match &found {
        Ok(Some(_)) => Check::Intact,
        Ok(None) => Check::Absent,
        Err(StorageError::Corrupt { .. }) => Check::Damaged,
        Err(StorageError::UnsupportedFormat { .. }) => Check::Newer,
        Err(_) => return found,
    };
    let case = decide(Situation { part, check, needed, written: Written::Unclear });
    match case.decision {
        Decision::Keep | Decision::RefuseCorrupt | Decision::RefuseNewer => found,
        Decision::RefuseMissing | Decision::RefuseAmbiguous => {
            Err(StorageError::MissingFile { file: file.to_owned(), reason: case.reason.to_owned() })
        }
        Decision::Ignore | Decision::Remove | Decision::Create | Decision::Cut => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_row_matches_each_situation() {
        use Part::{Frame, Identity, Incoming, Manifest, SegmentHead, Table, Temporary, Watermark};
        let mut count = 0;
        for part in [Temporary, Identity, Watermark, Manifest, Table, Incoming, SegmentHead, Frame]
        {
            for check in [Check::Absent, Check::Intact, Check::Damaged, Check::Newer] {
                for needed in [Needed::Yes, Needed::No] {
                    for written in [Written::FileEnds, Written::ZeroSector, Written::Unclear] {
                        let situation = Situation { part, check, needed, written };
                        let rows: Vec<char> = CASES
                            .iter()
                            .filter(|case| case.matches(situation))
                            .map(|case| case.letter)
                            .collect();
                        assert_eq!(rows.len(), 1, "{situation:?} matches rows {rows:?}");
                        assert_eq!(decide(situation).letter, rows[0]);
                        count += 1;
                    }
                }
            }
        }
        assert_eq!(count, 8 * 4 * 2 * 3);
    }

    #[test]
    fn every_row_is_reached_by_something() {
        let letters: Vec<char> = CASES.iter().map(|case| case.letter).collect();
        let expected: Vec<char> = ('A'..='Z').chain('a'..='e').collect();
        assert_eq!(letters, expected);
    }

    #[test]
    fn nothing_that_was_synced_is_ever_cut_or_ignored() {
        for case in CASES {
            let synced = case.needed.contains(&Needed::Yes);
            if synced {
                assert!(
                    !matches!(
                        case.decision,
                        Decision::Cut | Decision::Ignore | Decision::Remove | Decision::Create
                    ),
                    "row {}",
                    case.letter
                );
            }
        }
    }
}
