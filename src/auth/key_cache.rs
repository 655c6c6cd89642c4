//! API keys that were checked lately, decoded, so that a check decodes nothing.
//!
//! An entry is what the rows of the key and of its owner said at two log indexes. Whoever uses it
//! has looked both rows up in the state that it answers by, and uses it only if they are still the
//! ones of those indexes: a key that was revoked, or whose owner was disabled, has another row or
//! none, so nothing has to be told to drop the entry, on no node. It holds nothing that the rows
//! do not, and no token.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::keyspace;
use super::records::{ApiKeyRecord, Grant, UserRecord};
use crate::engine::Versioned;
use crate::error::Result;
use crate::types::{Timestamp, Version};

/// Bytes that each of two generations may weigh. Together they are all that the cache holds.
const GENERATION_BYTES_MAX: usize = 16 << 20;
/// What an entry weighs beside the bytes of the key's row: the map, allocations, counters.
const ENTRY_BYTES: usize = 512;
/// What a grant weighs beside the bytes of its prefix, which are in the row: itself, and what an
/// allocation takes more than it is asked for.
const GRANT_BYTES: usize = size_of::<Grant>() + 32;

/// A key as it was read.
pub(super) struct CheckedKey {
    pub(super) record: ApiKeyRecord,
    /// Where the owner's row stands.
    pub(super) owner: Bytes,
    key_version: Version,
    owner_is: Option<(Version, IsDisabled)>,
    weight: usize,
    /// When this node last told, or found told, that the key was used.
    pub(super) use_told: Turn,
    /// When this node last told that the key has expired.
    pub(super) end_told: Turn,
}

type IsDisabled = bool;

/// Lets one caller in a while do something.
#[derive(Default)]
pub(super) struct Turn(AtomicU64);

impl Turn {
    /// Whether it is this caller's turn: the last one was `every` ago.
    pub(super) fn is_taken(&self, now: Timestamp, every: Duration) -> bool {
        let (last, order) = (self.0.load(Ordering::Relaxed), Ordering::Relaxed);
        Duration::from_micros(now.0.saturating_sub(last)) >= every
            && self.0.compare_exchange(last, now.0, order, order).is_ok()
    }

    /// Another node did it at `at`: the turn that was taken counts from there.
    pub(super) fn count_from(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::Relaxed);
    }

    fn copy(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl CheckedKey {
    /// What the row of a key says, before its owner is known.
    pub(super) fn read(row: &Versioned) -> Result<Self> {
        let record = ApiKeyRecord::from_bytes(&row.value)?;
        let grants = record.grants.as_ref().map_or(0, Vec::len);
        Ok(Self {
            owner: keyspace::user(&record.owner_id),
            record,
            key_version: row.version,
            owner_is: None,
            weight: row.value.len() + ENTRY_BYTES + grants * GRANT_BYTES,
            use_told: Turn::default(),
            end_told: Turn::default(),
        })
    }

    /// Whether it is what this row says.
    pub(super) fn is_of(&self, row: &Versioned) -> bool {
        self.key_version == row.version
    }

    /// Whether it is what this row of the owner says.
    pub(super) fn is_of_owner(&self, row: &Versioned) -> bool {
        self.owner_is.is_some_and(|(version, _)| version == row.version)
    }

    /// This key with what the row of its owner says.
    pub(super) fn with_owner(&self, row: &Versioned) -> Result<Self> {
        let is_disabled = UserRecord::from_bytes(&row.value)?.disabled;
        Ok(Self {
            record: self.record.clone(),
            owner: self.owner.clone(),
            owner_is: Some((row.version, is_disabled)),
            use_told: self.use_told.copy(),
            end_told: self.end_told.copy(),
            ..*self
        })
    }

    /// Whether the owner's keys are accepted.
    pub(super) fn is_enabled(&self) -> bool {
        matches!(self.owner_is, Some((_, false)))
    }
}

/// Entries since the last change of generations, and those of the time before. An entry that is
/// used moves to the young ones; what was not used for a whole generation is forgotten.
#[derive(Default)]
struct Generations {
    young: HashMap<String, Arc<CheckedKey>>,
    young_bytes: usize,
    old: HashMap<String, Arc<CheckedKey>>,
}

/// The keys that were checked lately, by id: at most 32 MiB of them, or 30,000 without metadata.
#[derive(Default)]
pub(super) struct KeyCache {
    generations: Mutex<Generations>,
    /// The latest time that anything was checked at, in microseconds.
    latest: AtomicU64,
}

impl KeyCache {
    /// What is kept of a key. Whether that still holds, its rows must tell.
    pub(super) fn get(&self, id: &str) -> Option<Arc<CheckedKey>> {
        let mut generations = self.generations.lock();
        if let Some(found) = generations.young.get(id) {
            return Some(Arc::clone(found));
        }
        let (id, found) = generations.old.remove_entry(id)?;
        generations.put(id, Arc::clone(&found));
        Some(found)
    }

    /// Keeps a key whose secret was shown.
    pub(super) fn put(&self, key: &Arc<CheckedKey>) {
        self.generations.lock().put(key.record.key_id.clone(), Arc::clone(key));
    }

    /// Forgets a key.
    pub(super) fn forget(&self, id: &str) {
        let mut generations = self.generations.lock();
        generations.remove_young(id);
        generations.old.remove(id);
    }

    /// The time, `now` unless a later one was known: what has expired once stays so when the clock
    /// goes back.
    pub(super) fn time(&self, now: Timestamp) -> Timestamp {
        let before = self.latest.load(Ordering::Relaxed);
        if before >= now.0 {
            return Timestamp(before);
        }
        Timestamp(self.latest.fetch_max(now.0, Ordering::Relaxed).max(now.0))
    }
}

impl Generations {
    fn put(&mut self, id: String, key: Arc<CheckedKey>) {
        self.remove_young(&id);
        if self.young_bytes.saturating_add(key.weight) > GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += key.weight;
        self.young.insert(id, key);
    }

    fn remove_young(&mut self, id: &str) {
        if let Some(before) = self.young.remove(id) {
            self.young_bytes -= before.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::stored_hash::StoredHash;

    fn row(id: &str, version: u64) -> Versioned {
        row_with(id, version, None)
    }

    fn row_with(id: &str, version: u64, grants: Option<Vec<Grant>>) -> Versioned {
        let record = ApiKeyRecord {
            key_id: id.to_owned(),
            owner_id: "owner".to_owned(),
            label: String::new(),
            secret_hash: StoredHash::new([7; 32]),
            created_at: Timestamp(1),
            expires_at: None,
            grants,
            metadata_version: 1,
            metadata: None,
        };
        let value = Bytes::from(record.to_bytes()).into();
        Versioned { value, version: Version(version), timestamp: Timestamp(1) }
    }

    #[test]
    fn an_entry_is_of_one_version_of_its_row() {
        let key = CheckedKey::read(&row("id", 5)).unwrap();
        assert!(key.is_of(&row("id", 5)));
        assert!(!key.is_of(&row("id", 6)) && !key.is_of(&row("id", 4)));
        assert!(!key.is_of_owner(&row("id", 5)) && !key.is_enabled());
    }

    #[test]
    fn what_is_kept_weighs_at_most_two_generations_and_what_is_used_stays() {
        let cache = KeyCache::default();
        let put = |id: &str| cache.put(&Arc::new(CheckedKey::read(&row(id, 1)).unwrap()));
        put("used");
        for number in 0..200_000 {
            put(&format!("{number}"));
            if number % 1000 == 0 {
                assert!(cache.get("used").is_some(), "{number}");
            }
        }
        let generations = cache.generations.lock();
        let weigh = |keys: &HashMap<String, Arc<CheckedKey>>| -> usize {
            keys.values().map(|key| key.weight).sum()
        };
        assert_eq!(weigh(&generations.young), generations.young_bytes);
        assert!(generations.young_bytes <= GENERATION_BYTES_MAX);
        assert!(weigh(&generations.old) <= GENERATION_BYTES_MAX);
        assert!(generations.old.len() > 20_000);
        drop(generations);
        assert!(cache.get("0").is_none());
        cache.forget("used");
        assert!(cache.get("used").is_none());
    }

    #[test]
    fn a_key_with_many_grants_weighs_what_they_take_in_memory() {
        // Of each a few bytes are in the row, and a vector with an allocation in memory.
        let grants = vec![Grant::to_read("a"); 256];
        let (few, many) = (row("id", 1), row_with("id", 1, Some(grants)));
        let weight = |row: &Versioned| CheckedKey::read(row).unwrap().weight;
        assert!(weight(&many) - weight(&few) >= 256 * (size_of::<Grant>() + 32));
        let cache = KeyCache::default();
        for number in 0..5000 {
            let row = row_with(&format!("{number}"), 1, Some(vec![Grant::to_read("a"); 256]));
            cache.put(&Arc::new(CheckedKey::read(&row).unwrap()));
        }
        let generations = cache.generations.lock();
        let kept = generations.young.len() + generations.old.len();
        assert!(kept * 256 * (size_of::<Grant>() + 32) <= 2 * GENERATION_BYTES_MAX, "{kept}");
    }

    #[test]
    fn one_caller_in_so_long_has_the_turn() {
        let (turn, every) = (Turn::default(), Duration::from_micros(60));
        let turns = |now| (0..3).filter(|_| turn.is_taken(Timestamp(now), every)).count();
        assert_eq!([turns(1000), turns(1059), turns(1060), turns(900)], [1, 0, 1, 0]);
    }

    #[test]
    fn time_does_not_go_back() {
        let cache = KeyCache::default();
        let time = |now| cache.time(Timestamp(now)).0;
        assert_eq!([time(5), time(9), time(7), time(10)], [5, 9, 9, 10]);
    }
}
