//! Where auth's records stand in the reserved keyspace.

use bytes::Bytes;

use crate::command::reserved_key;

fn key(parts: &[&str]) -> Bytes {
    reserved_key(parts.concat().as_bytes())
}

pub(super) fn user(id: &str) -> Bytes {
    key(&["auth/user/", id])
}

pub(super) fn user_by_name(name: &str) -> Bytes {
    key(&["auth/user_by_name/", name])
}

pub(super) fn api_key(id: &str) -> Bytes {
    key(&["auth/apikey/", id])
}

pub(super) fn api_key_by_user(user: &str, id: &str) -> Bytes {
    key(&["auth/apikey_by_user/", user, "/", id])
}

/// How many keys a user has.
pub(super) fn api_key_count(user: &str) -> Bytes {
    key(&["auth/apikey_count/", user])
}

pub(super) fn api_key_used(id: &str) -> Bytes {
    key(&["auth/apikey_used/", id])
}

pub(super) fn role(name: &str) -> Bytes {
    key(&["auth/role/", name])
}

/// Failed logins of a user.
pub(super) fn failures(user: &str) -> Bytes {
    key(&["auth/failures/", user])
}

/// When a user logged in last.
pub(super) fn last_login(user: &str) -> Bytes {
    key(&["auth/last_login/", user])
}

/// How often a master key has wrapped a data key.
pub(super) fn wraps(key_id: u32) -> Bytes {
    key(&["auth/wraps/", &format!("{key_id:010}")])
}

/// Where nothing ever stands.
pub(super) fn nothing() -> Bytes {
    key(&["auth/nothing"])
}

/// Rows of the audit trail in order: the number has twenty digits.
pub(super) fn audit(number: u64) -> Bytes {
    key(&["auth/audit/", &format!("{number:020}")])
}

/// How far the audit trail goes.
pub(super) fn audit_head() -> Bytes {
    key(&["auth/audit_head"])
}

/// What this store's secrets are bound to, and the secret that keys of it are derived from.
pub(super) fn realm() -> Bytes {
    key(&["auth/realm"])
}

/// Whether this row is written when the realm is created, before any change.
pub(super) fn is_before_any_change(key: &[u8]) -> bool {
    key == realm() || key.starts_with(&self::key(&["auth/wraps/"]))
}

/// Where every record stands.
pub(super) fn everything() -> Bytes {
    key(&["auth/"])
}

/// Where every row of the audit trail stands.
pub(super) fn audit_prefix() -> Bytes {
    key(&["auth/audit/"])
}
