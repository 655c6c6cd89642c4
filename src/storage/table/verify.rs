//! Reads a whole table and holds everything in it against everything else.

use super::block::Block;
use super::key_hash::KeyHash;
use super::reader::{Table, length};
use crate::storage::error::StorageError;

/// How much is read at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// What the blocks so far add up to.
#[derive(Debug, Default)]
struct Seen {
    rows: u64,
    tombstones: u64,
    key_bytes: u64,
    value_bytes: u64,
    last_key: Vec<u8>,
}

impl Table {
    /// Whether every byte of the file is what was written: its hash, every block with its checksum,
    /// the order of the rows, the index, the filter and the counts. Reads the file twice, a piece
    /// at a time, and nothing of it from the cache.
    ///
    /// # Errors
    /// `Corrupt` with the offset of the first part that does not check; `Io`.
    pub fn verify(&self) -> Result<(), StorageError> {
        let mut seen = Seen::default();
        for number in 0..self.index().blocks() {
            let place = self.index().place(number..number + 1);
            let bytes = self.file().read(place.start, length(&place))?;
            let block = self.decode(&bytes, place.start, number)?;
            self.check_block(number, &block, &mut seen)
                .map_err(|found| self.file().corrupt(place.start, found))?;
        }
        let summary = self.summary();
        let counts = (seen.rows, seen.tombstones, seen.key_bytes, seen.value_bytes);
        let said = (summary.rows, summary.tombstones, summary.key_bytes, summary.value_bytes);
        if counts != said || seen.last_key != summary.last_key {
            return Err(self
                .file()
                .corrupt(0, "the rows of the table do not add up to its counts"));
        }
        // Last, because a part that does not check says where the damage is.
        self.check_hash()
    }

    fn check_block(
        &self,
        number: usize,
        block: &Block,
        seen: &mut Seen,
    ) -> Result<(), &'static str> {
        let shared = self.index().shared();
        let first = block.key(0);
        let fits = if number == 0 {
            first == self.index().first_key()
        } else {
            let separator = self.index().separator(number);
            let behind = |key: &[u8]| key.get(shared..).is_some_and(|rest| rest >= separator);
            seen.last_key.as_slice() < first && behind(first) && !behind(&seen.last_key)
        };
        if !fits {
            return Err("a block is not where the index says");
        }
        for row in (0..block.rows()).filter_map(|row| block.row(row)) {
            if !self.may_contain(KeyHash::of(row.key)) {
                return Err("the filter denies a key of this block");
            }
            seen.rows += 1;
            seen.tombstones += u64::from(row.value.is_none());
            seen.key_bytes += row.key.len() as u64;
            seen.value_bytes += row.value.map_or(0, <[u8]>::len) as u64;
        }
        seen.last_key = block.key(block.rows() - 1).to_vec();
        Ok(())
    }

    fn check_hash(&self) -> Result<(), StorageError> {
        let mut hasher = blake3::Hasher::new();
        let end = self.summary().bytes;
        let mut at = 0;
        while at < end {
            let piece = at..(at + CHUNK_BYTES).min(end);
            hasher.update(&self.file().read(at, length(&piece))?);
            at = piece.end;
        }
        if *hasher.finalize().as_bytes() != self.summary().hash {
            return Err(self.file().corrupt(0, "the hash of the whole file differs"));
        }
        Ok(())
    }
}
