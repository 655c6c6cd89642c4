//! The memory that Argon2 works in, kept from one password to the next.
//!
//! An allocator may keep what a thread gave back for that thread: then every thread that ever
//! checked a password would keep 19 MiB.

use std::fmt;

use argon2::Block;
use parking_lot::Mutex;

/// How many are kept: so many passwords are hashed at once.
const KEPT_MAX: usize = 2;

/// Blocks that are not in use. What is in them says of a password what its hash does.
#[derive(Default)]
pub(super) struct HashingMemory(Mutex<Vec<Vec<Block>>>);

impl fmt::Debug for HashingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashingMemory(..)")
    }
}

impl HashingMemory {
    /// So many blocks for `work`; `None` when there is no memory. What is in them is left over.
    /// They are kept if there are no more than `kept_blocks`.
    pub(super) fn with<T>(
        &self,
        blocks: usize,
        kept_blocks: usize,
        work: impl FnOnce(&mut [Block]) -> T,
    ) -> Option<T> {
        let kept = self.0.lock().pop().filter(|kept| kept.capacity() >= blocks);
        let mut memory = kept.unwrap_or_default();
        memory.truncate(blocks);
        memory.try_reserve_exact(blocks.saturating_sub(memory.len())).ok()?;
        memory.resize(blocks, Block::new());
        let result = work(&mut memory);
        if memory.capacity() <= kept_blocks {
            let mut all = self.0.lock();
            if all.len() < KEPT_MAX {
                all.push(memory);
            }
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_kept_and_none_that_is_larger_than_usual() {
        let memory = HashingMemory::default();
        memory.with(8, 8, |_| memory.with(8, 8, |_| memory.with(8, 8, |_| ())));
        assert_eq!(memory.0.lock().len(), KEPT_MAX);
        assert_eq!(memory.with(64, 8, |blocks| blocks.len()), Some(64));
        assert!(memory.0.lock().iter().all(|kept| kept.capacity() == 8));
        assert_eq!(memory.with(usize::MAX / 4096, 8, |_| ()), None);
    }
}
