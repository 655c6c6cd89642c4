//! An ordered map in memory from keys to small values, of which a copy costs nothing.
//!
//! It is a B+tree whose nodes are shared between copies: cloning an [`Index`] clones one pointer,
//! and a change copies only the nodes on the way to its key, and those only while a clone still
//! needs them. So a reader keeps one state for as long as it likes, and a writer who has the tree
//! to itself changes it in place.
//!
//! Not `std::collections::BTreeMap`: its clone is O(n). Not a hash map: ranges and prefixes are
//! read in key order. Within a node, keys are told apart by eight or sixteen of their bytes kept
//! inline, so that a look-up follows about one pointer for each level and one for the row.

mod heads;
mod leaf;
mod node;
mod range;
mod bulk;
mod places;

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

pub use self::bulk::NotAscending;
pub use self::leaf::Inserted;
use self::leaf::Leaf;
use self::node::Node;
pub use self::places::Places;
pub use self::range::Range;

/// Most rows of a leaf and most children of an inner node. Larger nodes are found faster and cost
/// more to copy when a clone shares them.
const FANOUT: usize = 32;

/// An ordered map from keys to `V`; clones are O(1) and never see later changes.
///
/// Look-up, insertion and removal cost O(log n); the first change of a node that a clone still
/// shares copies that node. Memory stays proportional to the rows, also after removals.
pub struct Index<V> {
    root: Arc<Node<V>>,
    len: usize,
}

impl<V> Clone for Index<V> {
    fn clone(&self) -> Self {
        Self { root: Arc::clone(&self.root), len: self.len }
    }
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for Index<V> {
    /// Shows the number of rows only: there may be millions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<V> Index<V> {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(Leaf::new(Vec::new()))), len: 0 }
    }

    /// A map of rows that are already in strictly ascending key order. Costs O(n).
    ///
    /// # Errors
    ///
    /// The first row whose key is not above the one before.
    pub fn from_sorted(rows: impl IntoIterator<Item = (Bytes, V)>) -> Result<Self, NotAscending> {
        let (root, len) = bulk::from_sorted(rows)?;
        Ok(Self { root, len })
    }

    /// Number of keys. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key. O(1).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What `key` has.
    #[must_use]
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        self.get_asking(key, |_| ())
    }

    /// As [`Self::get`]; `ask` is shown what the key has before the key itself is compared, and
    /// perhaps what another key has. So it can look at memory that will be needed, and the
    /// processor waits for that and for the key at the same time.
    #[must_use]
    #[inline]
    pub fn get_asking(&self, key: &[u8], ask: impl Fn(&V)) -> Option<&V> {
        // Often so of a tail that was just written to tables: then it is not even looked at.
        if self.len == 0 {
            return None;
        }
        self.root.get(key, ask)
    }

    /// The rows within the bounds, in key order, from either end. None when the bounds are the
    /// wrong way round. Costs O(log n) and then O(1) a row; nothing is copied.
    #[must_use]
    pub fn range(&self, (from, to): (Bound<&[u8]>, Bound<&[u8]>)) -> Range<'_, V> {
        Range::new(&self.root, from, to)
    }

    /// All rows, in key order.
    #[must_use]
    pub fn iter(&self) -> Range<'_, V> {
        self.range((Bound::Unbounded, Bound::Unbounded))
    }

    /// Checks the structure: order, balance, fill, and what nodes know of their keys. O(n), for
    /// tests.
    ///
    /// # Panics
    ///
    /// When something does not hold.
    pub fn validate(&self) {
        let (_, rows) = self.root.validate(None, None);
        assert_eq!(rows, self.len, "rows and len");
    }
}

impl<V: Clone> Index<V> {
    /// Gives `key` the value `value` and returns what it had.
    ///
    /// The key object is replaced too, so that the buffer of the old one can be freed.
    pub fn insert(&mut self, key: Bytes, value: V) -> Option<V> {
        match self.insert_unless(key, value, |_, _| false) {
            Inserted::New => None,
            Inserted::Replaced(old) | Inserted::Kept(old) => Some(old),
        }
    }

    /// As [`Self::insert`], but leaves a key alone when `keep`, given its old and its new value,
    /// says so: one search for looking and writing.
    pub fn insert_unless(
        &mut self,
        key: Bytes,
        value: V,
        keep: impl FnOnce(&V, &V) -> bool,
    ) -> Inserted<V> {
        let (inserted, split) = self.root.insert_unless(key, value, keep);
        if let Some(split) = split {
            self.root = Node::above(Arc::clone(&self.root), split);
        }
        self.len += usize::from(matches!(inserted, Inserted::New));
        inserted
    }

    /// Removes `key` and returns what it had. Copies nothing when it does not exist.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.get(key)?;
        let removed = self.root.remove(key);
        self.len -= usize::from(removed.is_some());
        while let Some(only) = self.root.only_child() {
            self.root = only;
        }
        removed
    }
}

impl<'a, V> IntoIterator for &'a Index<V> {
    type Item = (&'a Bytes, &'a V);
    type IntoIter = Range<'a, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
