//! openraft's side of the network.

use std::future::Future;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};

use super::convert;
use super::network::{CallError, Connection, NetworkFactory};
use super::pipeline::{append, last_of, split_front, stream};
use super::rpc_error::rpc_error;
use super::snapshot::SnapshotData;
use super::snapshot_sender;
use super::type_config::TypeConfig;
use super::wire::request::{Request, Turn};
use super::wire::response::{AppendAnswer, Response, VoteAnswer};
use crate::command::membership::Peer;
use crate::types::NodeId;

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Connection {
        self.connect(NodeId(target), node)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Peer) -> Connection {
        self.connect(NodeId(target), node).unordered()
    }
}

impl Connection {
    async fn ask_vote(
        &self,
        request: Request,
        deadline: Duration,
    ) -> Result<VoteAnswer, CallError> {
        match self.ask(&request, deadline).await? {
            Response::Vote(answer) if matches!(request, Request::Vote(_)) => Ok(answer),
            Response::PreVote(answer) if matches!(request, Request::PreVote(_)) => Ok(answer),
            _ => Err(CallError::WrongKind),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (front, _) = split_front(&mut rpc, self.limits().request_bytes_max);
        let answer = append(self, Turn::default(), &front, option.soft_ttl()).await;
        match answer {
            Ok(AppendAnswer::Success) if !rpc.entries.is_empty() => {
                Ok(AppendEntriesResponse::PartialSuccess(last_of(&front)))
            }
            Ok(answer) => Ok(convert::raft_append_answer(answer)),
            Err(error) => Err(rpc_error(self, RPCTypes::AppendEntries, &error)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: futures_util::Stream<Item = AppendEntriesRequest<TypeConfig>>
            + OptionalSend
            + Unpin
            + 'static,
    {
        let deadline = option.soft_ttl().max(self.limits().append_deadline_min);
        let answers: BoxStream<'s, _> = Box::pin(stream(self, input, deadline));
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = Request::Vote(convert::ask_vote(&rpc));
        let answer = self.ask_vote(request, option.soft_ttl()).await;
        answer
            .map(convert::raft_vote_answer)
            .map_err(|error| rpc_error(self, RPCTypes::Vote, &error))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = Request::PreVote(convert::ask_vote(&rpc));
        let answer = self.ask_vote(request, option.soft_ttl()).await;
        answer
            .map(convert::raft_vote_answer)
            .map_err(|error| rpc_error(self, RPCTypes::Vote, &error))
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = snapshot_sender::send(self, vote, snapshot, option.soft_ttl()) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = Request::TransferLeader(convert::transfer_leader(&req));
        let answer = match self.ask(&request, option.soft_ttl()).await {
            Ok(Response::TransferLeader(answer)) => Ok(convert::raft_transfer_answer(answer)),
            Ok(_) => Err(CallError::WrongKind),
            Err(error) => Err(error),
        };
        answer.map_err(|error| rpc_error(self, RPCTypes::TransferLeader, &error))
    }
}

#[cfg(test)]
mod tests;
