//! What other nodes ask of openraft, handed to openraft: the four that need nothing else, for an
//! implementation of [`Peerside`](super::server::Peerside).

use openraft::Raft;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::RaftStateMachine;

use super::type_config::TypeConfig;
use super::wire::response::Refusal;

/// Appends.
///
/// # Errors
/// `Stopped` when openraft has.
pub(crate) async fn append<SM: RaftStateMachine<TypeConfig>>(
    raft: &Raft<TypeConfig, SM>,
    request: AppendEntriesRequest<TypeConfig>,
) -> Result<AppendEntriesResponse<TypeConfig>, Refusal> {
    raft.append_entries(request).await.map_err(|error| refusal_of(&error))
}

/// Votes.
///
/// # Errors
/// As [`append`].
pub(crate) async fn vote<SM: RaftStateMachine<TypeConfig>>(
    raft: &Raft<TypeConfig, SM>,
    request: VoteRequest<TypeConfig>,
) -> Result<VoteResponse<TypeConfig>, Refusal> {
    raft.vote(request).await.map_err(|error| refusal_of(&error))
}

/// Says how it would vote.
///
/// # Errors
/// As [`append`].
pub(crate) async fn pre_vote<SM: RaftStateMachine<TypeConfig>>(
    raft: &Raft<TypeConfig, SM>,
    request: VoteRequest<TypeConfig>,
) -> Result<VoteResponse<TypeConfig>, Refusal> {
    raft.pre_vote(request).await.map_err(|error| refusal_of(&error))
}

/// Begins an election, asked by the leader.
///
/// # Errors
/// As [`append`].
pub(crate) async fn transfer_leader<SM: RaftStateMachine<TypeConfig>>(
    raft: &Raft<TypeConfig, SM>,
    request: TransferLeaderRequest<TypeConfig>,
) -> Result<TransferLeaderResponse<TypeConfig>, Refusal> {
    raft.handle_transfer_leader(request).await.map_err(|fatal| refusal_of_fatal(&fatal))
}

fn refusal_of(error: &RaftError<TypeConfig>) -> Refusal {
    match error {
        RaftError::Fatal(fatal) => refusal_of_fatal(fatal),
        RaftError::APIError(never) => match *never {},
    }
}

fn refusal_of_fatal(fatal: &Fatal<TypeConfig>) -> Refusal {
    tracing::debug!(%fatal, "a request came after the end");
    Refusal::Stopped
}
