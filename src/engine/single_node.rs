//! [`SingleNodeEngine`]: a store in one process, as the cluster of one voter that it is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::api::{KvEngine, SnapshotEngine, refuse_reserved};
use super::backup::{BackupOptions, BackupReport, Progress};
use super::budget::marks_of;
use super::commit_queue::CommitRules;
use super::committer::Committer;
use super::compaction::KeepLog;
use super::draw::draw_id;
use super::ephemeral;
use super::keeping::Keeping;
use super::lease::Lease;
use super::machine::Machine;
use super::maintenance::{Maintenance, Schedule};
use super::open::open_replayed;
use super::past::At;
use super::pressure::Pressure;
use super::read_context::ReadContext;
use super::replay::{NO_CLOCK, Replayed, Replica};
use super::scoped::Scoped;
use super::session::Session;
use super::stats::{CompactionReport, EngineStats, TableStats};
use super::submission::{Callback, Reply, Submission};
use super::watch::options::{Begin, WatchOptions};
use super::watch::source::Source;
use super::watch::watch_engine::WatchEngine;
use super::watch::watcher::Watcher;
use crate::command::codec;
use crate::command::membership::Membership;
use crate::command::{Command, Owner, Scope};
use crate::config::StoreConfig;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::state::{ApplyOutcome, Durability, Resident, StateView, Value};
use crate::storage::log_entry::{EntryKind, EntryRef};
use crate::storage::log_writer::Purpose;
use crate::storage::store::Store;
use crate::types::{LogId, LogIndex, NodeId, SegmentId, Term, Version, Vote};

/// A store in this process. `Send + Sync`, used through `&self`; dropping it syncs, stops its
/// threads and releases the directory.
///
/// It is a cluster of one voter: opening it begins a new term, and every write is an entry of the
/// replicated log. The same directory can be a voter of several later.
///
/// ```
/// use hightower_kv::{KvEngine, SingleNodeEngine};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("data");
/// let engine = SingleNodeEngine::open(&path)?;
/// engine.put(b"greeting".to_vec(), b"hello".to_vec())?;
/// assert_eq!(engine.get(b"greeting")?.as_deref(), Some(b"hello".as_slice()));
/// # Ok::<(), hightower_kv::Error>(())
/// ```
pub struct SingleNodeEngine {
    pub(super) inner: Arc<Maintenance>,
    /// Whose the ephemeral keys are that are written here.
    owner: Owner,
    /// `None` when it was shut down.
    threads: Mutex<Option<Vec<JoinHandle<()>>>>,
}

impl SingleNodeEngine {
    /// Opens the store in `.hightower`, with the default configuration; creates it where it is
    /// missing.
    ///
    /// # Errors
    /// Those of [`Self::with_config`].
    pub fn new() -> Result<Self> {
        Self::with_config(StoreConfig::default())
    }

    /// Opens the store in a directory, with the default configuration; creates it where it is
    /// missing.
    ///
    /// # Errors
    /// Those of [`Self::with_config`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let data_dir = directory.as_ref().to_owned();
        Self::with_config(StoreConfig { data_dir, ..StoreConfig::default() })
    }

    /// Opens a store, or creates it. Cost: reading the filters and indexes of its tables, and all
    /// of the log that is still there, also what tables have of it, which is not applied again; no
    /// values of tables but those of at most a mebibyte in all.
    ///
    /// # Errors
    /// `Validation` for a configuration that cannot be; `Locked`, `UnusableDirectory`; `Corrupt`,
    /// `TailAmbiguous`, `MissingSegment`, `UnsupportedFormat`, with nothing changed on disk;
    /// `NotSingleNode` for a voter of several; `DiskFull`, `Io`.
    #[expect(clippy::needless_pass_by_value, reason = "the seed's signature, and how it is called")]
    pub fn with_config(config: StoreConfig) -> Result<Self> {
        Self::with_env(&config, Env::system())
    }

    /// As [`Self::with_config`], on another machine than the real one.
    ///
    /// # Errors
    /// Those of [`Self::with_config`].
    pub fn with_env(config: &StoreConfig, env: Env) -> Result<Self> {
        config.validate()?;
        let limits = config.limits();
        let started = env.clock.elapsed();
        let (store, replayed) = open_replayed(&env, config)?;
        let node = store.identity().node;
        check_membership(node, &replayed)?;
        let Replayed { mut replica, stale_bytes, log_bytes, longest_row, entries } = replayed;
        let term = begin_term(&store, &mut replica)?;
        let owner = Owner { node, start: draw_id(&env, "an opening of the store")? };
        let rules = CommitRules {
            limits,
            durability: durability_of(config),
            queue_commands_max: config.queue_commands_max,
            queue_bytes_max: config.queue_bytes_max,
            submit_timeout: config.submit_timeout,
            has_worker: config.worker_threads > 0,
        };
        let keys = replica.kv.as_view().len();
        let elapsed = env.clock.elapsed().saturating_sub(started);
        let tail = replica.kv.tail_bytes();
        let pressure = Pressure { behind: log_bytes, tail, stale: stale_bytes };
        let machine = Machine::new(env, store, replica, pressure, Keeping::new(config));
        machine.load.saw_row(longest_row.max(machine.store.tables().set().longest_block()));
        let committer = Committer::new(machine, term, rules);
        let inner = Maintenance::new(
            committer,
            schedule_of(config),
            marks_of(config),
            config.max_segment_size,
        );
        ephemeral::remove_all(&inner)?;
        // A voter by itself is sent no snapshots any more.
        inner.committer.machine.store.tables().discard_incoming();
        metrics::histogram!(crate::metrics::OPEN_SECONDS).record(elapsed);
        metrics::gauge!(crate::metrics::REPLAYED_ENTRIES).set(entries as f64);
        tracing::info!(
            directory = %config.data_dir.display(), term = term.0, keys, replayed = entries,
            micros = elapsed.as_micros(), "opened"
        );
        let engine = Self { inner: Arc::new(inner), owner, threads: Mutex::new(Some(Vec::new())) };
        if config.worker_threads > 0 {
            engine.inner.start(engine.threads.lock().get_or_insert_default())?;
        }
        Ok(engine)
    }

    /// Runs `read` on one consistent state. Writers do not wait for it, and nothing is copied.
    ///
    /// It cannot refuse: after a panic while a command was applied, which is a fault of this crate,
    /// [`KvEngine::view`] and [`KvEngine::get`] say `Poisoned`, and this may show a part of it.
    pub fn read_with<R>(&self, read: impl FnOnce(&StateView) -> R) -> R {
        read(&self.snapshot_state())
    }

    /// Writes what is only in the log to a table, deletes the log behind it, and merges all tables
    /// into one sequence without a useless byte. Writers do not wait for it; a compaction that is
    /// under way is waited for. Cost: reading and writing the whole state, unless it is so already.
    ///
    /// After a crash: everything as before, or any number of its steps done; no row is lost.
    ///
    /// # Errors
    /// `DiskFull`, `Io`, `Corrupt`: no row is lost, and it can be tried again. `Poisoned`.
    pub fn run_compaction_now(&self) -> Result<CompactionReport> {
        self.inner.compact_now()
    }

    /// Copies the store into a directory that does not exist yet or is empty, and checks every byte
    /// of the copy. Writes go on meanwhile; compaction waits for a moment at the beginning.
    ///
    /// The copy is a store by itself, at one version: it holds everything that was acknowledged
    /// before the call. It has the identity of the original, so it may take its place and never
    /// stand beside it in one cluster. Files that never change are shared with the original where
    /// the file system can do that: neither ever writes to them, but what damages one damages both.
    /// [`Self::backup_with`] can copy instead.
    ///
    /// After a crash at any moment the store is untouched, and the directory is the whole backup or
    /// refused as unfinished. Cost: reading everything once, and writing what is not shared, which
    /// is the last file of the log and little more.
    ///
    /// # Errors
    /// `UnusableDirectory`: it is not empty, or the one above it is missing; `Locked`: somebody
    /// creates a store in it. `Corrupt` with a file of this store that is damaged. `Io`, also for a
    /// sync of the copy that failed, or where it cannot be read back; `DiskFull`. After an error
    /// the directory is as before, but for an empty `LOCK` in one that was there; where what was
    /// made could not be removed, it is refused as unfinished. `Poisoned`: this store has stopped.
    pub fn backup(&self, directory: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_with(directory, BackupOptions::default(), &mut |_| ())
    }

    /// As [`Self::backup`]; `on_progress` is told how far it is.
    ///
    /// # Errors
    /// Those of [`Self::backup`].
    pub fn backup_with(
        &self,
        directory: impl AsRef<Path>,
        options: BackupOptions,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<BackupReport> {
        let Machine { env, store, .. } = &self.inner.committer.machine;
        let started = env.clock.elapsed();
        let summary = store.backup(directory.as_ref(), options.links, on_progress)?;
        Ok(BackupReport::new(summary, env.clock.elapsed().saturating_sub(started)))
    }

    /// Opens a session: its requests are applied once, however often they are sent. On a single
    /// node that is so anyway; the same code then works on a cluster.
    ///
    /// # Errors
    /// Those of [`Session::open`].
    pub fn session(self: &Arc<Self>) -> Result<Session<Self>> {
        Session::open(Arc::clone(self), self.inner.committer.machine.env.clone())
    }

    /// Grants a lease: keys that are there until it was not kept alive for `ttl`.
    ///
    /// # Errors
    /// Those of [`Lease::grant`].
    pub fn lease(self: &Arc<Self>, ttl: Duration) -> Result<Lease<Self>> {
        Lease::grant(Arc::clone(self), self.inner.committer.machine.env.clone(), ttl)
    }

    /// One scope of the store. What is in [`Scope::Ephemeral`] is gone when it is opened again.
    pub const fn scope(&self, scope: Scope) -> Scoped<'_, Self> {
        Scoped::new(self, scope)
    }

    /// Changes [`StoreConfig::compaction_threshold`] of the open store.
    pub fn set_compaction_threshold(&self, bytes: u64) {
        self.inner.set_threshold(bytes);
    }

    /// As [`KvEngine::flush`], for callers that have not imported the trait.
    ///
    /// # Errors
    /// `Poisoned`.
    pub fn flush(&self) -> Result<()> {
        self.inner.expire_if_due();
        Ok(self.inner.committer.machine.store.log().sync()?)
    }

    /// The machine that it runs on.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.inner.committer.machine.env
    }

    /// Counts and sizes.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let committer = &self.inner.committer;
        let log = committer.machine.store.log().stats();
        let pressure = committer.machine.load.pressure();
        let mut stats = EngineStats {
            stale_bytes: pressure.stale,
            term: committer.term(),
            segments: log.segments,
            log_bytes: log.bytes,
            unsynced_bytes: log.unsynced_bytes,
            tail_bytes: pressure.tail + committer.machine.replica.read().kv.frozen_bytes(),
            disk_full: log.disk_full,
            ..EngineStats::default()
        };
        stats.take_in_view(&self.snapshot_state());
        stats.take_in_tables(committer.machine.store.tables());
        stats
    }

    /// Numbers and lengths of the log's files, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<(SegmentId, u64)> {
        self.inner.committer.machine.store.log().segments()
    }

    /// The files of tables, newest run first.
    #[must_use]
    pub fn tables(&self) -> Vec<TableStats> {
        TableStats::of(&self.inner.committer.machine.store.tables().set())
    }

    /// Stops the threads, writes what is only in the log to a table so that the next opening
    /// replays nothing, syncs and releases the directory. Dropping does the same, but cannot tell
    /// what failed.
    ///
    /// # Errors
    /// `Poisoned`: what was not synced before may be lost. That the tail could not be written is no
    /// error, and is logged: the log has it.
    pub fn close(self) -> Result<()> {
        self.shut_down()
    }

    fn shut_down(&self) -> Result<()> {
        // Once only: after the lock of the directory was given back it may be somebody else's.
        let Some(threads) = self.threads.lock().take() else { return Ok(()) };
        self.inner.stop();
        // A callback may drop the last handle on a thread of ours, which cannot wait for itself,
        // nor for those that wait for what it commits.
        let here = std::thread::current().id();
        if threads.iter().any(|thread| thread.thread().id() == here) {
            self.inner.committer.close_here();
        }
        let join = |thread: JoinHandle<()>| {
            if thread.thread().id() != here && thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        };
        let mut threads = threads.into_iter();
        // The first one writes what was handed in. What it has acknowledged is synced at once: the
        // thread that did so has ended, and a merge may keep the others for a while.
        threads.by_ref().take(1).for_each(join);
        self.inner.sync_to_close();
        threads.for_each(join);
        let machine = &self.inner.committer.machine;
        machine.end_watching();
        self.inner.compact_to_close();
        let closed = machine.store.close();
        // A watcher that reads on its thread may hold the store for a moment longer.
        machine.store.unlock();
        Ok(closed?)
    }
}

impl fmt::Debug for SingleNodeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.inner.committer.machine.store.directory();
        f.debug_struct("SingleNodeEngine").field("directory", &directory).finish_non_exhaustive()
    }
}

impl Drop for SingleNodeEngine {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::error!(%error, "closing the store failed");
        }
    }
}

impl KvEngine for SingleNodeEngine {
    fn submit(&self, command: Command) -> Result<ApplyOutcome> {
        self.inner.before_write();
        let admitted = self.inner.admit(&command);
        let live_before = self.inner.before_removal(&command);
        // As `Committer::submit`. Each function that a write call returns through costs as much as
        // forty instructions (docs/performance.md), and the command would move twice more.
        let committer = &self.inner.committer;
        let outcome = match committer.check(&command) {
            Ok(purpose) => committer.submit_checked(command, purpose),
            Err(error) => Err(error),
        };
        // Also what found no room may make a compaction due.
        drop(admitted);
        self.inner.after_write();
        if let Some(live_before) = live_before {
            self.inner.after_removal(live_before);
        }
        outcome
    }

    fn submit_async(&self, command: Command) -> Submission {
        self.inner.before_handing_in();
        // Nobody knows here when it is done: it counts only until it is handed in.
        drop(self.inner.admit(&command));
        let submission = self.inner.committer.submit_async(command);
        self.inner.after_write();
        submission
    }

    fn submit_with(&self, command: Command, callback: Callback) {
        self.inner.before_handing_in();
        drop(self.inner.admit(&command));
        self.inner.committer.submit_with(command, Reply::Callback(callback));
        self.inner.after_write();
    }

    fn view(&self, context: ReadContext) -> Result<StateView> {
        let committer = &self.inner.committer;
        let view = committer.machine.replica.view();
        // Behind that: whoever waited for the lock may have waited for a panic.
        committer.machine.check_readable()?;
        match context {
            // Everything acknowledged is applied, so the state is both.
            ReadContext::Linearizable | ReadContext::Lease | ReadContext::Local => Ok(view),
            ReadContext::AtLeast(asked) if view.version() >= Some(asked) => Ok(view),
            ReadContext::AtLeast(asked) => Err(Error::NotYet { asked, at: view.version() }),
            ReadContext::At(version) => committer.machine.state_at(At::Version(version)),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        refuse_reserved(key)?;
        let machine = &self.inner.committer.machine;
        let resident = machine.get_resident(key);
        machine.check_readable()?;
        // The disk is read without a lock.
        match resident {
            Resident::Known(value) => Ok(value),
            Resident::InTables(tables) => {
                Ok(tables.get(key)?.and_then(|record| record.value).map(Value::from))
            }
        }
    }

    fn flush(&self) -> Result<()> {
        Self::flush(self)
    }

    fn owner(&self) -> Option<Owner> {
        Some(self.owner)
    }
}

impl WatchEngine for SingleNodeEngine {
    fn watch_with(&self, options: WatchOptions) -> Result<Watcher> {
        options.validate()?;
        match options.begin {
            Begin::Now => {}
            Begin::At(asked) => {
                let at = self.snapshot_state().last_applied();
                let next = at.map_or(LogIndex(0), LogIndex::next);
                if LogIndex::from(asked) > next {
                    return Err(Error::NotYet { asked, at: at.map(Version::from) });
                }
            }
            Begin::State(context) => drop(self.view(context)?),
        }
        let source: Arc<dyn Source> = Arc::clone(&self.inner) as _;
        let machine = &self.inner.committer.machine;
        let clock = Arc::clone(&machine.env.clock);
        Watcher::new(Arc::downgrade(&source), &*source, &machine.watchers, clock, &options)
    }
}

impl SnapshotEngine for SingleNodeEngine {
    fn snapshot_state(&self) -> StateView {
        self.inner.committer.machine.replica.view()
    }

    fn latest_version(&self) -> Version {
        let replica = self.inner.committer.machine.replica.read();
        replica.kv.as_view().version().unwrap_or_default()
    }
}

/// Refuses a directory that has other voters.
fn check_membership(node: NodeId, replayed: &Replayed) -> Result<()> {
    match &replayed.replica.membership {
        Some(membership) if !membership.is_only(node) => {
            let voters = membership.voters().into_iter().collect();
            Err(Error::NotSingleNode { node, voters })
        }
        _ => Ok(()),
    }
}

/// Does what a leader of one does when it starts: in a new directory writes the membership, then
/// raises the term with a committed vote for itself and appends a blank entry, all of it synced.
///
/// What is on disk if we die here: any prefix of the three, and the next opening does the same with
/// a higher term.
fn begin_term(store: &Store, replica: &mut Replica) -> Result<Term> {
    let log = store.log();
    let node = store.identity().node;
    let hard = log.hard_state();
    let append = |id, kind, payload: &[u8], replica: &mut Replica| {
        let entry = EntryRef { id, clock: NO_CLOCK, kind, payload: [payload, &[]] };
        log.append_one(&entry, Purpose::Relieve)?;
        let Ok(()) = replica.apply_blank(id.index) else {
            unreachable!("the index follows the last one applied");
        };
        replica.last = Some(id);
        Ok::<_, Error>(())
    };
    if replica.membership.is_none() {
        let membership = Membership::single(node);
        let payload = codec::encode_membership(&membership);
        // An entry of term 0: it is there before anybody was elected.
        let index = hard.last.map_or(LogIndex(0), |last| last.index.next());
        let id = LogId { term: Term(0), leader: node, index };
        append(id, EntryKind::Membership, &payload, replica)?;
        replica.membership = Some(membership);
        replica.membership_id = Some(id);
    }
    let voted = hard.vote.map_or(Term(0), |vote| vote.term);
    let term = hard.last.map_or(voted, |last| last.term.max(voted)).next();
    log.save_vote(Vote { term, node, committed: true })?;
    let index = replica.last.map_or(LogIndex(0), |last| last.index.next());
    append(LogId { term, leader: node, index }, EntryKind::Blank, &[], replica)?;
    log.sync()?;
    Ok(term)
}

const fn durability_of(config: &StoreConfig) -> Durability {
    if config.fsync_interval.is_zero() { Durability::Synced } else { Durability::Buffered }
}

const fn schedule_of(config: &StoreConfig) -> Schedule {
    Schedule {
        fsync_interval: config.fsync_interval,
        compaction_interval: config.compaction_interval,
        wait_max: config.submit_timeout,
        keep_log: if config.emit_snapshot_after_compaction {
            KeepLog::Purge
        } else {
            KeepLog::Keep
        },
    }
}
