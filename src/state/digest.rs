//! One number that tells whether two states are equal.

use std::fmt;

use super::rows::RowChunks;
use super::view::StateView;

/// Begins what is hashed, so that no other use of the hash gives the same digests.
const DOMAIN: &[u8] = b"hightower-kv state digest 1\n";

/// A digest of everything in a state: equal states have equal digests, and different states have
/// different ones for all practical purposes, also if someone tries.
///
/// It is the BLAKE3 hash, 256 bits, of the text `hightower-kv state digest 1` and a newline; then,
/// as little-endian `u64`, how many entries may have been applied (the index of the last one plus
/// one, or zero) and the last stamp; then all rows in key order as [`rows`](super::rows) writes
/// them. How the state came about does not enter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateDigest([u8; 32]);

impl StateDigest {
    /// The digest of a state. Reads and hashes every key and value: O(n), some GB/s at best.
    #[must_use]
    pub fn of(view: &StateView) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN);
        let applied = view.last_applied().map_or(0, |index| index.next().0);
        hasher.update(&applied.to_le_bytes());
        hasher.update(&view.timestamp().0.to_le_bytes());
        for chunk in RowChunks::of(view) {
            hasher.update(&chunk);
        }
        Self(hasher.finalize().into())
    }

    /// The digest as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for StateDigest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateDigest({self})")
    }
}
