//! The package as it is used from outside, one module a behaviour.
#![expect(clippy::disallowed_methods, reason = "a test may use the real disk directly")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what helpers of tests cannot do fails the test"
)]

#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod cli_import;
