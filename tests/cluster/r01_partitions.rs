//! R1: links that are cut. A majority goes on; whoever is cut off from it says so in time.

use std::time::Instant;

use futures_util::future::join_all;
use hightower_kv::command::Command;
use hightower_kv::raft::ClusterConfig;
use hightower_kv::{Error, KvEngine, ReadContext};
use tokio::time::timeout;

use crate::load::{Load, in_time};
use crate::support::{
    PATIENCE, block_on, cluster, cluster_with, config, followers, leader_besides, wait_until,
};

#[test]
fn a_follower_that_is_cut_off_from_the_leader_changes_nothing_for_the_others() {
    let cluster = cluster(3, 101);
    let leader = cluster.leader().unwrap();
    let follower = followers(&cluster, leader)[0];
    let load = Load::new(&cluster);
    load.during_with_register(3, || {
        load.progress(20);
        cluster.router().cut(leader, follower);
        cluster.router().cut(follower, leader);
        load.progress(12);
        cluster.router().heal_all();
        load.progress(60);
    });
    load.check(&cluster);
}

#[test]
fn an_isolated_leader_acknowledges_nothing_and_the_others_go_on() {
    let cluster = cluster(3, 102);
    let load = Load::new(&cluster);
    let old = cluster.leader().unwrap();
    let isolated = cluster.node(old);
    load.during_with_register(3, || {
        load.progress(20);
        cluster.router().isolate(old);
        let next = leader_besides(&cluster, old);
        assert_ne!(next, old);
        let begun = Instant::now();
        let written = isolated.put(b"alone".to_vec(), b"value".to_vec());
        in_time(begun, "a write on the isolated leader");
        assert!(
            matches!(written, Err(Error::OutcomeUnknown { .. } | Error::Unavailable(_))),
            "{written:?}"
        );
        let begun = Instant::now();
        let read = isolated.view(ReadContext::Linearizable);
        in_time(begun, "a read on the isolated leader");
        assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
        assert!(isolated.view(ReadContext::Local).is_ok(), "what is named stale goes on");
        load.progress(10);
        cluster.router().heal_all();
        wait_until(&isolated, "it follows", |status| !status.is_leader());
        load.progress(60);
    });
    load.check(&cluster);
}

#[test]
fn a_leader_that_is_cut_off_keeps_nobody_waiting_once_another_one_leads() {
    let config = ClusterConfig { deadline: 2 * PATIENCE, ..config() };
    let cluster = cluster_with(3, 104, config);
    let old = cluster.leader().unwrap();
    cluster.router().isolate(old);
    // Both are asked while they believe that the old one leads.
    let others = followers(&cluster, old).into_iter().map(|id| cluster.node(id));
    let others: Vec<_> = others.collect();
    let written = others.iter().map(|node| node.submit_async(Command::set("key", "value")));
    let written: Vec<_> = written.collect();
    let read = others.iter().map(|node| node.view_at(ReadContext::Linearizable));
    for read in block_on(async { timeout(PATIENCE, join_all(read)).await }).unwrap() {
        assert!(read.is_ok(), "whom a read asks makes no difference: {read:?}");
    }
    for submission in written {
        let answer = block_on(async { timeout(PATIENCE, submission).await }).unwrap();
        assert!(matches!(answer, Ok(_) | Err(Error::OutcomeUnknown { .. })), "{answer:?}");
    }
    for node in others {
        node.put(b"after".to_vec(), b"value".to_vec()).unwrap();
    }
}

#[test]
fn without_a_majority_nothing_is_acknowledged_and_everything_goes_on_afterwards() {
    let cluster = cluster(3, 103);
    let load = Load::new(&cluster);
    load.during_with_register(2, || {
        load.progress(20);
        for id in cluster.ids() {
            cluster.router().isolate(id);
        }
        for id in cluster.ids() {
            let begun = Instant::now();
            let written = cluster.node(id).put(b"nobody".to_vec(), b"value".to_vec());
            in_time(begun, "a write without a majority");
            assert!(written.is_err(), "{written:?}");
            let read = cluster.node(id).view(ReadContext::Linearizable);
            assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
        }
        cluster.router().heal_all();
        load.progress(60);
    });
    load.check(&cluster);
}
