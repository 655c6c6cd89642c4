//! What removing a stretch of keys meets.

use bytes::{Bytes, BytesMut};

use super::check::Sum;
use super::effects::Detail;
use super::view::StateView;
use crate::storage::cuts::Hidden;
use crate::storage::error::StorageError;
use crate::storage::stretch::Stretch;

/// Bytes that are noted of what one command removes without naming it, at most: what is more
/// becomes one [cut](crate::storage::cuts::Cut). A note and a tombstone take two hundred bytes a
/// row beside the key; a cut is looked at by each read that finds nothing in memory.
///
/// Tests come to it with three rows: what a state has and tells is the same whatever it is.
const NOTED_BYTES_MAX: usize = if cfg!(any(test, all(feature = "testing", debug_assertions))) {
    3 * size_of::<Detail>()
} else {
    8 << 20
};

/// What a row of a table takes in its file besides its bytes: 10 to 15 for columns, filter and
/// index, and some for what a table has once.
pub(super) const TABLE_ROW_BYTES: u64 = 20;

/// Bytes of a value, which are less than 2^30.
pub(super) fn len_of(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Copies keys, many into one buffer: a buffer of its own for each would take as much again as a
/// short key. Who keeps one of them keeps up to [`Self::BYTES_MAX`] of the others.
#[derive(Debug, Default)]
struct KeyCopies {
    room: BytesMut,
    /// Length of the last buffer.
    bytes: usize,
}

impl KeyCopies {
    const BYTES_MIN: usize = 256;
    const BYTES_MAX: usize = 64 << 10;

    fn copy(&mut self, key: &[u8]) -> Bytes {
        if self.room.capacity() < key.len() {
            self.bytes = (2 * self.bytes).clamp(Self::BYTES_MIN, Self::BYTES_MAX);
            self.room = BytesMut::with_capacity(self.bytes.max(key.len()));
        }
        self.room.extend_from_slice(key);
        self.room.split().freeze()
    }
}

/// The rows of a stretch.
#[derive(Clone, Debug)]
pub(super) struct MetRows {
    pub(super) rows: Hidden,
    pub(super) value_bytes: u64,
    /// What they add to the digest, where that was asked for.
    pub(super) sum: Sum,
    /// Each of them; `None`: they are too many.
    pub(super) noted: Option<Vec<Detail>>,
}

impl MetRows {
    /// Bytes that tables take for the tombstones of all of them. Their times stay, and go when they
    /// are due.
    pub(super) const fn tombstone_bytes(&self) -> u64 {
        let Hidden { rows, key_bytes } = self.rows;
        key_bytes + rows * TABLE_ROW_BYTES
    }

    /// Looks at each.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub(super) fn look(
        view: &StateView,
        stretch: &Stretch,
        sums: bool,
    ) -> Result<Self, StorageError> {
        let (rows, value_bytes, sum) = (Hidden::default(), 0, Sum::default());
        let mut met = Self { rows, value_bytes, sum, noted: Some(Vec::new()) };
        let mut keys = KeyCopies::default();
        let mut rows = view.cursor_of_all(stretch.bounds())?;
        while let Some(row) = rows.next()? {
            if sums {
                met.sum.add(Sum::of_row(row.key, row.value, row.version, row.timestamp));
            }
            met.rows = met.rows.and(Hidden { rows: 1, key_bytes: row.key.len() as u64 });
            met.value_bytes += row.value.len() as u64;
            if let Some(noted) = &mut met.noted {
                let before = Some(len_of(row.value.len()));
                noted.push(Detail::Explicit { key: keys.copy(row.key), value: None, before });
                let bytes = size_of_val(&**noted) as u64 + met.rows.key_bytes;
                if bytes > NOTED_BYTES_MAX as u64 {
                    met.noted = None;
                }
            }
        }
        Ok(met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_share_a_buffer_are_each_what_was_copied() {
        let mut keys: Vec<Vec<u8>> =
            (0..3_000_u32).map(|n| format!("{n:06}").into_bytes()).collect();
        // Longer than a buffer that many share.
        keys.extend([vec![b'1'; 60_000], vec![b'2'; 65_000], vec![b'2']]);
        let mut copies = KeyCopies::default();
        let made: Vec<Bytes> = keys.iter().map(|key| copies.copy(key)).collect();
        assert!(made == keys);
    }
}
