//! Three nodes that keep one store: the leader dies, writes go on, it comes back, a fourth joins.
//!
//! `cargo run --release --example three_node_cluster`. All nodes run in this process, each on a
//! directory of its own below a temporary one, which is removed at the end. The router and `kill`
//! come with the feature `testing`; `tcp_cluster` is the same over sockets.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "the gap is measured by the real clock")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hightower_kv::raft::router::Router;
use hightower_kv::raft::{ClusterConfig, ClusterEngine, Wait};
use hightower_kv::types::{LogIndex, NodeId, RandomId};
use hightower_kv::{KvEngine, ReadContext};
use tokio::runtime::{Builder, Runtime};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How long anything is waited for; nothing takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let mut nodes = Nodes {
        directory: scratch.path().to_owned(),
        router: Router::new(1),
        runtime: Builder::new_current_thread().build()?,
        cluster: None,
        open: BTreeMap::new(),
    };
    println!("1. Three nodes are opened, each on an empty directory, and made one cluster.");
    let members = [1, 2, 3].map(NodeId);
    for id in members {
        nodes.open(id)?;
    }
    // On exactly one of them, once in the life of the cluster.
    let first = nodes.node(NodeId(1))?;
    let addresses = members.map(|id| (id, address_of(id))).into();
    nodes.runtime.block_on(first.initialize(addresses))?;
    nodes.print()?;

    println!("2. 300 writes, each on the next node: one that does not lead passes it on.");
    for (n, id) in (0..300).zip(members.iter().cycle()) {
        write(nodes.node(*id)?, n)?;
    }
    // Whichever node is asked, a read sees everything that was acknowledged before it.
    for id in members {
        assert_eq!(nodes.node(id)?.len()?, 300);
    }
    nodes.print()?;

    let old = nodes.leader()?;
    println!("3. Node {old}, which leads, is killed. The other two elect a leader and go on.");
    nodes.kill(old);
    let survivor = *nodes.open.keys().next().ok_or("all nodes are gone")?;
    let (mut longest, mut from) = (Duration::ZERO, Instant::now());
    for n in 300..600 {
        // The first of them waits for the election, within its deadline.
        write(nodes.node(survivor)?, n)?;
        longest = longest.max(from.elapsed());
        from = Instant::now();
    }
    assert_ne!(nodes.leader()?, old);
    assert_eq!(nodes.node(survivor)?.len()?, 600, "nothing that was acknowledged is gone");
    println!("   300 more writes; nothing could be written for {longest:.0?}.");
    nodes.print()?;

    println!("4. Node {old} is opened again on its directory, and gets what it has missed.");
    nodes.open(old)?;
    nodes.catch_up(old)?;
    // `Local` asks nobody: what is seen is what this node has applied.
    assert_eq!(nodes.node(old)?.view(ReadContext::Local)?.len(), 600);
    nodes.print()?;

    println!("5. Node 4 joins as a learner: it gets the log and does not vote.");
    let fourth = NodeId(4);
    nodes.open(fourth)?;
    let leader = nodes.node(nodes.leader()?)?;
    nodes.runtime.block_on(leader.add_learner(fourth, address_of(fourth), Wait::CaughtUp))?;
    nodes.catch_up(fourth)?;
    assert_eq!(nodes.node(fourth)?.view(ReadContext::Local)?.len(), 600);
    assert!(nodes.node(nodes.leader()?)?.status().learners.contains(&fourth));
    nodes.print()?;

    for engine in nodes.open.values() {
        nodes.runtime.block_on(engine.shutdown())?;
    }
    println!("All nodes are shut down; each directory can be opened again.");
    Ok(())
}

/// Row `n`.
fn write(engine: &ClusterEngine, n: u32) -> hightower_kv::Result<()> {
    engine.put(format!("order/{n:04}").into_bytes(), b"paid".to_vec()).map(drop)
}

/// What the members know a node by. The router goes by the number alone.
fn address_of(id: NodeId) -> String {
    format!("node-{id}")
}

/// The nodes of this process.
struct Nodes {
    directory: PathBuf,
    router: Router,
    /// For the calls that are asynchronous. The nodes have runtimes of their own.
    runtime: Runtime,
    /// The cluster of the first node; all others are created for it.
    cluster: Option<RandomId>,
    open: BTreeMap<NodeId, ClusterEngine>,
}

impl Nodes {
    fn open(&mut self, id: NodeId) -> Outcome<()> {
        let mut config = ClusterConfig::default();
        config.store.data_dir = self.directory.join(address_of(id));
        config.store.node_id = id;
        config.address = address_of(id);
        config.cluster = self.cluster;
        let engine = ClusterEngine::open(config, self.router.transport(id))?;
        self.router.register(id, engine.handler());
        self.cluster.get_or_insert(engine.cluster_id());
        self.open.insert(id, engine);
        Ok(())
    }

    /// Ends a node as the death of its process would.
    fn kill(&mut self, id: NodeId) {
        self.router.unregister(id);
        if let Some(engine) = self.open.remove(&id) {
            engine.kill();
        }
    }

    fn node(&self, id: NodeId) -> Outcome<&ClusterEngine> {
        self.open.get(&id).ok_or_else(|| format!("node {id} is not open").into())
    }

    /// Who leads. The node of the greatest term knows best: one that was away may still believe in
    /// the leader of a term that is over, or in itself.
    fn leader(&self) -> Outcome<NodeId> {
        let newest = self.open.values().max_by_key(|node| node.status().term);
        let open: Vec<NodeId> = self.open.keys().copied().collect();
        let known = newest.ok_or("all nodes are gone")?.wait_until(PATIENCE, move |status| {
            status.leader.is_some_and(|leader| open.contains(&leader))
        });
        Ok(self.runtime.block_on(known)?.leader.ok_or("no leader")?)
    }

    /// Returns when a node has applied what the leader has.
    fn catch_up(&self, id: NodeId) -> Outcome<()> {
        let leader = self.leader()?;
        let target = self.node(leader)?.status().last;
        let reached = self.node(id)?.wait_until(PATIENCE, move |status| {
            status.leader == Some(leader) && status.applied.map(|applied| applied.index) >= target
        });
        self.runtime.block_on(reached)?;
        Ok(())
    }

    /// A line for each node: what `status` says. `last` is the end of its log, `commit` what it
    /// knows to be on a majority, `applied` what its reads see.
    fn print(&self) -> Outcome<()> {
        for &id in self.open.keys() {
            self.catch_up(id)?;
        }
        println!("   node  role      term  last  commit  applied  leader");
        for engine in self.open.values() {
            let status = engine.status();
            let number = |index: Option<LogIndex>| index.map_or(0, |index| index.0);
            println!(
                "   {:<4}  {:<8}  {:<4}  {:<4}  {:<6}  {:<7}  {}",
                status.node.0,
                status.role,
                status.term.0,
                number(status.last),
                number(status.committed),
                number(status.applied.map(|applied| applied.index)),
                status.leader.map_or("-".to_owned(), |leader| leader.to_string()),
            );
        }
        println!();
        Ok(())
    }
}
