//! One contract, every engine: the same tests for a single node, for a cluster of one voter, for
//! the leader of three, and for a follower, which passes writes on.

mod calls;
mod engines;
mod refusals;
mod threads;
