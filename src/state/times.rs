//! Which keys are to go when: the rows that say it, and reading them.
//!
//! They are rows of the reserved keyspace, below [`LEASES_PREFIX`]; `docs/format.md` has the table.
//! A key with a time has an *attachment*: its deadline or its lease, and the version of the row
//! that it is about. Of one whose version is not the row's by now, nothing follows: it is *void*.
//! What has a deadline, a key or a lease, has a row in the *due index*, in the order of deadlines.

use std::ops::Bound;

use bytes::{Bytes, BytesMut};

use super::view::StateView;
use crate::command::LeaseId;
use crate::command::keyspace::{LEASES_PREFIX, is_reserved};
use crate::storage::error::StorageError;
use crate::storage::prefix_index::{as_slice, prefix_range};
use crate::storage::record::Record;
use crate::types::{Timestamp, Version};

/// What follows [`LEASES_PREFIX`]: a lease, the due index, an attachment, a key of a lease.
const LEASE: &[u8] = b"l/";
const DUE: &[u8] = b"d/";
const ATTACHMENT: &[u8] = b"k/";
const MEMBER: &[u8] = b"a/";

/// What stands between a deadline and what is due then.
const DUE_KEY: u8 = b'k';
const DUE_LEASE: u8 = b'l';

/// What an attachment begins with.
const AT_DEADLINE: u8 = 0;
const WITH_LEASE: u8 = 1;

fn row(parts: &[&[u8]]) -> Bytes {
    let mut key = BytesMut::with_capacity(64);
    key.extend_from_slice(LEASES_PREFIX);
    for part in parts {
        key.extend_from_slice(part);
    }
    key.freeze()
}

/// The row of a lease.
pub(super) fn lease_row(lease: LeaseId) -> Bytes {
    row(&[LEASE, &lease.0])
}

/// The row of the attachment of a key.
pub(super) fn attachment_row(key: &[u8]) -> Bytes {
    row(&[ATTACHMENT, key])
}

/// What the rows of the keys of a lease begin with; the key follows.
pub(super) fn member_row(lease: LeaseId, key: &[u8]) -> Bytes {
    row(&[MEMBER, &lease.0, key])
}

/// What becomes due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Key(Bytes),
    Lease(LeaseId),
}

/// A deadline as the due index has it, so that rows are ordered as deadlines are.
const fn most_significant_first(deadline: Timestamp) -> [u8; 8] {
    deadline.0.swap_bytes().to_le_bytes()
}

impl Due {
    /// Its row in the due index.
    pub(super) fn row(&self, deadline: Timestamp) -> Bytes {
        let deadline = most_significant_first(deadline);
        match self {
            Self::Key(key) => row(&[DUE, &deadline, &[DUE_KEY], key]),
            Self::Lease(lease) => row(&[DUE, &deadline, &[DUE_LEASE], &lease.0]),
        }
    }

    /// What a row of the due index says; `None` for what is none.
    fn parse(row: &[u8]) -> Option<(Timestamp, Self)> {
        let rest = row.strip_prefix(LEASES_PREFIX)?.strip_prefix(DUE)?;
        let (deadline, rest) = rest.split_first_chunk::<8>()?;
        let deadline = Timestamp(u64::from_le_bytes(*deadline).swap_bytes());
        let due = match rest.split_first()? {
            (&DUE_KEY, key) => Self::Key(Bytes::copy_from_slice(key)),
            (&DUE_LEASE, lease) => Self::Lease(LeaseId(lease.try_into().ok()?)),
            _ => return None,
        };
        Some((deadline, due))
    }
}

/// When a key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    At(Timestamp),
    With(LeaseId),
}

/// What a key with a time has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) end: End,
    /// Of the row that it is about.
    pub(super) version: Version,
}

impl Attachment {
    /// The row that finds the key when its time is over.
    pub(super) fn index_row(&self, key: &[u8]) -> Bytes {
        match self.end {
            End::At(deadline) => Due::Key(Bytes::copy_from_slice(key)).row(deadline),
            End::With(lease) => member_row(lease, key),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let version = self.version.0.to_le_bytes();
        match self.end {
            End::At(deadline) => {
                [&[AT_DEADLINE][..], &deadline.0.to_le_bytes(), &version].concat().into()
            }
            End::With(lease) => [&[WITH_LEASE][..], &lease.0, &version].concat().into(),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (end, version) = match *kind {
            AT_DEADLINE => {
                let (deadline, rest) = rest.split_first_chunk::<8>()?;
                (End::At(Timestamp(u64::from_le_bytes(*deadline))), rest)
            }
            WITH_LEASE => {
                let (lease, rest) = rest.split_first_chunk::<16>()?;
                (End::With(LeaseId(*lease)), rest)
            }
            _ => return None,
        };
        let version = Version(u64::from_le_bytes(version.try_into().ok()?));
        Some(Self { end, version })
    }
}

/// A lease as it stands in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Microseconds of log time that it lives after it was granted or kept alive.
    pub ttl: u64,
    /// The stamp at which it ends.
    pub deadline: Timestamp,
}

impl LeaseTerms {
    pub(super) fn encode(&self) -> Bytes {
        [self.ttl.to_le_bytes(), self.deadline.0.to_le_bytes()].concat().into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (ttl, deadline) = bytes.split_first_chunk::<8>()?;
        let deadline = Timestamp(u64::from_le_bytes(deadline.try_into().ok()?));
        Some(Self { ttl: u64::from_le_bytes(*ttl), deadline })
    }
}

/// Something that is or becomes due, in the due index.
#[derive(Clone, Debug)]
pub(super) struct DueRow {
    /// The row itself.
    pub(super) row: Bytes,
    /// What it says; `None` where it says nothing.
    pub(super) due: Option<(Timestamp, Due)>,
}

impl StateView {
    /// The newest record of a key, if the key is there.
    pub(super) fn live(&self, key: &[u8]) -> Result<Option<Record>, StorageError> {
        Ok(self.record(key)?.filter(|record| !record.is_tombstone()))
    }

    /// The attachment of a key, void or not.
    pub(super) fn attachment(&self, key: &[u8]) -> Result<Option<Attachment>, StorageError> {
        let found = self.live(&attachment_row(key))?;
        Ok(found.and_then(|record| Attachment::decode(record.value.as_deref()?)))
    }

    /// A lease; `None` when there is none with this name, or it has ended. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn lease(&self, lease: LeaseId) -> Result<Option<LeaseTerms>, StorageError> {
        if self.reserved_keys == 0 {
            return Ok(None);
        }
        let found = self.live(&lease_row(lease))?;
        Ok(found.and_then(|record| LeaseTerms::decode(record.value.as_deref()?)))
    }

    /// The stamp from which on a plain key is removed; `None` when it has no time, or is not there.
    /// Until an entry removes it, it is there. O(log n).
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn expires_at(&self, key: &[u8]) -> Result<Option<Timestamp>, StorageError> {
        if is_reserved(key) { Ok(None) } else { self.ends_at(key) }
    }

    /// As [`Self::expires_at`], for any key that may have a time.
    pub(super) fn ends_at(&self, key: &[u8]) -> Result<Option<Timestamp>, StorageError> {
        if self.reserved_keys == 0 {
            return Ok(None);
        }
        let Some(attachment) = self.attachment(key)? else { return Ok(None) };
        let is_about = |record: Record| record.version == attachment.version;
        if !self.live(key)?.is_some_and(is_about) {
            return Ok(None);
        }
        Ok(match attachment.end {
            End::At(deadline) => Some(deadline),
            End::With(lease) => self.lease(lease)?.map(|lease| lease.deadline),
        })
    }

    /// The first stamp at which something is due, if there is anything with a time. O(log n), but
    /// before the first removal after an opening, which goes through what went and is not merged.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn first_deadline(&self) -> Result<Option<Timestamp>, StorageError> {
        let first = self.due_rows(None, 1)?.pop();
        Ok(first.map(|row| row.due.map_or(Timestamp(0), |(deadline, _)| deadline)))
    }

    /// How many keys and leases are due at a stamp, counted up to `limit`.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read.
    pub fn count_due(&self, now: Timestamp, limit: u64) -> Result<u64, StorageError> {
        Ok(self.due_rows(Some(now), limit)?.len() as u64)
    }

    /// Up to `limit` rows of the due index, earliest first: those up to `now`, or all.
    pub(super) fn due_rows(
        &self,
        now: Option<Timestamp>,
        limit: u64,
    ) -> Result<Vec<DueRow>, StorageError> {
        let mut found = Vec::new();
        if self.reserved_keys == 0 {
            return Ok(found);
        }
        let (_, to) = prefix_range(&row(&[DUE]));
        let from = match self.due_floor {
            Timestamp(0) => row(&[DUE]),
            floor => row(&[DUE, &most_significant_first(floor)]),
        };
        let bounds = (Bound::Included(&*from), as_slice(&to));
        let mut rows = self.cursor_of_all(bounds)?;
        while (found.len() as u64) < limit
            && let Some(row) = rows.next()?
        {
            let due = Due::parse(row.key);
            if let (Some((deadline, _)), Some(now)) = (&due, now)
                && *deadline > now
            {
                break;
            }
            found.push(DueRow { row: Bytes::copy_from_slice(row.key), due });
        }
        Ok(found)
    }

    /// The keys that are there as long as a lease, those with void attachments included.
    pub(super) fn members(&self, lease: LeaseId) -> Result<Vec<Bytes>, StorageError> {
        let prefix = member_row(lease, &[]);
        let (from, to) = prefix_range(&prefix);
        let bounds = (as_slice(&from), as_slice(&to));
        let mut rows = self.cursor_of_all(bounds)?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            keys.extend(row.key.strip_prefix(&*prefix).map(Bytes::copy_from_slice));
        }
        Ok(keys)
    }

    /// Whether any key has a time. Looks at the first one.
    pub(super) fn any_time(&self) -> Result<bool, StorageError> {
        if self.reserved_keys == 0 {
            return Ok(false);
        }
        let (from, to) = prefix_range(&row(&[ATTACHMENT]));
        let bounds = (as_slice(&from), as_slice(&to));
        Ok(self.cursor_of_all(bounds)?.next()?.is_some())
    }

    /// Checks that rows of times fit together. O(n), for tests and for debugging.
    ///
    /// # Panics
    /// When they do not.
    pub(super) fn validate_times(&self) -> Result<(), StorageError> {
        let from = Bound::Included(LEASES_PREFIX);
        let (_, to) = prefix_range(LEASES_PREFIX);
        let mut rows = self.cursor_of_all((from, as_slice(&to)))?;
        while let Some(found) = rows.next()? {
            let name = found.key.get(LEASES_PREFIX.len()..).unwrap_or_default();
            let is_there = |row: &[u8]| Ok::<_, StorageError>(self.live(row)?.is_some());
            if let Some(key) = name.strip_prefix(ATTACHMENT) {
                let Some(attachment) = Attachment::decode(found.value) else {
                    unreachable!("an attachment that is none")
                };
                assert!(is_there(&attachment.index_row(key))?, "an attachment nobody finds");
                assert!(Some(attachment.version) <= self.version(), "a time from the future");
                if let End::With(lease) = attachment.end {
                    assert!(is_there(&lease_row(lease))?, "a key of a lease that is not there");
                }
                assert!(self.has_times, "a time that sets do not look for");
            } else if let Some(lease) = name.strip_prefix(LEASE) {
                let lease = LeaseId(lease.try_into().unwrap_or_default());
                let due = self.lease(lease)?.map(|it| Due::Lease(lease).row(it.deadline));
                assert!(is_there(&due.unwrap_or_default())?, "a lease that never ends");
            } else if let Some(member) = name.strip_prefix(MEMBER) {
                let (lease, key) = member.split_at(16);
                let lease = LeaseId(lease.try_into().unwrap_or_default());
                let end = self.attachment(key)?.map(|attachment| attachment.end);
                assert_eq!(end, Some(End::With(lease)), "a key that is not the lease's");
            } else {
                match Due::parse(found.key) {
                    Some((deadline, _)) if deadline < self.due_floor => {
                        unreachable!("due before what was removed: {name:?}")
                    }
                    Some((deadline, Due::Key(key))) => {
                        let end = self.attachment(&key)?.map(|attachment| attachment.end);
                        assert_eq!(end, Some(End::At(deadline)), "a key due without a time");
                    }
                    Some((deadline, Due::Lease(lease))) => {
                        let ends = self.lease(lease)?.map(|lease| lease.deadline);
                        assert_eq!(ends, Some(deadline), "a lease due at another time");
                    }
                    None => unreachable!("a row of times that is none: {name:?}"),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_due_index_are_ordered_as_deadlines_are() {
        let deadlines = [0, 1, 255, 256, 1 << 20, (1 << 20) + 1, u64::MAX];
        let rows = deadlines.map(|at| Due::Key(Bytes::from_static(b"k")).row(Timestamp(at)));
        assert!(rows.is_sorted());
        for (row, at) in rows.iter().zip(deadlines) {
            let due = Due::Key(Bytes::from_static(b"k"));
            assert_eq!(Due::parse(row), Some((Timestamp(at), due)));
        }
        let lease = Due::Lease(LeaseId([3; 16]));
        assert_eq!(Due::parse(&lease.row(Timestamp(9))), Some((Timestamp(9), lease)));
    }

    #[test]
    fn golden_rows() {
        let lease = LeaseId([7; 16]);
        let at = Attachment { end: End::At(Timestamp(0x0102)), version: Version(3) };
        assert_eq!(*at.encode(), [0, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        let due = [LEASES_PREFIX, b"d/\0\0\0\0\0\0\x01\x02kkey"].concat();
        assert_eq!(at.index_row(b"key"), due);
        let with = Attachment { end: End::With(lease), version: Version(3) };
        assert_eq!(*with.encode(), [&[1][..], &[7; 16], &[3, 0, 0, 0, 0, 0, 0, 0]].concat());
        let member = [LEASES_PREFIX, b"a/", &[7; 16], b"key"].concat();
        assert_eq!(with.index_row(b"key"), member);
        assert_eq!(attachment_row(b"key"), [LEASES_PREFIX, b"k/key"].concat());
        assert_eq!(lease_row(lease), [LEASES_PREFIX, b"l/", &[7; 16]].concat());
        let terms = LeaseTerms { ttl: 5, deadline: Timestamp(6) };
        assert_eq!(*terms.encode(), [5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
        for attachment in [at, with] {
            assert_eq!(Attachment::decode(&attachment.encode()), Some(attachment));
        }
        assert_eq!(LeaseTerms::decode(&terms.encode()), Some(terms));
        for bad in [&b""[..], b"\x02", b"\x00abc", b"\x01abc"] {
            assert_eq!(Attachment::decode(bad), None);
        }
    }
}
