//! R2: links that lose, delay, repeat and reorder, also in one direction only.

use std::time::Duration;

use hightower_kv::raft::router::LinkFaults;

use crate::load::Load;
use crate::support::{cluster, followers, leader_besides, set_faults};

/// Four writers make `many` writes under the faults, and go on when they are gone.
fn under(seed: u64, many: usize, faults: &LinkFaults) {
    let cluster = cluster(3, seed);
    let load = Load::new(&cluster);
    load.during_with_register(4, || {
        load.progress(20);
        set_faults(&cluster, faults);
        load.progress(many);
        cluster.router().heal_all();
        load.progress(60);
    });
    load.check(&cluster);
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn one_message_of_ten_is_lost() {
    under(201, 30, &LinkFaults { drop_request: 0.05, drop_response: 0.05, ..Default::default() });
}

#[test]
fn one_message_of_three_is_lost() {
    under(202, 12, &LinkFaults { drop_request: 0.15, drop_response: 0.15, ..Default::default() });
}

#[test]
fn messages_are_delayed_repeated_and_overtake_each_other() {
    let delay = millis(0)..millis(15);
    under(203, 150, &LinkFaults { duplicate: 0.3, delay, ..Default::default() });
}

#[test]
fn everything_at_once() {
    let delay = millis(0)..millis(10);
    let (drop_request, drop_response, duplicate) = (0.04, 0.04, 0.2);
    under(204, 20, &LinkFaults { drop_request, drop_response, duplicate, delay });
}

#[test]
fn a_follower_whose_answers_are_lost_is_not_needed() {
    let cluster = cluster(3, 205);
    let load = Load::new(&cluster);
    let leader = cluster.leader().unwrap();
    let follower = followers(&cluster, leader)[0];
    load.during_with_register(4, || {
        load.progress(20);
        cluster.router().cut(follower, leader);
        load.progress(12);
        cluster.router().heal_all();
        load.progress(60);
    });
    load.check(&cluster);
}

#[test]
fn a_leader_that_hears_and_is_not_heard_is_replaced() {
    let cluster = cluster(3, 206);
    let load = Load::new(&cluster);
    let leader = cluster.leader().unwrap();
    load.during_with_register(4, || {
        load.progress(20);
        for follower in followers(&cluster, leader) {
            cluster.router().cut(leader, follower);
        }
        leader_besides(&cluster, leader);
        load.progress(12);
        cluster.router().heal_all();
        load.progress(60);
    });
    load.check(&cluster);
}
