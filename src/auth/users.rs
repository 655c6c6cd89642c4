//! Users: create, list, change, disable, delete.

use super::changes::{Change, rewrite};
use super::envelope::EnvelopeEncryptor;
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::{api_key_ids, find, find_all, user_by_id, user_by_name};
use super::names::normalise;
use super::records::UserRecord;
use super::service::AuthService;
use super::stored_hash::StoredHash;
use crate::command::{Command, Guard};
use crate::engine::KvEngine;
use crate::error::{Error, Result};

/// What users are called where their metadata is bound to its place.
pub(super) const KIND: &str = "user";

pub(super) fn no_such_user() -> Error {
    Error::NotFound("no such user".to_owned())
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

    /// As [`Self::create_user`], with metadata that is stored encrypted.
    ///
    /// # Errors
    /// Those of [`Self::create_user`]; `Crypto`.
    pub fn create_user_with_metadata(
        &self,
        username: &str,
        password: &str,
        metadata: Option<&[u8]>,
    ) -> Result<UserRecord> {
        let username = normalise(username)?;
        self.policy.check(&username, password)?;
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

    /// Every user, by name.
    ///
    /// # Errors
    /// Those of a read.
    pub fn list_users(&self) -> Result<Vec<UserRecord>> {
        let prefix = keyspace::user("");
        let mut users = find_all(&self.view()?, &prefix, |_, bytes| UserRecord::from_bytes(bytes))?;
        users.sort_unstable_by(|a, b| a.username.cmp(&b.username));
        Ok(users)
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
        self.shared.failures.succeeded(user_id);
        Ok(())
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
                Command::delete_prefix(keyspace::api_key_by_user(user_id, "")),
            ];
            for key in api_key_ids(view, user_id)? {
                commands.push(Command::delete(keyspace::api_key(&key)));
                commands.push(Command::delete(keyspace::api_key_used(&key)));
            }
            let guards = vec![Guard::version_equals(keyspace::user(user_id), found.version)];
            let subject = user_id.to_owned();
            Ok((Some(Change { guards, commands, action: "user.delete", subject }), ()))
        })
    }

    /// The metadata that the user was created with.
    ///
    /// # Errors
    /// `UnknownKey`; `Crypto`: it was changed, or is another record's.
    pub fn decrypt_user_metadata(&self, user: &UserRecord) -> Result<Option<Vec<u8>>> {
        let place = self.realm()?.metadata_place(KIND, &user.user_id, user.metadata_version);
        self.open(&place, user.metadata.as_ref())
    }

    pub(super) fn hash(&self, password: &str) -> Result<StoredHash<String>> {
        let shared = &self.shared;
        let hash = || shared.hasher.hash(password.as_bytes(), &*shared.env.rng);
        shared.pool.run(hash).map(StoredHash::new)
    }
}
