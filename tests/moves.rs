//! One directory in all its lives: a store by itself, a cluster of one, a voter of three, alone
//! again, a store by itself. Each row, version and stamp is the same in all of them.
#![cfg(feature = "raft")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]
#![expect(clippy::disallowed_methods, reason = "the files are compared on the real disk")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hightower_kv::raft::test_cluster::{Disk, TestCluster};
use hightower_kv::raft::{ClusterConfig, Retain};
use hightower_kv::state::StateDigest;
use hightower_kv::storage::record::Direction;
use hightower_kv::types::{NodeId, Timestamp, Version};
use hightower_kv::{
    Command, Error, KvEngine, ReadContext, ReadOnlyEngine, SingleNodeEngine, SnapshotEngine,
    StateView, StoreConfig,
};
use tempfile::TempDir;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// How long anything is waited for: much longer than it takes.
const PATIENCE: Duration = Duration::from_mins(5);

/// With small segments a log has several, and tables come early and are many.
const SMALL: u64 = 64 << 10;
/// With large ones all of the log stays.
const LARGE: u64 = 64 << 20;

fn store_config(segment_bytes: u64) -> StoreConfig {
    let mut config = StoreConfig::default();
    config.max_segment_size = segment_bytes;
    config.disk_reserve = 0;
    // Only what the test compacts is.
    config.compaction_interval = Duration::ZERO;
    config
}

fn alone(directory: &Path, node: NodeId, segment_bytes: u64) -> Result<SingleNodeEngine, Error> {
    let mut config = store_config(segment_bytes);
    directory.clone_into(&mut config.data_dir);
    config.node_id = node;
    SingleNodeEngine::with_config(config)
}

/// Nobody else leads because the machine is busy, and calls are waited for.
fn cluster_config() -> ClusterConfig {
    let election_timeout = (Duration::from_secs(1), Duration::from_secs(2));
    ClusterConfig { election_timeout, deadline: Duration::from_mins(1), ..ClusterConfig::default() }
}

/// A cluster of `count` voters in folders of `directory`.
fn start_in(directory: &Path, count: u64) -> TestCluster {
    let disk = Disk::Real(directory.to_owned());
    TestCluster::start_with(count, disk, 5, cluster_config()).unwrap()
}

/// Nodes in folders of `directory`, none of them open.
fn cluster_in(directory: &Path, case: Case) -> TestCluster {
    let store = store_config(case.segment_bytes);
    let config = ClusterConfig { store, log_kept: case.log_kept, ..cluster_config() };
    TestCluster::empty(Disk::Real(directory.to_owned()), 5, config)
}

/// Where a cluster below `directory` has its node 1.
fn directory_of_one(directory: &Path) -> PathBuf {
    directory.join("node-1")
}

/// Key, value, version and stamp of each row.
type Rows = Vec<(Vec<u8>, Vec<u8>, Version, Timestamp)>;

fn rows_of(view: &StateView) -> Rows {
    let mut rows = Rows::new();
    let mut cursor = view.cursor::<&[u8]>(.., Direction::Forward).unwrap();
    while let Some(row) = cursor.next().unwrap() {
        rows.push((row.key.to_vec(), row.value.to_vec(), row.version, row.timestamp));
    }
    rows
}

fn rows_in(engine: &impl KvEngine) -> Rows {
    rows_of(&engine.view(ReadContext::Linearizable).unwrap())
}

fn digest_of(engine: &impl SnapshotEngine) -> StateDigest {
    StateDigest::of(&engine.snapshot_state()).unwrap()
}

/// What is in a directory that nobody has open: at the same entry, so that the digests compare.
fn digest_in(directory: &Path) -> StateDigest {
    let engine = ReadOnlyEngine::open(directory).unwrap();
    StateDigest::of(engine.view()).unwrap()
}

/// `count` rows of about `bytes` bytes, of which some are written twice, some removed, and some by
/// one entry.
fn write(engine: &impl KvEngine, name: &str, count: u32, bytes: usize) {
    let key = |n: u32| format!("{name}/{n:05}").into_bytes();
    for n in 0..count {
        engine.put(key(n), vec![b'a'; bytes]).unwrap();
        match n % 7 {
            1 => drop(engine.put(key(n), vec![b'b'; bytes + 1]).unwrap()),
            2 => drop(engine.delete(key(n)).unwrap()),
            3 => {
                let both = vec![Command::set(key(n), "one"), Command::delete(key(n - 3))];
                engine.submit_batch(both).unwrap();
            }
            _ => {}
        }
    }
}

/// Opens node 1 of `cluster` on its directory, which decides alone.
fn open_one(cluster: &mut TestCluster) {
    cluster.open(ONE).unwrap();
    assert_eq!(cluster.leader().unwrap(), ONE);
}

/// All voters have the same state, at the same entry.
fn assert_all_agree(cluster: &TestCluster, rows: &Rows) {
    let mut digests = BTreeMap::new();
    for (id, state) in cluster.states().unwrap() {
        assert_eq!(rows_of(&state), *rows, "node {id}");
        digests.insert(id, StateDigest::of(&state).unwrap());
    }
    let first = digests.values().next().unwrap();
    assert!(digests.values().all(|digest| digest == first), "{digests:?}");
}

/// What a process leaves that dies now.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// Makes node 1 the leader, and then the only member.
fn shrink_to_one(cluster: &mut TestCluster) {
    let leader = cluster.leader().unwrap();
    wait(cluster.node(leader).transfer_leader(ONE)).unwrap();
    assert_eq!(cluster.leader().unwrap(), ONE);
    cluster.set_voters(&[ONE], Retain::Nobody).unwrap();
    for id in cluster.ids().into_iter().filter(|&id| id != ONE) {
        cluster.stop(id).unwrap();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// How the store by itself ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In order: everything is in tables.
    Closed,
    /// As if its process had died: what was in the log is there only.
    Killed,
}

/// What a directory is like that moves.
#[derive(Clone, Copy, Debug)]
struct Case {
    segment_bytes: u64,
    /// Whether new voters get the log or a snapshot.
    log_kept: u64,
    end: End,
}

/// Leads the directory that `prepare` has written through all its lives. What is in the log and
/// what in tables is the caller's to say.
fn move_around(case: Case, prepare: impl FnOnce(&SingleNodeEngine)) {
    let Case { segment_bytes, log_kept, end } = case;
    let scratch = TempDir::new().unwrap();
    let directory = directory_of_one(scratch.path());

    let first = if end == End::Killed { &scratch.path().join("killed") } else { &directory };
    let engine = alone(first, ONE, segment_bytes).unwrap();
    // Only what the test compacts is.
    engine.set_compaction_threshold(u64::MAX);
    prepare(&engine);
    let rows = rows_in(&engine);
    let digest = digest_of(&engine);
    if end == End::Killed {
        copy(first, &directory);
    }
    engine.close().unwrap();
    assert_eq!(digest_in(&directory), digest);

    let mut cluster = cluster_in(scratch.path(), case);
    open_one(&mut cluster);
    assert_eq!(rows_in(&cluster.node(ONE)), rows, "one voter");
    write(&cluster.node(ONE), "one voter", 50, 100);
    let rows = rows_in(&cluster.node(ONE));
    if log_kept == 0 {
        wait(cluster.node(ONE).snapshot_now()).unwrap();
    }

    for id in [TWO, THREE] {
        cluster.add_learner(id).unwrap();
    }
    cluster.set_voters(&[ONE, TWO, THREE], Retain::Nobody).unwrap();
    assert_all_agree(&cluster, &rows);
    write(&cluster.node(THREE), "three voters", 50, 100);
    let rows = rows_in(&cluster.node(TWO));
    assert_all_agree(&cluster, &rows);

    shrink_to_one(&mut cluster);
    assert_eq!(rows_in(&cluster.node(ONE)), rows, "one voter again");
    let digest = digest_of(&cluster.node(ONE));
    cluster.stop(ONE).unwrap();
    assert_eq!(digest_in(&directory), digest);

    let engine = alone(&directory, ONE, segment_bytes).unwrap();
    assert_eq!(rows_in(&engine), rows, "a store by itself again");
    write(&engine, "by itself again", 50, 100);
    engine.run_compaction_now().unwrap();
    write(&engine, "behind the compaction", 50, 100);
    let rows = rows_in(&engine);
    engine.close().unwrap();

    // What was written meanwhile reaches new voters like everything else.
    let mut cluster = cluster_in(scratch.path(), case);
    open_one(&mut cluster);
    for id in [NodeId(4), NodeId(5)] {
        cluster.add_learner(id).unwrap();
    }
    cluster.set_voters(&[ONE, NodeId(4), NodeId(5)], Retain::Nobody).unwrap();
    assert_all_agree(&cluster, &rows);
}

/// More entries than any log here has.
const ALL: u64 = 1_000_000;

#[test]
fn a_store_without_rows_moves() {
    move_around(Case { segment_bytes: SMALL, log_kept: ALL, end: End::Closed }, |_| ());
}

#[test]
fn a_store_whose_rows_are_all_in_the_log_moves() {
    move_around(Case { segment_bytes: LARGE, log_kept: ALL, end: End::Killed }, |engine| {
        write(engine, "log", 400, 8000);
        assert!(engine.tables().is_empty());
    });
}

#[test]
fn a_store_whose_rows_are_all_in_tables_moves() {
    move_around(Case { segment_bytes: LARGE, log_kept: ALL, end: End::Closed }, |engine| {
        write(engine, "tables", 300, 100);
        engine.run_compaction_now().unwrap();
        assert!(!engine.tables().is_empty());
    });
}

#[test]
fn a_store_with_several_runs_of_tables_and_a_log_behind_them_moves() {
    move_around(Case { segment_bytes: LARGE, log_kept: ALL, end: End::Killed }, |engine| {
        for run in 0..4 {
            write(engine, "tables", 200 - 30 * run, 1000);
            engine.run_compaction_now().unwrap();
        }
        write(engine, "log", 300, 100);
        engine.submit(Command::delete_prefix("tables/0000")).unwrap();
    });
}

#[test]
fn a_store_of_many_tables_moves() {
    move_around(Case { segment_bytes: SMALL, log_kept: ALL, end: End::Closed }, |engine| {
        write(engine, "many", 400, 8000);
        assert!(engine.tables().len() > 10, "{}", engine.tables().len());
    });
}

#[test]
fn a_store_whose_log_goes_to_nobody_moves_by_snapshot() {
    move_around(Case { segment_bytes: LARGE, log_kept: 0, end: End::Killed }, |engine| {
        write(engine, "tables", 300, 1000);
        engine.run_compaction_now().unwrap();
        write(engine, "log", 300, 100);
    });
}

/// All files below a directory, with their bytes.
fn files_in(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                files.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    files
}

/// The directory is refused, with words that say what it is, and not one byte of it changes.
fn assert_refused(directory: &Path, node: NodeId, voters: &[NodeId]) {
    let before = files_in(directory);
    let error = alone(directory, node, LARGE).unwrap_err();
    let Error::NotSingleNode { node: found, voters: found_voters } = &error else {
        panic!("{error}");
    };
    assert_eq!((*found, found_voters.as_slice()), (node, voters));
    let text = error.to_string();
    assert!(text.contains("ClusterEngine"), "{text}");
    for voter in voters {
        assert!(text.contains(&voter.to_string()), "{text}");
    }
    assert!(files_in(directory) == before, "files have changed");
}

#[test]
fn a_voter_of_three_is_no_store_by_itself() {
    let scratch = TempDir::new().unwrap();
    let mut cluster = start_in(scratch.path(), 3);
    let members = [ONE, TWO, THREE];
    write(&cluster.node(TWO), "row", 20, 10);
    for id in members {
        cluster.stop(id).unwrap();
        assert_refused(&cluster.directory(id), id, &members);
    }
    // And it is still what it was.
    for id in members {
        cluster.restart(id).unwrap();
    }
    cluster.leader().unwrap();
    assert!(!rows_in(&cluster.node(TWO)).is_empty());
}

#[test]
fn a_learner_is_no_store_by_itself() {
    let scratch = TempDir::new().unwrap();
    let mut cluster = start_in(scratch.path(), 1);
    cluster.add_learner(TWO).unwrap();
    write(&cluster.node(ONE), "row", 20, 10);
    cluster.settle().unwrap();
    cluster.stop(TWO).unwrap();
    assert_refused(&cluster.directory(TWO), TWO, &[ONE]);
    // Who leads it may be a store by itself, whatever learners there are: it decides alone.
    let rows = rows_in(&cluster.node(ONE));
    cluster.stop(ONE).unwrap();
    let engine = alone(&cluster.directory(ONE), ONE, LARGE).unwrap();
    write(&engine, "alone", 20, 10);
    assert!(rows_in(&engine).len() > rows.len());
    let rows = rows_in(&engine);
    engine.close().unwrap();
    // The learner gets what was written without it.
    cluster.restart(TWO).unwrap();
    cluster.restart(ONE).unwrap();
    assert_all_agree(&cluster, &rows);
}

#[test]
fn a_voter_that_has_left_is_no_store_by_itself_and_does_not_come_back() {
    let scratch = TempDir::new().unwrap();
    let mut cluster = start_in(scratch.path(), 3);
    write(&cluster.node(ONE), "row", 20, 10);
    shrink_to_one(&mut cluster);
    let Err(Error::NotSingleNode { .. }) = alone(&cluster.directory(TWO), TWO, LARGE) else {
        panic!("a voter that has left was opened by itself");
    };
    let Err(Error::IdentityMismatch(text)) = cluster.add_learner(TWO) else {
        panic!("a directory that has left joined again");
    };
    assert!(text.contains("empty"), "{text}");
}

#[test]
fn while_one_set_of_voters_replaces_another_nobody_is_a_store_by_itself() {
    let scratch = TempDir::new().unwrap();
    let mut cluster = start_in(scratch.path(), 2);
    // A change is refused for as long as the membership before it is not committed.
    cluster.settle().unwrap();
    let leader = cluster.leader().unwrap();
    let other = if leader == ONE { TWO } else { ONE };
    // The change cannot be committed: it takes both.
    cluster.router().isolate(other);
    let engine = cluster.node(leader);
    let change = std::thread::Builder::new().name("change".to_owned());
    let changing = change
        .spawn(move || wait(engine.change_membership([leader].into(), Retain::Nobody)))
        .unwrap();
    wait(cluster.node(leader).wait_until(PATIENCE, |status| status.is_joint)).unwrap();
    cluster.kill(leader);
    changing.join().unwrap().unwrap_err();
    let Err(Error::NotSingleNode { .. }) = alone(&cluster.directory(leader), leader, LARGE) else {
        panic!("a voter of two was opened by itself");
    };
}
