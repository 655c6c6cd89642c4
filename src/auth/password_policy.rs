//! What a new password must be like.

use crate::error::{Error, Result};

/// Longest password in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// What a password must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasswordPolicy {
    /// Least number of characters. Default 8.
    pub characters_min: usize,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { characters_min: 8 }
    }
}

impl PasswordPolicy {
    /// With this many characters at least.
    #[must_use]
    pub const fn with_characters_min(characters_min: usize) -> Self {
        Self { characters_min }
    }

    pub(super) fn check(self, name: &str, password: &str) -> Result<()> {
        check_password_bytes(password)?;
        let refused = |what: &str| Err(Error::Validation(what.to_owned()));
        if password.chars().count() < self.characters_min {
            return refused("the password is too short");
        }
        if password.to_lowercase() == name {
            return refused("the password is the name");
        }
        Ok(())
    }
}

/// # Errors
/// `TooLarge`.
pub(super) fn check_password_bytes(password: &str) -> Result<()> {
    let (limit, got) = (PASSWORD_BYTES_MAX as u64, password.len() as u64);
    if got > limit {
        return Err(Error::TooLarge { what: "bytes of a password".to_owned(), limit, got });
    }
    Ok(())
}
