//! One contract, every engine: the same tests for a single node, for a cluster of one voter, for
//! the leader of three, and for a follower, which passes writes on.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::indexing_slicing, reason = "rows of known length")]
#![expect(clippy::panic, reason = "an error of another kind")]

mod calls;
mod engines;
mod refusals;
mod scopes;
mod threads;
