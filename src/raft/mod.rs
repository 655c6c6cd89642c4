//! Several voters: openraft over the same storage.
//!
//! A data directory is a Raft voter's storage whoever drives it. Here openraft does, and this is
//! the only folder that names it, or is asynchronous (rule R3).

pub mod type_config;
pub mod transport;
pub mod wire;
pub mod identity;
pub(crate) mod convert;
pub mod snapshot_source;
pub mod snapshot;
pub mod network;
pub(crate) mod rpc_error;
pub(crate) mod pipeline;
pub(crate) mod snapshot_sender;
pub(crate) mod raft_network;
pub(crate) mod turns;
pub mod server;
pub mod raft_calls;
#[cfg(any(test, feature = "testing"))]
pub mod router;
