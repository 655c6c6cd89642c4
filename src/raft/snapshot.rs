//! Snapshots: a state in tables, written beside the writes, and installed in place of another.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::storage::RaftSnapshotBuilder;
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use parking_lot::Mutex;

use crate::engine::back_off::BackOff;
use crate::engine::compaction::{Effort, Frozen, KeepLog, Merges, Rules, compact};
use crate::engine::machine::Machine;
use crate::engine::pressure::{Marks, is_due};
use crate::engine::replay::{Replica, checkpoint};
use crate::error::Result;
use crate::raft::io_error::io_error;
use crate::raft::type_config::{TypeConfig, raft_log_id_of, raft_membership_of};
use crate::storage::merge_choice::MergeGoal;
use crate::storage::snapshot_incoming::Snapshot;
use crate::storage::table_set::TableSet;

/// What a snapshot consists of besides its name.
#[derive(Debug)]
pub enum SnapshotData {
    /// Nothing: the state before any entry. Not sent to anybody.
    Nothing,
    /// A manifest and its tables.
    Whole(Snapshot),
}

/// A snapshot with its name.
pub(crate) type NamedSnapshot = SnapshotOf<TypeConfig, SnapshotData>;

/// Writes and installs the snapshots of one node, one at a time.
#[derive(Debug)]
pub(crate) struct Snapshots {
    machine: Arc<Machine>,
    rules: Rules,
    compaction: Mutex<Compaction>,
    /// Whether the last one has set a tail aside that it could not write.
    tail_left: AtomicBool,
    /// Whether the last one has left merges to the next.
    merges_left: AtomicBool,
}

#[derive(Debug)]
struct Compaction {
    /// A tail that was set aside and could not be written.
    frozen: Option<Frozen>,
    /// Of tails that could not be written.
    tail: BackOff,
    /// Of merges: one bad block must not keep the tail in memory.
    merges: BackOff,
}

impl Snapshots {
    pub(crate) fn new(machine: Arc<Machine>, marks: Marks) -> Self {
        let compaction = Compaction { frozen: None, tail: BackOff::NONE, merges: BackOff::NONE };
        // openraft says when the log behind a snapshot goes.
        let rules = Rules { keep_log: KeepLog::Keep, marks, merges: Merges::Do };
        let (tail_left, merges_left) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { machine, rules, compaction: Mutex::new(compaction), tail_left, merges_left }
    }

    /// Whether it is time to build one.
    pub(crate) fn is_due(&self) -> bool {
        self.tail_left.load(Ordering::Relaxed)
            || is_due(self.machine.load.pressure(), self.rules.marks)
            || (self.merges_left.load(Ordering::Relaxed) && self.may_merge())
    }

    /// Whether merges may be tried again.
    fn may_merge(&self) -> bool {
        let Some(compaction) = self.compaction.try_lock() else { return false };
        compaction.merges.left(self.machine.env.clock.elapsed()).is_zero()
    }

    /// Whether one may be built now: not while another one is, nor soon after a failure.
    pub(crate) fn may_build(&self) -> bool {
        let Some(compaction) = self.compaction.try_lock() else { return false };
        compaction.tail.left(self.machine.env.clock.elapsed()).is_zero()
    }

    /// The newest snapshot; `None` before the first. Reads no file.
    ///
    /// # Errors
    /// `Serialization` for a membership of a newer release.
    pub(crate) fn current(&self) -> Result<Option<NamedSnapshot>> {
        let held = self.machine.store.tables().hold();
        held.map(|held| named(Some(Snapshot::Held(held)))).transpose()
    }

    /// Writes what is in memory only to tables, merges what is due, and returns the state that is
    /// in tables then. Blocks for as long as that takes. Where it could not be written, which is no
    /// fault of the node, the state that was in tables before.
    ///
    /// # Errors
    /// The store has stopped.
    fn build(&self) -> Result<NamedSnapshot> {
        let mut compaction = self.compaction.lock();
        let threshold = self.rules.marks.stale.min(self.rules.marks.stale_max);
        let effort = Effort::Due { threshold };
        let started = self.machine.env.clock.elapsed();
        let is_time = compaction.merges.left(started).is_zero();
        let merges = if is_time { Merges::Do } else { Merges::Leave };
        let rules = Rules { merges, ..self.rules };
        let result = compact(&self.machine, &mut compaction.frozen, rules, effort);
        self.tail_left.store(compaction.frozen.is_some(), Ordering::Relaxed);
        let now = self.machine.env.clock.elapsed();
        if let Err(error) = result {
            self.machine.store.log().check()?;
            if compaction.frozen.is_some() {
                compaction.tail.failed(now);
            } else {
                compaction.tail = BackOff::NONE;
                compaction.merges.failed(now);
            }
            metrics::counter!(crate::metrics::COMPACTIONS_TOTAL, "result" => "failed").increment(1);
            tracing::warn!(%error, "a snapshot could not be written; nothing is lost");
        } else {
            let goal = MergeGoal::Due { compaction_threshold: threshold };
            let is_left = self.machine.store.tables().is_merge_due(goal);
            self.merges_left.store(is_left, Ordering::Relaxed);
            compaction.tail = BackOff::NONE;
            if merges == Merges::Do {
                compaction.merges = BackOff::NONE;
            }
            // A transfer that was broken off may never be gone on with.
            self.machine.store.tables().discard_incoming();
        }
        self.current()?.map_or_else(|| named(None), Ok)
    }

    /// Puts the state of a snapshot in place of the machine's. Blocks.
    ///
    /// After a crash: the old state, or that of the snapshot.
    ///
    /// # Errors
    /// Those of the installation; then the state is as before.
    pub(crate) fn install(&self, snapshot: &Snapshot) -> Result<()> {
        // One may take minutes, and what it merges is given up.
        let mut compaction = self.machine.while_merges_rest(|| self.compaction.lock());
        let machine = &self.machine;
        let applied = machine.replica.read().last.map(|last| last.index);
        if Some(snapshot.head().last.index) < applied {
            // All of it was applied, and more: it was overtaken on its way.
            return Ok(());
        }
        // What openraft took off the log before this must be gone first: with the manifest and with
        // entries of another leader behind it no node can be started.
        machine.store.log().sync()?;
        let (set, head) = machine.store.install(snapshot)?;
        let mut replica = checkpoint(Some(&head), set)?;
        replica.kv.track_digest()?;
        // What was set aside is older than what is installed.
        compaction.frozen = None;
        self.tail_left.store(false, Ordering::Relaxed);
        drop(machine.replace(replica));
        Ok(())
    }
}

/// The name of a snapshot, as its manifest has it.
pub(crate) fn named(snapshot: Option<Snapshot>) -> Result<NamedSnapshot> {
    let replica = checkpoint(snapshot.as_ref().map(Snapshot::head), TableSet::empty())?;
    let meta = SnapshotMetaOf::<TypeConfig> {
        last_log_id: replica.last.map(raft_log_id_of),
        last_membership: stored_membership_of(&replica),
    };
    let snapshot = snapshot.map_or(SnapshotData::Nothing, SnapshotData::Whole);
    Ok(NamedSnapshot { meta, snapshot })
}

/// The membership of a replica, as openraft has it.
pub(crate) fn stored_membership_of(replica: &Replica) -> StoredMembershipOf<TypeConfig> {
    let Some(membership) = &replica.membership else {
        return StoredMembershipOf::<TypeConfig>::default();
    };
    let id = replica.membership_id.map(raft_log_id_of);
    StoredMembershipOf::<TypeConfig>::new(id, raft_membership_of(membership))
}

/// Builds one snapshot.
pub struct SnapshotBuilder {
    snapshots: Arc<Snapshots>,
    /// Called when it is built, or could not be.
    done: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl SnapshotBuilder {
    pub(crate) fn new(
        snapshots: Arc<Snapshots>,
        done: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        Self { snapshots, done: Some(Box::new(done)) }
    }
}

impl fmt::Debug for SnapshotBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotBuilder").finish_non_exhaustive()
    }
}

impl Drop for SnapshotBuilder {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done();
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<NamedSnapshot> {
        let snapshots = Arc::clone(&self.snapshots);
        let built = tokio::task::spawn_blocking(move || snapshots.build()).await;
        built.map_err(io::Error::other)?.map_err(|error| io_error(&error))
    }
}
