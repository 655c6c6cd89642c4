//! When a user logged in last: a small record of its own, so that no login rewrites a user.

use super::coalesced::write_down;
use super::envelope::EnvelopeEncryptor;
use super::hasher::SecretHasher;
use super::keyspace;
use super::service::AuthService;
use crate::engine::KvEngine;
use crate::error::Result;
use crate::types::Timestamp;

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// When a user last gave the right password, to the minute, as the log stamped it; `None` when
    /// it never did, or is deleted. A crash may forget the last minute.
    ///
    /// # Errors
    /// Those of a read.
    pub fn last_login(&self, user_id: &str) -> Result<Option<Timestamp>> {
        let view = self.view()?;
        Ok(view.reserved().get(&keyspace::last_login(user_id))?.map(|row| row.timestamp))
    }

    /// Writes down that a user logged in, unless that was done within the last minute. Does not
    /// wait for it.
    pub(super) fn note_login(&self, user_id: &str) -> Result<()> {
        let (key, view) = (keyspace::last_login(user_id), self.view()?);
        let row = view.reserved().get(&key)?;
        let clock = &self.shared.env.clock;
        let (elapsed, now) = (clock.elapsed(), view.timestamp().max(clock.now()));
        let written_at = row.as_ref().map(|row| row.timestamp);
        if !self.shared.logins.is_due(user_id, elapsed, now, written_at) {
            return Ok(());
        }
        drop(view);
        // A user that was deleted meanwhile gets no record.
        let command = write_down(key, row.as_ref(), keyspace::user(user_id));
        drop(self.shared.engine.submit_async(command));
        Ok(())
    }
}
