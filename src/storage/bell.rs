//! When a thread that works in the background looks for work, waits and ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

#[derive(Debug, Default)]
struct State {
    asked: bool,
    stopped: bool,
}

/// The meeting point of such a thread and of those who have work for it.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    wake: Condvar,
    /// Whether there is, or will be, a thread.
    is_there: AtomicBool,
}

impl Bell {
    /// Says that there will be a thread.
    pub(crate) fn expect(&self) {
        self.is_there.store(true, Ordering::Release);
    }

    /// Asks for a look. Returns whether anybody will have it.
    pub(crate) fn ask(&self) -> bool {
        if !self.is_there.load(Ordering::Acquire) {
            return false;
        }
        self.state.lock().asked = true;
        self.wake.notify_all();
        true
    }

    /// Tells the thread to end.
    pub(crate) fn stop(&self) {
        self.is_there.store(false, Ordering::Release);
        self.state.lock().stopped = true;
        self.wake.notify_all();
    }

    /// Whether the thread was told to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Looks once, and then whenever it is asked for, until it is stopped.
    pub(crate) fn work(&self, mut look: impl FnMut()) {
        loop {
            look();
            let mut state = self.state.lock();
            self.wake.wait_while(&mut state, |state| !state.asked && !state.stopped);
            if state.stopped {
                return;
            }
            state.asked = false;
        }
    }

    /// Waits for so long. Returns whether to go on.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !time.is_zero() && !state.stopped {
            self.wake.wait_while_for(&mut state, |state| !state.stopped, time);
        }
        !state.stopped
    }
}
