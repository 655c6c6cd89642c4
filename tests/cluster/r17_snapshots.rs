//! R17: a snapshot that is interrupted on its way goes on, or begins again.

use std::time::{Duration, Instant};

use hightower_kv::raft::ClusterStatus;
use hightower_kv::raft::router::LinkFaults;
use hightower_kv::raft::test_cluster::TestCluster;
use hightower_kv::types::{LogIndex, NodeId};

use crate::load::Load;
use crate::support::{
    PATIENCE, block_on, cluster_with, config_of_small_logs, followers, leader_besides, persist,
    wait_until,
};

/// A cluster whose log no longer reaches back to where one node is.
struct Behind {
    cluster: TestCluster,
    load: Load,
    leader: NodeId,
    /// The node that is not open.
    away: NodeId,
    /// The last entry that it may have.
    had: LogIndex,
}

impl Behind {
    fn new(seed: u64) -> Self {
        let mut cluster = cluster_with(3, seed, config_of_small_logs());
        let load = Load::of_values(&cluster, 2000);
        let leader = cluster.leader().unwrap();
        let away = followers(&cluster, leader)[0];
        let had = load.during(3, || {
            load.progress(20);
            cluster.kill(away);
            let had = cluster.node(leader).status().last.unwrap();
            load.progress(150);
            had
        });
        // Whoever leads from now on sends a snapshot.
        for id in cluster.ids() {
            let engine = cluster.node(id);
            persist("a snapshot", || block_on(engine.snapshot_now()));
            let beyond = move |status: &ClusterStatus| status.purged > Some(had);
            wait_until(&engine, "the log is purged", beyond);
        }
        Self { cluster, load, leader: NodeId(0), away, had }.led()
    }

    fn led(mut self) -> Self {
        self.leader = self.cluster.leader().unwrap();
        self
    }

    /// Opens the node that was away; what it is sent is slow from the beginning.
    fn come_back_slowly(&mut self) {
        let delay = Duration::from_millis(20)..Duration::from_millis(20);
        let faults = LinkFaults { delay, ..LinkFaults::default() };
        for id in self.cluster.ids() {
            self.cluster.router().set_faults(id, self.away, faults.clone());
        }
        let before = self.arrived();
        self.cluster.restart(self.away).unwrap();
        self.load.refresh(&self.cluster);
        let end = Instant::now() + PATIENCE;
        // A few requests: it is being offered the snapshot, or sent a part of it.
        while self.arrived() < before + 6 {
            assert!(Instant::now() < end, "nobody sends anything");
            std::thread::yield_now();
        }
    }

    /// From everybody: on a busy machine another one may lead by now.
    fn arrived(&self) -> u64 {
        let router = self.cluster.router();
        let others = followers(&self.cluster, self.away).into_iter();
        others.map(|id| router.counters(id, self.away).arrived).sum()
    }

    /// In the end it has everything.
    fn check(self) {
        let had = self.had;
        let caught_up = move |status: &ClusterStatus| status.snapshot > Some(had);
        wait_until(&self.cluster.node(self.away), "it has the snapshot", caught_up);
        self.load.during(3, || self.load.progress(20));
        self.load.check(&self.cluster);
    }
}

#[test]
fn a_transfer_that_is_cut_in_the_middle_goes_on() {
    let mut behind = Behind::new(1701);
    behind.come_back_slowly();
    let (leader, away) = (behind.leader, behind.away);
    for _ in 0..3 {
        behind.cluster.router().cut(leader, away);
        behind.load.during(3, || behind.load.progress(6));
        behind.cluster.router().heal(leader, away);
        behind.load.during(3, || behind.load.progress(12));
    }
    behind.cluster.router().heal_all();
    behind.check();
}

#[test]
fn a_follower_that_is_killed_in_the_middle_gets_it_all() {
    let mut behind = Behind::new(1702);
    for _ in 0..3 {
        behind.come_back_slowly();
        behind.cluster.kill(behind.away);
    }
    behind.cluster.router().heal_all();
    behind.cluster.restart(behind.away).unwrap();
    behind.load.refresh(&behind.cluster);
    behind.check();
}

#[test]
fn another_leader_sends_it_when_the_first_one_is_killed_in_the_middle() {
    let mut behind = Behind::new(1703);
    behind.come_back_slowly();
    let old = behind.leader;
    behind.cluster.kill(old);
    // Two of three are left, and the one that lags is needed.
    behind.cluster.router().heal_all();
    leader_besides(&behind.cluster, old);
    behind.cluster.restart(old).unwrap();
    behind.load.refresh(&behind.cluster);
    behind.check();
}
