//! Writes that are applied once, however often they are sent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::answering::Answering;
use super::api::KvEngine;
use super::draw::draw_id;
use crate::command::{Command, SessionId};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::state::{ApplyOutcome, Outcome};

/// How long it is tried, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before it is tried again; the deadline of each call comes on top.
const PAUSE: Duration = Duration::from_millis(20);

/// Numbers its requests, so that each is applied once: also when an answer was lost and it is sent
/// again, on whatever node leads by then, after restarts and snapshots.
///
/// What is known of a session is part of the replicated state. It is forgotten when it was not used
/// for an hour of log time, or when ten thousand others were used since; then every request says
/// `SessionExpired`, and nothing is applied.
///
/// Its requests go one after the other. Use as many sessions as writes are to be under way.
///
/// ```
/// use std::sync::Arc;
///
/// use hightower_kv::{Command, KvEngine, SingleNodeEngine};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let engine = Arc::new(SingleNodeEngine::open(directory.path().join("data"))?);
/// let session = engine.session()?;
/// session.submit(&Command::set("key", "value"))?;
/// assert!(engine.contains(b"key")?);
/// session.close()?;
/// # Ok::<(), hightower_kv::Error>(())
/// ```
pub struct Session<E> {
    engine: Arc<E>,
    env: Env,
    id: SessionId,
    patience: Duration,
    /// Number of the last request. Held while a request is under way.
    last: Mutex<u64>,
}

impl<E: KvEngine> Session<E> {
    /// Opens a session over an engine. `env` has the clock and the random source.
    ///
    /// # Errors
    /// Those of a write, but for those that trying again mends.
    pub fn open(engine: Arc<E>, env: Env) -> Result<Self> {
        let started = env.clock.elapsed();
        loop {
            // Another one each time: a delayed attempt must not open this one again after it was
            // forgotten.
            let id = SessionId::from(draw_id(&env, "a session")?);
            match engine.submit(Command::open_session(id)) {
                Ok(_) => {
                    let (patience, last) = (PATIENCE, Mutex::new(0));
                    return Ok(Self { engine, env, id, patience, last });
                }
                Err(error) => {
                    wait_or_give_up(&env, started, PATIENCE, error)?;
                }
            }
        }
    }

    /// How long a request is tried. Default: half a minute.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Applies a command once, and returns what it did, also when it takes several attempts. Blocks
    /// the thread.
    ///
    /// # Errors
    /// `SessionExpired`: it was not applied now; whether an attempt before was is no longer known.
    /// `OutcomeUnknown` when no attempt was answered in time. Those that say that nothing was
    /// written.
    pub fn submit(&self, command: &Command) -> Result<ApplyOutcome> {
        // Before the lock: whoever holds it may wait for an answer of this very thread.
        Answering::refuse()?;
        let mut last = self.last.lock();
        let request = *last + 1;
        let started = self.env.clock.elapsed();
        let mut unknown = None;
        loop {
            let numbered = Command::in_session(self.id, request, command.clone());
            let error = match self.engine.submit(numbered) {
                Ok(outcome) => {
                    *last = request;
                    return match outcome.outcome {
                        Outcome::SessionExpired | Outcome::RequestTooOld => {
                            Err(Error::SessionExpired)
                        }
                        _ => Ok(outcome),
                    };
                }
                Err(error) => error,
            };
            if matches!(error, Error::OutcomeUnknown { .. }) {
                unknown = Some(error.clone());
            }
            if let Err(error) = wait_or_give_up(&self.env, started, self.patience, error) {
                // The number is used up only if it may be in the log.
                let Some(unknown) = unknown else { return Err(error) };
                *last = request;
                return Err(unknown);
            }
        }
    }

    /// Sets a key.
    ///
    /// # Errors
    /// Those of [`Self::submit`].
    pub fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<ApplyOutcome> {
        self.submit(&Command::set(key, value))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// Those of [`Self::submit`].
    pub fn delete(&self, key: Vec<u8>) -> Result<ApplyOutcome> {
        self.submit(&Command::delete(key))
    }

    /// Says that no more requests come, so that nothing of the session need be remembered. One that
    /// is dropped is forgotten by itself, later.
    ///
    /// # Errors
    /// Those of a write.
    pub fn close(self) -> Result<()> {
        self.engine.submit(Command::close_session(self.id)).map(drop)
    }
}

/// Waits a moment where trying again may help.
fn wait_or_give_up(env: &Env, started: Duration, patience: Duration, error: Error) -> Result<()> {
    let helps = error.is_retryable() || matches!(error, Error::OutcomeUnknown { .. });
    let is_over = env.clock.elapsed().saturating_sub(started) >= patience;
    if !helps || is_over {
        return Err(error);
    }
    env.clock.pause(PAUSE);
    Ok(())
}

impl<E> fmt::Debug for Session<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::{self, Builder};

    use super::*;
    use crate::config::StoreConfig;
    use crate::engine::single_node::SingleNodeEngine;

    /// Far longer than anything here takes.
    const HANGS_AFTER: Duration = Duration::from_mins(1);

    #[test]
    fn a_callback_does_not_wait_for_a_session_whose_call_waits_for_it() {
        let sim = Env::simulated(1);
        let config = StoreConfig { data_dir: "/data".into(), ..StoreConfig::default() };
        let engine = Arc::new(SingleNodeEngine::with_env(&config, sim.env).unwrap());
        let session = Arc::new(engine.session().unwrap());
        let (entered, is_inside) = channel();
        let (tell, told) = channel();
        let (here, shared) = (Arc::clone(&engine), Arc::clone(&session));
        let start = |name: &str| Builder::new().name(name.to_owned());
        let commits = start("commits").spawn(move || {
            let callback = move |_| {
                entered.send(()).unwrap();
                while !shared.last.is_locked() {
                    thread::yield_now();
                }
                tell.send(shared.submit(&Command::set("b", "1"))).unwrap();
            };
            here.submit_with(Command::set("a", "1"), Box::new(callback));
        });
        is_inside.recv().unwrap();
        // Holds the session, and waits behind the round whose callback runs.
        let waits = start("waits").spawn(move || session.submit(&Command::set("c", "1")));
        let refused = told.recv_timeout(HANGS_AFTER).expect("the store stands still");
        assert!(matches!(refused, Err(Error::Validation(_))), "{refused:?}");
        commits.unwrap().join().unwrap();
        waits.unwrap().join().unwrap().unwrap();
        drop(engine);
    }
}
