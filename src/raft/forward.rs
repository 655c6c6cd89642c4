//! Commands that a node was given and cannot decide about go to the leader, in the order in which
//! they came, as many as there are at once.
//!
//! A command that certainly was not appended is tried again, with whoever leads then, until its
//! deadline. One of which that is not certain is answered `OutcomeUnknown`: trying again could
//! apply it twice.

use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use super::forward_queue::Item;
use super::node::{Hop, Node, PAUSE};
use super::peers::Forwarded;
use super::type_config::Proposal;
use crate::error::Error;
use crate::state::ApplyOutcome;

/// Most commands, and most bytes of more than one, in a message.
const BATCH_COMMANDS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What empties the queue.
pub(crate) struct Forwarding {
    queue: mpsc::UnboundedReceiver<Item>,
    /// What was taken out and is not answered yet, in order.
    batch: Vec<Item>,
}

impl Forwarding {
    pub(crate) const fn new(queue: mpsc::UnboundedReceiver<Item>) -> Self {
        Self { queue, batch: Vec::new() }
    }

    /// Runs until nobody can hand anything in any more.
    pub(crate) async fn run(mut self, node: Weak<Node>) {
        loop {
            if self.batch.is_empty()
                && self.queue.recv_many(&mut self.batch, BATCH_COMMANDS_MAX).await == 0
            {
                return;
            }
            let Some(node) = node.upgrade() else { return };
            self.batch.retain(|(_, waiting)| !waiting.is_answered());
            if !self.batch.is_empty() && !self.pass_on(&node).await {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Tries once. What is left in the batch is to be tried again; `false` when nothing has moved.
    async fn pass_on(&mut self, node: &Arc<Node>) -> bool {
        if let Err(error) = node.check() {
            self.batch.drain(..).for_each(|(_, waiting)| waiting.answer(Err(error.clone())));
            return true;
        }
        let Some(leader) = node.leader() else { return false };
        if leader == node.id() {
            // It comes back should this node not lead after all.
            for (proposal, waiting) in self.batch.drain(..) {
                // A stamp of when it was handed in may be as old as the deadline: what it says
                // when a key is to go would have been over before it was there.
                let command = proposal.into_command();
                let proposal = Proposal::new(node.machine.log_clock.now(), command);
                node.propose(proposal, &waiting, Hop::Any);
            }
            // Also of a leader whom nobody hears any more, who gets it back at once: what moves is
            // gone from here, and what came back is for after a pause.
            return false;
        }
        let count = batch_of(self.batch.iter().map(|(proposal, _)| proposal.bytes()));
        let commands: Vec<Proposal> =
            self.batch.iter().take(count).map(|(proposal, _)| proposal.clone()).collect();
        let written = node.peers.write(leader, &commands, node.config.deadline);
        // What was on its way to a leader that is none any more is not tried again, so that nothing
        // that comes later overtakes it.
        let overtaken = || Forwarded::Unknown("another node leads by now".to_owned());
        match node.while_leading(leader, written).await.unwrap_or_else(overtaken) {
            Forwarded::NotAppended => false,
            Forwarded::Unknown(cause) => {
                for (_, waiting) in self.batch.drain(..count) {
                    waiting.answer(Err(Error::OutcomeUnknown { cause: cause.as_str().into() }));
                }
                true
            }
            Forwarded::Answers(answers) => self.take(count, answers),
        }
    }

    /// Gives out the answers. Those who were told that another node leads are tried again, and
    /// everybody behind them keeps the order.
    fn take(&mut self, count: usize, answers: Vec<Result<ApplyOutcome, Error>>) -> bool {
        let mut moved = false;
        let sent: Vec<Item> = self.batch.drain(..count).collect();
        let mut again = Vec::new();
        for (item, answer) in sent.into_iter().zip(answers) {
            match answer {
                Err(Error::NotLeader { .. }) => again.push(item),
                answer => {
                    moved = true;
                    item.1.answer(answer);
                }
            }
        }
        again.append(&mut self.batch);
        self.batch = again;
        moved
    }
}

/// How many commands go into one message: at least one.
fn batch_of(bytes: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0_usize;
    let fits = bytes.take(BATCH_COMMANDS_MAX).take_while(|&bytes| {
        sum = sum.saturating_add(bytes);
        sum <= BATCH_BYTES_MAX
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_what_fits_and_at_least_one_command() {
        assert_eq!(batch_of([10, 10].into_iter()), 2);
        assert_eq!(batch_of([2 * BATCH_BYTES_MAX, 1].into_iter()), 1);
        assert_eq!(batch_of([1, BATCH_BYTES_MAX, 1].into_iter()), 1);
        assert_eq!(batch_of(std::iter::repeat_n(1, 5000)), BATCH_COMMANDS_MAX);
    }
}
