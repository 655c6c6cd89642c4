//! Who watches what: how a write finds the watchers that it concerns.
//!
//! # Why nothing is missed
//! A watcher that is *armed* at an entry is marked by the first later one that changes a key under
//! its prefix. Entries are applied, and their keys looked up here, under the write lock of the
//! replica; watchers are armed under its read lock, together with the look which entry is the next
//! one. So each entry is either before that look, and then the watcher reads it by itself, or
//! behind, and then it finds the watcher armed.
//!
//! Locks are taken in this order: the replica, this registry, a slot. What is done here under the
//! lock is a few look-ups; wake-ups wait until [`Registry::wake`], which is called without any.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::slot::Slot;
use crate::command::{RESERVED_PREFIX, is_reserved};
use crate::engine::wake::wake_task;
use crate::storage::stretch::Stretch;
use crate::types::LogIndex;

/// From so many keys on, prefixes are looked for among the keys instead of keys among the prefixes:
/// an entry that removes a million keys costs a look-up for each watched prefix, not for each key.
const KEYS_MANY: usize = 64;

/// Names one watcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct WatcherId(u64);

/// The watchers of one prefix.
#[derive(Debug, Default)]
struct Group {
    all: BTreeMap<WatcherId, Arc<Slot>>,
    /// Those that are to be marked by the next change.
    ///
    /// Invariant: exactly those of `all` that have no mark.
    armed: BTreeMap<WatcherId, Arc<Slot>>,
}

impl Group {
    /// Marks those that are armed, and adds to `woken` who waits.
    fn mark(&mut self, index: LogIndex, woken: &mut Vec<Arc<Slot>>) {
        for slot in std::mem::take(&mut self.armed).into_values() {
            if slot.mark(index) {
                woken.push(slot);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Groups {
    /// By the length of the prefix, then by its bytes; none without watchers.
    by_len: BTreeMap<usize, BTreeMap<Bytes, Group>>,
    last_id: WatcherId,
    /// Who is to be woken.
    woken: Vec<Arc<Slot>>,
}

impl Groups {
    fn group(&mut self, prefix: &Bytes) -> &mut Group {
        let same_len = self.by_len.entry(prefix.len()).or_default();
        same_len.entry(prefix.clone()).or_default()
    }

    fn groups(&mut self) -> (impl Iterator<Item = (&Bytes, &mut Group)>, &mut Vec<Arc<Slot>>) {
        (self.by_len.values_mut().flatten(), &mut self.woken)
    }

    /// Marks who watches one of a few keys: a look-up for each length of a prefix.
    fn mark_each(&mut self, index: LogIndex, keys: &[&[u8]]) {
        for key in keys {
            let reserved = is_reserved(key);
            for (&len, same_len) in self.by_len.range_mut(..=key.len()) {
                // A shorter prefix is a plain one.
                if reserved && len < RESERVED_PREFIX.len() {
                    continue;
                }
                let group = key.get(..len).and_then(|head| same_len.get_mut(head));
                if let Some(group) = group {
                    group.mark(index, &mut self.woken);
                }
            }
        }
    }

    /// Marks who watches one of many keys, which are in order: a search for each prefix.
    fn mark_among(&mut self, index: LogIndex, keys: &[&[u8]]) {
        let (groups, woken) = self.groups();
        for (prefix, group) in groups.filter(|(_, group)| !group.armed.is_empty()) {
            let at = keys.partition_point(|key| *key < prefix.as_ref());
            // Reserved keys are the last ones: where the first one is reserved, all are.
            let first = keys.get(at).filter(|key| is_reserved(key) == is_reserved(prefix));
            if first.is_some_and(|key| key.starts_with(prefix)) {
                group.mark(index, woken);
            }
        }
    }
}

/// The watchers of one node.
#[derive(Default)]
pub(crate) struct Registry {
    /// How many there are. Changed under the lock of `groups`, read without.
    count: AtomicUsize,
    /// Whether somebody is to be woken.
    wakes: AtomicBool,
    stopped: AtomicBool,
    /// What was the next entry to be applied when the store was closed.
    closed_at: OnceLock<LogIndex>,
    groups: Mutex<Groups>,
}

impl Registry {
    /// Whether there is any watcher. One load: under the write lock of the replica it sees all who
    /// were armed before.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Marks who watches one of `keys`, which entry `index` has changed. Called under the write
    /// lock of the replica.
    pub(crate) fn changed(&self, index: LogIndex, keys: &[&[u8]]) {
        let mut groups = self.groups.lock();
        if keys.len() < KEYS_MANY {
            groups.mark_each(index, keys);
        } else if keys.is_sorted() {
            groups.mark_among(index, keys);
        } else {
            let mut sorted = keys.to_vec();
            sorted.sort_unstable();
            groups.mark_among(index, &sorted);
        }
        self.note_woken(&groups);
    }

    /// Marks who watches any key of a stretch, in which entry `index` has changed some. Called
    /// under the write lock of the replica.
    pub(crate) fn changed_within(&self, index: LogIndex, stretch: &Stretch) {
        let mut all = self.groups.lock();
        let (groups, woken) = all.groups();
        for (prefix, group) in groups {
            // Reserved keys are the last ones, and a stretch of plain ones may be without an end.
            if is_reserved(prefix) == is_reserved(&stretch.from) && stretch.has_prefix(prefix) {
                group.mark(index, woken);
            }
        }
        self.note_woken(&all);
    }

    /// Marks everybody: nobody knows what has changed since `index`. Called under the write lock of
    /// the replica.
    pub(crate) fn changed_unknown(&self, index: LogIndex) {
        let mut all = self.groups.lock();
        let (groups, woken) = all.groups();
        for (_, group) in groups {
            group.mark(index, woken);
        }
        self.note_woken(&all);
    }

    fn note_woken(&self, groups: &Groups) {
        if !groups.woken.is_empty() {
            self.wakes.store(true, Ordering::Release);
        }
    }

    /// Wakes those who were marked and wait. Called without any lock, soon after the change: until
    /// then they sleep. One load when there is nobody.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.wakes.load(Ordering::Acquire) {
            self.wake_marked();
        }
    }

    #[cold]
    fn wake_marked(&self) {
        // Whoever takes the flag takes all who stand there by then.
        if self.wakes.swap(false, Ordering::AcqRel) {
            let woken = std::mem::take(&mut self.groups.lock().woken);
            for slot in woken {
                slot.wake();
            }
        }
    }

    /// Ends all waiting, for good: the store is closed, or has stopped. Whoever asks it by then is
    /// told why.
    pub(crate) fn stop(&self) {
        self.stop_and_take_tasks().into_iter().for_each(wake_task);
    }

    /// As [`Self::stop`], for who may hold locks of the store. Wakers are code of others, which may
    /// wait for what those locks keep up: a thread of its own calls them.
    pub(crate) fn stop_under_locks(&self) {
        let tasks = self.stop_and_take_tasks();
        if tasks.is_empty() {
            return;
        }
        let tasks = Arc::new(Mutex::new(tasks));
        let taken = Arc::clone(&tasks);
        let wake = move || std::mem::take(&mut *taken.lock()).into_iter().for_each(wake_task);
        let spawned = std::thread::Builder::new().name("htkv-wake".to_owned()).spawn(wake);
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to wake tasks on: they are woken here");
            let tasks = std::mem::take(&mut *tasks.lock());
            tasks.into_iter().for_each(wake_task);
        }
    }

    /// Ends all waiting of threads. The tasks that wait are still to be woken.
    fn stop_and_take_tasks(&self) -> Vec<Waker> {
        let mut all = self.groups.lock();
        self.stopped.store(true, Ordering::Release);
        let (groups, _) = all.groups();
        let slots: Vec<_> = groups.flat_map(|(_, group)| group.all.values().cloned()).collect();
        drop(all);
        let stop = |slot: Arc<Slot>| {
            slot.stop();
            slot.wake_thread()
        };
        slots.into_iter().filter_map(stop).collect()
    }

    /// Notes where the store ends, for watchers that have missed nothing by then. Called while
    /// nothing is applied, and before [`Self::stop`].
    pub(crate) fn note_end(&self, next: LogIndex) {
        // A store is closed once.
        self.closed_at.get_or_init(|| next);
    }

    /// Whether waiting is of no more use.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Takes a watcher in, armed. Called while nothing is applied.
    pub(crate) fn enter(self: &Arc<Self>, prefix: &Bytes) -> Seat {
        let slot = Arc::<Slot>::default();
        let mut groups = self.groups.lock();
        groups.last_id.0 += 1;
        let id = groups.last_id;
        let group = groups.group(prefix);
        group.all.insert(id, Arc::clone(&slot));
        group.armed.insert(id, Arc::clone(&slot));
        self.count.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!(crate::metrics::WATCHERS).increment(1.0);
        // Whoever stopped all before this did not see it.
        if self.is_stopped() {
            slot.stop();
        }
        drop(groups);
        Seat { registry: Arc::clone(self), prefix: prefix.clone(), id, slot }
    }

    /// How many watchers there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many prefixes are watched.
    #[cfg(test)]
    pub(crate) fn prefixes(&self) -> usize {
        self.groups.lock().by_len.values().map(BTreeMap::len).sum()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("count", &self.count).finish_non_exhaustive()
    }
}

/// The place of one watcher in the registry. Dropping it takes the watcher out.
#[derive(Debug)]
pub(crate) struct Seat {
    registry: Arc<Registry>,
    prefix: Bytes,
    id: WatcherId,
    slot: Arc<Slot>,
}

impl Seat {
    /// Takes the mark away, and sees to it that the next change marks the watcher again. Called
    /// while nothing is applied. Returns the first entry that concerned it since it was armed.
    pub(crate) fn arm(&self) -> Option<LogIndex> {
        let mut groups = self.registry.groups.lock();
        let mark = self.slot.take_mark();
        groups.group(&self.prefix).armed.insert(self.id, Arc::clone(&self.slot));
        mark
    }

    /// The first entry that concerned the watcher since it was armed.
    pub(crate) fn marked(&self) -> Option<LogIndex> {
        self.slot.marked()
    }

    /// Where the store has ended, or the first entry that concerned the watcher before.
    pub(crate) fn end(&self) -> Option<LogIndex> {
        self.registry.closed_at.get().map(|&end| self.marked().unwrap_or(end))
    }

    /// Blocks the thread until an entry concerns the watcher, or the store ends, or the time is
    /// over: then `false`.
    pub(crate) fn wait(&self, time: Option<Duration>) -> bool {
        self.slot.wait(time)
    }

    /// Has the waker called when an entry concerns the watcher, or the store ends; `false` when one
    /// of them is so already.
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        self.slot.register(waker)
    }

    /// Has nobody called any more.
    pub(crate) fn forget_waker(&self) {
        self.slot.forget_waker();
    }

    /// Whether waiting is of no more use.
    pub(crate) fn is_stopped(&self) -> bool {
        self.registry.is_stopped()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut groups = self.registry.groups.lock();
        let len = self.prefix.len();
        let Some(same_len) = groups.by_len.get_mut(&len) else { return };
        if let Some(group) = same_len.get_mut(&self.prefix) {
            group.all.remove(&self.id);
            group.armed.remove(&self.id);
            if group.all.is_empty() {
                same_len.remove(&self.prefix);
            }
        }
        if same_len.is_empty() {
            groups.by_len.remove(&len);
        }
        self.registry.count.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!(crate::metrics::WATCHERS).decrement(1.0);
    }
}
