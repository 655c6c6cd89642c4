//! Users, passwords, API keys and roles: the rules of the authentication layer, each by its test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests"
)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests look at the real disk and the real time, and catch what is logged"
)]

#[path = "../support/alone.rs"]
mod alone;
mod canaries;
#[cfg(feature = "raft")]
mod cluster;
mod keys;
mod keys_hostile;
mod load;
mod lockout;
mod passwords;
mod races;
mod roles;
mod secrets;
mod support;
mod tokens;
mod trail;
mod users;
