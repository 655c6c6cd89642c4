//! What becomes of ephemeral keys when a store of one voter is opened.

use std::ops::Bound;

use bytes::Bytes;

use super::committer::Committer;
use super::maintenance::Maintenance;
use crate::command::{Command, Scope};
use crate::error::{Error, Result};
use crate::storage::error::StorageError;

/// Most keys that one entry removes where it has to name them.
const NAMED_KEYS_MAX: usize = 1_000;

/// Removes all of them: whoever wrote them has ended. One entry, and none where there are none.
///
/// On a full disk, where there is no room to remove all at once, they go in several, and what is
/// removed is merged away in between.
///
/// Where blocks of them are damaged, those before the first and behind the last go, in entries that
/// name them, and the others stay until they can be read. Of those in a damaged block whoever asks
/// is told; what stands between two, or was written anew since, is still shown.
///
/// # Errors
/// Those of a write, and `Io` of a table. `DiskFull` where not one of them finds room.
pub(crate) fn remove_all(maintenance: &Maintenance) -> Result<()> {
    let committer = &maintenance.committer;
    let removed = match remove_at_once(committer) {
        Err(Error::DiskFull(error)) => {
            tracing::warn!(%error, "ephemeral keys are removed a few at a time");
            remove_by_parts(maintenance)
        }
        done => done,
    };
    match removed {
        Err(Error::Corrupt(error)) => {
            tracing::warn!(%error, "ephemeral keys cannot be read, and stay; the others go");
            remove_readable(maintenance)
        }
        done => done,
    }
}

fn remove_at_once(committer: &Committer) -> Result<()> {
    let view = committer.machine.replica.view();
    if view.scope(&Scope::Ephemeral).is_empty()? {
        return Ok(());
    }
    drop(view);
    let all = Command::delete_prefix(Scope::Ephemeral.prefix());
    // No caller's: limits that are smaller by now do not concern it.
    committer.submit_own(Command::reserved([], [all])).map(drop)
}

/// Removes them in key order, some with each entry.
fn remove_by_parts(maintenance: &Maintenance) -> Result<()> {
    let mut removed_upto = Bound::Unbounded;
    loop {
        let view = maintenance.committer.machine.replica.view();
        let bounds = (removed_upto.as_ref().map(Bytes::as_ref), Bound::Unbounded);
        let rows = view.scope(&Scope::Ephemeral).range::<&[u8]>(bounds).take(NAMED_KEYS_MAX);
        let keys = rows.map(|row| row.map(|(key, _)| key));
        let keys = keys.collect::<std::result::Result<Vec<Bytes>, StorageError>>()?;
        drop(view);
        let Some(last) = keys.last() else { return Ok(()) };
        remove_named(maintenance, &keys)?;
        removed_upto = Bound::Excluded(last.clone());
    }
}

/// Removes those that are found from either end before the first that cannot be read.
fn remove_readable(maintenance: &Maintenance) -> Result<()> {
    let keys: Vec<Bytes> = {
        let view = maintenance.committer.machine.replica.view();
        let rows = view.scope(&Scope::Ephemeral).iter();
        let from_the_end = view.scope(&Scope::Ephemeral).iter().rev();
        let readable = std::result::Result::ok;
        let found = rows.map_while(readable).chain(from_the_end.map_while(readable));
        found.map(|(key, _)| key).collect()
    };
    remove_named(maintenance, &keys)
}

/// Removes these, fewer with an entry where they find no room.
fn remove_named(maintenance: &Maintenance, keys: &[Bytes]) -> Result<()> {
    let mut keys_max = NAMED_KEYS_MAX;
    let mut left = keys;
    while !left.is_empty() {
        let (now, later) = left.split_at(keys_max.min(left.len()));
        let removals = now.iter().map(|key| Command::delete(Scope::Ephemeral.key(key)));
        match maintenance.committer.submit_own(Command::reserved([], removals)) {
            Ok(_) => {
                left = later;
                keys_max = NAMED_KEYS_MAX.min(2 * keys_max);
                maintenance.compact_if_due();
            }
            Err(error @ Error::DiskFull(_)) => {
                let is_relieved = maintenance.compact_for_room();
                if keys_max == 1 && !is_relieved {
                    return Err(error);
                }
                keys_max = (keys_max / 2).max(1);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
