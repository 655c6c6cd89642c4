//! Watchers on the nodes of a cluster: the same events on all of them, through elections; and
//! across a snapshot, a gap that is told.

use hightower_kv::raft::{ClusterEngine, ClusterStatus};
use hightower_kv::types::LogIndex;
use hightower_kv::{
    Error, KvEngine, ReadContext, Version, WatchEngine, WatchEvent, WatchOptions, Watcher,
};

use crate::support::{
    PATIENCE, block_on, cluster, cluster_with, config_of_small_logs, followers, leader_besides,
    persist, wait_until,
};

fn put(engine: &ClusterEngine, n: u32) {
    let (key, value) = (format!("w/{}", n % 7), n.to_string());
    persist("a write", || engine.put(key.clone().into(), value.clone().into()));
}

/// Version and value of the next change.
fn next(watcher: &mut Watcher) -> (u64, String) {
    match watcher.next_timeout(PATIENCE).unwrap() {
        Some(WatchEvent::Changed(entry)) => {
            let value = entry.changes[0].value.as_deref().unwrap();
            (entry.version.0, String::from_utf8(value.to_vec()).unwrap())
        }
        other => panic!("not a change: {other:?}"),
    }
}

/// The changes up to that to `last`: in order, each value once.
fn follow(watcher: &mut Watcher, values: std::ops::Range<u32>) -> Vec<(u64, String)> {
    let told: Vec<_> = values.clone().map(|_| next(watcher)).collect();
    assert!(told.is_sorted_by(|(a, _), (b, _)| a < b));
    assert!(told.iter().map(|(_, value)| value.clone()).eq(values.map(|n| n.to_string())));
    told
}

#[test]
fn followers_are_told_the_same_through_the_death_of_the_leader() {
    let mut cluster = cluster(3, 601);
    let leader = cluster.leader().unwrap();
    let others = followers(&cluster, leader);
    let mut watchers: Vec<_> =
        others.iter().map(|&id| cluster.node(id).watch(b"w/").unwrap()).collect();
    let mut of_the_leader = cluster.node(leader).watch(b"w/").unwrap();
    (0..60).for_each(|n| put(&cluster.node(leader), n));
    let before = follow(&mut of_the_leader, 0..60);
    let told = std::thread::scope(|scope| {
        // They wait while it happens.
        let follows: Vec<_> = watchers
            .iter_mut()
            .map(|watcher| scope.spawn(move || follow(watcher, 0..120)))
            .collect();
        cluster.kill(leader);
        let next = leader_besides(&cluster, leader);
        (60..120).for_each(|n| put(&cluster.node(next), n));
        let told = follows.into_iter().map(|follows| follows.join().unwrap());
        told.collect::<Vec<_>>()
    });
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0][..60], before);
    assert!(matches!(of_the_leader.next(), Err(Error::Closed(_))));
    // A node that comes back has what it missed, and its log tells of it.
    let back = cluster.restart(leader).unwrap();
    let options = WatchOptions::new(b"w/").from_version(of_the_leader.position().unwrap());
    assert_eq!(follow(&mut back.watch_with(options).unwrap(), 60..120), told[0][60..]);
    // A position of one node holds on every other one.
    let options = WatchOptions::new(b"w/").from_version(watchers[0].position().unwrap());
    let mut elsewhere = cluster.node(others[1]).watch_with(options).unwrap();
    put(&cluster.node(others[0]), 120);
    assert_eq!(next(&mut elsewhere).1, "120");
    assert_eq!(next(&mut watchers[0]).1, "120");
}

#[test]
fn a_snapshot_that_is_put_over_a_gap_is_told_as_one() {
    let cluster = cluster_with(3, 602, config_of_small_logs());
    let leader = cluster.leader().unwrap();
    let away = cluster.node(followers(&cluster, leader)[0]);
    let mut watcher = away.watch(b"w/").unwrap();
    let mut elsewhere = away.watch(b"nothing/").unwrap();
    (0..20).for_each(|n| put(&cluster.node(leader), n));
    let before = follow(&mut watcher, 0..20);
    let had = LogIndex(before.last().unwrap().0);
    cluster.router().isolate(away.id());
    let leader = leader_besides(&cluster, away.id());
    let filler = vec![b'x'; 2000];
    for n in 20..250 {
        put(&cluster.node(leader), n);
        let key = format!("filler/{n}").into_bytes();
        persist("filler", || cluster.node(leader).put(key.clone(), filler.clone()));
    }
    // Whoever leads sends a snapshot: their logs no longer reach back to it.
    for id in followers(&cluster, away.id()) {
        let engine = cluster.node(id);
        persist("a snapshot", || block_on(engine.snapshot_now()));
        let beyond = move |status: &ClusterStatus| status.purged > Some(had.next());
        wait_until(&engine, "the log is purged", beyond);
    }
    cluster.router().rejoin(away.id());
    let installed = move |status: &ClusterStatus| status.snapshot > Some(had.next());
    wait_until(&away, "it has the snapshot", installed);
    // What it was sent before, and then that something is missing; nothing behind it.
    let mut told = 20;
    let oldest = loop {
        match watcher.next_timeout(PATIENCE) {
            Ok(Some(WatchEvent::Changed(entry))) => {
                let value = entry.changes[0].value.as_deref();
                assert_eq!(value, Some(told.to_string().as_bytes()));
                told += 1;
            }
            Err(Error::Compacted { oldest }) => break oldest,
            other => panic!("not a gap: {other:?}"),
        }
    };
    assert!(told < 250 && oldest > Version::from(had));
    // Nobody knows what it has missed, so one that would have missed nothing is told as well.
    assert!(matches!(elsewhere.next_timeout(PATIENCE), Err(Error::Compacted { .. })));
    // It begins anew with the state.
    let options = WatchOptions::new(b"w/").with_state_at(ReadContext::Linearizable);
    let mut anew = persist("a fresh state", || away.watch_with(options.clone()));
    for key in 0..7 {
        let Some(WatchEvent::Row { value, .. }) = anew.next_timeout(PATIENCE).unwrap() else {
            panic!("not a row");
        };
        let newest = (243..250_u32).find(|n| n % 7 == key).unwrap();
        assert_eq!(value, newest.to_string().as_bytes());
    }
    let current = anew.next_timeout(PATIENCE).unwrap();
    assert!(matches!(current, Some(WatchEvent::Current { .. })), "{current:?}");
    put(&cluster.node(leader), 250);
    assert_eq!(next(&mut anew).1, "250");
}

#[test]
fn a_version_that_a_node_has_not_come_to_is_waited_for() {
    let cluster = cluster(3, 603);
    let leader = cluster.leader().unwrap();
    let behind = cluster.node(followers(&cluster, leader)[0]);
    let engine = cluster.node(leader);
    persist("a write", || engine.put(b"w/0".to_vec(), b"0".to_vec()));
    cluster.settle().unwrap();
    cluster.router().isolate(behind.id());
    let first = persist("a write", || engine.put(b"w/1".to_vec(), b"1".to_vec())).version;
    let second = persist("a write", || engine.put(b"w/2".to_vec(), b"2".to_vec())).version;
    let options = WatchOptions::new(b"w/").from_version(second);
    let mut watcher = behind.watch_with(options).unwrap();
    assert!(second > first);
    assert_eq!(watcher.try_next().unwrap(), None);
    assert_eq!(watcher.position(), Some(second));
    cluster.router().rejoin(behind.id());
    assert_eq!(next(&mut watcher), (second.0, "2".to_owned()));
}

#[test]
fn one_that_waits_on_a_node_that_differs_is_told() {
    let cluster = cluster(3, 604);
    let leader = cluster.leader().unwrap();
    let engine = cluster.node(leader);
    persist("a write", || engine.put(b"first".to_vec(), b"x".to_vec()));
    cluster.settle().unwrap();
    let odd = cluster.node(followers(&cluster, leader)[0]);
    let mut watcher = odd.watch(b"quiet/").unwrap();
    odd.skip_next_command();
    persist("the odd write", || engine.put(b"odd".to_vec(), b"x".to_vec()));
    std::thread::scope(|scope| {
        let waits = scope.spawn(move || watcher.next_timeout(PATIENCE));
        let mut numbers = 0_u32..;
        // Not so many, but until it is told: on a busy machine some may come to nothing.
        while !waits.is_finished() {
            let write = |n: u32| hightower_kv::Command::set("n", n.to_string().into_bytes());
            let handed = numbers.by_ref().take(50).map(|n| engine.submit_async(write(n)));
            handed.collect::<Vec<_>>().into_iter().for_each(|submission| drop(submission.wait()));
        }
        let told = waits.join().unwrap();
        assert!(matches!(told, Err(Error::Diverged { .. })), "{told:?}");
    });
}
