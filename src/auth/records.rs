//! What is stored of users, API keys and roles.

use std::fmt;

use super::envelope::Envelope;
use super::record_codec::{Reader, Writer, malformed};
use super::stored_hash::StoredHash;
use crate::error::Result;
use crate::types::Timestamp;

const VERSION: u8 = 1;

/// A user. `Debug` shows neither hash nor metadata.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRecord {
    /// 128 random bits as 22 letters and digits; never used again.
    pub user_id: String,
    /// The name in its one spelling.
    pub username: String,
    /// The hash of the password, with its parameters.
    pub(super) password_hash: StoredHash<String>,
    /// The proposer's time when it was created.
    pub created_at: Timestamp,
    /// Whether the user may not log in and its keys are not accepted.
    pub disabled: bool,
    /// The names of the user's roles, ascending.
    pub roles: Vec<String>,
    /// How often metadata was written: its encryption is bound to it.
    pub(super) metadata_version: u64,
    /// Encrypted: see `AuthService::decrypt_user_metadata`.
    pub metadata: Option<Envelope>,
}

impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord")
            .field("user_id", &self.user_id)
            .field("disabled", &self.disabled)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl UserRecord {
    /// What the password is hashed by, as the hash names it: `argon2id`, or `2b`, which is bcrypt.
    #[must_use]
    pub fn password_algorithm(&self) -> &str {
        self.password_hash.expose().split('$').nth(1).unwrap_or_default()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let head = Writer::new(VERSION).bytes(self.user_id.as_bytes());
        let head =
            head.bytes(self.username.as_bytes()).bytes(self.password_hash.expose().as_bytes());
        let head = head.number(self.created_at.0).byte(u8::from(self.disabled));
        head.list(&self.roles, |to, role| to.bytes(role.as_bytes()))
            .number(self.metadata_version)
            .option(self.metadata.as_ref(), |to, it| to.bytes(&it.to_bytes()))
            .finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Reader::new(bytes, VERSION)?;
        let record = Self {
            user_id: from.text()?,
            username: from.text()?,
            password_hash: StoredHash::new(from.text()?),
            created_at: from.timestamp()?,
            disabled: from.flag()?,
            roles: from.list(Reader::text)?,
            metadata_version: from.number()?,
            metadata: from.option(|from| Envelope::from_bytes(from.bytes()?))?,
        };
        from.finish()?;
        Ok(record)
    }
}

/// An API key, without its secret. `Debug` shows neither hash nor metadata.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKeyRecord {
    /// 128 random bits as 22 letters and digits; part of the token.
    pub key_id: String,
    /// Whose it is.
    pub owner_id: String,
    /// What it is called, for people; empty when it was given none. Stored as it is.
    pub label: String,
    /// HMAC-SHA-256 of the secret under a key derived for this.
    pub(super) secret_hash: StoredHash<[u8; 32]>,
    /// The proposer's time when it was created.
    pub created_at: Timestamp,
    /// When it ends; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// What of its owner's permissions it has; `None`: all of them.
    pub grants: Option<Vec<Grant>>,
    /// How often metadata was written: its encryption is bound to it.
    pub(super) metadata_version: u64,
    /// Encrypted: see `AuthService::decrypt_api_key_metadata`.
    pub metadata: Option<Envelope>,
}

impl fmt::Debug for ApiKeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyRecord")
            .field("key_id", &self.key_id)
            .field("owner_id", &self.owner_id)
            .field("expires_at", &self.expires_at)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

impl ApiKeyRecord {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let head = Writer::new(VERSION).bytes(self.key_id.as_bytes());
        head.bytes(self.owner_id.as_bytes())
            .bytes(self.label.as_bytes())
            .bytes(self.secret_hash.expose())
            .number(self.created_at.0)
            .option(self.expires_at.as_ref(), |to, at| to.number(at.0))
            .option(self.grants.as_ref(), |to, grants| to.list(grants, Grant::encode))
            .number(self.metadata_version)
            .option(self.metadata.as_ref(), |to, it| to.bytes(&it.to_bytes()))
            .finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Reader::new(bytes, VERSION)?;
        let record = Self {
            key_id: from.text()?,
            owner_id: from.text()?,
            label: from.text()?,
            secret_hash: StoredHash::new(from.bytes()?.try_into().map_err(|_| malformed())?),
            created_at: from.timestamp()?,
            expires_at: from.option(Reader::timestamp)?,
            grants: from.option(|from| from.list(Grant::decode))?,
            metadata_version: from.number()?,
            metadata: from.option(|from| Envelope::from_bytes(from.bytes()?))?,
        };
        from.finish()?;
        Ok(record)
    }
}

/// What is permitted for keys that begin with a prefix, by a role or by an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the keys begin with; empty: every plain key.
    pub prefix: Vec<u8>,
    /// Whether they may be read.
    pub read: bool,
    /// Whether they may be written and removed.
    pub write: bool,
}

impl Grant {
    /// To read the keys that begin with `prefix`.
    #[must_use]
    pub fn to_read(prefix: impl Into<Vec<u8>>) -> Self {
        Self { prefix: prefix.into(), read: true, write: false }
    }

    /// To read, write and remove the keys that begin with `prefix`.
    #[must_use]
    pub fn to_write(prefix: impl Into<Vec<u8>>) -> Self {
        Self { prefix: prefix.into(), read: true, write: true }
    }

    fn encode(to: Writer, grant: &Self) -> Writer {
        to.bytes(&grant.prefix).byte(u8::from(grant.read)).byte(u8::from(grant.write))
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { prefix: from.bytes()?.to_vec(), read: from.flag()?, write: from.flag()? })
    }
}

/// A role: grants that users have by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleRecord {
    /// The name in its one spelling.
    pub name: String,
    /// What it permits. What no grant permits is refused.
    pub grants: Vec<Grant>,
}

impl RoleRecord {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        Writer::new(VERSION).bytes(self.name.as_bytes()).list(&self.grants, Grant::encode).finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut from = Reader::new(bytes, VERSION)?;
        let record = Self { name: from.text()?, grants: from.list(Grant::decode)? };
        from.finish()?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_cut_ones_are_refused() {
        let user = UserRecord {
            user_id: "id".to_owned(),
            username: "captain".to_owned(),
            password_hash: StoredHash::new("$kind$hash-canary".to_owned()),
            created_at: Timestamp(7),
            disabled: true,
            roles: vec!["ops".to_owned()],
            metadata_version: 1,
            metadata: None,
        };
        let bytes = user.to_bytes();
        assert_eq!(UserRecord::from_bytes(&bytes).unwrap(), user);
        for end in 0..bytes.len() {
            assert!(UserRecord::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
        assert!(!format!("{user:?}").contains("canary"));
        assert_eq!(user.password_algorithm(), "kind");
        let grant = Grant { prefix: b"a/".to_vec(), read: true, write: false };
        let role = RoleRecord { name: "ops".to_owned(), grants: vec![grant] };
        assert_eq!(RoleRecord::from_bytes(&role.to_bytes()).unwrap(), role);
    }
}
