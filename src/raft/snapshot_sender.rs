//! A snapshot on its way to one follower: offer it, send what is missing, have it installed.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use openraft::StorageError;
use openraft::errors::{ErrorSource, NetworkError, StreamingError};
use openraft::network::RPCTypes;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::{ErrorSourceOf, SnapshotOf, VoteOf};

use super::network::{CallError, Connection};
use super::rpc_error::rpc_error;
use super::snapshot::SnapshotData;
use super::type_config::{TypeConfig, raft_vote_of, vote_of};
use super::wire::request::{
    Request, SnapshotChunk, SnapshotFinish, SnapshotOffer, SnapshotRequest,
};
use super::wire::response::{ChunkAnswer, FinishAnswer, OfferAnswer, Response};
use crate::storage::snapshot_held::HeldSnapshot;
use crate::storage::snapshot_incoming::Snapshot;
use crate::types::{RandomId, Vote};

type Error = StreamingError<TypeConfig>;

/// A transfer that is under way.
struct Transfer<'a> {
    connection: &'a Connection,
    source: HeldSnapshot,
    id: RandomId,
    vote: Vote,
    /// For all but the last step.
    deadline: Duration,
}

/// Sends a snapshot to a follower and has it installed there. What the follower has already, from a
/// transfer that was broken off or because it has the same file, is not sent.
///
/// # Errors
/// `StorageError`, which stops this node, when its own files cannot be read; otherwise openraft
/// tries again.
pub(super) async fn send(
    connection: &Connection,
    vote: VoteOf<TypeConfig>,
    snapshot: SnapshotOf<TypeConfig, SnapshotData>,
    deadline: Duration,
) -> Result<SnapshotResponse<TypeConfig>, Error> {
    let SnapshotData::Whole(Snapshot::Held(source)) = snapshot.snapshot else {
        return Err(network("the snapshot has no files to send"));
    };
    let id = connection.next_transfer().map_err(|error| network(&error.to_string()))?;
    let deadline = deadline.max(connection.limits().chunk_deadline_min);
    let transfer = Transfer { connection, source, id, vote: vote_of(&vote), deadline };
    let answer = match transfer.offer().await? {
        OfferAnswer::HigherVote(vote) => return Ok(SnapshotResponse::new(raft_vote_of(vote))),
        OfferAnswer::Has(has) => has,
    };
    let parts = transfer.source.parts().to_vec();
    let plausible = answer.len() == parts.len()
        && answer.iter().zip(&parts).all(|(has, part)| *has <= part.bytes);
    if !plausible {
        return Err(network("the follower says it has more than there is"));
    }
    for ((number, part), has) in (0..).zip(&parts).zip(answer) {
        transfer.part(number, part.bytes, has).await?;
    }
    transfer.finish().await
}

impl Transfer<'_> {
    async fn ask(&self, request: SnapshotRequest, deadline: Duration) -> Result<Response, Error> {
        let answer = self.connection.ask(&Request::Snapshot(request), deadline).await;
        answer.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &CallError) -> Error {
        rpc_error(self.connection, RPCTypes::InstallSnapshot, error).into()
    }

    async fn offer(&self) -> Result<OfferAnswer, Error> {
        let manifest = self.source.manifest_bytes();
        let offer = SnapshotOffer { vote: self.vote, transfer: self.id, manifest };
        match self.ask(SnapshotRequest::Offer(offer), self.deadline).await? {
            Response::SnapshotOffer(answer) => Ok(answer),
            _ => Err(self.error(&CallError::WrongKind)),
        }
    }

    /// Sends a table from `offset` on, a chunk after the other, so that what the follower has is
    /// always a beginning of it.
    async fn part(&self, number: u32, bytes: u64, mut offset: u64) -> Result<(), Error> {
        let chunk_bytes_max = self.connection.limits().chunk_bytes_max.max(1);
        while offset < bytes {
            let left = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
            let piece = self.read(number, offset, left.min(chunk_bytes_max)).await?;
            let next = offset.saturating_add(piece.len() as u64);
            let chunk = SnapshotChunk { transfer: self.id, part: number, offset, bytes: piece };
            match self.ask(SnapshotRequest::Chunk(chunk), self.deadline).await? {
                Response::SnapshotChunk(ChunkAnswer::Stored) => offset = next,
                Response::SnapshotChunk(ChunkAnswer::UnknownTransfer) => {
                    return Err(network("the follower has given up the transfer"));
                }
                _ => return Err(self.error(&CallError::WrongKind)),
            }
        }
        Ok(())
    }

    async fn read(&self, part: u32, offset: u64, bytes: usize) -> Result<Bytes, Error> {
        let source = self.source.clone();
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        let read = tokio::task::spawn_blocking(move || {
            source.read(part, offset, bytes).map_err(io::Error::other)
        });
        let read = read.await.map_err(io::Error::other).flatten().and_then(|read| {
            let whole = read.len() == bytes;
            whole.then_some(read).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        });
        read.map_err(|error| {
            let source = ErrorSourceOf::<TypeConfig>::from_error(&error);
            StreamingError::StorageError(StorageError::read_snapshot(None, source))
        })
    }

    async fn finish(&self) -> Result<SnapshotResponse<TypeConfig>, Error> {
        let finish = SnapshotFinish { vote: self.vote, transfer: self.id };
        let deadline = self.connection.limits().install_deadline.max(self.deadline);
        match self.ask(SnapshotRequest::Finish(finish), deadline).await? {
            Response::SnapshotFinish(FinishAnswer::Done(vote)) => {
                Ok(SnapshotResponse::new(raft_vote_of(vote)))
            }
            Response::SnapshotFinish(FinishAnswer::UnknownTransfer) => {
                Err(network("the follower has given up the transfer"))
            }
            Response::SnapshotFinish(FinishAnswer::Damaged) => {
                tracing::warn!(
                    node = %self.connection.target(),
                    "a table of a snapshot arrived damaged; it is sent again"
                );
                Err(network("a file arrived damaged"))
            }
            _ => Err(self.error(&CallError::WrongKind)),
        }
    }
}

fn network(reason: &str) -> Error {
    StreamingError::Network(NetworkError::from_string(reason))
}
