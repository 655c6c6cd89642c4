//! How much of the past a store keeps, and who asks for it.
//!
//! A store keeps its past where its configuration has a [`Retention`], or where somebody holds a
//! [`RetentionHandle`]; otherwise only its newest state and what its log happens to have. What is
//! kept is given up in pieces of some megabytes, the oldest first, and never a piece that a handle
//! still wants.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::types::{Timestamp, Version};

/// Beyond what the past is given up. Of several limits the one that is reached first counts;
/// without any, everything is kept.
///
/// The newest piece stays whatever its size is, and what a handle asks for stays beyond all limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How far back states can be read, by the stamps of writes and the clock of this machine.
    pub age_max: Option<Duration>,
    /// Bytes of the files with changes. The tables that a piece begins with are shared with the
    /// store for as long as it has them, and not counted.
    pub bytes_max: Option<u64>,
    /// Files with changes.
    pub files_max: Option<usize>,
}

/// What somebody wants to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Every version: who has not spoken yet.
    Everything,
    /// The state at this moment, and everything after it.
    FromTime(Timestamp),
    /// The state of this version, and everything after it.
    FromVersion(Version),
    /// Nothing for now.
    Nothing,
}

#[derive(Debug, Default)]
struct Handles {
    next: u64,
    keeps: BTreeMap<u64, Keep>,
}

#[derive(Debug, Default)]
struct Shared {
    handles: Mutex<Handles>,
    /// How many there are. Changed under the lock, read without: each write asks.
    count: AtomicUsize,
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut Handles) -> T) -> T {
        let mut handles = self.handles.lock();
        let changed = change(&mut handles);
        self.count.store(handles.keeps.len(), Ordering::Release);
        changed
    }
}

/// Who wants the past of a store to be kept. Clones are the same registry; two are equal when they
/// are the same.
///
/// It is memory only: whoever wants the past to be kept across a restart makes a registry, takes
/// its handles, and puts it into the configuration before the store is opened; or sets
/// [`Retention`].
#[derive(Clone, Default)]
pub struct RetentionRegistry(Arc<Shared>);

impl RetentionRegistry {
    /// One that nobody has a handle of.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle that keeps everything from now on, until it says how much it wants.
    ///
    /// What was written before and is in the log still becomes part of the past; where nothing was
    /// kept, the past begins with the newest state that is in tables.
    #[must_use]
    pub fn create_handle(&self) -> RetentionHandle {
        let id = self.0.change(|handles| {
            let id = handles.next;
            handles.next += 1;
            handles.keeps.insert(id, Keep::Everything);
            id
        });
        RetentionHandle { registry: self.clone(), id }
    }

    /// How many handles there are.
    #[must_use]
    pub fn handles(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Whether there ever was one.
    pub(crate) fn was_used(&self) -> bool {
        self.0.handles.lock().next > 0
    }

    /// What all of them want.
    pub(crate) fn keeps(&self) -> Vec<Keep> {
        self.0.handles.lock().keeps.values().copied().collect()
    }
}

impl PartialEq for RetentionRegistry {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RetentionRegistry {}

impl fmt::Debug for RetentionRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetentionRegistry").field("handles", &self.handles()).finish()
    }
}

/// Keeps the past of a store. Dropping it lets go; what nobody else wants is given up by the next
/// compaction.
#[derive(Debug)]
pub struct RetentionHandle {
    registry: RetentionRegistry,
    id: u64,
}

impl RetentionHandle {
    /// Wants the state at `time` and everything after it; what is older may go.
    pub fn keep_from(&self, time: Timestamp) {
        self.say(Keep::FromTime(time));
    }

    /// Wants what the entry of `version` changed, the state of it and everything after it; what is
    /// older may go. So a watcher goes on from its
    /// [`position`](crate::Watcher::position) for as long as that is what is wanted here.
    pub fn keep_from_version(&self, version: Version) {
        self.say(Keep::FromVersion(version));
    }

    /// Wants nothing that there is. The past goes on being written down as long as the handle is
    /// there, but for the limits of [`Retention`] nothing of it stays.
    pub fn keep_nothing(&self) {
        self.say(Keep::Nothing);
    }

    fn say(&self, keep: Keep) {
        self.registry.0.change(|handles| handles.keeps.insert(self.id, keep));
    }
}

impl Drop for RetentionHandle {
    fn drop(&mut self) {
        self.registry.0.change(|handles| handles.keeps.remove(&self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_keeps_everything_until_it_speaks_and_nothing_once_it_is_gone() {
        let registry = RetentionRegistry::new();
        let (one, two) = (registry.create_handle(), registry.create_handle());
        assert_eq!(registry.keeps(), [Keep::Everything, Keep::Everything]);
        assert_eq!(registry.handles(), 2);
        one.keep_from(Timestamp(7));
        two.keep_from_version(Version(8));
        assert_eq!(registry.keeps(), [Keep::FromTime(Timestamp(7)), Keep::FromVersion(Version(8))]);
        drop(one);
        two.keep_nothing();
        assert_eq!(registry.clone().keeps(), [Keep::Nothing]);
        drop(two);
        assert_eq!(registry.handles(), 0);
    }

    #[test]
    fn registries_are_equal_when_they_are_the_same() {
        let registry = RetentionRegistry::new();
        assert_eq!(registry, registry.clone());
        assert_ne!(registry, RetentionRegistry::new());
    }
}
