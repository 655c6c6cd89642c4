//! Watching through the public surface: held against the model, across compactions, kills and
//! openings, on threads and as tasks. `docs/watching.md` says what is promised.
//!
//! A failure of the random work prints its seed: `HTKV_SEED=s cargo test --test watch random`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helpers of tests cannot do fails the test"
)]
#![expect(clippy::disallowed_methods, reason = "it asks the system how much memory it has")]

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/waking.rs"]
mod waking;
#[path = "../support/model.rs"]
mod model;
#[path = "../support/session.rs"]
mod session;
#[path = "../support/workload.rs"]
mod workload;
mod support;
mod follower;
mod random_work;
mod closing;
mod scopes;
mod slow;
mod tasks;
mod threads;
