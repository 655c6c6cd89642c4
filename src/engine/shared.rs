//! A lock that many readers can take at once without waiting for each other's memory.
//!
//! An ordinary reader-writer lock counts its readers in one place, which then wanders between the
//! caches of the processors: two readers are hardly faster than one. Here each thread counts itself
//! in one of several places, and a writer goes through all of them, which costs it about a tenth of
//! what a write to the log costs.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};

/// A value that is read far more often than it is changed.
///
/// A panic while it was locked does not keep others out: whoever panicked in the middle of a change
/// has stopped the store.
#[derive(Default)]
pub(crate) struct Shared<T>(ShardedLock<T>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ShardedLock::new(value))
    }

    /// Waits until nobody changes it.
    pub(crate) fn read(&self) -> impl Deref<Target = T> + '_ {
        let guard: ShardedLockReadGuard<'_, T> =
            self.0.read().unwrap_or_else(PoisonError::into_inner);
        guard
    }

    /// Waits until nobody reads it.
    pub(crate) fn write(&self) -> impl DerefMut<Target = T> + '_ {
        let guard: ShardedLockWriteGuard<'_, T> =
            self.0.write().unwrap_or_else(PoisonError::into_inner);
        guard
    }
}

impl<T> fmt::Debug for Shared<T> {
    /// Does not lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
