//! Stretches of keys of which none is there, so that a scan need not go over all that was removed.
//!
//! Where tables lie below, what is removed leaves a tombstone until a merge drops it. Whoever takes
//! rows from the front of a queue would go over the tombstones of all that he has taken, each time.
//! So a scan that has gone over many in a row tells of the stretch, and later ones go on behind it.
//!
//! A stretch is found in one state and used in later ones. The state takes it over before an entry
//! is applied, and looks whether a key has come into it since. From then on each key that comes
//! closes it where it stands ([`Gaps::close`]). Views have the gaps of their own moment.
//!
//! Not part of the state: two replicas with other gaps have the same rows.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::storage::index::Index;
use crate::storage::record::{Direction, Record};
use crate::storage::stretch::{self, HasStretch, Stretch, next_key, position, position_at};

/// A scan tells of so many tombstones in a row: going over fewer costs about as much as finding its
/// place anew.
pub(super) const GAP_ROWS_MIN: usize = 32;

/// A scan that began in a gap tells of so many right behind it: the gap then grows. Going over one
/// costs as much as telling of it, so that taking rows from the front or the back costs least where
/// it is told of every few.
pub(super) const GAP_GROWS_ROWS_MIN: usize = 4;

/// Most gaps that are known. A key that comes is looked for among them.
const GAPS_MAX: usize = 64;

/// Most rows of the tail that are looked at for a stretch that was found, some tens of
/// microseconds: nobody writes meanwhile. The rest of it is found again.
const LOOKED_AT_MAX: usize = 4096;

/// Keys of which none is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    stretch: Stretch,
    /// How many rows a scan is spared, roughly.
    rows: usize,
}

impl Gap {
    /// The keys between two bounds, where it took so many tombstones from one to the other.
    pub(super) fn between(from: Bound<&[u8]>, to: Bound<&[u8]>, rows: usize) -> Self {
        Self { stretch: Stretch::between(from, to), rows }
    }

    /// Where a scan in this direction goes on; `None`: there is nothing behind it.
    pub(super) fn beyond(&self, direction: Direction) -> Option<Bound<&[u8]>> {
        self.stretch.beyond(direction)
    }

    /// How many rows a scan is spared, roughly.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }
}

impl HasStretch for Gap {
    fn stretch(&self) -> &Stretch {
        &self.stretch
    }

    fn take_in(&mut self, other: Self) {
        self.stretch.take_in(other.stretch);
        self.rows = self.rows.max(other.rows);
    }
}

/// A stretch that a reader has found in a state.
#[derive(Debug)]
struct Found {
    gap: Gap,
    /// [`Gaps::freezes`] of that state.
    freezes: u64,
}

/// Where readers leave what they find: one stretch, the last.
#[derive(Debug, Default)]
struct Mailbox {
    has_any: AtomicBool,
    found: Mutex<Option<Found>>,
}

/// The gaps of a state; a clone is O(1).
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps {
    /// In key order; between two of them there is a key that is in none.
    known: Option<Arc<Vec<Gap>>>,
    /// How often the tail was set aside before this state. What is newer than a state is in the
    /// tail, as long as the tail was not set aside.
    freezes: u64,
    /// That of the state that goes on, also for views of earlier moments.
    mailbox: Arc<Mailbox>,
}

impl Gaps {
    /// The gap that a scan in this direction stands before or in, given the bound that it begins
    /// at.
    pub(super) fn at(&self, start: Bound<&[u8]>, direction: Direction) -> Option<&Gap> {
        let known = self.known.as_deref()?;
        known.get(position_at(known, start, direction)?)
    }

    /// Which gap has this key.
    fn position(&self, key: &[u8]) -> Option<usize> {
        position(self.known.as_deref()?, key)
    }

    /// Whether this key is known not to be there.
    pub(super) fn contain(&self, key: &[u8]) -> bool {
        self.position(key).is_some()
    }

    /// Tells the state that goes on of a stretch without any key in the state that these gaps are
    /// of. Waits for nobody: where another does the same, this one is found again.
    pub(super) fn tell(&self, gap: Gap) {
        if let Some(mut found) = self.mailbox.found.try_lock() {
            *found = Some(Found { gap, freezes: self.freezes });
            self.mailbox.has_any.store(true, Ordering::Release);
        }
    }

    /// Takes over what was found, as far as it is still so; to be called before an entry is
    /// applied. `tail` has what is newer than the last freeze.
    #[inline]
    pub(super) fn take_found(&mut self, tail: &Index<Record>) {
        if self.mailbox.has_any.load(Ordering::Acquire) {
            self.take_over(tail);
        }
    }

    #[cold]
    fn take_over(&mut self, tail: &Index<Record>) {
        let found = {
            let mut found = self.mailbox.found.lock();
            self.mailbox.has_any.store(false, Ordering::Release);
            found.take()
        };
        // What came after that state may be below the tail by now.
        let Some(Found { gap, .. }) = found.filter(|found| found.freezes == self.freezes) else {
            return;
        };
        self.add(self.still_without_keys(gap, tail));
    }

    /// The part of a stretch, from its beginning, that no key has come into. What has come since it
    /// was found is in the tail, and was not there then: any row of the tail with a value ends it.
    fn still_without_keys(&self, mut gap: Gap, tail: &Index<Record>) -> Gap {
        // What is known already was kept up to date.
        let Stretch { from, .. } = &gap.stretch;
        let known = self.position(from).and_then(|at| self.known.as_deref()?.get(at));
        let unknown = match known.map(|gap| &gap.stretch.to) {
            None => from.clone(),
            Some(Some(to)) => to.clone(),
            Some(None) => return gap,
        };
        let (_, to) = gap.stretch.bounds();
        let mut rows = tail.range((Bound::Included(&*unknown), to)).enumerate();
        let end = rows.find(|(at, (_, record))| *at == LOOKED_AT_MAX || !record.is_tombstone());
        if let Some((_, (key, _))) = end {
            gap.stretch.to = Some(Bytes::copy_from_slice(key));
        }
        gap
    }

    fn add(&mut self, gap: Gap) {
        if gap.stretch.is_empty() {
            return;
        }
        let known = Arc::make_mut(self.known.get_or_insert_default());
        stretch::add(known, gap);
        if known.len() > GAPS_MAX {
            let least = (0..).zip(known.iter()).min_by_key(|(_, gap)| gap.rows);
            if let Some((least, _)) = least {
                known.remove(least);
            }
        }
    }

    /// Those of a state that goes on by itself.
    #[cfg(test)]
    pub(super) fn apart(&self) -> Self {
        Self { mailbox: Arc::default(), ..self.clone() }
    }

    /// To be called before a key that may not have been there is put.
    #[inline]
    pub(super) fn close(&mut self, key: &[u8]) {
        if self.known.is_some() {
            self.cut_at(key);
        }
    }

    fn cut_at(&mut self, key: &[u8]) {
        let Some(at) = self.position(key) else { return };
        let Some(known) = &mut self.known else { return };
        let known = Arc::make_mut(known);
        let Gap { stretch: Stretch { from, to }, rows } = known.remove(at);
        let below = Stretch { from, to: Some(Bytes::copy_from_slice(key)) };
        let above = Stretch { from: next_key(key), to };
        let part = |stretch| Gap { stretch, rows: rows / 2 };
        let parts = [below, above].into_iter().filter(|it| !it.is_empty()).map(part);
        known.splice(at..at, parts);
        known.truncate(GAPS_MAX);
    }

    /// How often the tail was set aside: what was in it before is below it now.
    pub(super) const fn freezes(&self) -> u64 {
        self.freezes
    }

    /// The tail was set aside.
    pub(super) fn froze(&mut self) {
        self.freezes += 1;
    }

    /// Forgets them: a merge has dropped tombstones, and what is left is soon found.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::env::rng::SeededRng;
    use crate::types::{Timestamp, Version};

    fn record(value: Option<&'static str>) -> Record {
        Record { value: value.map(Bytes::from), version: Version(1), timestamp: Timestamp(1) }
    }

    fn gap(from: impl Into<Bytes>, to: impl Into<Bytes>) -> Gap {
        Gap { stretch: Stretch { from: from.into(), to: Some(to.into()) }, rows: 40 }
    }

    /// Gaps of a state without a tail, as they are after these were found.
    fn known(found: &[(&'static str, &'static str)]) -> Gaps {
        let mut gaps = Gaps::default();
        for &(from, to) in found {
            gaps.tell(gap(from, to));
            gaps.take_found(&Index::default());
        }
        gaps
    }

    fn listed(gaps: &Gaps) -> Vec<(&[u8], Option<&[u8]>)> {
        let known = gaps.known.as_deref().map(Vec::as_slice).unwrap_or_default();
        known
            .iter()
            .map(|Gap { stretch: Stretch { from, to }, .. }| (&**from, to.as_deref()))
            .collect()
    }

    #[test]
    fn stretches_that_touch_are_one() {
        let gaps = known(&[("c", "e"), ("a", "b"), ("g", "k"), ("e", "f")]);
        let three: [(&[u8], Option<&[u8]>); 3] =
            [(b"a", Some(b"b")), (b"c", Some(b"f")), (b"g", Some(b"k"))];
        assert_eq!(listed(&gaps), three);
        let gaps = known(&[("c", "e"), ("a", "b"), ("g", "k"), ("b", "h")]);
        assert_eq!(listed(&gaps), [(&b"a"[..], Some(&b"k"[..]))]);
    }

    #[test]
    fn a_key_that_comes_is_in_no_gap_and_its_neighbours_still_are() {
        let mut gaps = known(&[("b", "d")]);
        let before = gaps.clone();
        for key in [&b"bx"[..], b"b", b"d", b"zz"] {
            gaps.close(key);
            assert!(!gaps.contain(key));
        }
        assert!([&b"b\0"[..], b"bw", b"bx\0", b"c"].iter().all(|key| gaps.contain(key)));
        assert!(before.contain(b"bx"), "a view has the gaps of its own moment");
    }

    #[test]
    fn what_came_since_it_was_found_ends_a_stretch() {
        let mut gaps = Gaps::default();
        let view = gaps.clone();
        let rows = [("b", None), ("c", Some("new")), ("d", None)];
        let rows = rows.map(|(key, value)| (Bytes::from(key), record(value)));
        let tail = Index::from_sorted(rows).unwrap();
        view.tell(gap("a", "e"));
        gaps.take_found(&tail);
        assert_eq!(listed(&gaps), [(&b"a"[..], Some(&b"c"[..]))]);
        // That it is in the tail is only so as long as the tail was not set aside.
        view.tell(gap("x", "z"));
        gaps.froze();
        gaps.take_found(&Index::default());
        assert!(!gaps.contain(b"y"));
        gaps.clone().tell(gap("x", "z"));
        gaps.take_found(&Index::default());
        assert!(gaps.contain(b"y"));
        gaps.forget();
        assert!(!gaps.contain(b"y"));
    }

    #[test]
    fn a_long_stretch_is_taken_over_in_parts() {
        let key = |number: usize| Bytes::from(format!("{number:08}"));
        let rows = (0..3 * LOOKED_AT_MAX).map(|number| (key(number), record(None)));
        let tail = Index::from_sorted(rows).unwrap();
        let mut gaps = Gaps::default();
        for parts in 1..=3 {
            gaps.tell(Gap::between(Bound::Unbounded, Bound::Unbounded, 3 * LOOKED_AT_MAX));
            gaps.take_found(&tail);
            assert!(gaps.contain(&key(parts * LOOKED_AT_MAX - 1)), "{parts}");
            assert_eq!(gaps.contain(&key(parts * LOOKED_AT_MAX)), parts == 3, "{parts}");
        }
        assert_eq!(listed(&gaps), [(&b""[..], None)]);
    }

    #[test]
    fn a_scan_begins_behind_the_gap_that_its_bound_is_in() {
        use Direction::{Backward, Forward};
        let gaps = known(&[("b", "d")]);
        let beyond = |start, direction| gaps.at(start, direction)?.beyond(direction);
        for (start, direction, expected) in [
            (Bound::Unbounded, Forward, false),
            (Bound::Included(&b"a"[..]), Forward, false),
            (Bound::Included(b"b"), Forward, true),
            (Bound::Excluded(b"b"), Forward, true),
            (Bound::Excluded(b"d"), Forward, false),
            (Bound::Included(b"d"), Forward, false),
            (Bound::Unbounded, Backward, false),
            (Bound::Included(b"d"), Backward, false),
            (Bound::Excluded(b"d"), Backward, true),
            (Bound::Included(b"b"), Backward, true),
            (Bound::Excluded(b"b"), Backward, false),
        ] {
            let behind = match direction {
                Forward => Bound::Included(&b"d"[..]),
                Backward => Bound::Excluded(&b"b"[..]),
            };
            assert_eq!(beyond(start, direction), expected.then_some(behind), "{start:?}");
        }
        let mut gaps = Gaps::default();
        gaps.tell(Gap::between(Bound::Excluded(b"m"), Bound::Unbounded, 40));
        gaps.take_found(&Index::default());
        assert!(gaps.at(Bound::Unbounded, Backward).is_some());
        assert!(gaps.at(Bound::Included(b"m"), Forward).is_none());
        let endless = gaps.at(Bound::Excluded(b"m"), Forward).unwrap();
        assert_eq!(endless.beyond(Forward), None);
    }

    #[test]
    fn gaps_equal_a_model_and_are_never_too_many() {
        let rng = SeededRng::new(11);
        let name = |number: u64| format!("{number:04}");
        let mut gaps = Gaps::default();
        // Which keys may be there.
        let mut there: BTreeSet<String> = (0..2000).map(name).collect();
        for step in 0..20_000 {
            let (one, other) = (rng.up_to(1999), rng.up_to(40));
            let (from, to) = (name(one), name(one + other));
            if step % 3 == 0 {
                there.retain(|key| *key < from || *key >= to);
                gaps.tell(gap(from, to));
                gaps.take_found(&Index::default());
            } else {
                gaps.close(from.as_bytes());
                there.insert(from);
            }
            let known = gaps.known.as_deref().map(Vec::as_slice).unwrap_or_default();
            assert!(known.len() <= GAPS_MAX);
            assert!(known.iter().all(|gap| !gap.stretch.is_empty()));
            assert!(known.is_sorted_by(|one, other| one.stretch.ends_before(&other.stretch.from)));
            if step % 100 == 0 {
                assert!(there.iter().all(|key| !gaps.contain(key.as_bytes())));
            }
        }
        assert!(gaps.known.is_some_and(|known| known.len() > GAPS_MAX / 2));
    }
}
