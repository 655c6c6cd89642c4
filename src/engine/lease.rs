//! A time that keys share and that is kept alive.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::api::KvEngine;
use super::draw::draw_id;
use super::read_context::ReadContext;
use super::scoped::lease_ended;
use crate::command::lease::ttl_micros;
use crate::command::{Command, LeaseId, Until};
use crate::env::Env;
use crate::error::Result;
use crate::state::{ApplyOutcome, Outcome};

/// Keys that are there as long as it is: until it was not kept alive for its time to live, or is
/// revoked. Then all of them go in one entry.
///
/// Times are those of the log: the clock of whoever leads. A lease may live longer than its time to
/// live while nobody leads, never shorter by the stamps of the log. What is known of it is part of
/// the state: it outlives restarts, changes of the leader, and this handle, whose dropping does
/// nothing. Attaching a key, keeping alive and revoking are writes; keeping alive does not touch
/// the keys, however many there are.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use hightower_kv::{KvEngine, SingleNodeEngine};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let engine = Arc::new(SingleNodeEngine::open(directory.path().join("data"))?);
/// let lease = engine.lease(Duration::from_secs(10))?;
/// lease.put(b"service/a".to_vec(), b"10.0.0.1".to_vec())?;
/// lease.keep_alive()?;
/// assert!(engine.expires_at(b"service/a")?.is_some());
/// lease.revoke()?;
/// assert!(!engine.contains(b"service/a")?);
/// # Ok::<(), hightower_kv::Error>(())
/// ```
pub struct Lease<E> {
    engine: Arc<E>,
    env: Env,
    id: LeaseId,
    ttl: Duration,
}

impl<E: KvEngine> Lease<E> {
    /// Grants a lease over an engine. `env` has the clock and the random source.
    ///
    /// # Errors
    /// Those of a write; `Validation` for a time that is not a millisecond to ten years.
    pub fn grant(engine: Arc<E>, env: Env, ttl: Duration) -> Result<Self> {
        let id = LeaseId::from(draw_id(&env, "a lease")?);
        engine.submit(Command::GrantLease { lease: id, ttl: ttl_micros(ttl) })?;
        Ok(Self { engine, env, id, ttl })
    }

    /// A handle of a lease that was granted before.
    ///
    /// # Errors
    /// Those of a read; `NotFound` when it has ended.
    pub fn find(engine: Arc<E>, env: Env, id: LeaseId) -> Result<Self> {
        let view = engine.view(ReadContext::default())?;
        let terms = view.lease(id)?.ok_or_else(|| lease_ended(id))?;
        Ok(Self { engine, env, id, ttl: Duration::from_micros(terms.ttl) })
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> LeaseId {
        self.id
    }

    /// How long it lives after it was granted or kept alive.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// What a key of a scope is given: see [`Scoped::put_until`](super::Scoped::put_until).
    #[must_use]
    pub const fn until(&self) -> Until {
        Until::Lease(self.id)
    }

    /// Sets a key that is there as long as the lease. A later plain put ends that: then the key
    /// stays.
    ///
    /// # Errors
    /// Those of a write; `NotFound` when the lease has ended: nothing was written.
    pub fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<ApplyOutcome> {
        self.told(self.engine.submit(Command::set_expiring(key, value, self.until()))?)
    }

    /// Ties a key that is there to the lease, and leaves its value. Told as `Unchanged`, with the
    /// version of the value; as `NotFound` when there is no such key.
    ///
    /// # Errors
    /// Those of a write; `NotFound` when the lease has ended.
    pub fn attach(&self, key: Vec<u8>) -> Result<ApplyOutcome> {
        let attach = Command::Attach { key: key.into(), until: self.until() };
        let outcome = self.engine.submit(attach)?;
        let is_missing = outcome.outcome == Outcome::NotFound;
        if is_missing && self.engine.view(ReadContext::default())?.lease(self.id)?.is_none() {
            return Err(lease_ended(self.id));
        }
        Ok(outcome)
    }

    /// Lets its time begin anew.
    ///
    /// # Errors
    /// Those of a write; `NotFound` when it has ended: its keys are gone.
    pub fn keep_alive(&self) -> Result<ApplyOutcome> {
        self.told(self.engine.submit(Command::KeepAlive { lease: self.id })?)
    }

    /// Ends it, and removes its keys. Told as `NotFound` when it has ended before.
    ///
    /// # Errors
    /// Those of a write.
    pub fn revoke(self) -> Result<ApplyOutcome> {
        self.engine.submit(Command::RevokeLease { lease: self.id })
    }

    /// How long it has left, by this node's clock or the last stamp of the log, whichever is later;
    /// zero when it is about to be removed, `None` when it has ended.
    ///
    /// # Errors
    /// Those of a read.
    pub fn remaining(&self) -> Result<Option<Duration>> {
        let view = self.engine.view(ReadContext::default())?;
        let now = self.env.clock.now().max(view.timestamp());
        let terms = view.lease(self.id)?;
        Ok(terms.map(|terms| Duration::from_micros(terms.deadline.0.saturating_sub(now.0))))
    }

    fn told(&self, outcome: ApplyOutcome) -> Result<ApplyOutcome> {
        if outcome.outcome == Outcome::NotFound { Err(lease_ended(self.id)) } else { Ok(outcome) }
    }
}

impl<E> fmt::Debug for Lease<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).finish_non_exhaustive()
    }
}
