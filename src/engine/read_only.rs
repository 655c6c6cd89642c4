//! [`ReadOnlyEngine`]: looks at a directory and changes nothing in it.

use std::fmt;
use std::path::Path;

use super::api::{KvEngine, refuse_reserved};
use super::backup::BackupReport;
use super::budget::table_options;
use super::changes::ClosedChanges;
use super::log_record::LogRecord;
use super::past::{At, KeyHistory, Past};
use super::read_context::ReadContext;
use super::replay::{ReadAhead, Replayed, replay};
use super::restore_at::restore_view;
use super::stats::{EngineStats, TableStats};
use super::submission::{Callback, Reply, Submission};
use crate::command::Command;
use crate::command::membership::Membership;
use crate::config::StoreConfig;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::state::{ApplyOutcome, StateView};
use crate::storage::history::EraInfo;
use crate::storage::identity::Identity;
use crate::storage::log_entry::Entry;
use crate::storage::store::ReadOnlyStore;
use crate::types::{LogIndex, SegmentId, Timestamp};

/// How much of the log is read at once.
const READ_BYTES: usize = 1 << 20;
/// Why a write is refused.
const READ_ONLY: &str = "open for reading only";

/// The state of a store that nobody has open for writing. Several may look at the same time.
///
/// What a killed process left behind is shown as opening the store would find it; nothing is
/// repaired. Of a voter of several, entries at the end of the log may be among what is shown that
/// are not committed and may never be.
pub struct ReadOnlyEngine {
    store: ReadOnlyStore,
    replayed: Replayed,
    view: StateView,
}

impl fmt::Debug for ReadOnlyEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.store.identity();
        f.debug_struct("ReadOnlyEngine").field("identity", identity).finish_non_exhaustive()
    }
}

impl ReadOnlyEngine {
    /// Opens a directory for reading. Cost and memory: those of opening it for writing, which reads
    /// all of the log that is still there.
    ///
    /// # Errors
    /// `NoStore`, `Locked` beside a writer; `Corrupt`, `TailAmbiguous`, `MissingSegment`,
    /// `UnsupportedFormat`; `Io`.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::load(Env::system(), directory.as_ref(), ReadAhead::Thread)
    }

    /// As [`Self::open`], on another machine than the real one.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_in(env: Env, directory: &Path) -> Result<Self> {
        Self::load(env, directory, ReadAhead::Inline)
    }

    fn load(env: Env, directory: &Path, read_ahead: ReadAhead) -> Result<Self> {
        let tables = table_options(&StoreConfig::default());
        let store = ReadOnlyStore::open(env, directory, tables)?;
        let tables = store.tables();
        let (head, set, hard) = (tables.manifest_head(), tables.set(), store.hard_state());
        let replayed = replay(head.as_ref(), set, hard, read_ahead, |range, bytes| {
            store.read_range(range, bytes)
        })?;
        let view = replayed.replica.kv.view();
        Ok(Self { store, replayed, view })
    }

    /// The state.
    #[must_use]
    pub const fn view(&self) -> &StateView {
        &self.view
    }

    /// Who the directory is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        self.store.identity()
    }

    /// The membership in force; `None` in a directory that was created and never opened.
    #[must_use]
    pub const fn membership(&self) -> Option<&Membership> {
        self.replayed.replica.membership.as_ref()
    }

    /// Counts and sizes.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let segments = self.store.segments();
        let mut stats = EngineStats {
            stale_bytes: self.replayed.stale_bytes,
            term: self.store.hard_state().vote.map_or_else(Default::default, |vote| vote.term),
            segments: segments.len(),
            log_bytes: segments.iter().map(|(_, bytes)| bytes).sum(),
            tail_bytes: self.replayed.replica.kv.tail_bytes(),
            ..EngineStats::default()
        };
        stats.take_in_view(&self.view);
        stats.take_in_tables(self.store.tables());
        stats
    }

    /// Numbers and lengths of the log's files, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<(SegmentId, u64)> {
        self.store.segments()
    }

    /// The files of tables, newest run first.
    #[must_use]
    pub fn tables(&self) -> Vec<TableStats> {
        TableStats::of(&self.store.tables().set())
    }

    /// How many entries a segment holds, without those that were truncated or purged.
    #[must_use]
    pub fn entries_in(&self, segment: SegmentId) -> u64 {
        self.store.entries_in(segment)
    }

    /// As [`SingleNodeEngine::snapshot_at`](crate::SingleNodeEngine::snapshot_at). A time behind
    /// the last entry is not in the future: nothing came any more.
    ///
    /// # Errors
    /// Those of [`SingleNodeEngine::snapshot_at`](crate::SingleNodeEngine::snapshot_at).
    pub fn snapshot_at(&self, at: impl Into<At>) -> Result<StateView> {
        self.with_past(|past| past.state_at(at.into(), Timestamp(u64::MAX)))
    }

    /// As [`SingleNodeEngine::history`](crate::SingleNodeEngine::history).
    ///
    /// # Errors
    /// Those of [`SingleNodeEngine::history`](crate::SingleNodeEngine::history).
    pub fn history(&self, key: &[u8]) -> Result<KeyHistory> {
        refuse_reserved(key)?;
        self.with_past(|past| past.history(key))
    }

    /// As [`SingleNodeEngine::restore_at`](crate::SingleNodeEngine::restore_at).
    ///
    /// # Errors
    /// Those of [`SingleNodeEngine::restore_at`](crate::SingleNodeEngine::restore_at).
    pub fn restore_at(
        &self,
        at: impl Into<At>,
        directory: impl AsRef<Path>,
    ) -> Result<BackupReport> {
        let view = self.snapshot_at(at)?;
        let store = &self.store;
        let who = (store.identity().node, store.tables().options());
        restore_view(store.env(), store.directory(), directory.as_ref(), who, &view)
    }

    /// The pieces in which the past is kept, oldest first. Reads no file.
    #[must_use]
    pub fn eras(&self) -> Vec<EraInfo> {
        self.store.archive().eras()
    }

    /// Pieces of a past that reaches further than the store, which was put back to an older moment
    /// without it. They are not shown, and opening the store for writing sets them aside.
    #[must_use]
    pub fn eras_ahead(&self) -> &[EraInfo] {
        self.store.archive().ahead()
    }

    fn with_past<T>(&self, read: impl FnOnce(&Past<'_>) -> Result<T>) -> Result<T> {
        let live = ClosedChanges::of(&self.store, &self.replayed.replica.effects, &self.view);
        read(&Past {
            archive: self.store.archive(),
            tables: self.store.tables(),
            live: &live,
            now: self.view.clone(),
        })
    }

    /// The entries that the log still holds, from `from` on or from the first, in order and in
    /// bounded memory.
    pub fn entries(&self, from: Option<LogIndex>) -> impl Iterator<Item = Result<LogRecord>> + '_ {
        let hard = self.store.hard_state();
        let first = hard.purged.map_or(LogIndex(0), |purged| purged.index.next());
        let end = hard.last.map_or(first, |last| last.index.next());
        let mut next = from.map_or(first, |from| from.max(first));
        let mut read = Vec::new().into_iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(entry) = read.next() {
                    return Some(LogRecord::understand(&entry));
                }
                if next >= end {
                    return None;
                }
                match self.store.read_range(next..end, READ_BYTES) {
                    Ok(entries) => {
                        next = entries.last().map_or(end, |entry: &Entry| entry.id.index.next());
                        read = entries.into_iter();
                    }
                    Err(error) => {
                        next = end;
                        return Some(Err(error.into()));
                    }
                }
            }
        })
    }
}

/// What reads through [`KvEngine`] reads here too. `At(version)` gives the state of that version,
/// every other read context the one state that there is, or `NotYet`; every write is refused with
/// `Closed`, and changes nothing.
impl KvEngine for ReadOnlyEngine {
    fn submit(&self, _: Command) -> Result<ApplyOutcome> {
        Err(Error::Closed(READ_ONLY))
    }

    fn submit_async(&self, command: Command) -> Submission {
        Submission::done(self.submit(command))
    }

    fn submit_with(&self, command: Command, callback: Callback) {
        Reply::Callback(callback).answer(self.submit(command));
    }

    fn view(&self, context: ReadContext) -> Result<StateView> {
        match context {
            ReadContext::AtLeast(asked) if self.view.version() < Some(asked) => {
                Err(Error::NotYet { asked, at: self.view.version() })
            }
            ReadContext::At(version) => self.snapshot_at(version),
            _ => Ok(self.view.clone()),
        }
    }

    /// Everything that is shown is on the device already.
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
