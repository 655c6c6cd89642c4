//! Why bytes are not a command or a membership.

use crate::command::membership::MembershipError;

/// Why bytes are not a command or a membership. They passed their checksum, so they are what was
/// written: by a newer version, or by something else altogether.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Use a version of the crate that knows this format.
    #[error("format {found}, expected 1 to {max}: a newer version wrote this, use it to read it")]
    UnknownFormat {
        /// What the payload begins with.
        found: u8,
        /// The newest format that this version knows.
        max: u8,
    },
    /// A variant that this format does not have.
    #[error("tag {found} of a {what} is not known")]
    UnknownTag {
        /// What the tag should have chosen among.
        what: &'static str,
        /// The tag.
        found: u32,
    },
    /// The payload ends before what it says it holds.
    #[error("the payload ends too early, or a length in it is wrong")]
    UnexpectedEnd,
    /// The payload goes on behind its last field.
    #[error("{extra} bytes follow the last field, expected none")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
    /// The payload is larger than allowed.
    #[error("payload of {got} bytes, expected at most {limit}")]
    TooLarge {
        /// Most bytes that are decoded.
        limit: usize,
        /// Length of the payload.
        got: usize,
    },
    /// A batch stands within a batch.
    #[error("a batch contains a batch")]
    NestedBatch,
    /// What follows the tag of a batch in the reserved keyspace is not a batch.
    #[error("a reserved batch is not a batch")]
    NotABatch,
    /// An address is not UTF-8.
    #[error("an address is not UTF-8")]
    NotUtf8,
    /// Node ids are not strictly ascending.
    #[error("node ids are not in ascending order")]
    NotAscending,
    /// The same value has another encoding, which is the one that is written.
    #[error("a membership that knows no directory is written in the older format")]
    NotCanonical,
    /// The membership breaks an invariant.
    #[error("membership: {0}")]
    Membership(#[from] MembershipError),
    /// The decoder refused the bytes for a reason that this version does not expect.
    #[error("not a valid encoding: {0}")]
    Malformed(String),
}
