//! Entries as they are appended and read, and who is told when they are synced.

use std::fmt;

use bytes::Bytes;

use super::error::StorageError;
use super::frame::{Flag, FrameHeader, FrameKind};
use super::frame_buffer::Draft;
use crate::types::{LogId, Timestamp};

/// What an entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Nothing: a leader's first entry.
    Blank,
    /// A membership.
    Membership,
    /// A command.
    Normal,
}

impl EntryKind {
    pub(crate) const fn frame(self) -> FrameKind {
        match self {
            Self::Blank => FrameKind::Blank,
            Self::Membership => FrameKind::Membership,
            Self::Normal => FrameKind::Normal,
        }
    }
}

/// The bytes of an entry in two parts, so that a value need not be copied behind what stands before
/// it. Together they are one payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The first part.
    pub head: Vec<u8>,
    /// What follows it.
    pub body: Bytes,
}

impl Payload {
    /// Length of both parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An entry to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Its name; the index must follow the last one, unless the log is empty.
    pub id: LogId,
    /// The proposer's clock.
    pub clock: Timestamp,
    /// What the payload is.
    pub kind: EntryKind,
    /// Opaque here.
    pub payload: Payload,
}

/// An entry to be appended, with a borrowed payload in two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// As [`NewEntry::id`].
    pub id: LogId,
    /// The proposer's clock.
    pub clock: Timestamp,
    /// What the payload is.
    pub kind: EntryKind,
    /// Opaque here; one part behind the other.
    pub payload: [&'a [u8]; 2],
}

impl NewEntry {
    /// The same entry, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> EntryRef<'_> {
        let Self { id, clock, kind, payload } = self;
        let payload = [payload.head.as_slice(), &payload.body];
        EntryRef { id: *id, clock: *clock, kind: *kind, payload }
    }
}

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: LogId,
    /// The proposer's clock.
    pub clock: Timestamp,
    /// What the payload is.
    pub kind: EntryKind,
    /// Opaque here. A buffer of its own.
    pub payload: Bytes,
}

/// Told once what became of an append: `Ok` when a sync that covers it has returned, otherwise the
/// error, also when it is dropped. Completions fire in the order of their appends.
pub struct Completion(Option<Box<Tell>>);

type Tell = dyn FnOnce(Result<(), StorageError>) + Send;

impl Completion {
    /// Calls `tell` exactly once, from the thread that syncs. It must not call into the log.
    pub fn new(tell: impl FnOnce(Result<(), StorageError>) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    /// Tells nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Whether anybody is told.
    pub(crate) const fn is_some(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn tell(mut self, result: Result<(), StorageError>) {
        if let Some(tell) = self.0.take() {
            tell(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Err(StorageError::Closed { state: "closed" }));
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Completion").field(&self.0.is_some()).finish()
    }
}

/// The frame of an entry.
pub(crate) fn draft_of<'a>(entry: &EntryRef<'a>) -> Draft<'a> {
    let mut header = FrameHeader::mark(entry.kind.frame(), Flag::Unset, entry.id);
    header.clock = entry.clock;
    Draft::new(header, entry.payload)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn a_completion_tells_exactly_once_also_when_it_is_forgotten() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let completion = |told: &Arc<Mutex<Vec<bool>>>| {
            let told = Arc::clone(told);
            Completion::new(move |result| told.lock().push(result.is_ok()))
        };
        completion(&told).tell(Ok(()));
        drop(completion(&told));
        assert_eq!(*told.lock(), [true, false]);
    }
}
