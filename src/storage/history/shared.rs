//! What the handles of one archive share: what there is, and who may change it.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::catalog::{Catalog, Era, EraInfo, Place};
use super::file::ChangeFile;
use super::folder::file_path;
use super::name::ChangeName;
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::table::BlockCache;
use crate::types::LogIndex;

/// Bytes of memory for blocks of bases that are read, of all together.
const CACHE_BYTES: u64 = 8 << 20;

/// What the store was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// What is in the folder and does not count.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// Eras that reach further than the store, oldest first.
    pub(super) ahead: Vec<EraInfo>,
    /// The folders of those that were set aside.
    pub(super) set_aside: Vec<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) context: Context,
    pub(super) cache: Arc<BlockCache>,
    catalog: RwLock<Arc<Catalog>>,
    pub(super) apart: Apart,
    /// Held while files are compressed, and by whoever removes eras. Taken before `changing`.
    pub(super) packing: Mutex<()>,
    /// Held for the length of a change of names. Reading waits for none.
    changing: Mutex<()>,
    access: Access,
    /// Files that could not be compressed because they are damaged.
    damaged: Mutex<Vec<ChangeName>>,
}

impl Shared {
    pub(super) fn new(context: &Context, catalog: Catalog, apart: Apart, access: Access) -> Self {
        Self {
            context: context.clone(),
            cache: Arc::new(BlockCache::new(CACHE_BYTES)),
            catalog: RwLock::new(Arc::new(catalog)),
            apart,
            packing: Mutex::new(()),
            changing: Mutex::new(()),
            access,
            damaged: Mutex::new(Vec::new()),
        }
    }

    /// What there is now.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read())
    }

    /// Shows readers what there is from now on. The caller has [`Self::change`].
    pub(super) fn show(&self, catalog: Catalog) {
        *self.catalog.write() = Arc::new(catalog);
    }

    /// Keeps others from changing names.
    ///
    /// # Errors
    /// `Closed` when the store is open for reading only; `Poisoned`.
    pub(super) fn change(&self) -> Result<MutexGuard<'_, ()>, StorageError> {
        if self.access == Access::Read {
            return Err(StorageError::Closed { state: "open for reading only" });
        }
        self.context.gate.check()?;
        Ok(self.changing.lock())
    }

    pub(super) fn is_damaged(&self, file: &ChangeName) -> bool {
        self.damaged.lock().contains(file)
    }

    pub(super) fn remember_damaged(&self, file: ChangeName) {
        self.damaged.lock().push(file);
    }

    /// Opens the file that holds the changes of `index`. One that vanishes meanwhile is looked for
    /// again: it was compressed into another, or given up.
    ///
    /// # Errors
    /// `Compacted` before the oldest era, `MissingChanges` in a hole, `BeyondEnd` behind the
    /// newest; `MissingFile` when the file is gone although nobody removed it; those of opening it.
    pub(super) fn open(&self, index: LogIndex) -> Result<(ChangeName, ChangeFile), StorageError> {
        loop {
            let catalog = self.catalog();
            let (era, name) = self.find(&catalog, index)?;
            let path = file_path(&self.context, &era.name, name);
            if let Some(file) = ChangeFile::open(&self.context, &path, name)? {
                return Ok((*name, file));
            }
            if Arc::ptr_eq(&catalog, &self.catalog()) {
                let reason = format!("entry {index} is in it");
                return Err(StorageError::MissingFile { file: path, reason });
            }
        }
    }

    /// The file that holds the changes of `index`, by its name.
    ///
    /// # Errors
    /// Those of [`Self::open`] but for what reading a file brings.
    pub(super) fn find<'a>(
        &self,
        catalog: &'a Catalog,
        index: LogIndex,
    ) -> Result<(&'a Era, &'a ChangeName), StorageError> {
        match catalog.find(index) {
            Place::In(era, file) => Ok((era, file)),
            Place::Before(oldest) => Err(StorageError::Compacted { oldest }),
            Place::Hole(era, first, last) => {
                let directory = self.context.archive.join(era.name.to_string());
                Err(StorageError::MissingChanges { directory, first, last })
            }
            Place::Behind(last) => Err(StorageError::BeyondEnd { asked: index, last }),
        }
    }
}
