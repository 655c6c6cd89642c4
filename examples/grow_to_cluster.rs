//! One directory through its life: a store by itself, a cluster of one, one voter of three, alone
//! again, a store by itself. Nothing is converted, and every row, version and stamp stays.
//!
//! `cargo run --release --example grow_to_cluster`. Works in a temporary directory, which is
//! removed at the end.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use hightower_kv::raft::router::Router;
use hightower_kv::raft::{ClusterConfig, ClusterEngine, Retain, Wait};
use hightower_kv::state::StateDigest;
use hightower_kv::storage::record::Direction;
use hightower_kv::types::{NodeId, RandomId, Timestamp, Version};
use hightower_kv::{Error, KvEngine, ReadContext, SingleNodeEngine, StateView, StoreConfig};
use tokio::runtime::Builder;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn main() -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    // For the calls that are asynchronous. The nodes have runtimes of their own.
    let runtime = Builder::new_current_thread().build()?;
    let directory_of = |id: NodeId| scratch.path().join(format!("node-{id}"));
    let directory = directory_of(ONE);

    let engine = SingleNodeEngine::with_config(store_in(&directory, ONE))?;
    for n in 0..1000 {
        engine.put(format!("order/{n:04}").into_bytes(), b"open".to_vec())?;
        if n == 500 {
            // Half of it becomes a table; the other half stays in the log.
            engine.run_compaction_now()?;
        }
    }
    let rows = say("a store by itself", &engine.view(ReadContext::Local)?)?;
    engine.close()?;

    let router = Router::new(1);
    let one = open(&router, &directory, ONE, None)?;
    // A default read waits until somebody leads, here this node.
    assert_eq!(say("a cluster of one", &one.view(ReadContext::default())?)?, rows);

    // New voters get the log, or a snapshot, as learners first. Only then do they count.
    let mut others = Vec::new();
    for id in [TWO, THREE] {
        let other = open(&router, &directory_of(id), id, Some(one.cluster_id()))?;
        runtime.block_on(one.add_learner(id, format!("node-{id}"), Wait::CaughtUp))?;
        others.push(other);
    }
    runtime.block_on(one.change_membership([ONE, TWO, THREE].into(), Retain::Nobody))?;
    for node in std::iter::once(&one).chain(&others) {
        let view = node.view(ReadContext::default())?;
        assert_eq!(say(&format!("three voters: node {}", node.id()), &view)?, rows);
    }

    // What is written now is on two devices at least before it is acknowledged.
    let version = one.put(b"order/0000".to_vec(), b"paid".to_vec())?.version;
    let view = one.view(ReadContext::AtLeast(version))?;
    let (rows, digest) = (say("a write: node 1", &view)?, StateDigest::of(&view)?);
    for other in &others {
        // This version or a later one, on any node: nobody asks the leader.
        let view = other.view(ReadContext::AtLeast(version))?;
        assert_eq!(say(&format!("a write: node {}", other.id()), &view)?, rows);
        assert_eq!(StateDigest::of(&view)?, digest);
    }

    // As long as others vote, this node must not decide by itself.
    router.unregister(ONE);
    runtime.block_on(one.shutdown())?;
    let refused = SingleNodeEngine::with_config(store_in(&directory, ONE));
    let Err(refused @ Error::NotSingleNode { .. }) = refused else {
        return Err("a voter of three was opened as a store by itself".into());
    };
    println!("refused: {refused}");

    // The voter that is to remain has to lead. Who does is certain after a default read.
    let one = open(&router, &directory, ONE, None)?;
    one.view(ReadContext::default())?;
    let leader = one.status().leader;
    if let Some(leader) = others.iter().find(|other| Some(other.id()) == leader) {
        runtime.block_on(leader.transfer_leader(ONE))?;
    }
    runtime.block_on(one.change_membership([ONE].into(), Retain::Nobody))?;
    for other in others {
        router.unregister(other.id());
        runtime.block_on(other.shutdown())?;
    }
    assert_eq!(say("a cluster of one again", &one.view(ReadContext::default())?)?, rows);
    runtime.block_on(one.shutdown())?;

    let engine = SingleNodeEngine::with_config(store_in(&directory, ONE))?;
    assert_eq!(say("a store by itself again", &engine.view(ReadContext::Local)?)?, rows);
    engine.close()?;
    Ok(())
}

fn store_in(directory: &Path, id: NodeId) -> StoreConfig {
    let mut config = StoreConfig::default();
    directory.clone_into(&mut config.data_dir);
    config.node_id = id;
    config
}

fn open(
    router: &Router,
    directory: &Path,
    id: NodeId,
    cluster: Option<RandomId>,
) -> hightower_kv::Result<ClusterEngine> {
    let config = ClusterConfig {
        store: store_in(directory, id),
        address: format!("node-{id}"),
        // The others are created for the cluster that the first one made when it was alone.
        cluster,
        ..ClusterConfig::default()
    };
    let engine = ClusterEngine::open(config, router.transport(id))?;
    router.register(id, engine.handler());
    Ok(engine)
}

/// Key, value, version and stamp of each row.
type Rows = Vec<(Vec<u8>, Vec<u8>, Version, Timestamp)>;

/// Prints what a state looks like, and returns all of it.
fn say(step: &str, view: &StateView) -> Outcome<Rows> {
    let mut rows = Rows::new();
    let mut cursor = view.cursor::<&[u8]>(.., Direction::Forward)?;
    while let Some(row) = cursor.next()? {
        rows.push((row.key.to_vec(), row.value.to_vec(), row.version, row.timestamp));
    }
    let (_, value, version, _) = rows.first().ok_or("there are no rows")?;
    println!(
        "{step:<24} {} rows, the first is {:?} of version {version}; the log goes to entry {}",
        rows.len(),
        String::from_utf8_lossy(value),
        view.version().unwrap_or_default()
    );
    Ok(rows)
}
