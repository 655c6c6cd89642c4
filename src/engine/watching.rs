//! What the watchers of a machine read.

use std::ops::Range;

use super::changes::LiveChanges;
use super::machine::Machine;
use super::maintenance::Maintenance;
use super::watch::source::{Chunk, Source};
use crate::error::{Error, Result};
use crate::state::StateView;
use crate::types::{LogIndex, Version};

impl Machine {
    /// Runs `during` with the index of the next entry to be applied. Meanwhile none is.
    pub(crate) fn hold(&self, during: &mut dyn FnMut(LogIndex)) {
        let replica = self.replica.read();
        during(replica.last.map_or(LogIndex(0), |last| last.index.next()));
    }

    /// Ends all watching: the store is being closed.
    pub(crate) fn end_watching(&self) {
        self.hold(&mut |next| self.watchers.note_end(next));
        self.watchers.stop();
    }

    /// The changes of applied entries, as [`Source::changes`] promises them.
    ///
    /// # Errors
    /// Those of [`Source::changes`].
    pub(crate) fn changes(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Chunk> {
        let live = LiveChanges::of(self);
        let entries = live.read(range, bytes_max)?;
        match entries.last() {
            Some(last) => Ok(Chunk { next: last.index.next(), entries }),
            // All of them were applied: they are in the log, or gone.
            None => Err(Error::Compacted { oldest: Version::from(live.range().start) }),
        }
    }
}

impl Source for Maintenance {
    fn check(&self) -> Result<()> {
        Ok(self.committer.machine.store.log().check()?)
    }

    fn hold(&self, during: &mut dyn FnMut(LogIndex)) {
        self.committer.machine.hold(during);
    }

    fn view(&self) -> Result<StateView> {
        self.committer.machine.check_readable()?;
        Ok(self.committer.machine.replica.read().kv.view())
    }

    fn changes(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Chunk> {
        self.committer.machine.changes(range, bytes_max)
    }
}
