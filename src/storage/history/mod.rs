//! The past of a store: what each entry changed, and states to begin with, in the folder `archive`.
//!
//! The past is a row of *eras*. An era begins with a *base*, the tables of a manifest or nothing,
//! and holds *change files* that follow it without a gap. A state of the past is the base of its
//! era with the changes behind it. `archive` is what callers hold; `name` says what the folder
//! holds by names alone, so that opening reads no file; `file` and `block` are one change file.
//!
//! Nothing here is needed to open the store: damage of the past stops nobody but who asks for it.

mod change;
mod place;
mod name;
mod block;
mod footer;
mod output;
mod file;
mod writer;
mod catalog;
mod packing;
mod folder;
mod base;
mod shared;
mod reader;
mod archive;
mod looking;
mod eras;
mod compress;

pub use self::archive::{AppendSummary, Archive};
pub use self::base::Base;
pub(crate) use self::base::context_of;
pub use self::catalog::{ChangeFileInfo, EraInfo};
pub use self::change::{EntryChanges, KeyChange};
pub use self::compress::{ARCHIVE_COMPRESSION, CompressSummary};
pub use self::eras::CleanSummary;
pub(crate) use self::file::ChangeFile;
pub(crate) use self::folder::look;
pub(crate) use self::name::is_era_name;
pub use self::reader::ArchiveReader;
