//! One scope of an engine.

use std::fmt;
use std::ops::RangeBounds;
use std::time::Duration;

use bytes::Bytes;

use super::api::KvEngine;
use super::read_context::ReadContext;
use crate::command::lease::ttl_micros;
use crate::command::limits::CommandError;
use crate::command::{Command, Condition, Guard, LeaseId, Owner, Scope, Until};
use crate::error::{Error, Result};
use crate::state::{ApplyOutcome, Outcome, ScopedScan, StateView, Value, Versioned};
use crate::types::Timestamp;

/// How often a guard on an ephemeral value is looked up anew because the row was written meanwhile.
const ATTEMPTS_MAX: usize = 16;

/// Gives every engine its scopes.
pub trait Scopes: KvEngine {
    /// One scope of the engine. Costs nothing.
    fn scope(&self, scope: Scope) -> Scoped<'_, Self> {
        Scoped { engine: self, scope }
    }
}

impl<E: KvEngine + ?Sized> Scopes for E {}

/// One scope of an engine, used as the engine itself is: keys and values are the caller's own, and
/// the same key in another scope is another key.
///
/// Limits count the physical key, which is longer than the caller's by [`Scope::prefix_bytes`], and
/// in the ephemeral scope a value that is longer by [`OWNER_BYTES`](crate::command::scope). Writes
/// cost what plain ones do, and are as safe.
///
/// ```
/// use hightower_kv::{Scope, SingleNodeEngine};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("data");
/// let engine = SingleNodeEngine::open(&path)?;
/// let run = engine.scope(Scope::Ephemeral);
/// run.put(b"pid".to_vec(), b"17".to_vec())?;
/// let cache = engine.scope(Scope::named("cache")?);
/// cache.put(b"pid".to_vec(), b"another key".to_vec())?;
/// assert_eq!(run.get(b"pid")?.unwrap(), b"17");
/// cache.clear()?;
/// assert!(cache.is_empty()?);
/// engine.close()?;
///
/// let engine = SingleNodeEngine::open(&path)?;
/// assert!(engine.scope(Scope::Ephemeral).is_empty()?);
/// # Ok::<(), hightower_kv::Error>(())
/// ```
pub struct Scoped<'a, E: ?Sized> {
    engine: &'a E,
    scope: Scope,
}

impl<'a, E: KvEngine + ?Sized> Scoped<'a, E> {
    /// As [`Scopes::scope`].
    pub const fn new(engine: &'a E, scope: Scope) -> Self {
        Self { engine, scope }
    }

    /// Which scope it is.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Sets a key. Setting the value that the key already has is told as `Unchanged`; in the
    /// ephemeral scope only if this opening of this node wrote it.
    ///
    /// # Errors
    /// Those of [`KvEngine::submit`]; `Validation` in the ephemeral scope of an engine that has no
    /// life of its own to tie keys to.
    pub fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<ApplyOutcome> {
        self.submit_single(Command::set(key, value))
    }

    /// Removes a key; `NotFound` is an outcome.
    ///
    /// # Errors
    /// Those of [`KvEngine::submit`].
    pub fn delete(&self, key: Vec<u8>) -> Result<ApplyOutcome> {
        self.submit_single(Command::delete(key))
    }

    /// Removes every key that begins with `prefix`, in one entry.
    ///
    /// # Errors
    /// Those of [`KvEngine::submit`].
    pub fn delete_prefix(&self, prefix: Vec<u8>) -> Result<ApplyOutcome> {
        self.submit_single(Command::delete_prefix(prefix))
    }

    /// Removes every key of the scope, in one entry: after a crash all or none of them.
    ///
    /// # Errors
    /// Those of [`KvEngine::submit`].
    pub fn clear(&self) -> Result<ApplyOutcome> {
        self.delete_prefix(Vec::new())
    }

    /// Sets a key for a time: see [`KvEngine::put_with_ttl`].
    ///
    /// # Errors
    /// Those of [`KvEngine::put_with_ttl`].
    pub fn put_with_ttl(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        ttl: Duration,
    ) -> Result<ApplyOutcome> {
        self.put_until(key, value, Until::After(ttl_micros(ttl)))
    }

    /// Sets a key for a time, or for as long as a lease.
    ///
    /// # Errors
    /// Those of [`KvEngine::put_with_ttl`]; `NotFound` when there is no such lease: nothing was
    /// written.
    pub fn put_until(&self, key: Vec<u8>, value: Vec<u8>, until: Until) -> Result<ApplyOutcome> {
        let (key, value) = (self.physical(&key.into())?, self.stored(value.into())?);
        let told = self.engine.submit(Command::SetExpiring { key, value, until })?;
        match (told.outcome, until) {
            (Outcome::NotFound, Until::Lease(lease)) => Err(lease_ended(lease)),
            _ => Ok(told),
        }
    }

    /// Gives a key that is there a time, and leaves its value; `NotFound` without the key or the
    /// lease.
    ///
    /// # Errors
    /// Those of [`KvEngine::put_with_ttl`].
    pub fn attach(&self, key: Vec<u8>, until: Until) -> Result<ApplyOutcome> {
        let key = self.physical(&key.into())?;
        self.engine.submit(Command::Attach { key, until })
    }

    /// Sets a key if the condition holds for it; `GuardFailed` otherwise.
    ///
    /// # Errors
    /// Those of [`Self::put`].
    pub fn compare_and_set(
        &self,
        key: Vec<u8>,
        condition: Condition,
        value: Vec<u8>,
    ) -> Result<ApplyOutcome> {
        let key = Bytes::from(key);
        let guard = Guard { key: key.clone(), condition };
        self.submit_guarded(vec![guard], vec![Command::set(key, value)])
    }

    /// Applies sets and deletes of keys of this scope, all or none.
    ///
    /// # Errors
    /// Those of [`KvEngine::submit_batch`].
    pub fn submit_batch(&self, commands: Vec<Command>) -> Result<ApplyOutcome> {
        self.submit_guarded(Vec::new(), commands)
    }

    /// Applies sets and deletes of keys of this scope if all guards hold, which are about keys of
    /// this scope, too.
    ///
    /// In the ephemeral scope a value that is compared may have been written by any node. It is
    /// looked up first, and the guard is on its version: a row that others write all the time may
    /// fail the guard though its value is the one.
    ///
    /// # Errors
    /// Those of [`KvEngine::submit_batch`].
    pub fn submit_guarded(
        &self,
        guards: Vec<Guard>,
        commands: Vec<Command>,
    ) -> Result<ApplyOutcome> {
        let commands: Vec<Command> =
            commands.into_iter().map(|it| self.single(it)).collect::<Result<_>>()?;
        let compares = |guard: &Guard| matches!(guard.condition, Condition::ValueEquals(_));
        if self.scope != Scope::Ephemeral || !guards.iter().any(compares) {
            let physical = |guard: Guard| Ok(Guard { key: self.physical(&guard.key)?, ..guard });
            let guards = guards.into_iter().map(physical).collect::<Result<Vec<_>>>()?;
            return self.engine.submit(self.whole(guards, commands));
        }
        for _ in 1..ATTEMPTS_MAX {
            let (found, is_looked_up) = self.looked_up(&guards)?;
            let outcome = self.engine.submit(self.whole(found, commands.clone()))?;
            match outcome.failed_guard() {
                // The row was written after it was looked up: with the same value, perhaps.
                Some(at) if is_looked_up.get(at) == Some(&true) => {}
                _ => return Ok(outcome),
            }
        }
        let (found, _) = self.looked_up(&guards)?;
        self.engine.submit(self.whole(found, commands))
    }

    /// Guards on physical rows, and which of them are on the version of a row that has the value
    /// that was asked for.
    fn looked_up(&self, guards: &[Guard]) -> Result<(Vec<Guard>, Vec<bool>)> {
        let view = self.view()?;
        let scoped = view.scope(&self.scope);
        let mut found = Vec::with_capacity(guards.len());
        let mut is_looked_up = Vec::with_capacity(guards.len());
        for Guard { key, condition } in guards {
            let row = match condition {
                Condition::ValueEquals(value) => {
                    scoped.get_versioned(key)?.filter(|row| row.value == **value)
                }
                _ => None,
            };
            is_looked_up.push(row.is_some());
            let condition = match (row, condition) {
                (Some(row), _) => Condition::VersionEquals(row.version),
                (None, Condition::ValueEquals(value)) => {
                    Condition::ValueEquals(self.stored(value.clone())?)
                }
                (None, other) => other.clone(),
            };
            found.push(Guard { key: self.physical(key)?, condition });
        }
        Ok((found, is_looked_up))
    }

    /// The value of a key; `None` when it is not there.
    ///
    /// # Errors
    /// Those of [`KvEngine::get`], which holds for all reads.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        Ok(self.view()?.scope(&self.scope).get(key)?)
    }

    /// The value of a key with its version and stamp.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn get_versioned(&self, key: &[u8]) -> Result<Option<Versioned>> {
        Ok(self.view()?.scope(&self.scope).get_versioned(key)?)
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        Ok(self.view()?.scope(&self.scope).contains(key)?)
    }

    /// When a key goes: see [`KvEngine::expires_at`].
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn expires_at(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        Ok(self.view()?.scope(&self.scope).expires_at(key)?)
    }

    /// All rows whose key begins with `prefix`, in key order. For many rows use [`Self::scan`],
    /// which holds some hundred at a time.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn get_prefix(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Value)>> {
        let view = self.view()?;
        let rows = view.scope(&self.scope).prefix(prefix);
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// The rows of a range in key order, or from its end with `.rev()`, as many as are taken. All
    /// of them are of one state.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn scan<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<ScopedScan> {
        Ok(self.view()?.scope(&self.scope).scan(range))
    }

    /// How many keys there are. Reads all of them, O(n), but for the permanent scope.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn len(&self) -> Result<usize> {
        Ok(self.view()?.scope(&self.scope).len()?)
    }

    /// Whether there are no keys. Looks for the first one.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.view()?.scope(&self.scope).is_empty()?)
    }

    fn view(&self) -> Result<StateView> {
        self.engine.view(ReadContext::default())
    }

    fn submit_single(&self, command: Command) -> Result<ApplyOutcome> {
        let command = self.single(command)?;
        let command =
            if self.scope == Scope::Permanent { command } else { Command::reserved([], [command]) };
        self.engine.submit(command)
    }

    /// A batch of physical rows.
    fn whole(&self, guards: Vec<Guard>, commands: Vec<Command>) -> Command {
        if self.scope == Scope::Permanent {
            Command::guarded(guards, commands)
        } else {
            Command::reserved(guards, commands)
        }
    }

    /// A set or a delete of physical rows.
    fn single(&self, command: Command) -> Result<Command> {
        Ok(match command {
            Command::Set { key, value } => {
                Command::Set { key: self.physical(&key)?, value: self.stored(value)? }
            }
            Command::Delete { key } => Command::Delete { key: self.physical(&key)? },
            Command::DeletePrefix { prefix } => {
                Command::DeletePrefix { prefix: self.prefixed(prefix) }
            }
            _ => return Err(CommandError::NotInBatch.into()),
        })
    }

    fn physical(&self, key: &Bytes) -> Result<Bytes> {
        if key.is_empty() {
            return Err(CommandError::EmptyKey.into());
        }
        Ok(self.prefixed(key.clone()))
    }

    fn prefixed(&self, key: Bytes) -> Bytes {
        if self.scope == Scope::Permanent { key } else { self.scope.key(&key) }
    }

    /// A value as it is stored.
    fn stored(&self, value: Bytes) -> Result<Bytes> {
        if self.scope != Scope::Ephemeral {
            return Ok(value);
        }
        let owner = self.engine.owner().ok_or_else(|| {
            let text = "ephemeral keys live as long as a store is open, and this engine only reads";
            Error::Validation(format!("{text}: write through the engine that has it open"))
        })?;
        Ok(Owner::own(&owner, &value))
    }
}

/// What a write with a lease is told that is no more.
pub(super) fn lease_ended(id: LeaseId) -> Error {
    Error::NotFound(format!("lease {id}, which has ended: grant another one"))
}

impl<E: ?Sized> fmt::Debug for Scoped<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl<E: ?Sized> Clone for Scoped<'_, E> {
    fn clone(&self) -> Self {
        Self { engine: self.engine, scope: self.scope.clone() }
    }
}
