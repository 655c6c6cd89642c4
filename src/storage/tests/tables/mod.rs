//! Tables as they change: runs added, merged, reopened, cut off, on a full disk. What is shared
//! stands here.

mod changes;
mod model;
mod crash;
mod disk_full;
mod opening;
mod hot;
mod snapshot;

use std::collections::BTreeMap;
use std::ops::Bound;

use super::*;
use crate::env::fs::Fs;
use crate::env::rng::SeededRng;
use crate::storage::context::Context;
use crate::storage::identity::Identity;
use crate::storage::manifest::ManifestHead;
use crate::storage::manifest_file;
use crate::storage::merge_choice::MergeGoal;
use crate::storage::record::{Direction, Record};
use crate::storage::run::RunCursor;
use crate::storage::sync_gate::SyncGate;
use crate::storage::table::TableOptions;
use crate::storage::table_set::TableSet;
use crate::storage::table_store::{MergeProgress, TableStore, TableStoreOptions};
use crate::types::RandomId;
use crate::types::Version;

/// Nothing stale is tolerated because the state is small.
const DUE: MergeGoal = MergeGoal::Due { compaction_threshold: 0 };

/// Rows as the model has them; `None` for a tombstone in a run.
pub(super) type Rows = BTreeMap<Vec<u8>, Option<Record>>;
/// A state: no tombstones.
type State = BTreeMap<Vec<u8>, Record>;

/// Tiny tables of tiny blocks, and memory for hardly any of them.
pub(super) fn table_options() -> TableStoreOptions {
    TableStoreOptions {
        table: TableOptions { block_bytes: 128, ..TableOptions::default() },
        table_bytes_max: 900,
        long_table_bytes_max: 900,
        memory_bytes: 1 << 20,
    }
}

pub(super) fn context(fs: &SimFs) -> Context {
    context_of(fs, 2)
}

/// A directory that no other is.
fn context_of(fs: &SimFs, incarnation: u8) -> Context {
    if fs.kind(Path::new(ROOT)).unwrap().is_none() {
        fs.create_dir(Path::new(ROOT)).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
    }
    let incarnation = RandomId([incarnation; 16]);
    let identity = Identity { cluster: RandomId([1; 16]), node: NodeId(1), incarnation };
    Context::new(env(fs), SyncGate::new(Arc::new(fs.clone())), Path::new(ROOT), identity)
}

/// As opening a store for writing does it.
pub(super) fn try_tables(
    fs: &SimFs,
    options: TableStoreOptions,
) -> Result<TableStore, StorageError> {
    tables_in(&context(fs), options)
}

fn tables_in(context: &Context, options: TableStoreOptions) -> Result<TableStore, StorageError> {
    let newest = manifest_file::list(context)?.pop();
    let manifest = newest.map(|number| manifest_file::read(context, number)).transpose()?;
    let manifest = manifest.map(|(manifest, _)| manifest);
    let tables = TableStore::open(context, manifest, options)?;
    crate::storage::atomic_file::remove_temporaries(&*context.env.fs, &context.root)?;
    tables.remove_leftovers()?;
    Ok(tables)
}

fn tables(fs: &SimFs) -> TableStore {
    try_tables(fs, table_options()).unwrap()
}

pub(super) fn record(version: u64, value: Option<Vec<u8>>) -> Record {
    let value = value.map(Bytes::from);
    Record { value, version: Version(version), timestamp: Timestamp(version * 3) }
}

#[expect(clippy::unnecessary_wraps, reason = "a row that is no tombstone")]
fn put(version: u64, value: &str) -> Option<Record> {
    Some(record(version, Some(value.as_bytes().to_vec())))
}

fn rows<const N: usize>(rows: [(&str, Option<Record>); N]) -> Rows {
    rows.map(|(key, row)| (key.as_bytes().to_vec(), row)).into()
}

fn apply(state: &mut State, rows: &Rows) {
    for (key, row) in rows {
        match row {
            Some(record) => state.insert(key.clone(), record.clone()),
            None => state.remove(key),
        };
    }
}

fn head_of(index: u64, state: &State) -> ManifestHead {
    let bytes = |(key, record): (&Vec<u8>, &Record)| (key.len() + record.value_bytes()) as u64;
    ManifestHead {
        last: id(index),
        timestamp: Timestamp(index * 3),
        membership: Bytes::from_static(b"members"),
        sessions: Bytes::new(),
        keys: state.len() as u64,
        live_bytes: state.iter().map(bytes).sum(),
    }
}

/// Adds a run that makes `state` of what there was.
fn add(
    tables: &TableStore,
    index: u64,
    rows: &Rows,
    state: &State,
) -> Result<Arc<TableSet>, StorageError> {
    let row = |(key, row): (&Vec<u8>, &Option<Record>)| {
        let row = row.clone().unwrap_or_else(|| record(index, None));
        (Bytes::copy_from_slice(key), row)
    };
    tables.add_run(head_of(index, state), &mut rows.iter().map(row))
}

/// A store and the state that it should hold.
struct Modelled {
    tables: TableStore,
    state: State,
    index: u64,
}

impl Modelled {
    fn new(fs: &SimFs) -> Self {
        Self { tables: tables(fs), state: State::new(), index: 0 }
    }

    fn add(&mut self, rows: &Rows) {
        self.index += 1;
        apply(&mut self.state, rows);
        add(&self.tables, self.index, rows, &self.state).unwrap();
    }

    fn merge_all(&self, goal: MergeGoal) {
        while self.tables.merge_step(goal).unwrap().is_some() {}
    }

    fn check(&self, what: &str) {
        check_set(&self.tables.set(), &self.state, what);
    }
}

/// All rows of a set that are there, by its cursors.
pub(super) fn read(
    set: &TableSet,
    direction: Direction,
) -> Result<Vec<(Vec<u8>, Record)>, StorageError> {
    let mut cursors = set.cursors(direction, Bound::Unbounded)?;
    let mut found: Vec<(Vec<u8>, Record)> = Vec::new();
    loop {
        let rows = cursors.iter().filter_map(RunCursor::row);
        let keys = rows.map(|row| row.key);
        let next = match direction {
            Direction::Forward => keys.min(),
            Direction::Backward => keys.max(),
        };
        let Some(next) = next.map(<[u8]>::to_vec) else {
            return Ok(found);
        };
        let mut is_newest = true;
        for cursor in &mut cursors {
            if cursor.row().is_some_and(|row| row.key == next) {
                let (key, record) = cursor.shared_row().unwrap();
                if is_newest && !record.is_tombstone() {
                    found.push((key.to_vec(), record));
                }
                is_newest = false;
                let last = cursor.shared_row();
                match cursor.advance_nearby() {
                    None => assert_eq!(cursor.shared_row(), last, "it has not moved"),
                    Some((key, has_value)) => {
                        let near = (key.to_vec(), has_value);
                        let row = cursor.row().unwrap();
                        assert_eq!(near, (row.key.to_vec(), row.value.is_some()));
                        continue;
                    }
                }
                cursor.advance()?;
            }
        }
    }
}

fn state_of(tables: &TableStore) -> State {
    read(&tables.set(), Direction::Forward).unwrap().into_iter().collect()
}

fn get(set: &TableSet, key: &[u8]) -> Option<Record> {
    set.get(key).unwrap().filter(|record| !record.is_tombstone())
}

/// Holds a set against a state: rows both ways, each key that is there, and some that are not.
fn check_set(set: &TableSet, state: &State, what: &str) {
    let expected: Vec<(Vec<u8>, Record)> =
        state.iter().map(|(key, record)| (key.clone(), record.clone())).collect();
    assert_eq!(read(set, Direction::Forward).unwrap(), expected, "{what}");
    let mut backward = read(set, Direction::Backward).unwrap();
    backward.reverse();
    assert_eq!(backward, expected, "{what}");
    for (key, record) in state {
        assert!(set.may_contain(key), "{what}");
        assert_eq!(get(set, key).as_ref(), Some(record), "{what}");
        let mut absent = key.clone();
        absent.push(0);
        assert_eq!(get(set, &absent), None, "{what}");
    }
}

/// Names in the folder of tables, and of manifests.
fn names(fs: &SimFs) -> (Vec<String>, Vec<String>) {
    let list = |folder: &Path| match fs.list(folder) {
        Ok(entries) => entries.into_iter().map(|entry| entry.name).collect(),
        Err(_) => Vec::new(),
    };
    let mut manifests: Vec<String> = list(Path::new(ROOT));
    manifests.retain(|name| name.starts_with("MANIFEST-"));
    (list(&path("tables")), manifests)
}

/// Nothing is in the directory that the newest manifest does not name.
fn check_no_leftovers(fs: &SimFs, tables: &TableStore, what: &str) {
    let (files, manifests) = names(fs);
    let set = tables.set();
    let mut named: Vec<String> =
        set.tables().map(|t| crate::storage::format::table_name(t.summary.id)).collect();
    named.sort();
    assert_eq!(files, named, "{what}");
    assert_eq!(manifests.len(), usize::from(set.number() > 0), "{what}: {manifests:?}");
}

/// Random rows of a run over so many keys.
fn random_rows(rng: &SeededRng, index: u64, keys: u64, rows_max: u64) -> Rows {
    let deletes = rng.up_to(6);
    let mut rows = Rows::new();
    for _ in 0..=rng.up_to(rows_max) {
        let key = format!("key-{:04}", rng.up_to(keys)).into_bytes();
        let row = if rng.up_to(7) < deletes {
            None
        } else {
            let len = usize::try_from(rng.up_to(60)).unwrap();
            Some(record(index, Some(payload(rng.up_to(1 << 30), len))))
        };
        rows.insert(key, row);
    }
    rows
}
