//! Users: create, list, change, disable, delete.

use super::changes::{Change, rewrite};
use super::envelope::EnvelopeEncryptor;
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::{api_key_ids, find, user_by_id, user_by_name};
use super::names::normalise;
use super::password_policy::PasswordPolicy;
use super::realm::Realm;
use super::records::UserRecord;
use super::sealing::check_metadata;
use super::service::AuthService;
use super::stored_hash::StoredHash;
use crate::command::{Command, Guard};
use crate::engine::{KvEngine, StateView};
use crate::error::{Error, Result};

/// What users are called where their metadata is bound to its place.
pub(super) const KIND: &str = "user";
/// Users that a list is read in.
const USERS_AT_ONCE: usize = 256;

pub(super) fn no_such_user() -> Error {
    Error::NotFound("no such user".to_owned())
}

/// What [`AuthService::create_user_with_metadata`] refuses whatever the store holds: for who wants
/// to know before a store is opened, or before there is one.
///
/// # Errors
/// `Validation`, `TooLarge`.
pub fn check_new_user(
    policy: PasswordPolicy,
    username: &str,
    password: &str,
    metadata: Option<&[u8]>,
) -> Result<()> {
    known_as(policy, username, password, metadata).map(drop)
}

/// As [`check_new_user`]. Gives the name that it is known by.
fn known_as(
    policy: PasswordPolicy,
    username: &str,
    password: &str,
    metadata: Option<&[u8]>,
) -> Result<String> {
    let username = normalise(username)?;
    policy.check(&username, password)?;
    check_metadata(metadata)?;
    Ok(username)
}

/// A page of users, by name. A name and its user are written and removed together.
fn users_after(view: &StateView, after: Option<&str>, limit: usize) -> Result<Vec<UserRecord>> {
    let after = after.map(keyspace::user_by_name);
    let rows = view.reserved().rows(&keyspace::user_by_name(""), after.as_deref(), limit)?;
    let mut users = Vec::with_capacity(rows.len());
    for (_, id) in rows {
        let found = user_by_id(view, &String::from_utf8_lossy(&id.value))?;
        users.extend(found.map(|found| found.record));
    }
    Ok(users)
}

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// Creates a user. Of several that create one name at once, one does. Cost: one hash.
    ///
    /// # Errors
    /// `Validation`, `TooLarge` for a name or password that cannot be; `Conflict`: the name is
    /// taken; `Overloaded`; those of a write.
    pub fn create_user(&self, username: &str, password: &str) -> Result<UserRecord> {
        self.create_user_with_metadata(username, password, None)
    }

    /// As [`Self::create_user`], with at most 64 KiB of metadata, which is stored encrypted.
    ///
    /// # Errors
    /// Those of [`Self::create_user`]; `Crypto`.
    pub fn create_user_with_metadata(
        &self,
        username: &str,
        password: &str,
        metadata: Option<&[u8]>,
    ) -> Result<UserRecord> {
        let username = known_as(self.policy, username, password, metadata)?;
        let password_hash = self.hash(password)?;
        let (_, user_id) = self.new_id()?;
        let place = self.realm()?.metadata_place(KIND, &user_id, 1);
        let metadata = self.seal(&place, metadata)?;
        let created_at = self.now()?;
        let record = UserRecord {
            user_id,
            username,
            password_hash,
            created_at,
            disabled: false,
            roles: Vec::new(),
            metadata_version: 1,
            metadata,
        };
        let by_name = keyspace::user_by_name(&record.username);
        self.change(|view| {
            if find(view, &by_name, |_| Ok(()))?.is_some() {
                return Err(Error::Conflict("the name is taken".to_owned()));
            }
            let id = &record.user_id;
            let change = Change {
                guards: vec![Guard::absent(by_name.clone()), Guard::absent(keyspace::user(id))],
                commands: vec![
                    Command::set(keyspace::user(id), record.to_bytes()),
                    Command::set(by_name.clone(), id.clone().into_bytes()),
                ],
                action: "user.create",
                subject: id.clone(),
                wraps: u64::from(record.metadata.is_some()),
            };
            Ok((Some(change), record.clone()))
        })
    }

    /// The user of a name; `None` when there is none.
    ///
    /// # Errors
    /// `Validation`, `TooLarge` for what is no name; those of a read.
    pub fn find_user(&self, username: &str) -> Result<Option<UserRecord>> {
        Ok(user_by_name(&self.view()?, &normalise(username)?)?.map(|found| found.record))
    }

    /// Every user of one state, by name, with metadata as it is stored: with many users see
    /// [`Self::list_users_after`].
    ///
    /// # Errors
    /// Those of a read.
    pub fn list_users(&self) -> Result<Vec<UserRecord>> {
        let (view, mut users) = (self.view()?, Vec::new());
        loop {
            let last = users.last().map(|user: &UserRecord| user.username.as_str());
            let page = users_after(&view, last, USERS_AT_ONCE)?;
            if page.is_empty() {
                return Ok(users);
            }
            users.extend(page);
        }
    }

    /// At most `limit` users whose names stand behind `after`, by name: one page, each of its own
    /// state. The next begins behind the last name of this one; an empty page is the end.
    ///
    /// # Errors
    /// Those of a read.
    pub fn list_users_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<UserRecord>> {
        users_after(&self.view()?, after, limit)
    }

    /// Gives a user another password, if the old one is right. Cost: two hashes.
    ///
    /// # Errors
    /// `Validation`, `TooLarge` for a new password that cannot be; `Overloaded`; those of a write.
    pub fn change_password(&self, username: &str, old: &str, new: &str) -> Result<bool> {
        let name = normalise(username)?;
        self.policy.check(&name, new)?;
        let Some(checked) = self.check_password(&name, old)? else { return Ok(false) };
        let password_hash = self.hash(new)?;
        self.change(|view| {
            let Some(mut found) = user_by_id(view, &checked.user_id)? else {
                return Ok((None, false));
            };
            // The password that was right has been changed meanwhile.
            if found.record.password_hash != checked.password_hash || found.record.disabled {
                return Ok((None, false));
            }
            found.record.password_hash.clone_from(&password_hash);
            Ok((Some(rewrite(&found, "user.change_password")), true))
        })
    }

    /// Gives a user another password without the old one, and ends a lock: for administrators.
    ///
    /// # Errors
    /// `NotFound`; those of [`Self::change_password`].
    pub fn reset_password(&self, user_id: &str, new: &str) -> Result<()> {
        let name = user_by_id(&self.view()?, user_id)?.ok_or_else(no_such_user)?.record.username;
        self.policy.check(&name, new)?;
        let password_hash = self.hash(new)?;
        self.change(|view| {
            let mut found = user_by_id(view, user_id)?.ok_or_else(no_such_user)?;
            found.record.password_hash.clone_from(&password_hash);
            let mut change = rewrite(&found, "user.reset_password");
            change.commands.push(Command::delete(keyspace::failures(user_id)));
            Ok((Some(change), ()))
        })?;
        self.shared.failures.forget(user_id);
        Ok(())
    }

    /// Ends a lock and forgets failed logins: for administrators. A node that has not told its last
    /// four failures yet still counts those.
    ///
    /// # Errors
    /// `NotFound`; those of a write.
    pub fn unlock_user(&self, user_id: &str) -> Result<()> {
        self.change(|view| {
            let found = user_by_id(view, user_id)?.ok_or_else(no_such_user)?;
            let key = keyspace::failures(user_id);
            let Some(failures) = find(view, &key, |_| Ok(()))? else { return Ok((None, ())) };
            let change = Change {
                guards: vec![
                    Guard::version_equals(key.clone(), failures.version),
                    Guard::version_equals(keyspace::user(user_id), found.version),
                ],
                commands: vec![Command::delete(key)],
                action: "user.unlock",
                subject: user_id.to_owned(),
                wraps: 0,
            };
            Ok((Some(change), ()))
        })?;
        self.shared.failures.forget(user_id);
        Ok(())
    }

    /// Gives a user other metadata, at most 64 KiB, or none. Returns the record with it.
    ///
    /// # Errors
    /// `NotFound`; `TooLarge`; `Crypto`; those of a write.
    pub fn set_user_metadata(&self, user_id: &str, metadata: Option<&[u8]>) -> Result<UserRecord> {
        check_metadata(metadata)?;
        let realm = self.realm()?;
        let mut wraps = 0;
        self.change(|view| {
            let mut found = user_by_id(view, user_id)?.ok_or_else(no_such_user)?;
            let record = &mut found.record;
            record.metadata_version = record.metadata_version.saturating_add(1);
            let place = realm.metadata_place(KIND, user_id, record.metadata_version);
            record.metadata = self.seal(&place, metadata)?;
            // One that is not written is counted with the next.
            wraps += u64::from(record.metadata.is_some());
            let change = Change { wraps, ..rewrite(&found, "user.set_metadata") };
            Ok((Some(change), found.record))
        })
    }

    /// Refuses a user's logins and API keys from now on, on every node.
    ///
    /// # Errors
    /// `NotFound`; those of a write.
    pub fn disable_user(&self, user_id: &str) -> Result<()> {
        self.set_disabled(user_id, true, "user.disable")
    }

    /// Accepts a disabled user's logins and API keys again.
    ///
    /// # Errors
    /// `NotFound`; those of a write.
    pub fn enable_user(&self, user_id: &str) -> Result<()> {
        self.set_disabled(user_id, false, "user.enable")
    }

    fn set_disabled(&self, user_id: &str, disabled: bool, action: &'static str) -> Result<()> {
        self.change(|view| {
            let mut found = user_by_id(view, user_id)?.ok_or_else(no_such_user)?;
            if found.record.disabled == disabled {
                return Ok((None, ()));
            }
            found.record.disabled = disabled;
            Ok((Some(rewrite(&found, action)), ()))
        })
    }

    /// Removes a user and its API keys. A key that is created meanwhile is not created, or removed.
    ///
    /// # Errors
    /// `NotFound`; those of a write.
    pub fn delete_user(&self, user_id: &str) -> Result<()> {
        self.change(|view| {
            let found = user_by_id(view, user_id)?.ok_or_else(no_such_user)?;
            let mut commands = vec![
                Command::delete(keyspace::user(user_id)),
                Command::delete(keyspace::user_by_name(&found.record.username)),
                Command::delete(keyspace::failures(user_id)),
                Command::delete(keyspace::api_key_count(user_id)),
                Command::delete(keyspace::last_login(user_id)),
                Command::delete_prefix(keyspace::api_key_by_user(user_id, "")),
            ];
            for key in api_key_ids(view, user_id)? {
                commands.push(Command::delete(keyspace::api_key(&key)));
                commands.push(Command::delete(keyspace::api_key_used(&key)));
            }
            let guards = vec![Guard::version_equals(keyspace::user(user_id), found.version)];
            let subject = user_id.to_owned();
            let (action, wraps) = ("user.delete", 0);
            Ok((Some(Change { guards, commands, action, subject, wraps }), ()))
        })
    }

    /// The metadata that was stored with this record.
    ///
    /// # Errors
    /// `UnknownKey`; `Crypto`: it was changed, or is another record's.
    pub fn decrypt_user_metadata(&self, user: &UserRecord) -> Result<Option<Vec<u8>>> {
        let of = |realm: &Realm| realm.metadata_place(KIND, &user.user_id, user.metadata_version);
        self.open(of, user.metadata.as_ref())
    }

    pub(super) fn hash(&self, password: &str) -> Result<StoredHash<String>> {
        let shared = &self.shared;
        let hash = || shared.hasher.hash(password.as_bytes(), &*shared.env.rng);
        shared.pool.run(hash).map(StoredHash::new)
    }
}
