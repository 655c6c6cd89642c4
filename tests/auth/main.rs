//! Users, passwords, API keys and roles: the rules of the authentication layer, each by its test.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[cfg(feature = "raft")]
mod cluster;
mod keys;
mod keys_hostile;
mod passwords;
mod races;
mod roles;
mod secrets;
mod support;
mod tokens;
mod trail;
mod users;
