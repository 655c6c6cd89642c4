//! The past against a model that keeps every version: states, times, histories, restores.
//!
//! `cargo test --test history -- --nocapture` prints the counts. A failure prints its replay:
//! `HTKV_SEED=s cargo test --test history`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests"
)]

#[path = "../support/model.rs"]
mod model;
#[path = "../support/session.rs"]
mod session;
#[path = "../support/workload.rs"]
mod workload;

mod checks;
mod clocks;
mod damage;
mod put_back;
mod restoring;
mod retaining;
mod sequences;
