//! Watchers of a source that is made up.

mod fake;
mod registry;
mod schedules;
mod waiting;
mod watcher;
