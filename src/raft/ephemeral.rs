//! Ephemeral keys whose owner has ended: a node removes those of its own earlier starts, the leader
//! those of nodes that are no longer members.
//!
//! Each removal is guarded by the version of its row, so that one that was written anew meanwhile
//! stays. A write of an owner that has ended may still be on its way to the leader, so each search
//! is made again when that cannot be any more.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use tokio::time::sleep;

use super::forward_queue::Hop;
use super::node::Node;
use super::read_gate::Freshness;
use crate::command::{Command, Guard, Owner};
use crate::engine::back_off::Pauses;
use crate::engine::submission::{Reply, Slot, Submission};
use crate::error::{Error, Result};
use crate::types::NodeId;

/// Most rows that one entry removes, and most bytes of their keys.
const ROWS_MAX: usize = 1_000;
const BYTES_MAX: usize = 1 << 20;

/// How long after a failure it is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Whose keys go.
#[derive(Clone, Copy, Debug)]
enum Gone {
    /// Other starts of this node.
    EarlierThan(Owner),
    /// Who is not a member; and keys that have no owner.
    Strangers,
}

impl Gone {
    fn has(self, owner: Option<Owner>, members: &BTreeSet<NodeId>) -> bool {
        match (self, owner) {
            (Self::EarlierThan(now), Some(owner)) => {
                owner.node == now.node && owner.start != now.start
            }
            (Self::EarlierThan(_), None) => false,
            (Self::Strangers, owner) => owner.is_none_or(|owner| !members.contains(&owner.node)),
        }
    }
}

/// Removes what earlier starts of this node left, as soon as there is a leader.
pub(super) async fn forget_earlier_starts(node: Weak<Node>) {
    let Some(mut metrics) = node.upgrade().map(|node| node.raft.server_metrics()) else { return };
    while metrics.borrow_watched().current_leader.is_none() {
        if metrics.changed().await.is_err() {
            return;
        }
    }
    let mut pauses = Pauses::from(TRY_AGAIN);
    for _ in 0..2 {
        let time = loop {
            let Some(here) = node.upgrade() else { return };
            let time = here.config.deadline.saturating_mul(2);
            match here.remove_all_of(Gone::EarlierThan(here.owner)).await {
                Ok(_) => {
                    pauses = Pauses::from(TRY_AGAIN);
                    break time;
                }
                Err(error) if is_final(&error) => return,
                Err(error) => tracing::debug!(%error, "ephemeral keys are not removed yet"),
            }
            drop(here);
            sleep(pauses.take()).await;
        };
        sleep(time).await;
    }
}

/// On the leader: removes what nodes left that are no longer members. Looks when it begins to lead,
/// and when the members change.
pub(super) async fn forget_removed_nodes(node: Weak<Node>) {
    let Some(mut metrics) = node.upgrade().map(|node| node.raft.server_metrics()) else { return };
    let mut done = None;
    let mut again = false;
    loop {
        let Some(here) = node.upgrade() else { return };
        let (is_leader, newest): (_, BTreeSet<NodeId>) = {
            let seen = metrics.borrow_watched();
            let nodes = seen.committed_membership_config.nodes();
            (seen.state.is_leader(), nodes.map(|(&id, _)| NodeId(id)).collect())
        };
        let is_new = done.as_ref() != Some(&newest);
        let mut wait = None;
        if !is_leader {
            (done, again) = (None, false);
        } else if is_new || again {
            wait = Some(TRY_AGAIN);
            match here.remove_all_of(Gone::Strangers).await {
                // Others were committed meanwhile: then those are told next.
                Ok(members) if members == newest => {
                    // Once more, when nothing can be on its way any more.
                    again = is_new;
                    wait = again.then(|| here.config.deadline.saturating_mul(2));
                    done = Some(newest);
                }
                Ok(_) => {}
                Err(error) if is_final(&error) => return,
                Err(error) => tracing::debug!(%error, "ephemeral keys are not removed yet"),
            }
        }
        drop(here);
        match wait {
            Some(time) => sleep(time).await,
            None if metrics.changed().await.is_ok() => {}
            None => return,
        }
    }
}

/// Whether this node will never do anything again.
const fn is_final(error: &Error) -> bool {
    matches!(error, Error::Closed(_) | Error::Poisoned { .. } | Error::Diverged { .. })
}

impl Node {
    /// Removes rows until a state that has everything committed before has none of them. Returns
    /// the members of that state.
    ///
    /// # Errors
    /// Those of a read and of a write.
    async fn remove_all_of(&self, gone: Gone) -> Result<BTreeSet<NodeId>> {
        let mut rows_max = ROWS_MAX.min(self.config.store.batch_commands_max);
        loop {
            let deadline = self.deadline();
            let index = self.read_index(Freshness::Quorum, deadline).await?;
            self.wait_applied(index, deadline).await?;
            self.check()?;
            let (view, members) = {
                let replica = self.machine.replica.read();
                let nodes = replica.membership.as_ref().map(|it| it.nodes().keys().copied());
                (replica.kv.view(), nodes.into_iter().flatten().collect::<BTreeSet<_>>())
            };
            let known = members.clone();
            let found = tokio::task::spawn_blocking(move || {
                view.ephemeral_rows(rows_max, BYTES_MAX, |owner| gone.has(owner, &known))
            });
            let rows = found.await.map_err(|_| Error::Closed("closed"))??;
            if rows.is_empty() {
                return Ok(members);
            }
            let guard = |(key, version): &(Bytes, _)| Guard::version_equals(key.clone(), *version);
            let guards: Vec<Guard> = rows.iter().map(guard).collect();
            let deletes = rows.into_iter().map(|(key, _)| Command::delete(key));
            let count = guards.len();
            let slot = Slot::new();
            let reply = Reply::Future(Arc::clone(&slot));
            self.submit(Command::reserved(guards, deletes), reply, Hop::Any);
            // One whose guards failed changed nothing, and is made anew from what is there then.
            match Submission::new(slot).await {
                // The limits of an entry may be less than they were when the keys came.
                Err(Error::TooLarge { .. }) if count > 1 => rows_max = count / 2,
                removed => drop(removed?),
            }
        }
    }
}
