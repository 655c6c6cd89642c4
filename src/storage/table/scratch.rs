//! Tables in a directory of their own, for tests and benches.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::block_cache::BlockCache;
use super::reader::Table;
use super::summary::{TableOptions, TableSummary};
use super::writer::TableWriter;
use crate::env::Env;
use crate::storage::atomic_file;
use crate::storage::context::Context;
use crate::storage::error::StorageError;
use crate::storage::format::table_name;
use crate::storage::identity::Identity;
use crate::storage::record::Record;
use crate::storage::sync_gate::SyncGate;
use crate::types::{NodeId, TableId};

/// A directory with tables and nothing else.
#[derive(Clone)]
pub struct Scratch {
    pub(crate) context: Context,
}

impl Scratch {
    /// A folder of tables below `root`, which must exist; of a new identity.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(env: Env, root: &Path) -> Result<Self, StorageError> {
        let identity = Identity::random(&*env.rng, NodeId(1), root)?;
        let gate = SyncGate::new(Arc::clone(&env.fs));
        let context = Context::new(env, gate, root, identity);
        if context
            .env
            .fs
            .kind(&context.tables)
            .map_err(StorageError::wrap("look at", root))?
            .is_none()
        {
            context
                .env
                .fs
                .create_dir(&context.tables)
                .map_err(StorageError::wrap("create", root))?;
        }
        Ok(Self { context })
    }

    /// Where a table is.
    #[must_use]
    pub fn path(&self, id: TableId) -> PathBuf {
        self.context.table_path(id)
    }

    /// Publishes a table with these rows, at least one, in ascending order.
    ///
    /// # Errors
    /// Those of writing and publishing.
    pub fn write(
        &self,
        id: TableId,
        options: TableOptions,
        rows: impl IntoIterator<Item = (Bytes, Record)>,
    ) -> Result<TableSummary, StorageError> {
        let Context { env, gate, tables, .. } = &self.context;
        let mut summary = None;
        atomic_file::publish(&*env.fs, gate, tables, &table_name(id), |file, path| {
            let mut writer = TableWriter::new(&self.context, id, options, file, path)?;
            for (key, record) in rows {
                writer.push(&key, &record)?;
            }
            summary = Some(writer.finish()?);
            Ok(())
        })?;
        summary.ok_or(StorageError::Closed { state: "without a table" })
    }

    /// Opens a table.
    ///
    /// # Errors
    /// Those of [`Table`].
    pub fn open(
        &self,
        summary: &TableSummary,
        cache: &Arc<BlockCache>,
    ) -> Result<Arc<Table>, StorageError> {
        Table::open(&self.context, summary, cache)
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("root", &self.context.root).finish_non_exhaustive()
    }
}
