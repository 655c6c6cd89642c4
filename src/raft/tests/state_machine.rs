//! What applying and snapshots leave, also after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::FutureExt;
use futures_util::stream::iter;
use openraft::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use proptest::prelude::*;

use super::{Entry, blank, config, cut, entry, id, normal, open, run};
use crate::command::membership::{Membership, Peer};
use crate::command::{Command, Guard};
use crate::config::StoreConfig;
use crate::env::Env;
use crate::env::fs_sim::{SimError, SimFs};
use crate::raft::log_store::LogStoreLimits;
use crate::raft::receiving::{Finished, Receiving};
use crate::raft::snapshot::{NamedSnapshot, named};
use crate::raft::state_machine::{Arrived, OnPressure};
use crate::raft::storage::RaftStorage;
use crate::raft::type_config::{TypeConfig, raft_log_id_of, raft_membership_of};
use crate::state::StateDigest;
use crate::storage::error::StorageError;
use crate::storage::log_entry::{EntryKind, NewEntry, Payload};
use crate::storage::log_writer::Purpose;
use crate::storage::snapshot_incoming::Snapshot;
use crate::types::{LogId, LogIndex, NodeId, RandomId, Term, Timestamp};

type Item = std::io::Result<EntryResponder<TypeConfig>>;

fn items(entries: Vec<Entry>) -> Vec<Item> {
    entries.into_iter().map(|entry| Ok((entry, None))).collect()
}

async fn apply(storage: &mut RaftStorage, entries: Vec<Entry>) {
    storage.state.apply(iter(items(entries))).await.unwrap();
}

async fn build(storage: &mut RaftStorage) -> NamedSnapshot {
    storage.state.get_snapshot_builder().await.build_snapshot().await.unwrap()
}

fn digest(storage: &RaftStorage) -> StateDigest {
    storage.machine.replica.read().kv.digest().unwrap()
}

fn keys(storage: &RaftStorage) -> Vec<String> {
    let view = storage.machine.replica.view();
    let rows = view.iter().map(|row| row.unwrap());
    rows.map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
}

fn set(index: u64, key: &'static str) -> Entry {
    normal(1, index, Command::set(key, format!("value {index}")))
}

fn membership(index: u64, voters: &[u64]) -> Entry {
    let nodes: BTreeMap<NodeId, Peer> =
        voters.iter().map(|&id| (NodeId(id), Peer::at(format!("host{id}:1")))).collect();
    let voters: BTreeSet<NodeId> = nodes.keys().copied().collect();
    let membership = Membership::new(vec![voters], nodes).unwrap();
    entry(id(1, index), EntryPayload::Membership(raft_membership_of(&membership)))
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let key = prop_oneof![Just("a"), Just("ab"), Just("b"), Just("c")];
    let single = prop_oneof![
        4 => (key.clone(), 0..3_u8).prop_map(|(key, value)| Command::set(key, vec![value; 9])),
        2 => key.clone().prop_map(Command::delete),
        1 => key.clone().prop_map(Command::delete_prefix),
    ];
    let many = proptest::collection::vec(single.clone(), 1..4);
    let guarded =
        (key, many).prop_map(|(key, commands)| Command::guarded([Guard::absent(key)], commands));
    proptest::collection::vec(prop_oneof![3 => single, 1 => guarded], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn batches_of_any_size_make_the_state_that_entries_one_by_one_make(
        commands in commands(), batch in 1_usize..20, snapshot_at in 0_usize..60,
    ) {
        run(async {
            let entries: Vec<Entry> = (0..).zip(commands).map(|(index, command)| {
                if index % 9 == 8 { blank(1, index) } else { normal(1, index, command) }
            }).collect();
            let mut together = open(&SimFs::new(1));
            let mut apart = open(&SimFs::new(1));
            for batch in entries.chunks(batch) {
                apply(&mut together, batch.to_vec()).await;
            }
            for (at, entry) in entries.into_iter().enumerate() {
                apply(&mut apart, vec![entry]).await;
                if at == snapshot_at {
                    build(&mut apart).await;
                }
            }
            assert_eq!(digest(&together), digest(&apart));
            assert_eq!(together.state.applied().last(), apart.state.applied().last());
        });
    }
}

#[test]
fn an_entry_that_is_in_the_state_is_not_applied_again() {
    run(async {
        let mut storage = open(&SimFs::new(1));
        let once = normal(1, 1, Command::guarded([Guard::absent("k")], [Command::set("k", "v")]));
        apply(&mut storage, vec![set(0, "x"), once.clone()]).await;
        let before = digest(&storage);
        apply(&mut storage, vec![set(0, "y"), once]).await;
        assert_eq!(digest(&storage), before);
        apply(&mut storage, vec![set(1, "z"), blank(1, 2)]).await;
        assert_eq!(keys(&storage), ["k", "x"]);
        assert_eq!(storage.state.applied().last(), Some(id(1, 2)));
    });
}

#[test]
fn what_precedes_an_error_of_the_stream_is_applied_and_the_error_passed_on() {
    run(async {
        let mut storage = open(&SimFs::new(1));
        let mut items = items(vec![set(0, "a"), set(1, "b")]);
        items.push(Err(std::io::Error::other("the log")));
        items.push(Ok((set(2, "c"), None)));
        assert!(storage.state.apply(iter(items)).await.is_err());
        assert_eq!(keys(&storage), ["a", "b"]);
    });
}

#[test]
fn who_waits_for_an_entry_reads_it() {
    run(async {
        let mut storage = open(&SimFs::new(1));
        let mut applied = storage.state.applied();
        assert!(applied.wait_for(LogIndex(1)).now_or_never().is_none());
        apply(&mut storage, vec![set(0, "a"), set(1, "b")]).await;
        assert_eq!(applied.wait_for(LogIndex(1)).now_or_never(), Some(Some(id(1, 1))));
        drop(storage);
        assert_eq!(applied.wait_for(LogIndex(2)).await, None);
    });
}

#[test]
fn only_what_a_snapshot_holds_is_applied_after_a_restart_with_its_membership() {
    run(async {
        let fs = SimFs::new(1);
        let mut storage = open(&fs);
        apply(&mut storage, vec![membership(0, &[1, 2]), set(1, "a")]).await;
        let built = build(&mut storage).await;
        assert_eq!(built.meta.last_log_id, Some(raft_log_id_of(id(1, 1))));
        apply(&mut storage, vec![set(2, "b"), membership(3, &[1])]).await;
        let mut after = open(&cut(&fs));
        let (last, stored) = after.state.applied_state().await.unwrap();
        assert_eq!(last, built.meta.last_log_id);
        assert_eq!(stored, built.meta.last_membership);
        assert_eq!(stored.log_id(), &Some(raft_log_id_of(id(1, 0))));
        assert_eq!(keys(&after), ["a"]);
        let current = after.state.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(current.meta, built.meta);
    });
}

#[test]
fn installing_a_snapshot_replaces_the_state_exactly_also_after_a_power_cut() {
    run(async {
        let mut leader = open(&SimFs::new(1));
        let entries = vec![membership(0, &[1, 2]), set(1, "a"), set(2, "b"), set(3, "c")];
        apply(&mut leader, entries).await;
        let built = build(&mut leader).await;
        let fs = SimFs::new(2);
        let mut follower = open(&fs);
        apply(&mut follower, vec![membership(0, &[1]), set(1, "gone"), set(2, "a")]).await;
        build(&mut follower).await;
        // What is taken off the log before it must not come back behind it.
        append_of_another_leader(&follower, 3);
        let log = follower.machine.store.log();
        assert!(log.stats().unsynced_bytes > 0);
        follower.state.install_snapshot(&built.meta, built.snapshot).await.unwrap();
        assert_eq!(follower.machine.store.log().stats().unsynced_bytes, 0, "it was synced before");
        let check = async |mut storage: RaftStorage| {
            assert_eq!(digest(&storage), digest(&leader));
            assert_eq!(keys(&storage), ["a", "b", "c"]);
            let (last, stored) = storage.state.applied_state().await.unwrap();
            assert_eq!(last, built.meta.last_log_id);
            assert_eq!(stored, built.meta.last_membership);
            let current = storage.state.get_current_snapshot().await.unwrap().unwrap();
            assert_eq!(current.meta, built.meta);
            apply(&mut storage, vec![set(4, "d")]).await;
            assert_eq!(keys(&storage), ["a", "b", "c", "d"]);
        };
        assert_eq!(follower.state.applied().last(), Some(id(1, 3)));
        check(open(&cut(&fs))).await;
        check(follower).await;
    });
}

/// Appends an entry that was never committed, of a later term than all others.
fn append_of_another_leader(storage: &RaftStorage, index: u64) {
    let id = LogId { term: Term(9), leader: NodeId(3), index: LogIndex(index) };
    let payload = Payload { head: b"of another leader".to_vec(), body: Bytes::new() };
    let entry = NewEntry { id, clock: Timestamp(0), kind: EntryKind::Normal, payload };
    storage.machine.store.log().append_one(&entry.as_ref(), Purpose::Relieve).unwrap();
}

#[test]
fn a_snapshot_that_is_offered_again_while_it_is_installed_is_installed_all_the_same() {
    run(async {
        let mut leader = open(&SimFs::new(1));
        apply(&mut leader, vec![set(0, "a"), set(1, "b")]).await;
        build(&mut leader).await;
        let held = leader.machine.store.tables().hold().unwrap();
        let mut follower = open(&SimFs::new(2));
        let (store, receiving) = (&follower.machine.store, Receiving::default());
        let (transfer, manifest) = (RandomId([1; 16]), held.manifest_bytes());
        let begin = |transfer| receiving.begin(store, transfer, &manifest);
        assert_eq!(begin(transfer).unwrap(), vec![0; held.parts().len()]);
        for part in 0..held.parts().len() {
            let bytes = held.read(part, 0, usize::MAX).unwrap();
            let part = u32::try_from(part).unwrap();
            assert!(receiving.store(transfer, part, 0, &bytes).unwrap());
        }
        let Finished::Whole(received) = receiving.finish(transfer).unwrap() else {
            panic!("everything was sent");
        };
        for again in [transfer, RandomId([2; 16])] {
            let refused = begin(again).unwrap_err();
            assert!(matches!(refused, StorageError::SnapshotWaits), "{refused}");
        }
        let NamedSnapshot { meta, snapshot } = named(Some(Snapshot::Received(received))).unwrap();
        follower.state.install_snapshot(&meta, snapshot).await.unwrap();
        assert_eq!(keys(&follower), ["a", "b"]);
    });
}

#[test]
fn a_snapshot_that_was_overtaken_changes_nothing() {
    run(async {
        let mut leader = open(&SimFs::new(1));
        apply(&mut leader, vec![set(0, "a")]).await;
        let built = build(&mut leader).await;
        let mut follower = open(&SimFs::new(2));
        apply(&mut follower, vec![set(0, "a"), set(1, "b")]).await;
        build(&mut follower).await;
        follower.state.install_snapshot(&built.meta, built.snapshot).await.unwrap();
        assert_eq!(keys(&follower), ["a", "b"]);
        assert_eq!(follower.state.applied().last(), Some(id(1, 1)));
    });
}

#[test]
fn a_snapshot_that_cannot_be_written_is_no_fault_of_the_node() {
    run(async {
        let fs = SimFs::new(1);
        let mut storage = open(&fs);
        apply(&mut storage, vec![set(0, "a")]).await;
        let first = build(&mut storage).await;
        apply(&mut storage, vec![set(1, "b")]).await;
        fs.fail_operation(fs.operations() + 2, SimError::Io);
        let second = build(&mut storage).await;
        assert_eq!(second.meta, first.meta);
        assert!(storage.state.try_create_snapshot_builder(false).await.is_none(), "not so soon");
        apply(&mut storage, vec![set(2, "c")]).await;
        let third = build(&mut storage).await;
        assert_eq!(third.meta.last_log_id, Some(raft_log_id_of(id(1, 2))));
        assert_eq!(keys(&open(&cut(&fs))), ["a", "b", "c"]);
    });
}

/// A store of which a snapshot is due after a few entries.
fn open_with_little_room(on_pressure: OnPressure) -> RaftStorage {
    let env = Env::simulated(4).env;
    let config = StoreConfig { compaction_threshold: 100, ..config() };
    RaftStorage::open(&config, None, env, LogStoreLimits::default(), on_pressure).unwrap()
}

#[test]
fn a_snapshot_is_asked_for_once_when_it_is_due() {
    run(async {
        let asked = Arc::new(AtomicUsize::new(0));
        let on_pressure = {
            let asked = Arc::clone(&asked);
            Arc::new(move |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                true
            })
        };
        let mut storage = open_with_little_room(on_pressure);
        let mut expect = async |range: std::ops::Range<u64>, times: usize| {
            for index in range {
                apply(&mut storage, vec![set(index, "a")]).await;
            }
            assert_eq!(asked.load(Ordering::Relaxed), times);
            build(&mut storage).await;
        };
        expect(0..1, 0).await;
        expect(1..40, 1).await;
        expect(40..80, 2).await;
    });
}

#[test]
fn a_snapshot_that_nobody_could_be_asked_for_or_that_was_not_begun_is_asked_for_again() {
    run(async {
        // Nobody is there; the question arrives and nothing comes of it; it is on its way.
        let asked = Arc::new(AtomicUsize::new(0));
        let on_pressure = {
            let asked = Arc::clone(&asked);
            Arc::new(move |arrived: Arrived| match asked.fetch_add(1, Ordering::Relaxed) {
                0 => false,
                1 => {
                    arrived();
                    true
                }
                _ => true,
            })
        };
        let mut storage = open_with_little_room(on_pressure);
        for index in 0..40 {
            apply(&mut storage, vec![set(index, "a")]).await;
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn nothing_is_built_before_anything_is_applied() {
    run(async {
        let mut storage = open(&SimFs::new(1));
        assert!(storage.state.try_create_snapshot_builder(false).await.is_none());
        assert!(storage.state.get_current_snapshot().await.unwrap().is_none());
        assert_eq!(build(&mut storage).await.meta.last_log_id, None);
    });
}
