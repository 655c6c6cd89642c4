//! The stores, one file each, and how each is set.

use std::path::Path;

use crate::failure::{Result, While};
use crate::store::{Opening, Store};

mod fjall;
mod lmdb;
mod old;
mod ours;
mod redb;
mod sled;

/// A store that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Contender {
    Ours,
    Old,
    Fjall,
    Redb,
    Lmdb,
    Sled,
}

impl Contender {
    /// All, in the order of the table's columns.
    pub(crate) const ALL: [Self; 6] =
        [Self::Ours, Self::Old, Self::Fjall, Self::Redb, Self::Lmdb, Self::Sled];

    /// The name that `STORES` knows it by.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Old => "old",
            Self::Fjall => "fjall",
            Self::Redb => "redb",
            Self::Lmdb => "lmdb",
            Self::Sled => "sled",
        }
    }

    /// The heading of its column.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Ours => "hightower-kv",
            Self::Old => "0.1.5",
            Self::Fjall => "fjall 3",
            Self::Redb => "redb 4",
            Self::Lmdb => "LMDB",
            Self::Sled => "sled 0.34",
        }
    }

    /// The one with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|contender| contender.name() == name)
    }

    /// Opens its store in a directory that exists; creates it where there is none.
    pub(crate) fn open(self, directory: &Path, opening: Opening) -> Result<Box<dyn Store>> {
        let store: Result<Box<dyn Store>> = match self {
            Self::Ours => ours::open(directory, opening),
            Self::Old => old::open(directory, opening),
            Self::Fjall => fjall::open(directory, opening),
            Self::Redb => redb::open(directory, opening),
            Self::Lmdb => lmdb::open(directory, opening),
            Self::Sled => sled::open(directory, opening),
        };
        store.during(format_args!("opening {}", self.name()))
    }
}
