//! Why bytes are not a message.

/// Why bytes are not a message of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes changed on their way, or are none of ours.
    #[error("the checksum of {bytes} bytes differs from their content")]
    Checksum {
        /// How many bytes there are.
        bytes: usize,
    },
    /// Use the same version of the crate on both sides.
    #[error("format {found} of a message, expected {}", super::MESSAGE_FORMAT)]
    UnknownFormat {
        /// What the message begins with.
        found: u8,
    },
    /// A variant that this format does not have.
    #[error("tag {found} of a {what} is not known")]
    UnknownTag {
        /// What the tag should have chosen among.
        what: &'static str,
        /// The tag.
        found: u8,
    },
    /// The message ends before what it says it holds.
    #[error("the message ends too early, or a length in it is wrong")]
    UnexpectedEnd,
    /// A list is longer than any that is sent.
    #[error("a list of {found}, expected {most} at most")]
    TooMany {
        /// How long it says it is.
        found: usize,
        /// How long it may be.
        most: usize,
    },
    /// The message goes on behind its last field.
    #[error("{extra} bytes follow the last field, expected none")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// Entries do not follow each other, or the entry that they are to follow.
    #[error("entries do not follow each other")]
    NotConsecutive,
    /// An entry without content has some.
    #[error("a blank entry has {bytes} bytes of content")]
    NotBlank {
        /// How many.
        bytes: usize,
    },
    /// An answer to something else: the transport mixed up two requests.
    #[error("this is the answer to another request")]
    OtherRequest,
}
