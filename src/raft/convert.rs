//! Messages as openraft has them, and as they are sent.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::EntryOf;

use super::type_config::{
    EntryParts, TypeConfig, entry_of, log_id_of, parts_of, raft_log_id_of, raft_vote_of, vote_of,
};
use super::wire::envelope::Envelope;
use super::wire::request::{AppendEntries, AppendHead, AskVote, Request, TransferLeader, Turn};
use super::wire::response::{AppendAnswer, TransferAnswer, VoteAnswer};
use crate::command::codec::DecodeError;
use crate::command::membership::MembershipError;
use crate::storage::log_entry::EntryRef;
use crate::types::NodeId;

/// Bytes that an entry takes in a message, besides its payload.
const ENTRY_OVERHEAD_BYTES: usize = 40;

/// Bytes that an entry takes in a message, about.
pub(super) fn bytes_of(entry: &EntryOf<TypeConfig>) -> usize {
    let payload = match &entry.payload {
        openraft::EntryPayload::Normal(proposal) => proposal.bytes(),
        // A membership is small, and always goes through.
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => 0,
    };
    ENTRY_OVERHEAD_BYTES + payload
}

/// The bytes of a request to append. Payloads are copied once.
///
/// # Errors
/// A membership that ours cannot express.
pub(super) fn encode_append(
    envelope: &Envelope,
    turn: Turn,
    request: &AppendEntriesRequest<TypeConfig>,
) -> Result<bytes::Bytes, MembershipError> {
    let head = AppendHead {
        turn,
        vote: vote_of(&request.vote),
        previous: request.prev_log_id.as_ref().map(log_id_of),
        committed: request.leader_commit.as_ref().map(log_id_of),
    };
    let parts: Vec<EntryParts<'_>> =
        request.entries.iter().map(parts_of).collect::<Result<_, _>>()?;
    let entries: Vec<EntryRef<'_>> = parts.iter().map(EntryParts::as_ref).collect();
    Ok(Request::encode_append(envelope, &head, &entries))
}

/// A request to append, for openraft. Payloads share the message's buffer.
///
/// # Errors
/// Why the payload of an entry is not what its kind says.
pub(super) fn append_request(
    message: &AppendEntries,
) -> Result<AppendEntriesRequest<TypeConfig>, DecodeError> {
    let AppendEntries { head, entries } = message;
    Ok(AppendEntriesRequest {
        vote: raft_vote_of(head.vote),
        prev_log_id: head.previous.map(raft_log_id_of),
        entries: entries.iter().map(entry_of).collect::<Result<_, _>>()?,
        leader_commit: head.committed.map(raft_log_id_of),
    })
}

pub(super) fn append_answer(answer: &AppendEntriesResponse<TypeConfig>) -> AppendAnswer {
    match answer {
        AppendEntriesResponse::Success => AppendAnswer::Success,
        AppendEntriesResponse::PartialSuccess(last) => {
            AppendAnswer::Partial(last.as_ref().map(log_id_of))
        }
        AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
        AppendEntriesResponse::HigherVote(vote) => AppendAnswer::HigherVote(vote_of(vote)),
    }
}

pub(super) fn raft_append_answer(answer: AppendAnswer) -> AppendEntriesResponse<TypeConfig> {
    match answer {
        AppendAnswer::Success => AppendEntriesResponse::Success,
        AppendAnswer::Partial(last) => {
            AppendEntriesResponse::PartialSuccess(last.map(raft_log_id_of))
        }
        AppendAnswer::Conflict => AppendEntriesResponse::Conflict,
        AppendAnswer::HigherVote(vote) => AppendEntriesResponse::HigherVote(raft_vote_of(vote)),
    }
}

pub(super) fn ask_vote(request: &VoteRequest<TypeConfig>) -> AskVote {
    AskVote {
        vote: vote_of(&request.vote),
        last: request.last_log_id.as_ref().map(log_id_of),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn vote_request(ask: AskVote) -> VoteRequest<TypeConfig> {
    let mut request = VoteRequest::new(raft_vote_of(ask.vote), ask.last.map(raft_log_id_of));
    request.leadership_transfer = ask.leadership_transfer;
    request
}

pub(super) fn vote_answer(answer: &VoteResponse<TypeConfig>) -> VoteAnswer {
    VoteAnswer {
        vote: vote_of(&answer.vote),
        granted: answer.vote_granted,
        last: answer.last_log_id.as_ref().map(log_id_of),
    }
}

pub(super) fn raft_vote_answer(answer: VoteAnswer) -> VoteResponse<TypeConfig> {
    let VoteAnswer { vote, granted, last } = answer;
    VoteResponse::new(raft_vote_of(vote), last.map(raft_log_id_of), granted)
}

pub(super) fn transfer_leader(request: &TransferLeaderRequest<TypeConfig>) -> TransferLeader {
    TransferLeader {
        from: vote_of(request.from_leader()),
        to: NodeId(*request.to_node_id()),
        last: request.last_log_id().map(log_id_of),
    }
}

pub(super) fn transfer_request(transfer: TransferLeader) -> TransferLeaderRequest<TypeConfig> {
    let TransferLeader { from, to, last } = transfer;
    TransferLeaderRequest::new(raft_vote_of(from), to.0, last.map(raft_log_id_of))
}

pub(super) fn transfer_answer(answer: &TransferLeaderResponse<TypeConfig>) -> TransferAnswer {
    match answer {
        Ok(()) => TransferAnswer::Accepted,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            TransferAnswer::VoteChanged { expected: vote_of(expected), actual: vote_of(actual) }
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            TransferAnswer::LogNotFlushed {
                expected: expected.as_ref().map(log_id_of),
                actual: actual.as_ref().map(log_id_of),
            }
        }
    }
}

pub(super) fn raft_transfer_answer(answer: TransferAnswer) -> TransferLeaderResponse<TypeConfig> {
    match answer {
        TransferAnswer::Accepted => Ok(()),
        TransferAnswer::VoteChanged { expected, actual } => Err(TransferLeaderError::VoteChanged {
            expected: raft_vote_of(expected),
            actual: raft_vote_of(actual),
        }),
        TransferAnswer::LogNotFlushed { expected, actual } => {
            Err(TransferLeaderError::LogNotFlushed {
                expected: expected.map(raft_log_id_of),
                actual: actual.map(raft_log_id_of),
            })
        }
    }
}
