//! Scopes, times and leases on a single node: on the real disk and on a simulated one, with clocks
//! that jump and with kills in between.
#![expect(clippy::unwrap_used, reason = "what helpers cannot do fails the test")]
#![expect(clippy::disallowed_methods, reason = "some tests run on the real disk and clock")]

mod support;
mod lifetimes;
mod calls;
mod clear;
mod times;
mod clocks;
mod damage;
