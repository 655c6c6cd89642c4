//! LMDB, through heed. Each write is a transaction. Buffered: `MDB_NOSYNC`: a commit writes its
//! pages with write calls and does not sync, so that the operating system has them; no
//! `MDB_WRITEMAP`. Durable: its default, a sync in each commit.
//!
//! Reads begin a read transaction each; rows are slices of the map. It has no compaction: pages
//! that were freed are used again, and the file never shrinks.
#![expect(unsafe_code, reason = "opening an environment is unsafe in heed: it maps a file")]

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RwTxn};

use crate::data::Row;
use crate::failure::{Failure, Result};
use crate::store::{Durability, Opening, Scanned, Store, seen};

/// Address space for the map; the file grows as it is written.
const MAP_BYTES: usize = 64 << 30;
/// Threads that may read at the same time.
const READERS_MAX: u32 = 256;

type Rows = Database<'static, Bytes, Bytes>;

struct Lmdb {
    rows: Rows,
    /// `None` only while it is closed.
    environment: Option<Env>,
}

pub(super) fn open(directory: &Path, opening: Opening) -> Result<Box<dyn Store>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(READERS_MAX);
    if opening.durability == Durability::Buffered {
        // SAFETY: without syncs a power cut may tear the file; what is measured is thrown away.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
    }
    // SAFETY: the directory is ours alone, and nothing else touches the file while it is mapped.
    let environment = unsafe { options.open(directory)? };
    let transaction = environment.write_txn()?;
    let created = environment.create_databases_and_commit(transaction, |opener, transaction| {
        let rows = opener.create_database::<Bytes, Bytes>(transaction, None)?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(rows))
    })?;
    let rows = created.commit().ok_or_else(|| Failure::new("the transaction was committed"))?;
    Ok(Box::new(Lmdb { rows, environment: Some(environment) }))
}

impl Lmdb {
    fn environment(&self) -> Result<&Env> {
        self.environment.as_ref().ok_or_else(|| Failure::new("the environment is closed"))
    }

    fn write(&self, change: impl FnOnce(&mut RwTxn<'_>) -> heed::Result<()>) -> Result<()> {
        let mut transaction = self.environment()?.write_txn()?;
        change(&mut transaction)?;
        Ok(transaction.commit()?)
    }
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        if let Some(environment) = self.environment.take() {
            environment.prepare_for_closing().wait();
        }
    }
}

impl Store for Lmdb {
    fn put(&self, row: &mut Row) -> Result<()> {
        self.write(|transaction| self.rows.put(transaction, &row.key, &row.value))
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.write(|transaction| self.rows.delete(transaction, key).map(drop))
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let transaction = self.environment()?.read_txn()?;
        Ok(self.rows.get(&transaction, key)?.map(seen))
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<usize> {
        let transaction = self.environment()?.read_txn()?;
        let mut there = 0;
        for key in keys {
            let value = self.rows.get(&transaction, key)?;
            there += usize::from(value.is_some_and(|value| seen(value) > 0));
        }
        Ok(there)
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Result<Scanned> {
        let transaction = self.environment()?.read_txn()?;
        let mut scanned = Scanned::default();
        for row in self.rows.prefix_iter(&transaction, prefix)? {
            let (key, value) = row?;
            scanned.add(key, value);
        }
        Ok(scanned)
    }

    fn first_key(&self, prefix: &[u8]) -> Option<Result<Option<Vec<u8>>>> {
        let first = || {
            let transaction = self.environment()?.read_txn()?;
            let first = self.rows.prefix_iter(&transaction, prefix)?.next().transpose()?;
            Ok(first.map(|(key, _)| key.to_vec()))
        };
        Some(first())
    }

    fn sync(&self) -> Result<()> {
        Ok(self.environment()?.force_sync()?)
    }
}
