//! What the frames of a log add up to: [`HardState`] and [`EntryMap`], kept in step by one function
//! that the writer and recovery share.

use super::entry_map::EntryMap;
use super::frame::{Chain, Flag, FrameHeader, FrameKind};
use super::hard_state::{HardState, OutOfOrder};
use crate::types::{LogIndex, LogPosition};

/// Vote, ends, and where the entries are.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogContents {
    pub(crate) hard: HardState,
    pub(crate) entries: EntryMap,
    /// The last of the entries that stood in segments before the first one there is, as long as
    /// neither a purge nor a truncation says that they are not needed.
    inherited: Option<LogIndex>,
}

impl LogContents {
    /// Of a log whose first segment begins with this state.
    pub(crate) fn new(hard: HardState) -> Self {
        let inherited = match (hard.purged, hard.last) {
            (Some(purged), Some(last)) if last.index <= purged.index => None,
            (_, last) => last.map(|last| last.index),
        };
        Self { hard, entries: EntryMap::default(), inherited }
    }

    /// Takes in the frame that begins at `position`.
    ///
    /// # Errors
    /// `OutOfOrder` when it cannot follow; then nothing is changed.
    pub(crate) fn observe(
        &mut self,
        header: &FrameHeader,
        position: LogPosition,
        before: Chain,
    ) -> Result<(), OutOfOrder> {
        self.hard.observe(header)?;
        self.place(header, position, before);
        Ok(())
    }

    /// Takes in where a frame stands that [`Self::hard`] has in it already.
    pub(crate) fn place(&mut self, header: &FrameHeader, position: LogPosition, before: Chain) {
        let index = header.id.index;
        match header.kind {
            kind if kind.is_entry() => return self.entries.push(index, position, before),
            FrameKind::TruncateAfter => {
                let kept = (header.flag == Flag::Unset).then_some(index);
                self.entries.truncate_after(kept);
                self.inherited = self.inherited.min(kept);
            }
            FrameKind::Purge => self.entries.purge(index),
            _ => {}
        }
        let purged = self.hard.purged.map(|purged| purged.index);
        self.inherited = self.inherited.filter(|&inherited| Some(inherited) > purged);
    }

    /// The first entry that the log should hold and does not.
    pub(crate) fn first_missing(&self) -> Option<LogIndex> {
        self.inherited?;
        Some(self.hard.purged.map_or(LogIndex(0), |purged| purged.index.next()))
    }
}
