//! Checking a password: the same answer after the same work, whatever is wrong.

use super::changes::{Change, rewrite};
use super::envelope::EnvelopeEncryptor;
use super::failures::{Failures, Written};
use super::failures_here::{Begun, Telling, Turn};
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::{user_by_id, user_by_name};
use super::names::normalise;
use super::password_policy::check_password_bytes;
use super::records::UserRecord;
use super::service::AuthService;
use crate::command::{Command, Guard};
use crate::engine::{KvEngine, StateView};
use crate::error::{Error, Result};
use crate::types::{Timestamp, Version};

/// A user's row of failures, with its version.
type Row = (Written, Version);

/// A check that may be made.
struct Admission<'a> {
    user: UserRecord,
    failures: Option<Row>,
    turn: Turn<'a>,
}

/// How a check ended.
enum Checked<'a> {
    /// There was nothing to check against, or no check may be made.
    Refused,
    Wrong(String, Option<Telling<'a>>),
    Right(UserRecord, Option<Row>),
}

fn failures_of(view: &StateView, user_id: &str) -> Result<Option<Row>> {
    let Some(row) = view.reserved().get(&keyspace::failures(user_id))? else { return Ok(None) };
    let failures = Failures::from_bytes(&row.value)?;
    Ok(Some((Written { failures, at: row.timestamp }, row.version)))
}

/// Says that failures could not be told; nobody else is told so. Returns whether they were.
fn warn_of_untold(user_id: &str, told: &Result<()>) -> bool {
    if let Err(error) = told {
        tracing::warn!(user = user_id, %error, "failed logins could not be told, and are kept");
    }
    told.is_ok()
}

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// Whether this is the password of the user of this name, who is enabled and not locked out.
    /// What is wrong is not told, and costs the same: one hash.
    ///
    /// # Lockout
    ///
    /// Ten failures lock a user out, on every node, for 15 minutes, and for twice as long each time
    /// that follows, up to a day. A failure counts for 15 minutes after the last one. A right
    /// password, [`Self::reset_password`] and [`Self::unlock_user`] end the count; a lock ends with
    /// its time, which is the log's and no node's clock, or by the latter two.
    ///
    /// Failures that cannot be told, because the disk is full or the master key is another one,
    /// are kept and told later, with a warning in the log. Until then a node refuses its user, the
    /// right password too, once five of them wait: for 15 minutes after the last one.
    ///
    /// One command tells five failures, so a crash forgets at most four, and other nodes may lack
    /// up to five of a node's failures: before the lock is known to all, one node checks at most
    /// 10 wrong passwords, two together 15, and n together `5 (n + 1)`.
    ///
    /// # What time tells
    ///
    /// The work for an unknown name is that for a hash with this service's parameters. A user whose
    /// hash has others, because they were raised since it last logged in, is checked with those:
    /// until it logs in again, a wrong password for it takes another time than an unknown name. A
    /// hash of another algorithm is refused after the usual work, with a warning in the log.
    ///
    /// A guess that fills five waits for the command that tells them, and so do guesses of the same
    /// user meanwhile; once a minute at most one waits for an entry that asks the log for its
    /// time. Guesses of an unknown name wait for none. So each fifth guess may tell by its time
    /// that there is such a user.
    ///
    /// # Errors
    /// `TooLarge` for more than 1,024 bytes of password or 256 of name, before any work;
    /// `Overloaded`: 64 logins wait already; those of a read; for a right password those of the
    /// write that ends the count of failures.
    pub fn verify_password(&self, username: &str, password: &str) -> Result<bool> {
        check_password_bytes(password)?;
        let name = match normalise(username) {
            Ok(name) => name,
            Err(error @ Error::TooLarge { .. }) => return Err(error),
            // No user has such a name.
            Err(_) => {
                self.shared.pool.run(|| self.refuse_alike(password))?;
                return Ok(false);
            }
        };
        Ok(self.check_password(&name, password)?.is_some())
    }

    /// The user of a normalised name, if the password is right.
    pub(super) fn check_password(&self, name: &str, password: &str) -> Result<Option<UserRecord>> {
        check_password_bytes(password)?;
        // On a node that is cut off each look takes a whole deadline: all find that out at once,
        // and not two at a time, as they would with the places of the pool.
        drop(self.view()?);
        let place = self.shared.pool.enter()?;
        let admission = self.begin(name)?;
        match place.run(|| self.check_once(admission, password))? {
            Checked::Refused => Ok(None),
            Checked::Wrong(user_id, telling) => {
                // An unknown name is refused whatever the disk says, so this is, too.
                let told = telling.map_or(Ok(()), |telling| self.tell(&user_id, telling));
                warn_of_untold(&user_id, &told);
                Ok(None)
            }
            Checked::Right(user, failures) => self.admit(user, failures, password),
        }
    }

    /// The work of a check, for nothing.
    fn refuse_alike(&self, password: &str) -> Result<()> {
        let hasher = &self.shared.hasher;
        hasher.verify(password.as_bytes(), &hasher.dummy()).map(drop)
    }

    /// Does the work, and nothing but that.
    fn check_once<'a>(
        &self,
        admission: Option<Admission<'a>>,
        password: &str,
    ) -> Result<Checked<'a>> {
        let Some(Admission { user, failures, turn }) = admission else {
            self.refuse_alike(password)?;
            return Ok(Checked::Refused);
        };
        let hash = user.password_hash.expose();
        match self.shared.hasher.verify(password.as_bytes(), hash) {
            Ok(true) => {
                turn.succeed();
                Ok(Checked::Right(user, failures))
            }
            Ok(false) => {
                let telling = turn.fail(self.shared.env.clock.elapsed());
                Ok(Checked::Wrong(user.user_id, telling))
            }
            Err(Error::Crypto(_)) => {
                // Nothing was computed. This must not be told from another refusal.
                tracing::warn!(user = user.user_id, "the hash of a password is of another kind");
                self.refuse_alike(password)?;
                Ok(Checked::Refused)
            }
            Err(error) => Err(error),
        }
    }

    /// Decides, with a place in the pool, whether a password of this name is checked.
    fn begin(&self, name: &str) -> Result<Option<Admission<'_>>> {
        loop {
            let epoch = self.shared.failures.epoch();
            let view = self.view()?;
            let found = user_by_name(&view, name)?.map(|found| found.record);
            let Some(user) = found.filter(|user| !user.disabled) else { return Ok(None) };
            let failures = failures_of(&view, &user.user_id)?;
            let elapsed = self.shared.env.clock.elapsed();
            let mut count = 0;
            if let Some(row) = &failures {
                let now = self.log_time(&view, &user.user_id, row)?;
                if row.0.is_locked(now) {
                    return Ok(None);
                }
                count = row.0.count(now);
            }
            drop(view);
            match self.shared.failures.begin(&user.user_id, count, epoch, elapsed) {
                Begun::Check(turn) => return Ok(Some(Admission { user, failures, turn })),
                Begun::Refuse => return Ok(None),
                Begun::Stale => {}
                Begun::Tell(telling) => {
                    let told = self.tell(&user.user_id, telling);
                    if !warn_of_untold(&user.user_id, &told) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The time of the log, for a row of failures.
    ///
    /// The clock of this node decides nothing: one that is ahead would end every lock. But the log
    /// may stand still because nobody writes; if this node believes that a row is over, it asks, at
    /// most once a minute, by an entry that changes nothing.
    fn log_time(&self, view: &StateView, user_id: &str, row: &Row) -> Result<Timestamp> {
        let (clock, here) = (&self.shared.env.clock, &self.shared.failures);
        let elapsed = clock.elapsed();
        let known = here.log_time(user_id, (&row.0, row.1), view.timestamp(), elapsed);
        if row.0.is_over(known) || !row.0.is_over(clock.now()) || !here.may_ask(elapsed) {
            return Ok(known);
        }
        let nothing = Command::reserved([], [Command::delete(keyspace::nothing())]);
        if self.shared.engine.submit(nothing).is_err() {
            // What was known still holds, and an error would tell that there is such a user.
            return Ok(known);
        }
        Ok(known.max(self.view()?.timestamp()))
    }

    /// The password was right: what remains is to hold it against what happened meanwhile.
    fn admit(
        &self,
        user: UserRecord,
        failures: Option<Row>,
        password: &str,
    ) -> Result<Option<UserRecord>> {
        if let Some((_, version)) = failures {
            let key = keyspace::failures(&user.user_id);
            // Another failure meanwhile stays counted.
            let guard = Guard::version_equals(key.clone(), version);
            self.shared.engine.submit(Command::reserved([guard], [Command::delete(key)]))?;
        }
        let is_same = |now: &UserRecord| !now.disabled && now.password_hash == user.password_hash;
        if !user_by_id(&self.view()?, &user.user_id)?.is_some_and(|now| is_same(&now.record)) {
            return Ok(None);
        }
        self.note_login(&user.user_id)?;
        if !self.shared.hasher.is_outdated(user.password_hash.expose()) {
            return Ok(Some(user));
        }
        // It can wait for the next login: the password is right whatever becomes of this, also
        // where the disk is full or the master key is not there.
        let Ok(password_hash) = self.hash(password) else { return Ok(Some(user)) };
        let rehashed = self.change(|view| {
            let Some(mut found) = user_by_id(view, &user.user_id)?.filter(|it| is_same(&it.record))
            else {
                return Ok((None, None));
            };
            found.record.password_hash.clone_from(&password_hash);
            let change = rewrite(&found, "user.rehash");
            Ok((Some(change), Some(found.record)))
        });
        rehashed.or(Ok(Some(user)))
    }

    /// Adds failures to those that all nodes know. A lock is a change, and leaves an audit row.
    fn tell(&self, user_id: &str, telling: Telling<'_>) -> Result<()> {
        let key = keyspace::failures(user_id);
        self.change(|view| {
            let row = failures_of(view, user_id)?;
            let guard = match &row {
                None => Guard::absent(key.clone()),
                Some((_, version)) => Guard::version_equals(key.clone(), *version),
            };
            let now = match &row {
                None => view.timestamp(),
                Some(row) => self.log_time(view, user_id, row)?,
            };
            let before = row.as_ref().map(|(written, _)| written);
            let Some(after) = Failures::after(before, telling.failures, now) else {
                return Ok((None, ()));
            };
            let change = Change {
                guards: vec![guard, Guard::present(keyspace::user(user_id))],
                commands: vec![Command::set(key.clone(), after.to_bytes())],
                action: if after.is_lock() { "user.lock" } else { "user.failures" },
                subject: user_id.to_owned(),
                wraps: 0,
            };
            let exists = user_by_id(view, user_id)?.is_some();
            Ok((exists.then_some(change), ()))
        })?;
        telling.told();
        Ok(())
    }
}
