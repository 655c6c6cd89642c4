//! [`LogStore`]: the log, the vote and the commit mark, as openraft asks for them.
//!
//! Everything it is told becomes a frame of one journal, in the order in which it was told. An
//! append is written by the thread that asks, which costs a copy into the page cache, and made
//! durable by the `syncer`; whatever may wait for the device is done there altogether.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::vec;

use futures_util::stream::{Stream, unfold};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;

use crate::engine::commit_queue::purpose_of;
use crate::engine::machine::Machine;
use crate::error::Result;
use crate::raft::io_error::{io_error, refusal};
use crate::raft::log_cache::{Found, LogCache};
use crate::raft::syncer::Syncer;
use crate::raft::type_config::{
    EntryParts, TypeConfig, entry_of, log_id_of, parts_of, raft_log_id_of, raft_vote_of, vote_of,
};
use crate::storage::frame::entry_frame_len;
use crate::storage::log::NotAppended;
use crate::storage::log_entry::{Completion, EntryRef};
use crate::storage::log_writer::Purpose;
use crate::types::{LogId, LogIndex};

type Entry = EntryOf<TypeConfig>;

/// How much of a log is in memory.
#[derive(Clone, Copy, Debug)]
pub struct LogStoreLimits {
    /// Bytes of the newest entries that stay decoded.
    pub cache_bytes_max: usize,
    /// Bytes of payload that are read for a follower, or to be applied, at once.
    pub read_bytes_max: usize,
    /// Bytes that may be appended and not synced before an append waits.
    pub unsynced_bytes_max: u64,
}

impl Default for LogStoreLimits {
    /// 32 MiB, 1 MiB, 64 MiB.
    fn default() -> Self {
        Self { cache_bytes_max: 32 << 20, read_bytes_max: 1 << 20, unsynced_bytes_max: 64 << 20 }
    }
}

/// The log of one node. A clone is a handle on the same; every handle reads what any of them has
/// appended at once, before it is synced.
///
/// An error of an append, and of anything else that writes, is final for the node: the store is
/// poisoned or full to the last reserve, and what openraft believes of the log no longer holds.
///
/// No call waits for the device on the thread that makes it.
#[derive(Clone, Debug)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    machine: Arc<Machine>,
    limits: LogStoreLimits,
    cache: Mutex<LogCache>,
    syncer: Syncer,
}

impl LogStore {
    /// Starts the thread that syncs.
    ///
    /// # Errors
    /// `Io` when the operating system gives no thread.
    pub(crate) fn start(machine: Arc<Machine>, limits: LogStoreLimits) -> Result<Self> {
        let cache = Mutex::new(LogCache::new(machine.store.log().ends(), limits.cache_bytes_max));
        let syncer = Syncer::start(Arc::clone(&machine))?;
        Ok(Self { inner: Arc::new(Inner { machine, limits, cache, syncer }) })
    }

    /// Syncs what was appended, ends the thread and waits for that. Reading goes on; everything
    /// else is refused from now on. Blocks.
    pub fn close(&self) {
        self.inner.syncer.close();
    }

    /// The thread that syncs, to hold it up.
    #[cfg(test)]
    pub(crate) fn syncer(&self) -> &Syncer {
        &self.inner.syncer
    }
}

impl Inner {
    async fn append(&self, entries: Vec<Entry>, callback: IOFlushed<TypeConfig>) -> io::Result<()> {
        let bytes = bytes_of(&entries);
        self.syncer.wait_for_room(self.limits.unsynced_bytes_max).await;
        // From here on the callback is told whatever happens.
        let completion = self.syncer.completion(callback, bytes);
        self.syncer.check()?;
        self.check_order(&entries)?;
        let machine = Arc::clone(&self.machine);
        match append_without_waiting(&machine, &entries, completion)? {
            None => self.take_in(entries),
            Some(completion) => {
                // Only the next segment has room, and beginning one waits for the device.
                let appended = self.syncer.run(move |machine| {
                    append_or_roll(machine, &entries, completion).map(|()| entries)
                });
                let entries = appended.await??;
                self.take_in(entries);
            }
        }
        self.syncer.ask();
        Ok(())
    }

    fn check_order(&self, entries: &[Entry]) -> io::Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        let follow = |pair: &[Entry]| match pair {
            [one, other] => one.index() + 1 == other.index(),
            _ => true,
        };
        let is_next = self.cache.lock().is_next(LogIndex(first.index()));
        if is_next && entries.windows(2).all(follow) {
            return Ok(());
        }
        Err(refusal("entries that do not follow the log were to be appended"))
    }

    /// Shows appended entries to readers.
    fn take_in(&self, entries: Vec<Entry>) {
        let sizes: Vec<usize> = entries.iter().map(payload_len).collect();
        self.cache.lock().push(entries.into_iter().zip(sizes));
    }

    /// Takes over how far the log reaches.
    fn settle(&self) {
        let ends = self.machine.store.log().ends();
        self.cache.lock().settle(ends);
    }

    /// The first entries of a range, of about `bytes_max` payload bytes, at least one; none where
    /// none of them is in the log.
    async fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        loop {
            let (found, cuts) = {
                let cache = self.cache.lock();
                (cache.find(&range, bytes_max), cache.cuts())
            };
            let on_disk = match found {
                Found::Nothing => return Ok(Vec::new()),
                Found::Cached(entries) => return Ok(entries),
                Found::OnDisk(range) => range,
            };
            let read = self.read_disk(on_disk, bytes_max).await?;
            // Where entries were taken away meanwhile, what was read may be of two logs.
            if self.cache.lock().cuts() == cuts {
                return read.map_err(|error| io_error(&error));
            }
        }
    }

    async fn read_disk(
        &self,
        range: Range<LogIndex>,
        bytes_max: usize,
    ) -> io::Result<std::result::Result<Vec<Entry>, crate::error::Error>> {
        let machine = Arc::clone(&self.machine);
        let read = tokio::task::spawn_blocking(move || {
            let entries = machine.store.log().read_range(range, bytes_max)?;
            let understand = |entry: &crate::storage::log_entry::Entry| {
                let undecodable = |error| crate::error::Error::undecodable(entry.id.index, &error);
                entry_of(entry).map_err(undecodable)
            };
            entries.iter().map(understand).collect()
        });
        read.await.map_err(io::Error::other)
    }

    /// All entries of a range that are in the log.
    async fn read_all(&self, range: Range<LogIndex>) -> io::Result<Vec<Entry>> {
        'again: loop {
            let (clipped, cuts) = {
                let cache = self.cache.lock();
                (cache.clip(&range), cache.cuts())
            };
            let Some(Range { start: mut next, end }) = clipped else { return Ok(Vec::new()) };
            let mut entries = Vec::new();
            while next < end {
                let mut chunk = self.read(next..end, usize::MAX).await?;
                if self.cache.lock().cuts() != cuts {
                    continue 'again;
                }
                let Some(last) = chunk.last() else {
                    return Err(refusal("entries of the log are missing"));
                };
                next = LogIndex(last.index() + 1);
                entries.append(&mut chunk);
            }
            return Ok(entries);
        }
    }
}

/// Appends where that does not wait for the device; gives the completion back where it would.
fn append_without_waiting(
    machine: &Machine,
    entries: &[Entry],
    completion: Completion,
) -> io::Result<Option<Completion>> {
    let parts = all_parts_of(entries)?;
    let refs: Vec<EntryRef<'_>> = parts.iter().map(EntryParts::as_ref).collect();
    let log = machine.store.log();
    match log.append_without_waiting(&refs, purpose_of_all(entries), completion) {
        Ok(()) => Ok(None),
        Err((NotAppended::SegmentFull(_), completion)) => Ok(Some(completion)),
        // Room may be found where it may be waited for.
        Err((NotAppended::Failed(error), completion)) if error.is_disk_full() => {
            Ok(Some(completion))
        }
        Err((NotAppended::Failed(error), completion)) => {
            let told = io_error(&error);
            completion.tell(Err(error));
            Err(told)
        }
    }
}

/// Appends, whatever that waits for. On a full disk the room of others and the reserve are used:
/// what openraft has decided to append must be appended.
fn append_or_roll(machine: &Machine, entries: &[Entry], completion: Completion) -> io::Result<()> {
    let parts = all_parts_of(entries)?;
    let refs: Vec<EntryRef<'_>> = parts.iter().map(EntryParts::as_ref).collect();
    let log = machine.store.log();
    let append = |purpose, completion| log.append_or_give_back(&refs, purpose, completion);
    let appended = append(purpose_of_all(entries), completion).or_else(|(error, completion)| {
        if error.is_disk_full() {
            return append(Purpose::Mark, completion);
        }
        Err((error, completion))
    });
    appended.map_err(|(error, completion)| {
        let told = io_error(&error);
        completion.tell(Err(error));
        told
    })
}

fn all_parts_of(entries: &[Entry]) -> io::Result<Vec<EntryParts<'_>>> {
    entries.iter().map(|entry| parts_of(entry).map_err(|error| io_error(&error))).collect()
}

fn purpose_of_all(entries: &[Entry]) -> Purpose {
    let grows = |entry: &Entry| match &entry.payload {
        EntryPayload::Normal(proposal) => purpose_of(proposal.command()) == Purpose::Grow,
        EntryPayload::Blank | EntryPayload::Membership(_) => false,
    };
    if entries.iter().any(grows) { Purpose::Grow } else { Purpose::Relieve }
}

fn payload_len(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.bytes(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// Bytes that entries take in the log, about.
fn bytes_of(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry_frame_len(payload_len(entry)) as u64).sum()
}

fn indexes(range: &impl RangeBounds<u64>) -> Range<LogIndex> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    LogIndex(start)..LogIndex(end)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.inner.read_all(indexes(&range)).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<TypeConfig>>> {
        Ok(self.inner.cache.lock().ends().hard.vote.map(raft_vote_of))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        let range = LogIndex(start)..LogIndex(end);
        let entries = self.inner.read(range, self.inner.limits.read_bytes_max).await?;
        // A follower is sent what follows its own last entry: beginning later would be a hole.
        if entries.first().is_some_and(|entry| entry.index() == start) {
            return Ok(entries);
        }
        Err(refusal("the first of the entries that were asked for is not in the log"))
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let reading = Reading {
            inner: Arc::clone(&self.inner),
            rest: indexes(&range),
            ready: Vec::new().into_iter(),
        };
        unfold(reading, |mut reading| async move {
            let item = reading.next().await.transpose()?;
            if item.is_err() {
                reading.rest.start = reading.rest.end;
            }
            Some((item, reading))
        })
    }
}

/// Entries on their way to the state machine, some of them at a time.
struct Reading {
    inner: Arc<Inner>,
    rest: Range<LogIndex>,
    ready: vec::IntoIter<Entry>,
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<Entry>> {
        if let Some(entry) = self.ready.next() {
            return Ok(Some(entry));
        }
        if self.rest.start >= self.rest.end {
            return Ok(None);
        }
        let inner = &self.inner;
        let entries = inner.read(self.rest.clone(), inner.limits.read_bytes_max).await?;
        let (first, last) = match (entries.first(), entries.last()) {
            (Some(first), Some(last)) => (LogIndex(first.index()), LogIndex(last.index())),
            _ => return Ok(None),
        };
        // Skipping an entry would make this replica another than the rest.
        if first != self.rest.start {
            return Err(refusal("an entry that is to be applied is not in the log"));
        }
        self.rest.start = last.next();
        self.ready = entries.into_iter();
        Ok(self.ready.next())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let hard = self.inner.cache.lock().ends().hard;
        Ok(LogState {
            last_purged_log_id: hard.purged.map(raft_log_id_of),
            last_log_id: hard.last.map(raft_log_id_of),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> io::Result<()> {
        let vote = vote_of(vote);
        let saved = self.inner.syncer.run(move |machine| machine.store.log().save_vote(vote));
        saved.await?.map_err(|error| io_error(&error))?;
        self.inner.settle();
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig>>) -> io::Result<()> {
        let Some(committed) = committed.map(|id| log_id_of(&id)) else { return Ok(()) };
        self.inner.syncer.check()?;
        let saved = self.inner.machine.store.log().save_committed_without_waiting(committed);
        match saved {
            Ok(()) => Ok(()),
            Err(NotAppended::Failed(error)) if !error.is_disk_full() => Err(io_error(&error)),
            Err(_) => {
                let job = move |machine: &Machine| machine.store.log().save_committed(committed);
                self.inner.syncer.run(job).await?.map_err(|error| io_error(&error))
            }
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<TypeConfig>>> {
        Ok(self.inner.machine.store.log().committed().map(raft_log_id_of))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.inner.append(entries.into_iter().collect(), callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<TypeConfig>>) -> io::Result<()> {
        let last = last.map(|id| log_id_of(&id));
        let Cut::After(kept) = self.inner.cut_after(last)? else {
            return self.inner.syncer.check();
        };
        let cut = self.inner.syncer.run(move |machine| machine.store.log().truncate_after(kept));
        let cut = cut.await?;
        self.inner.settle();
        cut.map_err(|error| io_error(&error))
    }

    async fn purge(&mut self, upto: LogIdOf<TypeConfig>) -> io::Result<()> {
        let upto = log_id_of(&upto);
        let hidden = self.inner.syncer.run(move |machine| machine.store.log().hide(upto)).await?;
        self.inner.settle();
        hidden.map_err(|error| io_error(&error))?;
        // Deleting takes its time, and nobody waits for it.
        self.inner.syncer.submit(|machine| match machine.store.log().delete_purged() {
            Ok(deleted) => tracing::debug!(deleted, "segments behind a purge"),
            Err(error) => tracing::warn!(%error, "purged segments were not deleted"),
        });
        Ok(())
    }
}

/// What a truncation removes.
enum Cut {
    /// No entry is behind what is to be kept.
    Nothing,
    /// Everything behind this entry, which may be the last one purged; everything for `None`.
    After(Option<LogId>),
}

impl Inner {
    /// Hides the entries behind `last` from readers, before the log is told to remove them.
    fn cut_after(&self, last: Option<LogId>) -> io::Result<Cut> {
        let mut cache = self.cache.lock();
        let hard = cache.ends().hard;
        let index = |id: Option<LogId>| id.map(|id| id.index);
        if last.is_some() && index(last) < index(hard.purged) {
            return Err(refusal("entries that are purged were to be removed"));
        }
        let kept = last.or(hard.purged);
        if index(kept) >= index(hard.last) {
            return Ok(Cut::Nothing);
        }
        cache.cut_after(kept);
        Ok(Cut::After(kept))
    }
}
