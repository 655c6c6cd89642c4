//! One number that tells whether two states are equal.

use std::fmt;

use super::sessions::{Session, SessionAnswer, Sessions};
use super::view::StateView;
use crate::storage::error::StorageError;

/// Begins what is hashed, so that no other use of the hash gives the same digests.
const DOMAIN: &[u8] = b"hightower-kv state digest 2\n";

/// A digest of everything in a state: equal states have equal digests, and different states have
/// different ones for all practical purposes, also if someone tries.
///
/// It is the BLAKE3 hash, 256 bits, of the text `hightower-kv state digest 2` and a newline; then,
/// as little-endian `u64`, how many entries may have been applied (the index of the last one plus
/// one, or zero), the last stamp, and the number of sessions; then all sessions in the order of
/// their ids, then all rows in key order. A session is its id, 16 bytes, and as `u64` the index and
/// the stamp of its last use, 0 or for a closed one 1, and how many answers it has; then each
/// answer as six `u64`: request, [outcome](super::Outcome::to_numbers), version, stamp. A row is
/// the length of its key and that of its value, 4 bytes each, version and stamp, 8 bytes each, the
/// key, the value. How the state came about, and what of it stands in tables, does not enter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateDigest([u8; 32]);

impl StateDigest {
    /// The digest of a state. Reads and hashes every key and value: O(n), some GB/s at best.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn of(view: &StateView) -> Result<Self, StorageError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN);
        let applied = view.last_applied().map_or(0, |index| index.next().0);
        hasher.update(&applied.to_le_bytes());
        hasher.update(&view.timestamp().0.to_le_bytes());
        update_with_sessions(&mut hasher, view.sessions());
        let mut rows = view.cursor_of_everything()?;
        while let Some(row) = rows.next()? {
            hasher.update(&length(row.key));
            hasher.update(&length(row.value));
            hasher.update(&row.version.0.to_le_bytes());
            hasher.update(&row.timestamp.0.to_le_bytes());
            hasher.update(row.key);
            hasher.update(row.value);
        }
        Ok(Self(hasher.finalize().into()))
    }

    /// The digest as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn update_with_sessions(hasher: &mut blake3::Hasher, sessions: &Sessions) {
    let update = |hasher: &mut blake3::Hasher, numbers: &[u64]| {
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
    };
    update(hasher, &[sessions.len() as u64]);
    for (id, session) in sessions.iter() {
        hasher.update(&id.0);
        let Session { used, used_at, is_closed, answers } = session;
        update(hasher, &[used.0, used_at.0, u64::from(*is_closed), answers.len() as u64]);
        for answer in answers {
            let SessionAnswer { request, outcome, version, timestamp } = *answer;
            let [tag, one, other] = outcome.to_numbers().unwrap_or_default();
            update(hasher, &[request, tag, one, other, version.0, timestamp.0]);
        }
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

/// The limits keep lengths below 2^30.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}
