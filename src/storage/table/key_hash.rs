//! The hash of a key that filters are made of and asked with.

const SEED: u64 = 0x4528_21e6_38d0_1377;
const WORD_FACTOR: u64 = 0xbe54_66cf_34e9_0c6d;
const LAST_MASK: u64 = 0xc0ac_29b7_c97c_50dd;
const LAST_FACTOR: u64 = 0x3f84_d5b5_b547_0917;

/// The hash of a key, the same for every table: taken once for a look-up that asks several.
///
/// It is part of the format (`docs/format.md`) and made to be fast, not to withstand whoever picks
/// keys with equal hashes: those cost a read of a block, or that a table has no image, and no
/// answer depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(pub(super) u64);

impl KeyHash {
    /// The hash of `key`. One multiplication for each eight bytes.
    #[must_use]
    #[inline]
    pub fn of(key: &[u8]) -> Self {
        let (words, rest) = key.as_chunks::<8>();
        // Times a factor, so that no length looks like the bytes of another key.
        let mut hash = SEED ^ (key.len() as u64).wrapping_mul(LAST_FACTOR);
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word), WORD_FACTOR);
        }
        if !rest.is_empty() {
            let last = rest.iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte));
            hash = fold(hash ^ last, WORD_FACTOR);
        }
        Self(fold(hash ^ LAST_MASK, LAST_FACTOR))
    }

    /// The hash that is this number.
    #[cfg(test)]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Keys of sixteen bytes that all have the same hash.
    #[cfg(test)]
    pub(super) fn equal_keys() -> impl Iterator<Item = [u8; 16]> {
        (0_u64..).map(|first| {
            let hash = fold(SEED ^ 16_u64.wrapping_mul(LAST_FACTOR) ^ first, WORD_FACTOR);
            let mut key = [0; 16];
            key[..8].copy_from_slice(&first.to_le_bytes());
            key[8..].copy_from_slice(&(hash ^ 0x77).to_le_bytes());
            key
        })
    }

    /// The hash as a number.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// Both halves of the product, so that every bit of `a` reaches every bit of the result.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn similar_keys_have_different_hashes() {
        let mut seen = HashSet::new();
        for len in 0..40 {
            assert!(seen.insert(KeyHash::of(&vec![0; len]).0), "{len} zeros");
        }
        for number in 1..100_000_u64 {
            assert!(seen.insert(KeyHash::of(&number.to_le_bytes()).0));
            assert!(seen.insert(KeyHash::of(format!("key-{number:09}").as_bytes()).0));
        }
    }

    // Filters on disk hold it: another number here is another format.
    #[test]
    fn the_hash_is_that_of_the_format() {
        assert_eq!(KeyHash::of(b"").0, GOLDEN[0]);
        assert_eq!(KeyHash::of(b"abc").0, GOLDEN[1]);
        assert_eq!(KeyHash::of(b"0123456789abcdef!").0, GOLDEN[2]);
    }

    // Computed by a reader written from docs/format.md in another language.
    const GOLDEN: [u64; 3] = [0xefa0_793d_af8a_79fd, 0x54dd_9ea8_595c_a09f, 0x1b8e_97af_4093_a227];
}
