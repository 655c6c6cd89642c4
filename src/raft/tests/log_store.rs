//! Who is told what, when, and what a crash leaves.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use futures_util::future::FutureExt;
use futures_util::stream::StreamExt;
use openraft::storage::{RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;

use super::watched_fs::{Waits, WatchedFs};
use super::{append, append_synced, blank, config, cut, id, normal, open, open_with, run};
use crate::command::Command;
use crate::config::StoreConfig;
use crate::env::Env;
use crate::env::fs_sim::SimFs;
use crate::raft::log_store::{LogStore, LogStoreLimits};
use crate::raft::storage::RaftStorage;
use crate::raft::type_config::{log_id_of, raft_log_id_of, raft_vote_of, vote_of};
use crate::types::{NodeId, Term, Vote};

const VOTE: Vote = Vote { term: Term(3), node: NodeId(2), committed: false };

/// Keeps the thread that syncs from doing anything until it is dropped.
fn hold(log: &LogStore) -> mpsc::Sender<()> {
    let (send, receive) = mpsc::channel();
    log.syncer().submit(move |_| {
        receive.recv().ok();
    });
    send
}

async fn indexes(log: &mut LogStore) -> Vec<u64> {
    let entries = log.try_get_log_entries(..).await.unwrap();
    entries.iter().map(|entry| entry.log_id.index).collect()
}

#[test]
fn every_append_is_told_once_and_those_of_one_sync_the_newest_first() {
    run(async {
        let fs = SimFs::new(1);
        let storage = open(&fs);
        let mut log = storage.log.clone();
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for round in 0..2 {
            let held = hold(&log);
            for index in round * 3..round * 3 + 3 {
                let receive = append(&mut log, vec![blank(1, index)]).await;
                let told = Arc::clone(&told);
                waiting.push(tokio::spawn(async move {
                    receive.await.unwrap().unwrap();
                    told.lock().push(index);
                }));
            }
            // Each waits before the sync, so that they go on in the order in which they are told.
            tokio::task::yield_now().await;
            assert_eq!(told.lock().len() as u64, round * 3, "nothing is told before a sync");
            drop(held);
            for task in waiting.drain(..) {
                task.await.unwrap();
            }
        }
        assert_eq!(*told.lock(), [2, 1, 0, 5, 4, 3]);
    });
}

#[test]
fn what_was_told_to_be_durable_survives_a_power_cut() {
    run(async {
        let fs = SimFs::new(1);
        let mut log = open(&fs).log;
        append_synced(&mut log, vec![blank(1, 0), blank(1, 1)]).await;
        assert_eq!(indexes(&mut open(&cut(&fs)).log).await, [0, 1]);
    });
}

#[test]
fn an_append_whose_sync_fails_is_told_so_and_nothing_is_taken_any_more() {
    run(async {
        let fs = SimFs::new(1);
        let mut log = open(&fs).log;
        append_synced(&mut log, vec![blank(1, 0)]).await;
        let held = hold(&log);
        let first = append(&mut log, vec![blank(1, 1)]).await;
        let second = append(&mut log, vec![blank(1, 2)]).await;
        fs.fail_all_syncs();
        drop(held);
        assert!(first.await.unwrap().is_err());
        assert!(second.await.unwrap().is_err());
        fs.clear_plan();
        assert!(append(&mut log, vec![blank(1, 3)]).await.await.unwrap().is_err());
        assert!(log.save_vote(&raft_vote_of(VOTE)).await.is_err());
        assert!(log.truncate_after(Some(raft_log_id_of(id(1, 0)))).await.is_err());
        assert!(log.purge(raft_log_id_of(id(1, 0))).await.is_err());
        assert!(log.save_committed(Some(raft_log_id_of(id(1, 0)))).await.is_err());
    });
}

#[test]
fn an_append_that_is_refused_is_told_so() {
    run(async {
        let mut log = open(&SimFs::new(1)).log;
        append_synced(&mut log, vec![blank(1, 0)]).await;
        for entries in [vec![blank(1, 2)], vec![blank(1, 0)], vec![blank(1, 1), blank(1, 3)]] {
            assert!(append(&mut log, entries).await.await.unwrap().is_err());
        }
        append_synced(&mut log, vec![blank(1, 1)]).await;
    });
}

#[test]
fn a_reader_sees_an_append_before_it_is_synced_also_one_that_was_taken_before() {
    run(async {
        let storage = open(&SimFs::new(1));
        let mut log = storage.log.clone();
        let mut reader = log.get_log_reader().await;
        let held = hold(&log);
        let mut told = append(&mut log, vec![blank(1, 0), blank(1, 1)]).await;
        assert_eq!(indexes(&mut reader).await, [0, 1]);
        assert_eq!(reader.limited_get_log_entries(1, 2).await.unwrap().len(), 1);
        assert_eq!(reader.entries_stream(0..2).await.count().await, 2);
        assert!(told.try_recv().is_err(), "it is not synced");
        drop(held);
        told.await.unwrap().unwrap();
    });
}

#[test]
fn a_vote_is_durable_once_it_is_saved_with_everything_that_was_appended_before() {
    run(async {
        let fs = SimFs::new(1);
        let mut log = open(&fs).log;
        let held = hold(&log);
        let told = append(&mut log, vec![blank(1, 0)]).await;
        drop(held);
        log.save_vote(&raft_vote_of(VOTE)).await.unwrap();
        let mut after = open(&cut(&fs)).log;
        assert_eq!(after.read_vote().await.unwrap().map(|vote| vote_of(&vote)), Some(VOTE));
        assert_eq!(indexes(&mut after).await, [0]);
        told.await.unwrap().unwrap();
    });
}

#[test]
fn a_commit_mark_names_no_entry_that_is_not_there() {
    run(async {
        let fs = SimFs::new(1);
        let mut log = open(&fs).log;
        append_synced(&mut log, vec![blank(1, 0), blank(1, 1)]).await;
        log.save_committed(Some(raft_log_id_of(id(2, 7)))).await.unwrap();
        let read = log.read_committed().await.unwrap().map(|id| log_id_of(&id));
        assert_eq!(read, Some(id(1, 1)));
        log.close();
        let read = open(&fs.kill()).log.read_committed().await.unwrap();
        assert_eq!(read.map(|id| log_id_of(&id)), Some(id(1, 1)));
    });
}

#[test]
fn what_is_appended_after_a_truncation_is_what_is_found_after_a_restart() {
    run(async {
        let fs = SimFs::new(1);
        let mut log = open(&fs).log;
        append_synced(&mut log, (0..8).map(|index| blank(1, index)).collect()).await;
        log.truncate_after(Some(raft_log_id_of(id(1, 2)))).await.unwrap();
        assert_eq!(indexes(&mut log).await, [0, 1, 2]);
        append_synced(&mut log, vec![blank(2, 3), blank(2, 4)]).await;
        let mut after = open(&cut(&fs)).log;
        let entries = after.try_get_log_entries(..).await.unwrap();
        let terms: Vec<u64> = entries.iter().map(|entry| entry.log_id.leader_id.term).collect();
        assert_eq!(terms, [1, 1, 1, 2, 2]);
    });
}

#[test]
fn a_read_that_is_limited_is_never_empty_and_never_begins_later_than_asked() {
    run(async {
        let limits = LogStoreLimits { read_bytes_max: 1, ..LogStoreLimits::default() };
        let mut log = open_with(&SimFs::new(1), limits).log;
        let set = |index| normal(1, index, Command::set(format!("key{index}"), "value"));
        append_synced(&mut log, (0..9).map(set).collect()).await;
        let entries = log.limited_get_log_entries(3, 9).await.unwrap();
        assert_eq!((entries.len(), entries[0].log_id.index), (1, 3));
        assert_eq!(log.entries_stream(2..9).await.count().await, 7);
        log.purge(raft_log_id_of(id(1, 4))).await.unwrap();
        assert!(log.limited_get_log_entries(3, 9).await.is_err());
        let streamed: Vec<_> = log.entries_stream(3..9).await.collect().await;
        assert!(matches!(&*streamed, [Err(_)]));
        assert_eq!(indexes(&mut log).await, [5, 6, 7, 8]);
    });
}

#[test]
fn an_append_waits_while_too_much_is_unsynced() {
    run(async {
        let limits = LogStoreLimits { unsynced_bytes_max: 1, ..LogStoreLimits::default() };
        let mut log = open_with(&SimFs::new(1), limits).log;
        let held = hold(&log);
        let first = append(&mut log, vec![blank(1, 0)]).await;
        let mut other = log.clone();
        let mut second = Box::pin(append(&mut other, vec![blank(1, 1)]));
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        first.await.unwrap().unwrap();
        second.await.await.unwrap().unwrap();
    });
}

#[test]
fn a_store_that_is_closed_has_synced_what_it_took_and_takes_nothing() {
    run(async {
        let fs = SimFs::new(1);
        let mut log = open(&fs).log;
        let told = append(&mut log, vec![blank(1, 0)]).await;
        log.close();
        told.await.unwrap().unwrap();
        assert!(append(&mut log, vec![blank(1, 1)]).await.await.unwrap().is_err());
        assert!(log.save_vote(&raft_vote_of(VOTE)).await.is_err());
        assert_eq!(indexes(&mut open(&cut(&fs)).log).await, [0]);
    });
}

#[test]
fn a_panic_of_the_thread_that_syncs_is_told_to_everybody() {
    run(async {
        let mut log = open(&SimFs::new(1)).log;
        let (held, receive) = mpsc::channel::<()>();
        log.syncer().submit(move |_| {
            receive.recv().ok();
            panic!("on purpose");
        });
        let told = append(&mut log, vec![blank(1, 0)]).await;
        drop(held);
        assert!(told.await.unwrap().is_err());
        assert!(append(&mut log, vec![blank(1, 1)]).await.await.unwrap().is_err());
    });
}

#[test]
fn on_a_full_disk_what_openraft_appends_goes_into_the_reserve() {
    run(async {
        let fs = SimFs::new(1);
        let config = StoreConfig { disk_reserve: 64 << 10, ..config() };
        let env = Env::simulated_on(fs.clone(), 5).env;
        let limits = LogStoreLimits::default();
        let storage = RaftStorage::open(&config, None, env, limits, Arc::new(|_| true)).unwrap();
        let mut log = storage.log.clone();
        fs.set_space(Some(fs.used_bytes()));
        for index in 0..100 {
            append_synced(&mut log, vec![normal(1, index, Command::set("key", vec![1; 100]))])
                .await;
        }
        assert!(storage.machine.store.log().stats().disk_full);
        assert_eq!(indexes(&mut open(&cut(&fs)).log).await.len(), 100);
    });
}

#[test]
fn no_thread_of_the_runtime_waits_for_the_device() {
    let simulated = Env::simulated(9);
    let waits = Waits::default();
    let fs = Arc::new(WatchedFs { under: simulated.env.fs, waits: Arc::clone(&waits) });
    let env = Env { fs, ..simulated.env };
    let limits = LogStoreLimits { cache_bytes_max: 1, ..LogStoreLimits::default() };
    let storage = RaftStorage::open(&config(), None, env, limits, Arc::new(|_| true)).unwrap();
    let mut log = storage.log.clone();
    waits.lock().clear();
    run(async {
        // Several segments.
        for index in 0..200 {
            append_synced(&mut log, vec![normal(1, index, Command::set("key", "value"))]).await;
            log.save_committed(Some(raft_log_id_of(id(1, index)))).await.unwrap();
        }
        log.save_vote(&raft_vote_of(VOTE)).await.unwrap();
        log.truncate_after(Some(raft_log_id_of(id(1, 150)))).await.unwrap();
        assert_eq!(indexes(&mut log).await.len(), 151);
        log.purge(raft_log_id_of(id(1, 140))).await.unwrap();
    });
    storage.close().unwrap();
    // Closing blocks, and says so.
    let own = thread::current().id();
    let waits = std::mem::take(&mut *waits.lock());
    let of_close = waits.iter().rev().take_while(|(_, thread)| *thread == own).count();
    let before_close = &waits[..waits.len() - of_close];
    assert!(before_close.iter().any(|(what, _)| *what == "remove"), "segments were deleted");
    assert!(before_close.iter().any(|(what, _)| *what == "read"), "the disk was read");
    assert_eq!(before_close.iter().find(|(_, thread)| *thread == own), None);
}
