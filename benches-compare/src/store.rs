//! What every store is asked to do, as small as the rows need it.

use crate::data::Row;
use crate::failure::Result;

/// What holds when a put returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The operating system has it, or what of each store comes nearest to that.
    Buffered,
    /// It is on the device.
    Synced,
}

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) durability: Durability,
    /// Whether the row will ask for a compaction, which one of the peers must be prepared for.
    pub(crate) compacts: bool,
}

impl Opening {
    /// Buffered, without a compaction.
    pub(crate) const BUFFERED: Self = Self { durability: Durability::Buffered, compacts: false };
    /// Synced, without a compaction.
    pub(crate) const SYNCED: Self = Self { durability: Durability::Synced, compacts: false };
    /// Buffered, and a compaction will be asked for.
    pub(crate) const COMPACTS: Self = Self { durability: Durability::Buffered, compacts: true };
}

/// What a scan went over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) rows: usize,
    /// Bytes of the keys and values.
    pub(crate) bytes: usize,
}

impl Scanned {
    /// Counts a row, and looks at it, which an application would do.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.bytes += seen(key) + seen(value);
    }
}

/// Reads the first byte, so that no store gets away with handing out a promise. Gives the length.
pub(crate) fn seen(bytes: &[u8]) -> usize {
    std::hint::black_box(bytes.first());
    bytes.len()
}

/// An open store.
///
/// Dropping it closes it and waits until that is done, so that the same directory can be opened
/// again.
pub(crate) trait Store: Send + Sync {
    /// Sets a key, in a transaction of its own where the store has them. A store that keeps the
    /// buffers may take them out of the row; one that copies them leaves them there.
    fn put(&self, row: &mut Row) -> Result<()>;

    /// Removes a key, in a transaction of its own where the store has them.
    fn delete(&self, key: &[u8]) -> Result<()>;

    /// The length of a key's value; `None` when the key is not there. Sees every put that returned
    /// before, so that a store with read transactions begins one.
    fn get(&self, key: &[u8]) -> Result<Option<usize>>;

    /// Gets all keys from one consistent state; how many are there.
    fn get_all(&self, keys: &[Vec<u8>]) -> Result<usize>;

    /// Goes over the rows of a prefix in key order, in the fastest way that the store offers,
    /// without copying them where it can.
    fn scan_prefix(&self, prefix: &[u8]) -> Result<Scanned>;

    /// The first key of a prefix; `None` when the store has no way to it but through all of them.
    fn first_key(&self, _prefix: &[u8]) -> Option<Result<Option<Vec<u8>>>> {
        None
    }

    /// The rows of a prefix as one list; `None` when the store has no such call.
    fn list_prefix(&self, _prefix: &[u8]) -> Option<Result<Scanned>> {
        None
    }

    /// Returns when everything is on the device.
    fn sync(&self) -> Result<()>;

    /// Gives back the space of what was overwritten or removed, while others may write; `None`
    /// when the store has no such call.
    fn compact(&self) -> Option<Result<()>> {
        None
    }

    /// As [`Self::compact`], where the store must not be used meanwhile.
    fn compact_alone(&mut self) -> Option<Result<()>> {
        self.compact()
    }
}
