//! The first bytes of a node's keys as numbers, so that most comparisons do not follow a pointer.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use super::FANOUT;

/// Heads whose first and last agree in this many bits tell too little apart: they are taken again
/// from further into the keys.
const SHARED_BITS_MAX: u32 = 32;

/// Most bytes of the shared prefix that stand beside the heads; of a longer one, none do.
const FRONT_BYTES_MAX: usize = size_of::<u128>();

/// Some bytes of a key as a number that orders as they do, padded with zeros where the key ends.
pub(super) trait Head: Copy + Ord + Default + fmt::Debug {
    /// The bytes of `key` behind the first `skip`.
    fn of(key: &[u8], skip: usize) -> Self;

    /// In how many bits, from the first one on, two are equal.
    fn shared_bits(self, other: Self) -> u32;
}

/// For each key of a node, the bytes that follow the prefix which all of them share.
///
/// Invariants: the keys are ascending and there are as many heads; all keys share their first
/// `skip` bytes; a key that ends within its head is padded with zeros. So where two heads differ
/// they order the keys, and where they do not the keys must be compared.
#[derive(Clone, Debug)]
pub(super) struct Heads<H> {
    /// Bytes at the front of the keys that all share and no head holds.
    skip: usize,
    /// Those bytes as a number, where they fit: a search then looks at no key that it does not
    /// find.
    shared: u128,
    /// How many of `numbers` are in use.
    len: usize,
    /// Inline, not on the heap: finding a node brings them along.
    numbers: [H; FANOUT],
}

impl<H: Head> Heads<H> {
    /// The heads of some ascending keys, at most `FANOUT`.
    pub(super) fn of<'a>(keys: impl DoubleEndedIterator<Item = &'a [u8]> + Clone) -> Self {
        let numbers = [H::default(); FANOUT];
        let mut made = Self { skip: 0, shared: 0, len: 0, numbers };
        let mut ends = keys.clone();
        if let (Some(first), Some(last)) = (ends.next(), ends.next_back()) {
            made.skip = shared_bytes(first, last);
            made.shared = front(first, made.skip).unwrap_or_default();
        }
        for key in keys {
            made.push(H::of(key, made.skip));
        }
        made
    }

    /// How the front of `key` compares to what all keys share, of which `any` gives one.
    fn compare_front<'a>(&self, key: &[u8], any: impl FnOnce() -> &'a [u8]) -> Ordering {
        match front(key, self.skip) {
            Some(begin) => begin.cmp(&self.shared),
            None => split_at_most(key, self.skip).0.cmp(split_at_most(any(), self.skip).0),
        }
    }

    /// Where the keys that may equal `key` stand, if `key` begins with the shared prefix. Empty
    /// when there are none; its start is then where `key` would stand.
    fn candidates(&self, key: &[u8]) -> Range<usize> {
        let wanted = H::of(key, self.skip);
        let heads = self.used();
        // All of them: a search by halves would wait for one line of memory after the other.
        let start = heads.iter().map(|&head| usize::from(head < wanted)).sum();
        match heads.get(start..).unwrap_or_default() {
            [first, rest @ ..] if *first == wanted => {
                // Most often there is only one.
                let more = rest.iter().take_while(|&&head| head == wanted).count();
                start..start + 1 + more
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
            match self.compare_front(key, || key_at(0)) {
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
        if skip > 0 {
            let shares = |other| self.compare_front(key, || other).is_eq();
            if !neighbour.is_some_and(shares) {
                return false;
            }
        }
        self.numbers.copy_within(at..self.len, at + 1);
        if let Some(slot) = self.numbers.get_mut(at) {
            *slot = H::of(key, skip);
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
        let mut right = Self { len: self.len.saturating_sub(from), ..*self };
        right.numbers.copy_within(from..self.len, 0);
        self.len = at;
        right
    }

    /// Whether the heads tell so little apart that they should be taken again.
    pub(super) fn are_blunt(&self) -> bool {
        match self.used() {
            [first, .., last] => first.shared_bits(*last) >= SHARED_BITS_MAX,
            _ => false,
        }
    }

    fn push(&mut self, head: H) {
        if let Some(slot) = self.numbers.get_mut(self.len) {
            *slot = head;
        }
        self.len += 1;
    }

    fn used(&self) -> &[H] {
        self.numbers.get(..self.len).unwrap_or_default()
    }

    /// Checks the invariants against the keys.
    pub(super) fn validate<'a>(&self, keys: impl DoubleEndedIterator<Item = &'a [u8]> + Clone) {
        let mut ends = keys.clone();
        if let (Some(first), Some(last)) = (ends.next(), ends.next_back()) {
            assert!(shared_bytes(first, last) >= self.skip, "a key without the shared prefix");
            let front = front(first, self.skip);
            assert!(front.is_none_or(|it| it == self.shared), "another prefix than the keys have");
        }
        let expected = keys.map(|key| H::of(key, self.skip));
        assert!(expected.eq(self.used().iter().copied()), "a head is not its key's");
    }
}

impl Head for u64 {
    #[expect(
        clippy::big_endian_bytes,
        reason = "the first byte must weigh most for numbers to order as bytes do"
    )]
    #[inline]
    fn of(key: &[u8], skip: usize) -> Self {
        const BYTES: usize = size_of::<u64>();
        let (_, rest) = split_at_most(key, skip);
        if let Some(whole) = rest.first_chunk::<BYTES>() {
            return Self::from_be_bytes(*whole);
        }
        let short = match key.last_chunk::<BYTES>() {
            // Those before the rest are shifted out.
            Some(last) => Self::from_be_bytes(*last),
            None => rest.iter().fold(0, |number, &byte| (number << 8) | Self::from(byte)),
        };
        // Between one and eight bytes are missing, and a shift by all bits is none.
        short.checked_shl(8 * missing::<BYTES>(rest.len())).unwrap_or(0)
    }

    fn shared_bits(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
}

impl Head for u128 {
    #[inline]
    fn of(key: &[u8], skip: usize) -> Self {
        let halves =
            [skip, skip + size_of::<u64>()].map(|skip| Self::from(<u64 as Head>::of(key, skip)));
        halves[0] << u64::BITS | halves[1]
    }

    fn shared_bits(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
}

/// The first `len` bytes of `key` as a number that orders as they do. `None` where there are more
/// than a number holds, or fewer in the key.
#[inline]
fn front(key: &[u8], len: usize) -> Option<u128> {
    if len > FRONT_BYTES_MAX || len > key.len() {
        return None;
    }
    // A shift by all bits is none.
    Some(u128::of(key, 0).checked_shr(8 * missing::<FRONT_BYTES_MAX>(len)).unwrap_or(0))
}

/// How many of `BYTES` bytes are missing where there are `len`.
fn missing<const BYTES: usize>(len: usize) -> u32 {
    BYTES.saturating_sub(len).try_into().unwrap_or(0)
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
