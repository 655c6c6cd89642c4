//! The answer to a command that was handed in: waited for, polled, or called back with.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use super::answering::Answering;
use super::wake::wake_task;
use crate::error::{Error, Result};
use crate::state::ApplyOutcome;

/// What the waiting side of a command looks at.
#[derive(Debug)]
enum Stage {
    /// The command is in the queue.
    Waiting(Option<Waker>),
    /// The waiting thread is to commit what is in the queue, its own command included.
    Lead,
    /// The answer is here.
    Done(Result<ApplyOutcome>),
    /// The answer was taken.
    Taken,
}

/// What a thread that waits for its command is told.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Commit what is in the queue.
    Lead,
    /// This is the answer.
    Done(Result<ApplyOutcome>),
}

/// One place for one answer.
#[derive(Debug)]
pub(crate) struct Slot {
    stage: Mutex<Stage>,
    changed: Condvar,
}

impl Slot {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { stage: Mutex::new(Stage::Waiting(None)), changed: Condvar::new() })
    }

    /// Puts the answer in, of which the first one stays. A thread that waits is woken; the waker of
    /// a task that does is given back.
    #[must_use = "the task waits to be woken"]
    fn put(&self, result: Result<ApplyOutcome>) -> Option<Waker> {
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Done(_) | Stage::Taken) {
            return None;
        }
        let before = std::mem::replace(&mut *stage, Stage::Done(result));
        drop(stage);
        self.changed.notify_all();
        match before {
            Stage::Waiting(waker) => waker,
            _ => None,
        }
    }

    /// Makes the waiting thread the leader.
    pub(crate) fn lead(&self) {
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Waiting(_)) {
            *stage = Stage::Lead;
            drop(stage);
            self.changed.notify_all();
        }
    }

    /// Waits for the answer or for being made the leader.
    pub(crate) fn turn(&self) -> Turn {
        let mut stage = self.stage.lock();
        loop {
            match std::mem::replace(&mut *stage, Stage::Taken) {
                Stage::Done(result) => return Turn::Done(result),
                Stage::Lead => {
                    *stage = Stage::Waiting(None);
                    return Turn::Lead;
                }
                Stage::Taken => return Turn::Done(Err(Error::Closed("closed"))),
                waiting @ Stage::Waiting(_) => *stage = waiting,
            }
            self.changed.wait(&mut stage);
        }
    }

    /// Whether the answer was put in.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Done(_) | Stage::Taken)
    }

    fn poll(&self, waker: &Waker) -> Poll<Result<ApplyOutcome>> {
        // Cloned and dropped without the lock: it is code of others.
        let waker = waker.clone();
        let mut stage = self.stage.lock();
        match std::mem::replace(&mut *stage, Stage::Taken) {
            Stage::Done(result) => Poll::Ready(result),
            Stage::Taken => Poll::Ready(Err(Error::Closed("closed"))),
            before @ (Stage::Waiting(_) | Stage::Lead) => {
                *stage = Stage::Waiting(Some(waker));
                drop(stage);
                drop(before);
                Poll::Pending
            }
        }
    }
}

/// A command that was handed in. A future that any executor can poll; or wait for it on a thread.
/// A waker may not wait for such a thread: see
/// [`KvEngine::submit_async`](super::api::KvEngine::submit_async).
///
/// Dropping it does not take the command back.
#[must_use = "the command is under way: wait for it, or drop this to not learn what became of it"]
pub struct Submission {
    slot: Arc<Slot>,
}

impl Submission {
    pub(crate) const fn new(slot: Arc<Slot>) -> Self {
        Self { slot }
    }

    /// One that has its answer already.
    pub(crate) fn done(result: Result<ApplyOutcome>) -> Self {
        let stage = Mutex::new(Stage::Done(result));
        Self { slot: Arc::new(Slot { stage, changed: Condvar::new() }) }
    }

    /// Blocks the thread until the answer is there.
    ///
    /// # Errors
    /// Those of the command; `Validation` in a callback, whose thread has to give the answer. The
    /// command is under way all the same.
    pub fn wait(self) -> Result<ApplyOutcome> {
        if !self.slot.is_answered() {
            Answering::refuse()?;
        }
        loop {
            // Leading is offered only to threads that submitted synchronously.
            if let Turn::Done(result) = self.slot.turn() {
                return result;
            }
        }
    }
}

impl Future for Submission {
    type Output = Result<ApplyOutcome>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.slot.poll(context.waker())
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission").finish_non_exhaustive()
    }
}

/// Called with the answer to a command, on the thread that committed it.
pub type Callback = Box<dyn FnOnce(Result<ApplyOutcome>) + Send>;

/// Who is told the answer to a command.
pub(crate) enum Reply {
    /// A thread that waits, and can lead.
    Thread(Arc<Slot>),
    /// A future, or a thread that handed the command in and waits later.
    Future(Arc<Slot>),
    /// A function.
    Callback(Callback),
}

impl Reply {
    /// Tells the answer. A task that waits for it is woken here.
    pub(crate) fn answer(self, result: Result<ApplyOutcome>) {
        self.put(result).into_iter().for_each(wake_task);
    }

    /// As [`Self::answer`]; a task that waits for it is woken by the caller, where it can.
    #[must_use = "the task waits to be woken"]
    pub(crate) fn put(self, result: Result<ApplyOutcome>) -> Option<Waker> {
        match self {
            Self::Thread(slot) | Self::Future(slot) => return slot.put(result),
            Self::Callback(call) => {
                // Its panic is the caller's. It must not take along the thread that commits for
                // all.
                if catch_unwind(AssertUnwindSafe(|| call(result))).is_err() {
                    tracing::error!("a callback panicked; its command was answered all the same");
                }
            }
        }
        None
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread(_) => "Thread",
            Self::Future(_) => "Future",
            Self::Callback(_) => "Callback",
        })
    }
}
