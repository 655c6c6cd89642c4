//! Leases: times that keys share.

use std::fmt;
use std::time::Duration;

use crate::types::RandomId;

/// The shortest time that a key or a lease may be given, in microseconds: a millisecond.
pub const TTL_MICROS_MIN: u64 = 1_000;

/// The longest time that a key or a lease may be given, in microseconds: ten years.
pub const TTL_MICROS_MAX: u64 = 3_652 * 24 * 3_600 * 1_000_000;

/// A time as commands have it; one that is beyond all bounds stays so.
#[must_use]
pub fn ttl_micros(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX)
}

/// Names a lease: 128 random bits that whoever is granted it draws for it, and that name no other
/// one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub [u8; 16]);

impl From<RandomId> for LeaseId {
    fn from(id: RandomId) -> Self {
        Self(id.0)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RandomId(self.0).fmt(f)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

/// How long a key is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// So many microseconds of log time after the entry that says so.
    After(u64),
    /// As long as this lease.
    Lease(LeaseId),
}
