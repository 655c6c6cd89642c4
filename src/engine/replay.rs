//! From files to a state: the newest snapshot, then the entries behind it.

use std::ops::Range;

use bytes::Bytes;

use crate::command::codec;
use crate::command::limits::ENTRY_BYTES_HARD_MAX;
use crate::command::membership::Membership;
use crate::error::{Error, Result};
use crate::state::KvState;
use crate::storage::error::StorageError;
use crate::storage::frame::frame_len;
use crate::storage::hard_state::HardState;
use crate::storage::log_entry::{Entry, EntryKind};
use crate::storage::snapshot::{SnapshotInfo, SnapshotReader};
use crate::types::{LogId, LogIndex};

/// How much is read from the log at once.
const READ_BYTES: usize = 4 << 20;

/// The state machine of one node: the state, and up to where and among whom it was applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replica {
    pub(crate) kv: KvState,
    /// The last entry applied.
    pub(crate) last: Option<LogId>,
    /// The membership in force; `None` in a directory that was just created.
    pub(crate) membership: Option<Membership>,
}

/// A replica as the files have it.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) replica: Replica,
    /// Bytes in the log that overwriting, removing and refusing have left.
    pub(crate) stale_bytes: u64,
    /// Entries applied from the log.
    pub(crate) entries: u64,
    /// The snapshot that it began with.
    pub(crate) snapshot: Option<SnapshotInfo>,
}

/// Rebuilds the replica. Memory: the state, and a few mebibytes.
///
/// # Errors
/// `Corrupt`, `Io`; `Serialization` for an entry that is whole and cannot be understood: it is
/// never skipped.
pub(crate) fn replay(
    snapshot: Option<SnapshotReader>,
    hard: HardState,
    read: impl Fn(Range<LogIndex>, usize) -> std::result::Result<Vec<Entry>, StorageError>,
) -> Result<Replayed> {
    let mut replayed = match snapshot {
        Some(reader) => load(reader)?,
        None => Replayed::default(),
    };
    let begin = match (replayed.replica.last, hard.purged) {
        (Some(last), _) => last.index.next(),
        (None, Some(purged)) => purged.index.next(),
        (None, None) => LogIndex(0),
    };
    let Some(last) = hard.last else { return Ok(replayed) };
    let mut next = begin;
    while next <= last.index {
        for entry in read(next..last.index.next(), READ_BYTES)? {
            next = entry.id.index.next();
            replayed.apply(&entry)?;
        }
    }
    Ok(replayed)
}

/// Loads a snapshot.
fn load(mut reader: SnapshotReader) -> Result<Replayed> {
    let head = reader.head().clone();
    let index = head.last.index;
    let mut failed = None;
    let chunks = std::iter::from_fn(|| match reader.next_chunk() {
        Ok(chunk) => chunk,
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    let kv = KvState::from_rows(chunks, Some(index), head.timestamp);
    if let Some(error) = failed {
        return Err(error.into());
    }
    let kv = kv.map_err(|error| Error::bad_rows(index, &error))?;
    let snapshot = reader.info();
    if snapshot.as_ref().map(|info| info.rows) != Some(kv.as_view().len() as u64) {
        let reason = "the snapshot holds another number of rows than it says".to_owned();
        return Err(Error::Serialization { index, reason });
    }
    let membership = codec::decode_membership(&head.membership)
        .map_err(|error| Error::undecodable(index, &error))?;
    let replica = Replica { kv, last: Some(head.last), membership: Some(membership) };
    Ok(Replayed { replica, snapshot, ..Replayed::default() })
}

impl Replayed {
    fn apply(&mut self, entry: &Entry) -> Result<()> {
        let index = entry.id.index;
        let undecodable = |error| Error::undecodable(index, &error);
        let out_of_order = |error: crate::state::NotInOrder| Error::Serialization {
            index,
            reason: error.to_string(),
        };
        let kv = &mut self.replica.kv;
        match entry.kind {
            EntryKind::Normal => {
                let command =
                    codec::decode(&entry.payload, ENTRY_BYTES_HARD_MAX).map_err(undecodable)?;
                let applied = kv.apply(index, entry.clock, &command).map_err(out_of_order)?;
                self.stale_bytes += stale_bytes(&applied, entry.payload.len());
            }
            EntryKind::Blank => {
                kv.apply_blank(index, entry.clock).map_err(out_of_order)?;
            }
            EntryKind::Membership => {
                let membership = codec::decode_membership(&entry.payload).map_err(undecodable)?;
                kv.apply_blank(index, entry.clock).map_err(out_of_order)?;
                self.replica.membership = Some(membership);
            }
        }
        self.replica.last = Some(entry.id);
        self.entries += 1;
        Ok(())
    }
}

/// Bytes of the log that an entry has made useless: what it overwrote or removed, and all of itself
/// when it set nothing.
pub(crate) fn stale_bytes(applied: &crate::state::Applied, payload_len: usize) -> u64 {
    let own = match applied.outcome {
        crate::state::Outcome::Applied => 0,
        _ => frame_len(payload_len) as u64,
    };
    // What was overwritten had a frame around it, too.
    let around = if applied.stale_bytes > 0 { frame_len(0) as u64 } else { 0 };
    applied.stale_bytes + around + own
}

/// The bytes of a membership.
pub(crate) fn membership_bytes(membership: Option<&Membership>) -> Bytes {
    membership.map(codec::encode_membership).unwrap_or_default().into()
}
