//! The snapshot that a node is being sent. All of it waits for the disk.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::storage::error::StorageError;
use crate::storage::snapshot_incoming::{IncomingSnapshot, Need, ReceivedSnapshot};
use crate::storage::store::Store;
use crate::types::RandomId;

/// Most bytes of a snapshot that is accepted: no device has room for more.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 48;

/// One transfer at a time: a new one takes the place of the one before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receiving(Arc<Mutex<Option<(RandomId, IncomingSnapshot)>>>);

/// What became of a transfer.
#[derive(Debug)]
pub(crate) enum Finished {
    /// Every byte is here.
    Whole(ReceivedSnapshot),
    /// A table is not what it should be, or not all of it is here.
    Damaged,
    /// There is no such transfer.
    Unknown,
}

impl Receiving {
    /// Begins a transfer. Returns of each table how many bytes are here already.
    ///
    /// # Errors
    /// `SnapshotWaits` while one that came whole is being installed: an offer that is repeated, by
    /// the network or because the leader lost its connection, must not take the files away from
    /// it. Those of [`IncomingSnapshot::begin`].
    pub(crate) fn begin(
        &self,
        store: &Store,
        transfer: RandomId,
        manifest: &Bytes,
    ) -> Result<Vec<u64>, StorageError> {
        let mut under_way = self.0.lock();
        *under_way = None;
        let (begun, needs) = store.begin_incoming(manifest, SNAPSHOT_BYTES_MAX)?;
        let has = begun.parts().iter().zip(needs).map(|(part, need)| match need {
            Need::Have => part.bytes,
            Need::From(offset) => offset,
        });
        let has = has.collect();
        *under_way = Some((transfer, begun));
        Ok(has)
    }

    /// Stores a piece of a table. `false` when there is no such transfer.
    pub(crate) fn store(
        &self,
        transfer: RandomId,
        part: u32,
        offset: u64,
        piece: &[u8],
    ) -> Result<bool, StorageError> {
        let mut under_way = self.0.lock();
        let Some((_, begun)) = under_way.as_mut().filter(|(id, _)| *id == transfer) else {
            return Ok(false);
        };
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        // The message that brought it had a checksum; this one is kept beside the bytes.
        begun.write(part, offset, piece, crc32c::crc32c(piece))?;
        Ok(true)
    }

    /// Ends a transfer.
    pub(crate) fn finish(&self, transfer: RandomId) -> Result<Finished, StorageError> {
        let mut under_way = self.0.lock();
        match under_way.take() {
            Some((id, begun)) if id == transfer => match begun.finish() {
                Ok(received) => Ok(Finished::Whole(received)),
                Err(StorageError::BadSnapshot { .. }) => Ok(Finished::Damaged),
                Err(error) => Err(error),
            },
            other => {
                *under_way = other;
                Ok(Finished::Unknown)
            }
        }
    }
}
