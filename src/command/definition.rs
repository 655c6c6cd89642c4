//! The commands themselves.
//!
//! [`Command::Set`], [`Command::Delete`], [`Command::DeletePrefix`] and [`Command::Batch`] are
//! *changes* of the state. The others see to it that changes are applied once and that replicas are
//! equal.

use std::fmt;

use bytes::Bytes;

use super::escape::Escaped;
use super::lease::{LeaseId, Until};
use crate::types::{LogIndex, RandomId, Version};

/// One change of the state, as it stands in the log.
///
/// Applying the same commands in the same order gives the same state everywhere. Keys and values
/// are any bytes; a key is not empty. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// Gives a key a value, whatever it had before.
    Set {
        /// The key; not empty.
        key: Bytes,
        /// Its new value; may be empty.
        value: Bytes,
    },
    /// Removes a key. Removing a key that does not exist is not an error.
    Delete {
        /// The key; not empty.
        key: Bytes,
    },
    /// Removes every key that begins with a prefix.
    DeletePrefix {
        /// What the keys begin with. Empty means every key there is.
        prefix: Bytes,
    },
    /// Several changes under conditions: all of them or none, as one entry with one version.
    ///
    /// The guards are looked at first, against the state before the batch. If all hold, the
    /// commands are applied in order, each seeing those before it. Batches do not nest.
    Batch {
        /// What must hold for anything to be changed.
        guards: Vec<Guard>,
        /// What to change: sets and deletes, no batch.
        commands: Vec<Command>,
    },
    /// As [`Self::Batch`], in the reserved keyspace, which no other command reaches: every key of
    /// it begins with eight bytes `0xff`. Made by the parts of this crate that keep records of
    /// their own there.
    Reserved(Box<ReservedBatch>),
    /// Opens a session, in which each request is applied once however often it is handed in.
    ///
    /// Opening one that is open changes nothing. One that was closed is not opened again.
    OpenSession {
        /// Its name.
        session: SessionId,
    },
    /// A change that is applied once: whoever does not learn the outcome hands it in again, under
    /// the same number, and gets the first answer.
    ///
    /// Of each session the answers to the newest [`REQUESTS_KEPT`] numbers are kept, so a client
    /// may have that many requests under way.
    InSession {
        /// The session, which must be open.
        session: SessionId,
        /// The number of the request: 1 for the first of a session, one more for each other.
        request: u64,
        /// What to change: a set, a delete, or a batch.
        command: Box<Command>,
    },
    /// Closes a session: requests of it that are still on their way are not applied.
    CloseSession {
        /// The session; need not be open.
        session: SessionId,
    },
    /// Says what digest the state had after an entry, for each replica to compare with its own.
    ///
    /// The nodes of a cluster propose it; a caller may not.
    Check {
        /// The entry.
        index: LogIndex,
        /// What most of the voters found; `None` when no majority found the same.
        digest: Option<StateCheck>,
    },
    /// As [`Self::Set`], and the key is removed when its time is over. The key is a plain one, or
    /// one of a [scope](super::Scope). The time begins anew each time this is applied, also when
    /// the key has the value already; a [`Self::Set`] ends it, and the key stays.
    SetExpiring {
        /// The key; not empty.
        key: Bytes,
        /// Its new value; may be empty.
        value: Bytes,
        /// How long it is to be there. With a lease that is not there nothing is changed.
        until: Until,
    },
    /// Gives a key a time that has a value, and leaves the value as it is.
    Attach {
        /// The key, as in [`Self::SetExpiring`]; without a value nothing is changed.
        key: Bytes,
        /// How long it is to be there.
        until: Until,
    },
    /// Grants a lease. One that is there stays as it is.
    GrantLease {
        /// Its name.
        lease: LeaseId,
        /// Microseconds of log time until it ends, unless it is kept alive.
        ttl: u64,
    },
    /// Lets the time of a lease begin anew.
    KeepAlive {
        /// The lease.
        lease: LeaseId,
    },
    /// Ends a lease, and removes the keys that are there as long as it is.
    RevokeLease {
        /// The lease.
        lease: LeaseId,
    },
    /// Removes what is due at the stamp of the entry, earliest first.
    ///
    /// The engines propose it; a caller may not.
    Expire {
        /// How many keys at most; all keys of a lease go together.
        limit: u64,
    },
}

/// How many of the newest requests of a session are known with their answers.
pub const REQUESTS_KEPT: u64 = 16;

/// Names a session of a client: 128 random bits that whoever opens it draws for it, and that name
/// no other one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl From<RandomId> for SessionId {
    fn from(id: RandomId) -> Self {
        Self(id.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RandomId(self.0).fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// A digest of the whole state that is kept up to date entry by entry: 128 bits, made to find
/// replicas that have become different by accident, not by somebody who tries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateCheck(pub [u8; 16]);

impl fmt::Display for StateCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RandomId(self.0).fmt(f)
    }
}

impl fmt::Debug for StateCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateCheck({self})")
    }
}

impl Command {
    /// Gives `key` the value `value`.
    #[must_use]
    pub fn set(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Set { key: key.into(), value: value.into() }
    }

    /// Removes `key`.
    #[must_use]
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// Removes every key that begins with `prefix`; every key there is when it is empty.
    #[must_use]
    pub fn delete_prefix(prefix: impl Into<Bytes>) -> Self {
        Self::DeletePrefix { prefix: prefix.into() }
    }

    /// All of `commands` or, after a crash or an error, none.
    #[must_use]
    pub fn batch(commands: impl IntoIterator<Item = Self>) -> Self {
        Self::guarded([], commands)
    }

    /// All of `commands` if every guard holds, and otherwise none.
    #[must_use]
    pub fn guarded(
        guards: impl IntoIterator<Item = Guard>,
        commands: impl IntoIterator<Item = Self>,
    ) -> Self {
        Self::Batch {
            guards: guards.into_iter().collect(),
            commands: commands.into_iter().collect(),
        }
    }

    /// All of `commands` if every guard holds, in the reserved keyspace.
    #[must_use]
    pub fn reserved(
        guards: impl IntoIterator<Item = Guard>,
        commands: impl IntoIterator<Item = Self>,
    ) -> Self {
        let (guards, commands) = (guards.into_iter().collect(), commands.into_iter().collect());
        Self::Reserved(Box::new(ReservedBatch { guards, commands }))
    }

    /// Opens `session`.
    #[must_use]
    pub const fn open_session(session: SessionId) -> Self {
        Self::OpenSession { session }
    }

    /// `command`, applied once as the request with this number of `session`.
    #[must_use]
    pub fn in_session(session: SessionId, request: u64, command: Self) -> Self {
        Self::InSession { session, request, command: Box::new(command) }
    }

    /// Closes `session`.
    #[must_use]
    pub const fn close_session(session: SessionId) -> Self {
        Self::CloseSession { session }
    }

    /// Gives `key` the value `value` for a time.
    #[must_use]
    pub fn set_expiring(key: impl Into<Bytes>, value: impl Into<Bytes>, until: Until) -> Self {
        Self::SetExpiring { key: key.into(), value: value.into(), until }
    }

    /// In how many microseconds it makes something due that was not there before; `None` when it
    /// does not.
    #[must_use]
    pub const fn ttl(&self) -> Option<u64> {
        match self {
            Self::SetExpiring { until: Until::After(ttl), .. }
            | Self::Attach { until: Until::After(ttl), .. }
            | Self::GrantLease { ttl, .. } => Some(*ttl),
            _ => None,
        }
    }

    /// Whether it is about times and leases. Such a command stands alone.
    #[must_use]
    pub const fn is_about_time(&self) -> bool {
        matches!(
            self,
            Self::SetExpiring { .. }
                | Self::Attach { .. }
                | Self::GrantLease { .. }
                | Self::KeepAlive { .. }
                | Self::RevokeLease { .. }
                | Self::Expire { .. }
        )
    }

    /// Whether it is a change: a set, a delete, or a batch of them.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Set { .. }
                | Self::Delete { .. }
                | Self::DeletePrefix { .. }
                | Self::Batch { .. }
                | Self::Reserved(_)
        )
    }

    /// What it does, one by one: a batch's commands, or itself.
    pub(crate) fn parts(&self) -> &[Self] {
        match self {
            Self::InSession { command, .. } => command.parts(),
            Self::Batch { commands, .. } => commands,
            Self::Reserved(batch) => &batch.commands,
            _ => std::slice::from_ref(self),
        }
    }

    /// Whether it may remove several rows.
    #[inline]
    pub(crate) fn may_remove_several(&self) -> bool {
        // A set and a delete first: nothing else is looked at on their way.
        !matches!(self, Self::Set { .. } | Self::Delete { .. }) && self.is_about_several()
    }

    fn is_about_several(&self) -> bool {
        let unnamed = |part: &Self| {
            matches!(
                part,
                Self::DeletePrefix { .. } | Self::RevokeLease { .. } | Self::Expire { .. }
            )
        };
        match self.parts() {
            [only] => unnamed(only),
            several => !several.is_empty(),
        }
    }

    /// Bytes of key and value of the longest row that it sets; 0 where it sets none.
    #[inline]
    pub(crate) fn longest_row(&self) -> usize {
        match self {
            Self::Set { key, value } => key.len() + value.len(),
            other => other.longest_row_of_parts(),
        }
    }

    /// As [`Self::longest_row`], of one that is perhaps several.
    fn longest_row_of_parts(&self) -> usize {
        let rows = self.parts().iter().map(|part| match part {
            Self::Set { key, value } | Self::SetExpiring { key, value, .. } => {
                key.len() + value.len()
            }
            _ => 0,
        });
        rows.max().unwrap_or_default()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { key, value } => f
                .debug_struct("Set")
                .field("key", &Escaped(key))
                .field("value", &Escaped(value))
                .finish(),
            Self::Delete { key } => f.debug_struct("Delete").field("key", &Escaped(key)).finish(),
            Self::DeletePrefix { prefix } => {
                f.debug_struct("DeletePrefix").field("prefix", &Escaped(prefix)).finish()
            }
            Self::Batch { guards, commands } => f
                .debug_struct("Batch")
                .field("guards", &Shortened(guards))
                .field("commands", &Shortened(commands))
                .finish(),
            Self::Reserved(batch) => f
                .debug_struct("Reserved")
                .field("guards", &batch.guards.len())
                .field("commands", &batch.commands.len())
                .finish(),
            Self::OpenSession { session } => {
                f.debug_struct("OpenSession").field("session", session).finish()
            }
            Self::InSession { session, request, command } => f
                .debug_struct("InSession")
                .field("session", session)
                .field("request", request)
                .field("command", command)
                .finish(),
            Self::CloseSession { session } => {
                f.debug_struct("CloseSession").field("session", session).finish()
            }
            Self::Check { index, digest } => {
                f.debug_struct("Check").field("index", &index.0).field("digest", digest).finish()
            }
            timed => fmt_timed(timed, f),
        }
    }
}

/// Shows a command of times and leases.
fn fmt_timed(command: &Command, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match command {
        Command::SetExpiring { key, value, until } => f
            .debug_struct("SetExpiring")
            .field("key", &Escaped(key))
            .field("value", &Escaped(value))
            .field("until", until)
            .finish(),
        Command::Attach { key, until } => {
            f.debug_struct("Attach").field("key", &Escaped(key)).field("until", until).finish()
        }
        Command::GrantLease { lease, ttl } => {
            f.debug_struct("GrantLease").field("lease", lease).field("ttl", ttl).finish()
        }
        Command::KeepAlive { lease } => f.debug_struct("KeepAlive").field("lease", lease).finish(),
        Command::RevokeLease { lease } => {
            f.debug_struct("RevokeLease").field("lease", lease).finish()
        }
        Command::Expire { limit } => f.debug_struct("Expire").field("limit", limit).finish(),
        _ => f.write_str("Command"),
    }
}

/// Guards and changes of the reserved keyspace: all of them or none, as one entry.
///
/// Every key in it is reserved, as no key of any other command is: a command is of one keyspace.
/// Apply looks at that again, whatever was checked before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedBatch {
    /// What must hold for anything to be changed.
    pub guards: Vec<Guard>,
    /// What to change: sets and deletes, no batch.
    pub commands: Vec<Command>,
}

/// A condition on one key. A batch changes something only if all its guards hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Guard {
    /// The key looked at; not empty.
    pub key: Bytes,
    /// What must be true of it.
    pub condition: Condition,
}

impl Guard {
    /// Holds if `condition` is true of `key`.
    #[must_use]
    pub fn new(key: impl Into<Bytes>, condition: Condition) -> Self {
        Self { key: key.into(), condition }
    }

    /// Holds if `key` does not exist.
    #[must_use]
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::new(key, Condition::Absent)
    }

    /// Holds if `key` exists, with any value.
    #[must_use]
    pub fn present(key: impl Into<Bytes>) -> Self {
        Self::new(key, Condition::Present)
    }

    /// Holds if `key` exists and was last changed by the entry `version`.
    #[must_use]
    pub fn version_equals(key: impl Into<Bytes>, version: Version) -> Self {
        Self::new(key, Condition::VersionEquals(version))
    }

    /// Holds if `key` exists and has exactly this value.
    #[must_use]
    pub fn value_equals(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::new(key, Condition::ValueEquals(value.into()))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("key", &Escaped(&self.key))
            .field("condition", &self.condition)
            .finish()
    }
}

/// What a [`Guard`] asks of its key.
#[derive(Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key does not exist.
    Absent,
    /// The key exists.
    Present,
    /// The key exists and its version is this one.
    VersionEquals(Version),
    /// The key exists and its value is this one.
    ValueEquals(Bytes),
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Present => f.write_str("Present"),
            Self::VersionEquals(version) => write!(f, "VersionEquals({version})"),
            Self::ValueEquals(value) => write!(f, "ValueEquals({:?})", Escaped(value)),
        }
    }
}

/// Most items of a list that are shown before the rest is only counted.
const SHOWN_ITEMS_MAX: usize = 8;

/// Shows the first items of a list and says how many there are.
struct Shortened<'a, T>(&'a [T]);

impl<T: fmt::Debug> fmt::Debug for Shortened<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, rest) = self.0.split_at(self.0.len().min(SHOWN_ITEMS_MAX));
        shown.fmt(f)?;
        if !rest.is_empty() {
            write!(f, "... ({} items)", self.0.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_megabytes() {
        let big = Command::set("k", vec![0_u8; 1 << 20]);
        let many = Command::batch(std::iter::repeat_n(big, 1000));
        assert!(format!("{many:?}").len() < 4096);
    }

    #[test]
    fn what_may_remove_several_rows_is_found_in_batches_and_sessions_too() {
        let prefix = || Command::delete_prefix("a");
        let in_session = |command| Command::InSession {
            session: SessionId([7; 16]),
            request: 1,
            command: Box::new(command),
        };
        for command in [
            prefix(),
            Command::RevokeLease { lease: LeaseId([1; 16]) },
            Command::Expire { limit: 1 },
            Command::batch([Command::set("a", "1"), Command::delete("b")]),
            Command::batch([prefix()]),
            Command::reserved([], [prefix()]),
            in_session(prefix()),
            in_session(Command::batch([Command::delete("a"), Command::delete("b")])),
        ] {
            assert!(command.may_remove_several(), "{command:?}");
        }
        for command in [
            Command::set("a", "1"),
            Command::delete("a"),
            Command::batch([]),
            Command::batch([Command::delete("b")]),
            in_session(Command::delete("a")),
            Command::GrantLease { lease: LeaseId([1; 16]), ttl: 1 },
        ] {
            assert!(!command.may_remove_several(), "{command:?}");
        }
    }

    #[test]
    fn debug_reads_like_the_source() {
        let command = Command::guarded(
            [Guard::version_equals("a", Version(7))],
            [Command::set("a", "1"), Command::delete("b")],
        );
        assert_eq!(
            format!("{command:?}"),
            r#"Batch { guards: [Guard { key: "a", condition: VersionEquals(7) }], "#.to_owned()
                + r#"commands: [Set { key: "a", value: "1" }, Delete { key: "b" }] }"#
        );
    }
}
