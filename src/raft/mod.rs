//! Several voters: openraft over the same storage.
//!
//! A data directory is a Raft voter's storage whoever drives it. Here openraft does, and this is
//! the only folder that names it, or is asynchronous (rule R3).

pub mod type_config;
pub mod status;
pub mod config;
pub(crate) mod block_on;
pub(crate) mod inflight;
pub(crate) mod io_error;
pub(crate) mod log_cache;
pub(crate) mod syncer;
pub mod log_store;
pub mod applied_watch;
pub mod snapshot;
pub mod state_machine;
pub mod storage;

#[cfg(test)]
mod tests;
