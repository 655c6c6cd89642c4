//! Rows of an index in order, from either end.

use std::cmp::Ordering;
use std::iter::FusedIterator;
use std::ops::Bound;

use bytes::Bytes;

use super::leaf::Leaf;
use super::node::{Inner, Node};

/// The rows within some bounds, in key order; double-ended.
///
/// Moving on costs O(1), and O(log n) where a node ends.
#[derive(Debug)]
pub struct Range<'a, V> {
    /// The first and the last row not yet given; `None` when all are.
    ends: Option<(Cursor<'a, V>, Cursor<'a, V>)>,
}

impl<V> Clone for Range<'_, V> {
    fn clone(&self) -> Self {
        Self { ends: self.ends.clone() }
    }
}

impl<'a, V> Range<'a, V> {
    /// The rows below `root` within the bounds; none when the bounds are the wrong way round.
    pub(super) fn new(root: &'a Node<V>, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self {
        let first = Cursor::at_or_behind(root, from);
        let last = Cursor::at_or_before(root, to);
        let ends = first.zip(last).filter(|(first, last)| {
            let keys = first.row().zip(last.row());
            keys.is_some_and(|((first, _), (last, _))| first <= last)
        });
        Self { ends }
    }
}

impl<'a, V> Range<'a, V> {
    /// The next rows that stand in one piece, at once: those of a leaf, at most 32. Empty when all
    /// rows were given.
    pub fn next_rows(&mut self) -> &'a [(Bytes, V)] {
        let Some((first, last)) = &mut self.ends else { return &[] };
        let rows = first.leaf.rows();
        let is_last = std::ptr::eq(first.leaf, last.leaf);
        let end = if is_last { last.at + 1 } else { rows.len() };
        let rows = rows.get(first.at..end).unwrap_or_default();
        if is_last || !first.leave_forward() {
            self.ends = None;
        }
        rows
    }

    /// As [`Self::next_rows`], from the other end; in key order, so the last one is the next.
    pub fn next_rows_back(&mut self) -> &'a [(Bytes, V)] {
        let Some((first, last)) = &mut self.ends else { return &[] };
        let is_last = std::ptr::eq(first.leaf, last.leaf);
        let start = if is_last { first.at } else { 0 };
        let rows = last.leaf.rows().get(start..=last.at).unwrap_or_default();
        if is_last || !last.leave_backward() {
            self.ends = None;
        }
        rows
    }
}

impl<'a, V> Iterator for Range<'a, V> {
    type Item = (&'a Bytes, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let (first, last) = self.ends.as_mut()?;
        let row = first.row();
        if first.is_at(last) || !first.advance() {
            self.ends = None;
        }
        row
    }
}

impl<V> DoubleEndedIterator for Range<'_, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (first, last) = self.ends.as_mut()?;
        let row = last.row();
        if first.is_at(last) || !last.retreat() {
            self.ends = None;
        }
        row
    }
}

impl<V> FusedIterator for Range<'_, V> {}

/// One row, and the way to it from the root.
#[derive(Debug)]
struct Cursor<'a, V> {
    path: Vec<(&'a Inner<V>, usize)>,
    leaf: &'a Leaf<V>,
    at: usize,
}

impl<V> Clone for Cursor<'_, V> {
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), leaf: self.leaf, at: self.at }
    }
}

/// Which end of a node to go down.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

impl<'a, V> Cursor<'a, V> {
    /// The first row within the lower bound `from`.
    fn at_or_behind(root: &'a Node<V>, from: Bound<&[u8]>) -> Option<Self> {
        let (Bound::Included(key) | Bound::Excluded(key)) = from else {
            return Self::descend(root, Vec::new(), End::First);
        };
        let (mut cursor, found) = Self::search(root, key);
        let inside = match found {
            Ordering::Equal => matches!(from, Bound::Included(_)),
            Ordering::Less => false,
            Ordering::Greater => true,
        };
        (cursor.row().is_some() && inside || cursor.advance()).then_some(cursor)
    }

    /// The last row within the upper bound `to`.
    fn at_or_before(root: &'a Node<V>, to: Bound<&[u8]>) -> Option<Self> {
        let (Bound::Included(key) | Bound::Excluded(key)) = to else {
            return Self::descend(root, Vec::new(), End::Last);
        };
        let (mut cursor, found) = Self::search(root, key);
        let inside = found == Ordering::Equal && matches!(to, Bound::Included(_));
        (cursor.row().is_some() && inside || cursor.retreat()).then_some(cursor)
    }

    /// The place in its leaf where `key` stands, or would: the row there is then greater, or,
    /// behind the last row of the leaf, there is none.
    fn search(root: &'a Node<V>, key: &[u8]) -> (Self, Ordering) {
        let mut path = Vec::new();
        let mut node = root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let at = inner.position(key);
                    let Some(child) = inner.child(at) else {
                        unreachable!("there is a child on each side of each separator")
                    };
                    path.push((&**inner, at));
                    node = child;
                }
                Node::Leaf(leaf) => {
                    let (at, found) = match leaf.search(key) {
                        Ok(at) => (at, Ordering::Equal),
                        Err(at) if at < leaf.rows().len() => (at, Ordering::Greater),
                        Err(at) => (at, Ordering::Less),
                    };
                    return (Self { path, leaf, at }, found);
                }
            }
        }
    }

    /// The first or last row below `node`, to which `path` leads.
    fn descend(
        mut node: &'a Node<V>,
        mut path: Vec<(&'a Inner<V>, usize)>,
        end: End,
    ) -> Option<Self> {
        let of = |items: usize| match end {
            End::First => 0,
            End::Last => items.saturating_sub(1),
        };
        loop {
            match node {
                Node::Inner(inner) => {
                    let at = of(inner.children().len());
                    path.push((&**inner, at));
                    node = inner.child(at)?;
                }
                Node::Leaf(leaf) => {
                    let at = of(leaf.rows().len());
                    return (!leaf.rows().is_empty()).then_some(Self { path, leaf, at });
                }
            }
        }
    }

    fn row(&self) -> Option<(&'a Bytes, &'a V)> {
        self.leaf.rows().get(self.at).map(|(key, value)| (key, value))
    }

    fn is_at(&self, other: &Self) -> bool {
        self.at == other.at && std::ptr::eq(self.leaf, other.leaf)
    }

    /// Moves to the next row; false at the end.
    fn advance(&mut self) -> bool {
        if self.at + 1 < self.leaf.rows().len() {
            self.at += 1;
            return true;
        }
        self.leave_forward()
    }

    /// Moves to the row before; false at the beginning.
    fn retreat(&mut self) -> bool {
        if let Some(at) = self.at.checked_sub(1) {
            self.at = at;
            return true;
        }
        self.leave_backward()
    }

    /// Moves to the first row of the next leaf; false at the end.
    fn leave_forward(&mut self) -> bool {
        self.turn(|at, items| (at + 1 < items).then_some(at + 1), End::First)
    }

    /// Moves to the last row of the leaf before; false at the beginning.
    fn leave_backward(&mut self) -> bool {
        self.turn(|at, _| at.checked_sub(1), End::Last)
    }

    /// Goes up to the nearest node that has a child beside the one come from, and down into that
    /// one at its `end`.
    fn turn(&mut self, beside: impl Fn(usize, usize) -> Option<usize>, end: End) -> bool {
        while let Some((inner, at)) = self.path.pop() {
            let Some(next) = beside(at, inner.children().len()) else {
                continue;
            };
            let Some(child) = inner.child(next) else {
                return false;
            };
            self.path.push((inner, next));
            let path = std::mem::take(&mut self.path);
            let Some(cursor) = Self::descend(child, path, end) else {
                return false;
            };
            *self = cursor;
            return true;
        }
        false
    }
}
