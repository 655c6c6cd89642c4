//! What openraft's own suite does not look at.

mod log_model;
mod log_store;
mod nodes;
mod state_machine;
mod watched_fs;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{EntryOf, OneshotReceiverOf};

use crate::command::Command;
use crate::config::StoreConfig;
use crate::env::Env;
use crate::env::fs_sim::{PowerCut, SimFs};
use crate::raft::log_store::{LogStore, LogStoreLimits};
use crate::raft::storage::RaftStorage;
use crate::raft::type_config::{Proposal, TypeConfig, raft_log_id_of};
use crate::types::{LogId, LogIndex, NodeId, Term, Timestamp};

type Entry = EntryOf<TypeConfig>;

/// Where an append waits to be told what became of it.
type Told = OneshotReceiverOf<TypeConfig, std::io::Result<()>>;

fn config() -> StoreConfig {
    StoreConfig {
        data_dir: "/data".into(),
        max_segment_size: 4096,
        disk_reserve: 0,
        ..StoreConfig::default()
    }
}

fn open_with(fs: &SimFs, limits: LogStoreLimits) -> RaftStorage {
    let env = Env::simulated_on(fs.clone(), 5).env;
    RaftStorage::open(&config(), None, env, limits, Arc::new(|_| true)).unwrap()
}

fn open(fs: &SimFs) -> RaftStorage {
    open_with(fs, LogStoreLimits::default())
}

/// The disk after a power cut that takes all that is not synced.
fn cut(fs: &SimFs) -> SimFs {
    fs.power_cut(PowerCut::Nothing)
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), leader: NodeId(1), index: LogIndex(index) }
}

fn entry(
    id: LogId,
    payload: EntryPayload<Proposal, u64, crate::command::membership::Peer>,
) -> Entry {
    Entry { log_id: raft_log_id_of(id), payload }
}

fn blank(term: u64, index: u64) -> Entry {
    entry(id(term, index), EntryPayload::Blank)
}

fn normal(term: u64, index: u64, command: Command) -> Entry {
    // Stamps of their own, some of which go back.
    let clock = Timestamp(1000 + index * 7 % 50);
    entry(id(term, index), EntryPayload::Normal(Proposal::new(clock, command)))
}

/// Appends and lets go.
async fn append(log: &mut LogStore, entries: Vec<Entry>) -> Told {
    let (send, receive) = TypeConfig::oneshot();
    // What an append says is told to whoever waits, too.
    log.append(entries, IOFlushed::signal(send)).await.ok();
    receive
}

/// Appends and waits until it is durable.
async fn append_synced(log: &mut LogStore, entries: Vec<Entry>) {
    append(log, entries).await.await.unwrap().unwrap();
}

/// Runs on the thread of the test and nowhere else.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Boxed: the compiler makes one copy of the runtime, not one for each test.
    let future: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(future);
    runtime.block_on(future)
}
