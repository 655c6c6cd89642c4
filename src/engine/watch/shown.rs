//! Which rows a watcher sees, and how.

use bytes::Bytes;

use crate::command::is_reserved;

/// The rows whose keys begin with a prefix, without what every key and every value of them begins
/// with and nobody is to see.
///
/// A plain prefix shows no reserved row, although the keys of some may begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    prefix: Bytes,
    /// Bytes that are cut off each key.
    key_head: usize,
    /// Bytes that are cut off each value.
    value_head: usize,
}

impl Shown {
    /// Rows as they are.
    pub(crate) fn whole(prefix: &[u8]) -> Self {
        Self { prefix: Bytes::copy_from_slice(prefix), key_head: 0, value_head: 0 }
    }

    /// Rows of a part of the keyspace: all their keys begin with `head`, which is not shown, and
    /// all their values with `value_head` bytes that are not shown either.
    pub(crate) fn within(head: &[u8], prefix: &[u8], value_head: usize) -> Self {
        Self { prefix: Bytes::from([head, prefix].concat()), key_head: head.len(), value_head }
    }

    /// What the keys begin with.
    pub(crate) const fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// Whether the row with this key is one of them.
    pub(crate) fn shows(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix) && is_reserved(key) == is_reserved(&self.prefix)
    }

    /// The key of a row of them, as it is shown.
    pub(crate) fn key(&self, key: &Bytes) -> Bytes {
        key.slice(self.key_head.min(key.len())..)
    }

    /// The value of a row of them, as it is shown.
    pub(crate) fn value(&self, value: &Bytes) -> Bytes {
        value.slice(self.value_head.min(value.len())..)
    }

    /// The length of a value, as it is shown.
    pub(crate) fn len(&self, bytes: u32) -> u32 {
        bytes.saturating_sub(u32::try_from(self.value_head).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{RESERVED_PREFIX, reserved_key};

    #[test]
    fn a_plain_prefix_shows_no_reserved_row() {
        for prefix in [&b""[..], &[0xff], &[0xff; 7]] {
            let shown = Shown::whole(prefix);
            assert!(shown.shows(&[0xff; 7]), "{prefix:?}");
            assert!(!shown.shows(&reserved_key(b"x")), "{prefix:?}");
            assert!(!shown.shows(RESERVED_PREFIX), "{prefix:?}");
        }
    }

    #[test]
    fn what_all_rows_begin_with_is_cut_off() {
        let shown = Shown::within(&reserved_key(b"s/"), b"a", 3);
        let key = reserved_key(b"s/ab");
        assert!(shown.shows(&key));
        assert!(!shown.shows(&reserved_key(b"s/b")) && !shown.shows(b"ab"));
        assert_eq!(shown.key(&key), "ab");
        assert_eq!(shown.value(&Bytes::from("123v")), "v");
        assert_eq!((shown.len(4), shown.len(3)), (1, 0));
    }

    #[test]
    fn a_value_that_is_too_short_is_shown_empty() {
        assert_eq!(Shown::within(b"s", b"", 3).value(&Bytes::from("12")), "");
    }
}
