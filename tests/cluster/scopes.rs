//! Scopes and times in a cluster: what goes, goes on all nodes alike, whoever leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hightower_kv::env::clock::{Clock, SystemClock};
use hightower_kv::raft::test_cluster::{Disk, TestCluster};
use hightower_kv::raft::{ClusterConfig, Retain};
use hightower_kv::types::NodeId;
use hightower_kv::{
    Error, KvEngine, Outcome, ReadContext, Scope, SingleNodeEngine, StateView, StoreConfig,
    Timestamp,
};

use crate::support::{
    PATIENCE, agreed, block_on, cluster, config, followers, leader_besides, persist,
};

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn local(cluster: &TestCluster, id: NodeId) -> StateView {
    block_on(cluster.node(id).view_at(ReadContext::Local)).unwrap()
}

/// Waits until something holds for the state of every open node.
fn on_all(cluster: &TestCluster, what: &str, mut holds: impl FnMut(&StateView) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !cluster.ids().into_iter().all(|id| holds(&local(cluster, id))) {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

fn put_ephemeral(cluster: &TestCluster, id: NodeId) {
    let node = cluster.node(id);
    persist("an ephemeral key", || {
        node.scope(Scope::Ephemeral).put(format!("of-{id}").into_bytes(), bytes("v"))
    });
}

fn has_ephemeral(view: &StateView, id: NodeId) -> bool {
    view.scope(&Scope::Ephemeral).contains(format!("of-{id}").as_bytes()).unwrap()
}

#[test]
fn keys_expire_across_a_change_of_the_leader_none_early_and_all_of_them() {
    let mut cluster = cluster(3, 1901);
    let leader = cluster.leader().unwrap();
    let ttl = Duration::from_millis(1_500);
    let node = cluster.node(leader);
    // Each key, since which version it is there, and the stamp that its time counts from.
    let mut puts = Vec::new();
    let mut last = Timestamp(0);
    for number in 0..50 {
        let key = format!("k{number:02}").into_bytes();
        let put = persist("a key", || node.put_with_ttl(key.clone(), bytes("v"), ttl));
        last = put.timestamp;
        puts.push((key, put.version, last));
    }
    // On a busy machine a short lease may be over before a key is put.
    let leased = [1, 10, 100].into_iter().find_map(|times| {
        let lease = persist("a lease", || node.lease(ttl * times));
        persist("a key of a lease", || match lease.put(bytes("leased"), bytes("v")) {
            Err(Error::NotFound(_)) => Ok(None),
            put => put.map(Some),
        })
    });
    // It was granted after the last key.
    puts.push((bytes("leased"), leased.unwrap().version, last));
    persist("a key that stays", || node.put(bytes("stays"), bytes("v")));
    drop(node);
    cluster.kill(leader);
    leader_besides(&cluster, leader);
    // One that lags may have one key that is not this one.
    let is_left = |view: &StateView| view.len() == 1 && view.contains(b"stays").unwrap();
    on_all(&cluster, "all keys go", |view| {
        for (key, version, from) in &puts {
            // Whoever had it and does not have it any more has come to that stamp.
            let had = view.version() >= Some(*version) && !view.contains(key).unwrap();
            let is_due = view.timestamp().0 >= from.0 + 1_500_000;
            assert!(!had || is_due, "early: {}", key.escape_ascii());
        }
        is_left(view)
    });
    cluster.restart(leader).unwrap();
    on_all(&cluster, "the old leader removes them, too", is_left);
    let view = agreed(&cluster);
    assert!(view.contains(b"stays").unwrap());
    assert_eq!(view.reserved_keys(), 0);
}

#[test]
fn a_lease_that_is_kept_alive_outlives_its_leader() {
    let mut cluster = cluster(3, 1902);
    let leader = cluster.leader().unwrap();
    let other = followers(&cluster, leader)[0];
    let lease = persist("a lease", || cluster.node(other).lease(Duration::from_mins(10)));
    persist("a key", || lease.put(bytes("k"), bytes("v")));
    cluster.kill(leader);
    leader_besides(&cluster, leader);
    let kept = persist("kept alive", || lease.keep_alive());
    let view = persist("a view", || cluster.node(other).view(ReadContext::Linearizable));
    let terms = view.lease(lease.id()).unwrap().unwrap();
    assert!(terms.deadline.0 >= kept.timestamp.0 + 600_000_000, "its time begins anew");
    assert!(persist("what is left", || lease.remaining()).is_some());
    cluster.restart(leader).unwrap();
    on_all(&cluster, "the key is on all nodes", |view| view.contains(b"k").unwrap());
    persist("revoked", || {
        let command = hightower_kv::Command::RevokeLease { lease: lease.id() };
        cluster.node(other).submit(command)
    });
    on_all(&cluster, "the key is gone", StateView::is_empty);
    assert_eq!(agreed(&cluster).reserved_keys(), 0);
}

#[test]
fn ephemeral_keys_of_a_node_that_was_restarted_vanish_and_the_others_stay() {
    let mut cluster = cluster(3, 1903);
    for id in cluster.ids() {
        put_ephemeral(&cluster, id);
    }
    let leader = cluster.leader().unwrap();
    let restarted = followers(&cluster, leader)[0];
    cluster.kill(restarted);
    // They stay while it is away: it may only be cut off.
    assert!(has_ephemeral(&local(&cluster, leader), restarted));
    cluster.restart(restarted).unwrap();
    on_all(&cluster, "its keys vanish", |view| !has_ephemeral(view, restarted));
    put_ephemeral(&cluster, restarted);
    let view = agreed(&cluster);
    for id in cluster.ids() {
        assert!(has_ephemeral(&view, id), "{id}");
    }
}

#[test]
fn a_key_that_another_node_wrote_anew_is_that_nodes() {
    let mut cluster = cluster(3, 1904);
    let leader = cluster.leader().unwrap();
    let [one, two] = followers(&cluster, leader)[..] else { panic!("two followers") };
    let put = |cluster: &TestCluster, id: NodeId| {
        let node = cluster.node(id);
        persist("a key", || node.scope(Scope::Ephemeral).put(bytes("shared"), bytes("v")))
    };
    assert_eq!(put(&cluster, one).outcome, Outcome::Applied);
    // The same value, and another owner.
    assert_eq!(put(&cluster, two).outcome, Outcome::Applied);
    put_ephemeral(&cluster, one);
    cluster.kill(one);
    cluster.restart(one).unwrap();
    on_all(&cluster, "its own key vanishes", |view| !has_ephemeral(view, one));
    let view = agreed(&cluster);
    assert!(view.scope(&Scope::Ephemeral).contains(b"shared").unwrap());
}

#[test]
fn ephemeral_keys_of_a_node_that_was_removed_vanish() {
    let cluster = cluster(3, 1905);
    for id in cluster.ids() {
        put_ephemeral(&cluster, id);
    }
    let leader = cluster.leader().unwrap();
    let [removed, kept] = followers(&cluster, leader)[..] else { panic!("two followers") };
    persist("a node is removed", || cluster.set_voters(&[leader, kept], Retain::Nobody));
    let end = Instant::now() + PATIENCE;
    for id in [leader, kept] {
        while has_ephemeral(&local(&cluster, id), removed) {
            assert!(Instant::now() < end, "its keys stay on node {id}");
            std::thread::yield_now();
        }
        assert!(has_ephemeral(&local(&cluster, id), leader));
        assert!(has_ephemeral(&local(&cluster, id), kept));
    }
}

#[test]
fn a_scope_is_cleared_in_one_entry_on_all_nodes() {
    let cluster = cluster(3, 1906);
    let leader = cluster.leader().unwrap();
    let follower = cluster.node(followers(&cluster, leader)[0]);
    let scope = Scope::named("cache").unwrap();
    for number in 0..30 {
        let key = format!("k{number}").into_bytes();
        persist("a key", || follower.scope(scope.clone()).put(key.clone(), bytes("v")));
    }
    persist("a plain key", || follower.put(bytes("k1"), bytes("plain")));
    on_all(&cluster, "they are there", |view| view.scope(&scope).len().unwrap() == 30);
    let cleared = persist("cleared", || follower.scope(scope.clone()).clear());
    assert_eq!(cleared.outcome, Outcome::Removed { keys: 30 });
    // At no version is a part of them there.
    on_all(&cluster, "they are gone", |view| {
        let left = view.scope(&scope).len().unwrap();
        assert!(left == 0 || left == 30, "{left}");
        left == 0
    });
    assert_eq!(agreed(&cluster).get(b"k1").unwrap().unwrap(), "plain");
}

#[test]
fn a_directory_that_becomes_a_store_by_itself_loses_all_ephemeral_keys() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::Real(directory.path().to_owned());
    let mut cluster = TestCluster::start_with(1, disk, 1907, config()).unwrap();
    put_ephemeral(&cluster, NodeId(1));
    let named = Scope::named("n").unwrap();
    persist("a key", || cluster.node(NodeId(1)).scope(named.clone()).put(bytes("k"), bytes("v")));
    cluster.stop(NodeId(1)).unwrap();
    let mut config = StoreConfig::default();
    config.data_dir = cluster.directory(NodeId(1));
    let engine = SingleNodeEngine::with_config(config).unwrap();
    assert!(engine.scope(Scope::Ephemeral).is_empty().unwrap());
    assert!(engine.scope(named).contains(b"k").unwrap());
}

/// A clock that is wrong by as much all the time.
#[derive(Debug)]
struct Wrong {
    clock: SystemClock,
    by_micros: i64,
}

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0.saturating_add_signed(self.by_micros))
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn pause(&self, time: Duration) {
        self.clock.pause(time);
    }
}

#[test]
fn under_a_leader_whose_clock_is_an_hour_behind_stamps_go_on_and_keys_go_in_their_time() {
    // `initialize` is called once, and a busy machine may need longer than calls have otherwise.
    let config = ClusterConfig { deadline: Duration::from_secs(10), ..config() };
    let mut cluster = TestCluster::empty(Disk::Simulated, 1908, config);
    let [one, two, three] = [1, 2, 3].map(NodeId);
    for id in [two, three] {
        let clock = Wrong { clock: SystemClock::new(), by_micros: -3_600_000_000 };
        cluster.set_clock(id, Arc::new(clock));
    }
    let mut members = BTreeMap::new();
    for id in [one, two, three] {
        cluster.open(id).unwrap();
        members.insert(id, format!("node-{id}"));
    }
    block_on(cluster.node(one).initialize(members)).unwrap();
    let lead = |cluster: &TestCluster, id: NodeId| {
        persist("the lead is handed over", || {
            let leader = cluster.leader()?;
            block_on(cluster.node(leader).transfer_leader(id))
        });
    };
    lead(&cluster, one);
    let ttl = Duration::from_secs(2);
    let put = |cluster: &TestCluster, key: &str| {
        persist("a key", || cluster.node(one).put_with_ttl(bytes(key), bytes("v"), ttl))
    };
    let first = put(&cluster, "k");
    lead(&cluster, two);
    let second = put(&cluster, "l");
    assert!(second.timestamp >= first.timestamp);
    let began = Instant::now();
    on_all(&cluster, "both keys go", StateView::is_empty);
    assert!(began.elapsed() < PATIENCE);
    let view = agreed(&cluster);
    assert!(view.timestamp().0 >= second.timestamp.0 + 2_000_000, "early");
}
