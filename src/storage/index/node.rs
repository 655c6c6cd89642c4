//! Nodes of the tree: leaves, and inner nodes that hold nodes.

use std::sync::Arc;

use bytes::Bytes;

use super::FANOUT;
use super::heads::Heads;
use super::leaf::{Inserted, Leaf, MERGED_MAX, cut_for};

/// A node that falls below this many items is merged with a neighbour, or filled from it.
const SPARSE: usize = FANOUT / 4;

/// Least items of a node that is not the root: what a cut at the end of a node leaves.
const ITEMS_MIN: usize = FANOUT / 8;

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all nodes are leaves, which are found with one step less in one piece"
)]
pub(super) enum Node<V> {
    Leaf(Leaf<V>),
    /// Apart, so that leaves do not take the room of it.
    Inner(Box<Inner<V>>),
}

/// Children in key order, and between each two a key that separates them.
///
/// Invariants: one separator fewer than children; at least two children; all keys of a child are
/// below the separator behind it and at or above the one before it.
#[derive(Clone, Debug)]
pub(super) struct Inner<V> {
    /// Heads of the separators. Sixteen bytes: keys of one shape often have many bytes that are the
    /// same between those that tell them apart, and a separator that must itself be looked at is
    /// waited for. In a leaf keys are so close to each other that they share all of that.
    heads: Heads<u128>,
    separators: Vec<Bytes>,
    children: Vec<Arc<Node<V>>>,
}

/// The upper part of a node that was full, and what separates it from the lower.
pub(super) struct Split<V> {
    separator: Bytes,
    right: Arc<Node<V>>,
}

impl<V> Node<V> {
    pub(super) fn get(&self, key: &[u8], ask: impl Fn(&V)) -> Option<&V> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => return leaf.get(key, ask),
                Self::Inner(inner) => node = inner.child(inner.position(key))?,
            }
        }
    }

    /// The rows of a leaf; none of an inner node.
    #[inline]
    pub(super) fn rows(&self) -> &[(Bytes, V)] {
        match self {
            Self::Leaf(leaf) => leaf.rows(),
            Self::Inner(_) => &[],
        }
    }

    /// Its leaves, in key order.
    pub(super) fn gather_leaves(self: &Arc<Self>, to: &mut Vec<Arc<Self>>) {
        match &**self {
            Self::Leaf(_) => to.push(Arc::clone(self)),
            Self::Inner(inner) => {
                inner.children.iter().for_each(|child| child.gather_leaves(to));
            }
        }
    }

    /// Rows of a leaf, or children.
    fn items(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.rows().len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }
}

impl<V: Clone> Node<V> {
    /// Copies what is shared on the way to `key`, and puts the row there.
    pub(super) fn insert_unless(
        self: &mut Arc<Self>,
        key: Bytes,
        value: V,
        keep: impl FnOnce(&V, &V) -> bool,
    ) -> (Inserted<V>, Option<Split<V>>) {
        match Arc::make_mut(self) {
            Self::Leaf(leaf) => {
                let done = leaf.insert_unless(key, value, keep);
                let split = done.split.map(|(separator, right)| Split {
                    separator,
                    right: Arc::new(Self::Leaf(right)),
                });
                (done.inserted, split)
            }
            Self::Inner(inner) => {
                let at = inner.position(&key);
                let (inserted, split) = inner.child_mut(at).insert_unless(key, value, keep);
                (inserted, split.and_then(|split| inner.insert_behind(at, split)))
            }
        }
    }

    /// Copies what is shared on the way to `key`, and removes its row.
    pub(super) fn remove(self: &mut Arc<Self>, key: &[u8]) -> Option<V> {
        match Arc::make_mut(self) {
            Self::Leaf(leaf) => leaf.remove(key),
            Self::Inner(inner) => {
                let at = inner.position(key);
                let child = inner.child_mut(at);
                let removed = child.remove(key);
                if child.items() < SPARSE {
                    inner.merge_around(at);
                }
                removed
            }
        }
    }

    /// The only child of an inner node that has lost all others.
    pub(super) fn only_child(&self) -> Option<Arc<Self>> {
        match self {
            Self::Inner(inner) => match inner.children.as_slice() {
                [only] => Some(Arc::clone(only)),
                _ => None,
            },
            Self::Leaf(_) => None,
        }
    }

    /// The node above `left` and what was split off from it.
    pub(super) fn above(left: Arc<Self>, split: Split<V>) -> Arc<Self> {
        let children = vec![left, split.right];
        Arc::new(Self::Inner(Box::new(Inner::new(vec![split.separator], children))))
    }

    /// Takes over all items of the node that follows, on the same level, behind `separator`; or
    /// half of both, where they would be too many, and returns the other half.
    fn append(self: &mut Arc<Self>, separator: Bytes, right: Arc<Self>) -> Option<Split<V>> {
        match (Arc::make_mut(self), Arc::unwrap_or_clone(right)) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                let (separator, right) = left.append(right)?;
                let right = Arc::new(Self::Leaf(right));
                Some(Split { separator, right })
            }
            (Self::Inner(left), Self::Inner(right)) => left.append(separator, *right),
            _ => unreachable!("neighbours are on the same level"),
        }
    }
}

impl<V> Inner<V> {
    pub(super) fn new(separators: Vec<Bytes>, children: Vec<Arc<Node<V>>>) -> Self {
        let heads = Heads::of(keys_of(&separators));
        Self { heads, separators, children }
    }

    pub(super) fn children(&self) -> &[Arc<Node<V>>] {
        &self.children
    }

    pub(super) fn child(&self, at: usize) -> Option<&Node<V>> {
        self.children.get(at).map(Arc::as_ref)
    }

    /// Which child `key` belongs to.
    pub(super) fn position(&self, key: &[u8]) -> usize {
        match self.heads.search(key, |at| key_at(&self.separators, at)) {
            // A key equal to a separator is in the child behind it.
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    fn child_mut(&mut self, at: usize) -> &mut Arc<Node<V>> {
        match self.children.get_mut(at) {
            Some(child) => child,
            None => unreachable!("there is a child on each side of each separator"),
        }
    }
}

impl<V: Clone> Inner<V> {
    /// Puts what was split off from child `at` behind it.
    fn insert_behind(&mut self, at: usize, split: Split<V>) -> Option<Split<V>> {
        if self.children.len() < FANOUT {
            self.insert_separated(at, split);
            return None;
        }
        // The middle separator moves up: it is neither in the left part nor in the right one.
        let cut = if at + 1 == FANOUT { cut_for(FANOUT) } else { cut_for(at) };
        let mut right = Self {
            heads: self.heads.split_off(cut - 1, cut),
            separators: self.separators.split_off(cut),
            children: self.children.split_off(cut),
        };
        let Some(separator) = self.separators.pop() else {
            unreachable!("the left part of a cut has several children")
        };
        if at < cut {
            self.insert_separated(at, split);
        } else {
            right.insert_separated(at - cut, split);
        }
        self.sharpen();
        right.sharpen();
        let right = Arc::new(Node::Inner(Box::new(right)));
        Some(Split { separator, right })
    }

    fn insert_separated(&mut self, at: usize, split: Split<V>) {
        let neighbour = self.separators.first().map(Bytes::as_ref);
        let fits = self.heads.insert(at, &split.separator, neighbour);
        self.separators.insert(at, split.separator);
        self.children.insert(at + 1, split.right);
        if !fits {
            self.heads = Heads::of(keys_of(&self.separators));
        }
    }

    fn sharpen(&mut self) {
        if self.heads.are_blunt() {
            self.heads = Heads::of(keys_of(&self.separators));
        }
    }

    /// Merges child `at`, which has become sparse, with the child before or behind it.
    fn merge_around(&mut self, at: usize) {
        let left = if at + 1 < self.children.len() { at } else { at.saturating_sub(1) };
        if left + 1 < self.children.len() {
            self.heads.remove(left);
            let separator = self.separators.remove(left);
            let right = self.children.remove(left + 1);
            if let Some(split) = self.child_mut(left).append(separator, right) {
                self.insert_separated(left, split);
            }
        }
    }

    fn append(&mut self, separator: Bytes, mut right: Self) -> Option<Split<V>> {
        self.separators.push(separator);
        self.separators.append(&mut right.separators);
        self.children.append(&mut right.children);
        let upper = (self.children.len() > MERGED_MAX).then(|| {
            let cut = self.children.len() / 2;
            (self.separators.split_off(cut), self.children.split_off(cut))
        });
        let between = upper.is_some().then(|| self.separators.pop()).flatten();
        self.heads = Heads::of(keys_of(&self.separators));
        let (separators, children) = upper?;
        let right = Arc::new(Node::Inner(Box::new(Self::new(separators, children))));
        Some(Split { separator: between?, right })
    }
}

impl<V> Node<V> {
    /// Checks the structure below; returns the height and the number of rows.
    pub(super) fn validate(&self, least: Option<&[u8]>, above: Option<&[u8]>) -> (usize, usize) {
        match self {
            Self::Leaf(leaf) => {
                leaf.validate();
                let inside = |key: &[u8]| {
                    least.is_none_or(|least| least <= key) && above.is_none_or(|above| key < above)
                };
                let rows = leaf.rows();
                assert!(rows.iter().all(|(key, _)| inside(key)), "a row in the wrong leaf");
                (0, rows.len())
            }
            Self::Inner(inner) => inner.validate(least, above),
        }
    }
}

impl<V> Inner<V> {
    fn validate(&self, least: Option<&[u8]>, above: Option<&[u8]>) -> (usize, usize) {
        assert!(self.children.len() <= FANOUT, "too many children");
        assert!(self.children.len() >= 2, "an inner node with one child");
        assert_eq!(self.separators.len() + 1, self.children.len(), "separators and children");
        self.heads.validate(keys_of(&self.separators));
        let mut heights_and_rows = Vec::new();
        for (at, child) in self.children.iter().enumerate() {
            assert!(child.items() >= ITEMS_MIN, "a node that should have been merged");
            let from = at.checked_sub(1).and_then(|at| self.separators.get(at));
            let to = self.separators.get(at);
            let from = from.map(Bytes::as_ref).or(least);
            let to = to.map(Bytes::as_ref).or(above);
            heights_and_rows.push(child.validate(from, to));
        }
        let height = heights_and_rows.first().map_or(0, |&(height, _)| height);
        assert!(heights_and_rows.iter().all(|&(other, _)| other == height), "not balanced");
        (height + 1, heights_and_rows.iter().map(|&(_, rows)| rows).sum())
    }
}

fn key_at(separators: &[Bytes], at: usize) -> &[u8] {
    separators.get(at).map(Bytes::as_ref).unwrap_or_default()
}

fn keys_of(separators: &[Bytes]) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
    separators.iter().map(Bytes::as_ref)
}
