//! A value as a read returns it.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::command::Escaped;
use crate::types::{Timestamp, Version};

/// The bytes of a value, shared with the store: getting and cloning one copies nothing, but for
/// values that come from a table: those of up to 256 bytes are copied, and of a table that is in
/// memory as a whole all are.
///
/// It stays as it was read, whatever is written later. While it exists it keeps its buffer in
/// memory, which may be larger than the value; [`Vec::from`] copies the bytes and lets go of it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Bytes);

impl Value {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The shared buffer. Copies nothing.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Value> for Bytes {
    fn from(value: Value) -> Self {
        value.0
    }
}

impl From<Value> for Vec<u8> {
    /// Copies the bytes.
    fn from(value: Value) -> Self {
        value.0.to_vec()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&[u8]> for Value {
    fn eq(&self, other: &&[u8]) -> bool {
        *self.0 == **other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Value {
    fn eq(&self, other: &[u8; N]) -> bool {
        *self.0 == *other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Value {
    fn eq(&self, other: &&[u8; N]) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<Vec<u8>> for Value {
    fn eq(&self, other: &Vec<u8>) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

/// A value with the entry that gave it to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes.
    pub value: Value,
    /// The log index of the entry that wrote them.
    pub version: Version,
    /// The stamp of that entry.
    pub timestamp: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_equals_its_bytes_in_any_form() {
        let value = Value::from(Bytes::from_static(b"abc"));
        assert_eq!(value, "abc");
        assert_eq!(value, *"abc");
        assert_eq!(value, b"abc");
        assert_eq!(value, *b"abc");
        assert_eq!(value, b"abc"[..]);
        assert_eq!(value, &b"abc"[..]);
        assert_eq!(value, b"abc".to_vec());
        assert_ne!(value, "abd");
    }

    #[test]
    fn a_vector_of_a_value_is_a_copy() {
        let bytes = Bytes::from(vec![1, 2, 3]);
        let value = Value::from(bytes.clone());
        assert_eq!(value.as_ptr(), bytes.as_ptr());
        let copy = Vec::from(value);
        assert_ne!(copy.as_ptr(), bytes.as_ptr());
        assert_eq!(copy, bytes);
    }

    #[test]
    fn debug_is_escaped_and_shortened() {
        assert_eq!(format!("{:?}", Value::from(Bytes::from_static(b"a\0"))), r#""a\x00""#);
        let long = Value::from(Bytes::from(vec![b'x'; 1 << 20]));
        assert!(format!("{long:?}").len() < 100);
    }
}
