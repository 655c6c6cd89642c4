//! A node that holds rows.

use bytes::Bytes;

use super::FANOUT;
use super::heads::{Heads, shared_bytes};

/// Rows in key order, at most `FANOUT`; none only in an empty index.
#[derive(Debug)]
pub(super) struct Leaf<V> {
    heads: Heads<u64>,
    rows: Vec<(Bytes, V)>,
}

impl<V: Clone> Clone for Leaf<V> {
    fn clone(&self) -> Self {
        // A node is copied because it is about to be changed: leave room for that.
        let mut rows = Vec::with_capacity(FANOUT);
        rows.extend_from_slice(&self.rows);
        Self { heads: self.heads.clone(), rows }
    }
}

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted<V> {
    /// The key was not there.
    New,
    /// The key had this before.
    Replaced(V),
    /// The key goes on having this.
    Kept(V),
}

/// What an insertion did to a leaf.
pub(super) struct LeafInsertion<V> {
    pub(super) inserted: Inserted<V>,
    /// The upper part of a leaf that was full, with what separates it from the lower.
    pub(super) split: Option<(Bytes, Leaf<V>)>,
}

impl<V> Leaf<V> {
    pub(super) fn new(rows: Vec<(Bytes, V)>) -> Self {
        let heads = Heads::of(keys_of(&rows));
        Self { heads, rows }
    }

    pub(super) fn rows(&self) -> &[(Bytes, V)] {
        &self.rows
    }

    pub(super) fn get(&self, key: &[u8], ask: impl Fn(&V)) -> Option<&V> {
        let ask_and_get_key = |at| {
            if let Some((_, value)) = self.rows.get(at) {
                ask(value);
            }
            key_at(&self.rows, at)
        };
        let at = self.heads.find(key, ask_and_get_key)?;
        self.rows.get(at).map(|(_, value)| value)
    }

    /// Where `key` stands, or where it would.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.heads.search(key, |at| key_at(&self.rows, at))
    }

    pub(super) fn insert_unless(
        &mut self,
        key: Bytes,
        value: V,
        keep: impl FnOnce(&V, &V) -> bool,
    ) -> LeafInsertion<V>
    where
        V: Clone,
    {
        let at = match self.search(&key) {
            Err(at) => at,
            Ok(at) => {
                let inserted = match self.rows.get_mut(at) {
                    Some((_, old)) if keep(old, &value) => Inserted::Kept(old.clone()),
                    // The new key too: the old one may keep a large buffer alive that nobody else
                    // needs.
                    Some(row) => Inserted::Replaced(std::mem::replace(row, (key, value)).1),
                    None => unreachable!("a key was found where there is no row"),
                };
                return LeafInsertion { inserted, split: None };
            }
        };
        let split = if self.rows.len() < FANOUT {
            self.insert_at(at, key, value);
            None
        } else {
            let cut = cut_for(at);
            let mut right = self.split_off(cut);
            if at <= cut {
                self.insert_at(at, key, value);
            } else {
                right.insert_at(at - cut, key, value);
            }
            Some((separator(self.last_key(), right.first_key()), right))
        };
        LeafInsertion { inserted: Inserted::New, split }
    }

    fn insert_at(&mut self, at: usize, key: Bytes, value: V) {
        if self.rows.len() == self.rows.capacity() {
            let room = FANOUT.min((2 * self.rows.len()).max(4));
            self.rows.reserve_exact(room.saturating_sub(self.rows.len()));
        }
        let neighbour = self.rows.first().map(|(key, _)| key.as_ref());
        let fits = self.heads.insert(at, &key, neighbour);
        self.rows.insert(at, (key, value));
        if !fits {
            self.heads = Heads::of(keys_of(&self.rows));
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        // Room for more at once: a row comes into one of the two now, and into both later.
        let mut rows = Vec::with_capacity(FANOUT);
        rows.extend(self.rows.drain(at..));
        let mut right = Self { heads: self.heads.split_off(at, at), rows };
        self.sharpen();
        right.sharpen();
        right
    }

    fn sharpen(&mut self) {
        if self.heads.are_blunt() {
            self.heads = Heads::of(keys_of(&self.rows));
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let at = self.heads.find(key, |at| key_at(&self.rows, at))?;
        self.heads.remove(at);
        Some(self.rows.remove(at).1)
    }

    /// Takes over all rows of the leaf that follows, or, where they would be too many, half of
    /// both; then returns the other half with what separates it.
    pub(super) fn append(&mut self, mut right: Self) -> Option<(Bytes, Self)> {
        self.rows.append(&mut right.rows);
        let upper =
            (self.rows.len() > MERGED_MAX).then(|| self.rows.split_off(self.rows.len() / 2));
        self.heads = Heads::of(keys_of(&self.rows));
        let right = Self::new(upper?);
        Some((separator(self.last_key(), right.first_key()), right))
    }

    pub(super) fn first_key(&self) -> &[u8] {
        key_at(&self.rows, 0)
    }

    pub(super) fn last_key(&self) -> &[u8] {
        key_at(&self.rows, self.rows.len().saturating_sub(1))
    }

    pub(super) fn validate(&self) {
        assert!(self.rows.len() <= FANOUT, "a leaf of {} rows", self.rows.len());
        assert!(keys_of(&self.rows).is_sorted_by(|a, b| a < b), "rows out of order");
        self.heads.validate(keys_of(&self.rows));
    }
}

/// Most items of a node made by merging two, so that it is not split again at once.
pub(super) const MERGED_MAX: usize = FANOUT / 4 * 3;

/// Where a full node is cut, given where the new item goes. At an end of the node more are likely
/// to follow there, so that side gets the room: rows inserted in order leave nearly full nodes
/// behind.
pub(super) fn cut_for(at: usize) -> usize {
    match at {
        0 => FANOUT / 8,
        FANOUT => FANOUT - FANOUT / 8,
        _ => FANOUT / 2,
    }
}

/// The shortest key that is above `left` and not above `right`.
///
/// It is a copy: a part of `right` would keep alive the buffer that `right` was read from, also
/// after that row is gone.
pub(super) fn separator(left: &[u8], right: &[u8]) -> Bytes {
    let bytes = shared_bytes(left, right) + 1;
    Bytes::copy_from_slice(right.get(..bytes).unwrap_or(right))
}

fn key_at<V>(rows: &[(Bytes, V)], at: usize) -> &[u8] {
    rows.get(at).map(|(key, _)| key.as_ref()).unwrap_or_default()
}

fn keys_of<V>(rows: &[(Bytes, V)]) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
    rows.iter().map(|(key, _)| key.as_ref())
}
