//! Checking a password: the same answer after the same work, whatever is wrong.

use super::changes::{Change, rewrite};
use super::envelope::EnvelopeEncryptor;
use super::failures::Failures;
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::{find, user_by_id, user_by_name};
use super::names::normalise;
use super::password_policy::check_password_bytes;
use super::records::UserRecord;
use super::service::AuthService;
use crate::command::{Command, Guard};
use crate::engine::KvEngine;
use crate::error::{Error, Result};

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// Whether this is the password of the user of this name, who is enabled and not locked out.
    /// What is wrong is not told, and costs the same: one hash.
    ///
    /// Ten failures within 15 minutes lock the user out for as long, on every node, and for twice
    /// as long each time that follows, up to a day. One command tells five failures, so a crash
    /// forgets at most four.
    ///
    /// # Errors
    /// `TooLarge`; `Overloaded`: 64 logins wait already; those of a read.
    pub fn verify_password(&self, username: &str, password: &str) -> Result<bool> {
        check_password_bytes(password)?;
        let name = match normalise(username) {
            Ok(name) => name,
            Err(error @ Error::TooLarge { .. }) => return Err(error),
            // No user has such a name.
            Err(_) => return self.refuse_alike(password).map(|()| false),
        };
        Ok(self.check_password(&name, password)?.is_some())
    }

    /// The work of a check, for nothing.
    fn refuse_alike(&self, password: &str) -> Result<()> {
        let dummy = self.shared.hasher.dummy();
        self.shared.pool.run(|| self.shared.hasher.verify(password.as_bytes(), &dummy)).map(drop)
    }

    /// The user of a normalised name, if the password is right.
    pub(super) fn check_password(&self, name: &str, password: &str) -> Result<Option<UserRecord>> {
        check_password_bytes(password)?;
        let Some(found) = user_by_name(&self.view()?, name)?.filter(|found| !found.record.disabled)
        else {
            self.refuse_alike(password)?;
            return Ok(None);
        };
        let user = found.record;
        let known = self.known_failures(&user.user_id)?;
        if !self.shared.failures.begin(&user.user_id, known, self.now()?) {
            self.refuse_alike(password)?;
            return Ok(None);
        }
        let checked = self
            .shared
            .pool
            .run(|| self.shared.hasher.verify(password.as_bytes(), user.password_hash.expose()));
        match checked {
            Err(error) => {
                self.shared.failures.give_up(&user.user_id);
                Err(error)
            }
            Ok(false) => {
                if let Some(failures) = self.shared.failures.failed(&user.user_id, known) {
                    self.tell_failures(&user.user_id, failures)?;
                }
                Ok(None)
            }
            Ok(true) => self.admit(user, known, password),
        }
    }

    /// The password was right: what remains is to hold it against what happened meanwhile.
    fn admit(
        &self,
        user: UserRecord,
        known: Failures,
        password: &str,
    ) -> Result<Option<UserRecord>> {
        self.shared.failures.succeeded(&user.user_id);
        if known != Failures::default() {
            let key = keyspace::failures(&user.user_id);
            let guard = Guard::value_equals(key.clone(), known.to_bytes());
            // Another failure meanwhile stays counted.
            self.shared.engine.submit(Command::reserved([guard], [Command::delete(key)]))?;
        }
        let is_same = |now: &UserRecord| !now.disabled && now.password_hash == user.password_hash;
        if !user_by_id(&self.view()?, &user.user_id)?.is_some_and(|now| is_same(&now.record)) {
            return Ok(None);
        }
        if !self.shared.hasher.is_outdated(user.password_hash.expose()) {
            return Ok(Some(user));
        }
        let password_hash = self.hash(password)?;
        self.change(|view| {
            let Some(mut found) = user_by_id(view, &user.user_id)?.filter(|it| is_same(&it.record))
            else {
                return Ok((None, None));
            };
            found.record.password_hash.clone_from(&password_hash);
            let change = rewrite(&found, "user.rehash");
            Ok((Some(change), Some(found.record)))
        })
    }

    fn known_failures(&self, user_id: &str) -> Result<Failures> {
        let found = find(&self.view()?, &keyspace::failures(user_id), Failures::from_bytes)?;
        Ok(found.map_or_else(Failures::default, |found| found.record))
    }

    /// Adds failures to those that all nodes know. A lock is a change, and leaves an audit row.
    fn tell_failures(&self, user_id: &str, failures: u64) -> Result<()> {
        let key = keyspace::failures(user_id);
        let told = self.change(|view| {
            let before = find(view, &key, Failures::from_bytes)?;
            let guard = match &before {
                None => Guard::absent(key.clone()),
                Some(found) => Guard::version_equals(key.clone(), found.version),
            };
            let before = before.map_or_else(Failures::default, |found| found.record);
            let after = before.after(failures, self.now()?);
            let is_lock = after.locks > before.locks;
            let change = Change {
                guards: vec![guard, Guard::present(keyspace::user(user_id))],
                commands: vec![Command::set(key.clone(), after.to_bytes())],
                action: if is_lock { "user.lock" } else { "user.failures" },
                subject: user_id.to_owned(),
            };
            let exists = user_by_id(view, user_id)?.is_some();
            Ok((exists.then_some(change), ()))
        });
        if told.is_err() {
            self.shared.failures.not_told(user_id, failures);
        }
        told
    }
}
