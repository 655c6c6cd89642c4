//! The thread that waits for the device, so that no thread of an asynchronous runtime does.
//!
//! It does two things in turn: jobs that may wait for the device, in the order in which they were
//! handed in; then one sync for everything that was appended meanwhile, after which it tells whose
//! appends are durable.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use crate::engine::machine::Machine;
use crate::error::{Error, Result};
use crate::raft::io_error::io_error;
use crate::raft::type_config::TypeConfig;
use crate::storage::error::StorageError;
use crate::storage::log_entry::Completion;

const NAME: &str = "htkv-raft-sync";

type Job = Box<dyn FnOnce(&Machine) + Send>;

/// A handle on the thread. Dropping it ends the thread and waits for that.
pub(crate) struct Syncer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    machine: Arc<Machine>,
    state: Mutex<State>,
    wake: Condvar,
    /// Appends whose sync has an outcome, in the order of the appends.
    told: Mutex<Vec<Told>>,
    /// Bytes that were appended and whose sync has no outcome yet.
    unsynced: AtomicU64,
    /// Told whenever that becomes less.
    room: Notify,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Something was appended, or has an outcome, since the thread last looked.
    asked: bool,
    /// The thread is to end when nothing is left to do.
    closing: bool,
    /// Nobody looks any more.
    ended: bool,
}

/// What openraft is to be told of an append.
///
/// It is told even where this is dropped, then that it failed: of an append of which it never hears
/// again openraft would wait for ever, without an error.
struct Flush {
    callback: Option<IOFlushed<TypeConfig>>,
    bytes: u64,
    shared: Arc<Shared>,
}

struct Told {
    flush: Flush,
    result: std::result::Result<(), StorageError>,
}

impl Flush {
    fn tell(mut self, result: std::result::Result<(), StorageError>) {
        if let Some(callback) = self.callback.take() {
            callback.io_completed(result.map_err(|error| io_error(&error)));
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.shared.unsynced.fetch_sub(self.bytes, Ordering::AcqRel);
        self.shared.room.notify_waiters();
        if let Some(callback) = self.callback.take() {
            callback.io_completed(Err(closed()));
        }
    }
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// `Io` when the operating system gives none.
    pub(crate) fn start(machine: Arc<Machine>) -> Result<Self> {
        let shared = Arc::new(Shared {
            machine,
            state: Mutex::default(),
            wake: Condvar::new(),
            told: Mutex::default(),
            unsynced: AtomicU64::new(0),
            room: Notify::new(),
        });
        let run = Arc::clone(&shared);
        let spawned = Builder::new().name(NAME.to_owned()).spawn(move || run.run());
        let thread = spawned.map_err(|source| Error::Io {
            operation: "start a thread for",
            path: shared.machine.store.directory().to_owned(),
            source: Arc::new(source),
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// What the log is given with an append of so many bytes: `callback` is told exactly once what
    /// became of it.
    pub(crate) fn completion(&self, callback: IOFlushed<TypeConfig>, bytes: u64) -> Completion {
        self.shared.unsynced.fetch_add(bytes, Ordering::AcqRel);
        let shared = Arc::clone(&self.shared);
        let flush = Flush { callback: Some(callback), bytes, shared: Arc::clone(&shared) };
        Completion::new(move |result| shared.take_in(Told { flush, result }))
    }

    /// Waits until fewer than `most` bytes are unsynced.
    pub(crate) async fn wait_for_room(&self, most: u64) {
        loop {
            // Before the look, so that no change after it is missed.
            let changed = self.shared.room.notified();
            if self.shared.unsynced.load(Ordering::Acquire) < most {
                return;
            }
            changed.await;
        }
    }

    /// Whether the thread still takes work.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.shared.state.lock().closing { Err(closed()) } else { Ok(()) }
    }

    /// Asks for a sync of what was appended.
    pub(crate) fn ask(&self) {
        self.shared.ask();
    }

    /// Hands in a job. It runs after all that were handed in before; not at all once the thread is
    /// told to end.
    pub(crate) fn submit(&self, job: impl FnOnce(&Machine) + Send + 'static) {
        {
            let mut state = self.shared.state.lock();
            if state.closing {
                return;
            }
            state.jobs.push_back(Box::new(job));
        }
        self.shared.wake.notify_one();
    }

    /// Runs a job on the thread and waits for what it returns.
    ///
    /// # Errors
    /// The thread has ended.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Machine) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (send, receive) = oneshot::channel();
        // Whoever waited may be gone.
        self.submit(move |machine| drop(send.send(job(machine))));
        receive.await.map_err(|_| closed())
    }

    /// Ends the thread once everything handed in is done and synced, and waits for that.
    pub(crate) fn close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().take();
        // A callback may drop the last handle on the thread itself, which cannot wait for itself.
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs had panicked");
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Syncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unsynced = self.shared.unsynced.load(Ordering::Relaxed);
        f.debug_struct("Syncer").field("unsynced", &unsynced).finish_non_exhaustive()
    }
}

impl Shared {
    fn run(&self) {
        let _ending = Ending(self);
        loop {
            let jobs = {
                let mut state = self.state.lock();
                self.wake.wait_while(&mut state, |state| {
                    state.jobs.is_empty() && !state.asked && !state.closing
                });
                if state.jobs.is_empty() && !state.asked {
                    return;
                }
                state.asked = false;
                std::mem::take(&mut state.jobs)
            };
            for job in jobs {
                job(&self.machine);
            }
            // Who waits is told of a failure by the log; and the store has stopped.
            if let Err(error) = self.machine.store.log().sync() {
                tracing::error!(%error, "the log could not be synced");
            }
            self.tell();
        }
    }

    fn ask(&self) {
        let ended = {
            let mut state = self.state.lock();
            state.asked = true;
            state.ended
        };
        self.wake.notify_one();
        if ended {
            // Appended while the node was being closed: nobody else would ever tell.
            self.machine.store.log().sync().ok();
            self.tell();
        }
    }

    /// Takes in an outcome, from whichever thread has synced.
    fn take_in(&self, told: Told) {
        self.told.lock().push(told);
        let mut state = self.state.lock();
        if state.ended {
            drop(state);
            self.tell();
        } else {
            state.asked = true;
            self.wake.notify_one();
        }
    }

    /// Tells openraft of the outcomes that have gathered, the newest first: it keeps only the
    /// newest, and to learn of two in one microsecond costs it a millisecond of sleep.
    fn tell(&self) {
        let told = std::mem::take(&mut *self.told.lock());
        for Told { flush, result } in told.into_iter().rev() {
            flush.tell(result);
        }
    }
}

fn closed() -> io::Error {
    io_error(&StorageError::Closed { state: "closed" })
}

/// What happens however the thread ends.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.machine.stop("a thread panicked while it synced the log");
        }
        let jobs = {
            let mut state = self.0.state.lock();
            state.closing = true;
            state.ended = true;
            std::mem::take(&mut state.jobs)
        };
        // Dropped without the lock: whoever waits for one may run at once.
        drop(jobs);
        self.0.tell();
    }
}
