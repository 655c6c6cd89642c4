//! Where one watcher is told that there is something to read, and waits for it.

use std::task::Waker;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::engine::wake::wake_task;
use crate::types::LogIndex;

#[derive(Debug, Default)]
struct State {
    /// The first entry that the watcher has to read; `None` while none concerns it.
    mark: Option<LogIndex>,
    /// Whether waiting is of no more use.
    stopped: bool,
    /// Whether a thread waits.
    sleeps: bool,
    /// Of the task that waits.
    waker: Option<Waker>,
}

impl State {
    const fn is_quiet(&self) -> bool {
        self.mark.is_none() && !self.stopped
    }
}

/// The place of one watcher.
///
/// # Why no wake-up is lost
/// The watcher looks for the mark under the lock under which it begins to wait, and it is set under
/// that lock. So a mark is set either before the look, and then nobody waits, or when somebody
/// waits already, and then [`Self::mark`] says so and [`Self::wake`] follows.
///
/// Wakers are cloned, dropped and called without the lock: they are code of others, which may drop
/// the watcher.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

impl Slot {
    /// Says that entry `index` concerns the watcher; the first one that is said stays. Returns
    /// whether somebody waits, who is then to be woken.
    pub(super) fn mark(&self, index: LogIndex) -> bool {
        let mut state = self.state.lock();
        state.mark.get_or_insert(index);
        state.sleeps || state.waker.is_some()
    }

    /// The first entry to read.
    pub(super) fn marked(&self) -> Option<LogIndex> {
        self.state.lock().mark
    }

    /// The first entry to read, which is taken away: the next one that is said counts.
    pub(super) fn take_mark(&self) -> Option<LogIndex> {
        self.state.lock().mark.take()
    }

    /// Says that waiting is of no more use. [`Self::wake`] is to follow.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
    }

    /// Wakes whoever waits.
    pub(super) fn wake(&self) {
        self.wake_thread().into_iter().for_each(wake_task);
    }

    /// Wakes the thread that waits; gives back the waker of the task that does.
    pub(super) fn wake_thread(&self) -> Option<Waker> {
        let waker = self.state.lock().waker.take();
        self.changed.notify_one();
        waker
    }

    /// Blocks the thread until there is a mark or a stop, or the time is over: then `false`.
    pub(super) fn wait(&self, time: Option<Duration>) -> bool {
        let mut state = self.state.lock();
        state.sleeps = true;
        match time {
            None => self.changed.wait_while(&mut state, |state| state.is_quiet()),
            Some(time) => {
                let quiet = |state: &mut State| state.is_quiet();
                self.changed.wait_while_for(&mut state, quiet, time);
            }
        }
        state.sleeps = false;
        !state.is_quiet()
    }

    /// Has the waker called at the next mark or stop; `false` when there is one already.
    pub(super) fn register(&self, waker: &Waker) -> bool {
        let mut waker = Some(waker.clone());
        let mut state = self.state.lock();
        let quiet = state.is_quiet();
        if quiet {
            std::mem::swap(&mut state.waker, &mut waker);
        }
        drop(state);
        quiet
    }

    /// Has nobody called any more.
    pub(super) fn forget_waker(&self) {
        let waker = self.state.lock().waker.take();
        drop(waker);
    }
}
