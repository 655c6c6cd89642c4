//! What a node asks other nodes by itself: openraft's own questions go through
//! [`NetworkFactory`] as well, and not through here.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::network::{CallError, Connection, NetworkFactory};
use super::read_gate::Freshness;
use super::type_config::Proposal;
use super::wire::response::{Refusal, WriteFailure};
use crate::command::membership::{Membership, Peer};
use crate::error::{Error, Result};
use crate::state::{ApplyOutcome, Durability};
use crate::storage::identity::Identity;
use crate::types::{LogIndex, NodeId};

/// Who the others are, and the way to them.
#[derive(Debug)]
pub(crate) struct Peers {
    identity: Identity,
    network: NetworkFactory,
    /// The newest membership in the log, committed or not.
    members: ArcSwapOption<Membership>,
}

/// What became of commands that were passed on.
#[derive(Debug)]
pub(crate) enum Forwarded {
    /// Nothing was appended: try again.
    NotAppended,
    /// Nobody knows.
    Unknown(String),
    /// One for each command.
    Answers(Vec<Result<ApplyOutcome>>),
}

impl Peers {
    pub(crate) fn new(identity: Identity, network: NetworkFactory) -> Self {
        Self { identity, network, members: ArcSwapOption::empty() }
    }

    /// The newest membership that this node knows.
    pub(crate) fn members(&self) -> Option<Arc<Membership>> {
        self.members.load_full()
    }

    pub(crate) fn set_members(&self, members: Membership) {
        self.network.set_members(&members);
        self.members.store(Some(Arc::new(members)));
    }

    /// The way to a member; `None` to somebody who is none.
    fn member(&self, id: NodeId) -> Option<Connection> {
        let members = self.members.load();
        let peer = members.as_ref()?.nodes().get(&id)?;
        Some(self.network.connect(id, peer))
    }

    /// Asks a node that is to join who it is.
    ///
    /// # Errors
    /// `Unavailable`: it does not answer. `IdentityMismatch`: it is another node, or of another
    /// cluster, or was a member of one before.
    pub(crate) async fn introduce(
        &self,
        id: NodeId,
        address: String,
        time: Duration,
    ) -> Result<Peer> {
        let own = self.identity;
        if id == own.node {
            return Ok(Peer { address, incarnation: Some(own.incarnation) });
        }
        let unknown = Peer::at(address);
        let asked = self.network.connect(id, &unknown).hello(time).await;
        let mismatch = |text: String| {
            Err(Error::IdentityMismatch(format!("{} for node {id}: {text}", unknown.address)))
        };
        match asked {
            Ok((found, _)) if found.node != id => mismatch(format!("node {} answers", found.node)),
            Ok((found, _)) if found.cluster != own.cluster => mismatch(format!(
                "it belongs to cluster {}, expected {}: create its directory for this cluster",
                found.cluster, own.cluster
            )),
            Ok((found, greeting)) => {
                let known = self.member_peer(id).and_then(|peer| peer.incarnation);
                if known.is_some_and(|known| known != found.incarnation) {
                    let text = "the member of this id has another directory: a new one joins under \
                                a new id";
                    return mismatch(text.to_owned());
                }
                if !greeting.pristine && known.is_none() {
                    return mismatch("its directory is not new: give it an empty one".to_owned());
                }
                Ok(Peer { incarnation: Some(found.incarnation), ..unknown })
            }
            Err(error) if error.is_identity() => mismatch(error.to_string()),
            Err(error) => {
                let address = &unknown.address;
                Err(Error::Unavailable(format!("node {id} at {address:?}: {error}")))
            }
        }
    }

    fn member_peer(&self, id: NodeId) -> Option<Peer> {
        self.members.load().as_ref()?.nodes().get(&id).cloned()
    }

    /// What the leader says must be applied before a read. `None` when it does not say.
    pub(crate) async fn read_index(
        &self,
        leader: NodeId,
        freshness: Freshness,
        time: Duration,
    ) -> Option<LogIndex> {
        let lease = freshness == Freshness::Lease;
        match self.member(leader)?.read_index(lease, time).await {
            Ok(upto) => Some(upto.map_or(LogIndex(0), |id| id.index)),
            Err(error) => {
                tracing::debug!(%leader, %error, "the leader does not say what is committed");
                None
            }
        }
    }

    /// Passes commands on to the leader, to be appended in this order.
    pub(crate) async fn write(
        &self,
        leader: NodeId,
        commands: &[Proposal],
        time: Duration,
    ) -> Forwarded {
        let Some(connection) = self.member(leader) else { return Forwarded::NotAppended };
        let payloads: Vec<Bytes> =
            commands.iter().map(|proposal| Bytes::from(proposal.payload().concat())).collect();
        let answers = match connection.write(payloads, time).await {
            Ok(answers) if answers.len() == commands.len() => answers,
            Ok(_) => return Forwarded::Unknown("the leader answered something else".to_owned()),
            Err(error) if surely_not_appended(&error) => return Forwarded::NotAppended,
            Err(error) => return Forwarded::Unknown(error.to_string()),
        };
        let outcomes = answers.into_iter().map(|answer| match answer {
            Ok(applied) => Ok(applied.with_durability(Durability::Synced)),
            Err(failure) => Err(error_of(failure)),
        });
        Forwarded::Answers(outcomes.collect())
    }

    /// The digest that a node has of the state at an index; `None` when it cannot tell.
    pub(crate) async fn digest(
        &self,
        id: NodeId,
        index: LogIndex,
        time: Duration,
    ) -> Option<[u8; 16]> {
        self.member(id)?.digest(index, time).await.ok()?
    }
}

/// Whether a request with commands did nothing and will not do anything. Of refusals only those
/// that the node gives which was asked, once the number has come to it: then it takes no copy of
/// the request any more. A copy that was damaged or led astray is refused before that, while the
/// other one may have been carried out.
const fn surely_not_appended(error: &CallError) -> bool {
    matches!(
        error,
        CallError::NotSent(_)
            | CallError::Unsendable(_)
            | CallError::Refused(Refusal::NotLeader { .. } | Refusal::Stopped)
    )
}

fn error_of(failure: WriteFailure) -> Error {
    match failure {
        WriteFailure::NotLeader { leader } => Error::NotLeader { leader },
        WriteFailure::Overloaded(text) => Error::Overloaded(text),
        WriteFailure::Invalid(text) => Error::Validation(text),
        WriteFailure::TooLarge { what, limit, got } => Error::TooLarge { what, limit, got },
        WriteFailure::NotApplied(text) => Error::Unavailable(text),
        WriteFailure::OutcomeUnknown(text) => Error::OutcomeUnknown { cause: text.as_str().into() },
        WriteFailure::SessionExpired => Error::SessionExpired,
    }
}

/// What another node is told of an error.
pub(crate) fn failure_of(error: Error) -> WriteFailure {
    match error {
        Error::NotLeader { leader } => WriteFailure::NotLeader { leader },
        Error::Overloaded(text) => WriteFailure::Overloaded(text),
        Error::Validation(text) => WriteFailure::Invalid(text),
        Error::TooLarge { what, limit, got } => WriteFailure::TooLarge { what, limit, got },
        Error::OutcomeUnknown { cause } => WriteFailure::OutcomeUnknown(cause.to_string()),
        Error::SessionExpired => WriteFailure::SessionExpired,
        // All others are found before anything is proposed.
        other => WriteFailure::NotApplied(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_before_its_number_was_looked_at_may_have_been_appended() {
        let refused = |refusal| surely_not_appended(&CallError::Refused(refusal));
        assert!(refused(Refusal::NotLeader { leader: None }) && refused(Refusal::Stopped));
        assert!(surely_not_appended(&CallError::NotSent(String::new())));
        for refusal in [
            Refusal::Unreadable { reason: String::new() },
            Refusal::WrongNode { found: NodeId(3) },
            Refusal::WrongCluster,
            Refusal::WrongIncarnation,
            Refusal::UnknownIncarnation,
            Refusal::SameNode,
            Refusal::Repeated,
        ] {
            assert!(!refused(refusal.clone()), "{refusal:?}");
        }
    }
}
