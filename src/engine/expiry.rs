//! Removing what is due, in an engine of one voter.

use std::time::Duration;

use super::committer::Committer;
use super::machine::Machine;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::state::Outcome;
use crate::types::Timestamp;

/// Most keys that one entry removes, but for those of one lease, which go together.
pub(crate) const EXPIRE_KEYS_MAX: u64 = 1_000;

/// How long whoever waits for a deadline waits at most before it looks at the clock again: the time
/// of day may have been set forward meanwhile.
pub(crate) const LOOK_AGAIN_MAX: Duration = Duration::from_mins(1);

/// And at least: a clock may stand still.
pub(crate) const LOOK_AGAIN_MIN: Duration = Duration::from_millis(1);

/// What is to be done at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Nothing has a time.
    Nothing,
    /// Nothing is due before so much time has passed.
    Wait(Duration),
    /// To propose that so many keys are removed.
    Expire(u64),
}

/// Looks what is to be done, with up to `limit` keys. O(log n), and what is due.
///
/// # Errors
/// `Corrupt`, `Io` of a table.
pub(crate) fn look(machine: &Machine, limit: u64) -> Result<Task> {
    machine.deadlines.begin();
    let view = machine.replica.view();
    let Some(first) = view.first_deadline()? else { return Ok(Task::Nothing) };
    // Only where somebody waits for a moment of it does looking hold log time on.
    let now = machine.log_clock.look();
    if first > now {
        machine.deadlines.wait_for(first);
        return Ok(Task::Wait(time_until(first, now)));
    }
    Ok(Task::Expire(view.count_due(now, limit)?))
}

fn time_until(first: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::from_micros(first.0.saturating_sub(now.0));
    left.clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX)
}

/// Counts what an entry has removed, on the node that proposed it.
pub(crate) fn count(outcome: Outcome) {
    if let Outcome::Removed { keys } = outcome {
        metrics::counter!(crate::metrics::EXPIRED_KEYS_TOTAL).increment(keys);
    }
}

/// Removes all that is due, at most `limit_max` keys with an entry; calls `after_each` behind each
/// of them. Returns how long nothing more is; `None` when nothing has a time.
///
/// An entry that would look at damaged rows is refused as a whole. So where there are some, ever
/// fewer keys are asked for, until all that is due before them is gone; on a full disk, too, where
/// there may be room for some. What has gone is followed by more again.
///
/// # Errors
/// Those of a write: what is due stays until this is tried again. `Corrupt` when what is due first
/// cannot be read.
pub(crate) fn expire(
    committer: &Committer,
    limit_max: u64,
    after_each: impl Fn(),
) -> Result<Option<Duration>> {
    let mut limit = limit_max;
    loop {
        match step(committer, limit) {
            Ok(Task::Nothing) => return Ok(None),
            Ok(Task::Wait(left)) => return Ok(Some(left)),
            Ok(Task::Expire(_)) => {
                after_each();
                limit = (limit * 2).min(limit_max);
            }
            Err(Error::Corrupt(_) | Error::DiskFull(_)) if limit > 1 => limit /= 2,
            Err(error) => return Err(error),
        }
    }
}

/// Looks what is to be done, and does it with one entry.
fn step(committer: &Committer, limit: u64) -> Result<Task> {
    let task = look(&committer.machine, limit)?;
    if let Task::Expire(limit) = task {
        count(committer.submit_own(Command::Expire { limit })?.outcome);
    }
    Ok(task)
}
