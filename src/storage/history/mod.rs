//! The past: what each entry changed.

pub mod change;
