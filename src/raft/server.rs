//! Answering other nodes: the one place where requests arrive.
//!
//! Bytes in, bytes out: read, admit, dispatch, write. What a request means is the node's to say,
//! through [`Peerside`].

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use super::convert;
use super::identity::{Receiver, admit};
use super::repeats::Repeats;
use super::transport::{BoxFuture, RequestHandler};
use super::turns::{OutOfTurn, Turns};
use super::type_config::TypeConfig;
use super::wire::request::{
    AppendEntries, ForwardedWrite, Request, SnapshotChunk, SnapshotFinish, SnapshotOffer,
    SnapshotRequest,
};
use super::wire::response::{
    ChunkAnswer, FinishAnswer, Greeting, OfferAnswer, Refusal, Response, WriteFailure,
};
use crate::command::membership::Membership;
use crate::state::Applied;
use crate::storage::identity::Identity;
use crate::types::{LogId, LogIndex, NodeId};

/// What a node does for other nodes. Every request was admitted before it comes here, except that
/// [`Self::greeting`] is for strangers too.
pub trait Peerside: Send + Sync + 'static {
    /// The node's directory.
    fn identity(&self) -> Identity;

    /// The newest membership in the log, committed or not; `None` before the first.
    fn members(&self) -> Option<Arc<Membership>>;

    /// What anybody may know. Cheap: asked for every request of a stranger.
    fn greeting(&self) -> Greeting;

    /// Appends. The request must be on its way to openraft when the future has been polled once, so
    /// that those of one stream keep their order.
    fn append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> BoxFuture<'_, Result<AppendEntriesResponse<TypeConfig>, Refusal>>;

    /// Votes.
    fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> BoxFuture<'_, Result<VoteResponse<TypeConfig>, Refusal>>;

    /// Says how it would vote.
    fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> BoxFuture<'_, Result<VoteResponse<TypeConfig>, Refusal>>;

    /// Begins an election for this node, asked by the leader.
    fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> BoxFuture<'_, Result<TransferLeaderResponse<TypeConfig>, Refusal>>;

    /// Says how much of a snapshot is there already, and makes ready for the rest.
    fn snapshot_offer(&self, offer: SnapshotOffer) -> BoxFuture<'_, Result<OfferAnswer, Refusal>>;

    /// Stores a chunk. Chunks of one transfer come one after the other; one may come twice.
    fn snapshot_chunk(&self, chunk: SnapshotChunk) -> BoxFuture<'_, Result<ChunkAnswer, Refusal>>;

    /// Checks what was received and installs it.
    fn snapshot_finish(
        &self,
        finish: SnapshotFinish,
    ) -> BoxFuture<'_, Result<FinishAnswer, Refusal>>;

    /// Writes, as the leader, in the order of the request.
    fn write(
        &self,
        from: NodeId,
        write: ForwardedWrite,
    ) -> BoxFuture<'_, Result<Vec<Result<Applied, WriteFailure>>, Refusal>>;

    /// What must be applied before a linearizable read, as the leader.
    fn read_index(&self, lease: bool) -> BoxFuture<'_, Result<Option<LogId>, Refusal>>;

    /// The digest of the state at an index, if it is known.
    fn digest(&self, index: LogIndex) -> Option<[u8; 16]>;
}

/// Answers requests for a node. A clone is a pointer.
#[derive(Clone)]
pub struct Server {
    peer: Arc<dyn Peerside>,
    turns: Arc<Turns>,
    /// Of writes.
    repeats: Arc<Repeats>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("identity", &self.peer.identity()).finish_non_exhaustive()
    }
}

impl RequestHandler for Server {
    fn handle(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        let server = self.clone();
        Box::pin(async move { server.answer(request).await })
    }
}

impl Server {
    /// Answers for `peer`.
    #[must_use]
    pub fn new(peer: Arc<dyn Peerside>) -> Self {
        Self { peer, turns: Arc::default(), repeats: Arc::default() }
    }

    /// The answer to a request, whatever its bytes.
    pub async fn answer(&self, request: Bytes) -> Bytes {
        let response = match self.respond(&request).await {
            Ok(response) => response,
            Err(refusal) => Response::Refused(refusal),
        };
        response.encode(&self.peer.identity(), &request)
    }

    async fn respond(&self, request: &Bytes) -> Result<Response, Refusal> {
        let (envelope, request) = Request::decode(request).map_err(|error| unreadable(&error))?;
        let identity = self.peer.identity();
        let members = self.peer.members();
        let pristine = members.is_none() && self.peer.greeting().pristine;
        let own = Receiver { identity: &identity, members: members.as_deref(), pristine };
        admit(own, &envelope, &request)?;
        self.dispatch(envelope.from.node, request).await
    }

    async fn dispatch(&self, from: NodeId, request: Request) -> Result<Response, Refusal> {
        let peer = &self.peer;
        Ok(match request {
            Request::Hello => Response::Hello(peer.greeting()),
            Request::AppendEntries(append) => self.append(from, append).await?,
            Request::Vote(ask) => {
                let answer = peer.vote(convert::vote_request(ask)).await?;
                Response::Vote(convert::vote_answer(&answer))
            }
            Request::PreVote(ask) => {
                let answer = peer.pre_vote(convert::vote_request(ask)).await?;
                Response::PreVote(convert::vote_answer(&answer))
            }
            Request::TransferLeader(transfer) => {
                let answer = peer.transfer_leader(convert::transfer_request(transfer)).await?;
                Response::TransferLeader(convert::transfer_answer(&answer))
            }
            Request::Snapshot(SnapshotRequest::Offer(offer)) => {
                Response::SnapshotOffer(peer.snapshot_offer(offer).await?)
            }
            Request::Snapshot(SnapshotRequest::Chunk(chunk)) => {
                Response::SnapshotChunk(peer.snapshot_chunk(chunk).await?)
            }
            Request::Snapshot(SnapshotRequest::Finish(finish)) => {
                Response::SnapshotFinish(peer.snapshot_finish(finish).await?)
            }
            Request::Write(write) if !self.repeats.is_first(from, write.number) => {
                return Err(Refusal::Repeated);
            }
            Request::Write(write) => Response::Write(peer.write(from, write).await?),
            Request::ReadIndex { lease } => Response::ReadIndex(peer.read_index(lease).await?),
            Request::Digest { index } => Response::Digest(peer.digest(index)),
        })
    }

    async fn append(&self, from: NodeId, append: AppendEntries) -> Result<Response, Refusal> {
        let request = convert::append_request(&append).map_err(|error| unreadable(&error))?;
        let turn = append.head.turn;
        let pass = self.turns.wait(from, turn).await.map_err(|OutOfTurn| Refusal::OutOfTurn)?;
        let mut answer = self.peer.append(request);
        // Polled once, it stands in openraft's queue: the next one may follow it.
        let begun = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
        drop(pass);
        let answer = match begun {
            Poll::Ready(answer) => answer?,
            Poll::Pending => answer.await?,
        };
        Ok(Response::AppendEntries(convert::append_answer(&answer)))
    }
}

fn unreadable(error: &impl fmt::Display) -> Refusal {
    Refusal::Unreadable { reason: error.to_string() }
}
