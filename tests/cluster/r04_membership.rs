//! R4: who the members are changes while everybody writes, and while the network is cut.

use std::collections::BTreeSet;

use hightower_kv::Error;
use hightower_kv::raft::{ClusterStatus, Retain};
use hightower_kv::types::NodeId;

use crate::load::Load;
use crate::support::{block_on, cluster, followers, join, leader_besides, persist, wait_until};

const fn set(ids: [u64; 3]) -> [NodeId; 3] {
    [NodeId(ids[0]), NodeId(ids[1]), NodeId(ids[2])]
}

#[test]
fn a_voter_is_replaced_while_everybody_writes() {
    let mut cluster = cluster(3, 401);
    let load = Load::new(&cluster);
    load.during_with_register(3, || {
        load.progress(20);
        cluster.open(NodeId(4)).unwrap();
        join(&cluster, NodeId(4));
        load.refresh(&cluster);
        load.progress(20);
        let leader = cluster.leader().unwrap();
        let leaves = followers(&cluster, leader).into_iter().find(|id| id.0 <= 3).unwrap();
        let stays: Vec<NodeId> = cluster.ids().into_iter().filter(|&id| id != leaves).collect();
        persist("the voters change", || cluster.set_voters(&stays, Retain::AsLearners));
        load.progress(40);
        let status = cluster.node(cluster.leader().unwrap()).status();
        assert_eq!(status.voters, stays.into_iter().collect());
        assert_eq!(status.learners, BTreeSet::from([leaves]));
    });
    load.check(&cluster);
}

#[test]
fn a_leader_that_is_removed_steps_down() {
    let cluster = cluster(3, 402);
    let load = Load::new(&cluster);
    let mut removed = NodeId(0);
    load.during_with_register(3, || {
        load.progress(20);
        removed = cluster.leader().unwrap();
        let stays = followers(&cluster, removed);
        persist("the voters change", || cluster.set_voters(&stays, Retain::AsLearners));
        let next = leader_besides(&cluster, removed);
        assert!(stays.contains(&next));
        wait_until(&cluster.node(removed), "it steps down", |status| !status.is_leader());
        load.progress(40);
    });
    assert!(!cluster.node(cluster.leader().unwrap()).status().voters.contains(&removed));
    load.check(&cluster);
}

#[test]
fn a_leader_that_leaves_the_cluster_is_replaced() {
    let mut cluster = cluster(3, 404);
    let load = Load::new(&cluster);
    load.during(3, || {
        load.progress(20);
        let leaves = cluster.leader().unwrap();
        let stays = followers(&cluster, leaves);
        persist("the voters change", || cluster.set_voters(&stays, Retain::Nobody));
        assert!(stays.contains(&leader_besides(&cluster, leaves)));
        cluster.stop(leaves).unwrap();
        load.progress(40);
    });
    load.check(&cluster);
}

#[test]
fn a_change_that_cannot_be_committed_makes_no_second_leader() {
    let cluster = cluster(3, 403);
    let load = Load::new(&cluster);
    let all: BTreeSet<NodeId> = set([1, 2, 3]).into();
    load.during_with_register(3, || {
        load.progress(20);
        let (old, isolated, term, changed) = loop {
            let old = cluster.leader().unwrap();
            let isolated = cluster.node(old);
            let term = isolated.status().term;
            cluster.router().isolate(old);
            let alone = BTreeSet::from([old]);
            match block_on(isolated.change_membership(alone, Retain::Nobody)) {
                // Another one led already when it was cut off.
                Err(Error::NotLeader { .. }) => cluster.router().heal_all(),
                changed => break (old, isolated, term, changed),
            }
        };
        assert!(
            matches!(changed, Err(Error::Unavailable(_) | Error::OutcomeUnknown { .. })),
            "{changed:?}"
        );
        let next = leader_besides(&cluster, old);
        assert!(cluster.node(next).status().term > term);
        assert!(isolated.status().voters.is_superset(&all), "it decides alone");
        load.progress(10);
        cluster.router().heal_all();
        let voters = all.clone();
        let forgets = move |status: &ClusterStatus| {
            !status.is_leader() && status.voters == voters && !status.is_joint
        };
        wait_until(&isolated, "the change is forgotten", forgets);
        load.progress(40);
    });
    load.check(&cluster);
}
