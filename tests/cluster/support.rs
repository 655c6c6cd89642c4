//! What the modules share.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use hightower_kv::raft::router::LinkFaults;
use hightower_kv::raft::test_cluster::{Disk, TestCluster};
use hightower_kv::raft::{ClusterConfig, ClusterEngine, ClusterStatus, Wait};
use hightower_kv::state::digest::StateDigest;
use hightower_kv::types::NodeId;
use hightower_kv::{Error, Result, StateView};

/// How long something may take that must happen. Reached only by a failure.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// How long a call may take. Long enough for an election on a machine that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);

/// By how much a machine that is busy may be late.
pub(crate) const SLACK: Duration = Duration::from_secs(4);

/// Waits for what a node does.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // Boxed: the compiler makes one copy of the runtime, not one for each call.
    let future: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(future);
    runtime.block_on(future)
}

/// Nodes near each other on a machine that others use as well.
pub(crate) fn config() -> ClusterConfig {
    ClusterConfig {
        election_timeout: (Duration::from_millis(200), Duration::from_millis(400)),
        heartbeat: Duration::from_millis(50),
        deadline: DEADLINE,
        ..ClusterConfig::default()
    }
}

/// As [`config`], and a few hundred writes are enough for a snapshot that the log is purged behind.
pub(crate) fn config_of_small_logs() -> ClusterConfig {
    let mut config = config();
    config.store.max_segment_size = 64 << 10;
    config.log_kept = 20;
    config
}

/// A cluster on simulated disks.
pub(crate) fn cluster(count: u64, seed: u64) -> TestCluster {
    cluster_with(count, seed, config())
}

/// A cluster on simulated disks, set up otherwise.
pub(crate) fn cluster_with(count: u64, seed: u64, config: ClusterConfig) -> TestCluster {
    TestCluster::start_with(count, Disk::Simulated, seed, config).unwrap()
}

/// Those who do not lead.
pub(crate) fn followers(cluster: &TestCluster, leader: NodeId) -> Vec<NodeId> {
    cluster.ids().into_iter().filter(|&id| id != leader).collect()
}

/// Waits until a node's status is as wanted.
pub(crate) fn wait_until(
    engine: &ClusterEngine,
    what: &str,
    wanted: impl FnMut(&ClusterStatus) -> bool + Send + 'static,
) -> ClusterStatus {
    match block_on(engine.wait_until(PATIENCE, wanted)) {
        Ok(status) => status,
        Err(error) => panic!("{what}: {error}; {:#?}", engine.status()),
    }
}

/// The leader that those elect who are not cut off with `old`.
pub(crate) fn leader_besides(cluster: &TestCluster, old: NodeId) -> NodeId {
    let others = followers(cluster, old);
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let asked = cluster.node(others[0]);
        let heard = move |status: &ClusterStatus| status.leader.is_some_and(|it| it != old);
        let leader = wait_until(&asked, "another leader", heard).leader.unwrap();
        if cluster.node(leader).status().is_leader() {
            return leader;
        }
    }
    panic!("nobody took over from node {old}");
}

/// Tries again as long as nobody leads, or it is not known what became of it.
pub(crate) fn persist<T>(what: &str, mut attempt: impl FnMut() -> Result<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(
                error @ (Error::Unavailable(_)
                | Error::NotLeader { .. }
                | Error::Overloaded(_)
                | Error::DiskFull(_)
                | Error::NotYet { .. }
                | Error::OutcomeUnknown { .. }),
            ) => assert!(Instant::now() < end, "{what}: {error}"),
            Err(error) => panic!("{what}: {error}"),
        }
        std::thread::yield_now();
    }
}

/// Makes an open node a learner, and waits until it has nearly all of the log.
pub(crate) fn join(cluster: &TestCluster, id: NodeId) {
    persist("a learner joins", || {
        let leader = cluster.node(cluster.leader()?);
        block_on(leader.add_learner(id, format!("node-{id}"), Wait::CaughtUp))
    });
}

/// What befalls every link between the open nodes from now on.
pub(crate) fn set_faults(cluster: &TestCluster, faults: &LinkFaults) {
    for from in cluster.ids() {
        for to in followers(cluster, from) {
            cluster.router().set_faults(from, to, faults.clone());
        }
    }
}

/// The state that all open nodes have come to. Nobody writes any more.
pub(crate) fn agreed(cluster: &TestCluster) -> StateView {
    let states: Vec<StateView> = cluster.states().unwrap().into_values().collect();
    let digests: BTreeSet<_> =
        states.iter().map(|state| *StateDigest::of(state).unwrap().as_bytes()).collect();
    assert_eq!(digests.len(), 1, "the states differ");
    states.into_iter().next().unwrap()
}
