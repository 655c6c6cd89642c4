//! The engine of a node that is one voter of several.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::block_on::block_on;
use super::config::ClusterConfig;
use super::forward_queue::Hop;
use super::node::Node;
use super::open::{Opened, open};
use super::read_gate::Freshness;
use super::status::ClusterStatus;
use super::transport::{BoxFuture, RequestHandler, Transport};
use super::type_config::TypeConfig;
use super::within::within;
use crate::command::membership::Peer;
use crate::command::{Command, Owner, Scope};
use crate::engine::answering::Answering;
use crate::engine::api::{KvEngine, SnapshotEngine};
use crate::engine::lease::Lease;
use crate::engine::past::At;
use crate::engine::read_context::ReadContext;
use crate::engine::scoped::Scoped;
use crate::engine::session::Session;
use crate::engine::submission::{Callback, Reply, Slot, Submission};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::replication::{CommandSubmitter, SnapshotProvider};
use crate::state::{ApplyOutcome, StateView};
use crate::types::{LogIndex, NodeId, RandomId, Version};

/// How long [`ClusterEngine::shutdown`] waits for what is under way.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// How long [`ClusterEngine::snapshot_now`] waits before it asks again, when nothing changes.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(100);

/// A store that is one voter of a cluster, or becomes one.
///
/// It opens the same directory as [`SingleNodeEngine`](crate::SingleNodeEngine), and that one opens
/// it again once this node is the only voter. Writes may be handed in on any node: one that does
/// not lead passes them on. `Ok` means that a majority of the voters have the write on their
/// devices, and that this node's default reads see it.
///
/// It has a runtime of its own, so all of it may be used from synchronous code and under any
/// executor. A synchronous call blocks the thread: under an executor use [`KvEngine::submit_async`]
/// and [`Self::view_at`].
///
/// # After a crash
/// Everything that was answered `Ok` is there as long as a majority of the voters keep their
/// directories. A directory must never be put back to an older copy of itself, and a wiped one
/// never comes back under its old id: it is refused, and joins under a new one.
pub struct ClusterEngine {
    pub(super) node: Arc<Node>,
    handler: Arc<dyn RequestHandler>,
    /// Taken when it is shut down.
    running: Mutex<Option<Running>>,
}

/// What ends with the engine.
struct Running {
    runtime: Runtime,
    log: super::log_store::LogStore,
}

impl ClusterEngine {
    /// Opens the directory, creates it where there is none, and starts the node. It takes part as
    /// soon as it is a member: of a new cluster by [`Self::initialize`] on exactly one node, of one
    /// that exists by [`Self::add_learner`] on its leader. A directory that was a member before
    /// takes part at once.
    ///
    /// `transport` brings requests to other nodes; what they send is given to [`Self::handler`].
    ///
    /// # Errors
    /// Those of [`SingleNodeEngine::with_config`](crate::SingleNodeEngine::with_config);
    /// `IdentityMismatch` when the directory belongs to another cluster or node than `config` says.
    pub fn open(config: ClusterConfig, transport: Arc<dyn Transport>) -> Result<Self> {
        Self::open_in(Env::system(), config, transport)
    }

    /// As [`Self::open`], with another disk, clock and source of randomness.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_in(env: Env, config: ClusterConfig, transport: Arc<dyn Transport>) -> Result<Self> {
        config.validate()?;
        let Opened { node, handler, runtime, log } = open(env, config, transport)?;
        Ok(Self { node, handler, running: Mutex::new(Some(Running { runtime, log })) })
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.node.id()
    }

    /// The cluster that the directory belongs to: what other nodes are created for.
    #[must_use]
    pub fn cluster_id(&self) -> RandomId {
        self.node.machine.store.identity().cluster
    }

    /// What takes the requests of other nodes: a server gives it the bytes it received, and sends
    /// back those it returns.
    #[must_use]
    pub fn handler(&self) -> Arc<dyn RequestHandler> {
        Arc::clone(&self.handler)
    }

    /// Takes a request of another node. As `handler().handle(request)`.
    pub fn handle(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        self.handler.handle(request)
    }

    /// Makes the first members of a new cluster, on exactly one of them. All of them are open, new,
    /// and of this cluster. Returns when a leader was elected.
    ///
    /// # Errors
    /// `Validation`: this node is not among them, or was a member before. `Unavailable`: one of
    /// them could not be asked who it is. `IdentityMismatch`: one of them is not who it should be.
    pub async fn initialize(&self, members: BTreeMap<NodeId, String>) -> Result<()> {
        let node = Arc::clone(&self.node);
        self.run(async move {
            let mut peers = BTreeMap::new();
            for (id, address) in members {
                let peer = node.peers.introduce(id, address, node.config.deadline).await?;
                peers.insert(id.0, peer);
            }
            match node.raft.initialize(peers).await {
                Ok(()) => {}
                Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                    let text = "the cluster was initialized before: open all nodes and go on";
                    return Err(Error::Validation(text.to_owned()));
                }
                Err(RaftError::APIError(error)) => {
                    return Err(Error::Validation(error.to_string()));
                }
                Err(RaftError::Fatal(fatal)) => return Err(node.stopped(&fatal.to_string())),
            }
            within(node.config.deadline, "no leader was elected", node.await_leader()).await?
        })
        .await
    }

    /// Lets a node join that gets the log and does not vote. It is open, new, and of this cluster.
    /// Returns when the membership is committed and, with `Wait::CaughtUp`, when the node lacks no
    /// more of the log than [`ClusterConfig::log_kept`] entries, or 1,024 where that is less. A
    /// member that has another address by now gets it.
    ///
    /// # Errors
    /// `NotLeader`: call it on the leader; also where this node led and does not any more, and the
    /// other one may have joined. `Unavailable`, `IdentityMismatch` as in [`Self::initialize`];
    /// `Unavailable` at the deadline, also when it has joined and not caught up: the text says
    /// which, and it may be called again. `Validation`: another change is under way.
    pub async fn add_learner(&self, id: NodeId, address: String, wait: Wait) -> Result<()> {
        let node = Arc::clone(&self.node);
        self.run(async move {
            let time = node.config.deadline;
            let peer = node.peers.introduce(id, address, time).await?;
            node.claim_own_seat().await?;
            node.add_learner(id, peer, wait).await
        })
        .await
    }

    /// Makes these nodes the voters, by a joint membership: at no moment can two majorities decide
    /// apart from each other. New voters were learners before. Those who are no longer voters
    /// become learners with `Retain::AsLearners`, and leave the cluster otherwise. A leader that is
    /// no longer a voter hands the lead over soon afterwards.
    ///
    /// # Errors
    /// `NotLeader`: call it on the leader. `Validation`: one of them is no learner, or another
    /// change is under way. `Unavailable` at the deadline: the change goes on as long as this node
    /// leads.
    pub async fn change_membership(&self, voters: BTreeSet<NodeId>, retain: Retain) -> Result<()> {
        let node = Arc::clone(&self.node);
        self.run(async move {
            node.claim_own_seat().await?;
            let voters: BTreeSet<u64> = voters.iter().map(|id| id.0).collect();
            let (changing, deadline) = (Arc::clone(&node), node.config.deadline);
            // By itself: whoever does not wait any longer must not leave it halfway. openraft takes
            // the second step, out of the joint membership, when it is polled after the first.
            let change = tokio::spawn(async move {
                let change = ChangeMembers::ReplaceAllVoters(voters);
                let retains = retain == Retain::AsLearners;
                changed(changing.raft.change_membership(change, retains).await, &changing)?;
                changing.hand_over_when_removed().await;
                Ok(())
            });
            let changed = within(deadline, "the change was not committed", change).await?;
            changed.map_err(|_| Error::Closed("closed"))?
        })
        .await
    }

    /// Takes learners out of the cluster.
    ///
    /// # Errors
    /// As [`Self::change_membership`].
    pub async fn remove_learners(&self, learners: BTreeSet<NodeId>) -> Result<()> {
        let node = Arc::clone(&self.node);
        self.run(async move {
            let learners = learners.iter().map(|id| id.0).collect();
            let change = node.raft.change_membership(ChangeMembers::RemoveNodes(learners), false);
            changed(
                within(node.config.deadline, "the change was not committed", change).await?,
                &node,
            )
        })
        .await
    }

    /// Hands the lead over to another voter, and returns when it leads.
    ///
    /// # Errors
    /// `NotLeader`: call it on the leader. `Validation`: it is no voter. `Unavailable`: it did not
    /// take over before the deadline; somebody else may have.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<()> {
        let node = Arc::clone(&self.node);
        self.run(async move {
            if !node.raft.is_leader() {
                return Err(Error::NotLeader { leader: node.leader() });
            }
            if !node.status().voters.contains(&to) {
                return Err(Error::Validation(format!("node {to} is no voter: make it one first")));
            }
            if to == node.id() {
                return Ok(());
            }
            let stopped =
                |fatal: openraft::errors::Fatal<TypeConfig>| node.stopped(&fatal.to_string());
            node.raft.trigger().transfer_leader(to.0).await.map_err(stopped)?;
            let mut metrics = node.raft.metrics();
            let taken = async {
                while metrics.borrow_watched().current_leader != Some(to.0) {
                    metrics.changed().await.map_err(|_| Error::Closed("closed"))?;
                }
                Ok(())
            };
            within(node.config.deadline, "the lead was not taken over", taken).await?
        })
        .await
    }

    /// Opens a session: its requests are applied once, however often they are sent and whoever
    /// leads meanwhile. Blocks.
    ///
    /// # Errors
    /// Those of [`Session::open`].
    pub fn session(self: &Arc<Self>) -> Result<Session<Self>> {
        Session::open(Arc::clone(self), self.node.machine.env.clone())
    }

    /// Grants a lease: keys that are there until it was not kept alive for `ttl`, by the clock of
    /// whoever leads. Blocks.
    ///
    /// # Errors
    /// Those of [`Lease::grant`].
    pub fn lease(self: &Arc<Self>, ttl: Duration) -> Result<Lease<Self>> {
        Lease::grant(Arc::clone(self), self.node.machine.env.clone(), ttl)
    }

    /// One scope of the cluster's state. What this node writes to [`Scope::Ephemeral`] is gone some
    /// time after it was restarted or removed.
    pub const fn scope(&self, scope: Scope) -> Scoped<'_, Self> {
        Scoped::new(self, scope)
    }

    /// Writes the state to tables now, so that the log before it can go. Returns when it is done.
    ///
    /// # Errors
    /// `Unavailable` at the deadline; `Closed`, `Poisoned`.
    pub async fn snapshot_now(&self) -> Result<()> {
        let node = Arc::clone(&self.node);
        self.run(async move { node.snapshot_now().await }).await
    }

    /// This node, as it sees itself and its cluster now.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        self.node.status()
    }

    /// Returns the status as soon as `wanted` holds for it.
    ///
    /// # Errors
    /// `Unavailable` when it did not within `time`; `Closed`.
    pub async fn wait_until(
        &self,
        time: Duration,
        mut wanted: impl FnMut(&ClusterStatus) -> bool + Send + 'static,
    ) -> Result<ClusterStatus> {
        let node = Arc::clone(&self.node);
        self.run(async move {
            let mut metrics = node.raft.metrics();
            let reached = async {
                loop {
                    let status = ClusterStatus::of(&metrics.borrow_watched());
                    if wanted(&status) {
                        return Ok(status);
                    }
                    metrics.changed().await.map_err(|_| Error::Closed("closed"))?;
                }
            };
            within(time, "the status is not as wanted", reached).await?
        })
        .await
    }

    /// One consistent state, as fresh as `context` says. For asynchronous code; [`KvEngine::view`]
    /// is the same and blocks.
    ///
    /// # Errors
    /// `Unavailable`: no leader could be asked before the deadline. `NotYet`: the version was not
    /// applied before the deadline. `Diverged`, `Poisoned`, `Closed`.
    pub async fn view_at(&self, context: ReadContext) -> Result<StateView> {
        let node = &self.node;
        match context {
            ReadContext::Local => {}
            ReadContext::Linearizable => node.gate.pass(Freshness::Quorum, node.deadline()).await?,
            ReadContext::Lease => node.gate.pass(Freshness::Lease, node.deadline()).await?,
            ReadContext::AtLeast(asked) => self.await_version(asked).await?,
            ReadContext::At(asked) => {
                self.await_version(asked).await?;
                let node = Arc::clone(node);
                // It may read megabytes.
                let read = tokio::task::spawn_blocking;
                let read = async move { read(move || node.state_at(At::Version(asked))).await };
                return self.run(async { read.await.map_err(|_| Error::Closed("closed"))? }).await;
            }
        }
        node.view()
    }

    async fn await_version(&self, asked: Version) -> Result<()> {
        let index = LogIndex::from(asked);
        if self.node.applied() >= Some(index) {
            return Ok(());
        }
        let node = Arc::clone(&self.node);
        let reached = self.run(async move { node.wait_applied(index, node.deadline()).await });
        match reached.await {
            Err(Error::Unavailable(_)) => {
                Err(Error::NotYet { asked, at: self.node.applied().map(Version::from) })
            }
            reached => reached,
        }
    }

    /// Runs on the node's runtime, so that whoever awaits it may be under any executor.
    async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let spawned = {
            let running = self.running.lock();
            let running = running.as_ref().ok_or(Error::Closed("closed"))?;
            running.runtime.spawn(future)
        };
        spawned.await.map_err(|_| Error::Closed("closed"))?
    }

    /// Stops the node and releases the directory; another handle may open it then. Bounded, unless
    /// the device hangs: ten seconds for openraft, and as many for what runs beside it. What is not
    /// finished by then is given up, as in a crash. Later calls do nothing.
    ///
    /// # Errors
    /// `Poisoned`: what was not acknowledged may be lost.
    pub async fn shutdown(&self) -> Result<()> {
        let Some(running) = self.running.lock().take() else { return Ok(()) };
        let node = Arc::clone(&self.node);
        let (send, receive) = tokio::sync::oneshot::channel();
        let ends = move || drop(send.send(end(running, &node, Ending::Orderly)));
        // A runtime cannot be ended from within one.
        let spawned = std::thread::Builder::new().name("htkv-shutdown".to_owned()).spawn(ends);
        spawned.map_err(|source| Error::Io {
            operation: "start a thread for",
            path: self.node.machine.store.directory().to_owned(),
            source: Arc::new(source),
        })?;
        receive.await.map_err(|_| Error::Closed("closed"))?
    }

    /// Lets this node, and no other, pass over the next command that it applies: a fault that the
    /// comparison of the nodes' states must find.
    #[cfg(any(test, feature = "testing"))]
    pub fn skip_next_command(&self) {
        self.node.machine.skip_next_command();
    }

    /// Ends the node as the death of its process would: nothing is finished, sent or put in order.
    /// Returns when the directory may be opened again.
    #[cfg(any(test, feature = "testing"))]
    pub fn kill(&self) {
        if let Some(running) = self.running.lock().take() {
            let node = Arc::clone(&self.node);
            // A runtime cannot be ended from within one.
            let ends = move || drop(end(running, &node, Ending::Sudden));
            let spawned = std::thread::Builder::new().name("htkv-kill".to_owned()).spawn(ends);
            drop(spawned.map(std::thread::JoinHandle::join));
        }
    }
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// What is under way is finished, and the directory left in order.
    Orderly,
    /// As if the process had died.
    #[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "for tests"))]
    Sudden,
}

/// Ends everything, in the order in which it depends on each other.
fn end(running: Running, node: &Arc<Node>, ending: Ending) -> Result<()> {
    let Running { runtime, log } = running;
    node.close();
    if ending == Ending::Orderly {
        let stops = async { tokio::time::timeout(SHUTDOWN_MAX, node.raft.shutdown()).await };
        if runtime.block_on(stops).is_err() {
            tracing::warn!(node = %node.id(), "openraft did not stop in time");
        }
    }
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    log.close();
    let closed = match ending {
        Ending::Orderly => node.machine.store.close(),
        Ending::Sudden => Ok(()),
    };
    node.machine.store.release();
    Ok(closed?)
}

/// Whether a member that joins is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Only the change of the membership is.
    Committed,
    /// Until it has nearly all of the log.
    CaughtUp,
}

/// What becomes of voters that are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// They go on getting the log.
    AsLearners,
    /// They leave.
    Nobody,
}

/// What became of a change of members.
pub(super) fn changed<T>(
    result: std::result::Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>,
    node: &Node,
) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
            Err(Error::NotLeader { leader: to.leader_id.map(NodeId) })
        }
        Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
            let cause = "the leader changed while the change was under way".into();
            Err(Error::OutcomeUnknown { cause })
        }
        Err(RaftError::APIError(error)) => Err(Error::Validation(error.to_string())),
        Err(RaftError::Fatal(fatal)) => Err(node.stopped(&fatal.to_string())),
    }
}

impl Node {
    /// Adds a learner that was asked who it is, or gives a member its new address.
    async fn add_learner(&self, id: NodeId, peer: Peer, wait: Wait) -> Result<()> {
        let (time, term) = (self.config.deadline, self.status().term);
        let known = self.peers.members().and_then(|members| members.nodes().get(&id).cloned());
        if known.is_some_and(|known| known.incarnation == peer.incarnation && known != peer) {
            // openraft leaves a node that it knows as it is, when it is added.
            let seat = BTreeMap::from([(id.0, peer.clone())]);
            let change = self.raft.change_membership(ChangeMembers::SetNodes(seat), true);
            changed(within(time, "the change was not committed", change).await?, self)?;
        }
        let blocking = wait == Wait::CaughtUp;
        let added = self.raft.add_learner(id.0, peer, blocking);
        let what = format!("learner {id} did not join");
        let added = within(time, &what, added).await;
        let status = self.status();
        let has_joined = status.learners.contains(&id) || status.voters.contains(&id);
        match added {
            Err(_) if blocking && has_joined => {
                let text = format!("node {id} has joined and has not caught up within {time:?}");
                return Err(Error::Unavailable(text));
            }
            added => changed(added?, self)?,
        }
        // openraft does not wait any more either when it does not lead, or nobody is to catch up.
        if blocking && !(status.is_leader() && status.term == term) {
            return Err(Error::NotLeader { leader: self.leader() });
        }
        if blocking && !has_joined {
            return Err(Error::Unavailable(format!("node {id} was removed meanwhile")));
        }
        Ok(())
    }

    /// Asks a voter to take over where this node leads and is none. openraft does so by itself only
    /// for a leader that left the cluster: one that stays as a learner would lead for ever.
    async fn hand_over_when_removed(&self) {
        let status = self.status();
        if !status.is_leader() || status.voters.contains(&self.id()) {
            return;
        }
        // The one that lacks least is asked.
        let upto = |id: &&NodeId| status.replication.get(id).copied().flatten();
        if let Some(next) = status.voters.iter().max_by_key(upto)
            && let Err(error) = self.raft.trigger().transfer_leader(next.0).await
        {
            tracing::debug!(%error, "the lead is not handed over any more");
        }
    }

    /// Returns when anybody leads.
    pub(super) async fn await_leader(&self) -> Result<()> {
        let mut metrics = self.raft.metrics();
        while metrics.borrow_watched().current_leader.is_none() {
            metrics.changed().await.map_err(|_| Error::Closed("closed"))?;
        }
        Ok(())
    }

    /// Sees to it that the membership says where this node, which leads, is and which directory it
    /// has. One that was a store of its own before has no address.
    pub(super) async fn claim_own_seat(&self) -> Result<()> {
        let identity = *self.machine.store.identity();
        let own =
            Peer { address: self.config.address.clone(), incarnation: Some(identity.incarnation) };
        let metrics = self.raft.metrics();
        let known = metrics.borrow_watched().membership_config.get_node(&identity.node.0).cloned();
        if known.is_none_or(|known| known == own) {
            return Ok(());
        }
        let seat = BTreeMap::from([(identity.node.0, own)]);
        let change = self.raft.change_membership(ChangeMembers::SetNodes(seat), true);
        changed(within(self.config.deadline, "the change was not committed", change).await?, self)
    }

    async fn snapshot_now(&self) -> Result<()> {
        let stopped = |fatal: openraft::errors::Fatal<TypeConfig>| self.stopped(&fatal.to_string());
        let Some(applied) = self.applied() else { return Ok(()) };
        let mut metrics = self.raft.metrics();
        let taken = async {
            while metrics.borrow_watched().snapshot.is_none_or(|upto| upto.index < applied.0) {
                // While one is under way, openraft takes no notice; and one that began before this
                // call does not go far enough.
                self.raft.trigger().snapshot().await.map_err(stopped)?;
                // One that failed is told by no change.
                let waited = tokio::time::timeout(SNAPSHOT_PAUSE, metrics.changed()).await;
                if let Ok(changed) = waited {
                    changed.map_err(|_| Error::Closed("closed"))?;
                }
            }
            Ok(())
        };
        within(self.config.deadline, "the state was not written", taken).await?
    }
}

impl fmt::Debug for ClusterEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterEngine").field("node", &self.node.id()).finish_non_exhaustive()
    }
}

impl Drop for ClusterEngine {
    /// Stops the node without waiting for the others; what is under way is answered
    /// `OutcomeUnknown`.
    fn drop(&mut self) {
        if let Some(running) = self.running.lock().take() {
            let node = Arc::clone(&self.node);
            let ends = move || {
                if let Err(error) = end(running, &node, Ending::Orderly) {
                    tracing::error!(%error, "closing the store failed");
                }
            };
            let spawned = std::thread::Builder::new().name("htkv-shutdown".to_owned()).spawn(ends);
            // Waited for, so that the directory is free afterwards.
            if let Ok(thread) = spawned
                && thread.join().is_err()
            {
                tracing::error!("the thread that closes the store panicked");
            }
        }
    }
}

impl KvEngine for ClusterEngine {
    fn submit(&self, command: Command) -> Result<ApplyOutcome> {
        Answering::refuse()?;
        KvEngine::submit_async(self, command).wait()
    }

    fn submit_async(&self, command: Command) -> Submission {
        let slot = Slot::new();
        self.node.submit(command, Reply::Future(Arc::clone(&slot)), Hop::Any);
        Submission::new(slot)
    }

    fn submit_with(&self, command: Command, callback: Callback) {
        self.node.submit(command, Reply::Callback(callback), Hop::Any);
    }

    fn view(&self, context: ReadContext) -> Result<StateView> {
        if context != ReadContext::Local {
            Answering::refuse()?;
        }
        block_on(self.view_at(context))
    }

    fn flush(&self) -> Result<()> {
        // What was acknowledged is on the devices of a majority; this waits for this node's.
        Ok(self.node.machine.store.log().sync()?)
    }

    fn owner(&self) -> Option<Owner> {
        Some(self.node.owner)
    }
}

impl SnapshotEngine for ClusterEngine {
    fn snapshot_state(&self) -> StateView {
        self.node.machine.replica.view()
    }

    fn latest_version(&self) -> Version {
        self.node.machine.replica.read().kv.as_view().version().unwrap_or_default()
    }
}

impl CommandSubmitter for ClusterEngine {
    fn submit(&self, command: Command) -> Result<ApplyOutcome> {
        KvEngine::submit(self, command)
    }

    fn submit_batch(&self, commands: Vec<Command>) -> Result<ApplyOutcome> {
        KvEngine::submit_batch(self, commands)
    }

    fn submit_async(&self, command: Command) -> Submission {
        KvEngine::submit_async(self, command)
    }
}

impl SnapshotProvider for ClusterEngine {
    fn snapshot_state(&self) -> Result<StateView> {
        self.node.view()
    }

    fn latest_version(&self) -> Result<Version> {
        Ok(SnapshotEngine::latest_version(self))
    }
}
