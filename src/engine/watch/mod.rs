//! Watching: every committed change under a prefix, in order, none twice, none missing.
//!
//! A [`Watcher`] is a prefix and a position, and nothing is queued for it: what it tells it reads
//! from the log when it is asked. `registry` is how a write finds who is concerned, `slot` where
//! one waits, `source` what it reads from; `docs/rfcs/0006-watching.md` says why.

pub(crate) mod shown;
pub mod event;
pub mod options;
pub(crate) mod slot;
pub(crate) mod registry;
pub(crate) mod marking;
pub(crate) mod source;
pub(crate) mod state_rows;
pub mod watcher;
pub mod watch_engine;

pub use self::event::{Change, Changes, WatchEvent};
pub use self::options::WatchOptions;
pub use self::watch_engine::WatchEngine;
pub use self::watcher::{NextEvent, Watcher};

#[cfg(test)]
mod tests;
