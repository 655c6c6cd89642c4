//! Scopes: keyspaces whose keys have a lifetime in common.
//!
//! A scope other than the permanent one is a part of the reserved keyspace, so its rows stand where
//! all rows stand: in the log, in tables, in snapshots, in digests and in backups.
//! `docs/rfcs/0007-scopes-and-expiry.md` says why.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::keyspace::SCOPES_PREFIX;
use crate::types::{NodeId, RandomId};

/// Longest name of a scope, in bytes.
pub const SCOPE_NAME_BYTES_MAX: usize = 255;

/// What follows [`SCOPES_PREFIX`] in the keys of the ephemeral scope, and of those with a name.
const EPHEMERAL: &[u8] = b"e/";
const NAMED: &[u8] = b"n/";

/// Which keyspace is meant: the same key in two scopes is two keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The plain keyspace: keys stay until they are removed.
    #[default]
    Permanent,
    /// Keys live as long as the opening of the store that wrote them: they are gone when it is
    /// opened again, and in a cluster some time after the node that wrote them has restarted or was
    /// removed.
    Ephemeral,
    /// Keys stay until they are removed, each by itself or the scope as a whole.
    Named(ScopeName),
}

impl Scope {
    /// The scope with this name.
    ///
    /// # Errors
    /// Says how long a name may be: 1 to [`SCOPE_NAME_BYTES_MAX`] bytes.
    pub fn named(name: &str) -> Result<Self, ScopeNameError> {
        ScopeName::new(name).map(Self::Named)
    }

    /// What the physical key of each of its keys begins with. Copies the name.
    #[must_use]
    pub fn prefix(&self) -> Bytes {
        self.key(&[])
    }

    /// The physical key of a key of it: what limits count, and what stands in log and tables. Or
    /// what the physical keys begin with of all keys that begin with `key`. Copies it.
    #[must_use]
    pub fn key(&self, key: &[u8]) -> Bytes {
        match self {
            Self::Permanent => Bytes::copy_from_slice(key),
            Self::Ephemeral => [SCOPES_PREFIX, EPHEMERAL, key].concat().into(),
            Self::Named(name) => {
                let length = [name.length()];
                [SCOPES_PREFIX, NAMED, &length, name.as_str().as_bytes(), key].concat().into()
            }
        }
    }

    /// Length of [`Self::prefix`].
    #[must_use]
    pub fn prefix_bytes(&self) -> usize {
        match self {
            Self::Permanent => 0,
            Self::Ephemeral => SCOPES_PREFIX.len() + EPHEMERAL.len(),
            Self::Named(name) => SCOPES_PREFIX.len() + NAMED.len() + 1 + name.as_str().len(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent => f.pad("permanent"),
            Self::Ephemeral => f.pad("ephemeral"),
            Self::Named(name) => f.pad(name.as_str()),
        }
    }
}

/// The name of a scope: text of 1 to [`SCOPE_NAME_BYTES_MAX`] bytes. A clone shares it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeName(Arc<str>);

impl ScopeName {
    /// Checks a name.
    ///
    /// # Errors
    /// Says how long a name may be.
    pub fn new(name: &str) -> Result<Self, ScopeNameError> {
        match name.len() {
            1..=SCOPE_NAME_BYTES_MAX => Ok(Self(name.into())),
            got => Err(ScopeNameError { got }),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn length(&self) -> u8 {
        // A name that was checked fits.
        u8::try_from(self.0.len()).unwrap_or(u8::MAX)
    }
}

/// A name that no scope can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of a scope has {got} bytes, expected 1 to {SCOPE_NAME_BYTES_MAX}: choose another"
)]
pub struct ScopeNameError {
    /// Bytes of the name.
    pub got: usize,
}

/// Bytes that name the owner of an ephemeral value, before the value itself.
pub const OWNER_BYTES: usize = 24;

/// Who wrote an ephemeral value: a node, and the opening of its store, which has a random name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// Drawn anew each time its store is opened.
    pub start: RandomId,
}

impl Owner {
    /// The value as it is stored. Copies it.
    #[must_use]
    pub fn own(&self, value: &[u8]) -> Bytes {
        [&self.node.0.to_le_bytes()[..], &self.start.0, value].concat().into()
    }

    /// Who wrote a stored value; `None` when it is none of the ephemeral scope.
    #[must_use]
    pub fn of(stored: &[u8]) -> Option<Self> {
        let (node, rest) = stored.split_first_chunk::<8>()?;
        let (start, _) = rest.split_first_chunk::<16>()?;
        Some(Self { node: NodeId(u64::from_le_bytes(*node)), start: RandomId(*start) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::keyspace::{RESERVED_PREFIX, is_reserved};

    #[test]
    fn names_have_1_to_255_bytes() {
        assert_eq!(ScopeName::new(""), Err(ScopeNameError { got: 0 }));
        assert_eq!(ScopeName::new(&"n".repeat(256)), Err(ScopeNameError { got: 256 }));
        assert_eq!(ScopeName::new(&"n".repeat(255)).unwrap().as_str().len(), 255);
    }

    #[test]
    fn physical_keys_are_as_documented() {
        assert_eq!(Scope::Permanent.key(b"k"), b"k"[..]);
        assert_eq!(Scope::Ephemeral.key(b"k"), [RESERVED_PREFIX, b"scope/e/k"].concat());
        let named = Scope::named("ab").unwrap();
        assert_eq!(named.key(b"k"), [RESERVED_PREFIX, b"scope/n/\x02abk"].concat());
        for scope in [Scope::Permanent, Scope::Ephemeral, named] {
            assert_eq!(scope.prefix().len(), scope.prefix_bytes());
            assert_eq!(is_reserved(&scope.prefix()), scope != Scope::Permanent);
        }
    }

    #[test]
    fn no_scope_begins_as_another_does() {
        let scopes = ["a", "ab", "b", "\u{1}a"].map(|name| Scope::named(name).unwrap());
        for (at, one) in scopes.iter().enumerate() {
            for other in scopes.iter().skip(at + 1) {
                assert!(!one.prefix().starts_with(&other.prefix()));
                assert!(!other.prefix().starts_with(&one.prefix()));
            }
        }
    }

    #[test]
    fn an_ephemeral_value_names_its_owner() {
        let owner = Owner { node: NodeId(0x0102), start: RandomId([7; 16]) };
        let stored = owner.own(b"v");
        assert_eq!(stored, [&[2, 1, 0, 0, 0, 0, 0, 0][..], &[7; 16], b"v"].concat());
        assert_eq!(stored.len(), OWNER_BYTES + 1);
        assert_eq!(Owner::of(&stored), Some(owner));
        assert_eq!(Owner::of(&stored[..23]), None);
    }
}
