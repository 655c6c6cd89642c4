//! A data directory: lock, identity, log, tables, opened and closed together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::atomic_file;
use super::context::{Context, absolute};
use super::cuts::Cuts;
use super::error::StorageError;
use super::format::{
    ARCHIVE_NAME, FRAME_ALIGN, IDENTITY_BYTES, IDENTITY_NAME, LOG_NAME, SEGMENT_BYTES_CEILING,
    TABLES_NAME, UNFINISHED_NAME, parse_manifest_name, parse_segment_name, parse_table_name,
};
use super::history::{self, Archive, CompressSummary};
use super::identity::Identity;
use super::index::Index;
use super::log::{Log, LogLimits};
use super::log_open::{self, open_watermark};
use super::log_scan::{ScannedLog, TailPolicy, list_segments, scan_log};
use super::log_writer::LogWriter;
use super::manifest::{Manifest, ManifestHead};
use super::manifest_file;
use super::merge_choice::MergeGoal;
use super::record::Record;
use super::recovery::{Needed, Part, judge};
use super::reserve::Reserve;
use super::snapshot_incoming::{IncomingSnapshot, Need, Snapshot};
use super::store_lock::{Absent, Lock, take_lock, take_shared_lock};
use super::sync_gate::SyncGate;
use super::table_set::TableSet;
use super::table_store::{MergeStep, TableStore, TableStoreOptions};
use crate::config::Compression;
use crate::env::Env;
use crate::env::fs::{FileKind, OpenHow, read_up_to_at};
use crate::types::{LogIndex, NodeId, RandomId};

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Greatest length of a segment that holds more than one entry, in bytes.
    pub segment_bytes_max: u64,
    /// Bytes that may be appended and not synced before an append syncs or waits.
    pub unsynced_bytes_max: u64,
    /// How long an append waits for another's sync when too much is unsynced.
    pub wait_max: Duration,
    /// Bytes kept back for a full disk; 0 for none.
    pub reserve_bytes: u64,
    /// Who a directory becomes that is created.
    pub node: NodeId,
    /// The cluster that a directory is created for; `None` for a new one.
    pub cluster: Option<RandomId>,
    /// What to do with an end of the log that may be damage or an unsynced write.
    pub tail: TailPolicy,
    /// Whether a directory without a store becomes one.
    pub absent: Absent,
    /// How tables are written and kept in memory.
    pub tables: TableStoreOptions,
}

/// The smallest `segment_bytes_max`.
pub const SEGMENT_BYTES_FLOOR: u64 = 4096;
const _: () = assert!(SEGMENT_BYTES_FLOOR.is_multiple_of(FRAME_ALIGN as u64));
const _: () = assert!(SEGMENT_BYTES_FLOOR < SEGMENT_BYTES_CEILING);

/// An open data directory, for one process, until it is dropped.
#[derive(Debug)]
pub struct Store {
    context: Context,
    log: Log,
    tables: TableStore,
    archive: Archive,
    /// Holds the lock for as long as the store is open.
    lock: Mutex<Option<Lock>>,
}

impl Store {
    /// Opens a directory for reading and writing; creates it where `options` say so.
    ///
    /// The order: lock, identity, log, manifest, tables. Nothing is written before all of them are
    /// judged by the recovery table.
    ///
    /// # Errors
    /// `Locked` at once when somebody has it open; `UnusableDirectory`, `NoStore`; what the
    /// recovery table refuses, with nothing changed on disk; `Io`, `DiskFull`, `SyncFailed`.
    pub fn open(env: Env, root: &Path, options: &StoreOptions) -> Result<Self, StorageError> {
        let root = &absolute(&env, root)?;
        let gate = SyncGate::new(Arc::clone(&env.fs));
        prepare_directory(&env, root, options.absent)?;
        // Judged before the lock file may be created: a newer release's directory stays untouched.
        let newer = read_identity(&env, root);
        if let Err(error @ StorageError::UnsupportedFormat { .. }) = newer {
            return Err(error);
        }
        let lock = take_lock(&env, root, options.absent)?;
        // Again: a copy may have been begun before the lock was taken, and given up.
        refuse_unfinished(&env, root)?;
        let identity = match identity_of(&env, root)? {
            Some(identity) => identity,
            None if options.absent == Absent::Create => create(&env, &gate, root, options)?,
            None => {
                return Err(StorageError::NoStore { directory: root.to_owned() });
            }
        };
        let context = Context::new(env, gate, root, identity);
        let (scanned, manifest) = scan(&context, options.tail)?;
        let tables = TableStore::open(&context, manifest, options.tables)?;
        let past = history::look(&context)?;
        remove_temporaries(&context)?;
        // A process that was killed between a rename and the sync of its directory leaves a name
        // that everybody sees and a power cut still takes. Nothing may rely on such a name.
        context.gate.sync_dir(&context.root)?;
        context.gate.sync_dir(&context.log)?;
        let mut reserve = Reserve::look(&context, options.reserve_bytes)?;
        let settle = || log_open::settle(&context, &scanned, options.segment_bytes_max);
        let writable = reserve.or_release(&context, settle)?;
        log_open::remove_stale(&context, &scanned);
        let open = || open_watermark(&context, writable.synced);
        let watermark = reserve.or_release(&context, open)?;
        reserve.or_release(&context, || tables.remove_leftovers())?;
        // What an installed snapshot holds may be ahead of the log that is still to be purged.
        // Survivors, which were written again above, count.
        let last = writable.contents.hard.last.map(|last| last.index);
        let last = last.max(tables.manifest_head().map(|head| head.last.index));
        // Before the log can grow: see there.
        let archive =
            reserve.or_release(&context, || Archive::for_writing(&context, &past, last))?;
        // What the log holds for tables is not known yet: the first put looks again.
        reserve.restore_if_room(&context, tables.room_to_keep().bytes(0))?;
        let writer = LogWriter::new(writable, reserve, options.segment_bytes_max);
        let limits = LogLimits {
            unsynced_bytes_max: options.unsynced_bytes_max,
            wait_max: options.wait_max,
        };
        let log = Log::new(context.clone(), limits, writer, watermark);
        log.delete_purged()?;
        Ok(Self { context, log, tables, archive, lock: Mutex::new(Some(lock)) })
    }

    /// Who the directory is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.context.identity
    }

    /// Where it is, through which doors.
    pub(crate) const fn context(&self) -> &Context {
        &self.context
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.context.root
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The tables.
    #[must_use]
    pub const fn tables(&self) -> &TableStore {
        &self.tables
    }

    /// The past.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Does something to the past; where the disk is full, once more with the reserve given back.
    /// A failure that stops the store stops the log too. So whatever writes to the archive goes
    /// through here; reading need not.
    ///
    /// # Errors
    /// Those of the work.
    pub fn archiving<T>(
        &self,
        work: impl Fn(&Archive) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.relieved(|| work(&self.archive))
    }

    /// Does one step of compressing the past: see [`Archive::compress_step`]. The reserve is not
    /// for this: it makes room only once it is done.
    ///
    /// # Errors
    /// Those of [`Archive::compress_step`].
    pub fn compress_archive(
        &self,
        compression: Compression,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<CompressSummary>, StorageError> {
        self.log.tell_if_poisoned(self.archive.compress_step(compression, pace))
    }

    /// Makes rows, and before them cuts, the newest run of the tables, and publishes a manifest
    /// that says that everything up to `head.last` is in tables. The log is left alone: purging it
    /// is the caller's next step.
    ///
    /// After a crash: the old manifest and tables, or the new ones.
    ///
    /// # Errors
    /// `DiskFull`, after the reserve was given back and did not suffice; `Io`, `Corrupt`: the
    /// tables are as before. `SyncFailed`: the store is poisoned.
    pub fn add_run(
        &self,
        head: &ManifestHead,
        rows: &Index<Record>,
        cuts: &Cuts,
    ) -> Result<Arc<TableSet>, StorageError> {
        let table_bytes_max = self.log.table_bytes_of_debt(self.tables.options().table_bytes_max);
        let added = self.relieved(|| {
            let mut rows = rows.iter().map(|(key, record)| (key.clone(), record.clone()));
            self.tables.add_run_by_tables_of(table_bytes_max, head.clone(), &mut rows, cuts)
        });
        self.keep_room();
        added
    }

    /// Does one step of a merge: one table more. `None` when nothing is to be merged.
    ///
    /// # Errors
    /// Those of [`Self::add_run`].
    pub fn merge_step(&self, goal: MergeGoal) -> Result<Option<MergeStep>, StorageError> {
        // What is still to be written to a table comes first, and the reserve is for that.
        let room = self.log.room_beside_debt();
        let step = || self.tables.merge_step_within(goal, room);
        let merged = match room {
            u64::MAX => self.relieved(step),
            _ => self.log.tell_if_poisoned(step()),
        };
        self.keep_room();
        merged
    }

    /// Has new data leave room for what is still to be written to tables, of which this says how
    /// many bytes it is, and for a merge. For whoever compacts.
    pub(crate) fn begin_debt(&self, unwritten: Arc<AtomicU64>) {
        self.log.begin_debt(unwritten);
        self.keep_room();
    }

    /// Has others leave room for merges, and new data for deletes, too.
    fn keep_room(&self) {
        self.log.keep_room(self.tables.room_to_keep());
    }

    /// Begins to receive a snapshot of another store, whose tables may have `bytes_max` bytes
    /// together: see [`IncomingSnapshot::begin`]. Nothing is given back of the reserve for it.
    ///
    /// # Errors
    /// Those of [`IncomingSnapshot::begin`].
    pub fn begin_incoming(
        &self,
        manifest: &Bytes,
        bytes_max: u64,
    ) -> Result<(IncomingSnapshot, Vec<Need>), StorageError> {
        self.log.tell_if_poisoned(IncomingSnapshot::begin(&self.tables, manifest, bytes_max))
    }

    /// Makes the state in the tables that of a snapshot, and publishes a manifest that says so. The
    /// log is left alone: purging it up to the head's last entry is the caller's next step.
    ///
    /// After a crash: the old state, or that of the snapshot. It may be called again with the same
    /// snapshot after an error that is not final.
    ///
    /// # Errors
    /// Those of [`TableStore::install`]; `DiskFull` after the reserve was given back.
    pub fn install(
        &self,
        snapshot: &Snapshot,
    ) -> Result<(Arc<TableSet>, ManifestHead), StorageError> {
        let installed = self.relieved(|| self.tables.install(snapshot));
        self.keep_room();
        installed
    }

    /// Tries what makes room; where the disk is full, once more with the reserve given back.
    fn relieved<T>(&self, work: impl Fn() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let done = match work() {
            Err(error) if error.is_disk_full() && self.log.give_back_reserve() => work(),
            done => done,
        };
        self.log.tell_if_poisoned(done)
    }

    /// Syncs everything and leaves the directory so that nothing is to be repaired at the next
    /// open.
    ///
    /// # Errors
    /// `SyncFailed`, `Poisoned`.
    pub fn close(&self) -> Result<(), StorageError> {
        self.log.close()
    }

    /// Lets others open the directory although this handle is still there. It writes nothing any
    /// more; its tables can still be read.
    #[cfg_attr(not(feature = "raft"), expect(dead_code, reason = "for clusters"))]
    pub(crate) fn release(&self) {
        self.log.shut();
        self.log.wait_for_writers();
        self.unlock();
    }

    /// As [`Self::release`], by whoever sees to it by itself that nothing is written any more.
    pub(crate) fn unlock(&self) {
        self.lock.lock().take();
    }
}

/// A data directory opened for reading only: nothing in it is created or changed.
#[derive(Debug)]
pub struct ReadOnlyStore {
    context: Context,
    scanned: ScannedLog,
    tables: TableStore,
    archive: Archive,
    /// Holds a shared lock, where there is a lock file.
    _lock: Option<Lock>,
}

impl ReadOnlyStore {
    /// Opens a directory for reading. Several may at the same time, but not beside a writer.
    ///
    /// # Errors
    /// `Locked`, `NoStore`; what the recovery table refuses; `Io`.
    pub fn open(env: Env, root: &Path, tables: TableStoreOptions) -> Result<Self, StorageError> {
        let root = &absolute(&env, root)?;
        let gate = SyncGate::new(Arc::clone(&env.fs));
        prepare_directory(&env, root, Absent::Refuse)?;
        let lock = take_shared_lock(&env, root)?;
        let identity = identity_of(&env, root)?
            .ok_or_else(|| StorageError::NoStore { directory: root.to_owned() })?;
        let context = Context::new(env, gate, root, identity);
        let (mut scanned, manifest) = scan(&context, TailPolicy::Refuse)?;
        let tables = TableStore::open(&context, manifest, tables)?;
        // A past that reaches as far as what is not known to be synced is sound.
        scanned.take_in_survivors()?;
        let last = scanned.contents.hard.last.map(|last| last.index);
        let last = last.max(tables.manifest_head().map(|head| head.last.index));
        let archive = Archive::for_reading(&context, history::look(&context)?, last);
        Ok(Self { context, scanned, tables, archive, _lock: lock })
    }

    /// Who the directory is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.context.identity
    }

    /// The machine that it is on.
    pub(crate) const fn env(&self) -> &Env {
        &self.context.env
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.context.root
    }

    /// Vote and ends of the log.
    #[must_use]
    pub const fn hard_state(&self) -> super::hard_state::HardState {
        self.scanned.contents.hard
    }

    /// The entries of `range`: as [`Log::read_range`].
    ///
    /// # Errors
    /// As [`Log::read_range`].
    pub fn read_range(
        &self,
        range: std::ops::Range<LogIndex>,
        bytes_max: usize,
    ) -> Result<Vec<super::log_entry::Entry>, StorageError> {
        super::log_read::read_range(&self.context, range, bytes_max, |index| {
            super::log_read::locate(&self.scanned.contents, &self.scanned.segments, index)
        })
    }

    /// The tables.
    #[must_use]
    pub const fn tables(&self) -> &TableStore {
        &self.tables
    }

    /// The past.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Numbers and lengths of the segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<(crate::types::SegmentId, u64)> {
        self.scanned.segments.iter().map(|info| (info.id, info.end)).collect()
    }

    /// How many entries a segment holds, without those that were truncated or purged.
    #[must_use]
    pub fn entries_in(&self, segment: crate::types::SegmentId) -> u64 {
        self.scanned.contents.entries.count_in(segment)
    }
}

/// Scans the log and reads the newest manifest: what is purged must be in it.
pub(crate) fn scan(
    context: &Context,
    tail: TailPolicy,
) -> Result<(ScannedLog, Option<Manifest>), StorageError> {
    check_log_folder(context)?;
    let scanned = scan_log(context, tail)?.ok_or_else(|| StorageError::MissingFile {
        file: context.segment_path(crate::types::SegmentId(1)),
        reason: "the directory has an identity, so it had a segment".to_owned(),
    })?;
    let newest = manifest_file::list(context)?.pop();
    let read = newest.map(|number| manifest_file::read(context, number).map(|(read, _)| read));
    // One that ends before what is purged is not the newest that there was.
    let purged = scanned.contents.hard.purged.map(|purged| purged.index);
    let covers = |manifest: &Manifest| Some(manifest.head.last.index) >= purged;
    let (number, found) = match read.transpose() {
        Ok(Some(manifest)) if !covers(&manifest) => (manifest.number + 1, Ok(None)),
        read => (newest.unwrap_or(1), read),
    };
    let needed = if purged.is_some() { Needed::Yes } else { Needed::No };
    let manifest = judge(Part::Manifest, needed, &manifest_file::path_of(context, number), found)?;
    Ok((scanned, manifest))
}

/// Refuses a folder of segments that is none: a symbolic link would be followed.
fn check_log_folder(context: &Context) -> Result<(), StorageError> {
    let path = &context.log;
    match context.env.fs.kind(path).map_err(StorageError::wrap("look at", path))? {
        Some(FileKind::Directory) => Ok(()),
        Some(_) => Err(StorageError::corrupt(path, 0, "this is not a directory")),
        None => Err(StorageError::MissingFile {
            file: path.clone(),
            reason: "the directory has an identity, so it had a log".to_owned(),
        }),
    }
}

/// Sees to it that the data directory is a directory, and creates it where it may.
pub(crate) fn prepare_directory(
    env: &Env,
    root: &Path,
    absent: Absent,
) -> Result<(), StorageError> {
    let unusable = |reason: &str| {
        Err(StorageError::UnusableDirectory {
            directory: root.to_owned(),
            reason: reason.to_owned(),
        })
    };
    match env.fs.kind(root).map_err(StorageError::wrap("look at", root))? {
        Some(FileKind::Directory) => refuse_unfinished(env, root),
        Some(FileKind::File) => unusable("it is a file; name a directory"),
        Some(FileKind::Symlink) => {
            unusable("it is a symbolic link, which is not followed; name the directory itself")
        }
        Some(FileKind::Other) => unusable("it is neither a file nor a directory"),
        None if absent == Absent::Refuse => {
            Err(StorageError::NoStore { directory: root.to_owned() })
        }
        None => create_directories(env, root),
    }
}

/// Refuses a directory that a copy of a store is being made in, or was.
fn refuse_unfinished(env: &Env, root: &Path) -> Result<(), StorageError> {
    let path = root.join(UNFINISHED_NAME);
    match env.fs.kind(&path).map_err(StorageError::wrap("look at", &path))? {
        None => Ok(()),
        Some(_) => Err(StorageError::UnfinishedCopy { directory: root.to_owned() }),
    }
}

/// Creates a directory and those above it that are missing. [`create`] makes them durable.
fn create_directories(env: &Env, path: &Path) -> Result<(), StorageError> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut at = Some(path);
    while let Some(path) = at.filter(|path| !path.as_os_str().is_empty()) {
        if env.fs.kind(path).map_err(StorageError::wrap("look at", path))?.is_some() {
            break;
        }
        missing.push(path.to_owned());
        at = path.parent();
    }
    for path in missing.iter().rev() {
        match env.fs.create_dir(path) {
            // Somebody else creates the same store: the lock decides who goes on.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => created.map_err(StorageError::wrap("create", path))?,
        }
    }
    Ok(())
}

/// Makes the name of the data directory durable, and those of the directories above it as far up as
/// they may be read: further up none can have been made by us.
fn sync_ancestors(env: &Env, gate: &SyncGate, root: &Path) -> Result<(), StorageError> {
    for (above, ancestor) in root.ancestors().skip(1).enumerate() {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        let denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
        if above > 0 && env.fs.list(ancestor).is_err_and(denied) {
            break;
        }
        gate.sync_dir(ancestor)?;
    }
    Ok(())
}

/// The identity file's content; `None` when there is none.
pub(crate) fn read_identity(env: &Env, root: &Path) -> Result<Option<Identity>, StorageError> {
    let path = root.join(IDENTITY_NAME);
    let file = match env.fs.open(&path, OpenHow::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(StorageError::wrap("open", &path))?,
    };
    let mut bytes = [0; IDENTITY_BYTES + 1];
    let len = read_up_to_at(&*file, &mut bytes, 0).map_err(StorageError::wrap("read", &path))?;
    Identity::decode(bytes.get(..len).unwrap_or_default(), &path).map(Some)
}

/// The identity, judged: `None` where the directory is to be created.
pub(crate) fn identity_of(env: &Env, root: &Path) -> Result<Option<Identity>, StorageError> {
    let found = read_identity(env, root);
    let needed = if holds_entries(env, root)? { Needed::Yes } else { Needed::No };
    judge(Part::Identity, needed, &root.join(IDENTITY_NAME), found)
}

/// Whether a directory without identity holds more than an interrupted creation leaves: a manifest,
/// a table, anything of the past, or any segment but one that has no frame behind its head.
fn holds_entries(env: &Env, root: &Path) -> Result<bool, StorageError> {
    let list = |path: &Path| match env.fs.list(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(StorageError::wrap("list", path)),
    };
    if list(root)?.iter().any(|entry| parse_manifest_name(&entry.name).is_some()) {
        return Ok(true);
    }
    let folder = |name: &str| {
        let path = root.join(name);
        match env.fs.kind(&path).map_err(StorageError::wrap("look at", &path))? {
            Some(FileKind::Symlink) => {
                Err(StorageError::corrupt(&path, 0, "this is not a directory"))
            }
            Some(FileKind::Directory) => list(&path),
            _ => Ok(Vec::new()),
        }
    };
    let segments = folder(LOG_NAME)?;
    let has_tables = folder(TABLES_NAME)?.iter().any(|it| parse_table_name(&it.name).is_some());
    if has_tables || folder(ARCHIVE_NAME)?.iter().any(|it| history::is_era_name(&it.name)) {
        return Ok(true);
    }
    let log = root.join(LOG_NAME);
    for entry in segments {
        let Some(id) = parse_segment_name(&entry.name) else {
            continue;
        };
        if id.0 > 1 {
            return Ok(true);
        }
        let path = log.join(&entry.name);
        let file = env.fs.open(&path, OpenHow::Read).map_err(StorageError::wrap("open", &path))?;
        let mut behind = [0; 64];
        let head = u64::from(super::log_segment::HEAD_BYTES);
        let len =
            read_up_to_at(&*file, &mut behind, head).map_err(StorageError::wrap("read", &path))?;
        if behind.iter().take(len).any(|&byte| byte != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Creates a store in an empty directory, or in one whose creation was interrupted.
///
/// What is on disk if we die here: no identity, so that creation begins anew; or all of it. The
/// identity comes last: where it is, the first segment is.
fn create(
    env: &Env,
    gate: &SyncGate,
    root: &Path,
    options: &StoreOptions,
) -> Result<Identity, StorageError> {
    let drawn = Identity::random(&*env.rng, options.node, root)?;
    let identity = Identity { cluster: options.cluster.unwrap_or(drawn.cluster), ..drawn };
    let context = Context::new(env.clone(), gate.clone(), root, identity);
    atomic_file::publish_directory(&*env.fs, gate, root, LOG_NAME)?;
    check_log_folder(&context)?;
    // Whoever made the directory may have died before its name was durable.
    sync_ancestors(env, gate, root)?;
    remove_temporaries(&context)?;
    for id in list_segments(&context)? {
        let path = context.segment_path(id);
        env.fs.remove(&path).map_err(StorageError::wrap("remove", &path))?;
    }
    log_open::create(&context, options.segment_bytes_max)?;
    let bytes = identity.encode();
    atomic_file::publish_bytes(&*env.fs, gate, root, IDENTITY_NAME, &bytes)?;
    tracing::info!(directory = %root.display(), cluster = %identity.cluster, "a store was created");
    Ok(identity)
}

fn remove_temporaries(context: &Context) -> Result<(), StorageError> {
    let fs = &*context.env.fs;
    atomic_file::remove_temporaries(fs, &context.root)?;
    atomic_file::remove_temporaries(fs, &context.log)
}
