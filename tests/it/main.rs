//! The store through its public surface, and the command line, each bad day by itself.
//! `docs/testing.md` says which module shows which row.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what helpers of tests cannot do fails the test"
)]
#![cfg_attr(
    feature = "cli",
    expect(
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "what helpers of tests cannot do fails the test"
    )
)]
#![expect(clippy::disallowed_methods, reason = "locks, modes and threads need the real machine")]

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/waking.rs"]
mod waking;
mod support;
mod backup;
mod backup_crash;
mod bad_input;
mod bounds;
#[cfg(feature = "cli")]
mod cli;
#[cfg(all(feature = "cli", feature = "auth", unix))]
mod cli_auth;
#[cfg(feature = "cli")]
mod cli_backup;
#[cfg(feature = "cli")]
mod cli_history;
#[cfg(feature = "cli")]
mod cli_import;
#[cfg(all(feature = "cli", feature = "auth", unix))]
mod cli_keys;
#[cfg(feature = "cli")]
mod cli_repair;
#[cfg(all(feature = "cli", feature = "auth", unix))]
mod cli_secrets;
mod compaction_faults;
mod concurrency;
mod disk_full;
mod files;
mod hostile;
mod locks;
mod panics;
mod reopen;
mod sync_failure;
mod tables;
