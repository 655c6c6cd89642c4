//! R18: everybody stops and starts again, in any order, and the lead is handed over.

use crate::load::Load;
use crate::support::{block_on, cluster, cluster_with, config_of_small_logs, followers, persist};

#[test]
fn everybody_is_stopped_and_started_in_any_order() {
    let mut cluster = cluster_with(3, 1801, config_of_small_logs());
    let load = Load::of_values(&cluster, 200);
    for round in 0..4_usize {
        load.during_with_register(3, || load.progress(60));
        let mut order = cluster.ids();
        order.rotate_left(round % 3);
        for &id in &order {
            if round % 2 == 0 {
                cluster.stop(id).unwrap();
            } else {
                cluster.kill(id);
            }
        }
        if round >= 2 {
            order.reverse();
        }
        for &id in &order {
            cluster.restart(id).unwrap();
        }
        load.refresh(&cluster);
        load.check(&cluster);
    }
}

#[test]
fn everybody_is_stopped_in_turn_while_the_others_go_on() {
    let mut cluster = cluster(3, 1802);
    let load = Load::new(&cluster);
    load.during_with_register(3, || {
        for id in cluster.ids() {
            load.progress(30);
            cluster.stop(id).unwrap();
            load.progress(30);
            cluster.restart(id).unwrap();
            load.refresh(&cluster);
        }
        load.progress(30);
    });
    load.check(&cluster);
}

#[test]
fn the_lead_is_handed_over_under_load() {
    let cluster = cluster(3, 1803);
    let load = Load::new(&cluster);
    load.during_with_register(3, || {
        for round in 0..6 {
            load.progress(20);
            persist("the lead is handed over", || {
                let leader = cluster.leader()?;
                let next = followers(&cluster, leader)[round % 2];
                block_on(cluster.node(leader).transfer_leader(next))
            });
        }
        load.progress(40);
    });
    load.check(&cluster);
}
