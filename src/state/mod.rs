//! The state that the log's commands make: a function of the commands and of nothing else (rule
//! R1).
//!
//! [`KvState`] applies entries in log order; a [`StateView`] is one state that never changes again,
//! and costs nothing to take. Nothing here reads a clock, a disk or a random source, so two
//! replicas that applied the same entries are equal, and their [digests](StateDigest) say so.

pub mod value;
pub mod outcome;
pub mod check;
pub mod sessions;
mod gaps;
mod below;
pub mod tail;
pub mod cursor;
pub mod view;
pub mod effects;
pub(crate) mod published;
pub mod reserved;
pub mod scan;
pub mod times;
pub mod scoped;
pub mod digest;
pub mod run;
mod met_rows;
mod changes;
mod leases;
pub mod kv_state;
pub mod past;

pub use self::check::{CHECK_INTERVAL, CHECKS_KEPT, Sum};
pub use self::cursor::{Cursor, Row};
pub use self::digest::StateDigest;
pub use self::effects::{Detail, Effect, Effects, Removal, named_row};
pub use self::kv_state::{ApplyError, Checkpoint, KvState, Looked};
pub use self::outcome::{Applied, ApplyOutcome, CheckResult, Durability, Outcome};
pub use self::past::{PastState, RowChange};
pub use self::reserved::Reserved;
pub use self::run::{Logged, NotInOrder, Run, Told};
pub use self::scan::OwnedScan;
pub use self::scoped::{ScopedCursor, ScopedRows, ScopedScan, ScopedView};
pub use self::sessions::{SESSION_IDLE_MICROS, SESSIONS_MAX, Session, SessionAnswer, Sessions};
pub use self::tail::Tail;
pub use self::times::LeaseTerms;
pub use self::value::{Value, Versioned};
pub use self::view::{Counts, Resident, Rows, StateView};

#[cfg(test)]
mod tests;
