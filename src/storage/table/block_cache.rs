//! Which blocks stay in memory: as many as a budget allows, of all tables together.
//!
//! A block is found in the slot of its table, without asking the cache; the cache is asked only
//! when a block was read. It keeps a queue of what it put into slots, oldest first, and makes room
//! from the front; a block that somebody looked into meanwhile goes to the back once more.
//!
//! A slot is a pointer that is read without a lock and without writing to memory that others read:
//! two readers of one block do not slow each other down. It is changed under the queue's lock only.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::block::Block;

/// The blocks of tables that are in memory, up to a budget. One for all tables of a store.
pub struct BlockCache {
    budget: AtomicU64,
    used: AtomicU64,
    is_full: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// At least so many entries are of tables that were dropped.
    dead: usize,
}

struct Entry {
    slots: Weak<Slots>,
    number: usize,
}

impl BlockCache {
    /// A cache that keeps at most `budget` bytes of blocks.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self {
            budget: AtomicU64::new(budget),
            used: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            queue: Mutex::default(),
        }
    }

    /// Bytes of the blocks that are in it; never more than the budget. Blocks and values that
    /// somebody still holds are not counted once they were evicted.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that it may use.
    #[must_use]
    pub fn budget(&self) -> u64 {
        self.budget.load(Ordering::Relaxed)
    }

    /// Whether it had to evict something since the budget was last raised, or since it was last
    /// half empty.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Whether blocks of so many bytes fit without another one having to go.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.used() + bytes <= self.budget()
    }

    /// Whether a block may be read in advance without another one having to go.
    pub(super) fn has_plenty_of_room(&self) -> bool {
        self.used() < self.budget() / 2
    }

    /// Changes the budget; what is above it is evicted at once.
    pub fn set_budget(&self, budget: u64) {
        let before = self.budget.swap(budget, Ordering::Relaxed);
        if budget > before {
            self.is_full.store(false, Ordering::Relaxed);
        }
        let kept_alive = self.make_room(&mut self.queue.lock(), 0);
        drop(kept_alive);
    }

    /// Puts a block that was read into its slot, if there is room for it at all, and returns what
    /// is in the slot then: of two that read the same block both get the first.
    pub(super) fn insert(
        &self,
        slots: &Arc<Slots>,
        number: usize,
        block: Arc<Block>,
        room: Room,
    ) -> Arc<Block> {
        let bytes = block.memory_bytes();
        if bytes > self.budget() || (room == Room::Spare && self.used() + bytes > self.budget()) {
            return block;
        }
        let mut queue = self.queue.lock();
        let kept_alive = self.make_room(&mut queue, bytes);
        // No room although all is evicted: a table that is being dropped on another thread has not
        // given back what it used yet. Then the block is not kept.
        let has_room = self.used() + bytes <= self.budget();
        let inserted =
            if has_room { slots.insert(number, block) } else { Inserted { block, is_new: false } };
        if inserted.is_new {
            self.used.fetch_add(bytes, Ordering::Relaxed);
            queue.entries.push_back(Entry { slots: Arc::downgrade(slots), number });
        }
        drop(queue);
        drop(kept_alive);
        inserted.block
    }

    /// Evicts until `bytes` more fit. Returns the tables that it looked at: the last owner of one
    /// may have let it go meanwhile, and dropping one takes the lock that is held here.
    #[must_use]
    fn make_room(&self, queue: &mut Queue, bytes: u64) -> Vec<Arc<Slots>> {
        let mut kept_alive = Vec::new();
        let budget = self.budget();
        // Readers may look into blocks faster than this goes by: nobody is spared twice.
        let mut spare = queue.entries.len();
        while self.used() + bytes > budget {
            let Some(entry) = queue.entries.pop_front() else {
                break;
            };
            let Some(slots) = entry.slots.upgrade() else {
                queue.dead = queue.dead.saturating_sub(1);
                continue;
            };
            if spare > 0 && slots.take_referenced(entry.number) {
                spare -= 1;
                queue.entries.push_back(entry);
            } else if let Some(evicted) = slots.take(entry.number) {
                self.used.fetch_sub(evicted.memory_bytes(), Ordering::Relaxed);
                self.is_full.store(true, Ordering::Relaxed);
            }
            if kept_alive.last().is_none_or(|last| !Arc::ptr_eq(last, &slots)) {
                kept_alive.push(slots);
            }
        }
        kept_alive
    }

    /// A table with so many blocks in the cache is gone.
    fn forget(&self, blocks: usize, bytes: u64) {
        let mut queue = self.queue.lock();
        let left = self.used.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes);
        if left <= self.budget() / 2 {
            self.is_full.store(false, Ordering::Relaxed);
        }
        queue.dead += blocks;
        if queue.dead > queue.entries.len() / 2 {
            queue.entries.retain(|entry| entry.slots.strong_count() > 0);
            queue.dead = 0;
        }
    }
}

impl fmt::Debug for BlockCache {
    /// Shows the sizes only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache")
            .field("used", &self.used())
            .field("budget", &self.budget())
            .finish_non_exhaustive()
    }
}

/// For whom a block is put into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It was asked for: others may have to go.
    Make,
    /// It came along with another: only if nobody has to go.
    Spare,
}

/// The blocks of one table that are in memory.
pub(super) struct Slots {
    slots: Box<[ArcSwapOption<Block>]>,
    cache: Arc<BlockCache>,
}

struct Inserted {
    block: Arc<Block>,
    is_new: bool,
}

impl Slots {
    /// For a table of so many blocks, none of them in memory.
    pub(super) fn new(blocks: usize, cache: &Arc<BlockCache>) -> Arc<Self> {
        let slots = (0..blocks).map(|_| ArcSwapOption::empty()).collect();
        Arc::new(Self { slots, cache: Arc::clone(cache) })
    }

    pub(super) fn cache(&self) -> &BlockCache {
        &self.cache
    }

    /// Bytes of memory without the blocks.
    pub(super) fn memory_bytes(&self) -> u64 {
        size_of_val::<[_]>(&self.slots) as u64
    }

    /// What `look` finds in the block, if it is in memory. Other threads that look do not wait.
    #[inline]
    pub(super) fn with<T>(&self, number: usize, look: impl FnOnce(&Block) -> T) -> Option<T> {
        let slot = self.slots.get(number)?.load();
        let block = slot.as_deref()?;
        block.mark_referenced();
        Some(look(block))
    }

    /// The block, if it is in memory.
    pub(super) fn get(&self, number: usize) -> Option<Arc<Block>> {
        self.slots.get(number)?.load_full()
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.slots.get(number).is_some_and(|slot| slot.load().is_some())
    }

    /// To be called under the queue's lock.
    fn insert(&self, number: usize, block: Arc<Block>) -> Inserted {
        let Some(slot) = self.slots.get(number) else {
            return Inserted { block, is_new: false };
        };
        if let Some(there) = slot.load_full() {
            return Inserted { block: there, is_new: false };
        }
        slot.store(Some(Arc::clone(&block)));
        Inserted { block, is_new: true }
    }

    /// To be called under the queue's lock.
    fn take(&self, number: usize) -> Option<Arc<Block>> {
        self.slots.get(number)?.swap(None)
    }

    fn take_referenced(&self, number: usize) -> bool {
        let Some(slot) = self.slots.get(number) else {
            return false;
        };
        slot.load().as_ref().is_some_and(|block| block.take_referenced())
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let (mut blocks, mut bytes) = (0, 0);
        for block in self.slots.iter().filter_map(|slot| slot.swap(None)) {
            blocks += 1;
            bytes += block.memory_bytes();
        }
        if blocks > 0 {
            self.cache.forget(blocks, bytes);
        }
    }
}

impl fmt::Debug for Slots {
    /// Shows how many there are only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("len", &self.slots.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::record::Record;
    use crate::storage::table::block_builder::BlockBuilder;
    use crate::types::{Timestamp, Version};
    use proptest::prelude::*;

    fn block(len: usize) -> Arc<Block> {
        let mut builder = BlockBuilder::new(4096);
        let value = Some(vec![0; len].into());
        builder.push(b"key", &Record { value, version: Version(1), timestamp: Timestamp(1) });
        Arc::new(Block::parse(builder.finish().to_vec().into()).unwrap())
    }

    fn put(cache: &BlockCache, slots: &Arc<Slots>, number: usize) {
        cache.insert(slots, number, block(100), Room::Make);
    }

    #[test]
    fn the_oldest_goes_first_unless_somebody_looked_at_it() {
        let cache = Arc::new(BlockCache::new(3 * block(100).memory_bytes()));
        let slots = Slots::new(10, &cache);
        for number in 0..3 {
            put(&cache, &slots, number);
        }
        assert!(!cache.is_full());
        slots.with(0, |_| ()).unwrap();
        put(&cache, &slots, 3);
        assert!(slots.has(0) && !slots.has(1) && cache.is_full());
        put(&cache, &slots, 4);
        put(&cache, &slots, 5);
        assert!(!slots.has(0), "looked at once, spared once");
    }

    #[test]
    fn what_came_along_evicts_nobody() {
        let cache = Arc::new(BlockCache::new(block(100).memory_bytes()));
        let slots = Slots::new(10, &cache);
        put(&cache, &slots, 0);
        cache.insert(&slots, 1, block(100), Room::Spare);
        assert!(slots.has(0) && !slots.has(1));
    }

    #[test]
    fn what_never_fits_is_not_kept() {
        let cache = Arc::new(BlockCache::new(block(100).memory_bytes()));
        let slots = Slots::new(10, &cache);
        put(&cache, &slots, 0);
        cache.insert(&slots, 1, block(101), Room::Make);
        assert!(slots.has(0) && !slots.has(1));
    }

    #[test]
    fn a_smaller_budget_holds_at_once() {
        let cache = Arc::new(BlockCache::new(1 << 20));
        let slots = Slots::new(10, &cache);
        for number in 0..10 {
            put(&cache, &slots, number);
        }
        cache.set_budget(2 * block(100).memory_bytes());
        assert_eq!(cache.used(), cache.budget());
        cache.set_budget(0);
        assert_eq!(cache.used(), 0);
    }

    #[test]
    fn entries_of_dropped_tables_do_not_pile_up() {
        let cache = Arc::new(BlockCache::new(1 << 30));
        let kept = Slots::new(10, &cache);
        put(&cache, &kept, 0);
        for _ in 0..1000 {
            let slots = Slots::new(3, &cache);
            for number in 0..3 {
                put(&cache, &slots, number);
            }
        }
        assert!(cache.queue.lock().entries.len() < 10);
        assert_eq!(cache.used(), block(100).memory_bytes());
    }

    #[test]
    fn threads_share_it_without_losing_count() {
        let cache = Arc::new(BlockCache::new(20 * block(100).memory_bytes()));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..300 {
                        let slots = Slots::new(40, cache);
                        for number in 0..40 {
                            put(cache, &slots, (number * 7 + thread + round) % 40);
                            slots.with(number, |_| ());
                            assert!(cache.used() <= cache.budget());
                        }
                    }
                });
            }
        });
        assert_eq!(cache.used(), 0);
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_nothing_is_left_behind(
            budget in 0..20_000_u64,
            steps in proptest::collection::vec(
                (0..6_u8, 0..3_usize, 0..8_usize, 0..3000_usize), 1..200
            ),
        ) {
            let cache = Arc::new(BlockCache::new(budget));
            let mut tables: Vec<_> = (0..3).map(|_| Slots::new(8, &cache)).collect();
            for (step, table, number, len) in steps {
                match step {
                    0 => tables[table] = Slots::new(8, &cache),
                    1 => cache.set_budget(len as u64 * 6),
                    2 => {
                        cache.insert(&tables[table], number, block(len), Room::Spare);
                    }
                    3 => {
                        tables[table].with(number, |_| ());
                    }
                    _ => {
                        cache.insert(&tables[table], number, block(len), Room::Make);
                    }
                }
                let blocks = tables.iter().flat_map(|slots| (0..8).filter_map(|n| slots.get(n)));
                let held: u64 = blocks.map(|block| block.memory_bytes()).sum();
                prop_assert_eq!(cache.used(), held);
                prop_assert!(cache.used() <= cache.budget());
            }
            tables.clear();
            prop_assert_eq!(cache.used(), 0);
        }
    }
}
