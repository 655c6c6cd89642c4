//! Roles: what a user may do with which keys.

use super::changes::{Change, rewrite};
use super::envelope::EnvelopeEncryptor;
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::{find, find_all, user_by_id};
use super::names::normalise;
use super::records::{ApiKeyRecord, Grant, RoleRecord, UserRecord};
use super::service::AuthService;
use super::users::no_such_user;
use crate::command::{Command, Guard, is_reserved};
use crate::engine::KvEngine;
use crate::error::{Error, Result};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal<'a> {
    /// A user, by id.
    User(&'a str),
    /// The holder of an API key, by the key's id: may do what its owner may.
    ApiKey(&'a str),
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To read a key.
    Read,
    /// To write or to remove a key.
    Write,
}

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// Creates a role, or gives it other grants.
    ///
    /// # Errors
    /// `Validation`, `TooLarge` for a name that cannot be; `ReservedKey` for a prefix; those of a
    /// write.
    pub fn put_role(&self, name: &str, grants: Vec<Grant>) -> Result<RoleRecord> {
        if grants.iter().any(|grant| is_reserved(&grant.prefix)) {
            return Err(Error::ReservedKey);
        }
        let record = RoleRecord { name: normalise(name)?, grants };
        self.change(|_| {
            let change = Change {
                guards: Vec::new(),
                commands: vec![Command::set(keyspace::role(&record.name), record.to_bytes())],
                action: "role.put",
                subject: record.name.clone(),
                wraps: 0,
            };
            Ok((Some(change), ()))
        })?;
        Ok(record)
    }

    /// Gives a user these roles and no others. Each must be there.
    ///
    /// # Errors
    /// `NotFound`: no such user or role; those of a write.
    pub fn set_user_roles(&self, user_id: &str, roles: &[&str]) -> Result<()> {
        let mut names = roles.iter().map(|role| normalise(role)).collect::<Result<Vec<_>>>()?;
        names.sort_unstable();
        names.dedup();
        self.change(|view| {
            let mut found = user_by_id(view, user_id)?.ok_or_else(no_such_user)?;
            found.record.roles.clone_from(&names);
            let mut change = rewrite(&found, "user.set_roles");
            for name in &names {
                if find(view, &keyspace::role(name), |_| Ok(()))?.is_none() {
                    return Err(Error::NotFound("no such role".to_owned()));
                }
                change.guards.push(Guard::present(keyspace::role(name)));
            }
            Ok((Some(change), ()))
        })
    }

    /// Every role, by name.
    ///
    /// # Errors
    /// Those of a read.
    pub fn list_roles(&self) -> Result<Vec<RoleRecord>> {
        find_all(&self.view()?, &keyspace::role(""), |_, bytes| RoleRecord::from_bytes(bytes))
    }

    /// Removes a role: what it permitted is refused from now on. False when there is none.
    ///
    /// # Errors
    /// Those of a write.
    pub fn delete_role(&self, name: &str) -> Result<bool> {
        let name = normalise(name)?;
        self.change(|view| {
            if find(view, &keyspace::role(&name), |_| Ok(()))?.is_none() {
                return Ok((None, false));
            }
            let change = Change {
                guards: vec![Guard::present(keyspace::role(&name))],
                commands: vec![Command::delete(keyspace::role(&name))],
                action: "role.delete",
                subject: name.clone(),
                wraps: 0,
            };
            Ok((Some(change), true))
        })
    }

    /// Whether the principal may do this with this key, by one state of the records. What no role
    /// permits is refused, as is every reserved key, and everything to who is disabled or gone.
    ///
    /// # Errors
    /// Those of a read.
    pub fn authorize(&self, principal: Principal<'_>, action: Action, key: &[u8]) -> Result<bool> {
        if is_reserved(key) {
            return Ok(false);
        }
        let view = self.view()?;
        let owner = match principal {
            Principal::User(id) => id.to_owned(),
            Principal::ApiKey(id) => {
                let Some(row) = view.reserved().get(&keyspace::api_key(id))? else {
                    return Ok(false);
                };
                let key = ApiKeyRecord::from_bytes(&row.value)?;
                let now = view.timestamp().max(self.shared.env.clock.now());
                if key.expires_at.is_some_and(|end| end <= now) {
                    return Ok(false);
                }
                key.owner_id
            }
        };
        let Some(row) = view.reserved().get(&keyspace::user(&owner))? else { return Ok(false) };
        let user = UserRecord::from_bytes(&row.value)?;
        if user.disabled {
            return Ok(false);
        }
        for name in &user.roles {
            let Some(row) = view.reserved().get(&keyspace::role(name))? else { continue };
            let permits = |grant: &Grant| {
                let may = match action {
                    Action::Read => grant.read,
                    Action::Write => grant.write,
                };
                may && key.starts_with(&grant.prefix)
            };
            if RoleRecord::from_bytes(&row.value)?.grants.iter().any(permits) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
