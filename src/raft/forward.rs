//! Commands that a node was given and cannot decide about go to the leader, in the order in which
//! they came, as many as there are at once.
//!
//! A command that certainly was not appended is tried again, with whoever leads then, until its
//! deadline. One of which that is not certain is answered `OutcomeUnknown`: trying again could
//! apply it twice.
//!
//! While anything is here nothing goes past it, so what one caller hands in keeps its order. What
//! openraft gives back takes its old place again. One order is not kept: of two that were proposed
//! at once openraft may give back the first and take the second, where this node became the leader,
//! or had its quorum again, between the two.

use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use super::forward_queue::{Hop, Item};
use super::node::{Node, PAUSE};
use super::peers::Forwarded;
use super::type_config::Proposal;
use super::wire::request::WRITE_COMMANDS_MAX;
use crate::error::Error;
use crate::state::ApplyOutcome;
use crate::types::NodeId;

/// Most commands, and most bytes of more than one, in a message.
const BATCH_COMMANDS_MAX: usize = WRITE_COMMANDS_MAX;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What empties the queue.
pub(crate) struct Forwarding {
    queue: mpsc::UnboundedReceiver<Item>,
    /// What was taken out and is not answered yet, in the order in which it was handed in.
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
            self.put_in_order();
            self.batch.retain(|item| !item.waiting.is_answered());
            if !self.batch.is_empty() && !self.pass_on(&node).await {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Takes in whatever has come. What openraft gave back stands behind what came after it.
    fn put_in_order(&mut self) {
        while let Ok(item) = self.queue.try_recv() {
            self.batch.push(item);
        }
        self.batch.sort_by_key(|item| item.waiting.number());
    }

    /// Tries once. What is left in the batch is to be tried again; `false` when nothing has moved.
    async fn pass_on(&mut self, node: &Arc<Node>) -> bool {
        if let Err(error) = node.check_running() {
            self.batch.drain(..).for_each(|item| item.waiting.answer(Err(error.clone())));
            return true;
        }
        let Some(leader) = node.leader() else { return false };
        if leader == node.id() {
            return self.propose(node).await;
        }
        self.refuse_passed_on(leader);
        let count = batch_of(self.batch.iter().map(|item| item.proposal.bytes()));
        let commands: Vec<Proposal> =
            self.batch.iter().take(count).map(|item| item.proposal.clone()).collect();
        if commands.is_empty() {
            return true;
        }
        let written = node.peers.write(leader, &commands, node.config.deadline);
        // What was on its way to a leader that is none any more is not tried again, so that nothing
        // that comes later overtakes it.
        let overtaken = || Forwarded::Unknown("another node leads by now".to_owned());
        match node.while_leading(leader, written).await.unwrap_or_else(overtaken) {
            Forwarded::NotAppended => false,
            Forwarded::Unknown(cause) => {
                for item in self.batch.drain(..count) {
                    item.waiting
                        .answer(Err(Error::OutcomeUnknown { cause: cause.as_str().into() }));
                }
                true
            }
            Forwarded::Answers(answers) => self.take(count, answers),
        }
    }

    /// Proposes all of it here. `false` where some of it was given back before.
    async fn propose(&mut self, node: &Arc<Node>) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        if node.must_look() {
            batch = node.look(batch).await;
        }
        // Also a leader whom nobody hears any more gives it back at once, and one that hands over:
        // what came back is for after a pause.
        let moves = batch.iter().all(|item| !item.came_back);
        for Item { proposal, waiting, hop, place, .. } in batch {
            // A stamp of when it was handed in may be as old as the deadline: what it says when a
            // key is to go would have been over before it was there.
            let proposal = Proposal::new(node.machine.log_clock.now(), proposal.into_command());
            node.propose(proposal, &waiting, hop);
            // Only now: whoever finds nobody here proposes at once.
            drop(place);
        }
        moves
    }

    /// Answers what another node passed on to this one: it is to go no further.
    fn refuse_passed_on(&mut self, leader: NodeId) {
        let passed_on = self.batch.extract_if(.., |item| item.hop == Hop::Last);
        let error = Error::NotLeader { leader: Some(leader) };
        passed_on.for_each(|item| item.waiting.answer(Err(error.clone())));
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
                    item.waiting.answer(answer);
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
    use std::time::Duration;

    use super::*;
    use crate::command::Command;
    use crate::engine::submission::{Reply, Slot};
    use crate::raft::forward_queue::ForwardQueue;
    use crate::raft::inflight::Inflight;
    use crate::types::Timestamp;

    #[test]
    fn what_came_back_goes_before_what_was_handed_in_after_it() {
        let inflight = Inflight::new(9, 900);
        let (queue, items) = ForwardQueue::new();
        let hand_in = || {
            let slot = Slot::new();
            let reply = Reply::Future(Arc::clone(&slot));
            let waiting = inflight.admit(reply, 1, Duration::MAX).unwrap();
            (Proposal::new(Timestamp(1), Command::batch([])), waiting)
        };
        let (first, second, third) = (hand_in(), hand_in(), hand_in());
        let numbers = [&first.1, &second.1, &third.1].map(|waiting| waiting.number());
        let mut forwarding = Forwarding::new(items);
        queue.push(third.0, third.1, Hop::Any);
        forwarding.put_in_order();
        queue.push_back(first.0, first.1);
        queue.push_back(second.0, second.1);
        forwarding.put_in_order();
        let order: Vec<u64> = forwarding.batch.iter().map(|item| item.waiting.number()).collect();
        assert_eq!(order, numbers);
        assert!(!queue.is_empty());
        forwarding.batch.clear();
        assert!(queue.is_empty(), "nobody is overtaken any more");
    }

    #[test]
    fn a_message_holds_what_fits_and_at_least_one_command() {
        assert_eq!(batch_of([10, 10].into_iter()), 2);
        assert_eq!(batch_of([2 * BATCH_BYTES_MAX, 1].into_iter()), 1);
        assert_eq!(batch_of([1, BATCH_BYTES_MAX, 1].into_iter()), 1);
        assert_eq!(batch_of(std::iter::repeat_n(1, 5000)), BATCH_COMMANDS_MAX);
    }
}
