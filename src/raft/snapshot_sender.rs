//! A snapshot on its way to one follower: offer it, send what is missing, have it installed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::StorageError;
use openraft::errors::{ErrorSource, NetworkError, StreamingError};
use openraft::network::RPCTypes;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::{ErrorSourceOf, SnapshotMetaOf, SnapshotOf, VoteOf};

use super::network::{CallError, Connection};
use super::rpc_error::rpc_error;
use super::snapshot::SnapshotData;
use super::snapshot_source::SnapshotSource;
use super::type_config::{TypeConfig, log_id_of, membership_of, raft_vote_of, vote_of};
use super::wire::request::{
    Request, SnapshotChunk, SnapshotFinish, SnapshotOffer, SnapshotPart, SnapshotRequest,
};
use super::wire::response::{ChunkAnswer, FinishAnswer, OfferAnswer, Response};
use crate::types::{RandomId, Vote};

type Error = StreamingError<TypeConfig>;

/// A transfer that is under way.
struct Transfer<'a> {
    connection: &'a Connection,
    source: Arc<dyn SnapshotSource>,
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
    let Some(source) = snapshot.snapshot.source() else {
        return Err(network("the snapshot has no files to send"));
    };
    let id = connection.next_transfer().map_err(|error| network(&error.to_string()))?;
    let deadline = deadline.max(connection.limits().chunk_deadline_min);
    let transfer = Transfer { connection, source, id, vote: vote_of(&vote), deadline };
    let parts = transfer.source.parts();
    let answer = match transfer.offer(&snapshot.meta, &parts).await? {
        OfferAnswer::HigherVote(vote) => return Ok(SnapshotResponse::new(raft_vote_of(vote))),
        OfferAnswer::Has(has) => has,
    };
    let plausible = answer.len() == parts.len()
        && answer.iter().zip(&parts).all(|(has, part)| *has <= part.bytes);
    if !plausible {
        return Err(network("the follower says it has more than there is"));
    }
    for ((number, part), has) in (0..).zip(&parts).zip(answer) {
        transfer.part(number, *part, has).await?;
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

    async fn offer(
        &self,
        meta: &SnapshotMetaOf<TypeConfig>,
        parts: &[SnapshotPart],
    ) -> Result<OfferAnswer, Error> {
        let stored = &meta.last_membership;
        let offer = SnapshotOffer {
            vote: self.vote,
            transfer: self.id,
            last: meta.last_log_id.as_ref().map(log_id_of),
            membership_id: stored.log_id().as_ref().map(log_id_of),
            // Without voters: there was no membership yet.
            membership: membership_of(stored.membership()).ok(),
            parts: parts.to_vec(),
        };
        match self.ask(SnapshotRequest::Offer(offer), self.deadline).await? {
            Response::SnapshotOffer(answer) => Ok(answer),
            _ => Err(self.error(&CallError::WrongKind)),
        }
    }

    /// Sends a file from `offset` on, a chunk after the other, so that what the follower has is
    /// always a beginning of it.
    async fn part(&self, number: u32, part: SnapshotPart, mut offset: u64) -> Result<(), Error> {
        let chunk_bytes_max = self.connection.limits().chunk_bytes_max.max(1);
        while offset < part.bytes {
            let left = usize::try_from(part.bytes - offset).unwrap_or(usize::MAX);
            let bytes = self.read(number, offset, left.min(chunk_bytes_max)).await?;
            let next = offset.saturating_add(bytes.len() as u64);
            let chunk = SnapshotChunk { transfer: self.id, part: number, offset, bytes };
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
        let source = Arc::clone(&self.source);
        let read = tokio::task::spawn_blocking(move || source.read(part, offset, bytes)).await;
        let read = read.map_err(io::Error::other).flatten().and_then(|read| {
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
            Response::SnapshotFinish(FinishAnswer::Damaged { part }) => {
                tracing::warn!(
                    node = %self.connection.target(), part,
                    "a file of a snapshot arrived damaged; it is sent again"
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
