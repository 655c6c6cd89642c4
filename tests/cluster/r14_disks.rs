//! R14: the disk of one node fails or is full.

use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::raft::test_cluster::TestCluster;
use hightower_kv::types::NodeId;
use hightower_kv::{Error, KvEngine, ReadContext};

use crate::load::Load;
use crate::support::{cluster, followers, leader_besides, wait_until};

/// A node whose disk has failed says so, and takes no part.
fn has_stopped(cluster: &TestCluster, id: NodeId) {
    let engine = cluster.node(id);
    wait_until(&engine, "it stops", |status| status.stopped.is_some());
    let written = engine.put(b"stopped".to_vec(), b"value".to_vec());
    assert!(matches!(written, Err(Error::Poisoned { .. })), "{written:?}");
    let read = engine.view(ReadContext::Linearizable);
    assert!(matches!(read, Err(Error::Poisoned { .. })), "{read:?}");
}

/// The disk of the leader or of a follower fails under load; the node comes back on what the disk
/// held, once it works again.
fn fails(seed: u64, leads: bool, fail: impl Fn(&SimFs)) {
    let mut cluster = cluster(3, seed);
    let load = Load::new(&cluster);
    load.during_with_register(3, || {
        load.progress(20);
        let leader = cluster.leader().unwrap();
        let broken = if leads { leader } else { followers(&cluster, leader)[0] };
        fail(&cluster.sim(broken).unwrap());
        has_stopped(&cluster, broken);
        if leads {
            assert_ne!(leader_besides(&cluster, broken), broken);
        }
        load.progress(40);
        // The disk that comes back has no faults.
        cluster.kill(broken);
        cluster.restart(broken).unwrap();
        load.refresh(&cluster);
        load.progress(40);
    });
    load.check(&cluster);
}

#[test]
fn a_follower_whose_syncs_fail_stops_and_the_others_go_on() {
    fails(1401, false, SimFs::fail_all_syncs);
}

#[test]
fn a_leader_whose_syncs_fail_is_replaced() {
    fails(1402, true, SimFs::fail_all_syncs);
}

#[test]
fn a_leader_whose_disk_becomes_read_only_is_replaced() {
    fails(1403, true, SimFs::make_read_only);
}

/// The disk of the leader or of a follower is full under load. Room is made later.
fn is_full(seed: u64, leads: bool) {
    let mut config = crate::support::config();
    config.store.max_segment_size = 64 << 10;
    config.store.disk_reserve = 16 << 10;
    let mut cluster = crate::support::cluster_with(3, seed, config);
    let load = Load::of_values(&cluster, 1000);
    load.during_with_register(3, || {
        load.progress(20);
        let leader = cluster.leader().unwrap();
        let full = if leads { leader } else { followers(&cluster, leader)[0] };
        let disk = cluster.sim(full).unwrap();
        disk.set_space(Some(disk.used_bytes() + (128 << 10)));
        load.progress(600);
        disk.set_space(None);
        if cluster.node(full).status().stopped.is_some() {
            cluster.kill(full);
            cluster.restart(full).unwrap();
            load.refresh(&cluster);
        }
        load.progress(60);
    });
    load.check(&cluster);
}

#[test]
fn a_follower_whose_disk_is_full_loses_nothing() {
    is_full(1404, false);
}

#[test]
fn a_leader_whose_disk_is_full_loses_nothing() {
    is_full(1405, true);
}
