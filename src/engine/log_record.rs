//! Entries of the log, understood.

use crate::command::Command;
use crate::command::codec;
use crate::command::limits::ENTRY_BYTES_HARD_MAX;
use crate::command::membership::Membership;
use crate::error::{Error, Result};
use crate::storage::log_entry::{Entry, EntryKind};
use crate::types::{LogId, Timestamp};

/// An entry of the log, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its name.
    pub id: LogId,
    /// The proposer's clock.
    pub clock: Timestamp,
    /// What it carries.
    pub content: LogContent,
    /// Bytes that it has in the log, without the frame around them.
    pub payload_bytes: usize,
}

impl LogRecord {
    /// Decodes what an entry carries.
    ///
    /// # Errors
    /// `Serialization`: the entry is whole, and this release does not know what it says.
    pub(crate) fn understand(entry: &Entry) -> Result<Self> {
        let Entry { id, clock, kind, ref payload } = *entry;
        let undecodable = |error| Error::undecodable(id.index, &error);
        let content = match kind {
            EntryKind::Blank => LogContent::Blank,
            EntryKind::Membership => {
                LogContent::Membership(codec::decode_membership(payload).map_err(undecodable)?)
            }
            EntryKind::Normal => {
                let command = codec::decode(payload, ENTRY_BYTES_HARD_MAX).map_err(undecodable)?;
                LogContent::Command(command)
            }
        };
        Ok(Self { id, clock, content, payload_bytes: payload.len() })
    }
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogContent {
    /// Nothing: a leader's first entry.
    Blank,
    /// Who votes from here on.
    Membership(Membership),
    /// A command.
    Command(Command),
}
