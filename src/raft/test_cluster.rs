//! Several nodes in one process, to be stopped, killed, cut off and started again: for an
//! application's own tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::block_on::block_on;
use super::cluster_engine::{ClusterEngine, Retain, Wait};
use super::config::ClusterConfig;
use super::router::Router;
use crate::engine::SnapshotEngine;
use crate::env::Env;
use crate::env::clock::Clock;
use crate::env::fs::{FileKind, Fs};
use crate::env::fs_sim::{PowerCut, SimFs};
use crate::error::{Error, Result};
use crate::state::StateView;
use crate::types::{NodeId, RandomId};

/// What the nodes write to.
#[derive(Clone, Debug)]
pub enum Disk {
    /// A folder for each node in this directory.
    Real(PathBuf),
    /// A simulated disk for each node, which can lose its power.
    Simulated,
}

/// Nodes with the numbers 1, 2, 3... over a [`Router`].
///
/// ```
/// use std::time::Duration;
///
/// use hightower_kv::KvEngine;
/// use hightower_kv::raft::ClusterConfig;
/// use hightower_kv::raft::test_cluster::{Disk, TestCluster};
///
/// // Longer than by default: nobody else leads because other tests keep the machine busy.
/// let election_timeout = (Duration::from_secs(1), Duration::from_secs(2));
/// let config = ClusterConfig { election_timeout, ..ClusterConfig::default() };
/// let mut cluster = TestCluster::start_with(3, Disk::Simulated, 7, config)?;
/// let leader = cluster.leader()?;
/// cluster.node(leader).put(b"key".to_vec(), b"value".to_vec())?;
/// cluster.kill(leader);
/// let next = cluster.leader()?;
/// assert!(cluster.node(next).contains(b"key")?);
/// cluster.restart(leader)?;
/// # Ok::<(), hightower_kv::Error>(())
/// ```
#[derive(Debug)]
pub struct TestCluster {
    router: Arc<Router>,
    disk: Disk,
    config: ClusterConfig,
    cluster: Option<RandomId>,
    sims: BTreeMap<NodeId, SimFs>,
    clocks: BTreeMap<NodeId, Arc<dyn Clock>>,
    nodes: BTreeMap<NodeId, Arc<ClusterEngine>>,
}

/// How long anything is waited for: much longer than anything takes, since other tests run beside.
const PATIENCE: Duration = Duration::from_mins(5);

impl TestCluster {
    /// A cluster of `count` voters that has a leader. `seed` decides what the router's faults hit.
    ///
    /// # Errors
    /// Those of [`ClusterEngine::open`] and [`ClusterEngine::initialize`].
    pub fn start(count: u64, disk: Disk, seed: u64) -> Result<Self> {
        Self::start_with(count, disk, seed, ClusterConfig::default())
    }

    /// As [`Self::start`], with a configuration for all nodes; `data_dir`, `node_id`, `address` and
    /// `cluster` of it are set for each.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub fn start_with(count: u64, disk: Disk, seed: u64, config: ClusterConfig) -> Result<Self> {
        let mut cluster = Self::empty(disk, seed, config);
        let members: Vec<NodeId> = (1..=count).map(NodeId).collect();
        for &id in &members {
            cluster.open(id)?;
        }
        let addresses: BTreeMap<_, _> = members.iter().map(|&id| (id, address_of(id))).collect();
        let (first, clock) = (cluster.node(NodeId(1)), Env::system().clock);
        loop {
            match block_on(first.initialize(addresses.clone())) {
                // A busy machine may need longer than a call may take.
                Err(Error::Unavailable(_)) if clock.elapsed() < PATIENCE => {}
                begun => break begun?,
            }
            if !first.status().voters.is_empty() {
                // The leader, whom it has not lived to see, is waited for below.
                break;
            }
        }
        cluster.leader()?;
        Ok(cluster)
    }

    /// No node yet: [`Self::open`] opens them.
    #[must_use]
    pub fn empty(disk: Disk, seed: u64, config: ClusterConfig) -> Self {
        Self {
            router: Arc::new(Router::new(seed)),
            disk,
            config,
            cluster: None,
            sims: BTreeMap::new(),
            clocks: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// The network between the nodes.
    #[must_use]
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// The nodes that are open.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Opens a node that is not open, on its directory where it has one.
    ///
    /// # Errors
    /// Those of [`ClusterEngine::open`].
    pub fn open(&mut self, id: NodeId) -> Result<Arc<ClusterEngine>> {
        let mut config = self.config.clone();
        config.store.node_id = id;
        config.store.data_dir = self.directory(id);
        config.address = address_of(id);
        config.cluster = self.cluster;
        let mut env = Env::system();
        if let Some(clock) = self.clocks.get(&id) {
            env.clock = Arc::clone(clock);
        }
        if let Disk::Simulated = self.disk {
            let seed = id.0;
            let sim = self.sims.entry(id).or_insert_with(|| SimFs::new(seed));
            env.fs = Arc::new(sim.clone());
        }
        let engine = Arc::new(ClusterEngine::open_in(env, config, self.router.transport(id))?);
        self.router.register(id, engine.handler());
        self.cluster.get_or_insert(engine.cluster_id());
        self.nodes.insert(id, Arc::clone(&engine));
        Ok(engine)
    }

    /// The clock that a node has from its next opening on, instead of the machine's.
    pub fn set_clock(&mut self, id: NodeId, clock: Arc<dyn Clock>) {
        self.clocks.insert(id, clock);
    }

    /// Where a node has its directory.
    #[must_use]
    pub fn directory(&self, id: NodeId) -> PathBuf {
        match &self.disk {
            Disk::Real(directory) => directory.join(format!("node-{id}")),
            Disk::Simulated => Path::new("/").join(format!("node-{id}")),
        }
    }

    /// The simulated disk of a node.
    #[must_use]
    pub fn sim(&self, id: NodeId) -> Option<SimFs> {
        self.sims.get(&id).cloned()
    }

    /// A node that is open.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Arc<ClusterEngine> {
        let Some(engine) = self.nodes.get(&id) else { unreachable!("node {id} is not open") };
        Arc::clone(engine)
    }

    /// The leader, once a majority of the open nodes agree who it is, and it does.
    ///
    /// # Errors
    /// `Unavailable` when they do not within five minutes.
    pub fn leader(&self) -> Result<NodeId> {
        let clock = Env::system().clock;
        while clock.elapsed() < PATIENCE {
            let views: Vec<_> = self.nodes.values().map(|node| node.status()).collect();
            let leads = views.iter().filter(|view| view.is_leader());
            if let Some(leader) = leads.max_by_key(|view| view.term) {
                let follow = views.iter().filter(|view| view.leader == Some(leader.node)).count();
                if follow * 2 > leader.voters.len() {
                    return Ok(leader.node);
                }
            }
            clock.pause(Duration::from_millis(5));
        }
        Err(Error::Unavailable("the nodes agree on no leader".to_owned()))
    }

    /// Waits until every open node has applied what the leader has.
    ///
    /// # Errors
    /// `Unavailable` when they have not within five minutes.
    pub fn settle(&self) -> Result<()> {
        let leader = self.node(self.leader()?);
        let target = leader.status().last;
        for node in self.nodes.values() {
            let wanted = move |status: &super::status::ClusterStatus| {
                status.applied.map(|applied| applied.index) >= target
            };
            block_on(node.wait_until(PATIENCE, wanted))?;
        }
        Ok(())
    }

    /// The state of every open node, all at the same entry. For when nobody writes any more.
    /// Entries come all the same: a leader proposes by itself to compare states and to remove what
    /// is due.
    ///
    /// # Errors
    /// `Unavailable` when they are not at the same entry within five minutes.
    pub fn states(&self) -> Result<BTreeMap<NodeId, StateView>> {
        let clock = Env::system().clock;
        let end = clock.elapsed() + PATIENCE;
        loop {
            self.settle()?;
            let state_of =
                |(&id, node): (&NodeId, &Arc<ClusterEngine>)| (id, node.snapshot_state());
            let states: BTreeMap<_, _> = self.nodes.iter().map(state_of).collect();
            let applied: BTreeSet<_> = states.values().map(StateView::last_applied).collect();
            if applied.len() < 2 {
                return Ok(states);
            }
            if clock.elapsed() >= end {
                return Err(Error::Unavailable(format!("the nodes do not rest: {applied:?}")));
            }
        }
    }

    /// Opens a new node and makes it a learner.
    ///
    /// # Errors
    /// Those of [`Self::open`] and [`ClusterEngine::add_learner`].
    pub fn add_learner(&mut self, id: NodeId) -> Result<()> {
        let leader = self.leader()?;
        self.open(id)?;
        block_on(self.node(leader).add_learner(id, address_of(id), Wait::CaughtUp))
    }

    /// Makes these the voters.
    ///
    /// # Errors
    /// Those of [`ClusterEngine::change_membership`].
    pub fn set_voters(&self, voters: &[NodeId], retain: Retain) -> Result<()> {
        let voters: BTreeSet<NodeId> = voters.iter().copied().collect();
        block_on(self.node(self.leader()?).change_membership(voters, retain))
    }

    /// Shuts a node down.
    ///
    /// # Errors
    /// Those of [`ClusterEngine::shutdown`].
    pub fn stop(&mut self, id: NodeId) -> Result<()> {
        self.router.unregister(id);
        match self.nodes.remove(&id) {
            Some(engine) => block_on(engine.shutdown()),
            None => Ok(()),
        }
    }

    /// Ends a node as the death of its process would: nothing more is sent, nothing synced. What it
    /// wrote is in the files.
    pub fn kill(&mut self, id: NodeId) {
        self.router.unregister(id);
        if let Some(engine) = self.nodes.remove(&id) {
            if let Some(sim) = self.sims.get_mut(&id) {
                // Nothing that is synced from here on, and so not on the image, is acknowledged.
                sim.fail_all_syncs();
                *sim = sim.kill();
            }
            engine.kill();
        }
    }

    /// Takes the power of a node with a simulated disk: what it had not synced may be lost.
    pub fn cut_power(&mut self, id: NodeId, cut: PowerCut) {
        self.router.unregister(id);
        if let Some(sim) = self.sims.get_mut(&id) {
            // As in `kill`: the node goes on until it is ended below, and must not know it.
            sim.fail_all_syncs();
            *sim = sim.power_cut(cut);
        }
        if let Some(engine) = self.nodes.remove(&id) {
            engine.kill();
        }
    }

    /// Throws a node's directory away. The node is not open.
    ///
    /// # Errors
    /// `Io`.
    pub fn wipe(&mut self, id: NodeId) -> Result<()> {
        self.sims.remove(&id);
        match &self.disk {
            Disk::Simulated => Ok(()),
            Disk::Real(_) => {
                let path = self.directory(id);
                remove_all(&*Env::system().fs, &path).map_err(|source| Error::Io {
                    operation: "remove",
                    path,
                    source: Arc::new(source),
                })
            }
        }
    }

    /// Opens a node again after [`Self::stop`], [`Self::kill`] or [`Self::cut_power`].
    ///
    /// # Errors
    /// Those of [`ClusterEngine::open`].
    pub fn restart(&mut self, id: NodeId) -> Result<Arc<ClusterEngine>> {
        self.open(id)
    }
}

/// Removes a directory and everything in it.
fn remove_all(fs: &dyn Fs, path: &Path) -> std::io::Result<()> {
    for entry in fs.list(path)? {
        let path = path.join(entry.name);
        match entry.kind {
            FileKind::Directory => remove_all(fs, &path)?,
            _ => fs.remove(&path)?,
        }
    }
    fs.remove_dir(path)
}

fn address_of(id: NodeId) -> String {
    format!("node-{id}")
}
