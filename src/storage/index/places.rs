//! Where the rows of one state of an index stand, by the hashes of their keys.
//!
//! The tree is in order, and a look-up pays for that with a search in each node on its way. A state
//! that is read again and again while it stays as it is can be asked by hash instead: one look into
//! a table of numbers says in which leaf the row is, and where in it. The table is half empty, and
//! looked through from the place of a hash on (linear probing).

use std::sync::Arc;

use super::node::Node;
use super::{FANOUT, Index};

/// Bits of a slot that say which row of a leaf it is.
const ROW_BITS: u32 = FANOUT.ilog2();

const _: () = assert!(FANOUT.is_power_of_two(), "a place in a leaf is some bits");

/// Bits of a slot that say which leaf it is.
const LEAF_BITS: u32 = 15;

/// Most leaves. One number is left for slots without a row.
const LEAVES_MAX: usize = (1 << LEAF_BITS) - 1;

/// How far behind the place of its hash a row may stand. Half of the slots are empty, so only keys
/// that somebody has picked for their hashes need more.
const PROBES_MAX: usize = 128;

/// A row: twelve bits of its hash, its leaf and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(u32);

impl Slot {
    const EMPTY: Self = Self(u32::MAX);

    fn new(hash: u64, leaf: usize, row: usize) -> Option<Self> {
        if leaf >= LEAVES_MAX || row >= FANOUT {
            return None;
        }
        let place = u32::try_from(leaf << ROW_BITS | row).ok()?;
        Some(Self(tag_of(hash) << (LEAF_BITS + ROW_BITS) | place))
    }

    const fn tag(self) -> u32 {
        self.0 >> (LEAF_BITS + ROW_BITS)
    }

    const fn leaf(self) -> usize {
        (self.0 >> ROW_BITS) as usize & LEAVES_MAX
    }

    const fn row(self) -> usize {
        self.0 as usize & (FANOUT - 1)
    }
}

/// The bits of a hash that a slot keeps. They are not among those that say where it stands.
const fn tag_of(hash: u64) -> u32 {
    (hash >> (32 + LEAF_BITS + ROW_BITS)) as u32
}

/// Where the rows of one state of an index stand. It keeps the leaves of that state alive.
pub struct Places<V> {
    /// A power of two of them, at most half of which have a row.
    slots: Box<[Slot]>,
    leaves: Vec<Arc<Node<V>>>,
}

impl<V> std::fmt::Debug for Places<V> {
    /// Shows how many there are only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

impl<V> Places<V> {
    /// What `key` has, whose hash is `hash`. As [`Index::get_asking`].
    #[must_use]
    #[inline]
    pub fn get_asking(&self, hash: u64, key: &[u8], ask: impl Fn(&V)) -> Option<&V> {
        let mask = self.slots.len().wrapping_sub(1);
        for at in (first(hash, mask)..).take(PROBES_MAX) {
            let slot = *self.slots.get(at & mask)?;
            if slot == Slot::EMPTY {
                return None;
            }
            if slot.tag() == tag_of(hash) {
                let (found, value) = self.leaves.get(slot.leaf())?.rows().get(slot.row())?;
                ask(value);
                if found == key {
                    return Some(value);
                }
            }
        }
        None
    }
}

impl<V> Index<V> {
    /// Where the rows stand, by the hashes of their keys. `None` for millions of rows, and where
    /// the hashes of many keys are the same. Costs O(n), and 8 to 16 bytes a row.
    #[must_use]
    pub fn places(&self, hash_of: impl Fn(&[u8]) -> u64) -> Option<Places<V>> {
        let count = self.len.checked_mul(2)?.checked_next_power_of_two()?;
        let mut leaves = Vec::new();
        Node::gather_leaves(&self.root, &mut leaves);
        if leaves.len() > LEAVES_MAX {
            return None;
        }
        let mut slots = vec![Slot::EMPTY; count].into_boxed_slice();
        let mask = count - 1;
        for (leaf, node) in leaves.iter().enumerate() {
            for (row, (key, _)) in node.rows().iter().enumerate() {
                let hash = hash_of(key);
                let probes = (first(hash, mask)..).take(PROBES_MAX).map(|at| at & mask);
                let mut free = probes.filter(|&at| slots.get(at) == Some(&Slot::EMPTY));
                let at = free.next()?;
                *slots.get_mut(at)? = Slot::new(hash, leaf, row)?;
            }
        }
        Some(Places { slots, leaves })
    }
}

/// The slot with which the search for a hash begins.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
const fn first(hash: u64, mask: usize) -> usize {
    hash as usize & mask
}
