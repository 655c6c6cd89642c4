//! Threads that answer commands and must wait for none.

use std::cell::Cell;

use crate::error::{Error, Result};

/// Says that this thread is answering a round, for as long as it lives.
///
/// Nobody else leads meanwhile, so a callback that waited for another command would wait for
/// itself.
pub(crate) struct Answering {
    /// Whether it was answering already: a callback that hands a command in may be answered at
    /// once.
    before: bool,
}

thread_local! {
    static ANSWERING: Cell<bool> = const { Cell::new(false) };
}

impl Answering {
    pub(crate) fn begin() -> Self {
        Self { before: ANSWERING.replace(true) }
    }

    /// Whether this thread answers.
    pub(crate) fn is_here() -> bool {
        ANSWERING.get()
    }

    /// Refuses to wait on a thread that answers.
    ///
    /// # Errors
    /// `Validation`.
    pub(crate) fn refuse() -> Result<()> {
        if Self::is_here() { Err(Self::refusal()) } else { Ok(()) }
    }

    #[cold]
    fn refusal() -> Error {
        let text = "a callback waits for what its own thread has to do: hand a command in with \
                    submit_async (not with worker_threads = 0, where nobody else commits it), ask \
                    a watcher with try_next";
        Error::Validation(text.to_owned())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        ANSWERING.set(self.before);
    }
}
