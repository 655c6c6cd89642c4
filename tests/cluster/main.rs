//! Clusters on bad days: rows R1 to R18 of the reliability plan, each at the size of the gate.
//!
//! Tests are driven by triggers and waits. Nothing depends on how fast the machine is, except how
//! long it takes: whatever is waited for is given five minutes.
#![cfg(feature = "raft")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helpers of tests cannot do fails the test"
)]
#![expect(clippy::disallowed_methods, reason = "clients are threads with clocks of their own")]

mod ledger;
mod support;
mod load;
mod past;
mod r01_partitions;
mod r02_lossy_links;
mod r03_leader_killed;
mod r04_membership;
mod r05_overload;
mod r07_exactly_once;
mod r07_sessions;
mod r08_stale_reads;
mod r10_divergence;
mod r14_disks;
mod r15_identity;
mod r16_power_cuts;
mod r17_snapshots;
mod r18_restarts;
mod watching;
mod scopes;
