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
        while self.0.recv_many(&mut asking, ROUND_READERS_MAX).await > 0 {
            let Some(node) = node.upgrade() else { return };
            // Those who need a quorum are not kept from it by those who do not, and the other way
            // round.
            let (quorum, lease): (Vec<_>, Vec<_>) =
                asking.drain(..).partition(|asking| asking.freshness == Freshness::Quorum);
            tokio::join!(
                round(&node, Freshness::Lease, lease),
                round(&node, Freshness::Quorum, quorum)
            );
        }
    }
}

/// Asks for all of them at once. Whoever comes meanwhile has a later deadline than all of these.
async fn round(node: &Node, freshness: Freshness, asking: Vec<Asking>) {
    let Some(latest) = asking.iter().map(|asking| asking.deadline).max() else { return };
    let question = node.read_index(freshness, latest);
    match in_time(node, asking, "no leader could be asked", question).await {
        Some((asking, Ok(index))) if node.applied() >= Some(index) => answer(asking, &Ok(())),
        // Whoever comes meanwhile does not wait for this.
        Some((asking, Ok(index))) => drop(tokio::spawn(wait(node.this(), index, asking))),
        Some((asking, Err(error))) => answer(asking, &Err(error)),
        None => {}
    }
}

async fn wait(node: Weak<Node>, index: LogIndex, asking: Vec<Asking>) {
    let Some(node) = node.upgrade() else { return };
    let Some(latest) = asking.iter().map(|asking| asking.deadline).max() else { return };
    let what = format!("this node has not applied entry {index}");
    let applied = node.wait_applied(index, latest);
    if let Some((asking, applied)) = in_time(&node, asking, &what, applied).await {
        answer(asking, &applied);
    }
}

/// What `question` gives, and who still waits for it; `None` when nobody does. Each is told at his
/// own deadline, and the question goes on for the others: begun anew each time it might never end.
async fn in_time<T>(
    node: &Node,
    mut asking: Vec<Asking>,
    what: &str,
    question: impl Future<Output = T>,
) -> Option<(Vec<Asking>, T)> {
    let mut question = std::pin::pin!(question);
    loop {
        let earliest = asking.iter().map(|asking| asking.deadline).min()?;
        tokio::select! {
            biased;
            answer = &mut question => return Some((asking, answer)),
            () = tokio::time::sleep(node.until(earliest)) => {
                let now = node.deadline_in(Duration::ZERO).max(earliest);
                asking = tell_late(asking, now, what);
            }
        }
    }
}

/// Tells those whose deadline has come. Gives back the others.
fn tell_late(asking: Vec<Asking>, now: Duration, what: &str) -> Vec<Asking> {
    let (late, left) = asking.into_iter().partition(|asking| asking.deadline <= now);
    answer(late, &Err(Error::Unavailable(format!("{what} before the deadline"))));
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
        let left = tell_late(vec![first, second], Duration::from_secs(1), "nobody");
        assert_eq!(left.len(), 1);
        assert!(matches!(told.try_recv(), Ok(Err(Error::Unavailable(_)))));
        assert!(waits.try_recv().is_err());
        assert!(tell_late(left, Duration::from_secs(3), "nobody").is_empty());
        assert!(matches!(waits.try_recv(), Ok(Err(Error::Unavailable(_)))));
    }
}
