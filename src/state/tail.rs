//! The newest rows, which are in no table yet.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;

use crate::storage::cuts::{Cut, Cuts};
use crate::storage::index::{Index, Inserted, Places};
use crate::storage::key_filter::KeyFilter;
use crate::storage::record::Record;
use crate::storage::table::KeyHash;

/// Fewer rows have no filter: they are in the processor's caches, and looking for a key among them
/// costs hardly more than asking.
const FILTERED_ROWS_MIN: usize = 1_000;

/// Has the processor wait for a value and for the key at the same time.
fn look_at_value(record: &Record) {
    black_box(record.value.as_ref().and_then(|value| value.first().copied()));
}

/// Rows in memory, tombstones included; a clone is O(1) and stays as it is.
///
/// Where layers lie below most keys that are asked for are not here, and a filter says so: it
/// spares a search through memory that nobody had looked at for a while. Clones share it. It may
/// know of keys that were written since or that are gone again; it knows of each that is here.
///
/// Where it has no row of a key that one of its cuts is of, nothing counts that layers below have.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    rows: Index<Record>,
    cuts: Cuts,
    is_above: bool,
    filter: Option<Arc<KeyFilter>>,
}

impl Tail {
    /// Without a row, above layers that may have some.
    #[must_use]
    pub fn above() -> Self {
        Self { is_above: true, ..Self::default() }
    }

    /// The rows, in key order.
    #[must_use]
    pub fn rows(&self) -> &Index<Record> {
        &self.rows
    }

    /// Where nothing of the layers below counts.
    #[must_use]
    pub const fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// Whether it says nothing of any key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.cuts.is_empty()
    }

    /// The record of `key`; where a cut is of it, a tombstone.
    #[inline]
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Record> {
        // Often so of one of both tails, and of a store that is only read, of both.
        let found = if self.rows.is_empty() { None } else { self.find(key) };
        if self.cuts.is_empty() { found } else { found.or_else(|| self.cuts.tombstone_of(key)) }
    }

    fn find(&self, key: &[u8]) -> Option<&Record> {
        match &self.filter {
            Some(filter) if !filter.may_contain(KeyHash::of(key)) => None,
            _ => self.rows.get_asking(key, look_at_value),
        }
    }

    /// Where its rows stand, for [`Self::get_at`]: while it stays as it is. `None` where they say
    /// not all that it does.
    #[must_use]
    pub fn places(&self) -> Option<Places<Record>> {
        if self.cuts.is_empty() { self.rows.places(|key| KeyHash::of(key).bits()) } else { None }
    }

    /// As [`Self::get`], of the tail that `places` are of.
    #[inline]
    #[must_use]
    pub fn get_at<'a>(places: &'a Places<Record>, key: &[u8]) -> Option<&'a Record> {
        places.get_asking(KeyHash::of(key).bits(), key, look_at_value)
    }

    /// Whether a filter spares most searches.
    #[must_use]
    pub const fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// As [`Index::insert`].
    pub fn insert(&mut self, key: Bytes, record: Record) -> Option<Record> {
        self.note(&key);
        self.rows.insert(key, record)
    }

    /// As [`Index::insert_unless`].
    pub fn insert_unless(
        &mut self,
        key: Bytes,
        record: Record,
        keeps: impl FnOnce(&Record, &Record) -> bool,
    ) -> Inserted<Record> {
        self.note(&key);
        self.rows.insert_unless(key, record, keeps)
    }

    /// As [`Index::remove`].
    pub fn remove(&mut self, key: &[u8]) -> Option<Record> {
        self.rows.remove(key)
    }

    /// Adds a cut. Its rows within the stretch were removed.
    pub fn cut(&mut self, cut: Cut) {
        self.cuts.add(cut);
    }

    /// Removes all rows and cuts. Clones keep theirs, and the filter.
    pub fn clear(&mut self) {
        *self = Self { is_above: self.is_above, ..Self::default() };
    }

    /// Lets the filter know of a key that is going to be here.
    fn note(&mut self, key: &[u8]) {
        match &self.filter {
            Some(filter) => filter.insert(KeyHash::of(key)),
            None if self.is_above && self.rows.len() >= FILTERED_ROWS_MIN => {
                let filter = KeyFilter::new();
                filter.insert(KeyHash::of(key));
                self.rows.iter().for_each(|(key, _)| filter.insert(KeyHash::of(key)));
                self.filter = Some(Arc::new(filter));
            }
            None => {}
        }
    }

    /// Checks the invariants. O(n), for tests and for debugging.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn validate(&self) {
        self.rows.validate();
        let knows = |key| self.filter.as_ref().is_none_or(|it| it.may_contain(KeyHash::of(key)));
        assert!(self.rows.iter().all(|(key, _)| knows(key)), "a key that the filter does not know");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::env::rng::SeededRng;
    use crate::types::{Timestamp, Version};

    const KEYS: u64 = 4_000;

    fn key(number: u64) -> Bytes {
        Bytes::from(format!("key-{number:05}"))
    }

    fn record(version: u64) -> Record {
        let version = Version(version);
        Record { value: Some(Bytes::from_static(b"v")), version, timestamp: Timestamp(0) }
    }

    fn compare(tail: &Tail, model: &BTreeMap<u64, Record>) {
        tail.validate();
        for number in 0..KEYS {
            assert_eq!(tail.get(&key(number)), model.get(&number), "{number}");
        }
    }

    #[test]
    fn each_key_is_found_in_the_tail_and_in_what_was_kept_of_it() {
        for begins in [Tail::above(), Tail::default()] {
            let rng = SeededRng::new(7);
            let (mut tail, mut model) = (begins, BTreeMap::new());
            let mut kept = Vec::new();
            for step in 1..=20_000_u64 {
                let number = rng.up_to(KEYS - 1);
                match rng.up_to(9) {
                    0 => assert_eq!(tail.remove(&key(number)), model.remove(&number)),
                    1 => {
                        let inserted = tail.insert_unless(key(number), record(step), |_, _| true);
                        let is_new = matches!(inserted, Inserted::New);
                        assert_eq!(is_new, !model.contains_key(&number));
                        model.entry(number).or_insert_with(|| record(step));
                    }
                    _ => {
                        let old = tail.insert(key(number), record(step));
                        assert_eq!(old, model.insert(number, record(step)));
                    }
                }
                match step {
                    // The rows are too few for a filter, then there is one, then it is another.
                    500 | 5_000 | 11_000 => kept.push((tail.clone(), model.clone())),
                    9_000 => {
                        tail.clear();
                        model.clear();
                    }
                    _ => {}
                }
            }
            compare(&tail, &model);
            for (tail, model) in &kept {
                compare(tail, model);
            }
            let filters = kept.iter().map(|(tail, _)| tail.filter.is_some());
            let is_above = tail.is_above;
            assert_eq!(filters.collect::<Vec<_>>(), [false, is_above, is_above]);
            assert_eq!(tail.filter.is_some(), is_above);
        }
    }
}
