//! Stretches of keys that were removed as one, in memory: a *cut* says that nothing counts of what
//! older layers have within it.
//!
//! It is what a tombstone is for a single key. Where one removal meets millions of rows, tombstones
//! would take as much memory as the rows. Tables have no cuts: a tail that is written becomes rows,
//! and its cuts a tombstone for each row that they hide.

use std::ops::Bound;
use std::sync::Arc;

use super::record::{Direction, Record};
use super::stretch::{self, HasStretch, Stretch, position, position_at};

/// What was removed as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where older layers do not count.
    pub stretch: Stretch,
    /// What there is of each key in it that no newer record is of.
    pub tombstone: Record,
    /// How much of older layers it hides, at most.
    pub hidden: Hidden,
}

/// Rows that are hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// How many.
    pub rows: u64,
    /// Bytes of their keys.
    pub key_bytes: u64,
}

impl Hidden {
    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            key_bytes: self.key_bytes.saturating_add(other.key_bytes),
        }
    }
}

impl HasStretch for Cut {
    fn stretch(&self) -> &Stretch {
        &self.stretch
    }

    fn take_in(&mut self, other: Self) {
        self.stretch.take_in(other.stretch);
        self.hidden = self.hidden.and(other.hidden);
        // One of both is of the newest entry.
        if other.tombstone.version > self.tombstone.version {
            self.tombstone = other.tombstone;
        }
    }
}

/// The cuts of a layer; a clone is O(1) and stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Cuts(Option<Arc<List>>);

#[derive(Clone, Debug, Default)]
struct List {
    /// In key order; between two of them there is a key that is in none.
    cuts: Vec<Cut>,
    hidden: Hidden,
}

impl Cuts {
    /// Whether there are none.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The cuts, in key order.
    #[must_use]
    pub fn as_slice(&self) -> &[Cut] {
        self.0.as_ref().map_or(&[], |list| &list.cuts)
    }

    /// How much all of them hide, at most. O(1).
    #[must_use]
    pub fn hidden(&self) -> Hidden {
        self.0.as_ref().map_or_else(Hidden::default, |list| list.hidden)
    }

    /// What there is of `key` where the layer has no record of it: a tombstone, or nothing. A
    /// search among them.
    #[must_use]
    pub fn tombstone_of(&self, key: &[u8]) -> Option<&Record> {
        let cuts = self.as_slice();
        Some(&cuts.get(position(cuts, key)?)?.tombstone)
    }

    /// Whether one of them has both keys, and so all between them.
    #[must_use]
    pub fn hide_all(&self, first: &[u8], last: &[u8]) -> bool {
        let cuts = self.as_slice();
        let cut = position(cuts, first).and_then(|at| cuts.get(at));
        cut.is_some_and(|cut| cut.stretch.contains(last))
    }

    /// The cut that has the first keys that rows in this direction may have, from a bound on.
    #[must_use]
    pub fn at(&self, start: Bound<&[u8]>, direction: Direction) -> Option<&Cut> {
        let cuts = self.as_slice();
        cuts.get(position_at(cuts, start, direction)?)
    }

    /// Adds one. What it hides is said without what others of these hide.
    pub fn add(&mut self, cut: Cut) {
        let list = Arc::make_mut(self.0.get_or_insert_default());
        list.hidden = list.hidden.and(cut.hidden);
        stretch::add(&mut list.cuts, cut);
    }
}
