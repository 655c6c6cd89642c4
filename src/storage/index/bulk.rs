//! A tree from rows that are already in order, without searching.

use std::sync::Arc;

use bytes::Bytes;

use super::FANOUT;
use super::leaf::{Leaf, separator};
use super::node::{Inner, Node};

/// Rows of each leaf but the last ones; a little room is left for what comes between.
const LEAF_ROWS: usize = FANOUT - FANOUT / 8;

/// A node with the separator before it.
type Separated<V> = (Bytes, Arc<Node<V>>);

/// Rows do not come in strictly ascending key order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row}: its key is not above the one before, expected strictly ascending keys")]
pub struct NotAscending {
    /// Which row, counting from 0.
    pub row: usize,
}

/// The root of a tree with these rows, and how many they are.
pub(super) fn from_sorted<V>(
    rows: impl IntoIterator<Item = (Bytes, V)>,
) -> Result<(Arc<Node<V>>, usize), NotAscending> {
    let mut leaves = Vec::new();
    let mut pending: Vec<(Bytes, V)> = Vec::with_capacity(2 * FANOUT);
    let mut len = 0;
    for row in rows {
        if pending.last().is_some_and(|(last, _)| *last >= row.0) {
            return Err(NotAscending { row: len });
        }
        len += 1;
        pending.push(row);
        if pending.len() == 2 * FANOUT {
            let rest = pending.split_off(LEAF_ROWS);
            add_leaf(&mut leaves, pending);
            pending = rest;
        }
    }
    if pending.len() > FANOUT {
        let rest = pending.split_off(pending.len() / 2);
        add_leaf(&mut leaves, pending);
        pending = rest;
    }
    add_leaf(&mut leaves, pending);
    Ok((root_of(leaves), len))
}

fn add_leaf<V>(leaves: &mut Vec<Separated<V>>, rows: Vec<(Bytes, V)>) {
    let leaf = Leaf::new(rows);
    let before = match leaves.last().map(|(_, node)| node.as_ref()) {
        Some(Node::Leaf(last)) => separator(last.last_key(), leaf.first_key()),
        _ => Bytes::new(),
    };
    leaves.push((before, Arc::new(Node::Leaf(leaf))));
}

/// Builds level upon level until one node is left.
fn root_of<V>(mut level: Vec<Separated<V>>) -> Arc<Node<V>> {
    while level.len() > 1 {
        let groups = level.len().div_ceil(FANOUT);
        let mut nodes = level.into_iter();
        let mut above = Vec::with_capacity(groups);
        for group in 0..groups {
            // Sizes that differ by at most one, so that no node is left with a single child.
            let size = nodes.len() / (groups - group);
            above.push(join(nodes.by_ref().take(size)));
        }
        level = above;
    }
    match level.pop() {
        Some((_, root)) => root,
        None => Arc::new(Node::Leaf(Leaf::new(Vec::new()))),
    }
}

/// The node above some nodes; the separator before the first of them goes up with it.
fn join<V>(nodes: impl Iterator<Item = Separated<V>>) -> Separated<V> {
    let (mut separators, children): (Vec<Bytes>, Vec<_>) = nodes.unzip();
    let before = if separators.is_empty() { Bytes::new() } else { separators.remove(0) };
    (before, Arc::new(Node::Inner(Box::new(Inner::new(separators, children)))))
}
