//! How a read becomes linearizable: by asking the leader what is committed, once for everybody who
//! waits, and waiting until that is applied here.
//!
//! A round that begins after a read came counts for it. So all who come while one round is under
//! way share the next, and a thousand readers cost one message to each voter.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::node::Node;
use crate::error::{Error, Result};
use crate::types::LogIndex;

/// Most readers of one round.
const ROUND_READERS_MAX: usize = 4096;

/// What a read asks of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Freshness {
    /// That it led a short while ago, by the clocks.
    Lease,
    /// That it leads now: a quorum says so.
    Quorum,
}

struct Asking {
    freshness: Freshness,
    deadline: Instant,
    reply: oneshot::Sender<Result<()>>,
}

/// Where readers wait for a round.
#[derive(Clone, Debug)]
pub(crate) struct ReadGate(mpsc::UnboundedSender<Asking>);

impl ReadGate {
    /// The gate, and what runs its rounds until the node goes away.
    pub(crate) fn new() -> (Self, Rounds) {
        let (send, receive) = mpsc::unbounded_channel();
        (Self(send), Rounds(receive))
    }

    /// Returns when everything that was acknowledged before the call is applied here.
    ///
    /// # Errors
    /// `Unavailable` when no leader could be asked before the deadline; `Closed`.
    pub(crate) async fn pass(&self, freshness: Freshness, time: Duration) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + time;
        let closed = || Error::Closed("closed");
        self.0.send(Asking { freshness, deadline, reply }).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

/// The rounds of a gate.
pub(crate) struct Rounds(mpsc::UnboundedReceiver<Asking>);

impl Rounds {
    /// Runs until nobody can ask any more.
    pub(crate) async fn run(mut self, node: Weak<Node>) {
        let mut asking = Vec::new();
        while self.0.recv_many(&mut asking, ROUND_READERS_MAX).await > 0 {
            let Some(node) = node.upgrade() else { return };
            // Those who need a quorum are not kept from it by those who do not, and the other way
            // round.
            let (quorum, lease): (Vec<_>, Vec<_>) =
                asking.drain(..).partition(|asking| asking.freshness == Freshness::Quorum);
            for (freshness, asking) in [(Freshness::Lease, lease), (Freshness::Quorum, quorum)] {
                let Some(deadline) = asking.iter().map(|asking| asking.deadline).max() else {
                    continue;
                };
                match node.read_index(freshness, deadline).await {
                    Ok(index) if node.applied() >= Some(index) => answer(asking, &Ok(())),
                    // Whoever comes meanwhile does not wait for this.
                    Ok(index) => drop(tokio::spawn(wait(Weak::clone(&node.this()), index, asking))),
                    Err(error) => answer(asking, &Err(error)),
                }
            }
        }
    }
}

async fn wait(node: Weak<Node>, index: LogIndex, asking: Vec<Asking>) {
    let Some(node) = node.upgrade() else { return };
    let Some(deadline) = asking.iter().map(|asking| asking.deadline).max() else { return };
    answer(asking, &node.wait_applied(index, deadline).await);
}

fn answer(asking: Vec<Asking>, result: &Result<()>) {
    for asking in asking {
        // Whoever gave up meanwhile needs no answer.
        drop(asking.reply.send(result.clone()));
    }
}

/// What `future` gives before the deadline.
///
/// # Errors
/// `Unavailable` with `what` could not be had.
pub(crate) async fn before<F: Future>(
    deadline: Instant,
    what: &str,
    future: F,
) -> Result<F::Output> {
    timeout_at(deadline, future)
        .await
        .map_err(|_| Error::Unavailable(format!("{what} before the deadline")))
}
