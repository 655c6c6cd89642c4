//! R8, R9: no read is older than its context promises.

use hightower_kv::types::NodeId;
use hightower_kv::{Error, KvEngine, ReadContext};

use crate::support::{agreed, cluster, followers, leader_besides, persist};

/// What a read answers that must not answer `old`.
fn is_new_or_refused(read: &hightower_kv::Result<Option<Vec<u8>>>) {
    match read {
        Ok(found) => assert_eq!(found.as_deref(), Some(&b"new"[..]), "a stale read"),
        Err(error) => assert!(matches!(error, Error::Unavailable(_)), "{error:?}"),
    }
}

fn read(engine: &impl KvEngine, context: ReadContext) -> hightower_kv::Result<Option<Vec<u8>>> {
    Ok(engine.view(context)?.get(b"key")?.map(|value| value.to_vec()))
}

/// Deposes the leader, writes through the next, opens one direction between the old one and the
/// others, and reads on the old one.
fn deposed_leader_reads(seed: u64, open: impl Fn(NodeId, NodeId) -> (NodeId, NodeId)) {
    let cluster = cluster(3, seed);
    let old = cluster.leader().unwrap();
    let engine = cluster.node(old);
    persist("the first value", || engine.put(b"key".to_vec(), b"old".to_vec()));
    let others = followers(&cluster, old);
    for &other in &others {
        cluster.router().cut(old, other);
        cluster.router().cut(other, old);
    }
    let next = leader_besides(&cluster, old);
    persist("the next value", || cluster.node(next).put(b"key".to_vec(), b"new".to_vec()));
    is_new_or_refused(&read(&*engine, ReadContext::Lease));
    is_new_or_refused(&read(&*engine, ReadContext::Linearizable));
    for &other in &others {
        let (from, to) = open(old, other);
        cluster.router().heal(from, to);
    }
    for _ in 0..2 {
        is_new_or_refused(&read(&*engine, ReadContext::Linearizable));
        is_new_or_refused(&read(&*engine, ReadContext::Lease));
    }
    cluster.router().heal_all();
    agreed(&cluster);
    let healed = persist("a read afterwards", || read(&*engine, ReadContext::Linearizable));
    assert_eq!(healed.as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_deposed_leader_that_is_heard_again_reads_nothing_old() {
    deposed_leader_reads(801, |old, other| (old, other));
}

#[test]
fn a_deposed_leader_that_hears_again_reads_nothing_old() {
    deposed_leader_reads(802, |old, other| (other, old));
}

#[test]
fn every_replica_reads_its_callers_writes_also_after_a_restart() {
    let mut cluster = cluster(3, 803);
    for round in 0..6_u64 {
        let leader = cluster.leader().unwrap();
        let key = round.to_string().into_bytes();
        let written = persist("a write", || cluster.node(leader).put(key.clone(), b"x".to_vec()));
        let restarted = NodeId(round % 3 + 1);
        for id in cluster.ids() {
            let view =
                persist("a read", || cluster.node(id).view(ReadContext::AtLeast(written.version)));
            assert!(view.contains(&key).unwrap(), "node {id}");
        }
        cluster.kill(restarted);
        cluster.restart(restarted).unwrap();
        let view = persist("a read after the restart", || {
            cluster.node(restarted).view(ReadContext::AtLeast(written.version))
        });
        assert!(view.contains(&key).unwrap(), "node {restarted} after a restart");
    }
    agreed(&cluster);
}

#[test]
fn the_default_read_of_a_follower_sees_what_was_just_acknowledged() {
    let cluster = cluster(3, 804);
    let leader = cluster.leader().unwrap();
    for round in 0..40_u64 {
        let value = round.to_string().into_bytes();
        persist("a write", || cluster.node(leader).put(b"key".to_vec(), value.clone()));
        for id in followers(&cluster, leader) {
            let found = persist("a read", || cluster.node(id).get(b"key"));
            assert_eq!(found.as_deref(), Some(value.as_slice()), "node {id}");
        }
    }
}
