//! What a watcher reads from.

use std::ops::Range;

use crate::error::Result;
use crate::state::StateView;
use crate::storage::history::EntryChanges;
use crate::types::LogIndex;

/// Changes that were read together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// In order. Entries that changed nothing may be left out.
    pub(crate) entries: Vec<EntryChanges>,
    /// The entry behind the last one that was read.
    pub(crate) next: LogIndex,
}

/// One node's state and past.
pub(crate) trait Source: Send + Sync {
    /// Whether there will be anything new.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, `Diverged`.
    fn check(&self) -> Result<()>;

    /// Runs `during` with the index of the next entry to be applied. Meanwhile none is.
    fn hold(&self, during: &mut dyn FnMut(LogIndex));

    /// The state as it is now.
    ///
    /// # Errors
    /// Those of [`Self::check`].
    fn view(&self) -> Result<StateView>;

    /// The changes of the entries of `range`, all of which are applied: as many as fit `bytes_max`,
    /// at least those of one entry.
    ///
    /// # Errors
    /// `Compacted` when the first of them are gone; `Corrupt`, `Io`.
    fn changes(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Chunk>;
}
