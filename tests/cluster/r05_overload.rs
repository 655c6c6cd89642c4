//! R5, R6: a slow follower, one that was away for long, and more writes than there is room for.

use std::time::Duration;

use futures_util::FutureExt;
use hightower_kv::raft::ClusterStatus;
use hightower_kv::raft::router::LinkFaults;
use hightower_kv::types::NodeId;
use hightower_kv::{Command, Error, KvEngine, Result, Submission};

use crate::load::Load;
use crate::support::{
    agreed, cluster_with, config, config_of_small_logs, followers, set_faults, wait_until,
};

/// Requests that may be under way to one node: entries, and a few of every other kind.
const UNDER_WAY_MAX: u64 = 16 + 8;

fn slow(millis: u64) -> LinkFaults {
    let delay = Duration::from_millis(millis)..Duration::from_millis(2 * millis);
    LinkFaults { delay, ..LinkFaults::default() }
}

#[test]
fn a_slow_follower_is_sent_no_more_than_may_be_under_way() {
    let mut config = config();
    // A busy machine makes nobody else lead: this is about the requests of one leader.
    config.heartbeat = Duration::from_millis(200);
    config.election_timeout = (Duration::from_millis(600), Duration::from_millis(900));
    let cluster = cluster_with(3, 501, config);
    let load = Load::of_values(&cluster, 2000);
    let leader = cluster.leader().unwrap();
    let follower = followers(&cluster, leader)[0];
    load.during(4, || {
        load.progress(20);
        cluster.router().set_faults(leader, follower, slow(40));
        for _ in 0..40 {
            load.progress(10);
            let counters = cluster.router().counters(leader, follower);
            let ended = counters.answered + counters.responses_lost + counters.requests_lost;
            let under_way = counters.sent - ended;
            assert!(under_way <= UNDER_WAY_MAX, "{under_way} requests are under way");
        }
        cluster.router().heal_all();
    });
    load.check(&cluster);
}

#[test]
fn a_follower_that_was_away_for_longer_than_the_log_gets_the_snapshot() {
    let mut cluster = cluster_with(3, 502, config_of_small_logs());
    let load = Load::of_values(&cluster, 500);
    let leader = cluster.leader().unwrap();
    let follower = followers(&cluster, leader)[0];
    load.during_with_register(3, || {
        load.progress(20);
        cluster.kill(follower);
        let had = cluster.node(leader).status().last.unwrap();
        let beyond = move |status: &ClusterStatus| status.purged > Some(had);
        wait_until(&cluster.node(leader), "the log is purged", beyond);
        let back = cluster.restart(follower).unwrap();
        load.refresh(&cluster);
        let caught_up = move |status: &ClusterStatus| status.snapshot > Some(had);
        wait_until(&back, "it has a snapshot", caught_up);
        load.progress(60);
    });
    load.check(&cluster);
}

/// Hands in so many writes at once. Who is refused is refused by the call itself.
fn burst(engine: &impl KvEngine, many: usize) -> (Vec<Submission>, usize) {
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for number in 0..many {
        let mut submission = engine.submit_async(Command::set(format!("k{number}"), "value"));
        match (&mut submission).now_or_never() {
            None | Some(Ok(_)) => accepted.push(submission),
            Some(Err(Error::Overloaded(_))) => refused += 1,
            Some(Err(error)) => panic!("{error}"),
        }
    }
    (accepted, refused)
}

#[test]
fn ten_times_as_many_writes_as_there_is_room_for() {
    const ROOM: usize = 50;
    let mut config = config();
    config.store.queue_commands_max = ROOM;
    // All that is accepted is answered in the end. Who is refused is refused at once, see `burst`.
    config.election_timeout = (Duration::from_secs(1), Duration::from_secs(2));
    config.deadline = Duration::from_secs(10);
    let cluster = cluster_with(3, 503, config);
    // Slower than a burst is handed in.
    set_faults(&cluster, &slow(50));
    let leader = cluster.leader().unwrap();
    let nodes: [NodeId; 2] = [leader, followers(&cluster, leader)[0]];
    for id in nodes {
        let engine = cluster.node(id);
        let (accepted, refused) = burst(&*engine, 10 * ROOM);
        assert!(accepted.len() >= ROOM && refused > 0, "{} and {refused}", accepted.len());
        let answers: Vec<Result<_>> = accepted.into_iter().map(Submission::wait).collect();
        let succeeded = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(succeeded, answers.len(), "{answers:?}");
        assert!(engine.put(b"afterwards".to_vec(), b"value".to_vec()).is_ok(), "room is back");
    }
    cluster.router().heal_all();
    agreed(&cluster);
}
