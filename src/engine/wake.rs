//! Calling wakers: code of others, which may panic, and may wait for other threads that call the
//! store. So they are called where nothing is locked and nobody leads, wherever that can be had:
//! not while a panic unwinds, nor in a cluster, where openraft's threads answer. Whoever waits for
//! what was handed in waits for the worker, which calls wakers, too: for such a thread none waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Calls a waker, whose panic must not reach the thread that commits for all.
pub(crate) fn wake_task(waker: Waker) {
    if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
        tracing::error!("a waker panicked; its task may not learn that it is to go on");
    }
}
