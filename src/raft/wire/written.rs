//! What became of a write, as an answer says it.

use super::error::WireError;
use super::fields::{Reader, Sink, Wire};
use crate::state::{Applied, CheckResult, Outcome};
use crate::types::NodeId;

/// Why a forwarded write has no outcome. All but the last say that it was not applied and never
/// will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteFailure {
    /// Ask the leader.
    #[error("the node is not the leader")]
    NotLeader {
        /// Who is, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Try again later.
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// The command can never succeed.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The command is too large.
    #[error("{what}: {got}, the limit is {limit}")]
    TooLarge {
        /// What is.
        what: String,
        /// The limit.
        limit: u64,
        /// What was asked for.
        got: u64,
    },
    /// The leader could not, and nothing was written.
    #[error("not applied: {0}")]
    NotApplied(String),
    /// The entry may or may not be applied.
    #[error("it is not known whether the write is there: {0}")]
    OutcomeUnknown(String),
    /// The session is not there any more, so nothing was applied now.
    #[error("the session has expired")]
    SessionExpired,
}

impl Wire for Outcome {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        match self {
            Self::Applied => 0u8.put(to),
            Self::Unchanged => 1u8.put(to),
            Self::Removed { keys } => {
                2u8.put(to);
                keys.put(to);
            }
            Self::NotFound => 3u8.put(to),
            Self::GuardFailed { guard, found } => {
                4u8.put(to);
                (*guard as u64).put(to);
                found.put(to);
            }
            Self::SessionOpened => 5u8.put(to),
            Self::SessionClosed => 6u8.put(to),
            Self::SessionExpired => 7u8.put(to),
            Self::RequestTooOld => 8u8.put(to),
            Self::Checked(result) => {
                9u8.put(to);
                result.put(to);
            }
            Self::ReservedKey => 10u8.put(to),
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::take(from)? {
            0 => Self::Applied,
            1 => Self::Unchanged,
            2 => Self::Removed { keys: Wire::take(from)? },
            3 => Self::NotFound,
            4 => {
                let guard = u64::take(from)?;
                let guard = usize::try_from(guard).map_err(|_| WireError::UnexpectedEnd)?;
                Self::GuardFailed { guard, found: Wire::take(from)? }
            }
            5 => Self::SessionOpened,
            6 => Self::SessionClosed,
            7 => Self::SessionExpired,
            8 => Self::RequestTooOld,
            9 => Self::Checked(Wire::take(from)?),
            10 => Self::ReservedKey,
            found => return Err(WireError::UnknownTag { what: "outcome", found }),
        })
    }
}

impl Wire for CheckResult {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        match self {
            Self::Equal => 0u8.put(to),
            Self::Unknown => 1u8.put(to),
            Self::Different => 2u8.put(to),
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::take(from)? {
            0 => Self::Equal,
            1 => Self::Unknown,
            2 => Self::Different,
            found => return Err(WireError::UnknownTag { what: "result of a check", found }),
        })
    }
}

impl Wire for Applied {
    const BYTES_MIN: usize = Outcome::BYTES_MIN + 24;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.outcome.put(to);
        self.version.put(to);
        self.timestamp.put(to);
        self.stale_bytes.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            outcome: Wire::take(from)?,
            version: Wire::take(from)?,
            timestamp: Wire::take(from)?,
            stale_bytes: Wire::take(from)?,
        })
    }
}

impl Wire for WriteFailure {
    const BYTES_MIN: usize = 1;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        match self {
            Self::NotLeader { leader } => {
                0u8.put(to);
                leader.put(to);
            }
            Self::Overloaded(reason) => {
                1u8.put(to);
                reason.put(to);
            }
            Self::Invalid(reason) => {
                2u8.put(to);
                reason.put(to);
            }
            Self::TooLarge { what, limit, got } => {
                3u8.put(to);
                what.put(to);
                limit.put(to);
                got.put(to);
            }
            Self::NotApplied(reason) => {
                4u8.put(to);
                reason.put(to);
            }
            Self::OutcomeUnknown(reason) => {
                5u8.put(to);
                reason.put(to);
            }
            Self::SessionExpired => 6u8.put(to),
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::take(from)? {
            0 => Self::NotLeader { leader: Wire::take(from)? },
            1 => Self::Overloaded(Wire::take(from)?),
            2 => Self::Invalid(Wire::take(from)?),
            3 => Self::TooLarge {
                what: Wire::take(from)?,
                limit: Wire::take(from)?,
                got: Wire::take(from)?,
            },
            4 => Self::NotApplied(Wire::take(from)?),
            5 => Self::OutcomeUnknown(Wire::take(from)?),
            6 => Self::SessionExpired,
            found => return Err(WireError::UnknownTag { what: "failure of a write", found }),
        })
    }
}

impl Wire for Result<Applied, WriteFailure> {
    const BYTES_MIN: usize = 2;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.is_ok().put(to);
        match self {
            Ok(applied) => applied.put(to),
            Err(failure) => failure.put(to),
        }
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(if bool::take(from)? { Ok(Wire::take(from)?) } else { Err(Wire::take(from)?) })
    }
}
