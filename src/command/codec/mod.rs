//! How commands and memberships stand in the log: the one place that names `bincode`.
//!
//! # Layout
//!
//! All numbers are little-endian and of fixed width. `bytes` is a length as `u64` followed by that
//! many bytes; `list of x` is a count as `u64` followed by that many `x`. A `tag` is a `u32`.
//!
//! A command's payload is the format number `1` as one byte, then a command:
//!
//! | command | tag | fields, in order |
//! |---|---|---|
//! | `Set` | 0 | key: bytes, value: bytes |
//! | `Delete` | 1 | key: bytes |
//! | `DeletePrefix` | 2 | prefix: bytes |
//! | `Batch` | 3 | guards: list of guard, commands: list of command with tag 0, 1 or 2 |
//! | `OpenSession` | 4 | session: 16 bytes |
//! | `InSession` | 5 | session: 16 bytes, request: `u64`, then a command with tag 0 to 3, or 8 |
//! | `CloseSession` | 6 | session: 16 bytes |
//! | `Check` | 7 | index: `u64`, then the byte 0, or the byte 1 and the digest: 16 bytes |
//! | `Reserved` | 8 | a command with tag 3 |
//! | `SetExpiring` | 9 | until, key: bytes, value: bytes |
//! | `GrantLease` | 10 | lease: 16 bytes, ttl: `u64`, in microseconds |
//! | `KeepAlive` | 11 | lease: 16 bytes |
//! | `RevokeLease` | 12 | lease: 16 bytes |
//! | `Expire` | 13 | limit: `u64` |
//! | `Attach` | 14 | until, key: bytes |
//!
//! A `Set` that stands alone, which is what most entries are, has a payload of its own: the format
//! number `2`, the length of the key in groups of seven bits (the lowest first, one byte each, with
//! the top bit in all but the last; no more than three, and the last is not zero unless it is the
//! only one), the key, and the value up to the end. Its older form, as above, is still read.
//!
//! How long a key is to be there (until) is the tag 0 and microseconds as `u64`, or the tag 1 and
//! the lease: 16 bytes.
//!
//! A guard is its key (bytes), then a condition:
//!
//! | condition | tag | fields |
//! |---|---|---|
//! | `Absent` | 0 | |
//! | `Present` | 1 | |
//! | `VersionEquals` | 2 | version: `u64` |
//! | `ValueEquals` | 3 | value: bytes |
//!
//! A membership's payload is the format number `1` as one byte, then the sets of voters as a list
//! of lists of node ids (`u64`), then a list of (node id: `u64`, address: bytes that are UTF-8).
//! Ids are strictly ascending within each list of ids or nodes. Where the directory of any node is
//! known the format number is `2`, and each node is followed by its incarnation: 16 bytes, all zero
//! where it is not known.
//!
//! Nothing follows the last field: a payload with bytes left over is refused. So is any payload
//! that no version of this module has written.
//!
//! # Hostile bytes
//!
//! Decoding never panics, and never allocates more than a small multiple of the payload's own
//! length: each length and count is compared with what is left of the payload before it is
//! believed, and nothing recurses.

pub mod error;
mod wire;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bytes::Bytes;

pub use self::error::DecodeError;
use self::wire::{
    AttachWire, BoundMembershipWire, CommandWire, MembershipWire, SetExpiringWire, UntilWire,
};
use super::definition::{Command, SessionId, StateCheck};
use super::lease::LeaseId;
use super::limits::{
    ENTRY_BYTES_HARD_MAX, FORMAT_BYTES, KEY_LEN_BYTES_MAX, encoded_bytes, key_len_bytes,
};
use super::membership::Membership;
use crate::types::LogIndex;

/// Format number that begins the payload of a command.
pub const COMMAND_FORMAT: u8 = 1;

/// Format number that begins the payload of a `Set` that stands alone.
pub const SET_FORMAT: u8 = 2;

/// Format number that begins the payload of a membership of which no directory is known.
pub const MEMBERSHIP_FORMAT: u8 = 1;

/// Format number that begins the payload of a membership with incarnations.
pub const BOUND_MEMBERSHIP_FORMAT: u8 = 2;

/// Largest encoded membership: thousands of nodes with long addresses.
pub const MEMBERSHIP_BYTES_MAX: usize = 1 << 20;

/// Tag of `Set`, for the path that writes it without going through `bincode`.
const SET_TAG: u32 = 0;
/// Tags of the commands that are not changes themselves: they stand before one, or alone, and never
/// within another command, so they are not among those of [`CommandWire`].
const OPEN_SESSION_TAG: u32 = 4;
const IN_SESSION_TAG: u32 = 5;
const CLOSE_SESSION_TAG: u32 = 6;
const CHECK_TAG: u32 = 7;
/// Tag that stands before a batch of the reserved keyspace.
const RESERVED_TAG: u32 = 8;
/// Tags of what is about times and leases, which stands alone.
const SET_EXPIRING_TAG: u32 = 9;
const GRANT_LEASE_TAG: u32 = 10;
const KEEP_ALIVE_TAG: u32 = 11;
const REVOKE_LEASE_TAG: u32 = 12;
const EXPIRE_TAG: u32 = 13;
const ATTACH_TAG: u32 = 14;
/// Bytes of a session's name and of a request's number.
const IN_SESSION_BYTES: usize = 24;

/// Little-endian, fixed-width numbers, and a limit on every decode.
const CONFIG: Configuration<LittleEndian, Fixint, Limit<ENTRY_BYTES_HARD_MAX>> =
    bincode::config::legacy().with_limit::<ENTRY_BYTES_HARD_MAX>();

/// A payload in two parts, so that a value is written to the log from where the caller put it.
///
/// The payload is `head` followed by `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedCommand<'a> {
    /// Everything up to the value of a `Set`, in a session or not, or of a `SetExpiring`; the whole
    /// payload of any other command.
    pub head: Vec<u8>,
    /// That value, not copied; empty for any other command.
    pub body: &'a [u8],
}

impl EncodedCommand<'_> {
    /// Length of the payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The payload in one piece; copies the value.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        [self.head.as_slice(), self.body].concat()
    }
}

/// The payload of a command. The value of a `Set` is borrowed, not copied.
///
/// # Panics
///
/// On a batch within a batch, and on what may not stand in a batch or in a session, which
/// [`validate_command`](super::limits::validate_command) refuses: in the log it could never be read
/// again.
#[must_use]
pub fn encode(command: &Command) -> EncodedCommand<'_> {
    EncodedCommand { head: encode_head(command), body: body_of(command) }
}

/// The second part of a command's payload: the value of a `Set`, in a session or not, or of a
/// `SetExpiring`.
#[must_use]
pub fn body_of(command: &Command) -> &[u8] {
    let change = match command {
        Command::InSession { command, .. } => command,
        other => other,
    };
    match change {
        Command::Set { value, .. } | Command::SetExpiring { value, .. } => value,
        _ => &[],
    }
}

/// The first part of a command's payload. One allocation of the right length.
///
/// # Panics
///
/// As [`encode`].
#[must_use]
pub fn encode_head(command: &Command) -> Vec<u8> {
    let mut head = Vec::new();
    encode_head_into(command, &mut head);
    head
}

/// As [`encode_head`], into room that is used again and again; what it held is replaced.
///
/// # Panics
///
/// As [`encode`].
pub fn encode_head_into(command: &Command, head: &mut Vec<u8>) {
    head.clear();
    if let Command::Set { key, .. } = command
        && let Some(len_bytes) = key_len_bytes(key.len())
    {
        head.reserve_exact(FORMAT_BYTES + len_bytes + key.len());
        head.push(SET_FORMAT);
        write_key_len(key.len(), head);
        head.extend_from_slice(key);
    } else {
        encode_other_head(command, head);
    }
    let bytes = head.len() + body_of(command).len();
    debug_assert_eq!(bytes, encoded_bytes(command), "{command:?}");
}

/// As [`encode_head_into`], of a command that is not a set by itself, or whose key is too long for
/// the short form.
fn encode_other_head(command: &Command, head: &mut Vec<u8>) {
    head.reserve_exact(encoded_bytes(command) - body_of(command).len());
    head.push(COMMAND_FORMAT);
    match command {
        Command::OpenSession { session } => write(&(OPEN_SESSION_TAG, session.0), head),
        Command::InSession { session, request, command } => {
            write(&(IN_SESSION_TAG, session.0, request), head);
            write_change(command, head);
        }
        Command::CloseSession { session } => write(&(CLOSE_SESSION_TAG, session.0), head),
        Command::Check { index, digest } => {
            write(&(CHECK_TAG, index.0, digest.map(|digest| digest.0)), head);
        }
        Command::SetExpiring { key, value, until } => {
            write(&(SET_EXPIRING_TAG, UntilWire::from(*until)), head);
            write_pair(key, value, head);
        }
        Command::Attach { key, until } => {
            write(&(ATTACH_TAG, AttachWire { until: UntilWire::from(*until), key }), head);
        }
        Command::GrantLease { lease, ttl } => write(&(GRANT_LEASE_TAG, lease.0, ttl), head),
        Command::KeepAlive { lease } => write(&(KEEP_ALIVE_TAG, lease.0), head),
        Command::RevokeLease { lease } => write(&(REVOKE_LEASE_TAG, lease.0), head),
        Command::Expire { limit } => write(&(EXPIRE_TAG, limit), head),
        change => write_change(change, head),
    }
}

/// Appends a change of the state, but for the value of a `Set`.
fn write_change(command: &Command, head: &mut Vec<u8>) {
    match command {
        // The common case, and the one that must not copy its value, so it is written by hand.
        Command::Set { key, value } => {
            head.extend_from_slice(&SET_TAG.to_le_bytes());
            write_pair(key, value, head);
        }
        Command::Reserved(batch) => {
            head.extend_from_slice(&RESERVED_TAG.to_le_bytes());
            write(&CommandWire::from(batch.as_ref()), head);
        }
        other => write(&CommandWire::from(other), head),
    }
}

/// Appends a key, and the length of its value: the value itself is written from where it is.
fn write_pair(key: &[u8], value: &[u8], head: &mut Vec<u8>) {
    head.extend_from_slice(&(key.len() as u64).to_le_bytes());
    head.extend_from_slice(key);
    head.extend_from_slice(&(value.len() as u64).to_le_bytes());
}

/// Appends the length of a key, of which [`key_len_bytes`] says that it fits.
fn write_key_len(len: usize, head: &mut Vec<u8>) {
    let mut rest = len;
    while rest >= 0x80 {
        head.push(0x80 | low_bits(rest));
        rest >>= 7;
    }
    head.push(low_bits(rest));
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits are left")]
const fn low_bits(number: usize) -> u8 {
    (number & 0x7f) as u8
}

/// Takes the length of a key off `content`; `None` where it was not written by [`write_key_len`].
fn read_key_len(content: &[u8]) -> Option<(usize, &[u8])> {
    let (mut len, mut bits) = (0, 0);
    let mut rest = content;
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        len |= usize::from(byte & 0x7f) << bits;
        if byte & 0x80 == 0 {
            // The shortest form is the only one.
            return (byte != 0 || bits == 0).then_some((len, rest));
        }
        bits += 7;
        if bits >= 7 * KEY_LEN_BYTES_MAX {
            return None;
        }
    }
}

/// The `Set` whose content, behind the format number, this is.
fn read_set(content: &[u8], payload: &Bytes) -> Result<Command, DecodeError> {
    let (len, rest) = read_key_len(content).ok_or(DecodeError::UnexpectedEnd)?;
    let (key, value) = rest.split_at_checked(len).ok_or(DecodeError::UnexpectedEnd)?;
    Ok(Command::Set { key: payload.slice_ref(key), value: payload.slice_ref(value) })
}

/// The command that a payload holds. Its keys and values share the payload's buffer.
///
/// # Errors
///
/// Why the bytes are not a command, or that they are more than `entry_bytes_max`.
pub fn decode(payload: &Bytes, entry_bytes_max: usize) -> Result<Command, DecodeError> {
    let content = match content_of(payload, COMMAND_FORMAT, entry_bytes_max) {
        Err(DecodeError::UnknownFormat { found: SET_FORMAT, .. }) => {
            return read_set(payload.get(1..).unwrap_or_default(), payload);
        }
        Err(DecodeError::UnknownFormat { found, .. }) => {
            return Err(DecodeError::UnknownFormat { found, max: SET_FORMAT });
        }
        content => content?,
    };
    let (tag, fields) = match content.split_first_chunk::<4>() {
        Some((tag, fields)) => (u32::from_le_bytes(*tag), fields),
        None => return Err(DecodeError::UnexpectedEnd),
    };
    Ok(match tag {
        OPEN_SESSION_TAG => Command::OpenSession { session: SessionId(read(fields)?) },
        IN_SESSION_TAG => {
            let (named, change) =
                fields.split_at_checked(IN_SESSION_BYTES).ok_or(DecodeError::UnexpectedEnd)?;
            let (session, request) = read(named)?;
            let command = Box::new(read_change(change, payload)?);
            Command::InSession { session: SessionId(session), request, command }
        }
        CLOSE_SESSION_TAG => Command::CloseSession { session: SessionId(read(fields)?) },
        CHECK_TAG => {
            let (index, digest): (_, Option<_>) = read(fields)?;
            Command::Check { index: LogIndex(index), digest: digest.map(StateCheck) }
        }
        SET_EXPIRING_TAG => read::<SetExpiringWire<'_>>(fields)?.into_command(payload),
        ATTACH_TAG => read::<AttachWire<'_>>(fields)?.into_command(payload),
        GRANT_LEASE_TAG => {
            let (lease, ttl) = read(fields)?;
            Command::GrantLease { lease: LeaseId(lease), ttl }
        }
        KEEP_ALIVE_TAG => Command::KeepAlive { lease: LeaseId(read(fields)?) },
        REVOKE_LEASE_TAG => Command::RevokeLease { lease: LeaseId(read(fields)?) },
        EXPIRE_TAG => Command::Expire { limit: read(fields)? },
        _ => return read_change(content, payload),
    })
}

/// A change of the state, which is all of `content`.
fn read_change(content: &[u8], payload: &Bytes) -> Result<Command, DecodeError> {
    match content.split_first_chunk::<4>() {
        Some((tag, batch)) if u32::from_le_bytes(*tag) == RESERVED_TAG => {
            read::<CommandWire<'_>>(batch)?.into_reserved(payload)
        }
        _ => read::<CommandWire<'_>>(content)?.into_command(payload),
    }
}

/// The payload of a membership.
#[must_use]
pub fn encode_membership(membership: &Membership) -> Vec<u8> {
    let mut payload = Vec::new();
    if membership.is_bound() {
        payload.push(BOUND_MEMBERSHIP_FORMAT);
        write(&BoundMembershipWire::from(membership), &mut payload);
    } else {
        payload.push(MEMBERSHIP_FORMAT);
        write(&MembershipWire::from(membership), &mut payload);
    }
    payload
}

/// The membership that a payload holds.
///
/// # Errors
///
/// Why the bytes are not a membership.
pub fn decode_membership(payload: &[u8]) -> Result<Membership, DecodeError> {
    if payload.first() == Some(&BOUND_MEMBERSHIP_FORMAT) {
        let content = content_of(payload, BOUND_MEMBERSHIP_FORMAT, MEMBERSHIP_BYTES_MAX)?;
        return read::<BoundMembershipWire<'_>>(content)?.into_membership();
    }
    let content = content_of(payload, MEMBERSHIP_FORMAT, MEMBERSHIP_BYTES_MAX)?;
    read::<MembershipWire<'_>>(content)?.into_membership()
}

/// What follows the format number, once that and the size are what they should be.
fn content_of(payload: &[u8], format: u8, bytes_max: usize) -> Result<&[u8], DecodeError> {
    let limit = bytes_max.min(ENTRY_BYTES_HARD_MAX);
    if payload.len() > limit {
        return Err(DecodeError::TooLarge { limit, got: payload.len() });
    }
    match payload.split_first() {
        None => Err(DecodeError::UnexpectedEnd),
        Some((&found, content)) if found == format => Ok(content),
        Some((&found, _)) => Err(DecodeError::UnknownFormat { found, max: format }),
    }
}

/// Appends the encoding of `wire`.
fn write(wire: &impl bincode::Encode, to: &mut Vec<u8>) {
    let written = bincode::encode_into_std_write(wire, to, CONFIG);
    // Memory does not fail to be written, and no type in `wire` refuses to be encoded.
    debug_assert!(written.is_ok(), "{written:?}");
}

/// Decodes all of `content`, with nothing left over.
fn read<'de, T: bincode::BorrowDecode<'de, ()>>(content: &'de [u8]) -> Result<T, DecodeError> {
    let (wire, consumed) =
        bincode::borrow_decode_from_slice(content, CONFIG).map_err(DecodeError::from)?;
    match content.len().saturating_sub(consumed) {
        0 => Ok(wire),
        extra => Err(DecodeError::TrailingBytes { extra }),
    }
}

impl From<bincode::error::DecodeError> for DecodeError {
    fn from(error: bincode::error::DecodeError) -> Self {
        use bincode::error::DecodeError as Theirs;
        match error {
            Theirs::UnexpectedVariant { type_name, found, .. } => {
                let what = wire::name_of(type_name);
                Self::UnknownTag { what, found }
            }
            // The payload is within the limit, so only a wrong length can reach beyond it.
            Theirs::UnexpectedEnd { .. } | Theirs::LimitExceeded | Theirs::OutsideUsizeRange(_) => {
                Self::UnexpectedEnd
            }
            Theirs::Utf8 { .. } => Self::NotUtf8,
            other => Self::Malformed(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
