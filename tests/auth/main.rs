//! Users, passwords, API keys and roles: the rules of the authentication layer, each by its test.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod keys;
mod lockout;
mod passwords;
mod roles;
mod secrets;
mod support;
mod trail;
mod users;
