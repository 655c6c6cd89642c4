//! Reading the audit trail.

use super::audit::{AuditRow, Chain, Head};
use super::envelope::EnvelopeEncryptor;
use super::hasher::SecretHasher;
use super::keyspace;
use super::service::AuthService;
use crate::engine::{KvEngine, StateView};
use crate::error::{Error, Result};

/// Rows that the trail is read in.
const ROWS_AT_ONCE: usize = 1024;
/// Rows that are there before any change: the realm, and the count of what its master key wrapped.
const BEFORE_ANY_CHANGE: usize = 2;

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// The audit trail's rows with numbers from `from` to `to`, both included, oldest first, after
    /// checking all of it. Cost: every row is read once; those that are given are in memory. Writes
    /// nothing.
    ///
    /// # Errors
    /// `AuditBroken` with the first row that is missing or not what was written; a store with
    /// records and no trail at all lacks its first. `UnknownKey`. Those of a read.
    pub fn audit(&self, from: u64, to: u64) -> Result<Vec<AuditRow>> {
        let mut found = Vec::new();
        self.audit_each(from, to, |row| {
            found.push(row);
            Ok(())
        })?;
        Ok(found)
    }

    /// As [`Self::audit`], one row after the other, so that a long trail is not in memory at once.
    /// What was given is as it was written; that nothing is missing behind it is known only when
    /// this has returned `Ok`.
    ///
    /// # Errors
    /// Those of [`Self::audit`] and of `each`, which ends it.
    pub fn audit_each(
        &self,
        from: u64,
        to: u64,
        mut each: impl FnMut(AuditRow) -> Result<()>,
    ) -> Result<()> {
        let (view, prefix) = (self.view()?, keyspace::audit_prefix());
        let Some(realm) = self.realm_of(&view)? else { return none_expected(&view) };
        let mut chain = Chain::new(realm.audit_key.as_ref());
        let mut after = None;
        loop {
            let rows = view.reserved().rows(&prefix, after.as_deref(), ROWS_AT_ONCE)?;
            for (at, row) in &rows {
                let row = chain.follow(at, row)?;
                if (from..=to).contains(&row.number) {
                    each(row)?;
                }
            }
            after = rows.last().map(|row| row.0.clone());
            if rows.len() < ROWS_AT_ONCE {
                break;
            }
        }
        let head = Head::read(&view)?;
        if head.is_none() {
            none_expected(&view)?;
        }
        chain.end(head)
    }
}

/// Checks that a state without a trail has no record that a change has made, since each change left
/// a row.
fn none_expected(view: &StateView) -> Result<()> {
    let rows = view.reserved().rows(&keyspace::everything(), None, 1 + BEFORE_ANY_CHANGE)?;
    let is_change = |key: &[u8]| !keyspace::is_before_any_change(key);
    if rows.len() > BEFORE_ANY_CHANGE || rows.iter().any(|(key, _)| is_change(key)) {
        return Err(Error::AuditBroken { number: 1 });
    }
    Ok(())
}
