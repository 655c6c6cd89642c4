//! What every engine offers: [`KvEngine`] to applications, [`SnapshotEngine`] to replication.

use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::read_context::ReadContext;
use super::submission::{Callback, Submission};
use crate::command::lease::ttl_micros;
use crate::command::{Command, Condition, Guard, Owner, Until, is_reserved};
use crate::error::{Error, Result};
use crate::state::{ApplyOutcome, OwnedScan, StateView, Value, Versioned};
use crate::types::{Timestamp, Version};

/// A key-value store as an application sees it, whatever stands behind it.
///
/// Object safe: `Arc<dyn KvEngine>` works. All methods take `&self` and may be called from any
/// thread. A synchronous call may block: a write on the disk, a read on a block that is not
/// cached, in a cluster also on other nodes. From an async runtime use [`Self::submit_async`], and
/// call what reads where blocking is permitted.
///
/// # Writes
///
/// `Ok` means what the outcome's `durability` says, and that every later read sees the write. After
/// an error that is not `OutcomeUnknown` nothing was written.
pub trait KvEngine: Send + Sync {
    /// Proposes a command and waits until it is applied. A single node may wait for compaction
    /// besides, before it writes where that cannot keep pace, and after a removal of much until
    /// what was removed is gone from the disk, for `submit_timeout` at most each time: see
    /// [`StoreConfig::compaction_threshold`](crate::StoreConfig::compaction_threshold).
    ///
    /// # Errors
    /// Nothing was written: `Validation`, `TooLarge`, `ReservedKey`; `DiskFull`, `Overloaded`;
    /// `Poisoned`, `Closed`; `Corrupt`, `Io` where rows that the command looks at cannot be read;
    /// on a cluster also `Unavailable`, `Diverged`.
    ///
    /// `OutcomeUnknown`: on a single node the store failed while the write was under way; on a
    /// cluster no certain answer came before the deadline, also where nobody led.
    fn submit(&self, command: Command) -> Result<ApplyOutcome>;

    /// Hands a command in and returns without waiting for the disk. Commands that one caller hands
    /// in are applied in that order; on a cluster also across changes of the leader, but for two
    /// that are on their way when this node begins to lead, or has its quorum again: see
    /// `docs/replication.md`. With `worker_threads = 0` it is [`Self::submit`].
    ///
    /// Where compaction cannot keep pace, and then where the queue is full, it waits as `submit`
    /// does, for `submit_timeout` at most each time: what is handed in stays bounded.
    ///
    /// The task that polls what this returns is woken by a thread of the store. A waker may block,
    /// and may wait for threads that call the store synchronously, but not for one that waits in
    /// [`Submission::wait`], nor for what was handed in: the thread that calls it may be the one
    /// that commits that.
    fn submit_async(&self, command: Command) -> Submission;

    /// As [`Self::submit_async`]; `callback` gets the answer, on the thread that committed it. A
    /// synchronous write in it, and waiting for what was handed in there, is refused with
    /// `Validation`: it would wait for itself. So what it hands in where the queue is full is
    /// answered `Overloaded` at once. That holds of writes to any store: it is the thread that may
    /// not wait. With `worker_threads = 0` whatever a callback hands in is refused with
    /// `Validation`, since there is nobody else to commit it.
    ///
    /// Callbacks of commands that were written are called in the order of these; what is refused
    /// may be told before, and a thread whose command came later may have its answer before. A
    /// panic in a callback is logged and goes no further.
    fn submit_with(&self, command: Command, callback: Callback);

    /// One consistent state that never changes, at the price of a few pointers. For as long
    /// as it lives, what is in memory of it stays there, and the tables that it reads stay on disk,
    /// also those that a compaction has replaced.
    ///
    /// # Errors
    /// `NotYet` when the state has not reached the version that was asked for.
    fn view(&self, context: ReadContext) -> Result<StateView>;

    /// Returns when everything acknowledged so far is on the device.
    ///
    /// # Errors
    /// `Poisoned`.
    fn flush(&self) -> Result<()>;

    /// Applies all commands or none of them, as one log entry with one version. After a crash, an
    /// error, and to any concurrent reader: all of it or none.
    ///
    /// # Errors
    /// Those of [`Self::submit`]; `Validation` for no commands at all.
    fn submit_batch(&self, commands: Vec<Command>) -> Result<ApplyOutcome> {
        self.submit(Command::batch(commands))
    }

    /// Sets a key. Setting the value that the key already has is told as `Unchanged` and moves
    /// neither its version nor its stamp.
    ///
    /// # Errors
    /// Those of [`Self::submit`].
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<ApplyOutcome> {
        self.submit(Command::set(key, value))
    }

    /// Removes a key. Removing one that is not there is told as `NotFound`, not an error.
    ///
    /// # Errors
    /// Those of [`Self::submit`].
    fn delete(&self, key: Vec<u8>) -> Result<ApplyOutcome> {
        self.submit(Command::delete(key))
    }

    /// Sets a key for a time: so much log time later it is removed, by an entry of its own, on all
    /// nodes alike. Doing it again begins anew, also with the same value. A plain put of the key
    /// ends its time, and it stays.
    ///
    /// Log time is the clock of whoever leads. The key is there for at least `ttl` of it, and until
    /// the entry that removes it is committed: where nobody leads, nothing goes.
    ///
    /// # Errors
    /// Those of [`Self::submit`]; `Validation` for a time that is not a millisecond to ten years.
    fn put_with_ttl(&self, key: Vec<u8>, value: Vec<u8>, ttl: Duration) -> Result<ApplyOutcome> {
        self.submit(Command::set_expiring(key, value, Until::After(ttl_micros(ttl))))
    }

    /// Who writes ephemeral keys here: this node, and this opening of its store. `None` for an
    /// engine that does not write.
    fn owner(&self) -> Option<Owner> {
        None
    }

    /// Sets a key if the condition holds for it when the command is applied; `GuardFailed`
    /// otherwise.
    ///
    /// # Errors
    /// Those of [`Self::submit`].
    fn compare_and_set(
        &self,
        key: Vec<u8>,
        condition: Condition,
        value: Vec<u8>,
    ) -> Result<ApplyOutcome> {
        let key = Bytes::from(key);
        let guard = Guard { key: key.clone(), condition };
        self.submit(Command::guarded([guard], [Command::set(key, value)]))
    }

    /// The value of a key; `None` when it is not there.
    ///
    /// # Errors
    /// Those of [`Self::view`]; `ReservedKey`; `Corrupt`, `Io` when a table cannot be read, which
    /// holds for all reads of rows.
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        refuse_reserved(key)?;
        Ok(self.view(ReadContext::default())?.get(key)?)
    }

    /// The value of a key with the version and the stamp of the write that set it.
    ///
    /// # Errors
    /// Those of [`Self::view`].
    fn get_versioned(&self, key: &[u8]) -> Result<Option<Versioned>> {
        refuse_reserved(key)?;
        Ok(self.view(ReadContext::default())?.get_versioned(key)?)
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// Those of [`Self::view`].
    fn contains(&self, key: &[u8]) -> Result<bool> {
        refuse_reserved(key)?;
        Ok(self.view(ReadContext::default())?.contains(key)?)
    }

    /// The stamp from which on a key is removed, by itself or with its lease; `None` when it has no
    /// time, or is not there.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    fn expires_at(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        refuse_reserved(key)?;
        Ok(self.view(ReadContext::default())?.expires_at(key)?)
    }

    /// All rows whose key begins with `prefix`, in key order. For many rows use [`Self::view`] and
    /// its iterators, which hold one row at a time.
    ///
    /// # Errors
    /// Those of [`Self::view`].
    fn get_prefix(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Value)>> {
        refuse_reserved(prefix)?;
        Ok(self.view(ReadContext::default())?.rows_with_prefix(prefix)?)
    }

    /// The rows of a range in key order, or from its end with `.rev()`, as many as are taken. All
    /// of them are of one state, however long the iterator lives and whatever is written meanwhile.
    ///
    /// # Errors
    /// Those of [`Self::view`].
    fn scan<K: AsRef<[u8]>, R: RangeBounds<K>>(&self, range: R) -> Result<OwnedScan>
    where
        Self: Sized,
    {
        Ok(self.view(ReadContext::default())?.scan(range))
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// Those of [`Self::view`].
    fn len(&self) -> Result<usize> {
        Ok(self.view(ReadContext::default())?.len())
    }

    /// Whether there are no keys.
    ///
    /// # Errors
    /// Those of [`Self::view`].
    fn is_empty(&self) -> Result<bool> {
        Ok(self.view(ReadContext::default())?.is_empty())
    }
}

/// Refuses a key, or a prefix, of the reserved keyspace.
#[inline]
pub(crate) fn refuse_reserved(key: &[u8]) -> Result<()> {
    if is_reserved(key) { Err(Error::ReservedKey) } else { Ok(()) }
}

impl<E: KvEngine + ?Sized> KvEngine for Arc<E> {
    fn submit(&self, command: Command) -> Result<ApplyOutcome> {
        (**self).submit(command)
    }

    fn submit_async(&self, command: Command) -> Submission {
        (**self).submit_async(command)
    }

    fn submit_with(&self, command: Command, callback: Callback) {
        (**self).submit_with(command, callback);
    }

    fn view(&self, context: ReadContext) -> Result<StateView> {
        (**self).view(context)
    }

    fn flush(&self) -> Result<()> {
        (**self).flush()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        (**self).get(key)
    }

    fn owner(&self) -> Option<Owner> {
        (**self).owner()
    }
}

/// An engine whose whole state can be had at one version: what replication and backups build on.
pub trait SnapshotEngine: Send + Sync {
    /// The state as it is now, without copying data.
    fn snapshot_state(&self) -> StateView;

    /// The version of the last entry applied.
    fn latest_version(&self) -> Version;
}

impl<E: SnapshotEngine + ?Sized> SnapshotEngine for Arc<E> {
    fn snapshot_state(&self) -> StateView {
        (**self).snapshot_state()
    }

    fn latest_version(&self) -> Version {
        (**self).latest_version()
    }
}
