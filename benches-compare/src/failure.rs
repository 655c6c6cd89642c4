//! Why a measurement could not be made.

use std::fmt;

/// What failed, said for whoever runs the program; nobody acts on it.
pub(crate) struct Failure(String);

/// `Ok`, or why a measurement could not be made.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure that no other error stands behind.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Says what was being done.
pub(crate) trait While<T> {
    /// Puts `what` before the reason of a failure.
    fn during(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Failure>> While<T> for std::result::Result<T, E> {
    fn during(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{what}: {}", error.into().0)))
    }
}

impl<T> While<T> for Option<T> {
    fn during(self, what: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Failure(what.to_string()))
    }
}
