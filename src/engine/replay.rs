//! From files to a state: the tables of the newest manifest, then the entries behind it.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::Builder;

use bytes::Bytes;

use super::effect_log::{EffectLog, RunEffects};
use super::log_record::{LogContent, LogRecord};
use super::rest::Rest;
use crate::command::codec::{self, DecodeError};
use crate::command::membership::Membership;
use crate::error::{Error, Result};
use crate::state::{
    Applied, ApplyError, Checkpoint, Counts, Effects, KvState, Logged, NotInOrder, Outcome, Run,
    Told,
};
use crate::storage::error::StorageError;
use crate::storage::frame::entry_frame_len;
use crate::storage::hard_state::HardState;
use crate::storage::log_entry::Entry;
use crate::storage::manifest::ManifestHead;
use crate::storage::table_set::TableSet;
use crate::types::{LogId, LogIndex, Timestamp};

/// How much is read from the log at once: of so many entries, sorted, the state has those next to
/// each other in memory that come after each other.
const READ_BYTES: usize = 8 << 20;

/// How much is read at first, and then twice as much each time: applying begins when it is there.
const FIRST_READ_BYTES: usize = 512 << 10;

/// The clock of an entry without a command, whatever the log says of it: such an entry has no stamp
/// of its own on its way through Raft, and all replicas must find the same.
pub(crate) const NO_CLOCK: Timestamp = Timestamp(0);

/// The state machine of one node: the state, and up to where and among whom it was applied.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    pub(crate) kv: KvState,
    /// The last entry applied.
    pub(crate) last: Option<LogId>,
    /// The membership in force; `None` in a directory that was just created.
    pub(crate) membership: Option<Membership>,
    /// The entry that it came in.
    pub(crate) membership_id: Option<LogId>,
    /// What the newest entries changed.
    pub(crate) effects: EffectLog,
}

impl Replica {
    /// What a manifest holds of it beside rows and membership. O(1).
    pub(crate) fn rest(&self) -> Rest {
        Rest {
            membership_id: self.membership_id,
            sum: self.kv.sum(),
            reserved_keys: NonZeroU64::new(self.kv.as_view().reserved_keys()),
            due_floor: self.kv.as_view().due_floor(),
            sessions: self.kv.as_view().sessions().clone(),
        }
    }

    /// Applies an entry without a command. The caller says which one is the last.
    ///
    /// # Errors
    /// That it is not behind the last entry applied.
    pub(crate) fn apply_blank(&mut self, index: LogIndex) -> std::result::Result<(), NotInOrder> {
        let timestamp = self.kv.apply_blank(index, NO_CLOCK)?;
        self.effects.push(index, timestamp, Effects::default());
        Ok(())
    }
}

/// A replica as the files have it.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) replica: Replica,
    /// Bytes in the log that overwriting, removing and refusing have left.
    pub(crate) stale_bytes: u64,
    /// Bytes of the entries that were applied from the log.
    pub(crate) log_bytes: u64,
    /// Bytes of key and value of the longest row that these set.
    pub(crate) longest_row: u64,
    /// Entries applied from the log.
    pub(crate) entries: u64,
}

/// Who reads ahead while entries are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadAhead {
    /// Nobody: everything happens on the caller's thread.
    Inline,
    /// A thread reads, decodes and sorts, which costs about as much as applying.
    Thread,
}

/// Rebuilds the replica: what `head` says of `tables`, and the entries behind it. Memory: the tail,
/// and a few times [`READ_BYTES`].
///
/// # Errors
/// `Corrupt`, `Io`; `Serialization` for an entry that is whole and cannot be understood: it is
/// never skipped.
pub(crate) fn replay(
    head: Option<&ManifestHead>,
    tables: Arc<TableSet>,
    hard: HardState,
    read_ahead: ReadAhead,
    read: impl Fn(Range<LogIndex>, usize) -> std::result::Result<Vec<Entry>, StorageError> + Send,
) -> Result<Replayed> {
    let mut replayed = Replayed { replica: checkpoint(head, tables)?, ..Replayed::default() };
    // Nobody compares it with another replica's, so nobody pays for it.
    replayed.replica.kv.forget_digest();
    let begin = match (replayed.replica.last, hard.purged) {
        (Some(last), _) => last.index.next(),
        (None, Some(purged)) => purged.index.next(),
        (None, None) => LogIndex(0),
    };
    let Some(last) = hard.last else { return Ok(replayed) };
    let (next, end) = (begin, last.index.next());
    let mut batches = Batches { next, end, bytes: FIRST_READ_BYTES, read };
    match read_ahead {
        ReadAhead::Inline => batches.try_for_each(|batch| replayed.apply(batch?))?,
        ReadAhead::Thread => std::thread::scope(|scope| {
            // Two batches wait at most: one being applied, one read, bound the memory.
            let (send, receive) = sync_channel(1);
            let reader = move || {
                // Nobody receives any more when applying has failed.
                batches.all(|batch| send.send(batch).is_ok());
            };
            let spawned = Builder::new().name("htkv-replay".to_owned()).spawn_scoped(scope, reader);
            spawned.map_err(|source| Error::Io {
                operation: "start a thread to replay",
                path: "the log".into(),
                source: Arc::new(source),
            })?;
            receive.iter().try_for_each(|batch| replayed.apply(batch?))
        })?,
    }
    Ok(replayed)
}

/// Entries that were read together, understood and ready to be applied.
#[derive(Debug, Default)]
struct Batch {
    steps: Vec<Step>,
    /// The last entry of it.
    last: Option<LogId>,
    /// How many.
    entries: u64,
    /// Bytes of the longest row that they set.
    longest_row: u64,
}

#[derive(Debug)]
enum Step {
    Run(Run),
    Blank(LogIndex),
    Membership(LogId, Membership),
}

impl Batch {
    /// Decodes entries and sorts what can be sorted: the part of the work that needs no state.
    fn new(entries: &[Entry]) -> Result<Self> {
        let mut batch = Self { entries: entries.len() as u64, ..Self::default() };
        let mut log = Vec::with_capacity(entries.len());
        for entry in entries {
            let LogRecord { id, clock, content, payload_bytes } = LogRecord::understand(entry)?;
            batch.last = Some(id);
            let index = id.index;
            let step = match content {
                LogContent::Command(command) => {
                    batch.longest_row = batch.longest_row.max(command.longest_row() as u64);
                    log.push(Logged { index, clock, command, payload_bytes });
                    continue;
                }
                LogContent::Blank => Step::Blank(index),
                LogContent::Membership(membership) => Step::Membership(id, membership),
            };
            batch.push_run(std::mem::take(&mut log))?;
            batch.steps.push(step);
        }
        batch.push_run(log)?;
        Ok(batch)
    }

    fn push_run(&mut self, log: Vec<Logged>) -> Result<()> {
        let run = Run::new(log).map_err(|error| out_of_order(&error))?;
        if !run.is_empty() {
            self.steps.push(Step::Run(run));
        }
        Ok(())
    }
}

/// The entries of the log, some mebibytes of them at a time.
struct Batches<R> {
    next: LogIndex,
    end: LogIndex,
    /// How much is read next.
    bytes: usize,
    read: R,
}

impl<R> Iterator for Batches<R>
where
    R: Fn(Range<LogIndex>, usize) -> std::result::Result<Vec<Entry>, StorageError>,
{
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let entries = match (self.read)(self.next..self.end, self.bytes) {
            Ok(entries) => entries,
            Err(error) => {
                self.next = self.end;
                return Some(Err(error.into()));
            }
        };
        self.bytes = (2 * self.bytes).min(READ_BYTES);
        self.next = entries.last().map_or(self.end, |entry| entry.id.index.next());
        Some(Batch::new(&entries))
    }
}

/// Refuses a manifest of another node that counts more reserved keys than keys. The rest of what it
/// counts has been held against its tables.
///
/// # Errors
/// `Serialization`, also where another release wrote what this one does not know.
#[cfg_attr(all(not(feature = "raft"), not(test)), expect(dead_code, reason = "for clusters"))]
pub(crate) fn check_counts(head: &ManifestHead) -> Result<()> {
    let undecodable = |error| Error::undecodable(head.last.index, &error);
    let rest = Rest::decode(&head.sessions).map_err(undecodable)?;
    if rest.reserved_keys.is_some_and(|reserved| reserved.get() > head.keys) {
        return Err(undecodable(DecodeError::Malformed("more reserved keys than keys".to_owned())));
    }
    Ok(())
}

/// What a manifest says, and nothing of the log behind it; nothing at all without one.
///
/// # Errors
/// `Serialization`: another release wrote what this one does not know.
pub(crate) fn checkpoint(head: Option<&ManifestHead>, tables: Arc<TableSet>) -> Result<Replica> {
    let Some(head) = head else { return Ok(Replica::default()) };
    let index = head.last.index;
    let undecodable = |error| Error::undecodable(index, &error);
    let Rest { membership_id, sum, reserved_keys, due_floor, sessions } =
        Rest::decode(&head.sessions).map_err(undecodable)?;
    // Whoever knew the floor knew that, too. Counting would read what was there and is dead.
    let is_none_reserved = reserved_keys.is_none() && due_floor > Timestamp(0);
    let reserved_keys = reserved_keys.map(NonZeroU64::get).or(is_none_reserved.then_some(0));
    // Whoever only wants to know what it says besides gives no tables.
    let is_possible = tables.is_empty()
        || reserved_keys <= Some(head.keys)
            && head.fits(tables.tables().map(|entry| &entry.summary));
    if !is_possible {
        // Of no use to anybody, and no reason to keep the rows from whoever has them. The next
        // compaction writes down what there is.
        let (keys, bytes, reserved) = (head.keys, head.live_bytes, reserved_keys);
        tracing::error!(keys, reserved, bytes, "a manifest counts what cannot be: counting anew");
    }
    let told = Counts { keys: head.keys, reserved_keys, live_bytes: head.live_bytes };
    let kv = KvState::from_checkpoint(Checkpoint {
        tables,
        counts: is_possible.then_some(told),
        last_applied: Some(index),
        last_timestamp: head.timestamp,
        // What was due was due by the last stamp.
        due_floor: Some(due_floor).filter(|floor| *floor <= head.timestamp).unwrap_or_default(),
        sessions,
        sum,
    })?;
    let membership = match &*head.membership {
        [] => None,
        payload => Some(codec::decode_membership(payload).map_err(undecodable)?),
    };
    let effects = EffectLog::behind(index);
    let mut replica = Replica { kv, last: Some(head.last), membership, membership_id, effects };
    if replica.membership.is_some() && replica.membership_id.is_none() {
        // An older release did not write it down. It is not behind this entry.
        replica.membership_id = replica.last;
    }
    Ok(replica)
}

impl Replayed {
    fn apply(&mut self, batch: Batch) -> Result<()> {
        for step in batch.steps {
            match step {
                Step::Run(run) => self.apply_run(run)?,
                Step::Blank(index) => self.apply_blank(index)?,
                Step::Membership(id, membership) => {
                    self.apply_blank(id.index)?;
                    self.replica.membership = Some(membership);
                    self.replica.membership_id = Some(id);
                }
            }
        }
        self.replica.last = batch.last.or(self.replica.last);
        self.entries += batch.entries;
        self.longest_row = self.longest_row.max(batch.longest_row);
        Ok(())
    }

    fn apply_run(&mut self, run: Run) -> Result<()> {
        let Some(span) = run.span() else { return Ok(()) };
        let mut effects = RunEffects::new(span, run.len());
        let (stale, log) = (&mut self.stale_bytes, &mut self.log_bytes);
        let told = |told: Told<'_>| {
            *stale += stale_bytes(told.applied, told.payload_bytes);
            *log += entry_frame_len(told.payload_bytes) as u64;
            effects.tell(told.index, told.timestamp, told.effects);
        };
        self.replica.kv.apply_run(run, told).map_err(|error| match error {
            ApplyError::NotInOrder(error) => out_of_order(&error),
            ApplyError::Unreadable(error) => error.into(),
        })?;
        self.replica.effects.take_run(effects);
        Ok(())
    }

    fn apply_blank(&mut self, index: LogIndex) -> Result<()> {
        self.replica.apply_blank(index).map_err(|error| out_of_order(&error))
    }
}

fn out_of_order(error: &NotInOrder) -> Error {
    Error::Serialization { index: error.got, reason: error.to_string() }
}

/// Bytes of the log that an entry has made useless: what it overwrote or removed, and all of itself
/// when it set nothing.
pub(crate) fn stale_bytes(applied: &Applied, payload_len: usize) -> u64 {
    let own = match applied.outcome {
        Outcome::Applied => 0,
        _ => entry_frame_len(payload_len) as u64,
    };
    // What was overwritten had a frame around it, too.
    let around = if applied.stale_bytes > 0 { entry_frame_len(0) as u64 } else { 0 };
    applied.stale_bytes + around + own
}

/// The bytes of a membership.
pub(crate) fn membership_bytes(membership: Option<&Membership>) -> Bytes {
    membership.map(codec::encode_membership).unwrap_or_default().into()
}
