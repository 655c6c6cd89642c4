//! R3: the leader is killed again and again while everybody writes and reads.

use crate::load::Load;
use crate::support::{cluster, leader_besides};

#[test]
fn ten_leaders_are_killed_in_turn() {
    let mut cluster = cluster(3, 301);
    let load = Load::new(&cluster);
    load.during_with_register(3, || {
        for _ in 0..10 {
            load.progress(15);
            let leader = cluster.leader().unwrap();
            cluster.kill(leader);
            leader_besides(&cluster, leader);
            load.progress(5);
            cluster.restart(leader).unwrap();
            load.refresh(&cluster);
        }
        load.progress(15);
    });
    load.check(&cluster);
}

#[test]
fn a_follower_is_killed_in_every_round() {
    let mut cluster = cluster(3, 302);
    let load = Load::new(&cluster);
    load.during_with_register(3, || {
        for round in 0..4 {
            load.progress(20);
            let leader = cluster.leader().unwrap();
            let follower = crate::support::followers(&cluster, leader)[round % 2];
            cluster.kill(follower);
            load.progress(20);
            cluster.restart(follower).unwrap();
            load.refresh(&cluster);
        }
    });
    load.check(&cluster);
}
