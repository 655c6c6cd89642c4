//! R7: writes within sessions are tried again until they are answered, and each counts once: with
//! answers lost, the leader killed and a snapshot between.

use std::time::Duration;

use hightower_kv::raft::router::LinkFaults;
use hightower_kv::{Command, Error, Guard, KvEngine};

use crate::support::{
    agreed, cluster, cluster_with, config, config_of_small_logs, followers, persist, set_faults,
};

/// One that changes something only the first time: a second time its guard fails, and so does the
/// test.
fn once(number: usize) -> Command {
    let key = format!("once/{number}");
    Command::guarded([Guard::absent(key.clone())], [Command::set(key, "x")])
}

#[test]
fn each_request_counts_once_though_answers_are_lost() {
    let mut config = config();
    config.deadline = Duration::from_millis(400);
    let cluster = cluster_with(3, 711, config);
    let leader = cluster.leader().unwrap();
    let follower = followers(&cluster, leader)[0];
    let session = cluster.node(follower).session().unwrap();
    let faults = LinkFaults { drop_response: 0.3, drop_request: 0.1, ..Default::default() };
    cluster.router().set_faults(follower, leader, faults);
    for number in 0..25 {
        let outcome = session.submit(&once(number)).unwrap();
        assert!(outcome.is_applied(), "{number}: {outcome:?}");
    }
    set_faults(&cluster, &LinkFaults::default());
    assert_eq!(agreed(&cluster).len(), 25);
}

#[test]
fn each_request_counts_once_though_leaders_die_and_snapshots_are_taken() {
    let mut cluster = cluster_with(3, 712, config_of_small_logs());
    let stays = cluster.ids()[0];
    let session = cluster.node(stays).session().unwrap();
    for number in 0..60 {
        if number % 20 == 10 {
            let leader = cluster.leader().unwrap();
            crate::support::block_on(cluster.node(leader).snapshot_now()).unwrap();
            if leader != stays {
                cluster.kill(leader);
                let outcome = session.submit(&once(1000 + number)).unwrap();
                assert!(outcome.is_applied());
                cluster.restart(leader).unwrap();
            }
        }
        let outcome = session.submit(&once(number)).unwrap();
        assert!(outcome.is_applied(), "{number}: {outcome:?}");
    }
    let state = agreed(&cluster);
    assert!(state.len() >= 60);
}

#[test]
fn a_repeated_request_gets_the_first_answer_on_another_leader_too() {
    let mut cluster = cluster(3, 713);
    let leader = cluster.leader().unwrap();
    let session = cluster.node(leader).session().unwrap();
    let repeated = Command::in_session(session.id(), 1, once(0));
    let first = persist("the first", || cluster.node(leader).submit(repeated.clone()));
    cluster.kill(leader);
    let next = cluster.leader().unwrap();
    let again = persist("the second", || cluster.node(next).submit(repeated.clone()));
    assert_eq!((again.outcome, again.version), (first.outcome, first.version));
}

#[test]
fn a_session_that_was_closed_takes_nothing() {
    let cluster = cluster(3, 714);
    let engine = cluster.node(cluster.leader().unwrap());
    let session = engine.session().unwrap();
    session.put(b"key".to_vec(), b"1".to_vec()).unwrap();
    persist("closing", || engine.submit(Command::close_session(session.id())));
    let error = session.put(b"key".to_vec(), b"2".to_vec()).unwrap_err();
    assert!(matches!(error, Error::SessionExpired), "{error}");
    assert_eq!(engine.get(b"key").unwrap().as_deref(), Some(&b"1"[..]));
}
