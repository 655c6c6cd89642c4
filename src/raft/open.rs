//! Puts a node together and sets it going.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::runtime::{Builder, Runtime};

use super::checks;
use super::config::ClusterConfig;
use super::ephemeral;
use super::expiry;
use super::forward::Forwarding;
use super::forward_queue::ForwardQueue;
use super::log_store::{LogStore, LogStoreLimits};
use super::network::{NetworkFactory, NetworkLimits};
use super::node::{HtkvRaft, Node, Parts};
use super::peers::Peers;
use super::read_gate::ReadGate;
use super::reads::Rounds;
use super::server::Server;
use super::state_machine::OnPressure;
use super::storage::RaftStorage;
use super::transport::{RequestHandler, Transport};
use super::type_config::membership_of;
use crate::command::Owner;
use crate::engine::draw::draw_id;
use crate::env::Env;
use crate::error::{Error, Result};

/// How often it is looked whether anybody waits for longer than the deadline.
const SWEEP: Duration = Duration::from_millis(20);

/// A node that runs.
pub(super) struct Opened {
    pub(super) node: Arc<Node>,
    pub(super) handler: Arc<dyn RequestHandler>,
    pub(super) runtime: Runtime,
    pub(super) log: LogStore,
}

/// Opens the directory and starts everything that belongs to a node.
pub(super) fn open(
    env: Env,
    config: ClusterConfig,
    transport: Arc<dyn Transport>,
) -> Result<Opened> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(config.runtime_threads)
        .thread_name("htkv-raft")
        .enable_all()
        .build()
        .map_err(|source| failed(&config, "start a runtime for", source))?;
    match start(&runtime, env, config, transport) {
        Ok((node, handler, log)) => Ok(Opened { node, handler, runtime, log }),
        Err(error) => {
            // Waits for what runs there, which a caller that is on another runtime must not: tokio
            // panics then.
            std::thread::scope(|scope| drop(scope.spawn(move || drop(runtime))));
            Err(error)
        }
    }
}

fn failed(config: &ClusterConfig, operation: &'static str, source: std::io::Error) -> Error {
    Error::Io { operation, path: config.store.data_dir.clone(), source: Arc::new(source) }
}

/// A node that runs, and what belongs to it.
type Started = (Arc<Node>, Arc<dyn RequestHandler>, LogStore);

fn start(
    runtime: &Runtime,
    env: Env,
    config: ClusterConfig,
    transport: Arc<dyn Transport>,
) -> Result<Started> {
    let this: Arc<OnceLock<Weak<Node>>> = Arc::default();
    let on_pressure = ask_for_snapshots(Arc::clone(&this), runtime.handle().clone());
    let limits = LogStoreLimits {
        unsynced_bytes_max: config.store.unsynced_bytes_max,
        ..LogStoreLimits::default()
    };
    let storage =
        RaftStorage::open(&config.store, config.cluster, env.clone(), limits, on_pressure)?;
    let RaftStorage { log, state, machine } = storage;
    let identity = *machine.store.identity();
    let owner = Owner { node: identity.node, start: draw_id(&env, "an opening of the store")? };
    let network = NetworkFactory::new(identity, transport, NetworkLimits::default(), env)
        .map_err(|source| failed(&config, "draw random bytes for", source))?;
    let peers = Arc::new(Peers::new(identity, network.clone()));
    let applied = state.applied();
    let raft_config = Arc::new(config.raft(identity.cluster));
    let building = HtkvRaft::build(identity.node.0, raft_config, network, log.clone(), state);
    let built = on_runtime(runtime, building);
    let raft = built.map_err(|fatal| match machine.store.log().check() {
        Err(error) => Error::from(error),
        Ok(()) => Error::Validation(format!("openraft cannot start: {fatal}")),
    })?;
    let (forwarding, queue) = ForwardQueue::new();
    let (gate, asking) = ReadGate::new();
    let limits = config.store.limits();
    let parts = Parts {
        runtime: runtime.handle().clone(),
        owner,
        raft,
        machine,
        config,
        peers,
        limits,
        forwarding,
        gate,
        applied,
    };
    let node = Node::new(parts);
    drop(this.set(Arc::downgrade(&node)));
    node.learn_members();
    {
        // openraft starts its tasks on the runtime that it finds itself in.
        let _entered = runtime.enter();
        node.raft.run();
    }
    start_tasks(runtime, &node, Forwarding::new(queue), Rounds::new(asking));
    let handler = Arc::new(Server::new(Arc::clone(&node) as Arc<_>));
    Ok((node, handler, log))
}

/// What the state machine calls when its tail should become a table.
fn ask_for_snapshots(
    this: Arc<OnceLock<Weak<Node>>>,
    runtime: tokio::runtime::Handle,
) -> OnPressure {
    Arc::new(move |arrived| {
        let Some(node) = this.get().and_then(Weak::upgrade) else { return false };
        runtime.spawn(async move {
            if let Err(error) = node.raft.trigger().snapshot().await {
                tracing::debug!(%error, "no snapshot is taken any more");
            }
            arrived();
        });
        true
    })
}

/// Waits on a thread of its own: whoever opens a node may be on a worker of another runtime.
fn on_runtime<T: Send>(runtime: &Runtime, future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| runtime.block_on(future));
        match waits.join() {
            Ok(output) => output,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn start_tasks(runtime: &Runtime, node: &Arc<Node>, queue: Forwarding, rounds: Rounds) {
    runtime.spawn(queue.run(Arc::downgrade(node)));
    runtime.spawn(rounds.run(Arc::downgrade(node)));
    runtime.spawn(sweep(Arc::downgrade(node)));
    runtime.spawn(follow_members(Arc::downgrade(node)));
    runtime.spawn(stand_alone(Arc::downgrade(node)));
    runtime.spawn(checks::run(Arc::downgrade(node)));
    runtime.spawn(expiry::run(Arc::downgrade(node)));
    runtime.spawn(ephemeral::forget_earlier_starts(Arc::downgrade(node)));
    runtime.spawn(ephemeral::forget_removed_nodes(Arc::downgrade(node)));
}

/// Answers those who wait for longer than their deadline.
async fn sweep(node: Weak<Node>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        let Some(node) = node.upgrade() else { return };
        node.inflight.expire(node.machine.env.clock.elapsed());
    }
}

/// Keeps up with who the members are, and whether openraft runs.
async fn follow_members(node: Weak<Node>) {
    let Some(mut metrics) = node.upgrade().map(|node| node.raft.metrics()) else { return };
    while metrics.changed().await.is_ok() {
        let Some(node) = node.upgrade() else { return };
        node.learn_members();
        if node.is_ending() {
            node.note_end();
        }
    }
    if let Some(node) = node.upgrade() {
        node.note_end();
    }
}

/// A voter that decides alone need not wait for an election timeout.
async fn stand_alone(node: Weak<Node>) {
    let Some(node) = node.upgrade() else { return };
    let status = node.status();
    if status.voters.len() == 1
        && status.voters.contains(&node.id())
        && let Err(error) = node.raft.trigger().elect(false).await
    {
        tracing::debug!(%error, "no election is begun any more");
    }
}

impl Node {
    /// Takes in the newest membership of the log.
    fn learn_members(&self) {
        let metrics = self.raft.metrics();
        let members = metrics.borrow_watched();
        // Before the first one there are no voters.
        if let Ok(members) = membership_of(members.membership_config.membership())
            && self.peers.members().is_none_or(|known| *known != members)
        {
            self.peers.set_members(members);
        }
    }
}
