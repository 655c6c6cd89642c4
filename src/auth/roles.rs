//! Roles: what a user may do with which keys.

use super::api_key_options::{at_most, check_grants};
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

/// Most roles of one user.
const ROLES_MAX: usize = 64;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal<'a> {
    /// A user, by id.
    User(&'a str),
    /// The holder of an API key, by the key's id: may do what its owner may, and where the key has
    /// grants of its own, of that only what these permit as well. Who says to hold a key must have
    /// shown its token: `AuthService::authenticate_api_key`.
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

impl Action {
    /// Whether any of these grants permits it for a key.
    fn is_permitted(self, grants: &[Grant], key: &[u8]) -> bool {
        grants.iter().any(|grant| {
            let may = match self {
                Self::Read => grant.read,
                Self::Write => grant.write,
            };
            may && key.starts_with(&grant.prefix)
        })
    }
}

/// What [`AuthService::put_role`] refuses whatever the store holds: for who wants to know before a
/// store is opened, or before there is one.
///
/// # Errors
/// `Validation`, `TooLarge`, `ReservedKey`.
pub fn check_role(name: &str, grants: &[Grant]) -> Result<()> {
    known_as(name, grants).map(drop)
}

/// As [`check_role`]. Gives the name that it is known by.
fn known_as(name: &str, grants: &[Grant]) -> Result<String> {
    check_grants(grants)?;
    normalise(name)
}

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// Creates a role, or gives it other grants: at most 256, with prefixes of at most 1 KiB.
    ///
    /// # Errors
    /// `Validation`, `TooLarge` for a name or for grants that cannot be; `ReservedKey` for a
    /// prefix; those of a write.
    pub fn put_role(&self, name: &str, grants: Vec<Grant>) -> Result<RoleRecord> {
        let record = RoleRecord { name: known_as(name, &grants)?, grants };
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

    /// Gives a user these roles and no others: at most 64. Each must be there.
    ///
    /// # Errors
    /// `NotFound`: no such user or role; `TooLarge`; those of a write.
    pub fn set_user_roles(&self, user_id: &str, roles: &[&str]) -> Result<()> {
        let mut names = roles.iter().map(|role| normalise(role)).collect::<Result<Vec<_>>>()?;
        names.sort_unstable();
        names.dedup();
        at_most("roles of a user", names.len(), ROLES_MAX)?;
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
    /// Its name stays with the users that have it: a role that is put under that name later is
    /// theirs, too.
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
                let api_key = ApiKeyRecord::from_bytes(&row.value)?;
                let now = self.shared.keys.time(view.timestamp().max(self.shared.env.clock.now()));
                let is_expired = api_key.expires_at.is_some_and(|end| end <= now);
                let grants = api_key.grants.as_deref();
                if is_expired || grants.is_some_and(|grants| !action.is_permitted(grants, key)) {
                    return Ok(false);
                }
                api_key.owner_id
            }
        };
        let Some(row) = view.reserved().get(&keyspace::user(&owner))? else { return Ok(false) };
        let user = UserRecord::from_bytes(&row.value)?;
        if user.disabled {
            return Ok(false);
        }
        for name in &user.roles {
            let Some(row) = view.reserved().get(&keyspace::role(name))? else { continue };
            if action.is_permitted(&RoleRecord::from_bytes(&row.value)?.grants, key) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
