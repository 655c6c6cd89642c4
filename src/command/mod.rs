//! What may be asked of the state: commands, their limits, and how they stand in the log.
//!
//! A [`Command`] says what to change and under which conditions, in full: it carries no reference
//! to a clock, to a random source or to anything else that two replicas could see differently.
//! Whoever proposes it calls [`limits::validate_command`] first, so that a command in the log is
//! always one that can be applied.

mod escape;
pub mod lease;
pub mod definition;
pub mod keyspace;
pub mod scope;
pub mod limits;
pub mod membership;
pub mod codec;

pub use self::definition::{Command, Condition, Guard, ReservedBatch, SessionId, StateCheck};
pub(crate) use self::escape::Escaped;
pub use self::keyspace::{RESERVED_PREFIX, is_reserved, reserved_key};
pub use self::lease::{LeaseId, Until};
pub use self::scope::{Owner, Scope, ScopeName, ScopeNameError};
