//! Which requests a directory answers at all.

use super::wire::envelope::Envelope;
use super::wire::request::Request;
use super::wire::response::Refusal;
use crate::command::membership::Membership;
use crate::storage::identity::Identity;

/// What a node knows of itself when a request arrives.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'a> {
    /// Its directory.
    pub identity: &'a Identity,
    /// The members that it knows; `None` before the first membership.
    pub members: Option<&'a Membership>,
    /// Whether its directory is new: no entry, no vote, no manifest.
    pub pristine: bool,
}

/// Whether a request is answered. Decided before anything else looks at it, so that a wiped or
/// copied directory never takes part in an election, and never counts for a quorum.
///
/// | what | answered |
/// |---|---|
/// | `Hello`, within the cluster or to a new directory | yes, whoever was meant |
/// | from another cluster | `WrongCluster` |
/// | for another node | `WrongNode` |
/// | for another directory of this node | `WrongIncarnation` |
/// | from this node, which sends itself nothing | `SameNode` |
/// | from a member that joined with another directory | `UnknownIncarnation` |
/// | from a member whose directory is as known, or not known, or from one not known at all | yes |
///
/// A sender that is not among the members is answered because a new learner does not know anybody,
/// and one that lags may not know its leader: what such a sender may do is Raft's to say.
///
/// # Errors
/// Why it is not.
pub fn admit(own: Receiver<'_>, envelope: &Envelope, request: &Request) -> Result<(), Refusal> {
    let Envelope { from, to } = envelope;
    let same_cluster = from.cluster == own.identity.cluster;
    if *request == Request::Hello && (same_cluster || own.pristine) {
        return Ok(());
    }
    if !same_cluster {
        return Err(Refusal::WrongCluster);
    }
    if to.node != own.identity.node {
        return Err(Refusal::WrongNode { found: own.identity.node });
    }
    if to.incarnation.is_some_and(|meant| meant != own.identity.incarnation) {
        return Err(Refusal::WrongIncarnation);
    }
    if from.node == own.identity.node {
        return Err(Refusal::SameNode);
    }
    let peer = own.members.and_then(|members| members.nodes().get(&from.node));
    match peer.and_then(|peer| peer.incarnation) {
        Some(joined) if joined != from.incarnation => Err(Refusal::UnknownIncarnation),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::membership::Peer;
    use crate::raft::wire::envelope::Addressee;
    use crate::types::{NodeId, RandomId};

    fn identity(cluster: u8, node: u64, incarnation: u8) -> Identity {
        Identity {
            cluster: RandomId([cluster; 16]),
            node: NodeId(node),
            incarnation: RandomId([incarnation; 16]),
        }
    }

    /// Node 1 with directory 10, and node 2 with directory 20; of node 3 no directory is known.
    fn members() -> Membership {
        let peer = |incarnation: Option<u8>| Peer {
            address: "a:1".to_owned(),
            incarnation: incarnation.map(|byte| RandomId([byte; 16])),
        };
        let nodes = [(1, Some(10)), (2, Some(20)), (3, None)];
        let nodes = nodes.map(|(id, incarnation)| (NodeId(id), peer(incarnation))).into();
        Membership::new(vec![[NodeId(1), NodeId(2), NodeId(3)].into()], nodes).unwrap()
    }

    /// What node 1 with directory 10 of cluster 7 says to a request for (node, directory).
    fn answer(from: Identity, to: (u64, Option<u8>), request: &Request) -> Result<(), Refusal> {
        let (own, members) = (identity(7, 1, 10), members());
        let to =
            Addressee { node: NodeId(to.0), incarnation: to.1.map(|byte| RandomId([byte; 16])) };
        let own = Receiver { identity: &own, members: Some(&members), pristine: false };
        admit(own, &Envelope { from, to }, request)
    }

    const ME: (u64, Option<u8>) = (1, Some(10));
    const READ: Request = Request::ReadIndex { lease: false };

    #[test]
    fn a_member_with_its_directory_is_answered() {
        assert_eq!(answer(identity(7, 2, 20), ME, &READ), Ok(()));
        assert_eq!(answer(identity(7, 2, 20), (1, None), &READ), Ok(()));
    }

    #[test]
    fn a_member_of_unknown_directory_and_a_stranger_of_the_cluster_are_answered() {
        assert_eq!(answer(identity(7, 3, 99), ME, &READ), Ok(()));
        assert_eq!(answer(identity(7, 4, 99), ME, &READ), Ok(()));
    }

    #[test]
    fn another_cluster_is_refused_whatever_it_asks() {
        for request in [Request::Hello, READ] {
            let refused = answer(identity(8, 2, 20), ME, &request);
            assert_eq!(refused, Err(Refusal::WrongCluster));
        }
    }

    #[test]
    fn a_request_for_another_node_is_refused() {
        let refused = answer(identity(7, 2, 20), (3, None), &READ);
        assert_eq!(refused, Err(Refusal::WrongNode { found: NodeId(1) }));
    }

    #[test]
    fn a_request_for_another_directory_is_refused() {
        let refused = answer(identity(7, 2, 20), (1, Some(11)), &READ);
        assert_eq!(refused, Err(Refusal::WrongIncarnation));
    }

    #[test]
    fn a_member_with_another_directory_is_refused() {
        let refused = answer(identity(7, 2, 21), ME, &READ);
        assert_eq!(refused, Err(Refusal::UnknownIncarnation));
    }

    #[test]
    fn a_copy_of_the_own_directory_is_refused() {
        let refused = answer(identity(7, 1, 10), ME, &READ);
        assert_eq!(refused, Err(Refusal::SameNode));
    }

    #[test]
    fn hello_is_answered_within_the_cluster_whoever_was_meant() {
        for to in [ME, (1, Some(11)), (3, None)] {
            assert_eq!(answer(identity(7, 2, 21), to, &Request::Hello), Ok(()));
        }
    }

    #[test]
    fn a_new_directory_answers_hello_to_anybody_and_nothing_else_to_another_cluster() {
        let identity_of_new = identity(9, 5, 50);
        let own = Receiver { identity: &identity_of_new, members: None, pristine: true };
        let to = Addressee { node: NodeId(5), incarnation: None };
        let envelope = Envelope { from: identity(7, 2, 20), to };
        assert_eq!(admit(own, &envelope, &Request::Hello), Ok(()));
        assert_eq!(admit(own, &envelope, &READ), Err(Refusal::WrongCluster));
        let envelope = Envelope { from: identity(9, 2, 20), to };
        assert_eq!(admit(own, &envelope, &READ), Ok(()));
    }
}
