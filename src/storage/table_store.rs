//! The tables of one store as they change: new runs come in, runs are merged, each time by a new
//! manifest.
//!
//! Every change goes the same way. Tables are written and are on the device, names included; then
//! the manifest that names them is published, which is the moment at which the change happens; then
//! readers are shown the new [`TableSet`]; then what the manifest no longer names is removed. Dying
//! anywhere leaves the old manifest with tables too many, or the new one with tables too many, and
//! opening removes those.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::bell::Bell;
use super::compaction_plan::{LiveSize, RunSize, beside, may_come};
use super::context::Context;
use super::cuts::Cuts;
use super::error::StorageError;
use super::hot_map::HotMap;
use super::incoming_dir::Turns;
use super::manifest::{Manifest, ManifestHead, TableEntry};
use super::manifest_file;
use super::merge::{CutRows, Either, MergedRows, NewRows, Peeked, RowSource, without_hidden};
use super::merge_choice::{
    KeptRoom, MergeGoal, MergeJob, MergeUnderWay, choose, fits, merged_table_bytes, room_to_keep,
    smaller,
};
use super::record::Record;
use super::run::{Run, RunTable};
use super::table::{BlockCache, KeyHash, TableOptions};
use super::table_dir::{self, Output};
use super::table_set::TableSet;
use crate::metrics::TableMetrics;
use crate::types::TableId;

/// Tables that are together no longer than this are read whole when they are opened, which takes
/// about as long as one sync: then the first gets of a small store are as fast as all others.
const READ_AT_OPEN_MAX: u64 = 1 << 20;

/// How tables are written, merged and kept in memory.
#[derive(Clone, Copy, Debug)]
pub struct TableStoreOptions {
    /// How a table is written.
    pub table: TableOptions,
    /// A table ends with the row that reaches this length, in bytes. A merge publishes what it has
    /// done after each table, so that it needs room for about one more table at a time.
    pub table_bytes_max: u64,
    /// The same of tables that a merge writes where so much is live that they would become too
    /// many: at most this, where it is more.
    pub long_table_bytes_max: u64,
    /// Bytes of memory for indexes, filters, the block cache and the hot map together. Indexes and
    /// filters of all tables are in memory, also where that is more.
    pub memory_bytes: u64,
}

impl Default for TableStoreOptions {
    /// Not compressed, tables of 64 MiB, 64 MiB of memory.
    fn default() -> Self {
        Self {
            table: TableOptions::default(),
            table_bytes_max: 64 << 20,
            long_table_bytes_max: 64 << 20,
            memory_bytes: 64 << 20,
        }
    }
}

/// Whether a merge goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeProgress {
    /// It does: call again.
    UnderWay,
    /// It ended.
    Done,
}

/// What one step of a merge did.
#[derive(Clone, Debug)]
pub struct MergeStep {
    /// The tables from now on: the same state as before.
    pub set: Arc<TableSet>,
    /// Whether the merge goes on.
    pub progress: MergeProgress,
    /// Length of the table that was written; 0 where no row was left to write.
    pub bytes_written: u64,
    /// Length of the tables that were given up.
    pub bytes_removed: u64,
}

/// The tables of an open store. One change at a time; reading waits for none.
#[derive(Debug)]
pub struct TableStore {
    context: Context,
    options: TableStoreOptions,
    cache: Arc<BlockCache>,
    hot: Arc<HotMap>,
    metrics: TableMetrics,
    /// Held for the length of a change.
    names: Mutex<Names>,
    shown: RwLock<Shown>,
    has_tables: AtomicBool,
    /// Bytes of the files that are being removed because the set does not name them any more.
    leaving: AtomicU64,
    incoming: Arc<Turns>,
}

/// What readers see.
#[derive(Debug)]
struct Shown {
    set: Arc<TableSet>,
    /// Which state the set is; `None` before the first manifest.
    head: Option<ManifestHead>,
}

/// Of which keys the newest record may be another one in a new set.
pub(super) enum Stale<'a> {
    /// Of those with these hashes.
    Keys(&'a [KeyHash]),
    /// Of any.
    All,
}

/// The tables as one manifest names them. Until this is dropped no manifest follows, and none of
/// their files is removed.
#[derive(Debug)]
pub(crate) struct KeptTables<'a> {
    pub(crate) set: Arc<TableSet>,
    _names: MutexGuard<'a, Names>,
}

/// What stands in the directory.
#[derive(Debug)]
pub(super) struct Names {
    /// Number of the manifest that counts; 0 for none.
    number: u64,
    /// No file ever had this number or a greater one.
    next_table: TableId,
    /// Tables that no manifest on the device names and that could not be removed yet.
    dead: Vec<TableId>,
    /// What is known of the merge under way; nothing of one that an earlier opening has begun.
    merge: Option<MergeUnderWay>,
}

impl Names {
    /// A number for a new table. It is used up even if the table is never named: its file may come
    /// to stay.
    pub(super) fn take_number(&mut self) -> Result<TableId, StorageError> {
        let id = self.next_table;
        self.next_table = id.next().ok_or(StorageError::TablesExhausted)?;
        Ok(id)
    }

    /// What is known of the merge under way is of runs that are no more.
    pub(super) const fn forget_merge(&mut self) {
        self.merge = None;
    }
}

/// The tables that a change has written.
#[derive(Debug, Default)]
struct Written {
    tables: Vec<RunTable>,
}

impl Written {
    /// Reads what was written, before readers are shown it: its rows were in memory until now, and
    /// otherwise those who ask for them next, writers that overwrite them included, would have to
    /// wait for the reading of each block.
    fn read_into_spare_room(&self) {
        for table in &self.tables {
            table.table.read_into_spare_room();
        }
    }
}

impl TableStore {
    /// Opens the tables that a manifest names; none where there is no manifest. Writes nothing:
    /// see [`Self::remove_leftovers`].
    ///
    /// # Errors
    /// `MissingFile`, `Corrupt`, `UnsupportedFormat` with the table; `Io`.
    pub(crate) fn open(
        context: &Context,
        manifest: Option<Manifest>,
        options: TableStoreOptions,
    ) -> Result<Self, StorageError> {
        let cache = Arc::new(BlockCache::new(options.memory_bytes));
        let (number, runs, next_table, head) = match manifest {
            None => (0, Vec::new(), TableId(1), None),
            Some(manifest) => {
                let runs = table_dir::open_runs(context, &manifest.runs, &cache)?;
                (manifest.number, runs, manifest.next_table, Some(manifest.head))
            }
        };
        let listed = table_dir::list(context)?.last().copied().unwrap_or_default();
        // The greatest number is never given, so such a file is not ours; but it has our name.
        let behind_listed = listed.next().ok_or_else(|| {
            StorageError::corrupt(&context.table_path(listed), 0, table_dir::NO_TABLES_NUMBER)
        })?;
        let next_table = next_table.max(behind_listed);
        let hot = Arc::new(HotMap::new(0, number));
        let set = Arc::new(TableSet::new(number, runs, Arc::clone(&cache), Arc::clone(&hot)));
        let store = Self {
            context: context.clone(),
            options,
            cache,
            hot,
            metrics: TableMetrics::new(),
            names: Mutex::new(Names { number, next_table, dead: Vec::new(), merge: None }),
            shown: RwLock::new(Shown { set: Arc::clone(&set), head }),
            has_tables: AtomicBool::new(!set.is_empty()),
            leaving: AtomicU64::new(0),
            incoming: Arc::default(),
        };
        store.share_memory(&set);
        if set.bytes() <= READ_AT_OPEN_MAX {
            set.read_in_advance();
        }
        Ok(store)
    }

    /// Makes the directory ready for writing: the folder of tables is there, and what an
    /// interrupted change left is gone: temporary files, tables that the manifest does not name,
    /// older manifests. To be called once everything in the directory was judged.
    ///
    /// # Errors
    /// `Io`, `SyncFailed`. A left-over that cannot be removed is no error: it is tried again.
    pub(crate) fn remove_leftovers(&self) -> Result<(), StorageError> {
        let mut names = self.names.lock();
        // Also what makes the manifest's own name durable (rule R13): a power cut that took it back
        // would leave an older manifest, and its tables are what is removed here.
        table_dir::prepare(&self.context, names.number > 0)?;
        let live = self.set().ids();
        names.dead = table_dir::list(&self.context)?;
        names.dead.retain(|id| !live.contains(id));
        self.remove_dead(&mut names);
        Ok(())
    }

    /// Whether there is no table. Cheaper than asking the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_tables.load(Ordering::Acquire)
    }

    /// The tables as they are now, and which state they are.
    pub(crate) fn set_and_head(&self) -> (Arc<TableSet>, Option<ManifestHead>) {
        let shown = self.shown.read();
        (Arc::clone(&shown.set), shown.head.clone())
    }

    /// Bytes of the files of a set that was just asked for, and of those that are still being
    /// removed because it does not name them: readers see a set before that is done.
    pub(crate) fn file_bytes(&self, set: &TableSet) -> u64 {
        set.bytes().saturating_add(self.leaving.load(Ordering::Acquire))
    }

    /// How tables are written.
    pub(crate) const fn options(&self) -> TableStoreOptions {
        self.options
    }

    /// Keeps others from changing the tables.
    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock()
    }

    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    pub(super) const fn cache(&self) -> &Arc<BlockCache> {
        &self.cache
    }

    /// Who receives a snapshot.
    pub(super) const fn incoming(&self) -> &Arc<Turns> {
        &self.incoming
    }

    /// Refuses a state that is older than the one in the tables.
    pub(super) fn check_not_older(&self, head: &ManifestHead) -> Result<(), StorageError> {
        let last = self.shown.read().head.as_ref().map(|head| head.last.index);
        match last {
            Some(last) if head.last.index < last => {
                Err(StorageError::Outdated { last, asked: head.last.index })
            }
            _ => Ok(()),
        }
    }

    /// The tables as they are now.
    #[must_use]
    pub fn set(&self) -> Arc<TableSet> {
        Arc::clone(&self.shown.read().set)
    }

    /// Keeps the files of the tables as they are now. Waits for a change that is under way.
    pub(crate) fn keep_files(&self) -> KeptTables<'_> {
        let names = self.names.lock();
        KeptTables { set: self.set(), _names: names }
    }

    /// Which state they hold; `None` before the first manifest.
    #[must_use]
    pub fn manifest_head(&self) -> Option<ManifestHead> {
        self.shown.read().head.clone()
    }

    /// Makes images of tables of which gets ask for much, until it is told to end: for a thread of
    /// its own.
    pub(crate) fn make_images(&self) {
        let bell = self.cache.bell();
        bell.work(|| self.set().make_images(|| !bell.is_stopped()));
    }

    /// Has images made that became due, on their thread; here where there is none, unless that is
    /// because it was told to end.
    pub(crate) fn ask_for_images(&self) {
        let bell = self.cache.bell();
        if !bell.ask() {
            self.set().make_images(|| !bell.is_stopped());
        }
    }

    /// Tells whoever makes images that there will be, or no longer be, a thread that does.
    pub(crate) fn image_bell(&self) -> &Bell {
        self.cache.bell()
    }

    /// Bytes of memory that tables take: indexes, filters, cached blocks and rows.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.set().resident_bytes() + self.cache.used() + self.hot.used()
    }

    /// Adds the newest run: what changed between the state so far and that of `head`, in strictly
    /// ascending order of keys. A tombstone is written only where a table may have its key. Without
    /// rows only the head is written anew.
    ///
    /// The set that is returned must be shown to readers in place of the one before, together with
    /// the rest of the state after `head.last`. After a crash: the tables as before, or with the
    /// whole run. Cost: writing the rows, a few syncs, nothing that depends on older rows.
    ///
    /// # Errors
    /// `DiskFull`, `Io`: the tables are as before, and no room is taken. `Outdated`: a snapshot was
    /// installed since. `SyncFailed`, `Poisoned`: the store stops.
    pub fn add_run(
        &self,
        head: ManifestHead,
        rows: &mut dyn Iterator<Item = (Bytes, Record)>,
    ) -> Result<Arc<TableSet>, StorageError> {
        let table_bytes_max = self.options.table_bytes_max;
        self.add_run_by_tables_of(table_bytes_max, head, rows, &Cuts::default())
    }

    /// As [`Self::add_run`], by tables of another length, and before these rows cuts: tables that
    /// these hide as a whole are given up, and of others the rows are read that they hide, each of
    /// which gets a tombstone.
    ///
    /// # Errors
    /// As [`Self::add_run`]; `Corrupt` for a damaged row that a cut hides: the tables are as
    /// before.
    pub(crate) fn add_run_by_tables_of(
        &self,
        table_bytes_max: u64,
        head: ManifestHead,
        rows: &mut dyn Iterator<Item = (Bytes, Record)>,
        cuts: &Cuts,
    ) -> Result<Arc<TableSet>, StorageError> {
        let mut names = self.names.lock();
        self.check_not_older(&head)?;
        let set = self.set();
        let mut written = Written::default();
        let added = (|| {
            // What is in no table any more needs no tombstone.
            let mut runs = without_hidden(set.runs(), cuts);
            let older = &*runs;
            let rows = NewRows { rows, older, hashes: Vec::new() };
            let mut source = Peeked::new(Either::new(rows, CutRows::new(cuts, older))?)?;
            while source.has_more() {
                self.write(&mut names, &mut source, &mut written, table_bytes_max)?;
            }
            written.read_into_spare_room();
            let hashes = source.into_source().into_newer().hashes;
            if !written.tables.is_empty() {
                runs.insert(0, Arc::new(Run::new(written.tables.clone())));
            }
            // Of millions of keys the hashes alone would take as much as is hot.
            let stale = if cuts.is_empty() { Stale::Keys(&hashes) } else { Stale::All };
            self.publish(&mut names, head, runs, &stale)
        })();
        added.inspect_err(|error| self.give_up(&mut names, &written, error))
    }

    /// Does one step of the merge that is under way, or that is due: writes one table at most.
    /// `None` when nothing is to be done. Calling it until then comes to an end, as long as no runs
    /// are added meanwhile.
    ///
    /// The state is the same before and after, so readers may be shown the new set at any time.
    /// After a crash: the tables before or after the step, and the next step goes on from there.
    ///
    /// # Errors
    /// `Corrupt`: a table that is merged is damaged. `DiskFull`, `Io`: the tables are as before,
    /// and no room is taken. `SyncFailed`, `Poisoned`: the store stops.
    pub fn merge_step(&self, goal: MergeGoal) -> Result<Option<MergeStep>, StorageError> {
        self.merge_step_within(goal, u64::MAX)
    }

    /// As [`Self::merge_step`], in so many bytes of the disk. Where these are few, what is merged
    /// is less, or written to smaller tables.
    ///
    /// # Errors
    /// As [`Self::merge_step`]; `DiskFull` where they do not suffice, too.
    pub(crate) fn merge_step_within(
        &self,
        goal: MergeGoal,
        room: u64,
    ) -> Result<Option<MergeStep>, StorageError> {
        let mut names = self.names.lock();
        let set = self.set();
        let runs = self.sizes_of(&set);
        let (Some(job), Some(head)) = (self.job(&runs, goal, names.merge), self.manifest_head())
        else {
            return Ok(None);
        };
        let mut step = |job: MergeJob| {
            let mut written = Written::default();
            let merged = self.merge(&mut names, &set, (job, goal), head.clone(), &mut written);
            let step = merged.inspect_err(|error| self.give_up(&mut names, &written, error))?;
            let is_under_way = step.progress == MergeProgress::UnderWay;
            let known = job.after_step(step.bytes_written, step.bytes_removed);
            names.merge = is_under_way.then_some(known);
            Ok::<_, StorageError>(Some(step))
        };
        let table_bytes_max = self.table_bytes_max();
        if fits(job, &runs, table_bytes_max, room) {
            match step(job) {
                Err(error) if error.is_disk_full() => {}
                done => return done,
            }
        }
        match smaller(job, &runs, self.live_size(), table_bytes_max, room) {
            Some(smaller) => step(smaller),
            None => Err(StorageError::DiskFull { path: self.context.tables.clone() }),
        }
    }

    fn merge(
        &self,
        names: &mut MutexGuard<'_, Names>,
        set: &TableSet,
        (job, goal): (MergeJob, MergeGoal),
        head: ManifestHead,
        written: &mut Written,
    ) -> Result<MergeStep, StorageError> {
        let runs = set.runs();
        let (newer, inputs_and_older) = runs.split_at(job.output.unwrap_or(job.first));
        let (inputs_and_older, output) = match (job.output, inputs_and_older) {
            (Some(_), [output, rest @ ..]) => (rest, output.tables()),
            _ => (inputs_and_older, &[][..]),
        };
        let (inputs, older) = inputs_and_older.split_at(job.last + 1 - job.first);
        let mut source = Peeked::new(MergedRows::new(inputs, older)?)?;
        if source.has_more() {
            self.write(names, &mut source, written, job.table_bytes_max)?;
        }
        // Nobody looks at them any more before the store is closed.
        if !matches!(goal, MergeGoal::Rest { .. }) {
            written.read_into_spare_room();
        }
        let output: Vec<RunTable> = output.iter().chain(&written.tables).cloned().collect();
        let mut next = newer.to_vec();
        let is_done = !source.has_more();
        if let Some(bound) = output.last().map(|table| table.entry.summary.last_key.clone()) {
            // The output stands as the newest of what it was made of. Between itself and its inputs
            // the order is immaterial, since what is visible of them are keys up to the bound here
            // and keys behind it there; it is newer than what is older than all inputs, and older
            // than what is newer than all of them, as the inputs are.
            next.push(Arc::new(Run::new(output)));
            if !is_done {
                next.extend(inputs.iter().filter_map(|run| behind(run, &bound)));
            }
        }
        next.extend_from_slice(older);
        let bytes_before = set.bytes();
        let bytes_written = written.tables.iter().map(|table| table.entry.summary.bytes).sum();
        let set = self.publish(names, head, next, &Stale::Keys(&[]))?;
        let progress = if is_done { MergeProgress::Done } else { MergeProgress::UnderWay };
        if is_done {
            self.metrics.merges.increment(1);
        }
        let bytes_removed = bytes_before + bytes_written - set.bytes();
        Ok(MergeStep { set, progress, bytes_written, bytes_removed })
    }

    /// The room that is to be kept for merges and deletes: see [`room_to_keep`].
    pub(crate) fn room_to_keep(&self) -> KeptRoom {
        let begun = self.names.lock().merge;
        room_to_keep(&self.sizes_of(&self.set()), begun, self.table_bytes_max())
    }

    /// Whether [`Self::merge_step`] would do anything.
    pub fn is_merge_due(&self, goal: MergeGoal) -> bool {
        self.job(&self.sizes_of(&self.set()), goal, None).is_some()
    }

    /// Whether a run of so many bytes may come while a merge is under way: see [`may_come`].
    pub(crate) fn may_come(&self, bytes: u64, stale_max: u64) -> bool {
        self.live_size()
            .is_none_or(|live| may_come(bytes, &self.sizes_of(&self.set()), live, stale_max))
    }

    /// Bytes that a merge of all runs has beside what it frees, at any moment: see [`beside`]; and
    /// the table that it writes, but for the row that ends it.
    pub(crate) fn bytes_beside_merge(&self) -> u64 {
        let bytes = beside(&self.sizes_of(&self.set()));
        bytes.saturating_add(self.table_bytes_max())
    }

    /// The runs of a set. What a manifest has besides them is counted with the newest: each holds
    /// all sessions.
    fn sizes_of(&self, set: &TableSet) -> Vec<RunSize> {
        let mut sizes: Vec<RunSize> = set.runs().iter().map(|run| run.size()).collect();
        if let (Some(newest), Some(head)) = (sizes.first_mut(), &self.shown.read().head) {
            newest.listed_bytes += head.listed_bytes();
        }
        sizes
    }

    /// How long the tables of a merge are that begins now.
    fn table_bytes_max(&self) -> u64 {
        let TableStoreOptions { table_bytes_max, long_table_bytes_max, .. } = self.options;
        merged_table_bytes(self.live_size(), table_bytes_max, long_table_bytes_max)
    }

    fn live_size(&self) -> Option<LiveSize> {
        let head = self.manifest_head()?;
        Some(LiveSize { data_bytes: head.live_bytes, rows: head.keys })
    }

    fn job(
        &self,
        runs: &[RunSize],
        goal: MergeGoal,
        begun: Option<MergeUnderWay>,
    ) -> Option<MergeJob> {
        let live = self.live_size();
        choose(runs, live, goal, begun, self.table_bytes_max())
    }

    /// Writes one table and opens it.
    fn write(
        &self,
        names: &mut Names,
        source: &mut dyn RowSource,
        written: &mut Written,
        table_bytes_max: u64,
    ) -> Result<(), StorageError> {
        let id = names.take_number()?;
        let output = Output { table: self.options.table, table_bytes_max };
        let summary = table_dir::write_table(&self.context, id, output, source)?;
        let bytes = summary.bytes;
        names.dead.push(id);
        let entry = TableEntry { summary, after: None };
        written.tables.push(table_dir::open_table(&self.context, entry, &self.cache)?);
        names.dead.retain(|&dead| dead != id);
        self.metrics.written_bytes.increment(bytes);
        Ok(())
    }

    /// Publishes the manifest that names `runs` and shows them to readers.
    pub(super) fn publish(
        &self,
        names: &mut Names,
        head: ManifestHead,
        runs: Vec<Arc<Run>>,
        stale: &Stale<'_>,
    ) -> Result<Arc<TableSet>, StorageError> {
        // The greatest one is refused at opening, as that of tables is.
        let number = names.number.checked_add(1).filter(|&number| number < u64::MAX);
        let number = number.ok_or(StorageError::TablesExhausted)?;
        let entries = |run: &Arc<Run>| run.tables().iter().map(|t| t.entry.clone()).collect();
        let manifest = Manifest {
            number,
            head,
            next_table: names.next_table,
            runs: runs.iter().map(entries).collect(),
        };
        manifest_file::publish(&self.context, &manifest)?;
        // The change has happened. Nothing from here on may fail.
        names.number = number;
        let (cache, hot) = (Arc::clone(&self.cache), Arc::clone(&self.hot));
        let next = Arc::new(TableSet::new(number, runs, cache, hot));
        // In this order, or a reader finds an older value: see `hot_map`.
        self.hot.move_to(number);
        match stale {
            Stale::Keys(hashes) => self.hot.remove_all(hashes),
            Stale::All => self.hot.clear(),
        }
        self.has_tables.store(!next.is_empty(), Ordering::Release);
        let (before, live) = (self.set(), next.ids());
        let replaced = before.tables().map(|entry| &entry.summary);
        let replaced: Vec<_> = replaced.filter(|summary| !live.contains(&summary.id)).collect();
        // Before the set without them is shown: see `file_bytes`.
        self.leaving.store(replaced.iter().map(|summary| summary.bytes).sum(), Ordering::Release);
        *self.shown.write() = Shown { set: Arc::clone(&next), head: Some(manifest.head) };
        names.dead.extend(replaced.iter().map(|summary| summary.id));
        self.remove_dead(names);
        self.leaving.store(0, Ordering::Release);
        self.share_memory(&next);
        Ok(next)
    }

    /// Removes what no manifest on the device names any more.
    fn remove_dead(&self, names: &mut Names) {
        manifest_file::remove_older(&self.context, names.number);
        self.remove_unnamed(names);
    }

    /// Gives back the room of tables that will not be named.
    fn give_up(&self, names: &mut Names, written: &Written, error: &StorageError) {
        let ids = written.tables.iter().map(|table| table.entry.summary.id);
        self.give_up_tables(names, ids, error);
    }

    /// Gives back the room of these tables.
    pub(super) fn give_up_tables(
        &self,
        names: &mut Names,
        ids: impl Iterator<Item = TableId>,
        error: &StorageError,
    ) {
        // A manifest whose name could not be synced was taken back, but a power cut may show it all
        // the same, and then it needs its tables. Opening finds out which manifest there is.
        if self.context.gate.check().is_err() {
            return;
        }
        tracing::warn!(%error, "tables could not be written; they are as before");
        names.dead.extend(ids);
        self.remove_unnamed(names);
    }

    fn remove_unnamed(&self, names: &mut Names) {
        let dead = std::mem::take(&mut names.dead);
        names.dead = table_dir::remove(&self.context, &dead);
    }

    /// Gives the block cache and the hot map what indexes and filters leave of the memory.
    fn share_memory(&self, set: &TableSet) {
        let rest = self.options.memory_bytes.saturating_sub(set.resident_bytes());
        let hot_bytes = rest / 8;
        self.hot.set_bytes_max(hot_bytes);
        self.cache.set_budget(rest - hot_bytes);
        self.metrics.tables.set(set.tables().count() as f64);
        self.metrics.bytes.set(set.bytes() as f64);
        self.metrics.runs.set(set.runs().len() as f64);
    }
}

/// What is left of a run behind the key up to which a merge has written its rows. Its first table
/// carries the mark also where all its rows count: it tells that the run is being merged.
fn behind(run: &Run, bound: &Bytes) -> Option<Arc<Run>> {
    let is_left = |table: &&RunTable| table.entry.summary.last_key > *bound;
    let mut tables: Vec<RunTable> = run.tables().iter().filter(is_left).cloned().collect();
    tables.first_mut()?.entry.after = Some(bound.clone());
    Some(Arc::new(Run::new(tables)))
}
