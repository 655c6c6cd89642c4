//! Removing what is due: proposed by whoever leads, when the first deadline has passed.
//!
//! What goes is decided when the entry is applied, by its stamp, so that all nodes agree, whoever
//! proposed it and by whatever clock.

use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::node::Node;
use super::type_config::Proposal;
use crate::command::Command;
use crate::engine::back_off::Pauses;
use crate::engine::expiry::{EXPIRE_KEYS_MAX, Task, count, look};
use crate::error::Error;

/// How long after a look or a proposal that failed it is first tried again, by whoever leads then.
const TRY_AGAIN: Pauses = Pauses::from(Duration::from_millis(200));

/// Runs until the node goes away. On a node that does not lead it waits until it does.
pub(super) async fn run(node: Weak<Node>) {
    let called = Arc::new(Notify::new());
    let Some(mut metrics) = node.upgrade().map(|node| {
        let calls = Arc::clone(&called);
        node.machine.deadlines.on_wake(move || calls.notify_one());
        node.raft.server_metrics()
    }) else {
        return;
    };
    let mut pace = Pace { limit: EXPIRE_KEYS_MAX, pauses: TRY_AGAIN };
    loop {
        let Some(here) = node.upgrade() else { return };
        // Asked of what is waited for: nothing else is sure to be as new.
        let leads = metrics.borrow_watched().state.is_leader();
        let time = if leads { step(&here, &mut pace).await } else { None };
        drop(here);
        let wait = async {
            match time {
                Some(time) => sleep(time).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = called.notified() => {}
            () = wait => {}
            changed = metrics.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// How much is done at once, and how soon again.
#[derive(Debug)]
struct Pace {
    /// Most keys of a proposal. Fewer where some cannot be read: what is due before those goes.
    limit: u64,
    /// After failures.
    pauses: Pauses,
}

/// Looks once, and proposes what is due. Returns when to look again; `None`: when called.
async fn step(node: &Node, pace: &mut Pace) -> Option<Duration> {
    let (machine, limit) = (Arc::clone(&node.machine), pace.limit);
    // The rows may have to be read from the disk.
    let looked = tokio::task::spawn_blocking(move || {
        let task = look(&machine, limit)?;
        if let Task::Expire(limit) = task {
            // An entry that removes what cannot be read would stop whoever applies it.
            machine.check_looks(&Command::Expire { limit }, 0)?;
        }
        Ok::<_, Error>(task)
    });
    match looked.await {
        Ok(Ok(Task::Nothing)) => {
            pace.pauses = TRY_AGAIN;
            None
        }
        Ok(Ok(Task::Wait(time))) => {
            pace.pauses = TRY_AGAIN;
            Some(time)
        }
        Ok(Ok(Task::Expire(limit))) => {
            let proposal = Proposal::new(node.machine.log_clock.now(), Command::Expire { limit });
            match node.raft.client_write(proposal).await {
                Ok(response) => {
                    if let Some(applied) = response.data.0 {
                        count(applied.outcome);
                    }
                    let limit = EXPIRE_KEYS_MAX.min(pace.limit.saturating_mul(2));
                    *pace = Pace { limit, pauses: TRY_AGAIN };
                    Some(Duration::ZERO)
                }
                Err(error) => {
                    tracing::debug!(%error, "what is due is not removed yet");
                    Some(pace.pauses.take())
                }
            }
        }
        Ok(Err(Error::Corrupt(_) | Error::DiskFull(_))) if pace.limit > 1 => {
            pace.limit /= 2;
            Some(Duration::ZERO)
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "what is due cannot be looked for");
            Some(pace.pauses.take())
        }
        Err(_) => Some(pace.pauses.take()),
    }
}
