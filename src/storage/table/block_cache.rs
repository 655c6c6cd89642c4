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
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::block::Block;
use super::image::Image;
use crate::storage::bell::Bell;

/// The blocks of tables that are in memory, up to a budget. One for all tables of a store.
pub struct BlockCache {
    budget: AtomicU64,
    used: AtomicU64,
    is_full: AtomicBool,
    queue: Mutex<Queue>,
    /// For whoever makes images of tables.
    bell: Bell,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// At least so many entries are of tables that were dropped.
    dead: usize,
}

struct Entry {
    slots: Weak<Slots>,
    part: Part,
}

/// What is evicted at once.
#[derive(Clone, Copy)]
enum Part {
    Block(usize),
    Image,
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
            bell: Bell::default(),
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
        self.used().saturating_add(bytes) <= self.budget()
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
            let part = Part::Block(number);
            queue.entries.push_back(Entry { slots: Arc::downgrade(slots), part });
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
        // Readers may look into blocks faster than this goes by: no block is spared twice. An image
        // is, so that blocks go first where all is looked into: it is much to be read again.
        let mut spare_blocks = queue.entries.len();
        let mut spare_images = 2 * queue.entries.len();
        while self.used() + bytes > budget {
            let Some(entry) = queue.entries.pop_front() else {
                break;
            };
            let Some(slots) = entry.slots.upgrade() else {
                queue.dead = queue.dead.saturating_sub(1);
                continue;
            };
            let spare = match entry.part {
                Part::Block(_) => &mut spare_blocks,
                Part::Image => &mut spare_images,
            };
            if *spare > 0 && slots.take_referenced(entry.part) {
                *spare -= 1;
                queue.entries.push_back(entry);
            } else if let Some(bytes) = slots.take(entry.part) {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
                self.is_full.store(true, Ordering::Relaxed);
            }
            if kept_alive.last().is_none_or(|last| !Arc::ptr_eq(last, &slots)) {
                kept_alive.push(slots);
            }
        }
        self.note_room();
        kept_alive
    }

    /// Half empty it is no longer full: an image that goes may leave that much.
    fn note_room(&self) {
        if self.used() <= self.budget() / 2 {
            self.is_full.store(false, Ordering::Relaxed);
        }
    }

    /// Whether an image of a table fits, of so many bytes, without anything else having to go but
    /// the blocks of that table.
    pub(super) fn has_room_for(&self, slots: &Slots, bytes: u64) -> bool {
        !self.is_full() && self.has_room(bytes.saturating_sub(slots.block_bytes()))
    }

    /// Puts the image of a table into its slots, and its blocks in place of those that are there,
    /// unless something else would have to go. Returns whether it did.
    pub(super) fn insert_image(
        &self,
        slots: &Arc<Slots>,
        image: Image,
        blocks: Vec<Block>,
    ) -> bool {
        let bytes = image.memory_bytes();
        let blocks: Vec<Arc<Block>> = blocks.into_iter().map(Arc::new).collect();
        let mut queue = self.queue.lock();
        let before = slots.block_bytes();
        if slots.has_image() || !self.has_room(bytes.saturating_sub(before)) {
            return false;
        }
        queue.entries.retain(|entry| entry.slots.as_ptr() != Arc::as_ptr(slots));
        let replaced = slots.insert_image(image, blocks);
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.used.fetch_sub(before, Ordering::Relaxed);
        queue.entries.push_back(Entry { slots: Arc::downgrade(slots), part: Part::Image });
        drop(queue);
        drop(replaced);
        true
    }

    /// Where whoever makes images waits to be told that there may be one to make.
    pub(in crate::storage) const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// A table with so many blocks in the cache is gone.
    fn forget(&self, blocks: usize, bytes: u64) {
        let mut queue = self.queue.lock();
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.note_room();
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
    blocks: Box<[ArcSwapOption<Block>]>,
    /// How many of them have a block.
    taken: AtomicUsize,
    /// Bytes of the blocks that are no parts of the image.
    block_bytes: AtomicU64,
    /// The whole table: then each slot has its block, which is a part of it.
    image: ArcSwapOption<Image>,
    cache: Arc<BlockCache>,
}

struct Inserted {
    block: Arc<Block>,
    is_new: bool,
}

impl Slots {
    /// For a table of so many blocks, none of them in memory.
    pub(super) fn new(blocks: usize, cache: &Arc<BlockCache>) -> Arc<Self> {
        let blocks = (0..blocks).map(|_| ArcSwapOption::empty()).collect();
        Arc::new(Self {
            blocks,
            taken: AtomicUsize::new(0),
            block_bytes: AtomicU64::new(0),
            image: ArcSwapOption::empty(),
            cache: Arc::clone(cache),
        })
    }

    pub(super) fn cache(&self) -> &BlockCache {
        &self.cache
    }

    /// Bytes of memory without the blocks.
    pub(super) fn memory_bytes(&self) -> u64 {
        size_of_val::<[_]>(&self.blocks) as u64
    }

    /// What `look` finds in the block, if it is in memory. Other threads that look do not wait.
    #[inline]
    pub(super) fn with<T>(&self, number: usize, look: impl FnOnce(&Block) -> T) -> Option<T> {
        let slot = self.blocks.get(number)?.load();
        let block = slot.as_deref()?;
        block.mark_referenced();
        Some(look(block))
    }

    /// What `look` finds in the image of the table, if there is one.
    #[inline]
    pub(super) fn with_image<T>(&self, look: impl FnOnce(&Image) -> T) -> Option<T> {
        let image = self.image.load();
        let image = image.as_deref()?;
        image.mark_referenced();
        Some(look(image))
    }

    pub(super) fn has_image(&self) -> bool {
        self.image.load().is_some()
    }

    /// How many blocks are in memory.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Bytes of the blocks that are in memory by themselves.
    fn block_bytes(&self) -> u64 {
        self.block_bytes.load(Ordering::Relaxed)
    }

    /// The block, if it is in memory.
    pub(super) fn get(&self, number: usize) -> Option<Arc<Block>> {
        self.blocks.get(number)?.load_full()
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.blocks.get(number).is_some_and(|slot| slot.load().is_some())
    }

    /// To be called under the queue's lock.
    fn insert(&self, number: usize, block: Arc<Block>) -> Inserted {
        let Some(slot) = self.blocks.get(number) else {
            return Inserted { block, is_new: false };
        };
        if let Some(there) = slot.load_full() {
            return Inserted { block: there, is_new: false };
        }
        slot.store(Some(Arc::clone(&block)));
        self.block_bytes.fetch_add(block.memory_bytes(), Ordering::Relaxed);
        self.taken.fetch_add(1, Ordering::Relaxed);
        Inserted { block, is_new: true }
    }

    /// Returns what was there before. To be called under the queue's lock.
    fn insert_image(&self, image: Image, blocks: Vec<Arc<Block>>) -> Vec<Option<Arc<Block>>> {
        let slots = self.blocks.iter().zip(blocks);
        let replaced = slots.map(|(slot, block)| slot.swap(Some(block))).collect();
        self.taken.store(self.blocks.len(), Ordering::Relaxed);
        self.block_bytes.store(0, Ordering::Relaxed);
        self.image.store(Some(Arc::new(image)));
        replaced
    }

    /// Takes a part out. Returns how many bytes that frees; `None` where nothing is. To be called
    /// under the queue's lock.
    fn take(&self, part: Part) -> Option<u64> {
        match part {
            Part::Block(number) => {
                let taken = self.blocks.get(number)?.swap(None)?;
                self.taken.fetch_sub(1, Ordering::Relaxed);
                self.block_bytes.fetch_sub(taken.memory_bytes(), Ordering::Relaxed);
                Some(taken.memory_bytes())
            }
            Part::Image => {
                let taken = self.image.swap(None)?;
                // Each of them is a part: nothing is inserted where one is.
                for slot in &self.blocks {
                    slot.store(None);
                }
                self.taken.store(0, Ordering::Relaxed);
                Some(taken.memory_bytes())
            }
        }
    }

    fn take_referenced(&self, part: Part) -> bool {
        let take = |slot: &ArcSwapOption<Block>| {
            slot.load().as_ref().is_some_and(|block| block.take_referenced())
        };
        match part {
            Part::Block(number) => self.blocks.get(number).is_some_and(take),
            Part::Image => {
                // Blocks are asked only where they decide: there are thousands, and others wait.
                let is_used = self.image.load().as_ref().is_some_and(|it| it.take_referenced());
                is_used || self.blocks.iter().filter(|slot| take(slot)).count() > 0
            }
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let (mut blocks, mut bytes) = (0, 0);
        for block in self.blocks.iter().filter_map(|slot| slot.swap(None)) {
            blocks += 1;
            bytes += block.memory_bytes();
        }
        if let Some(image) = self.image.swap(None) {
            bytes += image.memory_bytes();
        }
        if blocks > 0 {
            self.cache.forget(blocks, bytes);
        }
    }
}

impl fmt::Debug for Slots {
    /// Shows how many there are only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("len", &self.blocks.len()).finish_non_exhaustive()
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
