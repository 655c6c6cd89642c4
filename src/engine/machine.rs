//! One node's store and the state that its log amounts to: what every engine is built on, whoever
//! decides what is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::deadlines::Deadlines;
use super::keeping::Keeping;
use super::log_clock::LogClock;
use super::pressure::Pressure;
use super::replay::{Replica, stale_bytes};
use super::replica_lock::ReplicaLock;
use super::throttle::Throttle;
use super::watch::marking::mark;
use super::watch::registry::Registry;
use crate::command::Command;
use crate::command::membership::Membership;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::state::{Applied, Looked, Resident, Tail, Value};
use crate::storage::bell::Bell;
use crate::storage::error::StorageError;
use crate::storage::frame::entry_frame_len;
use crate::storage::store::Store;
use crate::storage::table_set::TableSet;
use crate::types::{LogId, LogIndex, Timestamp};

/// What has gathered since the tail was last set aside, in bytes. Changed under the replica's lock;
/// read without, by whoever wonders whether a compaction is due.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Of no use in the log, the part included that is being compacted.
    pub(crate) stale: AtomicU64,
    /// Log that no table covers.
    pub(crate) behind: AtomicU64,
    /// Memory of the tail.
    pub(crate) tail: AtomicU64,
    /// The longest row that was set since the store was opened, and that a table may have had then.
    pub(crate) longest_row: AtomicU64,
    /// Of a table of what is in memory only.
    unwritten: AtomicU64,
    /// Log of the part that is being compacted, until the past has it.
    unrecorded: AtomicU64,
    /// What is to be written of both, as far as anybody asks for the past. The log knows it, and
    /// leaves room for it.
    debt: Arc<AtomicU64>,
}

impl Load {
    pub(crate) fn pressure(&self) -> Pressure {
        let load = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        Pressure { behind: load(&self.behind), tail: load(&self.tail), stale: load(&self.stale) }
    }

    /// Bytes of a table of what is in memory only.
    pub(crate) fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Bytes that are still to be written to tables and to the past.
    #[cfg(test)]
    pub(crate) fn debt(&self) -> u64 {
        self.debt.load(Ordering::Relaxed)
    }

    /// A row of so many bytes is set. Under the replica's lock.
    pub(crate) fn saw_row(&self, bytes: u64) {
        // Hardly ever stored: a load costs less than an exchange.
        if bytes > self.longest_row.load(Ordering::Relaxed) {
            self.longest_row.store(bytes, Ordering::Relaxed);
        }
    }

    /// So many bytes of log more are in no table. Under the replica's lock, which is why nothing is
    /// lost between the two steps: one that cannot be interrupted costs several times as much.
    fn add_behind(&self, bytes: u64) {
        let before = self.behind.load(Ordering::Relaxed);
        self.behind.store(before + bytes, Ordering::Relaxed);
    }

    /// The tail was set aside: what gathers is that of a new one. Under the replica's lock.
    pub(crate) fn set_aside(&self) {
        let behind = self.behind.swap(0, Ordering::Relaxed);
        self.unrecorded.fetch_add(behind, Ordering::Relaxed);
        self.tail.store(0, Ordering::Relaxed);
    }
}

/// The state machine of one node, with its files.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) env: Env,
    pub(crate) store: Store,
    pub(crate) replica: ReplicaLock,
    /// The tables below the state once more, for readers without a lock. Changed under the
    /// replica's.
    tables: ArcSwap<TableSet>,
    /// What has gathered since tables were last written.
    pub(crate) load: Load,
    pub(crate) throttle: Throttle,
    /// Who follows what is applied.
    pub(crate) watchers: Arc<Registry>,
    /// What entries are stamped with.
    pub(crate) log_clock: LogClock,
    pub(crate) deadlines: Deadlines,
    /// How much of the past is kept.
    pub(crate) keeping: Keeping,
    /// Who compresses it.
    pub(crate) archiver: Bell,
    /// How many want merges in the background to rest: they go on later, at the next opening if
    /// the store is being closed.
    rest: AtomicUsize,
    /// Set when a panic may have left a command half applied.
    torn: AtomicBool,
    /// A planted fault: the next command does nothing.
    #[cfg(any(test, feature = "testing"))]
    skip_next: AtomicBool,
}

impl Machine {
    /// `replica` has applied what it was given of the log in `store`; `pressure` is what that left.
    pub(crate) fn new(
        env: Env,
        store: Store,
        replica: Replica,
        pressure: Pressure,
        keeping: Keeping,
    ) -> Self {
        let load = Load {
            stale: AtomicU64::new(pressure.stale),
            behind: AtomicU64::new(pressure.behind),
            tail: AtomicU64::new(pressure.tail),
            ..Load::default()
        };
        owe(&load, &keeping, &replica);
        store.begin_debt(Arc::clone(&load.debt));
        let watchers = Arc::<Registry>::default();
        let told = Arc::clone(&watchers);
        store.log().on_poison(Box::new(move || told.stop_under_locks()));
        let last = replica.kv.as_view().timestamp();
        Self {
            log_clock: LogClock::new(Arc::clone(&env.clock), last),
            env,
            store,
            tables: ArcSwap::new(Arc::clone(replica.kv.as_view().tables())),
            replica: ReplicaLock::new(replica),
            load,
            throttle: Throttle::default(),
            watchers,
            deadlines: Deadlines::new(),
            keeping,
            archiver: Bell::default(),
            rest: AtomicUsize::new(0),
            torn: AtomicBool::new(false),
            #[cfg(any(test, feature = "testing"))]
            skip_next: AtomicBool::new(false),
        }
    }

    /// Has merges in the background rest from now on.
    pub(crate) fn rest_merges(&self) {
        self.rest.fetch_add(1, Ordering::AcqRel);
    }

    /// Has merges in the background rest while something waits for them to.
    #[cfg_attr(not(any(test, feature = "raft")), expect(dead_code, reason = "for clusters"))]
    pub(crate) fn while_merges_rest<T>(&self, waits: impl FnOnce() -> T) -> T {
        self.rest_merges();
        let done = waits();
        self.rest.fetch_sub(1, Ordering::AcqRel);
        done
    }

    pub(crate) fn should_merges_rest(&self) -> bool {
        self.rest.load(Ordering::Acquire) > 0
    }

    /// Whether the state may be read.
    ///
    /// # Errors
    /// `Poisoned` when a panic may have left a command half applied.
    pub(crate) fn check_readable(&self) -> Result<()> {
        if self.torn.load(Ordering::Acquire) {
            self.store.log().check()?;
        }
        Ok(())
    }

    /// The value of a key, as far as it can be told without reading from disk.
    ///
    /// Unless the state is published, rows in memory are looked at under the lock and tables
    /// without, so that a writer waits for no search in tables, nor for a reader that was
    /// interrupted in one. Where other tables come in between, they hold what was in memory at some
    /// moment of this call, and the answer is that of this moment.
    pub(crate) fn get_resident(&self, key: &[u8]) -> Resident {
        if let Some(published) = &*self.replica.published() {
            return published.get_resident(key);
        }
        if let Some(record) = self.replica.read_unpublished().kv.as_view().in_memory(key) {
            return Resident::Known(record.value.clone().map(Value::from));
        }
        Resident::of(&self.tables.load(), key)
    }

    /// Puts other tables with the same rows below the tail, as
    /// [`KvState::rebase`](crate::state::KvState::rebase) does, and gives back what it does.
    pub(crate) fn rebase(&self, tables: Arc<TableSet>, written: bool) -> (Tail, Arc<TableSet>) {
        let mut replica = self.replica.write();
        // Before memory lets go of the rows that are in them now.
        self.tables.store(Arc::clone(&tables));
        let replaced = replica.kv.rebase(tables, written);
        owe(&self.load, &self.keeping, &replica);
        replaced
    }

    /// The past has the part that was set aside, or is not to get it.
    pub(crate) fn recorded(&self) {
        let replica = self.replica.read();
        self.load.unrecorded.store(0, Ordering::Relaxed);
        owe(&self.load, &self.keeping, &replica);
    }

    /// Refuses a command that would have to look at rows that cannot be read. Called by whoever
    /// proposes: commands before it may still change what it looks at, but never to something on
    /// disk that was not read before.
    ///
    /// Also refuses one that removes so much without naming it that tables would have no room for
    /// it; `tombstone_bytes` is what those before it take.
    ///
    /// # Errors
    /// `Corrupt`, `Io` of the table; `DiskFull`.
    pub(crate) fn check_looks(&self, command: &Command, tombstone_bytes: u64) -> Result<Looked> {
        if self.store.tables().is_empty() {
            return Ok(Looked::default());
        }
        let looked = if matches!(command, Command::Set { .. } | Command::Delete { .. }) {
            self.replica.read().kv.check(command)?
        } else {
            // It may read much from the disk. Whoever is to change the state meanwhile would wait
            // for that, and all readers for him.
            let view = self.replica.read().kv.view();
            view.check(command)?
        };
        if looked.tombstone_bytes() > 0 {
            let bytes = tombstone_bytes + looked.tombstone_bytes();
            self.store.log().check_room_for_tombstones(bytes)?;
        }
        Ok(looked)
    }

    /// Applies a committed command, counts what it leaves behind, and marks the watchers that it
    /// concerns: whoever applied it wakes them when the lock is gone. `replica` is this machine's,
    /// `looked` as in [`KvState::apply_telling`](crate::state::KvState::apply_telling).
    ///
    /// # Errors
    /// `OutcomeUnknown` when rows that it looks at cannot be read; then the store has stopped.
    ///
    /// # Panics
    /// When the entry is not behind the last one applied.
    pub(crate) fn apply(
        &self,
        replica: &mut Replica,
        id: LogId,
        clock: Timestamp,
        command: Command,
        looked: Looked,
        payload_len: usize,
    ) -> Result<Applied> {
        #[cfg(any(test, feature = "testing"))]
        let command =
            if self.skip_next.swap(false, Ordering::AcqRel) { Command::batch([]) } else { command };
        // What it names is gone once it is applied.
        let watched = (!self.watchers.is_empty()).then(|| command.clone());
        self.load.saw_row(command.longest_row() as u64);
        let ttl = command.ttl();
        let Ok(at) = replica.kv.begin(id.index, clock) else {
            unreachable!("whoever applies does so in the order of the log")
        };
        let (applied, effects) = match replica.kv.apply_begun(at, command, looked) {
            Ok(told) => told,
            Err(error) => return Err(self.halt(&error)),
        };
        replica.last = Some(id);
        if let Some(command) = &watched {
            mark(&self.watchers, id.index, command, &effects);
        }
        let stamp = replica.kv.as_view().timestamp();
        self.log_clock.saw(stamp);
        self.deadlines.applied(stamp, ttl);
        replica.effects.push(id.index, stamp, effects);
        let stale = stale_bytes(&applied, payload_len);
        if stale > 0 {
            self.load.stale.fetch_add(stale, Ordering::Relaxed);
        }
        self.load.add_behind(entry_frame_len(payload_len) as u64);
        self.load.tail.store(replica.kv.tail_bytes(), Ordering::Relaxed);
        owe(&self.load, &self.keeping, replica);
        Ok(applied)
    }

    /// Applies a committed entry without a command; `membership` is what it carries, if anything.
    ///
    /// # Panics
    /// When the entry is not behind the last one applied.
    #[cfg_attr(not(feature = "raft"), expect(dead_code, reason = "for clusters"))]
    pub(crate) fn apply_blank(
        &self,
        replica: &mut Replica,
        id: LogId,
        membership: Option<Membership>,
    ) {
        let Ok(()) = replica.apply_blank(id.index) else {
            unreachable!("whoever applies does so in the order of the log")
        };
        replica.last = Some(id);
        self.load.add_behind(entry_frame_len(0) as u64);
        if membership.is_some() {
            replica.membership = membership;
            replica.membership_id = Some(id);
        }
    }

    /// Plants a fault: the next command is applied as if it did nothing.
    #[cfg(all(feature = "raft", any(test, feature = "testing")))]
    pub(crate) fn skip_next_command(&self) {
        self.skip_next.store(true, Ordering::Release);
    }

    /// Puts another state in place of this one: that of tables which the store shows by now. Gives
    /// the one before back: dropping it takes time.
    #[cfg_attr(not(feature = "raft"), expect(dead_code, reason = "for clusters"))]
    pub(crate) fn replace(&self, replica: Replica) -> Replica {
        let mut current = self.replica.write();
        let Load { stale, behind, tail, longest_row: _, unwritten, unrecorded, debt } = &self.load;
        for load in [stale, behind, tail, unwritten, unrecorded, &**debt] {
            load.store(0, Ordering::Relaxed);
        }
        self.log_clock.saw(replica.kv.as_view().timestamp());
        self.deadlines.ask();
        self.tables.store(Arc::clone(replica.kv.as_view().tables()));
        // Nobody here knows what the entries in between have changed.
        self.watchers.changed_unknown(current.last.map_or(LogIndex(0), |last| last.index.next()));
        let before = std::mem::replace(&mut *current, replica);
        drop(current);
        self.watchers.wake();
        before
    }

    /// Stops the store: an entry is in the log, and rows that it looks at, which could be read a
    /// moment ago, cannot be now. What follows it cannot be applied either.
    #[cold]
    fn halt(&self, error: &StorageError) -> Error {
        self.torn.store(true, Ordering::Release);
        self.store.log().poison(&format!("a committed entry could not be applied: {error}"));
        Error::OutcomeUnknown { cause: error.to_string().into() }
    }

    /// Stops the store for good: after a panic in one of its threads nobody knows what is half
    /// done. Whoever waits for a sync or for compaction is told.
    pub(crate) fn stop(&self, cause: &str) {
        self.torn.store(true, Ordering::Release);
        self.store.log().poison(cause);
        self.throttle.close();
    }
}

/// Counts what is still to be written: tables of what is in memory, and before them what the past
/// is to have of it, which is about as long as the log. Under the replica's lock.
fn owe(load: &Load, keeping: &Keeping, replica: &Replica) {
    let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
    let unwritten = replica.kv.unwritten_bytes();
    let past = if keeping.is_asked() { of(&load.unrecorded) + of(&load.behind) } else { 0 };
    load.unwritten.store(unwritten, Ordering::Relaxed);
    load.debt.store(unwritten.saturating_add(past), Ordering::Relaxed);
}
