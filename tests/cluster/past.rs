//! The past on several nodes: each keeps what it applied, through snapshots and restarts.

use hightower_kv::raft::ClusterEngine;
use hightower_kv::{KvEngine, ReadContext, Retention, RetentionRegistry, Version};

use crate::support::{block_on, cluster_with, config_of_small_logs, persist};

fn put(engine: &ClusterEngine, value: u32) -> Version {
    let value = value.to_string().into_bytes();
    persist("a put", || engine.put(b"key".to_vec(), value.clone())).version
}

/// Each version has its value on this node.
fn check(engine: &ClusterEngine, versions: &[Version]) {
    for (value, &version) in (0..).zip(versions) {
        let value = i32::to_string(&value).into_bytes();
        // Waits until this node has come so far.
        let view = engine.view(ReadContext::At(version)).unwrap();
        assert_eq!(view.get(b"key").unwrap().as_deref(), Some(&*value));
        assert_eq!(view.version(), Some(version));
    }
    let history = engine.history(b"key").unwrap();
    let found: Vec<Version> = history.versions.iter().map(|it| it.version).collect();
    assert_eq!((history.complete_from, &*found), (Version(0), versions));
}

#[test]
fn every_node_reads_every_version_through_snapshots_and_restarts() {
    let mut config = config_of_small_logs();
    config.store.retention = Some(Retention::default());
    let mut cluster = cluster_with(3, 61, config);
    let mut versions = Vec::new();
    let mut value = 0;
    for _ in 0..4 {
        let leader = cluster.node(cluster.leader().unwrap());
        for _ in 0..5 {
            versions.push(put(&leader, value));
            value += 1;
        }
        for id in cluster.ids() {
            let engine = cluster.node(id);
            engine.set_era_bytes(1);
            persist("a snapshot", || block_on(engine.snapshot_now()));
        }
    }
    for id in cluster.ids() {
        check(&cluster.node(id), &versions);
        assert!(cluster.node(id).eras().len() > 1);
        cluster.stop(id).unwrap();
        drop(cluster.restart(id).unwrap());
        check(&cluster.node(id), &versions);
    }
}

#[test]
fn a_node_begins_to_keep_when_it_is_asked_to() {
    let mut config = config_of_small_logs();
    let registry = RetentionRegistry::new();
    config.store.retention_registry = Some(registry.clone());
    let cluster = cluster_with(1, 62, config);
    let engine = cluster.node(cluster.leader().unwrap());
    for value in 0..2 {
        put(&engine, value);
        persist("a snapshot", || block_on(engine.snapshot_now()));
    }
    assert!(engine.eras().is_empty());
    let handle = registry.create_handle();
    let third = put(&engine, 2);
    put(&engine, 3);
    persist("a snapshot", || block_on(engine.snapshot_now()));
    put(&engine, 4);
    persist("a snapshot", || block_on(engine.snapshot_now()));
    let then = engine.snapshot_at(third).unwrap();
    assert_eq!(then.get(b"key").unwrap().as_deref(), Some(&b"2"[..]));
    assert!(!engine.eras().is_empty());
    drop(handle);
    put(&engine, 5);
    persist("a snapshot", || block_on(engine.snapshot_now()));
    assert!(engine.eras().is_empty());
}
