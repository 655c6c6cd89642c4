//! Every key that begins with a prefix, in key order.
//!
//! Keys with one prefix stand together in an ordered index, so the index is its own prefix index:
//! no second structure has to be kept in step with it, and a look-up costs O(prefix + results).

use std::ops::Bound;

use bytes::Bytes;

use super::index::{Index, Range};

/// The rows of `index` whose keys begin with `prefix`, in key order, from either end; all rows when
/// it is empty.
#[must_use]
pub fn prefix<'a, V>(index: &'a Index<V>, prefix: &[u8]) -> Range<'a, V> {
    let (from, to) = prefix_range(prefix);
    index.range((as_slice(&from), as_slice(&to)))
}

/// The bounds within which exactly the keys lie that begin with `prefix`.
#[must_use]
pub fn prefix_range(prefix: &[u8]) -> (Bound<Bytes>, Bound<Bytes>) {
    (Bound::Included(Bytes::copy_from_slice(prefix)), prefix_end(prefix))
}

/// The least key above all that begin with `prefix`; unbounded when there is no such key.
fn prefix_end(prefix: &[u8]) -> Bound<Bytes> {
    // A byte of 0xff cannot be raised, so the one before it is, and what follows is cut off.
    let Some(at) = prefix.iter().rposition(|&byte| byte < u8::MAX) else {
        return Bound::Unbounded;
    };
    let mut end: Vec<u8> = prefix.iter().take(at + 1).copied().collect();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Bound::Excluded(end.into())
}

/// A bound on owned bytes as one on borrowed bytes.
#[must_use]
pub fn as_slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(prefix: &[u8]) -> Bound<Bytes> {
        prefix_range(prefix).1
    }

    #[test]
    fn the_end_is_the_least_key_above_the_prefix() {
        assert_eq!(end(b"ab"), Bound::Excluded(Bytes::from_static(b"ac")));
        assert_eq!(end(b"a\xff\xff"), Bound::Excluded(Bytes::from_static(b"b")));
        assert_eq!(end(b"\xff\xff"), Bound::Unbounded);
        assert_eq!(end(b""), Bound::Unbounded);
    }

    #[test]
    fn exactly_the_keys_with_the_prefix_are_found() {
        let keys: [&[u8]; 9] =
            [b"", b"a", b"a\xfe", b"a\xff", b"a\xff\x00", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"];
        let rows = keys.iter().map(|key| (Bytes::from_static(key), ()));
        let index = Index::from_sorted(rows).unwrap();
        for wanted in [&b""[..], b"a", b"a\xff", b"b", b"c", b"\xff", b"\xff\xff", b"\xff\xff\xff"]
        {
            let found: Vec<&[u8]> = prefix(&index, wanted).map(|(key, ())| key.as_ref()).collect();
            let expected: Vec<&[u8]> =
                keys.into_iter().filter(|key| key.starts_with(wanted)).collect();
            assert_eq!(found, expected, "{wanted:?}");
        }
    }
}
