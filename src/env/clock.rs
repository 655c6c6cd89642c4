//! Time: of day for stamps, elapsed for intervals and deadlines.

use std::fmt;
use std::time::Duration;

use crate::types::Timestamp;

/// Tells the time. Nothing but stamps and statistics may depend on the time of day.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time of day. May jump, forward and back.
    fn now(&self) -> Timestamp;

    /// Time since some moment that stays the same for this clock. Never goes back.
    fn elapsed(&self) -> Duration;
}
