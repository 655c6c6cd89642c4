//! What becomes of ephemeral keys when a store of one voter is opened.

use super::committer::Committer;
use crate::command::{Command, Scope};
use crate::error::{Error, Result};

/// Most keys that one entry removes where it has to name them.
const NAMED_KEYS_MAX: usize = 1_000;

/// Removes all of them: whoever wrote them has ended. One entry, and none where there are none.
///
/// Where blocks of them are damaged, those before the first and behind the last go, in entries that
/// name them, and the others stay until they can be read. Of those in a damaged block whoever asks
/// is told; what stands between two, or was written anew since, is still shown.
///
/// # Errors
/// Those of a write, and `Io` of a table.
pub(crate) fn remove_all(committer: &Committer) -> Result<()> {
    match remove_at_once(committer) {
        Err(Error::Corrupt(error)) => {
            tracing::warn!(%error, "ephemeral keys cannot be read, and stay; the others go");
            remove_readable(committer)
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
    committer.submit(Command::reserved([], [all])).map(drop)
}

/// Removes those that are found from either end before the first that cannot be read.
fn remove_readable(committer: &Committer) -> Result<()> {
    let removals: Vec<Command> = {
        let view = committer.machine.replica.view();
        let rows = view.scope(&Scope::Ephemeral).iter();
        let from_the_end = view.scope(&Scope::Ephemeral).iter().rev();
        let readable = std::result::Result::ok;
        let found = rows.map_while(readable).chain(from_the_end.map_while(readable));
        found.map(|(key, _)| Command::delete(Scope::Ephemeral.key(&key))).collect()
    };
    for removals in removals.chunks(NAMED_KEYS_MAX) {
        committer.submit_own(Command::reserved([], removals.iter().cloned()))?;
    }
    Ok(())
}
