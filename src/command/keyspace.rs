//! The reserved keyspace: keys that plain commands and reads do not reach.
//!
//! They are those that begin with [`RESERVED_PREFIX`], and so the last ones in key order: hiding
//! them from a range is a bound on its end. `docs/rfcs/0004-reserved-keyspace.md` says why.

use bytes::Bytes;

use super::definition::{Command, ReservedBatch};

/// What every reserved key begins with. No key beyond them is a plain one.
pub const RESERVED_PREFIX: &[u8] = &[0xff; 8];

/// What the reserved keys begin with that are keys of scopes.
pub const SCOPES_PREFIX: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xffscope/";

/// What the reserved keys begin with that say when keys are to go. Only the commands of times and
/// leases change them.
pub const LEASES_PREFIX: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xfflease/";

/// Whether a key, or every key with this prefix, is reserved. One comparison.
#[inline]
#[must_use]
pub fn is_reserved(key: &[u8]) -> bool {
    key.starts_with(RESERVED_PREFIX)
}

/// Whether a key may be given a time: it is a plain one, or one of a scope.
#[must_use]
pub fn takes_time(key: &[u8]) -> bool {
    !is_reserved(key) || key.starts_with(SCOPES_PREFIX)
}

/// The reserved key of this name. Copies the name.
#[must_use]
pub fn reserved_key(name: &[u8]) -> Bytes {
    Bytes::from([RESERVED_PREFIX, name].concat())
}

/// Whether every key of a batch of the reserved keyspace is reserved, and none is changed that says
/// when keys are to go.
#[must_use]
pub fn is_within_reserved(batch: &ReservedBatch) -> bool {
    let is_fit = |command: &Command| match command {
        // Nor may what goes with a prefix be among them.
        Command::DeletePrefix { prefix } => {
            is_reserved(prefix)
                && !prefix.starts_with(LEASES_PREFIX)
                && !LEASES_PREFIX.starts_with(prefix)
        }
        single => {
            let key = key_of(single);
            key.is_some_and(|key| is_reserved(key) && !key.starts_with(LEASES_PREFIX))
        }
    };
    batch.guards.iter().all(|guard| is_reserved(&guard.key)) && batch.commands.iter().all(is_fit)
}

/// Whether a change that is not a [`ReservedBatch`] touches the reserved keyspace.
#[must_use]
pub fn touches_reserved(change: &Command) -> bool {
    match change {
        Command::Batch { guards, commands } => {
            guards.iter().any(|guard| is_reserved(&guard.key))
                || commands.iter().any(|command| key_of(command).is_some_and(is_reserved))
        }
        single => key_of(single).is_some_and(is_reserved),
    }
}

/// The key, or the prefix, of a single change.
fn key_of(command: &Command) -> Option<&[u8]> {
    match command {
        Command::Set { key, .. } | Command::Delete { key } => Some(key),
        Command::DeletePrefix { prefix } => Some(prefix),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::definition::Guard;

    #[test]
    fn the_reserved_keys_are_the_last_ones() {
        assert!(is_reserved(RESERVED_PREFIX));
        assert!(is_reserved(&reserved_key(b"a")));
        for plain in [&b""[..], b"a", &[0xff; 7], b"\xff\xff\xff\xff\xff\xff\xff\xfe\xff"] {
            assert!(!is_reserved(plain), "{plain:?}");
            assert!(plain < RESERVED_PREFIX, "{plain:?}");
        }
    }

    #[test]
    fn each_way_to_name_a_reserved_key_is_found() {
        let key = || reserved_key(b"x");
        for command in [
            Command::set(key(), "v"),
            Command::delete(key()),
            Command::delete_prefix(key()),
            Command::batch([Command::delete("a"), Command::delete(key())]),
            Command::guarded([Guard::absent(key())], [Command::delete("a")]),
        ] {
            assert!(touches_reserved(&command), "{command:?}");
        }
        assert!(!touches_reserved(&Command::delete_prefix("")));
        assert!(!touches_reserved(&Command::batch([Command::delete(vec![0xff; 7])])));
    }

    #[test]
    fn a_reserved_batch_is_of_reserved_keys_alone() {
        let batch = |guards, commands| ReservedBatch { guards, commands };
        let own = || Command::set(reserved_key(b"x"), "v");
        assert!(is_within_reserved(&batch(vec![Guard::absent(reserved_key(b"x"))], vec![own()])));
        assert!(!is_within_reserved(&batch(vec![Guard::absent("x")], vec![own()])));
        assert!(!is_within_reserved(&batch(vec![], vec![own(), Command::delete("x")])));
        assert!(!is_within_reserved(&batch(vec![], vec![Command::delete_prefix("")])));
        let due = Command::delete(reserved_key(b"lease/d/x"));
        assert!(!is_within_reserved(&batch(vec![], vec![due])));
    }

    #[test]
    fn plain_keys_and_those_of_scopes_take_a_time() {
        assert!(takes_time(b"k"));
        assert!(takes_time(&reserved_key(b"scope/e/k")));
        assert!(!takes_time(&reserved_key(b"auth/u/1")));
        assert!(!takes_time(&reserved_key(b"lease/k/k")));
    }
}
