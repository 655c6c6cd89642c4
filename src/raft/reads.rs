//! How reads become linearizable: by asking the leader what is committed, once for everybody who
//! waits, and waiting until that is applied here.
//!
//! A round that begins after a read came counts for it. So all who come while one round is under
//! way share the next, and a thousand readers cost one message to each voter.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::mpsc;

use super::node::Node;
use super::read_gate::{Asking, Freshness};
use crate::error::{Error, Result};
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
        loop {
            // Who was not answered in the round before shares this one with those who came since.
            let is_waiting = !asking.is_empty();
            while let Ok(came) = self.0.try_recv() {
                asking.push(came);
                if asking.len() >= ROUND_READERS_MAX {
                    break;
                }
            }
            if !is_waiting
                && asking.is_empty()
                && self.0.recv_many(&mut asking, ROUND_READERS_MAX).await == 0
            {
                return;
            }
            let Some(node) = node.upgrade() else { return };
            // Those who need a quorum are not kept from it by those who do not, and the other way
            // round.
            let (quorum, lease): (Vec<_>, Vec<_>) =
                asking.drain(..).partition(|asking| asking.freshness == Freshness::Quorum);
            let (left, mut more) = tokio::join!(
                round(&node, Freshness::Lease, lease),
                round(&node, Freshness::Quorum, quorum)
            );
            asking = left;
            asking.append(&mut more);
        }
    }
}

/// Asks for all of them at once, until the first has waited long enough. Gives back who has not.
async fn round(node: &Node, freshness: Freshness, asking: Vec<Asking>) -> Vec<Asking> {
    let Some(deadline) = earliest(&asking) else { return asking };
    match node.read_index(freshness, deadline).await {
        Ok(index) if node.applied() >= Some(index) => answer(asking, &Ok(())),
        // Whoever comes meanwhile does not wait for this.
        Ok(index) => drop(tokio::spawn(wait(node.this(), index, asking))),
        Err(error) => return give_up(asking, deadline, &error),
    }
    Vec::new()
}

async fn wait(node: Weak<Node>, index: LogIndex, mut asking: Vec<Asking>) {
    while let Some(deadline) = earliest(&asking) {
        let Some(node) = node.upgrade() else { return };
        match node.wait_applied(index, deadline).await {
            Ok(()) => return answer(asking, &Ok(())),
            Err(error) => asking = give_up(asking, deadline, &error),
        }
    }
}

fn earliest(asking: &[Asking]) -> Option<Duration> {
    asking.iter().map(|asking| asking.deadline).min()
}

/// Tells an error to those whom it concerns: what was not to be had by a deadline to those whose
/// deadline it is, any other to all. Gives back the others.
fn give_up(asking: Vec<Asking>, deadline: Duration, error: &Error) -> Vec<Asking> {
    let is_late = matches!(error, Error::Unavailable(_));
    let (left, told) = asking.into_iter().partition(|asking| is_late && asking.deadline > deadline);
    answer(told, &Err(error.clone()));
    left
}

fn answer(asking: Vec<Asking>, result: &Result<()>) {
    for asking in asking {
        // Whoever gave up meanwhile needs no answer.
        drop(asking.reply.send(result.clone()));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn who_has_waited_long_enough_is_told_and_the_others_wait_on() {
        let asking = |deadline| {
            let (reply, answer) = oneshot::channel();
            let deadline = Duration::from_secs(deadline);
            (Asking { freshness: Freshness::Quorum, deadline, reply }, answer)
        };
        let ((first, mut told), (second, mut waits)) = (asking(1), asking(2));
        let both = vec![first, second];
        assert_eq!(earliest(&both), Some(Duration::from_secs(1)));
        let late = Error::Unavailable("no leader".to_owned());
        let left = give_up(both, Duration::from_secs(1), &late);
        assert_eq!(left.len(), 1);
        assert!(matches!(told.try_recv(), Ok(Err(Error::Unavailable(_)))));
        assert!(waits.try_recv().is_err());
        assert!(give_up(left, Duration::from_secs(1), &Error::Closed("closed")).is_empty());
        assert!(matches!(waits.try_recv(), Ok(Err(Error::Closed(_)))));
    }
}
