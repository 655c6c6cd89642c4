//! [`StateMachine`]: applies what openraft says is committed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::FutureExt;
use futures_util::stream::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend};

use crate::engine::machine::Machine;
use crate::engine::pressure::Marks;
use crate::engine::replay::Replica;
use crate::error::Result;
use crate::raft::applied_watch::{AppliedMark, AppliedWatch};
use crate::raft::io_error::io_error;
use crate::raft::snapshot::{
    NamedSnapshot, SnapshotBuilder, SnapshotData, Snapshots, stored_membership_of,
};
use crate::raft::type_config::{Answer, TypeConfig, log_id_of, membership_of, raft_log_id_of};
use crate::state::Looked;

/// Most entries that are applied under one lock. More: fewer locks; fewer: readers and the freeze
/// of a snapshot wait less.
const BATCH_MAX: usize = 512;

/// Called when a snapshot is due.
///
/// `false`: nobody could be asked. Otherwise what it is given is called when the question has
/// arrived, whatever becomes of it.
pub(crate) type OnPressure = Arc<dyn Fn(Arrived) -> bool + Send + Sync>;

/// See [`OnPressure`].
pub(crate) type Arrived = Box<dyn FnOnce() + Send>;

/// The state of one node, as openraft drives it.
///
/// What it has applied can be read at once; on the disk it is when a snapshot was built, and until
/// then the log has it. After a restart it is what the newest snapshot holds, and openraft applies
/// the rest again, up to what it knows to be committed.
pub struct StateMachine {
    machine: Arc<Machine>,
    snapshots: Arc<Snapshots>,
    applied: AppliedMark,
    on_pressure: OnPressure,
    /// Whether a snapshot was asked for that was not built yet.
    asked: Arc<AtomicBool>,
}

impl StateMachine {
    /// `on_pressure` is called when a snapshot is due, from the task that applies, once for each
    /// snapshot; it must not block.
    pub(crate) fn new(machine: Arc<Machine>, marks: Marks, on_pressure: OnPressure) -> Self {
        let applied = AppliedMark::new(machine.replica.read().last);
        let snapshots = Arc::new(Snapshots::new(Arc::clone(&machine), marks));
        Self { machine, snapshots, applied, on_pressure, asked: Arc::default() }
    }

    /// Where to wait for an entry to be applied.
    #[must_use]
    pub fn applied(&self) -> AppliedWatch {
        self.applied.watch()
    }

    /// Applies a batch, shows it, and answers.
    async fn apply_batch(&self, batch: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let answers = if self.machine.store.tables().is_empty() {
            apply_all(&self.machine, batch)
        } else {
            // A row that is overwritten may have to be looked for on the disk.
            let machine = Arc::clone(&self.machine);
            let applied = tokio::task::spawn_blocking(move || apply_all(&machine, batch)).await;
            applied.map_err(io::Error::other)?
        };
        let answers = answers.map_err(|error| io_error(&error))?;
        let last = self.machine.replica.read().last;
        self.applied.advance(last);
        for (responder, answer) in answers {
            responder.send(answer);
        }
        self.machine.watchers.wake();
        self.ask_for_snapshot();
        Ok(())
    }

    fn ask_for_snapshot(&self) {
        if self.snapshots.is_due()
            && self.snapshots.may_build()
            && !self.asked.swap(true, Ordering::AcqRel)
        {
            let asked = Arc::clone(&self.asked);
            // openraft may drop what it is asked, while it has not noticed the end of the snapshot
            // before; then the next batch asks again.
            let arrived = Box::new(move || asked.store(false, Ordering::Release));
            if !(self.on_pressure)(arrived) {
                // So while a log is replayed before the node is there.
                self.asked.store(false, Ordering::Release);
            }
        }
    }
}

impl fmt::Debug for StateMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateMachine").field("applied", &self.applied).finish_non_exhaustive()
    }
}

/// Who is to be answered, and what.
type Answers = Vec<(ApplyResponder<TypeConfig>, Answer)>;

/// Applies entries under one lock. Nobody is answered before all of them can be read.
fn apply_all(machine: &Machine, batch: Vec<EntryResponder<TypeConfig>>) -> Result<Answers> {
    let mut answers = Vec::new();
    let mut replica = machine.replica.write();
    for (entry, responder) in batch {
        let answer = apply_one(machine, &mut replica, entry)?;
        if let Some(responder) = responder {
            answers.push((responder, answer));
        }
    }
    Ok(answers)
}

fn apply_one(
    machine: &Machine,
    replica: &mut Replica,
    entry: EntryOf<TypeConfig>,
) -> Result<Answer> {
    let id = log_id_of(&entry.log_id());
    if replica.last.is_some_and(|last| id.index <= last.index) {
        // It is in the state: after a restart openraft may apply again what a snapshot holds.
        return Ok(Answer::default());
    }
    match entry.payload {
        EntryPayload::Blank => {
            machine.apply_blank(replica, id, None);
            Ok(Answer::default())
        }
        EntryPayload::Membership(membership) => {
            let membership = membership_of(&membership).map_err(|error| {
                crate::error::Error::Serialization { index: id.index, reason: error.to_string() }
            })?;
            machine.apply_blank(replica, id, Some(membership));
            Ok(Answer::default())
        }
        EntryPayload::Normal(proposal) => {
            let (clock, bytes) = (proposal.clock(), proposal.bytes());
            let applied = machine.apply(
                replica,
                id,
                clock,
                proposal.into_command(),
                Looked::default(),
                bytes,
            )?;
            Ok(Answer(Some(applied)))
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>)> {
        let replica = self.machine.replica.read();
        Ok((replica.last.map(raft_log_id_of), stored_membership_of(&replica)))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut has_more = true;
        while has_more {
            let mut batch = Vec::new();
            let mut next = entries.next().await;
            let mut failed = None;
            loop {
                match next {
                    Some(Ok(item)) => batch.push(item),
                    Some(Err(error)) => failed = Some(error),
                    None => has_more = false,
                }
                if !has_more || failed.is_some() || batch.len() >= BATCH_MAX {
                    break;
                }
                // What is there already joins the batch; nobody waits for what is not.
                let Some(ready) = entries.next().now_or_never() else { break };
                next = ready;
            }
            if !batch.is_empty() {
                self.apply_batch(batch).await?;
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        if force || (self.snapshots.may_build() && self.applied.watch().last().is_some()) {
            return Some(self.get_snapshot_builder().await);
        }
        self.asked.store(false, Ordering::Release);
        None
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (asked, snapshots) = (Arc::clone(&self.asked), Arc::clone(&self.snapshots));
        SnapshotBuilder::new(snapshots, move || asked.store(false, Ordering::Release))
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let SnapshotData::Whole(snapshot) = snapshot else { return Ok(()) };
        let snapshots = Arc::clone(&self.snapshots);
        let installed = tokio::task::spawn_blocking(move || snapshots.install(&snapshot)).await;
        installed.map_err(io::Error::other)?.map_err(|error| io_error(&error))?;
        let last = self.machine.replica.read().last;
        self.applied.advance(last);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<NamedSnapshot>> {
        self.snapshots.current().map_err(|error| io_error(&error))
    }
}
