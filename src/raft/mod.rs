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
pub mod transport;
pub mod wire;
pub mod identity;
pub(crate) mod convert;
pub mod network;
pub(crate) mod rpc_error;
pub(crate) mod pipeline;
pub(crate) mod snapshot_sender;
pub(crate) mod raft_network;
pub(crate) mod turns;
pub(crate) mod repeats;
pub mod server;
#[cfg(any(test, feature = "testing"))]
pub mod router;
pub(crate) mod raft_calls;
pub(crate) mod receiving;
pub(crate) mod within;
pub(crate) mod read_gate;
pub(crate) mod peers;
pub(crate) mod forward_queue;
pub(crate) mod node;
pub(crate) mod forward;
pub(crate) mod reads;
pub(crate) mod peerside;
pub(crate) mod checks;
pub(crate) mod expiry;
pub(crate) mod ephemeral;
pub(crate) mod open;
pub mod cluster_engine;
pub(crate) mod watching;
pub mod history;
#[cfg(any(test, feature = "testing"))]
pub mod test_cluster;

pub use self::cluster_engine::{ClusterEngine, Retain, Wait};
pub use self::config::ClusterConfig;
pub use self::status::{ClusterStatus, Role};
pub use self::transport::{RequestHandler, Transport, TransportError};

#[cfg(test)]
mod tests;
