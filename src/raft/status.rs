//! What a node says about itself and its cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openraft::{RaftMetrics, ServerState};

use super::type_config::{TypeConfig, log_id_of};
use crate::types::{LogId, LogIndex, NodeId, Term};

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gets the log and does not vote.
    Learner,
    /// Votes and follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Decides what is appended.
    Leader,
    /// It has stopped.
    Stopped,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Stopped => "stopped",
        })
    }
}

/// A node as it sees itself and its cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// This node.
    pub node: NodeId,
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The last entry in its log.
    pub last: Option<LogIndex>,
    /// The last entry that it knows to be committed.
    pub committed: Option<LogIndex>,
    /// The last entry that it has applied.
    pub applied: Option<LogId>,
    /// Up to where a snapshot goes.
    pub snapshot: Option<LogIndex>,
    /// Up to where the log was purged.
    pub purged: Option<LogIndex>,
    /// Who votes; during a change of members everybody of both sets.
    pub voters: BTreeSet<NodeId>,
    /// Who gets the log and does not vote.
    pub learners: BTreeSet<NodeId>,
    /// Whether two sets of voters decide, because one replaces the other.
    pub is_joint: bool,
    /// On the leader: up to where each other member has the log.
    pub replication: BTreeMap<NodeId, Option<LogIndex>>,
    /// Why the node stopped, where it did.
    pub stopped: Option<String>,
}

impl ClusterStatus {
    pub(crate) fn of(metrics: &RaftMetrics<TypeConfig>) -> Self {
        let role = match metrics.state {
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Stopped,
        };
        let members = &metrics.membership_config;
        let index = |id: &Option<_>| id.as_ref().map(|id| log_id_of(id).index);
        let replication = metrics.replication.iter().flatten();
        Self {
            node: NodeId(metrics.id),
            role,
            term: Term(metrics.current_term),
            leader: metrics.current_leader.map(NodeId),
            last: metrics.last_log_index.map(LogIndex),
            committed: index(&metrics.local_committed),
            applied: metrics.last_applied.as_ref().map(log_id_of),
            snapshot: index(&metrics.snapshot),
            purged: index(&metrics.purged),
            voters: members.voter_ids().map(NodeId).collect(),
            learners: members.membership().learner_ids().map(NodeId).collect(),
            is_joint: members.get_joint_config().len() > 1,
            replication: replication
                .filter(|(id, _)| **id != metrics.id)
                .map(|(id, upto)| (NodeId(*id), index(upto)))
                .collect(),
            stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
        }
    }

    /// Whether this node leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}
