//! What openraft is told of a failure of the storage. Any error stops its node for good, so only
//! faults are errors here; what a command did not do is an outcome.

use std::io;

/// An error of ours, as openraft takes it.
pub(crate) fn io_error(
    error: &(impl std::error::Error + Clone + Send + Sync + 'static),
) -> io::Error {
    io::Error::other(error.clone())
}

/// What was asked for cannot be, whoever asks again.
pub(crate) fn refusal(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
