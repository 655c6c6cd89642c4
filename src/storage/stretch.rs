//! A stretch of keys, from one up to another.

use std::ops::Bound;

use bytes::Bytes;

use super::record::Direction;

/// Which end of a stretch a bound is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The least key.
    From,
    /// The first key behind it.
    To,
}

/// Keys from one up to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The least key that may be in it.
    pub from: Bytes,
    /// The first key that is not in it any more; `None`: all behind `from` are.
    pub to: Option<Bytes>,
}

impl Stretch {
    /// The keys between two bounds.
    #[must_use]
    pub fn between(from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self {
        Self { from: edge(from, Side::From).unwrap_or_default(), to: edge(to, Side::To) }
    }

    /// Its bounds.
    #[must_use]
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let to = self.to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&**to));
        (Bound::Included(&self.from), to)
    }

    /// Where rows in this direction go on behind it; `None`: there are none.
    #[must_use]
    pub fn beyond(&self, direction: Direction) -> Option<Bound<&[u8]>> {
        match direction {
            Direction::Forward => self.to.as_deref().map(Bound::Included),
            Direction::Backward => Some(Bound::Excluded(&self.from)),
        }
    }

    /// Whether this key is in it.
    #[must_use]
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.from <= *key && self.to.as_ref().is_none_or(|to| *key < **to)
    }

    /// Whether a key with this prefix may be in it.
    #[must_use]
    pub fn has_prefix(&self, prefix: &[u8]) -> bool {
        let begins = self.from.starts_with(prefix) || *self.from <= *prefix;
        begins && self.to.as_ref().is_none_or(|to| *prefix < **to)
    }

    /// Whether this key lies behind it, and another may lie between both.
    #[must_use]
    pub fn ends_before(&self, key: &[u8]) -> bool {
        self.to.as_ref().is_some_and(|to| **to < *key)
    }

    /// Whether no key can be in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }

    /// Whether all keys of both, and none between them, are one stretch.
    #[must_use]
    pub fn touches(&self, other: &Self) -> bool {
        !self.ends_before(&other.from) && !other.ends_before(&self.from)
    }

    /// Reaches over the keys of another, too, which it touches.
    pub fn take_in(&mut self, other: Self) {
        self.to = self.to.take().zip(other.to).map(|(one, other)| one.max(other));
        if other.from < self.from {
            self.from = other.from;
        }
    }
}

/// A bound as the first key that is in a stretch, or as the first that is not any more.
fn edge(bound: Bound<&[u8]>, side: Side) -> Option<Bytes> {
    match (bound, side) {
        (Bound::Included(key), Side::From) | (Bound::Excluded(key), Side::To) => {
            Some(Bytes::copy_from_slice(key))
        }
        (Bound::Excluded(key), Side::From) | (Bound::Included(key), Side::To) => {
            Some(next_key(key))
        }
        (Bound::Unbounded, _) => None,
    }
}

/// The least key above another.
#[must_use]
pub fn next_key(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// Something of a stretch.
pub trait HasStretch {
    /// Which one.
    fn stretch(&self) -> &Stretch;

    /// Reaches over the stretch of another, too, which it touches.
    fn take_in(&mut self, other: Self);
}

/// Which of these has a key. They are in order, and none touches another.
#[must_use]
pub fn position<T: HasStretch>(sorted: &[T], key: &[u8]) -> Option<usize> {
    let behind = sorted.partition_point(|it| *it.stretch().from <= *key);
    let at = behind.checked_sub(1)?;
    sorted.get(at).filter(|it| it.stretch().contains(key)).map(|_| at)
}

/// Which of these has the first keys that rows in this direction may have, from a bound on. They
/// are in order, and none touches another.
#[must_use]
pub fn position_at<T: HasStretch>(
    sorted: &[T],
    start: Bound<&[u8]>,
    direction: Direction,
) -> Option<usize> {
    if direction == Direction::Forward {
        return match start {
            Bound::Included(key) => position(sorted, key),
            Bound::Excluded(key) => position(sorted, &next_key(key)),
            Bound::Unbounded => position(sorted, &[]),
        };
    }
    let Some(end) = edge(start, Side::To) else {
        let last = sorted.len().checked_sub(1)?;
        return sorted.get(last).filter(|it| it.stretch().to.is_none()).map(|_| last);
    };
    // The last of those that begin before the end.
    let at = sorted.partition_point(|it| it.stretch().from < end).checked_sub(1)?;
    sorted.get(at).filter(|it| !it.stretch().ends_before(&end)).map(|_| at)
}

/// Adds a stretch to others, which are in order and none of which touches another: those that it
/// touches become part of it.
pub fn add<T: HasStretch>(sorted: &mut Vec<T>, mut new: T) {
    let first = sorted.partition_point(|it| it.stretch().ends_before(&new.stretch().from));
    let touches = |it: &&T| it.stretch().touches(new.stretch());
    let touching = sorted.iter().skip(first).take_while(touches).count();
    sorted.splice(first..first + touching, []).for_each(|it| new.take_in(it));
    sorted.insert(first, new);
}
