//! A bounded map from key to record, in front of the tables, for keys that are read again.
//!
//! Where blocks are cached whole, a hot key of 100 bytes keeps 4 KiB of cold ones beside it in
//! memory. So once the block cache is full, what a read found is copied here by itself.
//!
//! # Never an older value
//!
//! Readers hold different table sets at the same time. What they find is the same for a key unless
//! a newer set has a newer record of it, so the map belongs to *one* set at a time, the newest: by
//! its number. Who reads with another number passes by, and neither finds nor leaves anything here.
//! A new set with new rows comes in three steps, in this order:
//!
//! 1. [`HotMap::move_to`] its number: readers of the set before pass by from now on;
//! 2. [`HotMap::remove_all`] keys that the new rows have: what readers of the set before left;
//! 3. only then is the new set shown to readers.
//!
//! The number is compared under the lock of the shard that the key stands in. So a reader of the
//! set before that is about to leave what it found either does so before step 2 comes to this
//! shard, and it is removed; or after, and then it sees the number of step 1 and leaves nothing.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;

use super::record::Record;
use super::table::KeyHash;

/// How many parts have a lock of their own.
const SHARDS: usize = 64;
/// What an entry costs besides the bytes of its key and value: its slot, its place in the map, and
/// what the allocator adds. Rather too much than too little.
const ENTRY_BYTES: u64 = 160;
/// An entry may take this part of a shard at most: one value must not push out all others.
const ENTRY_SHARE_MAX: u64 = 8;

/// The map. Shared by the table sets of one store.
pub struct HotMap {
    /// Number of the table set that the entries belong to.
    number: AtomicU64,
    /// Bytes that each shard may take.
    shard_bytes_max: AtomicU64,
    shards: Box<[RwLock<Shard>]>,
}

impl HotMap {
    /// An empty map that belongs to the set `number`.
    #[must_use]
    pub fn new(bytes_max: u64, number: u64) -> Self {
        let map = Self {
            number: AtomicU64::new(number),
            shard_bytes_max: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        };
        map.set_bytes_max(bytes_max);
        map
    }

    /// What a reader of the set `number` left of `key`. Cost: a lock that readers share.
    #[must_use]
    pub fn get(&self, number: u64, hash: KeyHash, key: &[u8]) -> Option<Record> {
        let shard = self.shard(hash)?.read();
        if !self.belongs_to(number) {
            return None;
        }
        let slot = shard.slot(hash)?;
        let entry = slot.entry.as_ref().filter(|entry| entry.key == key)?;
        // Written only where it changes: a hot key must not make its line of memory wander from
        // core to core.
        if !slot.referenced.load(Ordering::Relaxed) {
            slot.referenced.store(true, Ordering::Relaxed);
        }
        Some(entry.record.clone())
    }

    /// Leaves a copy of what a reader of the set `number` found. Does nothing where it belongs to
    /// another one by now, or where there is no room for an entry of this length.
    pub fn insert(&self, number: u64, hash: KeyHash, key: &[u8], record: &Record) {
        let bytes = ENTRY_BYTES + (key.len() + record.value_bytes()) as u64;
        let bytes_max = self.shard_bytes_max.load(Ordering::Relaxed);
        if bytes > bytes_max / ENTRY_SHARE_MAX {
            return;
        }
        let Some(shard) = self.shard(hash) else {
            return;
        };
        let entry = Entry::copy_of(key, record);
        let mut shard = shard.write();
        if self.belongs_to(number) {
            shard.remove(hash);
            shard.shrink_to(bytes_max - bytes);
            shard.push(hash, entry);
        }
    }

    /// Step 1 of a new set: the map belongs to it from now on.
    pub fn move_to(&self, number: u64) {
        self.number.store(number, Ordering::Release);
    }

    /// Step 2 of a new set: removes what stands under these hashes of keys.
    pub fn remove_all(&self, hashes: &[KeyHash]) {
        for &hash in hashes {
            if let Some(shard) = self.shard(hash) {
                // The exclusive lock, also where there seems to be nothing to remove: it is what a
                // reader's lock comes before or after.
                shard.write().remove(hash);
            }
        }
    }

    /// Step 2 of a new set that has nothing in common with the one before: removes everything.
    pub fn clear(&self) {
        for shard in &self.shards {
            // Under the exclusive lock, as in `remove_all` and for the same reason.
            *shard.write() = Shard::default();
        }
    }

    /// Sets how many bytes the entries may take together, and removes what is too much.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        let bytes_max = bytes_max / SHARDS as u64;
        if self.shard_bytes_max.swap(bytes_max, Ordering::Relaxed) > bytes_max {
            for shard in &self.shards {
                shard.write().shrink_to(bytes_max);
            }
        }
    }

    /// Bytes that the entries take.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.shards.iter().map(|shard| shard.read().bytes).sum()
    }

    /// To be asked under the lock of a shard.
    fn belongs_to(&self, number: u64) -> bool {
        self.number.load(Ordering::Acquire) == number
    }

    fn shard(&self, hash: KeyHash) -> Option<&RwLock<Shard>> {
        // The low bits; the map within a shard goes by the others.
        self.shards.get(usize::try_from(hash.bits() % SHARDS as u64).ok()?)
    }
}

impl fmt::Debug for HotMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotMap").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A part of the map. Entries are evicted as a clock does: the hand goes round the slots, spares an
/// entry that was read since it last came by, once, and takes one that was not.
#[derive(Default)]
struct Shard {
    /// Which slot has the entry of a hash. Of several keys with one hash the last one stays: the
    /// others are read from their blocks.
    places: HashMap<u64, usize, BuildHasherDefault<Rehash>>,
    slots: Vec<Slot>,
    /// Slots without an entry.
    free: Vec<usize>,
    hand: usize,
    bytes: u64,
}

struct Slot {
    hash: KeyHash,
    referenced: AtomicBool,
    entry: Option<Entry>,
}

impl Shard {
    fn slot(&self, hash: KeyHash) -> Option<&Slot> {
        self.slots.get(*self.places.get(&hash.bits())?)
    }

    fn push(&mut self, hash: KeyHash, entry: Entry) {
        self.bytes += entry.bytes();
        // Not yet read again: one that is read once only goes when the hand first comes by.
        let slot = Slot { hash, referenced: AtomicBool::new(false), entry: Some(entry) };
        let at = match self.free.pop() {
            Some(at) => at,
            None => self.slots.len(),
        };
        match self.slots.get_mut(at) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        self.places.insert(hash.bits(), at);
    }

    fn remove(&mut self, hash: KeyHash) {
        if let Some(at) = self.places.remove(&hash.bits())
            && let Some(entry) = self.slots.get_mut(at).and_then(|slot| slot.entry.take())
        {
            self.bytes -= entry.bytes();
            self.free.push(at);
        }
    }

    fn shrink_to(&mut self, bytes_max: u64) {
        while self.bytes > bytes_max {
            let Some(slot) = self.slots.get_mut(self.hand) else {
                // There is an entry, since bytes are counted: the hand begins a new round.
                self.hand = 0;
                continue;
            };
            self.hand += 1;
            if slot.entry.is_some() && !std::mem::take(slot.referenced.get_mut()) {
                let hash = slot.hash;
                self.remove(hash);
            }
        }
    }
}

/// A record with its key, in memory of its own: the block that it was found in is not kept by it.
struct Entry {
    key: Bytes,
    record: Record,
}

impl Entry {
    fn copy_of(key: &[u8], record: &Record) -> Self {
        let value = record.value.as_deref().unwrap_or_default();
        let mut both = BytesMut::with_capacity(key.len() + value.len());
        both.extend_from_slice(key);
        both.extend_from_slice(value);
        let mut both = both.freeze();
        let key = both.split_to(key.len());
        Self { key, record: Record { value: record.value.as_ref().map(|_| both), ..*record } }
    }

    fn bytes(&self) -> u64 {
        ENTRY_BYTES + (self.key.len() + self.record.value_bytes()) as u64
    }
}

/// The keys are hashes already. One multiplication brings the bits that name the shard, which are
/// equal within it, away from where the map looks.
#[derive(Default)]
struct Rehash(u64);

impl Hasher for Rehash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = (hash / SHARDS as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::rng::SeededRng;
    use crate::types::{Timestamp, Version};

    fn record(version: u64, value_bytes: usize) -> Record {
        let value = Some(Bytes::from(vec![7; value_bytes]));
        Record { value, version: Version(version), timestamp: Timestamp(version) }
    }

    fn key(number: u64) -> Vec<u8> {
        format!("key-{number}").into_bytes()
    }

    fn insert(map: &HotMap, number: u64, name: u64, version: u64) {
        let key = key(name);
        map.insert(number, KeyHash::of(&key), &key, &record(version, 20));
    }

    fn get(map: &HotMap, number: u64, name: u64) -> Option<u64> {
        let key = key(name);
        Some(map.get(number, KeyHash::of(&key), &key)?.version.0)
    }

    #[test]
    fn what_was_left_is_found_by_readers_of_the_same_set_only() {
        let map = HotMap::new(1 << 20, 5);
        insert(&map, 5, 1, 9);
        assert_eq!(get(&map, 5, 1), Some(9));
        assert_eq!(get(&map, 5, 2), None);
        assert_eq!((get(&map, 4, 1), get(&map, 6, 1)), (None, None));
        insert(&map, 4, 2, 1);
        insert(&map, 6, 2, 1);
        assert_eq!(get(&map, 5, 2), None);
    }

    #[test]
    fn the_copy_keeps_no_block() {
        let block = Bytes::from(vec![3; 4096]);
        let found = Record { value: Some(block.slice(8..16)), ..record(1, 0) };
        let map = HotMap::new(1 << 20, 0);
        map.insert(0, KeyHash::of(b"a"), b"a", &found);
        drop(found);
        assert!(block.is_unique());
        assert_eq!(map.get(0, KeyHash::of(b"a"), b"a").unwrap().value.unwrap(), vec![3; 8]);
    }

    #[test]
    fn an_empty_value_is_no_tombstone() {
        let map = HotMap::new(1 << 20, 0);
        map.insert(0, KeyHash::of(b"a"), b"a", &record(1, 0));
        assert_eq!(map.get(0, KeyHash::of(b"a"), b"a"), Some(record(1, 0)));
    }

    #[test]
    fn the_steps_of_a_new_set_leave_what_stays_true_and_nothing_else() {
        let map = HotMap::new(1 << 20, 1);
        insert(&map, 1, 1, 10);
        insert(&map, 1, 2, 20);
        map.move_to(2);
        map.remove_all(&[KeyHash::of(&key(1)), KeyHash::of(&key(3))]);
        assert_eq!((get(&map, 2, 1), get(&map, 2, 2)), (None, Some(20)));
        assert_eq!((get(&map, 1, 1), get(&map, 1, 2)), (None, None));
    }

    #[test]
    fn a_slow_reader_of_the_set_before_leaves_nothing_at_any_step() {
        for step in 0..3 {
            let map = HotMap::new(1 << 20, 1);
            let late = |at| {
                if at == step {
                    insert(&map, 1, 1, 10);
                }
            };
            late(0);
            map.move_to(2);
            late(1);
            map.remove_all(&[KeyHash::of(&key(1))]);
            late(2);
            assert_eq!(get(&map, 2, 1), None, "step {step}");
        }
    }

    #[test]
    fn the_bytes_stay_below_the_most_and_what_is_read_again_stays() {
        let bytes_max = 64 * 20_000;
        let map = HotMap::new(bytes_max, 0);
        for name in 0..50 {
            insert(&map, 0, name, name);
        }
        let mut hits = 0;
        for name in 1000..40_000 {
            insert(&map, 0, name, name);
            hits += u64::from(get(&map, 0, name % 50).is_some());
            assert!(map.used() <= bytes_max);
        }
        assert_eq!(hits, 39_000, "the fifty that are read again are never evicted");
        assert!(map.used() > bytes_max / 2);
        map.set_bytes_max(0);
        assert_eq!(map.used(), 0);
        insert(&map, 0, 1, 1);
        assert_eq!(map.used(), 0);
    }

    #[test]
    fn an_entry_that_would_push_out_most_others_is_not_taken() {
        let map = HotMap::new(64 * 8000, 0);
        map.insert(0, KeyHash::of(b"a"), b"a", &record(1, 1000));
        assert_eq!(map.used(), 0);
        map.insert(0, KeyHash::of(b"a"), b"a", &record(1, 800));
        assert_eq!(map.used(), 961);
    }

    /// Readers of sets old and new, while sets come: nobody ever finds a record that is not the one
    /// of its own set.
    #[test]
    fn threads_that_hold_old_sets_never_spoil_a_newer_one() {
        use std::sync::Arc;
        const KEYS: u64 = 8;
        const SETS: u64 = 3000;
        let map = Arc::new(HotMap::new(1 << 20, 0));
        let shown = Arc::new(AtomicU64::new(0));
        let version = |set: u64, name: u64| (set + name) / KEYS * KEYS;
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let (map, shown) = (Arc::clone(&map), Arc::clone(&shown));
                scope.spawn(move || {
                    let rng = SeededRng::new(seed);
                    let mut set = 0;
                    while shown.load(Ordering::Acquire) < SETS {
                        if rng.up_to(3) == 0 {
                            set = shown.load(Ordering::Acquire);
                        }
                        let name = rng.up_to(KEYS - 1);
                        match get(&map, set, name) {
                            Some(found) => assert_eq!(found, version(set, name), "set {set}"),
                            None => insert(&map, set, name, version(set, name)),
                        }
                    }
                });
            }
            for set in 1..=SETS {
                let new = (0..KEYS).filter(|&name| version(set, name) != version(set - 1, name));
                let hashes: Vec<KeyHash> = new.map(|name| KeyHash::of(&key(name))).collect();
                map.move_to(set);
                map.remove_all(&hashes);
                shown.store(set, Ordering::Release);
            }
        });
    }
}
