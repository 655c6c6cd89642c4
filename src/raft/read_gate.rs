//! Where reads wait until they are linearizable.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};

/// What a read asks of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Freshness {
    /// That it led a short while ago, by the clocks.
    Lease,
    /// That it leads now: a quorum says so.
    Quorum,
}

/// A read that waits.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(super) freshness: Freshness,
    /// By the clock's elapsed time.
    pub(super) deadline: Duration,
    pub(super) reply: oneshot::Sender<Result<()>>,
}

/// Where readers wait for a round.
#[derive(Clone, Debug)]
pub(crate) struct ReadGate(mpsc::UnboundedSender<Asking>);

impl ReadGate {
    /// The gate, and where its rounds take the readers from.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Asking>) {
        let (send, receive) = mpsc::unbounded_channel();
        (Self(send), receive)
    }

    /// Returns when everything that was acknowledged before the call is applied here. `deadline` is
    /// one of the node's clock, by elapsed time.
    ///
    /// # Errors
    /// `Unavailable` when no leader could be asked before the deadline; `Closed`.
    pub(crate) async fn pass(&self, freshness: Freshness, deadline: Duration) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let closed = || Error::Closed("closed");
        self.0.send(Asking { freshness, deadline, reply }).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}
