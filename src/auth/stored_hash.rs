//! Hashes as they are stored: compared in constant time, and shown by nothing.

use std::fmt;

use subtle::ConstantTimeEq;

/// A hash of a secret. Its `==` takes the same time wherever two of one length differ.
#[derive(Clone)]
pub(super) struct StoredHash<T>(T);

impl<T: AsRef<[u8]>> StoredHash<T> {
    pub(super) const fn new(hash: T) -> Self {
        Self(hash)
    }

    pub(super) const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: AsRef<[u8]>> PartialEq for StoredHash<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: AsRef<[u8]>> Eq for StoredHash<T> {}

impl<T> fmt::Debug for StoredHash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_hashes_are_equal_and_none_is_shown() {
        let hash = StoredHash::new("canary".to_owned());
        assert_eq!(hash, StoredHash::new("canary".to_owned()));
        assert_ne!(hash, StoredHash::new("canarx".to_owned()));
        assert_ne!(hash, StoredHash::new("canary-".to_owned()));
        assert_eq!(format!("{hash:?}"), "StoredHash(..)");
    }
}
