//! What a watcher tells.

use bytes::Bytes;

use super::shown::Shown;
use crate::state::Value;
use crate::storage::history::EntryChanges;
use crate::types::{Timestamp, Version};

/// The next thing that a watcher has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// A row of the state that the watcher began with. They come in key order.
    Row {
        /// The key.
        key: Bytes,
        /// The value.
        value: Value,
        /// The version of the write that set it.
        version: Version,
        /// The stamp of that write.
        timestamp: Timestamp,
    },
    /// All rows of the state were told. What follows came after it.
    Current {
        /// The version of the state.
        version: Version,
    },
    /// What one entry of the log changed.
    Changed(Changes),
}

/// All changes of one entry under the prefix of the watcher; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The version of the entry, and so of every row that it set.
    pub version: Version,
    /// Its stamp.
    pub timestamp: Timestamp,
    /// Each key once, in key order.
    pub changes: Vec<Change>,
}

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// Its value now; `None`: it was removed.
    pub value: Option<Value>,
    /// Bytes of the value that it had before; `None`: it was not there.
    pub before: Option<u32>,
}

impl Changes {
    /// Those of an entry that are shown; `None` when none is. O(log n) and then O(1) for each.
    pub(super) fn of(entry: &EntryChanges, shown: &Shown) -> Option<Self> {
        let prefix = shown.prefix();
        let from = entry.changes.partition_point(|change| change.key < *prefix);
        let mut changes = Vec::new();
        for change in entry.changes.iter().skip(from) {
            if !shown.shows(&change.key) {
                break;
            }
            changes.push(Change {
                key: shown.key(&change.key),
                value: change.value.as_ref().map(|value| Value::from(shown.value(value))),
                before: change.before.map(|bytes| shown.len(bytes)),
            });
        }
        let (version, timestamp) = (Version::from(entry.index), entry.timestamp);
        (!changes.is_empty()).then_some(Self { version, timestamp, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::reserved_key;
    use crate::storage::history::KeyChange;
    use crate::types::LogIndex;

    fn entry(keys: &[Bytes]) -> EntryChanges {
        let mut changes: Vec<_> = keys
            .iter()
            .map(|key| KeyChange { key: key.clone(), value: Some(key.clone()), before: Some(2) })
            .collect();
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        EntryChanges { index: LogIndex(7), timestamp: Timestamp(9), changes }
    }

    fn keys_under(prefix: &[u8]) -> Option<Vec<Bytes>> {
        let entry = entry(&[
            Bytes::from("a"),
            Bytes::from("b"),
            Bytes::from("b1"),
            Bytes::from("c"),
            Bytes::from(vec![0xff; 7]),
            reserved_key(b"x"),
        ]);
        let changes = Changes::of(&entry, &Shown::whole(prefix))?;
        assert_eq!((changes.version, changes.timestamp), (Version(7), Timestamp(9)));
        Some(changes.changes.into_iter().map(|change| change.key).collect())
    }

    #[test]
    fn changes_under_the_prefix_are_told_in_key_order() {
        assert_eq!(keys_under(b"b").unwrap(), ["b", "b1"]);
        assert_eq!(keys_under(b"c").unwrap(), ["c"]);
    }

    #[test]
    fn an_entry_without_a_change_under_the_prefix_is_no_event() {
        assert_eq!(keys_under(b"b2"), None);
        assert_eq!(keys_under(b"d"), None);
        assert_eq!(Changes::of(&entry(&[]), &Shown::whole(b"")), None);
    }

    #[test]
    fn reserved_rows_are_no_changes_of_the_plain_keyspace() {
        assert_eq!(keys_under(b"").unwrap().len(), 5);
        assert_eq!(keys_under(&[0xff]).unwrap(), [vec![0xff; 7]]);
        assert_eq!(keys_under(&reserved_key(b"")).unwrap(), [reserved_key(b"x")]);
    }

    #[test]
    fn what_is_not_to_be_seen_is_cut_off() {
        let entry = entry(&[Bytes::from("s/ab")]);
        let changes = Changes::of(&entry, &Shown::within(b"s/", b"a", 2)).unwrap().changes;
        let expected = Change {
            key: "ab".into(),
            value: Some(Value::from(Bytes::from("ab"))),
            before: Some(0),
        };
        assert_eq!(changes, [expected]);
    }
}
