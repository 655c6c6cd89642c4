//! Why a command did not do what it was asked for, and with which code it exits.

use std::fmt;
use std::io;

use hightower_kv::Error;

/// A key that is not there, or an error.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The store, or its audit trail, is damaged.
pub(crate) const EXIT_DAMAGED: u8 = 2;
/// The command line cannot be understood.
pub(crate) const EXIT_USAGE: u8 = 64;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such key.
    NotFound,
    /// `verify` found so many damages, and has printed them.
    Damaged(usize),
    /// An argument cannot be understood.
    Usage(String),
    /// The store said no.
    Store(Error),
    /// Something else said no: what, and why.
    Other(String),
    /// Whoever reads standard output has gone away. Nobody is left to be told.
    ReaderLeft,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged(_) => EXIT_DAMAGED,
            Self::Store(error) if is_damage(error) => EXIT_DAMAGED,
            Self::Usage(_) => EXIT_USAGE,
            _ => EXIT_FAILED,
        }
    }
}

const fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Corrupt(_)
            | Error::TailAmbiguous(_)
            | Error::MissingSegment(_)
            | Error::AuditBroken { .. }
    )
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("Key not found"),
            Self::Damaged(1) => f.write_str("htkvctl: 1 damage"),
            Self::Damaged(count) => write!(f, "htkvctl: {count} damages"),
            Self::Usage(what) => write!(f, "htkvctl: {what}\n\nFor more, try 'htkvctl --help'."),
            Self::Store(error) => write!(f, "htkvctl: {error}"),
            Self::Other(what) => write!(f, "htkvctl: {what}"),
            Self::ReaderLeft => Ok(()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::KeyNotFound => Self::NotFound,
            other => Self::Store(other),
        }
    }
}

impl From<hightower_kv::storage::error::StorageError> for Failure {
    fn from(error: hightower_kv::storage::error::StorageError) -> Self {
        Self::Store(error.into())
    }
}

/// Of writing to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderLeft,
            _ => Self::Other(format!("cannot write to standard output: {error}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}
