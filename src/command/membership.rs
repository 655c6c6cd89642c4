//! Who votes and who is replicated to, as a membership entry of the log says it.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{NodeId, RandomId};

/// How a member is reached, and which directory it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// What the network understands; empty for a store that nobody talks to.
    pub address: String,
    /// The directory that the member had when it joined: another one that comes back under its id
    /// is not it. `None` in a store that never was part of a cluster.
    pub incarnation: Option<RandomId>,
}

impl Peer {
    /// A member at this address, of whose directory nothing is known.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: address.into(), incarnation: None }
    }
}

/// The members of a cluster at one point of the log.
///
/// Invariants, checked when it is made: there is at least one set of voters, no set is empty, and
/// every voter is among the nodes. During a change of members there are two sets, and a decision
/// needs a majority of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Sets of voters; two while one replaces the other.
    configs: Vec<BTreeSet<NodeId>>,
    /// Every voter and learner.
    nodes: BTreeMap<NodeId, Peer>,
}

impl Membership {
    /// A membership of these voters, where whoever is in `nodes` and in no set of voters is a
    /// learner.
    ///
    /// # Errors
    ///
    /// Which invariant does not hold.
    pub fn new(
        configs: Vec<BTreeSet<NodeId>>,
        nodes: BTreeMap<NodeId, Peer>,
    ) -> Result<Self, MembershipError> {
        if configs.is_empty() || configs.iter().any(BTreeSet::is_empty) {
            return Err(MembershipError::NoVoters);
        }
        let mut voters = configs.iter().flatten();
        if let Some(&voter) = voters.find(|voter| !nodes.contains_key(voter)) {
            return Err(MembershipError::VoterWithoutAddress { voter });
        }
        Ok(Self { configs, nodes })
    }

    /// One voter and nobody else, without an address: a store that nobody else talks to.
    #[must_use]
    pub fn single(node: NodeId) -> Self {
        Self {
            configs: vec![BTreeSet::from([node])],
            nodes: BTreeMap::from([(node, Peer::default())]),
        }
    }

    /// The sets of voters: one, or two while one replaces the other.
    #[must_use]
    pub fn configs(&self) -> &[BTreeSet<NodeId>] {
        &self.configs
    }

    /// Every member, learners included.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, Peer> {
        &self.nodes
    }

    /// Whether the directory of any member is known.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.nodes.values().any(|peer| peer.incarnation.is_some())
    }

    /// Everyone who votes in any set.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.configs.iter().flatten().copied().collect()
    }

    /// Whether `node` alone decides: it is the one voter of every set. There may be learners.
    #[must_use]
    pub fn is_only(&self, node: NodeId) -> bool {
        self.configs.iter().flatten().all(|&voter| voter == node)
    }
}

/// A membership that breaks an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Name at least one voter in each set.
    #[error("a set of voters is empty, expected at least one voter: name one")]
    NoVoters,
    /// Give the address of every voter.
    #[error("voter {voter} has no address: add it to the nodes")]
    VoterWithoutAddress {
        /// The voter.
        voter: NodeId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ids: &[u64]) -> BTreeMap<NodeId, Peer> {
        ids.iter().map(|&id| (NodeId(id), Peer::at(format!("host{id}:1")))).collect()
    }

    fn voters(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_single_voter_decides_alone() {
        let membership = Membership::single(NodeId(7));
        assert!(membership.is_only(NodeId(7)));
        assert!(!membership.is_only(NodeId(8)));
        assert_eq!(membership.voters(), voters(&[7]));
        let same = Membership::new(membership.configs().to_vec(), membership.nodes().clone());
        assert_eq!(same, Ok(membership));
    }

    #[test]
    fn a_joint_membership_has_the_voters_of_both_sets() {
        let membership =
            Membership::new(vec![voters(&[1]), voters(&[1, 2])], addresses(&[1, 2, 3])).unwrap();
        assert_eq!(membership.voters(), voters(&[1, 2]));
        assert!(!membership.is_only(NodeId(1)));
    }

    #[test]
    fn a_learner_does_not_take_part_in_deciding() {
        let membership = Membership::new(vec![voters(&[1])], addresses(&[1, 2])).unwrap();
        assert!(membership.is_only(NodeId(1)));
    }

    #[test]
    fn nobody_to_vote_is_refused() {
        assert_eq!(Membership::new(vec![], addresses(&[1])), Err(MembershipError::NoVoters));
        assert_eq!(
            Membership::new(vec![voters(&[1]), voters(&[])], addresses(&[1])),
            Err(MembershipError::NoVoters)
        );
    }

    #[test]
    fn a_voter_without_address_is_refused() {
        assert_eq!(
            Membership::new(vec![voters(&[1, 2])], addresses(&[1])),
            Err(MembershipError::VoterWithoutAddress { voter: NodeId(2) })
        );
    }
}
