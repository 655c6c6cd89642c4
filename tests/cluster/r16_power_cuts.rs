//! R16: all nodes lose their power at once, in the middle of writes.

use hightower_kv::env::fs_sim::PowerCut;

use crate::load::Load;
use crate::support::{cluster_with, config_of_small_logs};

/// Cuts the power of everybody again and again under load.
fn outages(seed: u64, cuts: impl Fn(u64) -> PowerCut) {
    let mut cluster = cluster_with(3, seed, config_of_small_logs());
    let load = Load::of_values(&cluster, 200);
    load.during_with_register(3, || {
        for round in 0..4 {
            load.progress(40);
            let ids = cluster.ids();
            for &id in &ids {
                cluster.cut_power(id, cuts(seed + 10 * round + id.0));
            }
            for &id in &ids {
                cluster.restart(id).unwrap();
            }
            load.refresh(&cluster);
            cluster.leader().unwrap();
        }
        load.progress(40);
    });
    load.check(&cluster);
}

#[test]
fn a_power_cut_that_loses_everything_unsynced() {
    outages(1600, |_| PowerCut::Nothing);
}

#[test]
fn a_power_cut_that_loses_nothing() {
    outages(1700, |_| PowerCut::Everything);
}

#[test]
fn power_cuts_that_lose_what_chance_decides() {
    for seed in [1800, 1900, 2000] {
        outages(seed, PowerCut::random);
    }
}

#[test]
fn the_leader_loses_its_power_and_what_it_had_not_synced() {
    let mut cluster = crate::support::cluster(3, 2100);
    let load = Load::new(&cluster);
    load.during_with_register(3, || {
        for _ in 0..4 {
            load.progress(30);
            let leader = cluster.leader().unwrap();
            cluster.cut_power(leader, PowerCut::Nothing);
            crate::support::leader_besides(&cluster, leader);
            load.progress(10);
            cluster.restart(leader).unwrap();
            load.refresh(&cluster);
        }
    });
    load.check(&cluster);
}
