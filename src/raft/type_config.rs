//! What openraft is told about our types, and the way from its types to ours and back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::responder::Responder;
use openraft::type_config::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, VoteOf};
use openraft::{EntryPayload, RaftTypeConfig};

use crate::command::Command;
use crate::command::codec::{self, DecodeError};
use crate::command::limits::ENTRY_BYTES_HARD_MAX;
use crate::command::membership::{Membership, MembershipError, Peer};
use crate::state::Applied;
use crate::storage::log_entry::{Entry, EntryKind, EntryRef};
use crate::types::{LogId, LogIndex, NodeId, Term, Timestamp, Vote};

/// The types that openraft works with here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Answer;
    type NodeId = u64;
    type Node = Peer;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Self::D, Self::NodeId, Self::Node>;
    type Entry = openraft::impls::Entry<CommittedLeaderIdOf<Self>, Self::Payload>;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = Tell<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Whoever waits for an answer of openraft's: called once, on the task that has it.
pub struct Tell<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Tell<T> {
    /// `tell` must be quick and must not wait: the state machine does meanwhile.
    pub fn new(tell: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(tell))
    }
}

impl<T: Send + 'static> Responder<TypeConfig, T> for Tell<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

impl<T> fmt::Debug for Tell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tell").finish_non_exhaustive()
    }
}

/// openraft's membership over our members.
pub type RaftMembership = openraft::Membership<u64, Peer>;

/// A command on its way through the log, encoded once. A clone is a pointer.
#[derive(Clone)]
pub struct Proposal(Arc<Proposed>);

struct Proposed {
    clock: Timestamp,
    command: Command,
    /// The payload up to the value of a `Set`.
    head: Bytes,
}

impl Proposal {
    /// A command that was validated, stamped by whoever proposes it.
    ///
    /// # Panics
    /// On a batch within a batch, which validation refuses.
    #[must_use]
    pub fn new(clock: Timestamp, command: Command) -> Self {
        let head = Bytes::from(codec::encode_head(&command));
        Self(Arc::new(Proposed { clock, command, head }))
    }

    /// A command as it stands in a log or in a message. Shares the payload's buffer.
    ///
    /// # Errors
    /// Why the payload is not a command.
    pub fn decode(clock: Timestamp, payload: &Bytes) -> Result<Self, DecodeError> {
        let command = codec::decode(payload, ENTRY_BYTES_HARD_MAX)?;
        let head = payload.slice(..payload.len() - codec::body_of(&command).len());
        Ok(Self(Arc::new(Proposed { clock, command, head })))
    }

    /// The proposer's clock.
    #[must_use]
    pub fn clock(&self) -> Timestamp {
        self.0.clock
    }

    /// The command.
    #[must_use]
    pub fn command(&self) -> &Command {
        &self.0.command
    }

    /// The payload, in two parts.
    #[must_use]
    pub fn payload(&self) -> [&[u8]; 2] {
        [&self.0.head, codec::body_of(&self.0.command)]
    }

    /// Length of the payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let [head, body] = self.payload();
        head.len() + body.len()
    }

    /// The command, without a copy where nobody else holds it.
    #[must_use]
    pub fn into_command(self) -> Command {
        match Arc::try_unwrap(self.0) {
            Ok(proposed) => proposed.command,
            Err(shared) => shared.command.clone(),
        }
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.command.fmt(f)
    }
}

impl fmt::Display for Proposal {
    /// How long it is: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.bytes())
    }
}

/// What applying an entry gave: `None` for a blank entry and for a membership.
#[derive(Clone, Debug, Default)]
pub struct Answer(pub Option<Applied>);

/// An entry of openraft's with our names for its parts.
pub(crate) struct EntryParts<'a> {
    pub(crate) id: LogId,
    pub(crate) clock: Timestamp,
    pub(crate) kind: EntryKind,
    /// The encoding of a membership, which nobody holds.
    pub(crate) own: Vec<u8>,
    pub(crate) payload: [&'a [u8]; 2],
}

impl EntryParts<'_> {
    pub(crate) fn as_ref(&self) -> EntryRef<'_> {
        let payload =
            if self.kind == EntryKind::Membership { [&*self.own, &[]] } else { self.payload };
        EntryRef { id: self.id, clock: self.clock, kind: self.kind, payload }
    }
}

/// What the log is given for an entry. Entries without a command have no clock of their own: the
/// stamp of the one before holds on.
///
/// # Errors
/// A membership that ours cannot express: one without voters.
pub(crate) fn parts_of(entry: &EntryOf<TypeConfig>) -> Result<EntryParts<'_>, MembershipError> {
    let id = log_id_of(&entry.log_id());
    let (mut clock, mut own, mut payload) = (Timestamp(0), Vec::new(), [&[][..], &[]]);
    let kind = match &entry.payload {
        EntryPayload::Blank => EntryKind::Blank,
        EntryPayload::Normal(proposal) => {
            clock = proposal.clock();
            payload = proposal.payload();
            EntryKind::Normal
        }
        EntryPayload::Membership(membership) => {
            own = codec::encode_membership(&membership_of(membership)?);
            EntryKind::Membership
        }
    };
    Ok(EntryParts { id, clock, kind, own, payload })
}

/// What openraft is given for an entry of the log, or of a message.
///
/// # Errors
/// Why its payload is not what it says.
pub(crate) fn entry_of(entry: &Entry) -> Result<EntryOf<TypeConfig>, DecodeError> {
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Normal => EntryPayload::Normal(Proposal::decode(entry.clock, &entry.payload)?),
        EntryKind::Membership => {
            let membership = codec::decode_membership(&entry.payload)?;
            EntryPayload::Membership(raft_membership_of(&membership))
        }
    };
    Ok(EntryOf::<TypeConfig> { log_id: raft_log_id_of(entry.id), payload })
}

/// Our name for an entry.
#[must_use]
pub fn log_id_of(id: &LogIdOf<TypeConfig>) -> LogId {
    LogId {
        term: Term(id.leader_id.term),
        leader: NodeId(id.leader_id.node_id),
        index: LogIndex(id.index),
    }
}

/// openraft's name for an entry.
#[must_use]
pub fn raft_log_id_of(id: LogId) -> LogIdOf<TypeConfig> {
    let leader_id = LeaderId { term: id.term.0, node_id: id.leader.0 };
    LogIdOf::<TypeConfig> { leader_id, index: id.index.0 }
}

/// Our vote.
#[must_use]
pub fn vote_of(vote: &VoteOf<TypeConfig>) -> Vote {
    Vote {
        term: Term(vote.leader_id.term),
        node: NodeId(vote.leader_id.node_id),
        committed: vote.committed,
    }
}

/// openraft's vote.
#[must_use]
pub fn raft_vote_of(vote: Vote) -> VoteOf<TypeConfig> {
    let leader_id = LeaderId { term: vote.term.0, node_id: vote.node.0 };
    VoteOf::<TypeConfig> { leader_id, committed: vote.committed }
}

/// Our membership.
///
/// # Errors
/// One without voters.
pub fn membership_of(membership: &RaftMembership) -> Result<Membership, MembershipError> {
    let joint = membership.get_joint_config().iter();
    let configs = joint.map(|config| config.iter().copied().map(NodeId).collect()).collect();
    let nodes = membership.nodes().map(|(&id, peer)| (NodeId(id), peer.clone())).collect();
    Membership::new(configs, nodes)
}

/// openraft's membership.
#[must_use]
pub fn raft_membership_of(membership: &Membership) -> RaftMembership {
    let configs =
        membership.configs().iter().map(|config| config.iter().map(|id| id.0).collect()).collect();
    let nodes: BTreeMap<u64, Peer> =
        membership.nodes().iter().map(|(id, peer)| (id.0, peer.clone())).collect();
    let Ok(membership) = RaftMembership::new(configs, nodes) else {
        unreachable!("every voter of a membership is among its nodes")
    };
    membership
}
