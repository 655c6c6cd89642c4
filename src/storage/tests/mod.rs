//! The storage layer as a whole on the simulated disk, by topic. What is shared stands here.

mod log;
mod purge;
mod reopen;
mod refused;
mod directory;
mod flips;
mod model;
mod crash;
mod syncs;
mod disk_full;
mod hostile;
mod tables;
mod history;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::cuts::Cuts;
use super::error::StorageError;
use super::hard_state::HardState;
use super::index::Index;
use super::log::Log;
use super::log_entry::{Completion, Entry, EntryKind, NewEntry, Payload};
use super::log_scan::TailPolicy;
use super::log_writer::Purpose;
use super::manifest::ManifestHead;
use super::merge_choice::MergeGoal;
use super::record::Record;
use super::store::{Store, StoreOptions};
use super::store_lock::Absent;
use super::table::TableOptions;
use super::table_store::{TableStore, TableStoreOptions};
use crate::config::Compression;
use crate::env::Env;
use crate::env::fs_sim::SimFs;
use crate::types::{LogId, LogIndex, NodeId, Term, Timestamp, Version, Vote};

const ROOT: &str = "/data";

/// Small segments, no reserve.
fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes_max: 4096,
        unsynced_bytes_max: 1 << 20,
        wait_max: Duration::from_secs(1),
        reserve_bytes: 0,
        node: NodeId(1),
        cluster: None,
        tail: TailPolicy::Refuse,
        absent: Absent::Create,
        tables: table_options(),
    }
}

/// Small tables, so that one snapshot has several.
fn table_options() -> TableStoreOptions {
    TableStoreOptions {
        table: TableOptions { compression: Compression::Off, block_bytes: 512 },
        table_bytes_max: 1500,
        long_table_bytes_max: 1500,
        memory_bytes: 1 << 20,
    }
}

/// A machine with this disk, whose random numbers no other of this test has.
fn env(fs: &SimFs) -> Env {
    thread_local!(static SEED: Cell<u64> = const { Cell::new(0) });
    let seed = SEED.get() + 1;
    SEED.set(seed);
    Env::simulated_on(fs.clone(), seed).env
}

fn open_with(fs: &SimFs, options: &StoreOptions) -> Result<Store, StorageError> {
    Store::open(env(fs), Path::new(ROOT), options)
}

fn try_open(fs: &SimFs) -> Result<Store, StorageError> {
    open_with(fs, &options())
}

fn open(fs: &SimFs) -> Store {
    try_open(fs).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// The newest manifest.
fn manifest(fs: &SimFs) -> PathBuf {
    let files = fs.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.to_string_lossy().contains("MANIFEST-")).max().unwrap()
}

/// The tables.
fn tables(fs: &SimFs) -> Vec<PathBuf> {
    let files = fs.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.extension().is_some_and(|it| it == "tbl")).collect()
}

fn segment(id: u32) -> PathBuf {
    path(&format!("log/{id:010}.seg"))
}

fn id(index: u64) -> LogId {
    LogId { term: Term(1), leader: NodeId(1), index: LogIndex(index) }
}

fn vote(term: u64) -> Vote {
    Vote { term: Term(term), node: NodeId(1), committed: true }
}

/// Bytes that no other entry has.
fn payload(tag: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((tag * 31 + at as u64 * 7) % 251).unwrap() + 1).collect()
}

fn entry_with(id: LogId, payload: Vec<u8>) -> NewEntry {
    let payload = Payload { head: payload, body: Bytes::new() };
    NewEntry { id, clock: Timestamp(id.index.0 * 10), kind: EntryKind::Normal, payload }
}

fn entry(index: u64, len: usize) -> NewEntry {
    entry_with(id(index), payload(index, len))
}

fn append(log: &Log, indexes: std::ops::Range<u64>, len: usize) {
    for index in indexes {
        log.append_one(&entry(index, len).as_ref(), Purpose::Grow).unwrap();
    }
}

/// What completions were told, in order.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<Answer>>>);

/// Who was told what.
type Answer = (u64, Result<(), StorageError>);

impl Told {
    fn completion(&self, name: u64) -> Completion {
        let told = Self(Arc::clone(&self.0));
        Completion::new(move |result| told.0.lock().push((name, result)))
    }

    fn names(&self) -> Vec<u64> {
        self.0.lock().iter().map(|(name, _)| *name).collect()
    }

    fn all_ok(&self) -> bool {
        self.0.lock().iter().all(|(_, result)| result.is_ok())
    }

    fn all_err(&self) -> bool {
        self.0.lock().iter().all(|(_, result)| result.is_err())
    }
}

/// Everything that can be read from a log: its ends and its entries.
fn read_log(log: &Log) -> Result<(HardState, Vec<Entry>), StorageError> {
    let hard = log.hard_state();
    let start = hard.purged.map_or(LogIndex(0), |purged| purged.index.next());
    let Some(last) = hard.last else {
        return Ok((hard, Vec::new()));
    };
    let end = last.index.next();
    let mut error = None;
    // The first entry of a new log may have any of the first indexes.
    for start in start.0..=end.0.min(start.0 + 3) {
        match log.read_range(LogIndex(start)..end, usize::MAX) {
            Err(StorageError::BeyondEnd { .. }) if hard.purged.is_none() && start < 3 => {}
            Err(other) => {
                error = Some(other);
                break;
            }
            Ok(entries) => return Ok((hard, entries)),
        }
    }
    Err(error.unwrap())
}

fn indexes(log: &Log) -> Vec<u64> {
    read_log(log).unwrap().1.iter().map(|entry| entry.id.index.0).collect()
}

/// Rows of every snapshot.
const ROWS: u64 = 9;

fn snapshot_head(index: u64) -> ManifestHead {
    ManifestHead {
        last: id(index),
        timestamp: Timestamp(index),
        membership: Bytes::from_static(b"members"),
        sessions: Bytes::new(),
        keys: ROWS,
        live_bytes: ROWS * 301,
    }
}

/// Puts a state of so many rows into tables: the same keys each time, with other values.
fn publish_snapshot(store: &Store, index: u64) -> Result<(), StorageError> {
    let row = |n: u64| {
        let value = Some(Bytes::from(payload(index + n, 300)));
        let (version, timestamp) = (Version(index), Timestamp(index));
        (Bytes::from(vec![u8::try_from(n).unwrap()]), Record { value, version, timestamp })
    };
    let rows = Index::from_sorted((0..ROWS).map(row)).unwrap();
    store.add_run(&snapshot_head(index), &rows, &Cuts::default())?;
    while store.merge_step(MergeGoal::Everything)?.is_some() {}
    Ok(())
}

/// The values of a snapshot, and which entry it reaches to.
type Snapshot = (LogId, Vec<Bytes>);

fn read_snapshot(tables: &TableStore) -> Result<Option<Snapshot>, StorageError> {
    let Some(head) = tables.manifest_head() else { return Ok(None) };
    let mut values = Vec::new();
    for n in 0..ROWS {
        let record = tables.set().get(&[u8::try_from(n).unwrap()])?;
        values.extend(record.and_then(|record| record.value));
    }
    Ok(Some((head.last, values)))
}
