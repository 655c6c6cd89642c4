//! Says of most keys that are not among the newest rows that they are not, with one look into
//! memory: the search for them in an ordered index would cost several.
//!
//! Unlike the filter of a table it takes in keys one by one, and while others ask it. Keys are
//! never taken out, so it may be shared by all states that have some of its keys: of a key that it
//! did not take in it says no, or seldom yes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::table::KeyHash;

/// 256 KiB: of a hundred thousand keys, as many as gather in memory where rows are small, one in a
/// hundred others passes; of three hundred thousand one in eight.
const WORDS: usize = 1 << 15;

/// A set of keys that a key may pass for a member of.
#[derive(Debug)]
pub(crate) struct KeyFilter(Box<[AtomicU64]>);

impl KeyFilter {
    /// Without a key.
    pub(crate) fn new() -> Self {
        Self((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Takes in a key. Whoever learns of it afterwards, through a lock or another means that orders
    /// memory, finds it.
    #[inline]
    pub(crate) fn insert(&self, hash: KeyHash) {
        let (word, bits) = self.place(hash);
        if let Some(word) = word {
            // Not a load and a store: a clone of the state may be written by another thread.
            word.fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// Whether the key may have been taken in: always when it was.
    #[inline]
    pub(crate) fn may_contain(&self, hash: KeyHash) -> bool {
        let (word, bits) = self.place(hash);
        word.is_none_or(|word| word.load(Ordering::Relaxed) & bits == bits)
    }

    /// The word of a key and its three bits there: all in one line of the processor's cache.
    #[inline]
    fn place(&self, hash: KeyHash) -> (Option<&AtomicU64>, u64) {
        let hash = hash.bits();
        let bits = 1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63);
        let word = usize::try_from(hash >> 49).ok().and_then(|at| self.0.get(at));
        (word, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> KeyHash {
        KeyHash::of(format!("key-{number:08}").as_bytes())
    }

    #[test]
    fn every_key_passes_and_few_others_do() {
        assert_eq!(WORDS, 1 << (64 - 49), "each word has its keys");
        let filter = KeyFilter::new();
        assert!((0..100).all(|number| !filter.may_contain(hash(number))));
        for number in 0..100_000 {
            filter.insert(hash(number));
        }
        assert!((0..100_000).all(|number| filter.may_contain(hash(number))));
        let passed = (1_000_000..1_100_000).filter(|&number| filter.may_contain(hash(number)));
        let passed = passed.count();
        assert!(passed < 2_000, "{passed} of 100,000 passed");
    }
}
