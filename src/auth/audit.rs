//! The audit trail: one row for each change, chained so that a removed or changed one is found.

use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::envelope::derive;
use super::keyspace;
use super::names::check_shown;
use super::record_codec::{Reader, Writer, malformed};
use crate::command::{Command, Guard};
use crate::engine::{StateView, Versioned};
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

/// Whether changes can be made as this actor: see `AuthService::acting_as`.
///
/// # Errors
/// `Validation`, `TooLarge`: what it lacks, as every change as this actor would say.
pub fn check_actor(actor: &str) -> Result<()> {
    check_shown("an actor", actor)
}

/// The end of the chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    number: u64,
    link: [u8; 32],
}

/// A head with the version and the stamp of the row that holds it.
type HeadAt = (Head, Version, Timestamp);

impl Head {
    /// That of a state; `None` before the first row.
    pub(super) fn read(view: &StateView) -> Result<Option<HeadAt>> {
        let Some(row) = view.reserved().get(&keyspace::audit_head())? else { return Ok(None) };
        Ok(Some((Self::from_bytes(&row.value)?, row.version, row.timestamp)))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
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

/// A row that is to be written.
pub(super) struct Appended {
    /// Holds as long as no other row was written.
    pub(super) guard: Guard,
    /// Where the row will stand.
    pub(super) at: Bytes,
    pub(super) row: Vec<u8>,
    /// The change of the head that belongs to it.
    pub(super) head: Command,
}

/// A row behind `head`. `nonce` makes it another row than any node writes for the same change.
///
/// # Errors
/// `Validation`, `TooLarge` for an actor or a subject that could look like something else where the
/// trail is printed.
pub(super) fn append(
    key: &[u8],
    head: Option<HeadAt>,
    [actor, action, subject]: [&str; 3],
    nonce: [u8; 16],
) -> Result<Appended> {
    check_actor(actor)?;
    check_shown("a subject", subject)?;
    let guard = match &head {
        None => Guard::absent(keyspace::audit_head()),
        Some((_, version, _)) => Guard::version_equals(keyspace::audit_head(), *version),
    };
    let (head, version, timestamp) = head.unwrap_or_default();
    let fields = Writer::new(VERSION).bytes(actor.as_bytes()).bytes(action.as_bytes());
    let row = fields.bytes(subject.as_bytes()).bytes(&nonce).finish();
    let next = head.next(key, &row, (version, timestamp))?;
    let row = Writer::new(VERSION).bytes(&row).bytes(&next.link).finish();
    let head = Command::set(keyspace::audit_head(), next.to_bytes());
    Ok(Appended { guard, at: keyspace::audit(next.number), row, head })
}

/// Follows the chain from its first row, and checks each.
pub(super) struct Chain<'a> {
    key: &'a [u8],
    head: Head,
    before: (Version, Timestamp),
}

impl<'a> Chain<'a> {
    pub(super) fn new(key: &'a [u8]) -> Self {
        Self { key, head: Head::default(), before: (Version(0), Timestamp(0)) }
    }

    /// The next row, which stands at `at`.
    ///
    /// # Errors
    /// `AuditBroken`: a row before it is missing, or it is not what was written.
    pub(super) fn follow(&mut self, at: &[u8], row: &Versioned) -> Result<AuditRow> {
        let number = self.head.number + 1;
        let broken = |_| Error::AuditBroken { number };
        let mut from = Reader::new(&row.value, VERSION).map_err(broken)?;
        let (bytes, stored) = (from.bytes().map_err(broken)?, from.bytes().map_err(broken)?);
        from.finish().map_err(broken)?;
        self.head = self.head.next(self.key, bytes, self.before)?;
        if at != keyspace::audit(number) || !bool::from(self.head.link.ct_eq(stored)) {
            return Err(Error::AuditBroken { number });
        }
        self.before = (row.version, row.timestamp);
        let mut fields = Reader::new(bytes, VERSION)?;
        let (actor, action, subject) = (fields.text()?, fields.text()?, fields.text()?);
        let _nonce = fields.bytes()?;
        fields.finish()?;
        let (version, timestamp) = self.before;
        Ok(AuditRow { number, actor, action, subject, version, timestamp })
    }

    /// Holds what was followed against the head.
    ///
    /// # Errors
    /// `AuditBroken`: rows behind the last one are missing. An older head that was put back was not
    /// written by the entry that wrote the last row.
    pub(super) fn end(self, head: Option<HeadAt>) -> Result<()> {
        let (head, version, timestamp) = head.unwrap_or_default();
        let is_whole = head.number == self.head.number
            && (version, timestamp) == self.before
            && bool::from(head.link.ct_eq(&self.head.link));
        if is_whole { Ok(()) } else { Err(Error::AuditBroken { number: self.head.number + 1 }) }
    }
}
