//! What becomes of ephemeral keys when a store of one voter is opened.

use super::committer::Committer;
use crate::command::{Command, Scope};
use crate::error::Result;

/// Removes all of them: whoever wrote them has ended. One entry, and none where there are none.
///
/// # Errors
/// Those of a write, and of reading.
pub(crate) fn remove_all(committer: &Committer) -> Result<()> {
    let view = committer.machine.replica.view();
    if view.scope(&Scope::Ephemeral).is_empty()? {
        return Ok(());
    }
    drop(view);
    let all = Command::delete_prefix(Scope::Ephemeral.prefix());
    committer.submit(Command::reserved([], [all])).map(drop)
}
