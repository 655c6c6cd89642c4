//! What applying a command did.

use crate::types::{Timestamp, Version};

/// What happened to the state.
///
/// A missing key, a lost precondition and an expired session are outcomes, not errors: every
/// replica finds the same, but for what a check finds of the replica itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A key has a new value, or a batch changed something; a lease was granted, kept alive, or
    /// ended without a key.
    Applied,
    /// The key already had this value, or a batch found nothing to change. A command that gives the
    /// key a time has done so.
    Unchanged,
    /// Keys were removed.
    Removed {
        /// How many; at least one.
        keys: u64,
    },
    /// There was no such key, none with this prefix, no such session to close, or no such lease;
    /// nothing was changed.
    NotFound,
    /// A guard of the batch did not hold; nothing was changed.
    GuardFailed {
        /// Which guard, counting from 0: the first that did not hold.
        guard: usize,
        /// The version of the guard's key; `None` if it does not exist.
        found: Option<Version>,
    },
    /// The command is of one keyspace and names a key of the other; nothing was changed. Whoever
    /// proposes refuses such a command, so that this is told only of what went around it.
    ReservedKey,
    /// The session is open. One that was open already is [`Unchanged`](Self::Unchanged).
    SessionOpened,
    /// The session was open and is closed.
    SessionClosed,
    /// There is no such session: it was never opened, it was closed, it was not used for an hour of
    /// log time, or too many others were used since. The request was not applied and never will be
    /// under this session; whether an earlier one with its number was, is no longer known.
    SessionExpired,
    /// The session has had so many requests since that the answer to this one is no longer known.
    /// It was not applied now.
    RequestTooOld,
    /// A check was made.
    Checked(CheckResult),
}

/// What a check found on one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// The state had the digest that it should have had.
    Equal,
    /// It is not known any more, or not yet, which digest the state had.
    Unknown,
    /// The state was another than on most of the voters, or no majority had the same.
    Different,
}

impl Outcome {
    /// Whether what the command asks for is now so: false when a guard did not hold, when a session
    /// did not take the request, and when a check found a difference.
    ///
    /// [`NotFound`](Self::NotFound) of a delete is true: the key is not there. Of a command that
    /// gives a key a time or renews a lease it says that there is no such key or lease, and that
    /// nothing was done; the calls that make such commands say so as an error, but for
    /// `attach` of a key that is not there.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        !matches!(
            self,
            Self::GuardFailed { .. }
                | Self::ReservedKey
                | Self::SessionExpired
                | Self::RequestTooOld
                | Self::Checked(CheckResult::Different)
        )
    }

    /// Whether the command made a key's value or its absence another than before; of a request that
    /// was repeated: whether it did so the first time.
    #[must_use]
    pub fn changed(&self) -> bool {
        matches!(self, Self::Applied | Self::Removed { .. })
    }
}

impl Outcome {
    /// The outcome of a change as three numbers, the same in every release: they stand in manifests
    /// and in digests. `None` for any other outcome.
    #[must_use]
    pub fn to_numbers(self) -> Option<[u64; 3]> {
        Some(match self {
            Self::Applied => [0, 0, 0],
            Self::Unchanged => [1, 0, 0],
            Self::Removed { keys } => [2, keys, 0],
            Self::NotFound => [3, 0, 0],
            Self::GuardFailed { guard, found: None } => [4, guard as u64, 0],
            Self::GuardFailed { guard, found: Some(version) } => [5, guard as u64, version.0],
            Self::ReservedKey => [6, 0, 0],
            Self::SessionOpened
            | Self::SessionClosed
            | Self::SessionExpired
            | Self::RequestTooOld
            | Self::Checked(_) => return None,
        })
    }

    /// The outcome of a change that these numbers stand for; `None` when they stand for none.
    #[must_use]
    pub fn from_numbers(numbers: [u64; 3]) -> Option<Self> {
        Some(match numbers {
            [0, 0, 0] => Self::Applied,
            [1, 0, 0] => Self::Unchanged,
            [2, keys, 0] if keys > 0 => Self::Removed { keys },
            [3, 0, 0] => Self::NotFound,
            [4, guard, 0] => Self::GuardFailed { guard: usize::try_from(guard).ok()?, found: None },
            [6, 0, 0] => Self::ReservedKey,
            [5, guard, version] => {
                let found = Some(Version(version));
                Self::GuardFailed { guard: usize::try_from(guard).ok()?, found }
            }
            _ => return None,
        })
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
    /// Whether what the command asks for is now so: see [`Outcome::is_applied`].
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.outcome.is_applied()
    }

    /// The first guard that did not hold, counting from 0; `None` when all did.
    #[must_use]
    pub fn failed_guard(&self) -> Option<usize> {
        match self.outcome {
            Outcome::GuardFailed { guard, .. } => Some(guard),
            _ => None,
        }
    }

    /// Whether a key changed: see [`Outcome::changed`].
    #[must_use]
    pub fn changed(&self) -> bool {
        self.outcome.changed()
    }
}
