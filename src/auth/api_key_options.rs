//! What an API key may be issued with, and how many a user may have.

use std::fmt;

use zeroize::Zeroizing;

use super::records::Grant;
use crate::command::is_reserved;
use crate::error::{Error, Result};
use crate::types::Timestamp;

/// Most keys of one user, expired ones included: to delete the user is one command, with two
/// deletes for each key, and fits the default limits of a store three times over.
pub(super) const KEYS_MAX: u64 = 10_000;
/// Most grants of one role or key.
const GRANTS_MAX: usize = 256;
/// Longest prefix of a grant.
const PREFIX_BYTES_MAX: usize = 1024;
const LABEL_BYTES_MAX: usize = 256;
/// Most that a key's metadata may be, before its encryption.
const METADATA_BYTES_MAX: usize = 64 << 10;

/// What an API key is issued with: see `AuthService::create_api_key_with`.
///
/// ```
/// use hightower_kv::auth::{ApiKeyOptions, Grant};
///
/// let options = ApiKeyOptions::new().label("backup").grants([Grant::to_read("ship/")]);
/// ```
#[derive(Clone, Default)]
pub struct ApiKeyOptions {
    pub(super) label: String,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) grants: Option<Vec<Grant>>,
    pub(super) metadata: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for ApiKeyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyOptions")
            .field("expires_at", &self.expires_at)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

impl ApiKeyOptions {
    /// A key without a label or metadata that does not expire and may do all that its owner may.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the key is called, for people; at most 256 bytes. Stored as it is: no secret.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        label.clone_into(&mut self.label);
        self
    }

    /// When the key ends.
    #[must_use]
    pub const fn expires_at(mut self, end: Timestamp) -> Self {
        self.expires_at = Some(end);
        self
    }

    /// Restricts the key: it may do what both its owner's roles and one of these grants permit. At
    /// most 256, with prefixes of at most 1 KiB; none at all: it may do nothing.
    #[must_use]
    pub fn grants(mut self, grants: impl IntoIterator<Item = Grant>) -> Self {
        self.grants = Some(grants.into_iter().collect());
        self
    }

    /// What is stored with the key, encrypted; at most 64 KiB.
    #[must_use]
    pub fn metadata(mut self, metadata: &[u8]) -> Self {
        self.metadata = Some(Zeroizing::new(metadata.to_vec()));
        self
    }

    /// # Errors
    /// `TooLarge`; `ReservedKey` for the prefix of a grant.
    pub(super) fn check(&self) -> Result<()> {
        at_most("bytes of a label", self.label.len(), LABEL_BYTES_MAX)?;
        let metadata = self.metadata.as_ref().map_or(0, |metadata| metadata.len());
        at_most("bytes of a key's metadata", metadata, METADATA_BYTES_MAX)?;
        check_grants(self.grants.as_deref().unwrap_or_default())
    }
}

/// # Errors
/// `TooLarge`; `ReservedKey` for a prefix.
pub(super) fn check_grants(grants: &[Grant]) -> Result<()> {
    at_most("grants", grants.len(), GRANTS_MAX)?;
    for grant in grants {
        at_most("bytes of a grant's prefix", grant.prefix.len(), PREFIX_BYTES_MAX)?;
        if is_reserved(&grant.prefix) {
            return Err(Error::ReservedKey);
        }
    }
    Ok(())
}

/// # Errors
/// `TooLarge`.
pub(super) fn at_most(what: &str, got: usize, limit: usize) -> Result<()> {
    if got <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { what: what.to_owned(), limit: limit as u64, got: got as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_is_allowed_at_its_limit_and_refused_one_past_it() {
        let options = ApiKeyOptions::new;
        let grants = |count, prefix: usize| {
            options().grants((0..count).map(move |_| Grant::to_read(vec![b'p'; prefix])))
        };
        for (fits, limit, too_large) in [
            (options().label(&"x".repeat(256)), 256, options().label(&"x".repeat(257))),
            (options().metadata(&vec![7; 65_536]), 65_536, options().metadata(&vec![7; 65_537])),
            (grants(256, 1024), 256, grants(257, 1)),
            (grants(1, 1024), 1024, grants(1, 1025)),
        ] {
            fits.check().unwrap();
            let refused = too_large.check().unwrap_err();
            assert!(matches!(refused, Error::TooLarge { limit: it, .. } if it == limit));
        }
        let reserved = options().grants([Grant::to_read(vec![0xff; 9])]);
        assert!(matches!(reserved.check(), Err(Error::ReservedKey)));
    }

    #[test]
    fn debug_shows_no_metadata() {
        assert!(!format!("{:?}", ApiKeyOptions::new().metadata(b"canary")).contains("99, 97"));
    }
}
