//! What an engine offers to those who follow its changes.

use std::sync::Arc;

use super::options::WatchOptions;
use super::watcher::Watcher;
use crate::error::Result;

/// An engine whose changes can be followed. Object safe.
pub trait WatchEngine: Send + Sync {
    /// Follows what `options` say. Every node of a cluster can be asked: it tells what it has
    /// applied.
    ///
    /// Cost: of a watcher, some hundred bytes; of a write, a look-up for each different length of
    /// the prefixes that are watched, and little more for the first that concerns a watcher since
    /// it was last asked.
    ///
    /// # Errors
    /// `ReservedKey`; `Closed`, `Poisoned`, `Diverged`. `NotYet` for a version that a single node
    /// has not come to. Those of [`KvEngine::view`](crate::engine::api::KvEngine::view) where a
    /// state is asked for that is as fresh as a read.
    fn watch_with(&self, options: WatchOptions) -> Result<Watcher>;

    /// Follows what is committed from now on under a prefix; under the empty one, everything.
    ///
    /// # Errors
    /// Those of [`Self::watch_with`].
    fn watch(&self, prefix: &[u8]) -> Result<Watcher> {
        self.watch_with(WatchOptions::new(prefix))
    }
}

impl<E: WatchEngine + ?Sized> WatchEngine for Arc<E> {
    fn watch_with(&self, options: WatchOptions) -> Result<Watcher> {
        (**self).watch_with(options)
    }
}
