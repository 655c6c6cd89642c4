//! An embedded key-value store made as a replicated state machine.

// Modules in dependency order: each may use only those above it (tests/tidy.rs checks).
pub mod types;
pub mod env;
pub mod metrics;
pub mod command;
pub mod storage;
pub mod state;
