//! A bound on how many passwords are hashed at once: each takes tens of milliseconds and of MiB.

use std::panic::resume_unwind;
use std::thread::Builder;

use parking_lot::{Condvar, Mutex};

use crate::env::priority::yield_to_others;
use crate::error::{Error, Result};

/// How many are hashed at once.
const AT_ONCE: usize = 2;
/// How many wait for that.
const WAITING_MAX: usize = 64;

#[derive(Debug, Default)]
struct Load {
    working: usize,
    waiting: usize,
}

/// Lets two callers at a time work, and 64 wait.
#[derive(Debug, Default)]
pub(super) struct HashingPool {
    load: Mutex<Load>,
    freed: Condvar,
}

/// A place in the pool, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a HashingPool);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.load.lock().working -= 1;
        self.0.freed.notify_one();
    }
}

impl HashingPool {
    /// Runs `work` when it is its turn: see [`Place::run`].
    ///
    /// # Errors
    /// `Overloaded` when 64 wait already, or no thread can be started; those of `work`.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.enter()?.run(work)
    }

    /// Waits for a place. Whoever has one decides whether a password is checked at all, so that no
    /// more are under way than are hashed.
    ///
    /// # Errors
    /// `Overloaded` when 64 wait already.
    pub(super) fn enter(&self) -> Result<Place<'_>> {
        let mut load = self.load.lock();
        if load.working >= AT_ONCE {
            if load.waiting >= WAITING_MAX {
                return Err(Error::Overloaded(format!("{WAITING_MAX} logins wait")));
            }
            load.waiting += 1;
            self.freed.wait_while(&mut load, |load| load.working >= AT_ONCE);
            load.waiting -= 1;
        }
        load.working += 1;
        drop(load);
        Ok(Place(self))
    }
}

impl Place<'_> {
    /// Runs `work` on a thread of low priority, and gives the place back: a hash keeps a processor
    /// busy for longer than most writes take. A thread may not raise its priority again, so it
    /// lives for one hash, which takes hundreds of times as long as starting it.
    ///
    /// # Errors
    /// `Overloaded` when no thread can be started; those of `work`.
    pub(super) fn run<T: Send>(self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let politely = || {
            yield_to_others();
            work()
        };
        let result = std::thread::scope(|scope| {
            let thread = Builder::new().name("htkv-hash".to_owned());
            let started = thread.spawn_scoped(scope, politely);
            let started = started.map_err(|error| Error::Overloaded(error.to_string()))?;
            started.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        drop(self);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn two_work_sixty_four_wait_and_the_rest_is_refused() {
        let pool = HashingPool::default();
        let (gate, open) = (Mutex::new(false), Condvar::new());
        let (now, most, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            open.wait_while(&mut gate.lock(), |is_open| !*is_open);
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE + WAITING_MAX + 10 {
                scope.spawn(|| {
                    if matches!(pool.run(work), Err(Error::Overloaded(_))) {
                        // When the tenth is refused, all others wait or have a place, of which the
                        // threads may yet have to begin.
                        if refused.fetch_add(1, Ordering::SeqCst) == 9 {
                            while now.load(Ordering::SeqCst) < AT_ONCE {
                                std::thread::yield_now();
                            }
                            *gate.lock() = true;
                            open.notify_all();
                        }
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
        assert_eq!(refused.load(Ordering::SeqCst), 10);
    }
}
