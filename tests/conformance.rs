//! openraft's own suite for a log store and a state machine, over ours: on the real disk, on the
//! simulated one, and with the directory closed, or the process killed, and opened again before
//! each look at what the suite has built.
//!
//! `cargo test --test conformance -- --nocapture` prints a line for each.
#![cfg(feature = "raft")]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::{Stream, StreamExt};
use hightower_kv::StoreConfig;
use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::raft::log_store::{LogStore, LogStoreLimits};
use hightower_kv::raft::snapshot::{SnapshotBuilder, SnapshotData};
use hightower_kv::raft::state_machine::StateMachine;
use hightower_kv::raft::storage::RaftStorage;
use hightower_kv::raft::type_config::TypeConfig;
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder,
    RaftStateMachine,
};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{
    EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};
use openraft::{OptionalSend, StorageError};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::MappedMutexGuard;

type Entry = EntryOf<TypeConfig>;
type LogId = LogIdOf<TypeConfig>;

/// Where a store is, and how it ends before it is opened again.
enum Place {
    Real(TempDir),
    /// The disk is another one after each kill.
    Simulated(Mutex<SimFs>),
}

/// How a store is kept that the suite looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// It stays open.
    Nothing,
    /// It is closed and opened again before each look.
    Close,
    /// The process dies before each look.
    Kill,
}

impl Place {
    fn open(&self) -> RaftStorage {
        let mut config = StoreConfig::default();
        config.max_segment_size = 4096;
        config.disk_reserve = 0;
        let env = match self {
            Self::Real(directory) => {
                config.data_dir = directory.path().join("data");
                Env::system()
            }
            Self::Simulated(fs) => {
                config.data_dir = "/data".into();
                Env::simulated_on(fs.lock().clone(), 7).env
            }
        };
        // A cache that holds one entry: the rest is read from the disk.
        let limits = LogStoreLimits { cache_bytes_max: 1, ..LogStoreLimits::default() };
        RaftStorage::open(&config, None, env, limits, Arc::new(|_| true)).unwrap()
    }
}

/// A store that may be another one at each look.
struct Shared {
    place: Place,
    between: Between,
    storage: tokio::sync::Mutex<Option<RaftStorage>>,
    reopened: Arc<AtomicU64>,
}

impl Shared {
    async fn storage(&self) -> MappedMutexGuard<'_, RaftStorage> {
        let storage = self.storage.lock().await;
        tokio::sync::MutexGuard::map(storage, |storage| storage.as_mut().unwrap())
    }

    /// The store, opened again where that is lawful.
    async fn reopened(&self) -> MappedMutexGuard<'_, RaftStorage> {
        let mut guard = self.storage.lock().await;
        let mut storage = guard.take().unwrap();
        if self.between != Between::Nothing && may_reopen(&mut storage).await {
            if self.between == Between::Kill {
                if let Place::Simulated(fs) = &self.place {
                    let left = fs.lock().kill();
                    *fs.lock() = left;
                }
            } else {
                storage.close().unwrap();
            }
            drop(storage);
            storage = self.place.open();
            self.reopened.fetch_add(1, Ordering::Relaxed);
        }
        *guard = Some(storage);
        tokio::sync::MutexGuard::map(guard, |storage| storage.as_mut().unwrap())
    }
}

/// Makes what was applied durable, as a snapshot: the suite applies entries that are in no log.
/// Where it has purged more than it has applied no store may be opened again: the log is gone, and
/// nothing has what it amounted to.
async fn may_reopen(storage: &mut RaftStorage) -> bool {
    let (applied, _) = storage.state.applied_state().await.unwrap();
    let snapshot = storage.state.get_current_snapshot().await.unwrap();
    let purged = storage.log.get_log_state().await.unwrap().last_purged_log_id;
    if applied.map(|id| id.index) < purged.map(|id| id.index) {
        return false;
    }
    if applied != snapshot.and_then(|snapshot| snapshot.meta.last_log_id) {
        let mut builder = storage.state.get_snapshot_builder().await;
        builder.build_snapshot().await.unwrap();
    }
    true
}

#[derive(Clone)]
struct Log(Arc<Shared>);

struct State(Arc<Shared>);

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.0.reopened().await.log.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.0.reopened().await.log.limited_get_log_entries(start, end).await
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let mut log: LogStore = self.0.reopened().await.log.clone();
        let entries: Vec<_> = log.entries_stream(range).await.collect().await;
        futures_util::stream::iter(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<TypeConfig>>> {
        self.0.reopened().await.log.read_vote().await
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        self.0.reopened().await.log.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> io::Result<()> {
        self.0.storage().await.log.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.storage().await.log.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.0.reopened().await.log.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.0.storage().await.log.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.storage().await.log.truncate_after(last).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.0.storage().await.log.purge(upto).await
    }
}

impl RaftStateMachine<TypeConfig> for State {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogId>, StoredMembershipOf<TypeConfig>)> {
        self.0.reopened().await.state.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        self.0.storage().await.state.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let mut storage = self.0.storage().await;
        let state: &mut StateMachine = &mut storage.state;
        state.get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        self.0.storage().await.state.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotData>>> {
        self.0.reopened().await.state.get_current_snapshot().await
    }
}

/// Makes a new store for each case of the suite.
struct Builder {
    is_real: bool,
    between: Between,
    cases: Arc<AtomicU64>,
    reopened: Arc<AtomicU64>,
}

impl StoreBuilder<TypeConfig, Log, State, ()> for Builder {
    async fn build(&self) -> Result<((), Log, State), StorageError<TypeConfig>> {
        self.cases.fetch_add(1, Ordering::Relaxed);
        let place = if self.is_real {
            Place::Real(tempfile::tempdir().unwrap())
        } else {
            Place::Simulated(Mutex::new(SimFs::new(3)))
        };
        let storage = tokio::sync::Mutex::new(Some(place.open()));
        let reopened = Arc::clone(&self.reopened);
        let shared = Arc::new(Shared { place, between: self.between, storage, reopened });
        Ok(((), Log(Arc::clone(&shared)), State(shared)))
    }
}

/// Runs the suite. Returns what is to be said of it.
fn conforms(is_real: bool, between: Between) -> String {
    let (cases, reopened) = (Arc::default(), Arc::default());
    let builder =
        Builder { is_real, between, cases: Arc::clone(&cases), reopened: Arc::clone(&reopened) };
    let started = Instant::now();
    TypeConfig::run(Suite::test_all(builder)).unwrap();
    let disk = if is_real { "real disk" } else { "simulated disk" };
    format!(
        "conformance: {disk}, between: {between:?}: {} stores, opened again {} times, {:.1?}",
        cases.load(Ordering::Relaxed),
        reopened.load(Ordering::Relaxed),
        started.elapsed(),
    )
}

#[test]
fn openrafts_suite_passes_on_the_real_disk() {
    println!("{}", conforms(true, Between::Nothing));
}

#[test]
fn openrafts_suite_passes_on_the_simulated_disk() {
    println!("{}", conforms(false, Between::Nothing));
}

#[test]
fn openrafts_suite_passes_with_the_directory_opened_again_before_each_look() {
    println!("{}", conforms(true, Between::Close));
}

#[test]
fn openrafts_suite_passes_with_the_process_killed_before_each_look() {
    println!("{}", conforms(false, Between::Kill));
}
