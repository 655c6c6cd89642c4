//! What a node does when another one asks.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;

use super::forward_queue::Hop;
use super::node::Node;
use super::peers::failure_of;
use super::raft_calls;
use super::read_gate::Freshness;
use super::receiving::Finished;
use super::server::Peerside;
use super::snapshot::{SnapshotData, named};
use super::transport::BoxFuture;
use super::type_config::{TypeConfig, raft_vote_of, vote_of};
use super::wire::request::{ForwardedWrite, SnapshotChunk, SnapshotFinish, SnapshotOffer};
use super::wire::response::{
    ChunkAnswer, FinishAnswer, Greeting, OfferAnswer, Refusal, WriteFailure,
};
use crate::command::codec;
use crate::command::limits::ENTRY_BYTES_HARD_MAX;
use crate::command::membership::Membership;
use crate::engine::replay::check_counts;
use crate::engine::submission::{Reply, Slot, Submission};
use crate::error::Error;
use crate::state::Applied;
use crate::storage::error::StorageError;
use crate::storage::identity::Identity;
use crate::storage::snapshot_incoming::Snapshot;
use crate::types::{LogId, LogIndex, NodeId};

impl Peerside for Node {
    fn identity(&self) -> Identity {
        *self.machine.store.identity()
    }

    fn members(&self) -> Option<Arc<Membership>> {
        self.peers.members()
    }

    fn greeting(&self) -> Greeting {
        let hard = self.machine.store.log().hard_state();
        let head = self.machine.store.tables().manifest_head();
        let last = hard.last.max(head.map(|head| head.last));
        Greeting { pristine: last.is_none() && hard.vote.is_none(), last }
    }

    fn append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> BoxFuture<'_, Result<AppendEntriesResponse<TypeConfig>, Refusal>> {
        Box::pin(async move {
            self.check_peer()?;
            raft_calls::append(&self.raft, request).await
        })
    }

    fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> BoxFuture<'_, Result<VoteResponse<TypeConfig>, Refusal>> {
        Box::pin(async move {
            self.check_peer()?;
            raft_calls::vote(&self.raft, request).await
        })
    }

    fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> BoxFuture<'_, Result<VoteResponse<TypeConfig>, Refusal>> {
        Box::pin(async move {
            self.check_peer()?;
            raft_calls::pre_vote(&self.raft, request).await
        })
    }

    fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> BoxFuture<'_, Result<TransferLeaderResponse<TypeConfig>, Refusal>> {
        Box::pin(async move {
            self.check_peer()?;
            raft_calls::transfer_leader(&self.raft, request).await
        })
    }

    fn snapshot_offer(&self, offer: SnapshotOffer) -> BoxFuture<'_, Result<OfferAnswer, Refusal>> {
        Box::pin(async move {
            self.check_peer()?;
            let known = self.raft.metrics().borrow_watched().vote;
            if known > raft_vote_of(offer.vote) {
                return Ok(OfferAnswer::HigherVote(vote_of(&known)));
            }
            let (machine, receiving) = (Arc::clone(&self.machine), self.receiving.clone());
            blocking(move || receiving.begin(&machine.store, offer.transfer, &offer.manifest))
                .await
                .map(OfferAnswer::Has)
        })
    }

    fn snapshot_chunk(&self, chunk: SnapshotChunk) -> BoxFuture<'_, Result<ChunkAnswer, Refusal>> {
        Box::pin(async move {
            self.check_peer()?;
            let receiving = self.receiving.clone();
            let stored = blocking(move || {
                let SnapshotChunk { transfer, part, offset, bytes } = chunk;
                receiving.store(transfer, part, offset, &bytes)
            });
            Ok(if stored.await? { ChunkAnswer::Stored } else { ChunkAnswer::UnknownTransfer })
        })
    }

    fn snapshot_finish(
        &self,
        finish: SnapshotFinish,
    ) -> BoxFuture<'_, Result<FinishAnswer, Refusal>> {
        Box::pin(async move {
            self.check_peer()?;
            let receiving = self.receiving.clone();
            let received = match blocking(move || receiving.finish(finish.transfer)).await? {
                Finished::Whole(received) => Snapshot::Received(received),
                Finished::Damaged => return Ok(FinishAnswer::Damaged),
                Finished::Unknown => return Ok(FinishAnswer::UnknownTransfer),
            };
            let failed = |error: Error| Refusal::Failed { reason: error.to_string() };
            check_counts(received.head()).map_err(failed)?;
            let snapshot: SnapshotOf<TypeConfig, SnapshotData> =
                named(Some(received)).map_err(failed)?;
            let vote = raft_vote_of(finish.vote);
            let installed = self.raft.install_full_snapshot(vote, snapshot).await;
            let answer = installed.map_err(|_| Refusal::Stopped)?;
            Ok(FinishAnswer::Done(vote_of(&answer.vote)))
        })
    }

    fn write(
        &self,
        from: NodeId,
        write: ForwardedWrite,
    ) -> BoxFuture<'_, Result<Vec<Result<Applied, WriteFailure>>, Refusal>> {
        Box::pin(async move {
            self.check_peer()?;
            if !self.raft.is_leader() {
                return Err(Refusal::NotLeader { leader: self.leader() });
            }
            tracing::trace!(%from, commands = write.commands.len(), "a node passes writes on");
            // All of them are handed in before the first is waited for, so they keep their order.
            let handed: Vec<Submission> = write
                .commands
                .iter()
                .map(|payload| {
                    let slot = Slot::new();
                    let reply = Reply::Future(Arc::clone(&slot));
                    match codec::decode(payload, ENTRY_BYTES_HARD_MAX) {
                        Ok(command) => self.submit(command, reply, Hop::Last),
                        Err(error) => reply.answer(Err(Error::Validation(error.to_string()))),
                    }
                    Submission::new(slot)
                })
                .collect();
            let mut answers = Vec::with_capacity(handed.len());
            for submission in handed {
                let answer = submission.await.map(|outcome| Applied {
                    outcome: outcome.outcome,
                    version: outcome.version,
                    timestamp: outcome.timestamp,
                    stale_bytes: 0,
                });
                answers.push(answer.map_err(failure_of));
            }
            Ok(answers)
        })
    }

    fn read_index(&self, lease: bool) -> BoxFuture<'_, Result<Option<LogId>, Refusal>> {
        Box::pin(async move {
            self.check_peer()?;
            let freshness = if lease { Freshness::Lease } else { Freshness::Quorum };
            match self.own_index(freshness).await {
                Ok(Ok(id)) => Ok(Some(id)),
                Ok(Err(leader)) => Err(Refusal::NotLeader { leader }),
                Err(_) => Err(Refusal::Stopped),
            }
        })
    }

    fn digest(&self, index: LogIndex) -> Option<[u8; 16]> {
        self.machine.replica.read().kv.recorded(index).map(|digest| digest.0)
    }
}

impl Node {
    /// Refuses everybody when this node may not answer.
    fn check_peer(&self) -> Result<(), Refusal> {
        self.check().map_err(|_| Refusal::Stopped)
    }
}

/// Does what waits for the disk where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |reason: String| Refusal::Failed { reason };
    let done =
        tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.to_string()))?;
    done.map_err(|error| match error {
        StorageError::SnapshotWaits => Refusal::Overloaded,
        error => failed(error.to_string()),
    })
}
