//! What the commands of times and leases do.
//!
//! Everything goes by the stamp of the entry, and each step is a set or a removal of a row like any
//! other, so that snapshots, digests and history need to know nothing of it.

use bytes::Bytes;

use super::changes::{Changes, Kept, tombstone_bytes_of};
use super::effects::Effects;
use super::outcome::{Applied, Outcome};
use super::times::{Attachment, Due, End, LeaseTerms, attachment_row, lease_row};
use super::view::StateView;
use crate::command::keyspace::takes_time;
use crate::command::{Command, LeaseId, Until};
use crate::storage::error::StorageError;
use crate::types::Timestamp;

/// Whether everything that applying `command` would look at can be read. Which deadlines come to
/// pass depends on the stamp; new rows are put without looking, so what is there is all there is.
/// Returns the bytes that tables take for the keys that it removes.
///
/// # Errors
/// `Corrupt`, `Io`.
pub(super) fn check(view: &StateView, command: &Command) -> Result<u64, StorageError> {
    if view.base.is_empty() {
        return Ok(0);
    }
    let mut tombstone_bytes = 0;
    match command {
        Command::SetExpiring { key, until, .. } | Command::Attach { key, until } => {
            look_at_key(view, key)?;
            if let Until::Lease(lease) = until {
                view.lease(*lease)?;
            }
        }
        Command::GrantLease { lease, .. } | Command::KeepAlive { lease } => {
            look_at_lease(view, *lease)?;
        }
        Command::RevokeLease { lease } => {
            look_at_members(view, *lease, &mut tombstone_bytes)?;
        }
        Command::Expire { limit } => {
            let mut left = *limit;
            for row in view.due_rows(None, *limit)? {
                left = left.saturating_sub(match row.due {
                    Some((_, Due::Key(key))) => {
                        look_at_key(view, &key)?;
                        tombstone_bytes += tombstone_bytes_of(&key, true);
                        1
                    }
                    Some((_, Due::Lease(lease))) => {
                        look_at_members(view, lease, &mut tombstone_bytes)?
                    }
                    None => 1,
                });
                if left == 0 {
                    break;
                }
            }
        }
        _ => {}
    }
    Ok(tombstone_bytes)
}

fn look_at_key(view: &StateView, key: &[u8]) -> Result<(), StorageError> {
    view.record(key)?;
    if let Some(attachment) = view.attachment(key)? {
        view.record(&attachment.index_row(key))?;
    }
    Ok(())
}

fn look_at_lease(view: &StateView, lease: LeaseId) -> Result<(), StorageError> {
    if let Some(terms) = view.lease(lease)? {
        view.record(&Due::Lease(lease).row(terms.deadline))?;
    }
    Ok(())
}

/// Returns how many keys count for an entry that ends the lease.
fn look_at_members(
    view: &StateView,
    lease: LeaseId,
    tombstone_bytes: &mut u64,
) -> Result<u64, StorageError> {
    look_at_lease(view, lease)?;
    let members = view.members(lease)?;
    for key in &members {
        look_at_key(view, key)?;
        *tombstone_bytes += tombstone_bytes_of(key, true);
    }
    Ok(members.len() as u64 + 1)
}

/// Does what a command of times and leases says.
pub(super) fn apply(
    changes: Changes<'_>,
    command: Command,
) -> Result<(Applied, Effects), StorageError> {
    let mut at_work = Times { changes };
    let (outcome, kept) = match command {
        Command::SetExpiring { key, value, until } => at_work.set(&key, value, until)?,
        Command::Attach { key, until } => at_work.attach_to(&key, until)?,
        Command::GrantLease { lease, ttl } => (at_work.grant(lease, ttl)?, None),
        Command::KeepAlive { lease } => (at_work.keep_alive(lease)?, None),
        Command::RevokeLease { lease } => (at_work.revoke(lease)?, None),
        Command::Expire { limit } => (at_work.expire(limit)?, None),
        other => unreachable!("not about a time: {other:?}"),
    };
    Ok(at_work.changes.told(outcome, kept))
}

/// One entry at work on the rows of times.
struct Times<'a> {
    changes: Changes<'a>,
}

impl Times<'_> {
    fn view(&self) -> &StateView {
        self.changes.view()
    }

    fn now(&self) -> Timestamp {
        self.changes.timestamp()
    }

    /// The stamp that is so many microseconds ahead.
    fn in_micros(&self, ttl: u64) -> Timestamp {
        Timestamp(self.now().0.saturating_add(ttl))
    }

    /// When what is said now ends; `None` when there is no such lease.
    fn end_of(&self, until: Until) -> Result<Option<End>, StorageError> {
        Ok(match until {
            Until::After(ttl) => Some(End::At(self.in_micros(ttl))),
            Until::Lease(lease) => self.view().lease(lease)?.map(|_| End::With(lease)),
        })
    }

    fn set(
        &mut self,
        key: &Bytes,
        value: Bytes,
        until: Until,
    ) -> Result<(Outcome, Option<Kept>), StorageError> {
        if !takes_time(key) {
            return Ok((Outcome::ReservedKey, None));
        }
        let Some(end) = self.end_of(until)? else { return Ok((Outcome::NotFound, None)) };
        let kept = self.changes.set_named(key.clone(), value)?;
        let version = kept.as_ref().map_or(self.changes.version(), |kept| kept.version);
        self.attach(key, Attachment { end, version })?;
        Ok((if kept.is_some() { Outcome::Unchanged } else { Outcome::Applied }, kept))
    }

    fn attach_to(
        &mut self,
        key: &[u8],
        until: Until,
    ) -> Result<(Outcome, Option<Kept>), StorageError> {
        if !takes_time(key) {
            return Ok((Outcome::ReservedKey, None));
        }
        let Some(end) = self.end_of(until)? else { return Ok((Outcome::NotFound, None)) };
        let Some(found) = self.view().live(key)? else { return Ok((Outcome::NotFound, None)) };
        self.attach(key, Attachment { end, version: found.version })?;
        Ok((Outcome::Unchanged, Some(Kept::of(&found))))
    }

    /// Puts an attachment in the place of the one that there may be.
    fn attach(&mut self, key: &[u8], new: Attachment) -> Result<(), StorageError> {
        let row = attachment_row(key);
        match self.view().attachment(key)? {
            Some(old) if old.end == new.end => self.changes.set_row(row, new.encode()),
            Some(old) => {
                self.changes.remove_row(old.index_row(key))?;
                self.changes.put_new_row(new.index_row(key), Bytes::new());
                self.changes.set_row(row, new.encode())
            }
            None => {
                self.changes.put_new_row(new.index_row(key), Bytes::new());
                self.changes.put_new_row(row, new.encode());
                self.changes.sets_look_for_times();
                Ok(())
            }
        }
    }

    fn grant(&mut self, lease: LeaseId, ttl: u64) -> Result<Outcome, StorageError> {
        if self.view().lease(lease)?.is_some() {
            return Ok(Outcome::Unchanged);
        }
        let terms = LeaseTerms { ttl, deadline: self.in_micros(ttl) };
        self.changes.put_new_row(lease_row(lease), terms.encode());
        self.changes.put_new_row(Due::Lease(lease).row(terms.deadline), Bytes::new());
        Ok(Outcome::Applied)
    }

    fn keep_alive(&mut self, lease: LeaseId) -> Result<Outcome, StorageError> {
        let Some(old) = self.view().lease(lease)? else { return Ok(Outcome::NotFound) };
        let new = LeaseTerms { deadline: self.in_micros(old.ttl), ..old };
        if new == old {
            return Ok(Outcome::Unchanged);
        }
        self.changes.remove_row(Due::Lease(lease).row(old.deadline))?;
        self.changes.put_new_row(Due::Lease(lease).row(new.deadline), Bytes::new());
        self.changes.set_row(lease_row(lease), new.encode())?;
        Ok(Outcome::Applied)
    }

    fn revoke(&mut self, lease: LeaseId) -> Result<Outcome, StorageError> {
        let Some(terms) = self.view().lease(lease)? else { return Ok(Outcome::NotFound) };
        let Ended { removed, .. } = self.end_lease(lease, terms)?;
        Ok(if removed > 0 { Outcome::Removed { keys: removed } } else { Outcome::Applied })
    }

    /// Removes a lease with its keys.
    fn end_lease(&mut self, lease: LeaseId, terms: LeaseTerms) -> Result<Ended, StorageError> {
        let members = self.view().members(lease)?;
        let mut ended = Ended { removed: 0, looked_at: members.len() as u64 + 1 };
        for key in members {
            if let Some(attachment) = self.view().attachment(&key)? {
                ended.removed += self.end_key(&key, &attachment)?;
            }
        }
        self.changes.remove_row(Due::Lease(lease).row(terms.deadline))?;
        self.changes.remove_row(lease_row(lease))?;
        Ok(ended)
    }

    /// Removes a key whose time is over, unless the attachment is void, and the attachment. Returns
    /// how many keys were removed.
    fn end_key(&mut self, key: &[u8], attachment: &Attachment) -> Result<u64, StorageError> {
        let found = self.view().live(key)?;
        let is_about = found.is_some_and(|record| record.version == attachment.version);
        if is_about {
            self.changes.remove_row(Bytes::copy_from_slice(key))?;
        }
        self.changes.detach(key, attachment)?;
        Ok(u64::from(is_about))
    }

    fn expire(&mut self, limit: u64) -> Result<Outcome, StorageError> {
        let due = self.view().due_rows(Some(self.now()), limit)?;
        let is_any = !due.is_empty();
        let (mut removed, mut looked_at) = (0, 0);
        for row in due {
            if looked_at >= limit {
                break;
            }
            if let Some((deadline, _)) = row.due {
                self.changes.raise_due_floor(deadline);
            }
            let ended = match row.due {
                Some((_, Due::Key(key))) => match self.view().attachment(&key)? {
                    Some(it) => Ended { removed: self.end_key(&key, &it)?, looked_at: 1 },
                    None => self.forget(row.row)?,
                },
                Some((_, Due::Lease(lease))) => match self.view().lease(lease)? {
                    Some(terms) => self.end_lease(lease, terms)?,
                    None => self.forget(row.row)?,
                },
                None => self.forget(row.row)?,
            };
            removed += ended.removed;
            looked_at += ended.looked_at;
        }
        Ok(match removed {
            0 if is_any => Outcome::Unchanged,
            0 => Outcome::NotFound,
            keys => Outcome::Removed { keys },
        })
    }

    /// Removes a row of the due index that says nothing.
    fn forget(&mut self, row: Bytes) -> Result<Ended, StorageError> {
        self.changes.remove_row(row)?;
        Ok(Ended { removed: 0, looked_at: 1 })
    }
}

/// What ending a time has done.
struct Ended {
    /// Keys that were removed.
    removed: u64,
    /// What counts towards the limit of an entry.
    looked_at: u64,
}
