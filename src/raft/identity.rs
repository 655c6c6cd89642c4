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
