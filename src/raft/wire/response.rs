//! What is answered.

use bytes::Bytes;

use super::envelope::{self, Message};
use super::error::WireError;
use super::fields::{Reader, Sink, Wire};
use super::request::{WRITE_COMMANDS_MAX, tag};
pub use super::written::WriteFailure;
use crate::state::Applied;
use crate::storage::identity::Identity;
use crate::types::{LogId, NodeId, Vote};

/// What is answered to a request: the variant of the same name, or a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Nothing was done.
    Refused(Refusal),
    /// Who this is, besides what every answer says of its sender.
    Hello(Greeting),
    /// What became of entries.
    AppendEntries(AppendAnswer),
    /// A vote, or none.
    Vote(VoteAnswer),
    /// What a vote would be.
    PreVote(VoteAnswer),
    /// Whether this node begins an election.
    TransferLeader(TransferAnswer),
    /// What a follower misses of a snapshot.
    SnapshotOffer(OfferAnswer),
    /// What became of a chunk.
    SnapshotChunk(ChunkAnswer),
    /// What became of a snapshot.
    SnapshotFinish(FinishAnswer),
    /// What became of writes, in the order of the request.
    Write(Vec<Result<Applied, WriteFailure>>),
    /// What must be applied before the read; `None` when nothing must.
    ReadIndex(Option<LogId>),
    /// The digest, when the node still knows it.
    Digest(Option<[u8; 16]>),
}

/// What a node says of its log to whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Whether the directory is new: no entry, no vote, no manifest. It may join any cluster.
    pub pristine: bool,
    /// The last entry of its log, or of its snapshot.
    pub last: Option<LogId>,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The node is part of another cluster.
    #[error("the node is part of another cluster")]
    WrongCluster,
    /// Another node answers at this address.
    #[error("node {found} answers at this address")]
    WrongNode {
        /// Which.
        found: NodeId,
    },
    /// The node has another directory than the one that was meant: it was wiped, or copied.
    #[error("the node has another directory than the one that was meant")]
    WrongIncarnation,
    /// The sender is a member whose directory was another when it joined: it was wiped, or copied.
    #[error("the cluster knows the sender with another directory: let it join under a new id")]
    UnknownIncarnation,
    /// The sender says that it is the node that it sends to: its directory is a copy.
    #[error("the sender has the receiver's id: one of the two directories is a copy")]
    SameNode,
    /// Ask the leader.
    #[error("the node is not the leader")]
    NotLeader {
        /// Who is, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Too much is waiting: try again later.
    #[error("the node has too much waiting")]
    Overloaded,
    /// The node is shutting down, or has stopped after a failure.
    #[error("the node has stopped")]
    Stopped,
    /// The request cannot be understood.
    #[error("the node does not understand the request: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
    /// The node tried and failed.
    #[error("the node failed: {reason}")]
    Failed {
        /// How.
        reason: String,
    },
    /// Requests of the same stream that stand before this one did not arrive.
    #[error("requests that stand before this one did not arrive")]
    OutOfTurn,
    /// The request came before. Whoever sent it learns nothing of what became of it.
    #[error("the request came twice")]
    Repeated,
}

impl Refusal {
    /// Whether the request reached the wrong directory, or came from one.
    #[must_use]
    pub const fn is_identity(&self) -> bool {
        matches!(
            self,
            Self::WrongCluster
                | Self::WrongNode { .. }
                | Self::WrongIncarnation
                | Self::UnknownIncarnation
                | Self::SameNode
        )
    }
}

/// What became of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAnswer {
    /// The follower has them all, on its device.
    Success,
    /// The follower has those up to here.
    Partial(Option<LogId>),
    /// The follower does not have the entry that the first one follows.
    Conflict,
    /// The follower knows a later vote.
    HigherVote(Vote),
}

/// A vote, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteAnswer {
    /// The voter's vote now.
    pub vote: Vote,
    /// Whether it is for the candidate.
    pub granted: bool,
    /// The voter's last entry.
    pub last: Option<LogId>,
}

/// Whether a node begins an election to take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferAnswer {
    /// It does.
    Accepted,
    /// It has seen another vote.
    VoteChanged {
        /// The vote of the leader that hands over.
        expected: Vote,
        /// What the node has.
        actual: Vote,
    },
    /// Its log is not far enough.
    LogNotFlushed {
        /// The leader's last entry.
        expected: Option<LogId>,
        /// The node's.
        actual: Option<LogId>,
    },
}

/// What a follower misses of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferAnswer {
    /// Of each table, in the order of the manifest, how many bytes from its beginning the follower
    /// has: all of one that it knows by its hash, some of one whose transfer was broken off.
    Has(Vec<u64>),
    /// The follower knows a later vote.
    HigherVote(Vote),
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkAnswer {
    /// It is stored; not necessarily on the device.
    Stored,
    /// The follower knows no such transfer: offer again.
    UnknownTransfer,
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishAnswer {
    /// It is installed, or the follower knows a later vote, which is then this.
    Done(Vote),
    /// The follower knows no such transfer: offer again.
    UnknownTransfer,
    /// A table is not what its hash says, and was thrown away: offer again.
    Damaged,
}

impl Wire for Greeting {
    const BYTES_MIN: usize = 2;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.pristine.put(to);
        self.last.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { pristine: Wire::take(from)?, last: Wire::take(from)? })
    }
}

impl Wire for Refusal {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        match self {
            Self::WrongCluster => 0u8.put(to),
            Self::WrongNode { found } => {
                1u8.put(to);
                found.put(to);
            }
            Self::WrongIncarnation => 2u8.put(to),
            Self::UnknownIncarnation => 3u8.put(to),
            Self::SameNode => 4u8.put(to),
            Self::NotLeader { leader } => {
                5u8.put(to);
                leader.put(to);
            }
            Self::Overloaded => 6u8.put(to),
            Self::Stopped => 7u8.put(to),
            Self::Unreadable { reason } => {
                8u8.put(to);
                reason.put(to);
            }
            Self::Failed { reason } => {
                9u8.put(to);
                reason.put(to);
            }
            Self::OutOfTurn => 10u8.put(to),
            Self::Repeated => 11u8.put(to),
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::take(from)? {
            0 => Self::WrongCluster,
            1 => Self::WrongNode { found: Wire::take(from)? },
            2 => Self::WrongIncarnation,
            3 => Self::UnknownIncarnation,
            4 => Self::SameNode,
            5 => Self::NotLeader { leader: Wire::take(from)? },
            6 => Self::Overloaded,
            7 => Self::Stopped,
            8 => Self::Unreadable { reason: Wire::take(from)? },
            9 => Self::Failed { reason: Wire::take(from)? },
            10 => Self::OutOfTurn,
            11 => Self::Repeated,
            found => return Err(WireError::UnknownTag { what: "refusal", found }),
        })
    }
}

impl Wire for AppendAnswer {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        match self {
            Self::Success => 0u8.put(to),
            Self::Partial(last) => {
                1u8.put(to);
                last.put(to);
            }
            Self::Conflict => 2u8.put(to),
            Self::HigherVote(vote) => {
                3u8.put(to);
                vote.put(to);
            }
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::take(from)? {
            0 => Self::Success,
            1 => Self::Partial(Wire::take(from)?),
            2 => Self::Conflict,
            3 => Self::HigherVote(Wire::take(from)?),
            found => return Err(WireError::UnknownTag { what: "answer to entries", found }),
        })
    }
}

impl Wire for VoteAnswer {
    const BYTES_MIN: usize = Vote::BYTES_MIN + 2;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.vote.put(to);
        self.granted.put(to);
        self.last.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { vote: Wire::take(from)?, granted: Wire::take(from)?, last: Wire::take(from)? })
    }
}

impl Wire for TransferAnswer {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        match self {
            Self::Accepted => 0u8.put(to),
            Self::VoteChanged { expected, actual } => {
                1u8.put(to);
                expected.put(to);
                actual.put(to);
            }
            Self::LogNotFlushed { expected, actual } => {
                2u8.put(to);
                expected.put(to);
                actual.put(to);
            }
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::take(from)? {
            0 => Self::Accepted,
            1 => Self::VoteChanged { expected: Wire::take(from)?, actual: Wire::take(from)? },
            2 => Self::LogNotFlushed { expected: Wire::take(from)?, actual: Wire::take(from)? },
            found => return Err(WireError::UnknownTag { what: "answer to a transfer", found }),
        })
    }
}

impl Wire for OfferAnswer {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        match self {
            Self::Has(parts) => {
                0u8.put(to);
                parts.put(to);
            }
            Self::HigherVote(vote) => {
                1u8.put(to);
                vote.put(to);
            }
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::take(from)? {
            0 => Self::Has(Wire::take(from)?),
            1 => Self::HigherVote(Wire::take(from)?),
            found => return Err(WireError::UnknownTag { what: "answer to an offer", found }),
        })
    }
}

impl Wire for ChunkAnswer {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        match self {
            Self::Stored => 0u8.put(to),
            Self::UnknownTransfer => 1u8.put(to),
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::take(from)? {
            0 => Self::Stored,
            1 => Self::UnknownTransfer,
            found => return Err(WireError::UnknownTag { what: "answer to a chunk", found }),
        })
    }
}

impl Wire for FinishAnswer {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        match self {
            Self::Done(vote) => {
                0u8.put(to);
                vote.put(to);
            }
            Self::UnknownTransfer => 1u8.put(to),
            Self::Damaged => 2u8.put(to),
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::take(from)? {
            0 => Self::Done(Wire::take(from)?),
            1 => Self::UnknownTransfer,
            2 => Self::Damaged,
            found => return Err(WireError::UnknownTag { what: "answer to a snapshot", found }),
        })
    }
}

/// Tag of a refusal, which answers any request.
const REFUSED: u8 = 0;

impl Response {
    const fn tag(&self) -> u8 {
        match self {
            Self::Refused(_) => REFUSED,
            Self::Hello(_) => tag::HELLO,
            Self::AppendEntries(_) => tag::APPEND_ENTRIES,
            Self::Vote(_) => tag::VOTE,
            Self::PreVote(_) => tag::PRE_VOTE,
            Self::TransferLeader(_) => tag::TRANSFER_LEADER,
            Self::SnapshotOffer(_) => tag::SNAPSHOT_OFFER,
            Self::SnapshotChunk(_) => tag::SNAPSHOT_CHUNK,
            Self::SnapshotFinish(_) => tag::SNAPSHOT_FINISH,
            Self::Write(_) => tag::WRITE,
            Self::ReadIndex(_) => tag::READ_INDEX,
            Self::Digest(_) => tag::DIGEST,
        }
    }

    fn put<S: Sink>(&self, to: &mut S) {
        match self {
            Self::Refused(refusal) => refusal.put(to),
            Self::Hello(greeting) => greeting.put(to),
            Self::AppendEntries(answer) => answer.put(to),
            Self::Vote(answer) | Self::PreVote(answer) => answer.put(to),
            Self::TransferLeader(answer) => answer.put(to),
            Self::SnapshotOffer(answer) => answer.put(to),
            Self::SnapshotChunk(answer) => answer.put(to),
            Self::SnapshotFinish(answer) => answer.put(to),
            Self::Write(results) => results.put(to),
            Self::ReadIndex(id) => id.put(to),
            Self::Digest(digest) => digest.put(to),
        }
    }

    fn take(tag: u8, from: &mut Reader) -> Result<Self, WireError> {
        Ok(match tag {
            REFUSED => Self::Refused(Wire::take(from)?),
            tag::HELLO => Self::Hello(Wire::take(from)?),
            tag::APPEND_ENTRIES => Self::AppendEntries(Wire::take(from)?),
            tag::VOTE => Self::Vote(Wire::take(from)?),
            tag::PRE_VOTE => Self::PreVote(Wire::take(from)?),
            tag::TRANSFER_LEADER => Self::TransferLeader(Wire::take(from)?),
            tag::SNAPSHOT_OFFER => Self::SnapshotOffer(Wire::take(from)?),
            tag::SNAPSHOT_CHUNK => Self::SnapshotChunk(Wire::take(from)?),
            tag::SNAPSHOT_FINISH => Self::SnapshotFinish(Wire::take(from)?),
            tag::WRITE => Self::Write(from.list(WRITE_COMMANDS_MAX)?),
            tag::READ_INDEX => Self::ReadIndex(Wire::take(from)?),
            tag::DIGEST => Self::Digest(Wire::take(from)?),
            found => return Err(WireError::UnknownTag { what: "response", found }),
        })
    }

    /// The answer to `request`, in one buffer of exactly its length.
    #[must_use]
    pub fn encode(&self, from: &Identity, request: &Bytes) -> Bytes {
        struct Whole<'a>(&'a Identity, u32, &'a Response);
        impl Message for Whole<'_> {
            fn write<S: Sink>(&self, to: &mut S) {
                self.2.tag().put(to);
                self.0.put(to);
                self.1.put(to);
                self.2.put(to);
            }
        }
        envelope::seal(&Whole(from, envelope::checksum_of(request), self))
    }

    /// What [`Self::encode`] wrote in answer to `request`, and who did.
    ///
    /// # Errors
    /// Why the bytes are not an answer, or not the answer to this.
    pub fn decode(sealed: &Bytes, request: &Bytes) -> Result<(Identity, Self), WireError> {
        let mut from = envelope::open(sealed)?;
        let tag = u8::take(&mut from)?;
        let sender = Identity::take(&mut from)?;
        if u32::take(&mut from)? != envelope::checksum_of(request) {
            return Err(WireError::OtherRequest);
        }
        let response = Self::take(tag, &mut from)?;
        from.finish()?;
        Ok((sender, response))
    }
}
