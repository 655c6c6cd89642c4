//! How large a command may be, and what else makes it unfit to be proposed.
//!
//! Limits are checked before anything is written. What is in the log already was within the limits
//! of the node that proposed it, so apply does not check them again: two nodes with different
//! limits must still agree on the state.

use std::fmt;

use super::definition::{Command, Condition, Guard};
use super::keyspace::{is_reserved, is_within_reserved, takes_time, touches_reserved};
use super::lease::{TTL_MICROS_MAX, TTL_MICROS_MIN, Until};

/// Longest key that any configuration may allow. File formats hold a key's length in 32 bits; the
/// bound is lower because keys stay in memory and in every sparse index.
pub const KEY_BYTES_HARD_MAX: usize = 64 << 10;

/// Largest encoded entry that any configuration may allow: a frame holds its length in 32 bits, and
/// an entry is built, checked and sent as one piece of memory.
pub const ENTRY_BYTES_HARD_MAX: usize = 1 << 30;

/// Largest value that any configuration may allow: it must fit an entry with the longest key.
pub const VALUE_BYTES_HARD_MAX: usize = ENTRY_BYTES_HARD_MAX - KEY_BYTES_HARD_MAX - 64;

/// Most commands, and most guards, that any configuration may allow in one batch.
pub const BATCH_ITEMS_HARD_MAX: usize = 1 << 20;

/// Bytes by which a key that is given a time must be shorter than the longest one: rows that say
/// when it is to go have it in their keys.
pub const TIMED_KEY_ROOM: usize = 32;

/// Bytes of the format number that begins each payload.
pub(super) const FORMAT_BYTES: usize = 1;
/// Bytes of the number that says which variant follows.
const TAG_BYTES: usize = 4;
/// Bytes of a length or count before what it counts.
const LENGTH_BYTES: usize = 8;
/// Bytes of a version, of a log index and of a request's number.
const NUMBER_BYTES: usize = 8;
/// Bytes of the name of a session.
const SESSION_BYTES: usize = 16;
/// Bytes of a digest in a check.
const CHECK_BYTES: usize = 16;
/// Bytes that say whether there is a digest.
const OPTION_BYTES: usize = 1;
/// Bytes of the name of a lease.
const LEASE_BYTES: usize = 16;

/// How large a command may be. Changing them later affects only what is proposed from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key or prefix, in bytes; default and greatest: 64 KiB.
    pub key_bytes_max: usize,
    /// Largest value, in bytes; default: 64 MiB, greatest: just below 1 GiB.
    pub value_bytes_max: usize,
    /// Most commands in a batch; default: 65,536, greatest: 2^20.
    pub batch_commands_max: usize,
    /// Most guards of a batch; default: 65,536, greatest: 2^20.
    pub batch_guards_max: usize,
    /// Largest entry, in bytes as the log holds it without its frame; default: 128 MiB, greatest:
    /// 1 GiB. It is the bound that a large batch meets.
    pub entry_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: KEY_BYTES_HARD_MAX,
            value_bytes_max: 64 << 20,
            batch_commands_max: 1 << 16,
            batch_guards_max: 1 << 16,
            entry_bytes_max: 128 << 20,
        }
    }
}

impl Limits {
    /// Checks that each limit is at least one and at most its hard bound.
    ///
    /// # Errors
    ///
    /// Names the first limit that is not.
    pub fn validate(&self) -> Result<(), LimitsError> {
        let bounds = [
            ("key_bytes_max", self.key_bytes_max, KEY_BYTES_HARD_MAX),
            ("value_bytes_max", self.value_bytes_max, VALUE_BYTES_HARD_MAX),
            ("batch_commands_max", self.batch_commands_max, BATCH_ITEMS_HARD_MAX),
            ("batch_guards_max", self.batch_guards_max, BATCH_ITEMS_HARD_MAX),
            ("entry_bytes_max", self.entry_bytes_max, ENTRY_BYTES_HARD_MAX),
        ];
        match bounds.into_iter().find(|&(_, got, max)| got == 0 || got > max) {
            None => Ok(()),
            Some((limit, got, max)) => Err(LimitsError { limit, got, max }),
        }
    }
}

/// A configured limit is out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit {limit} is {got}, expected 1 to {max}: set it to a number within these bounds")]
pub struct LimitsError {
    /// Name of the field of [`Limits`].
    pub limit: &'static str,
    /// What it is set to.
    pub got: usize,
    /// The greatest that it may be.
    pub max: usize,
}

/// What a limit measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Bytes of a key.
    Key,
    /// Bytes of a prefix.
    Prefix,
    /// Bytes of a value, or of the value that a guard compares with.
    Value,
    /// Number of commands in a batch.
    BatchCommands,
    /// Number of guards of a batch.
    BatchGuards,
    /// Bytes of the whole encoded command.
    Entry,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "bytes of a key",
            Self::Prefix => "bytes of a prefix",
            Self::Value => "bytes of a value",
            Self::BatchCommands => "commands in a batch",
            Self::BatchGuards => "guards of a batch",
            Self::Entry => "bytes of an entry",
        })
    }
}

/// A command that may not be proposed. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Choose a key of at least one byte.
    #[error("a key is empty, expected at least one byte: choose a key")]
    EmptyKey,
    /// Make it smaller, split it, or raise the limit in the configuration.
    #[error("{what}: {got}, expected at most {limit}: split it or raise the limit")]
    TooLarge {
        /// What was measured.
        what: Measure,
        /// The configured limit.
        limit: usize,
        /// What the command has.
        got: usize,
    },
    /// Put the inner batch's commands and guards into the outer one.
    #[error("a batch contains a batch: put all commands and guards into one")]
    NestedBatch,
    /// Give the batch a command or a guard, or do not submit it.
    #[error("a batch has no command and no guard: add one, or do not submit it")]
    EmptyBatch,
    /// Put only sets and deletes into a batch, and the batch into a session.
    #[error("a batch contains other than sets and deletes: submit that by itself")]
    NotInBatch,
    /// Put only sets, deletes and batches into a session.
    #[error("a session's request is not a set, a delete or a batch of them: submit it by itself")]
    NotInSession,
    /// Number the requests of a session from 1.
    #[error("a request has the number 0: number the requests of a session from 1")]
    RequestZero,
    /// Choose another key: keys that begin with eight bytes `0xff` are the library's own.
    #[error("a key or a prefix is in the reserved keyspace: choose another one")]
    ReservedKey,
    /// Leave it to the engines.
    #[error("checks and expiry are proposed by the engines, not by a caller: leave it to them")]
    NotForCallers,
    /// Choose a time within these bounds.
    #[error(
        "a time to live is {got} microseconds, expected {TTL_MICROS_MIN} to {TTL_MICROS_MAX}: \
         choose one from a millisecond to ten years"
    )]
    TtlOutOfRange {
        /// The time, in microseconds.
        got: u64,
    },
}

/// Checks that a command of a caller may be proposed. Commands of sessions are among them, since a
/// server may number the requests of its own clients; checks and expiry are not.
///
/// Costs a few comparisons per command and guard; values are not read.
///
/// # Errors
///
/// The first reason found why it may not.
pub fn validate_command(command: &Command, limits: &Limits) -> Result<(), CommandError> {
    match command {
        // Nearly always.
        Command::Set { key, value } if !is_reserved(key) => validate_set(key, value, limits)?,
        Command::OpenSession { .. }
        | Command::CloseSession { .. }
        | Command::KeepAlive { .. }
        | Command::RevokeLease { .. } => {}
        Command::InSession { request: 0, .. } => return Err(CommandError::RequestZero),
        Command::InSession { command, .. } if !command.is_change() => {
            return Err(CommandError::NotInSession);
        }
        Command::InSession { command, .. } => validate_change(command, limits)?,
        Command::Check { .. } | Command::Expire { .. } => return Err(CommandError::NotForCallers),
        Command::SetExpiring { key, value, until } => {
            validate_timed(key, *until, limits)?;
            at_most(Measure::Value, limits.value_bytes_max, value.len())?;
        }
        Command::Attach { key, until } => validate_timed(key, *until, limits)?,
        Command::GrantLease { ttl, .. } => validate_ttl(*ttl)?,
        change => validate_change(change, limits)?,
    }
    at_most(Measure::Entry, limits.entry_bytes_max, encoded_bytes(command))
}

fn validate_timed(key: &[u8], until: Until, limits: &Limits) -> Result<(), CommandError> {
    if !takes_time(key) {
        return Err(CommandError::ReservedKey);
    }
    validate_key(key, limits)?;
    at_most(Measure::Key, KEY_BYTES_HARD_MAX - TIMED_KEY_ROOM, key.len())?;
    match until {
        Until::After(ttl) => validate_ttl(ttl),
        Until::Lease(_) => Ok(()),
    }
}

fn validate_ttl(got: u64) -> Result<(), CommandError> {
    match got {
        TTL_MICROS_MIN..=TTL_MICROS_MAX => Ok(()),
        got => Err(CommandError::TtlOutOfRange { got }),
    }
}

fn validate_change(command: &Command, limits: &Limits) -> Result<(), CommandError> {
    match command {
        Command::Reserved(batch) if !is_within_reserved(batch) => Err(CommandError::ReservedKey),
        Command::Reserved(batch) => validate_batch(&batch.guards, &batch.commands, limits),
        plain if touches_reserved(plain) => Err(CommandError::ReservedKey),
        Command::Batch { guards, commands } => validate_batch(guards, commands, limits),
        single => validate_single(single, limits),
    }
}

fn validate_batch(
    guards: &[Guard],
    commands: &[Command],
    limits: &Limits,
) -> Result<(), CommandError> {
    if guards.is_empty() && commands.is_empty() {
        return Err(CommandError::EmptyBatch);
    }
    at_most(Measure::BatchGuards, limits.batch_guards_max, guards.len())?;
    at_most(Measure::BatchCommands, limits.batch_commands_max, commands.len())?;
    for guard in guards {
        validate_key(&guard.key, limits)?;
        if let Condition::ValueEquals(value) = &guard.condition {
            at_most(Measure::Value, limits.value_bytes_max, value.len())?;
        }
    }
    commands.iter().try_for_each(|command| validate_single(command, limits))
}

fn validate_single(command: &Command, limits: &Limits) -> Result<(), CommandError> {
    match command {
        Command::Set { key, value } => validate_set(key, value, limits),
        Command::Delete { key } => validate_key(key, limits),
        Command::DeletePrefix { prefix } => {
            at_most(Measure::Prefix, limits.key_bytes_max, prefix.len())
        }
        Command::Batch { .. } => Err(CommandError::NestedBatch),
        _ => Err(CommandError::NotInBatch),
    }
}

fn validate_set(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), CommandError> {
    validate_key(key, limits)?;
    at_most(Measure::Value, limits.value_bytes_max, value.len())
}

fn validate_key(key: &[u8], limits: &Limits) -> Result<(), CommandError> {
    if key.is_empty() {
        return Err(CommandError::EmptyKey);
    }
    at_most(Measure::Key, limits.key_bytes_max, key.len())
}

fn at_most(what: Measure, limit: usize, got: usize) -> Result<(), CommandError> {
    if got <= limit { Ok(()) } else { Err(CommandError::TooLarge { what, limit, got }) }
}

/// Length of a command once encoded, format number included; computed, not encoded.
#[must_use]
pub fn encoded_bytes(command: &Command) -> usize {
    let content = match command {
        Command::Set { key, value } => {
            key_len_bytes(key.len()).map(|bytes| bytes + key.len() + value.len())
        }
        _ => None,
    };
    FORMAT_BYTES + content.unwrap_or_else(|| item_bytes(command))
}

/// Most bytes that the length of a key takes in the payload of a `Set` that stands alone.
pub(super) const KEY_LEN_BYTES_MAX: usize = 3;

/// How many bytes the length of a key takes there; `None` where it is too long for that form.
pub(super) const fn key_len_bytes(len: usize) -> Option<usize> {
    match len {
        0..0x80 => Some(1),
        0x80..0x4000 => Some(2),
        0x4000..0x20_0000 => Some(KEY_LEN_BYTES_MAX),
        _ => None,
    }
}

/// Length of a command within an encoding, its tag included.
fn item_bytes(command: &Command) -> usize {
    let fields = match command {
        Command::Set { key, value } => 2 * LENGTH_BYTES + key.len() + value.len(),
        Command::Delete { key } => LENGTH_BYTES + key.len(),
        Command::DeletePrefix { prefix } => LENGTH_BYTES + prefix.len(),
        Command::Batch { guards, commands } => batch_bytes(guards, commands),
        Command::Reserved(batch) => TAG_BYTES + batch_bytes(&batch.guards, &batch.commands),
        Command::OpenSession { .. } | Command::CloseSession { .. } => SESSION_BYTES,
        Command::InSession { command, .. } => SESSION_BYTES + NUMBER_BYTES + item_bytes(command),
        Command::Check { digest, .. } => {
            NUMBER_BYTES + OPTION_BYTES + digest.map_or(0, |_| CHECK_BYTES)
        }
        Command::SetExpiring { key, value, until } => {
            until_bytes(*until) + 2 * LENGTH_BYTES + key.len() + value.len()
        }
        Command::Attach { key, until } => until_bytes(*until) + LENGTH_BYTES + key.len(),
        Command::GrantLease { .. } => LEASE_BYTES + NUMBER_BYTES,
        Command::KeepAlive { .. } | Command::RevokeLease { .. } => LEASE_BYTES,
        Command::Expire { .. } => NUMBER_BYTES,
    };
    TAG_BYTES + fields
}

const fn until_bytes(until: Until) -> usize {
    match until {
        Until::After(_) => TAG_BYTES + NUMBER_BYTES,
        Until::Lease(_) => TAG_BYTES + LEASE_BYTES,
    }
}

fn batch_bytes(guards: &[Guard], commands: &[Command]) -> usize {
    2 * LENGTH_BYTES
        + guards.iter().map(guard_bytes).sum::<usize>()
        + commands.iter().map(item_bytes).sum::<usize>()
}

fn guard_bytes(guard: &Guard) -> usize {
    let condition = match &guard.condition {
        Condition::Absent | Condition::Present => 0,
        Condition::VersionEquals(_) => NUMBER_BYTES,
        Condition::ValueEquals(value) => LENGTH_BYTES + value.len(),
    };
    LENGTH_BYTES + guard.key.len() + TAG_BYTES + condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::definition::SessionId;
    use crate::command::keyspace::reserved_key;
    use crate::command::lease::LeaseId;
    use crate::types::LogIndex;

    const SMALL: Limits = Limits {
        key_bytes_max: 4,
        value_bytes_max: 8,
        batch_commands_max: 2,
        batch_guards_max: 1,
        entry_bytes_max: 100,
    };

    fn refused(command: &Command) -> CommandError {
        validate_command(command, &SMALL).unwrap_err()
    }

    fn too_large(what: Measure, limit: usize, got: usize) -> CommandError {
        CommandError::TooLarge { what, limit, got }
    }

    #[test]
    fn defaults_are_within_the_hard_bounds() {
        assert_eq!(Limits::default().validate(), Ok(()));
    }

    #[test]
    fn a_limit_of_zero_or_above_its_bound_is_refused() {
        let mut limits = Limits { key_bytes_max: 0, ..Limits::default() };
        assert_eq!(limits.validate().unwrap_err().limit, "key_bytes_max");
        limits.key_bytes_max = KEY_BYTES_HARD_MAX + 1;
        assert_eq!(limits.validate().unwrap_err().max, KEY_BYTES_HARD_MAX);
    }

    #[test]
    fn no_change_of_a_caller_names_a_reserved_key() {
        let key = || reserved_key(b"x");
        let guard = Guard { key: key(), condition: Condition::Absent };
        let limits = Limits::default();
        for change in [
            Command::set(key(), "v"),
            Command::delete(key()),
            Command::DeletePrefix { prefix: key() },
            Command::batch([Command::set("a", "v"), Command::set(key(), "v")]),
            Command::Batch { guards: vec![guard], commands: vec![Command::set("a", "v")] },
        ] {
            let in_session = Command::in_session(SessionId([1; 16]), 1, change.clone());
            for command in [change, in_session] {
                let refused = validate_command(&command, &limits);
                assert_eq!(refused, Err(CommandError::ReservedKey), "{command:?}");
            }
        }
    }

    #[test]
    fn the_largest_allowed_key_and_value_fit_the_largest_entry() {
        let set = Command::set("", "");
        let overhead = encoded_bytes(&Command::in_session(SessionId([0; 16]), 1, set));
        assert!(overhead + KEY_BYTES_HARD_MAX + VALUE_BYTES_HARD_MAX <= ENTRY_BYTES_HARD_MAX);
    }

    #[test]
    fn empty_keys_are_refused_everywhere() {
        for command in [
            Command::set("", "v"),
            Command::delete(""),
            Command::batch([Command::delete("")]),
            Command::guarded([Guard::absent("")], []),
        ] {
            assert_eq!(refused(&command), CommandError::EmptyKey, "{command:?}");
        }
    }

    #[test]
    fn an_empty_prefix_means_everything_and_is_allowed() {
        assert_eq!(validate_command(&Command::delete_prefix(""), &SMALL), Ok(()));
    }

    #[test]
    fn each_size_is_allowed_at_its_limit_and_refused_one_past_it() {
        assert_eq!(validate_command(&Command::set("kkkk", "vvvvvvvv"), &SMALL), Ok(()));
        assert_eq!(refused(&Command::delete("kkkkk")), too_large(Measure::Key, 4, 5));
        assert_eq!(refused(&Command::delete_prefix("kkkkk")), too_large(Measure::Prefix, 4, 5));
        assert_eq!(refused(&Command::set("k", "vvvvvvvvv")), too_large(Measure::Value, 8, 9));
        let guard = Guard::value_equals("k", "vvvvvvvvv");
        assert_eq!(refused(&Command::guarded([guard], [])), too_large(Measure::Value, 8, 9));
    }

    #[test]
    fn a_batch_is_bounded_in_commands_guards_and_bytes() {
        let two = [Command::delete("a"), Command::delete("b")];
        assert_eq!(validate_command(&Command::batch(two.clone()), &SMALL), Ok(()));
        let three = two.clone().into_iter().chain([Command::delete("c")]);
        assert_eq!(refused(&Command::batch(three)), too_large(Measure::BatchCommands, 2, 3));
        let guards = [Guard::absent("a"), Guard::absent("b")];
        assert_eq!(
            refused(&Command::guarded(guards, two.clone())),
            too_large(Measure::BatchGuards, 1, 2)
        );
        let exact =
            Limits { entry_bytes_max: encoded_bytes(&Command::batch(two.clone())), ..SMALL };
        assert_eq!(validate_command(&Command::batch(two.clone()), &exact), Ok(()));
        let tight = Limits { entry_bytes_max: exact.entry_bytes_max - 1, ..SMALL };
        assert!(matches!(
            validate_command(&Command::batch(two), &tight),
            Err(CommandError::TooLarge { what: Measure::Entry, .. })
        ));
    }

    #[test]
    fn nested_and_empty_batches_are_refused() {
        assert_eq!(refused(&Command::batch([])), CommandError::EmptyBatch);
        let inner = Command::batch([Command::delete("a")]);
        assert_eq!(refused(&Command::batch([inner])), CommandError::NestedBatch);
    }

    #[test]
    fn a_batch_of_guards_alone_is_allowed() {
        let check = Command::guarded([Guard::present("a")], []);
        assert_eq!(validate_command(&check, &SMALL), Ok(()));
    }

    #[test]
    fn a_session_takes_changes_within_the_limits_and_nothing_else() {
        let session = SessionId([7; 16]);
        let within = |command| Command::in_session(session, 1, command);
        for command in [
            Command::open_session(session),
            Command::close_session(session),
            within(Command::set("kkkk", "vvvvvvvv")),
            within(Command::guarded([Guard::absent("a")], [Command::delete("b")])),
        ] {
            assert_eq!(validate_command(&command, &SMALL), Ok(()), "{command:?}");
        }
        assert_eq!(refused(&within(Command::delete("kkkkk"))), too_large(Measure::Key, 4, 5));
        assert_eq!(refused(&within(Command::batch([]))), CommandError::EmptyBatch);
        let zero = Command::in_session(session, 0, Command::delete("a"));
        assert_eq!(refused(&zero), CommandError::RequestZero);
        let check = Command::Check { index: LogIndex(1), digest: None };
        for command in [Command::open_session(session), within(Command::delete("a")), check.clone()]
        {
            assert_eq!(refused(&within(command.clone())), CommandError::NotInSession);
            assert_eq!(refused(&Command::batch([command])), CommandError::NotInBatch);
        }
        assert_eq!(refused(&check), CommandError::NotForCallers);
    }

    #[test]
    fn a_time_is_a_millisecond_to_ten_years_and_the_key_plain_or_of_a_scope() {
        let expiring =
            |key: &[u8], ttl| Command::set_expiring(key.to_vec(), "v", Until::After(ttl));
        let limits = Limits::default();
        let check = |command: &Command| validate_command(command, &limits);
        for ttl in [TTL_MICROS_MIN, TTL_MICROS_MAX] {
            assert_eq!(check(&expiring(b"k", ttl)), Ok(()));
            assert_eq!(check(&Command::GrantLease { lease: LeaseId([1; 16]), ttl }), Ok(()));
        }
        for got in [0, TTL_MICROS_MIN - 1, TTL_MICROS_MAX + 1, u64::MAX] {
            let refused = Err(CommandError::TtlOutOfRange { got });
            assert_eq!(check(&expiring(b"k", got)), refused);
            assert_eq!(check(&Command::GrantLease { lease: LeaseId([1; 16]), ttl: got }), refused);
            let attach = Command::Attach { key: "k".into(), until: Until::After(got) };
            assert_eq!(check(&attach), refused);
        }
        assert_eq!(check(&expiring(&reserved_key(b"scope/e/k"), 5_000)), Ok(()));
        for key in [reserved_key(b"auth/x"), reserved_key(b"lease/k/x"), reserved_key(b"")] {
            assert_eq!(check(&expiring(&key, 5_000)), Err(CommandError::ReservedKey));
        }
        assert_eq!(check(&expiring(b"", 5_000)), Err(CommandError::EmptyKey));
        let longest = vec![b'k'; KEY_BYTES_HARD_MAX - TIMED_KEY_ROOM];
        assert_eq!(check(&expiring(&longest, 5_000)), Ok(()));
        let longer = [&longest[..], b"k"].concat();
        let (limit, got) = (longest.len(), longer.len());
        assert_eq!(check(&expiring(&longer, 5_000)), Err(too_large(Measure::Key, limit, got)));
    }

    #[test]
    fn times_and_leases_stand_alone_and_expiry_is_not_for_callers() {
        let lease = LeaseId([1; 16]);
        for command in [
            Command::set_expiring("k", "v", Until::Lease(lease)),
            Command::Attach { key: "k".into(), until: Until::Lease(lease) },
            Command::GrantLease { lease, ttl: 5_000 },
            Command::KeepAlive { lease },
            Command::RevokeLease { lease },
        ] {
            assert_eq!(validate_command(&command, &SMALL), Ok(()), "{command:?}");
            assert_eq!(refused(&Command::batch([command.clone()])), CommandError::NotInBatch);
            let request = Command::in_session(SessionId([7; 16]), 1, command);
            assert_eq!(refused(&request), CommandError::NotInSession);
        }
        assert_eq!(refused(&Command::Expire { limit: 1 }), CommandError::NotForCallers);
    }

    #[test]
    fn the_session_counts_towards_the_size_of_the_entry() {
        let plain = Command::delete("k");
        let exact = Limits { entry_bytes_max: encoded_bytes(&plain), ..SMALL };
        assert_eq!(validate_command(&plain, &exact), Ok(()));
        let command = Command::in_session(SessionId([7; 16]), 1, plain);
        let (limit, got) = (exact.entry_bytes_max, exact.entry_bytes_max + 28);
        assert_eq!(validate_command(&command, &exact), Err(too_large(Measure::Entry, limit, got)));
    }
}
