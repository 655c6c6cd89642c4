//! How reads become linearizable: by asking the leader what is committed, once for everybody who
//! waits, and waiting until that is applied here.
//!
//! A round that begins after a read came counts for it. So all who come while one round is under
//! way share the next, and a thousand readers cost one message to each voter.

use std::sync::Weak;

use tokio::sync::mpsc;

use super::node::Node;
use super::read_gate::{Asking, Freshness};
use crate::error::Result;
use crate::types::LogIndex;

/// Most readers of one round.
const ROUND_READERS_MAX: usize = 4096;

/// The rounds of a gate.
pub(crate) struct Rounds(mpsc::UnboundedReceiver<Asking>);

impl Rounds {
    pub(crate) const fn new(asking: mpsc::UnboundedReceiver<Asking>) -> Self {
        Self(asking)
    }

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
