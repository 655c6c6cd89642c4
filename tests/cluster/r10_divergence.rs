//! R10: a replica whose state differs is found within a thousand entries, and serves nothing any
//! more. The others go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hightower_kv::raft::test_cluster::TestCluster;
use hightower_kv::raft::{ClusterConfig, ClusterEngine};
use hightower_kv::{Command, Error, KvEngine, ReadContext, Result};

use crate::support::{PATIENCE, agreed, cluster_with, config, followers, persist};

/// A thousand writes at once take a while on a busy machine, and nobody else may lead meanwhile.
fn cluster(seed: u64) -> TestCluster {
    let config = ClusterConfig {
        election_timeout: (Duration::from_secs(1), Duration::from_secs(2)),
        deadline: Duration::from_mins(1),
        ..config()
    };
    cluster_with(3, seed, config)
}

/// Enough that an index which is a multiple of a thousand lies between.
fn write_a_thousand(engine: &Arc<ClusterEngine>) -> Result<()> {
    let handed: Vec<_> = (0..1050_u32)
        .map(|number| engine.submit_async(Command::set("key", number.to_string().into_bytes())))
        .collect();
    handed.into_iter().try_for_each(|submission| submission.wait().map(drop))
}

fn wait_for_quarantine(engine: &ClusterEngine) -> Error {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Err(error) = engine.view(ReadContext::Local) {
            return error;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("the state differs, and the node still serves it");
}

#[test]
fn a_follower_whose_state_differs_stops_and_the_others_go_on() {
    let cluster = cluster(1001);
    let leader = cluster.leader().unwrap();
    let engine = cluster.node(leader);
    persist("the first write", || engine.put(b"first".to_vec(), b"x".to_vec()));
    cluster.settle().unwrap();
    let odd = cluster.node(followers(&cluster, leader)[0]);
    odd.skip_next_command();
    persist("the odd write", || engine.put(b"odd".to_vec(), b"x".to_vec()));
    write_a_thousand(&engine).unwrap();
    let error = wait_for_quarantine(&odd);
    let Error::Diverged { index } = error else { panic!("{error}") };
    assert_eq!(index.0 % 1000, 0);
    assert!(matches!(odd.put(b"a".to_vec(), b"b".to_vec()), Err(Error::Diverged { .. })));
    persist("a write afterwards", || engine.put(b"after".to_vec(), b"x".to_vec()));
    assert!(engine.contains(b"odd").unwrap());
}

#[test]
fn a_leader_whose_state_differs_stops_and_another_one_leads() {
    let cluster = cluster(1002);
    let leader = cluster.leader().unwrap();
    let engine = cluster.node(leader);
    persist("the first write", || engine.put(b"first".to_vec(), b"x".to_vec()));
    cluster.settle().unwrap();
    engine.skip_next_command();
    persist("the odd write", || engine.put(b"odd".to_vec(), b"x".to_vec()));
    // It may stop before it has answered the last ones.
    let written = write_a_thousand(&engine);
    assert!(matches!(written, Ok(()) | Err(Error::Diverged { .. })), "{written:?}");
    assert!(matches!(wait_for_quarantine(&engine), Error::Diverged { .. }));
    let next = crate::support::leader_besides(&cluster, leader);
    let next = cluster.node(next);
    persist("a write afterwards", || next.put(b"after".to_vec(), b"x".to_vec()));
    assert!(persist("a read afterwards", || next.contains(b"odd")));
}

#[test]
fn equal_states_are_never_taken_for_different_ones() {
    let cluster = cluster(1003);
    let engine = cluster.node(cluster.leader().unwrap());
    for _ in 0..3 {
        write_a_thousand(&engine).unwrap();
        persist("some are removed", || engine.submit(Command::delete_prefix("k")));
    }
    agreed(&cluster);
    for id in cluster.ids() {
        assert!(cluster.node(id).view(ReadContext::Local).is_ok(), "node {id}");
    }
}
