//! R15: directories that are wiped, or belong to another cluster.

use hightower_kv::Error;
use hightower_kv::raft::test_cluster::{Disk, TestCluster};
use hightower_kv::raft::{ClusterConfig, ClusterEngine, Retain};
use hightower_kv::types::NodeId;

use crate::load::Load;
use crate::support::{cluster, config, followers, join, persist};

#[test]
fn a_wiped_directory_is_refused_under_its_old_id_and_joins_under_a_new_one() {
    let mut cluster = cluster(3, 1501);
    let load = Load::new(&cluster);
    load.during_with_register(3, || {
        load.progress(40);
        let leader = cluster.leader().unwrap();
        let wiped = followers(&cluster, leader)[0];
        cluster.kill(wiped);
        cluster.wipe(wiped).unwrap();
        let again = cluster.restart(wiped).unwrap();
        load.progress(40);
        let status = again.status();
        assert_eq!((status.last, status.leader), (None, None), "it takes part: {status:?}");
        cluster.stop(wiped).unwrap();
        cluster.open(NodeId(4)).unwrap();
        join(&cluster, NodeId(4));
        load.refresh(&cluster);
        let voters: Vec<NodeId> = cluster.ids();
        persist("the voters change", || cluster.set_voters(&voters, Retain::Nobody));
        load.progress(40);
        let status = cluster.node(cluster.leader().unwrap()).status();
        assert_eq!(status.voters, voters.into_iter().collect());
    });
    load.check(&cluster);
}

/// With one of three wiped, two directories of the cluster are left, and both are needed.
#[test]
fn a_wiped_directory_does_not_vote() {
    let mut cluster = cluster(3, 1502);
    let leader = cluster.leader().unwrap();
    let [wiped, other]: [NodeId; 2] = followers(&cluster, leader).try_into().unwrap();
    cluster.kill(wiped);
    cluster.kill(other);
    cluster.wipe(wiped).unwrap();
    cluster.restart(wiped).unwrap();
    let engine = cluster.node(leader);
    let written = hightower_kv::KvEngine::put(&*engine, b"key".to_vec(), b"value".to_vec());
    assert!(written.is_err(), "a directory that knows nothing counted: {written:?}");
    cluster.stop(wiped).unwrap();
    cluster.restart(other).unwrap();
    persist("a write", || hightower_kv::KvEngine::put(&*engine, b"key".to_vec(), b"v".to_vec()));
}

#[test]
fn a_directory_of_another_cluster_or_node_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = TestCluster::start_with(1, Disk::Real(folder.path().into()), 1503, config());
    let mut cluster = cluster.unwrap();
    cluster.stop(NodeId(1)).unwrap();
    let of = |id: u64, other: bool| {
        let mut config: ClusterConfig = config();
        config.store.data_dir = cluster.directory(NodeId(1));
        config.store.node_id = NodeId(id);
        config.cluster = other.then_some(hightower_kv::types::RandomId([7; 16]));
        ClusterEngine::open(config, cluster.router().transport(NodeId(id)))
    };
    for (id, other) in [(1, true), (2, false)] {
        let opened = of(id, other);
        assert!(matches!(opened, Err(Error::IdentityMismatch(_))), "{opened:?}");
    }
    let opened = of(1, false).unwrap();
    // Also to who is on a runtime, which must not be waited on there.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let again = runtime.block_on(async { of(1, false) });
    assert!(matches!(again, Err(Error::Locked(_))), "{again:?}");
    drop(opened);
}
