//! What applying a command did.

use crate::types::{Timestamp, Version};

/// What happened to the state.
///
/// A missing key and a lost precondition are outcomes, not errors: every replica finds the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A key has a new value, or a batch changed something.
    Applied,
    /// The key already had this value, or a batch found nothing to change.
    Unchanged,
    /// Keys were removed.
    Removed {
        /// How many; at least one.
        keys: u64,
    },
    /// There was no such key, or none with this prefix.
    NotFound,
    /// A guard of the batch did not hold; nothing was changed.
    GuardFailed {
        /// Which guard, counting from 0: the first that did not hold.
        guard: usize,
        /// The version of the guard's key; `None` if it does not exist.
        found: Option<Version>,
    },
}

impl Outcome {
    /// Whether what the command asks for is now so: false only when a guard did not hold.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        !matches!(self, Self::GuardFailed { .. })
    }

    /// Whether the state is another than before.
    #[must_use]
    pub fn changed(&self) -> bool {
        matches!(self, Self::Applied | Self::Removed { .. })
    }
}

/// How safe the entry was when its outcome was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on the device: it survives a power cut.
    Synced,
    /// It is in the operating system: it survives the end of the process, and a power cut once the
    /// next sync has returned.
    Buffered,
}

/// What applying an entry did, as the state knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What happened.
    pub outcome: Outcome,
    /// The version of the entry; for a key that already had its value, the version it keeps.
    pub version: Version,
    /// The stamp that belongs to `version`.
    pub timestamp: Timestamp,
    /// Bytes of keys and values that were live before and no longer are.
    pub stale_bytes: u64,
}

impl Applied {
    /// The outcome to tell a caller, once it is known how safe the entry is.
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> ApplyOutcome {
        ApplyOutcome {
            outcome: self.outcome,
            version: self.version,
            timestamp: self.timestamp,
            durability,
        }
    }
}

/// What a submitted command did, as a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyOutcome {
    /// What happened.
    pub outcome: Outcome,
    /// The version of the entry; for a key that already had its value, the version it keeps.
    pub version: Version,
    /// The stamp that belongs to `version`.
    pub timestamp: Timestamp,
    /// How safe the entry is.
    pub durability: Durability,
}

impl ApplyOutcome {
    /// Whether what the command asks for is now so: false only when a guard did not hold.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.outcome.is_applied()
    }

    /// Whether the state is another than before.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.outcome.changed()
    }
}
