//! The audit trail: one row for each change, chained so that a removed or changed one is found.

use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::envelope::derive;
use super::keyspace;
use super::record_codec::{Reader, Writer, malformed};
use crate::command::{Command, Guard};
use crate::error::{Error, Result};
use crate::types::{Timestamp, Version};

const VERSION: u8 = 1;

/// One change of auth's records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditRow {
    /// Its number, counting from 1 without gaps.
    pub number: u64,
    /// Who did it, as the service was told: `AuthService::acting_as`.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// The id of the user, key or role.
    pub subject: String,
    /// The log index of the entry that did it.
    pub version: Version,
    /// The stamp of that entry.
    pub timestamp: Timestamp,
}

/// The end of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) link: [u8; 32],
}

impl Head {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Reader::new(bytes, VERSION)?;
        let (number, link) = (from.number()?, from.bytes()?.try_into().map_err(|_| malformed())?);
        from.finish()?;
        Ok(Self { number, link })
    }

    fn to_bytes(&self) -> Vec<u8> {
        Writer::new(VERSION).number(self.number).bytes(&self.link).finish()
    }

    /// The head after one more row. `before` is when and where the row before was written: a row
    /// cannot hold its own place in the log, so the next one does.
    fn next(&self, key: &[u8], row: &[u8], before: (Version, Timestamp)) -> Result<Self> {
        let (version, timestamp) = (before.0.0.to_le_bytes(), before.1.0.to_le_bytes());
        let number = self.number + 1;
        let parts: [&[u8]; 5] = [&self.link, &number.to_le_bytes(), &version, &timestamp, row];
        Ok(Self { number, link: *derive(key, &parts)? })
    }
}

/// The guard and the changes that append a row behind `head`, which was written at `at`.
pub(super) fn append(
    key: &[u8],
    head: Option<(Head, Version, Timestamp)>,
    [actor, action, subject]: [&str; 3],
) -> Result<(Guard, [Command; 2])> {
    let guard = match &head {
        None => Guard::absent(keyspace::audit_head()),
        Some((_, version, _)) => Guard::version_equals(keyspace::audit_head(), *version),
    };
    let (head, version, timestamp) = head.unwrap_or_default();
    let fields = Writer::new(VERSION).bytes(actor.as_bytes()).bytes(action.as_bytes());
    let row = fields.bytes(subject.as_bytes()).finish();
    let next = head.next(key, &row, (version, timestamp))?;
    let row = Writer::new(VERSION).bytes(&row).bytes(&next.link).finish();
    let sets = [
        Command::set(keyspace::audit(next.number), row),
        Command::set(keyspace::audit_head(), next.to_bytes()),
    ];
    Ok((guard, sets))
}

/// Checks the whole trail up to `head` and gives its rows. `rows` are all of them, in order.
pub(super) fn verify(
    key: &[u8],
    head: &Head,
    rows: impl IntoIterator<Item = (Bytes, Vec<u8>, Version, Timestamp)>,
) -> Result<Vec<AuditRow>> {
    let (mut link, mut before) = (Head::default(), (Version(0), Timestamp(0)));
    let mut found = Vec::new();
    for (at, bytes, version, timestamp) in rows {
        let broken = |number| Error::AuditBroken { number };
        let number = link.number + 1;
        let mut from = Reader::new(&bytes, VERSION).map_err(|_| broken(number))?;
        let row = from.bytes().map_err(|_| broken(number))?;
        let stored = from.bytes().map_err(|_| broken(number))?;
        link = link.next(key, row, before)?;
        if at != keyspace::audit(number) || !bool::from(link.link.ct_eq(stored)) {
            return Err(broken(number));
        }
        let mut fields = Reader::new(row, VERSION)?;
        let (actor, action, subject) = (fields.text()?, fields.text()?, fields.text()?);
        found.push(AuditRow { number, actor, action, subject, version, timestamp });
        before = (version, timestamp);
    }
    if link != *head {
        return Err(Error::AuditBroken { number: link.number + 1 });
    }
    Ok(found)
}
