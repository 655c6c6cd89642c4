//! The lock of a replica, and its state for readers who need no lock.
//!
//! An ordinary reader-writer lock counts its readers in one place, which then wanders between the
//! caches of the processors: two readers are hardly faster than one. A lock that counts them in
//! several places has all of these taken by each writer, which was a tenth of a small put. Here the
//! state is *published* once it is read more often than it is written: readers then take it without
//! writing to memory that they share, until the next writer takes it back. `docs/rfcs` has the
//! measurements (RFC 9).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::RwLock;

use super::replay::Replica;
use crate::state::StateView;
use crate::state::published::Published;

/// Reads between two writes of which the last publishes the state: it costs about as much as ten
/// locks, and the write that takes it back as much again.
const READS_TO_PUBLISH: u32 = 16;

/// A replica, which is read far more often than it is changed.
///
/// A panic while it was locked does not keep others out: whoever panicked in the middle of a change
/// has stopped the store.
#[derive(Default)]
pub(crate) struct ReplicaLock {
    replica: RwLock<Replica>,
    /// The replica's state, if nobody has locked it to write since. Set and taken under the lock.
    published: ArcSwapOption<Published>,
    /// Reads that found nothing published since the last write. From [`READS_TO_PUBLISH`] on there
    /// is something.
    reads: AtomicU32,
}

impl ReplicaLock {
    pub(crate) fn new(replica: Replica) -> Self {
        Self { replica: RwLock::new(replica), ..Self::default() }
    }

    /// Waits until nobody changes it.
    pub(crate) fn read(&self) -> impl Deref<Target = Replica> + '_ {
        self.replica.read()
    }

    /// Waits until nobody reads it under the lock, and takes back what is published: a reader that
    /// begins later sees what is done here.
    pub(crate) fn write(&self) -> impl DerefMut<Target = Replica> + '_ {
        let replica = self.replica.write();
        // Looked at first: where writes follow each other, there is nothing to take back.
        if self.reads.load(Ordering::Relaxed) > 0 {
            let reads = self.reads.swap(0, Ordering::Relaxed);
            if reads >= READS_TO_PUBLISH {
                // Before the change, or it would have to copy what it changes of the tree.
                self.published.store(None);
            }
        }
        replica
    }

    /// The state as it is now, if it is published. Readers do not wait for each other's memory, nor
    /// a writer for them.
    pub(crate) fn published(&self) -> Guard<Option<Arc<Published>>> {
        self.published.load()
    }

    /// As [`Self::read`], for whoever looks at the state and found none published: many such reads
    /// in a row publish it.
    pub(crate) fn read_unpublished(&self) -> impl Deref<Target = Replica> + '_ {
        let replica = self.replica.read();
        if self.reads.fetch_add(1, Ordering::Relaxed) + 1 == READS_TO_PUBLISH {
            self.published.store(Some(Arc::new(Published::new(replica.kv.view()))));
        }
        replica
    }

    /// The state as it is now, to keep.
    pub(crate) fn view(&self) -> StateView {
        match &*self.published() {
            Some(published) => published.view().clone(),
            None => self.read_unpublished().kv.view(),
        }
    }
}

impl fmt::Debug for ReplicaLock {
    /// Does not lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaLock").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::command::Command;
    use crate::types::{LogIndex, Timestamp};

    const KEY: &[u8] = b"key";

    fn put(lock: &ReplicaLock, number: u64) {
        let command = Command::set(KEY, number.to_string());
        lock.write().kv.apply(LogIndex(number), Timestamp(number), command).unwrap();
    }

    fn number(view: &StateView) -> u64 {
        let value = view.get(KEY).unwrap().unwrap();
        std::str::from_utf8(&value).unwrap().parse().unwrap()
    }

    #[test]
    fn reads_in_a_row_publish_the_state_and_a_write_takes_it_back() {
        let lock = ReplicaLock::default();
        for round in 1..=3 {
            put(&lock, round);
            for read in 1..=READS_TO_PUBLISH + 2 {
                assert_eq!(lock.published().is_some(), read > READS_TO_PUBLISH, "read {read}");
                assert_eq!(number(&lock.view()), round);
            }
        }
        drop(lock.write());
        assert!(lock.published().is_none());
    }

    #[test]
    fn a_write_has_the_tree_to_itself_before_it_changes_anything() {
        let lock = ReplicaLock::default();
        put(&lock, 1);
        for _ in 0..READS_TO_PUBLISH {
            lock.view();
        }
        let published = Option::as_ref(&lock.published()).map(Arc::downgrade).unwrap();
        assert!(published.upgrade().is_some());
        let _writing = lock.write();
        assert!(published.upgrade().is_none(), "a change would copy each node on its way");
    }

    #[test]
    fn a_write_between_reads_keeps_them_from_publishing() {
        let lock = ReplicaLock::default();
        for round in 1..=3 {
            put(&lock, round);
            for _ in 1..READS_TO_PUBLISH {
                assert_eq!(number(&lock.view()), round);
            }
        }
        assert!(lock.published().is_none());
    }

    #[test]
    fn what_a_write_has_done_every_later_read_sees() {
        let lock = ReplicaLock::default();
        put(&lock, 1);
        let done = AtomicU64::new(1);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    let mut most = 0;
                    while most < 2_000 {
                        let before = done.load(Ordering::Acquire);
                        let seen = number(&lock.view());
                        assert!(seen >= before.max(most), "{seen} after {before} and {most}");
                        most = seen;
                    }
                });
            }
            for round in 2..=2_000 {
                // As many reads as let the state be published, each time another number.
                for _ in 0..round % 40 {
                    assert_eq!(number(&lock.view()), round - 1);
                }
                put(&lock, round);
                done.store(round, Ordering::Release);
            }
        });
    }
}
