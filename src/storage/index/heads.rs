//! The first bytes of a node's keys as numbers, so that most comparisons do not follow a pointer.

use std::cmp::Ordering;
use std::ops::Range;

use super::FANOUT;

/// Bytes of a key that its head holds.
const HEAD_BYTES: usize = 8;

/// Heads whose first and last agree in this many bits tell too little apart: they are taken again
/// from further into the keys.
const SHARED_BITS_MAX: u32 = 32;

/// Bytes of the shared prefix that stand beside the heads; of a longer one, none do.
const INLINE_BYTES: usize = 16;

/// For each key of a node, the eight bytes that follow the prefix which all of them share.
///
/// Invariants: the keys are ascending and there are as many heads; all keys share their first
/// `skip` bytes; a key that ends within its head is padded with zeros. So where two heads differ
/// they order the keys, and where they do not the keys must be compared.
#[derive(Clone, Debug)]
pub(super) struct Heads {
    /// Bytes at the front of the keys that all share and no head holds.
    skip: usize,
    /// Those bytes, where they fit: a search then looks at no key that it does not find.
    shared: [u8; INLINE_BYTES],
    /// How many of `numbers` are in use.
    len: usize,
    /// Inline, not on the heap: finding a node brings them along.
    numbers: [u64; FANOUT],
}

impl Heads {
    pub(super) const EMPTY: Self =
        Self { skip: 0, shared: [0; INLINE_BYTES], len: 0, numbers: [0; FANOUT] };

    /// The heads of some ascending keys, at most `FANOUT`.
    pub(super) fn of<'a>(keys: impl DoubleEndedIterator<Item = &'a [u8]> + Clone) -> Self {
        let mut made = Self::EMPTY;
        let mut ends = keys.clone();
        if let (Some(first), Some(last)) = (ends.next(), ends.next_back()) {
            made.skip = shared_bytes(first, last);
            let shared = first.get(..made.skip).unwrap_or_default();
            made.shared.iter_mut().zip(shared).for_each(|(to, from)| *to = *from);
        }
        for key in keys {
            made.push(head(key, made.skip));
        }
        made
    }

    /// What all keys share; `any` gives one of them.
    fn shared<'a>(&'a self, any: impl FnOnce() -> &'a [u8]) -> &'a [u8] {
        match self.shared.get(..self.skip) {
            Some(shared) => shared,
            None => split_at_most(any(), self.skip).0,
        }
    }

    /// Where the keys that may equal `key` stand, if `key` begins with the shared prefix. Empty
    /// when there are none; its start is then where `key` would stand.
    fn candidates(&self, key: &[u8]) -> Range<usize> {
        let wanted = head(key, self.skip);
        let heads = self.used();
        let start = heads.partition_point(|&head| head < wanted);
        let rest = heads.get(start..).unwrap_or_default();
        match rest {
            [first, ..] if *first == wanted => {
                start..start + rest.partition_point(|&head| head <= wanted)
            }
            _ => start..start,
        }
    }

    /// Where `key` stands, or where it would. `key_at` gives the key at a position.
    pub(super) fn search<'a>(
        &self,
        key: &[u8],
        key_at: impl Fn(usize) -> &'a [u8],
    ) -> Result<usize, usize> {
        if self.skip > 0 {
            let (begin, _) = split_at_most(key, self.skip);
            match begin.cmp(self.shared(|| key_at(0))) {
                Ordering::Less => return Err(0),
                Ordering::Equal => {}
                Ordering::Greater => return Err(self.len),
            }
        }
        binary_search(self.candidates(key), |at| key_at(at).cmp(key))
    }

    /// Where `key` stands, if it does. Cheaper than [`search`](Self::search): the shared prefix is
    /// compared only as a part of the one key found.
    pub(super) fn find<'a>(&self, key: &[u8], key_at: impl Fn(usize) -> &'a [u8]) -> Option<usize> {
        if key.len() < self.skip {
            return None;
        }
        let candidates = self.candidates(key);
        if candidates.len() == 1 {
            let at = candidates.start;
            return (key_at(at) == key).then_some(at);
        }
        binary_search(candidates, |at| key_at(at).cmp(key)).ok()
    }

    /// Makes room at `at` for `key`, which `neighbour`, any key of the node, must share the prefix
    /// with; returns false, with nothing changed, when it does not.
    pub(super) fn insert(&mut self, at: usize, key: &[u8], neighbour: Option<&[u8]>) -> bool {
        let skip = self.skip;
        let shares = |other| key.starts_with(self.shared(|| other));
        if skip > 0 && !neighbour.is_some_and(shares) {
            return false;
        }
        self.numbers.copy_within(at..self.len, at + 1);
        if let Some(slot) = self.numbers.get_mut(at) {
            *slot = head(key, skip);
        }
        self.len += 1;
        true
    }

    /// Forgets the head at `at`.
    pub(super) fn remove(&mut self, at: usize) {
        self.numbers.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    /// Takes away the heads from `at` on and returns those from `from` on.
    pub(super) fn split_off(&mut self, at: usize, from: usize) -> Self {
        let mut right = Self::EMPTY;
        (right.skip, right.shared) = (self.skip, self.shared);
        for &head in self.used().get(from..).unwrap_or_default() {
            right.push(head);
        }
        self.len = at;
        right
    }

    /// Whether the heads tell so little apart that they should be taken again.
    pub(super) fn are_blunt(&self) -> bool {
        match self.used() {
            [first, .., last] => (first ^ last).leading_zeros() >= SHARED_BITS_MAX,
            _ => false,
        }
    }

    fn push(&mut self, head: u64) {
        if let Some(slot) = self.numbers.get_mut(self.len) {
            *slot = head;
        }
        self.len += 1;
    }

    fn used(&self) -> &[u64] {
        self.numbers.get(..self.len).unwrap_or_default()
    }

    /// Checks the invariants against the keys.
    pub(super) fn validate<'a>(&self, keys: impl DoubleEndedIterator<Item = &'a [u8]> + Clone) {
        let mut ends = keys.clone();
        if let (Some(first), Some(last)) = (ends.next(), ends.next_back()) {
            assert!(shared_bytes(first, last) >= self.skip, "a key without the shared prefix");
            assert!(first.starts_with(self.shared(|| first)), "another prefix than the keys have");
        }
        let expected = keys.map(|key| head(key, self.skip));
        assert!(expected.eq(self.used().iter().copied()), "a head is not its key's");
    }
}

/// The eight bytes of `key` behind `skip`, as a number that orders as they do.
#[expect(
    clippy::big_endian_bytes,
    reason = "the first byte must weigh most for numbers to order as bytes do"
)]
fn head(key: &[u8], skip: usize) -> u64 {
    let (_, rest) = split_at_most(key, skip);
    if let Some(whole) = rest.first_chunk::<HEAD_BYTES>() {
        return u64::from_be_bytes(*whole);
    }
    let short = rest.iter().fold(0, |number: u64, &byte| (number << 8) | u64::from(byte));
    // Between one and eight bytes are missing, and a shift by all 64 bits is none.
    short.checked_shl(8 * padding_bytes(rest.len())).unwrap_or(0)
}

/// How many zeros pad a key that ends `len` bytes into its head.
fn padding_bytes(len: usize) -> u32 {
    HEAD_BYTES.saturating_sub(len).try_into().unwrap_or(0)
}

/// How many bytes two keys share at their front.
pub(super) fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn split_at_most(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at(at.min(bytes.len()))
}

/// Searches `range` for where `compare` says equal, as `slice::binary_search_by` does.
fn binary_search(range: Range<usize>, compare: impl Fn(usize) -> Ordering) -> Result<usize, usize> {
    let Range { mut start, mut end } = range;
    while start < end {
        let middle = start.midpoint(end);
        match compare(middle) {
            Ordering::Less => start = middle + 1,
            Ordering::Equal => return Ok(middle),
            Ordering::Greater => end = middle,
        }
    }
    Err(start)
}
