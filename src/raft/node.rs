//! One node of a cluster: openraft over a store, and what stands around it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::{ClientWriteResult, ReadPolicy};
use openraft::{Raft, ServerState};
use tokio::runtime::Handle;

use super::applied_watch::AppliedWatch;
use super::config::ClusterConfig;
use super::forward_queue::{ForwardQueue, Hop, Item};
use super::inflight::{Inflight, Waiting};
use super::peers::Peers;
use super::read_gate::{Freshness, ReadGate};
use super::receiving::Receiving;
use super::state_machine::StateMachine;
use super::status::ClusterStatus;
use super::type_config::{Proposal, Tell, TypeConfig, log_id_of};
use super::within::within;
use crate::command::limits::{Limits, validate_command};
use crate::command::{Command, Owner};
use crate::engine::machine::Machine;
use crate::engine::past::At;
use crate::engine::submission::Reply;
use crate::error::{Error, Result};
use crate::state::{Durability, StateView};
use crate::types::{LogId, LogIndex, NodeId};

/// How long to wait before the same question is asked again, where nothing else says when.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// openraft with our types.
pub(crate) type HtkvRaft = Raft<TypeConfig, StateMachine>;

/// A node that is open.
pub(crate) struct Node {
    this: Weak<Self>,
    runtime: Handle,
    /// Whose the ephemeral keys are that are written here.
    pub(super) owner: Owner,
    pub(super) raft: HtkvRaft,
    pub(super) machine: Arc<Machine>,
    pub(super) config: ClusterConfig,
    pub(super) peers: Arc<Peers>,
    limits: Limits,
    pub(super) inflight: Arc<Inflight>,
    pub(super) forwarding: ForwardQueue,
    pub(super) gate: ReadGate,
    applied: AppliedWatch,
    pub(super) receiving: Receiving,
    /// The index at which this node found that its state is another than the others' have, plus
    /// one; zero while it is not.
    diverged: AtomicU64,
    /// Whether openraft is known to have stopped.
    ended: AtomicBool,
    closed: AtomicBool,
}

/// What a node is put together from.
pub(super) struct Parts {
    pub(super) runtime: Handle,
    pub(super) owner: Owner,
    pub(super) raft: HtkvRaft,
    pub(super) machine: Arc<Machine>,
    pub(super) config: ClusterConfig,
    pub(super) peers: Arc<Peers>,
    pub(super) limits: Limits,
    pub(super) forwarding: ForwardQueue,
    pub(super) gate: ReadGate,
    pub(super) applied: AppliedWatch,
}

impl Node {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let Parts { owner, raft, machine, config, peers, limits, .. } = parts;
        let Parts { runtime, forwarding, gate, applied, .. } = parts;
        let store = &config.store;
        let inflight = Inflight::new(store.queue_commands_max, store.queue_bytes_max);
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            runtime,
            owner,
            raft,
            machine,
            config,
            peers,
            limits,
            inflight,
            forwarding,
            gate,
            applied,
            receiving: Receiving::default(),
            diverged: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn this(&self) -> Weak<Self> {
        Weak::clone(&self.this)
    }

    pub(super) fn id(&self) -> NodeId {
        self.machine.store.identity().node
    }

    pub(super) fn status(&self) -> ClusterStatus {
        ClusterStatus::of(&self.raft.metrics().borrow_watched())
    }

    /// Who leads, as far as this node knows.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow_watched().current_leader.map(NodeId)
    }

    /// What a question to the leader gives. `None` when it gave nothing and another node leads by
    /// now: one that is cut off would keep everybody waiting who asked it until their deadline.
    pub(super) async fn while_leading<T>(
        &self,
        leader: NodeId,
        asked: impl Future<Output = T>,
    ) -> Option<T> {
        let overtaken = async {
            self.led_by_other(leader).await;
            // A leader that has handed over answers what it was given before.
            tokio::time::sleep(self.config.election_timeout.0).await;
        };
        tokio::select! {
            biased;
            answer = asked => Some(answer),
            () = overtaken => None,
        }
    }

    /// Returns when another node than this one leads, as far as this node knows.
    async fn led_by_other(&self, leader: NodeId) {
        let mut metrics = self.raft.server_metrics();
        let is_other = |id: u64| id != leader.0;
        while !metrics.borrow_watched().current_leader.is_some_and(is_other) {
            if metrics.changed().await.is_err() {
                // openraft has stopped: nobody will ever be known to lead.
                return std::future::pending().await;
            }
        }
    }

    /// The last entry applied.
    pub(super) fn applied(&self) -> Option<LogIndex> {
        self.applied.last().map(|last| last.index)
    }

    pub(super) fn applied_watch(&self) -> AppliedWatch {
        self.applied.clone()
    }

    /// Whether this node may answer anything.
    ///
    /// # Errors
    /// `Closed`, `Diverged`, `Poisoned`.
    pub(super) fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed("closed"));
        }
        match self.diverged.load(Ordering::Acquire) {
            0 => self.machine.store.log().check().map_err(Error::from),
            index => Err(Error::Diverged { index: LogIndex(index - 1) }),
        }
    }

    /// Whether this node may take writes: also those that another one decides about. One that
    /// openraft has stopped does not know who leads.
    ///
    /// # Errors
    /// As [`Self::check`]; `Closed` when openraft has stopped.
    pub(super) fn check_running(&self) -> Result<()> {
        self.check()?;
        if self.ended.load(Ordering::Acquire) {
            return Err(Error::Closed("openraft has stopped: see the status"));
        }
        Ok(())
    }

    /// Takes down that openraft has stopped.
    pub(super) fn note_end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Knows nothing of the end of openraft, as in the moment before it is taken down.
    #[cfg(test)]
    pub(super) fn forget_end(&self) {
        self.ended.store(false, Ordering::Release);
    }

    /// Whether openraft has stopped, or is about to.
    pub(super) fn is_ending(&self) -> bool {
        let mut metrics = self.raft.metrics();
        let says_so = {
            let metrics = metrics.borrow_watched();
            metrics.running_state.is_err() || metrics.state == ServerState::Shutdown
        };
        // One that panicked has not said so, and says nothing any more.
        says_so || std::iter::from_fn(|| metrics.changed().now_or_never()).any(|told| told.is_err())
    }

    /// Stops serving: the state is not what the others have. Nothing more is taken from them
    /// either, and nobody gets a snapshot of it.
    pub(super) fn quarantine(&self, index: LogIndex) {
        if self.diverged.swap(index.next().0, Ordering::AcqRel) != 0 {
            return;
        }
        tracing::error!(node = %self.id(), %index, "the state differs from that of the others");
        self.machine.watchers.stop();
        let raft = self.raft.clone();
        tokio::spawn(async move {
            if let Err(error) = raft.shutdown().await {
                tracing::error!(%error, "openraft did not stop");
            }
        });
    }

    /// Hands a command in. The reply comes when it is applied here or on the leader, or at its
    /// deadline.
    pub(super) fn submit(&self, command: Command, reply: Reply, hop: Hop) {
        let checked = self.check_running().and_then(|()| {
            validate_command(&command, &self.limits)?;
            Ok(())
        });
        if let Err(error) = checked {
            return reply.answer(Err(error));
        }
        let proposal = Proposal::new(self.machine.log_clock.now(), command);
        let deadline = self.deadline();
        // Whoever is refused was told.
        if let Some(waiting) = self.inflight.admit(reply, proposal.bytes(), deadline) {
            // In the queue, where it would overtake what is there, and where rows are looked at.
            let at_once = match hop {
                Hop::Any => self.forwarding.is_empty() && self.raft.is_leader(),
                Hop::Last => true,
            };
            if at_once && !self.must_look() {
                self.propose(proposal, &waiting, hop);
            } else {
                self.forwarding.push(proposal, waiting, hop);
            }
        }
    }

    /// Whether it is asked, before a command is proposed, if the rows that it looks at can be read:
    /// where this node decides alone, and has rows on the disk. An entry that looks at what cannot
    /// be read stops whoever applies it, and the only voter would stop for good. Where several vote
    /// the one that is damaged stops, and the others go on.
    pub(super) fn must_look(&self) -> bool {
        self.peers.members().is_some_and(|members| members.is_only(self.id()))
            && !self.machine.store.tables().is_empty()
    }

    /// Answers those whose command looks at what cannot be read, and gives back the others.
    pub(super) async fn look(&self, batch: Vec<Item>) -> Vec<Item> {
        let machine = Arc::clone(&self.machine);
        // It may read from the disk.
        let looked = tokio::task::spawn_blocking(move || {
            let readable = |item: &Item| match machine.check_looks(item.proposal.command(), 0) {
                // What there is room for the log says.
                Ok(_) | Err(Error::DiskFull(_)) => true,
                Err(error) => {
                    item.waiting.answer(Err(error));
                    false
                }
            };
            batch.into_iter().filter(readable).collect()
        });
        // Whoever is dropped was told that the node stopped.
        looked.await.unwrap_or_default()
    }

    /// Gives a command to openraft on this node.
    pub(super) fn propose(&self, proposal: Proposal, waiting: &Arc<Waiting>, hop: Hop) {
        let told = Arc::clone(waiting);
        let node = Weak::clone(&self.this);
        let again = proposal.clone();
        let tell = Tell::new(move |result: ClientWriteResult<TypeConfig>| {
            tell(result, &node, again, told, hop);
        });
        let raft = self.raft.clone();
        let mut handed_in =
            Box::pin(async move { raft.client_write_ff(proposal, Some(tell)).await });
        // There is room in the channel, or this node is overloaded: nobody waits for room.
        let hand_in = || tokio::task::unconstrained(handed_in.as_mut()).now_or_never();
        match catch_unwind(AssertUnwindSafe(hand_in)) {
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(fatal))) => waiting.answer(Err(self.stopped(&fatal.to_string()))),
            // Where whoever waited for the end of openraft was given up in the middle, as when its
            // runtime is shut down, openraft panics at each later call.
            Err(_) => waiting.answer(Err(self.stopped("it has ended"))),
            Ok(None) if self.is_ending() => {
                // It waits for the end of openraft, and to the last.
                self.runtime.spawn(handed_in);
                waiting.answer(Err(self.stopped("it ends")));
            }
            Ok(None) => {
                let text = "openraft takes no more commands at the moment".to_owned();
                waiting.answer(Err(Error::Overloaded(text)));
            }
        }
    }

    /// Why nothing can be done any more.
    pub(super) fn stopped(&self, why: &str) -> Error {
        tracing::debug!(why, "openraft has stopped");
        self.check().err().unwrap_or(Error::Closed("closed"))
    }

    /// Answers nothing any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.machine.rest_merges();
        self.machine.end_watching();
    }

    /// When a call that begins now must have its answer, by the clock's elapsed time.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline_in(self.config.deadline)
    }

    /// The moment when `time` has passed, by the clock's elapsed time.
    pub(super) fn deadline_in(&self, time: Duration) -> Duration {
        self.machine.env.clock.elapsed().saturating_add(time)
    }

    /// How long it is until then.
    pub(super) fn until(&self, deadline: Duration) -> Duration {
        deadline.saturating_sub(self.machine.env.clock.elapsed())
    }

    /// The index up to which a read must have applied, asked of the leader.
    ///
    /// # Errors
    /// `Unavailable` when there was none to be asked before the deadline; `Closed`, `Poisoned`.
    pub(super) async fn read_index(
        &self,
        freshness: Freshness,
        deadline: Duration,
    ) -> Result<LogIndex> {
        let asks = async {
            // A question or its answer may be lost, and everybody who waits would wait for it. A
            // leader that is slow, and not silent, is given more time each time.
            let mut patience = self.config.election_timeout.1;
            loop {
                if let Some(index) = self.ask_index(freshness, patience).await? {
                    return Ok(index);
                }
                // An election takes longer than this.
                tokio::time::sleep(PAUSE).await;
                patience = patience.saturating_mul(2).min(self.config.deadline);
            }
        };
        within(self.until(deadline), "no leader could be asked", asks).await?
    }

    /// Asks once. `None` when nobody could tell.
    async fn ask_index(
        &self,
        freshness: Freshness,
        patience: Duration,
    ) -> Result<Option<LogIndex>> {
        let leader = match self.own_index(freshness).await? {
            Ok(id) => return Ok(Some(id.index)),
            Err(leader) => leader.filter(|&leader| leader != self.id()),
        };
        match leader {
            None => Ok(None),
            Some(leader) => {
                let asked = self.peers.read_index(leader, freshness, patience);
                Ok(self.while_leading(leader, asked).await.flatten())
            }
        }
    }

    /// What this node says as the leader, or who leads.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`.
    pub(super) async fn own_index(
        &self,
        freshness: Freshness,
    ) -> Result<std::result::Result<LogId, Option<NodeId>>> {
        let policy = match freshness {
            Freshness::Lease => ReadPolicy::LeaseRead,
            Freshness::Quorum => ReadPolicy::ReadIndex,
        };
        match self.raft.get_read_linearizer(policy).await {
            Ok(linearizer) => Ok(Ok(log_id_of(linearizer.read_log_id().log_id()))),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Ok(Err(to.leader_id.map(NodeId)))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Ok(Err(None)),
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(&fatal.to_string())),
        }
    }

    /// Returns when the entry is applied here.
    ///
    /// # Errors
    /// `Unavailable` at the deadline.
    pub(super) async fn wait_applied(&self, index: LogIndex, deadline: Duration) -> Result<()> {
        let what = format!("this node has not applied entry {index}");
        let mut applied = self.applied.clone();
        let reached = within(self.until(deadline), &what, applied.wait_for(index)).await?;
        reached.map(drop).ok_or(Error::Closed("closed"))
    }

    /// A state of the past, as this node has it.
    ///
    /// # Errors
    /// `Diverged`, `Poisoned`; those of `SingleNodeEngine::snapshot_at`.
    pub(super) fn state_at(&self, at: At) -> Result<StateView> {
        self.check()?;
        self.machine.check_readable()?;
        self.machine.state_at(at)
    }

    /// The state as it is applied here.
    ///
    /// # Errors
    /// `Diverged`, `Poisoned`.
    pub(super) fn view(&self) -> Result<StateView> {
        self.check()?;
        self.machine.check_readable()?;
        Ok(self.machine.replica.view())
    }
}

/// Passes on what became of a command.
fn tell(
    result: ClientWriteResult<TypeConfig>,
    node: &Weak<Node>,
    proposal: Proposal,
    waiting: Arc<Waiting>,
    hop: Hop,
) {
    match result {
        Ok(response) => match response.data.0 {
            Some(applied) => waiting.answer(Ok(applied.with_durability(Durability::Synced))),
            None => unreachable!("applying a command gives an outcome"),
        },
        // It was not appended.
        Err(ClientWriteError::ForwardToLeader(ForwardToLeader { leader_id, .. })) => {
            match (hop, node.upgrade()) {
                (Hop::Any, Some(node)) => node.forwarding.push_back(proposal, waiting),
                _ => waiting.answer(Err(Error::NotLeader { leader: leader_id.map(NodeId) })),
            }
        }
        Err(ClientWriteError::LogEntryDiscarded(_)) => {
            let cause = "the leader changed while it was under way".into();
            waiting.answer(Err(Error::OutcomeUnknown { cause }));
        }
        Err(error) => waiting.answer(Err(Error::Validation(error.to_string()))),
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("id", &self.id()).finish_non_exhaustive()
    }
}
