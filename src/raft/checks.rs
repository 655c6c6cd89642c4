//! Whether all nodes have the same state: asked every thousand entries, by the leader.
//!
//! Each node notes the digest of its state at every index that is a multiple of the interval. The
//! leader asks the voters for theirs, and what most of them have goes into the log as a check. A
//! node that applies it and had another digest serves nothing any more. Where no majority agrees,
//! nobody knows who is right, and the check stops all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use super::node::{Node, PAUSE};
use super::type_config::Proposal;
use crate::command::{Command, StateCheck};
use crate::state::CHECK_INTERVAL;
use crate::types::{LogIndex, NodeId};

/// How long the voters are asked for one digest: by then all that can have applied the entry have.
const ASKING_MAX: Duration = Duration::from_secs(10);

/// Looks after each batch that was applied; runs until the node goes away.
pub(super) async fn run(node: Weak<Node>) {
    let Some(mut applied) = node.upgrade().map(|node| node.applied_watch()) else { return };
    let mut checked = LogIndex(0);
    let mut next = LogIndex(0);
    while let Some(last) = applied.wait_for(next).await {
        let Some(node) = node.upgrade() else { return };
        next = last.index.next();
        if let Some(index) = node.machine.replica.read().kv.diverged() {
            node.quarantine(index);
            return;
        }
        let due = LogIndex(last.index.0 - last.index.0 % CHECK_INTERVAL);
        if due > checked && node.raft.is_leader() {
            checked = due;
            // The next ones are not kept waiting: a voter may be away.
            tokio::spawn(check(Arc::downgrade(&node), due));
        }
    }
}

/// Finds out what most voters have at an index, and proposes it.
async fn check(node: Weak<Node>, index: LogIndex) {
    let Some(deadline) = node.upgrade().map(|node| node.deadline_in(ASKING_MAX)) else { return };
    let mut digests: BTreeMap<NodeId, StateCheck> = BTreeMap::new();
    loop {
        let Some(node) = node.upgrade() else { return };
        if !node.raft.is_leader() {
            return;
        }
        let voters = node.status().voters;
        digests.retain(|id, _| voters.contains(id));
        for &id in &voters {
            if !digests.contains_key(&id)
                && let Some(digest) = digest_of(&node, id, index).await
            {
                digests.insert(id, digest);
            }
        }
        let is_over = digests.len() == voters.len() || node.until(deadline).is_zero();
        match verdict(voters.len(), digests.values().copied(), is_over) {
            Verdict::Wait => {}
            // One voter agrees with itself, and nothing is known of too few.
            Verdict::Unknown => return,
            Verdict::Agreed(digest) => return propose(&node, index, Some(digest)).await,
            Verdict::Split => {
                tracing::error!(%index, "no majority of the voters has the same state");
                return propose(&node, index, None).await;
            }
        }
        drop(node);
        sleep(PAUSE).await;
    }
}

async fn digest_of(node: &Node, id: NodeId, index: LogIndex) -> Option<StateCheck> {
    if id == node.id() {
        return node.machine.replica.read().kv.recorded(index);
    }
    node.peers.digest(id, index, node.config.deadline).await.map(StateCheck)
}

async fn propose(node: &Node, index: LogIndex, digest: Option<StateCheck>) {
    let proposal = Proposal::new(node.machine.log_clock.now(), Command::Check { index, digest });
    if let Err(error) = node.raft.client_write(proposal).await {
        tracing::debug!(%index, %error, "a check was not made");
    }
}

/// What the digests of the voters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Others may still answer.
    Wait,
    /// Too few have answered.
    Unknown,
    /// A majority of all voters has this one.
    Agreed(StateCheck),
    /// All have answered, and no majority has the same.
    Split,
}

/// Decides; `is_over` says that nobody else will answer.
fn verdict(voters: usize, digests: impl IntoIterator<Item = StateCheck>, is_over: bool) -> Verdict {
    let mut counts: BTreeMap<[u8; 16], usize> = BTreeMap::new();
    let mut answers = 0;
    for digest in digests {
        *counts.entry(digest.0).or_default() += 1;
        answers += 1;
    }
    if voters < 2 {
        return Verdict::Unknown;
    }
    match counts.iter().find(|(_, count)| **count * 2 > voters) {
        Some((digest, _)) => Verdict::Agreed(StateCheck(*digest)),
        None if answers == voters => Verdict::Split,
        None if is_over => Verdict::Unknown,
        None => Verdict::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: usize, digests: &[u8], is_over: bool) -> Verdict {
        verdict(voters, digests.iter().map(|&byte| StateCheck([byte; 16])), is_over)
    }

    #[test]
    fn a_majority_of_all_voters_is_right_and_nobody_else() {
        let one = Verdict::Agreed(StateCheck([1; 16]));
        assert_eq!(of(3, &[1, 1], false), one);
        assert_eq!(of(3, &[1, 2, 1], true), one);
        assert_eq!(of(3, &[1, 2], false), Verdict::Wait);
        assert_eq!(of(3, &[1, 2], true), Verdict::Unknown);
        assert_eq!(of(3, &[1, 2, 3], true), Verdict::Split);
        assert_eq!(of(2, &[1, 2], true), Verdict::Split);
        assert_eq!(of(4, &[1, 1, 2, 2], true), Verdict::Split);
        assert_eq!(of(1, &[1], true), Verdict::Unknown);
    }
}
