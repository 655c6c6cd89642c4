//! Stands in for storage's snapshots until they are there; goes away with them.

use std::sync::Arc;

use crate::storage::error::StorageError;
use crate::storage::manifest::ManifestHead;
use crate::storage::store::Store;
use crate::storage::table_set::TableSet;
use crate::storage::table_store::TableStore;

/// A state in tables.
#[derive(Clone, Debug)]
pub struct HeldSnapshot {
    head: ManifestHead,
    set: Arc<TableSet>,
}

/// A snapshot as a whole.
#[derive(Debug)]
pub enum Snapshot {
    /// Of a store in this process.
    Held(HeldSnapshot),
}

impl Snapshot {
    /// Which state it is.
    #[must_use]
    pub fn head(&self) -> &ManifestHead {
        let Self::Held(held) = self;
        &held.head
    }
}

pub(crate) fn hold(tables: &TableStore) -> Option<HeldSnapshot> {
    Some(HeldSnapshot { head: tables.manifest_head()?, set: tables.set() })
}

pub(crate) fn install(
    store: &Store,
    snapshot: &Snapshot,
) -> Result<(Arc<TableSet>, ManifestHead), StorageError> {
    let Snapshot::Held(held) = snapshot;
    assert!(held.set.is_empty(), "only states without rows for now");
    let set = store.add_run(&held.head, &crate::storage::index::Index::new())?;
    Ok((set, held.head.clone()))
}
