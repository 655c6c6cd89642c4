//! The past: what each entry changed.

mod change;

pub use self::change::{EntryChanges, KeyChange};
