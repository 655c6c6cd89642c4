//! Whole nodes, where it takes a look at or into them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;

use crate::command::Command;
use crate::engine::api::KvEngine;
use crate::engine::submission::Submission;
use crate::env::Env;
use crate::env::fs_sim::SimFs;
use crate::error::Error;
use crate::raft::block_on::block_on;
use crate::raft::router::LinkFaults;
use crate::raft::test_cluster::{Disk, TestCluster};
use crate::raft::{ClusterConfig, ClusterEngine, ClusterStatus, Retain, Wait};
use crate::types::NodeId;

/// How long anything is waited for that must happen.
const PATIENCE: Duration = Duration::from_mins(5);

const ONE: NodeId = NodeId(1);

fn config() -> ClusterConfig {
    ClusterConfig {
        election_timeout: (Duration::from_millis(300), Duration::from_millis(600)),
        deadline: Duration::from_secs(20),
        ..ClusterConfig::default()
    }
}

fn cluster(count: u64, config: ClusterConfig) -> TestCluster {
    TestCluster::start_with(count, Disk::Simulated, 7, config).unwrap()
}

fn pause(millis: u64) {
    Env::system().clock.pause(Duration::from_millis(millis));
}

/// Hands in a write of one key.
fn put_async(engine: &ClusterEngine, value: usize) -> Submission {
    KvEngine::submit_async(engine, Command::set("k", value.to_string()))
}

#[test]
fn what_one_caller_hands_in_while_nobody_leads_is_applied_in_that_order() {
    let mut cluster = cluster(1, config());
    for _ in 0..3 {
        cluster.stop(ONE).unwrap();
        let node = cluster.restart(ONE).unwrap();
        let mut handed = Vec::new();
        let mut after = 0;
        while after < 300 {
            after += usize::from(node.status().is_leader());
            handed.push(put_async(&node, handed.len()));
            std::thread::yield_now();
        }
        let answers = handed.into_iter().filter_map(|it| it.wait().ok());
        let versions: Vec<_> = answers.map(|outcome| outcome.version).collect();
        assert!(versions.len() >= 300);
        assert!(versions.is_sorted(), "some went before others: {versions:?}");
    }
}

#[test]
fn a_node_that_openraft_has_stopped_takes_no_writes() {
    let cluster = cluster(3, config());
    let leader = cluster.leader().unwrap();
    let stopped = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    let stopped = cluster.node(stopped);
    stopped.put(b"k".to_vec(), b"1".to_vec()).unwrap();
    block_on(stopped.node.raft.shutdown()).unwrap();
    let mut tries = 0;
    loop {
        match stopped.put(b"k".to_vec(), b"2".to_vec()) {
            Err(Error::Closed(_)) => break,
            // It is known a moment later.
            taken => assert!(tries < 100, "{taken:?}"),
        }
        tries += 1;
        pause(10);
    }
    assert!(stopped.status().stopped.is_some());
    cluster.node(leader).put(b"k".to_vec(), b"3".to_vec()).unwrap();
}

#[test]
fn a_write_after_a_wait_for_the_end_of_openraft_that_was_given_up_is_refused() {
    let cluster = cluster(1, config());
    let node = cluster.node(ONE);
    node.put(b"k".to_vec(), b"1".to_vec()).unwrap();
    assert!(node.node.raft.shutdown().now_or_never().is_none(), "it ends in its own time");
    while !node.node.is_ending() {
        pause(1);
    }
    for _ in 0..20 {
        node.node.forget_end();
        let refused = KvEngine::submit_async(&*node, Command::set("k", "2")).wait();
        assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
        pause(10);
    }
}

#[test]
fn a_question_for_a_read_that_is_lost_is_asked_again() {
    let cluster = cluster(3, config());
    let leader = cluster.leader().unwrap();
    cluster.node(leader).put(b"k".to_vec(), b"1".to_vec()).unwrap();
    let asks = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    let reader = cluster.node(asks);
    let faults = LinkFaults { drop_request: 1.0, ..LinkFaults::default() };
    cluster.router().set_faults(asks, leader, faults);
    let lost = cluster.router().counters(asks, leader).requests_lost;
    let clock = Env::system().clock;
    let begun = clock.elapsed();
    std::thread::scope(|scope| {
        let read = scope.spawn(|| reader.get(b"k"));
        while cluster.router().counters(asks, leader).requests_lost == lost {
            pause(1);
        }
        cluster.router().set_faults(asks, leader, LinkFaults::default());
        assert_eq!(read.join().unwrap().unwrap().unwrap(), "1");
    });
    let took = clock.elapsed().saturating_sub(begun);
    assert!(took < config().deadline / 2, "{took:?}");
}

#[test]
fn a_snapshot_that_is_asked_for_beside_another_is_taken() {
    let mut config = config();
    config.deadline = Duration::from_secs(5);
    // None is taken by itself.
    config.store.max_segment_size = 1 << 30;
    let cluster = cluster(1, config);
    let node = cluster.node(ONE);
    for round in 0..5_u8 {
        let sets = (0..1000_u32).map(|n| Command::set(n.to_string(), vec![round; 4000]));
        node.submit_batch(sets.collect()).unwrap();
        let last = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for n in 0..10 {
                    pause(1);
                    put_async(&node, n).wait().unwrap();
                }
            });
            // It begins before the last of them, and may end behind it.
            block_on(node.node.raft.trigger().snapshot()).unwrap();
            writer.join().unwrap();
            node.status().applied.unwrap().index
        });
        block_on(node.snapshot_now()).unwrap();
        assert!(node.status().snapshot >= Some(last));
    }
}

#[test]
fn whoever_loses_the_lead_while_a_learner_catches_up_says_so() {
    let mut config = config();
    config.log_kept = 20;
    let mut cluster = cluster(3, config);
    let leader = cluster.leader().unwrap();
    let node = cluster.node(leader);
    let handed: Vec<Submission> = (0..1500).map(|n| put_async(&node, n)).collect();
    for handed in handed {
        handed.wait().unwrap();
    }
    let learner = NodeId(4);
    cluster.open(learner).unwrap();
    // Who it is it says in time; what it lacks takes longer.
    let delay = Duration::from_millis(1500)..Duration::from_millis(1501);
    let faults = LinkFaults { delay, ..LinkFaults::default() };
    cluster.router().set_faults(leader, learner, faults);
    let next = cluster.ids().into_iter().find(|&id| id != leader && id != learner).unwrap();
    std::thread::scope(|scope| {
        let joins =
            scope.spawn(|| block_on(node.add_learner(learner, "there".into(), Wait::CaughtUp)));
        let joined = move |status: &ClusterStatus| status.learners.contains(&learner);
        block_on(cluster.node(next).wait_until(PATIENCE, joined)).unwrap();
        block_on(node.transfer_leader(next)).unwrap();
        let told = joins.join().unwrap();
        assert!(matches!(told, Err(Error::NotLeader { .. })), "{told:?}");
    });
}

#[test]
fn a_member_that_is_added_at_another_address_gets_it() {
    let mut cluster = cluster(3, config());
    let leader = cluster.node(cluster.leader().unwrap());
    let learner = NodeId(4);
    cluster.add_learner(learner).unwrap();
    for address in ["elsewhere", "back"] {
        block_on(leader.add_learner(learner, address.to_owned(), Wait::CaughtUp)).unwrap();
        let moved = || {
            let members = leader.node.peers.members().unwrap();
            members.nodes()[&learner].address == address
        };
        for _ in 0..1000 {
            if moved() {
                break;
            }
            pause(5);
        }
        assert!(moved(), "{address}");
    }
}

#[test]
fn a_change_of_voters_that_takes_longer_than_a_call_comes_to_its_end() {
    let mut config = config();
    // Nobody else leads because the machine is busy: the change would be gone with the leader.
    config.election_timeout = (Duration::from_secs(2), Duration::from_secs(4));
    config.deadline = Duration::from_secs(4);
    let mut cluster = cluster(3, config);
    let leader = cluster.leader().unwrap();
    let node = cluster.node(leader);
    let learner = NodeId(4);
    cluster.add_learner(learner).unwrap();
    cluster.router().isolate(learner);
    let voters = BTreeSet::from([leader, learner]);
    let changed = block_on(node.change_membership(voters.clone(), Retain::AsLearners));
    assert!(matches!(changed, Err(Error::Unavailable(_))), "{changed:?}");
    assert!(node.status().is_joint);
    cluster.router().heal_all();
    let done = move |status: &ClusterStatus| !status.is_joint && status.voters == voters;
    block_on(node.wait_until(Duration::from_mins(1), done)).unwrap();
}

/// The largest table on a disk.
fn table_of(sim: &SimFs) -> PathBuf {
    let tables = sim.files().into_iter().map(|(path, _)| path);
    let tables = tables.filter(|path| path.extension().is_some_and(|it| it == "tbl"));
    tables.max_by_key(|path| sim.read_file(path).unwrap().len()).unwrap()
}

#[test]
fn the_only_voter_goes_on_where_a_write_looks_at_rows_that_cannot_be_read() {
    let mut cluster = cluster(1, config());
    let node = cluster.node(ONE);
    let key = |n: u32| format!("key/{n:05}").into_bytes();
    for n in 0..200 {
        node.put(key(n), vec![7; 500]).unwrap();
    }
    block_on(node.snapshot_now()).unwrap();
    drop(node);
    cluster.stop(ONE).unwrap();
    let sim = cluster.sim(ONE).unwrap();
    sim.flip_bit(&table_of(&sim), 8 * 50_000 + 3).unwrap();
    let node = cluster.restart(ONE).unwrap();
    cluster.leader().unwrap();
    let bad: Vec<u32> = (0..200).filter(|&n| node.get(&key(n)).is_err()).collect();
    assert!((1..20).contains(&bad.len()), "{bad:?}");
    let first = put_async(&node, 1);
    let refused = node.submit_async(Command::set(key(bad[0]), "x"));
    let last = put_async(&node, 2);
    assert!(matches!(refused.wait(), Err(Error::Corrupt(_))));
    assert!(first.wait().unwrap().version < last.wait().unwrap().version);
    assert_eq!(node.get(b"k").unwrap().unwrap(), "2");
    drop(node);
    cluster.stop(ONE).unwrap();
    let node = cluster.restart(ONE).unwrap();
    cluster.leader().unwrap();
    assert_eq!(node.get(b"k").unwrap().unwrap(), "2");
}
