//! fjall. Defaults: a put is one write call into its journal. Durable: `persist(SyncData)` before
//! the put returns. Reads begin at the newest state by themselves; rows are slices of its blocks.
//!
//! Compaction: the memtable is written out, then everything is merged into one level.

use std::path::Path;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use crate::data::Row;
use crate::failure::Result;
use crate::store::{Durability, Opening, Scanned, Store, seen};

struct Fjall {
    rows: Keyspace,
    database: Database,
    durability: Durability,
}

pub(super) fn open(directory: &Path, opening: Opening) -> Result<Box<dyn Store>> {
    let database = Database::builder(directory.join("data")).open()?;
    let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
    Ok(Box::new(Fjall { rows, database, durability: opening.durability }))
}

impl Fjall {
    fn sync_if_durable(&self) -> Result<()> {
        if self.durability == Durability::Synced {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Store for Fjall {
    fn put(&self, row: &mut Row) -> Result<()> {
        self.rows.insert(row.key.as_slice(), row.value.as_slice())?;
        self.sync_if_durable()
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.rows.remove(key)?;
        self.sync_if_durable()
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.rows.get(key)?.map(|value| seen(&value)))
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<usize> {
        let snapshot = self.database.snapshot();
        let mut there = 0;
        for key in keys {
            let value = snapshot.get(&self.rows, key)?;
            there += usize::from(value.is_some_and(|value| seen(&value) > 0));
        }
        Ok(there)
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        for row in self.rows.prefix(prefix) {
            let (key, value) = row.into_inner()?;
            scanned.add(&key, &value);
        }
        Ok(scanned)
    }

    fn first_key(&self, prefix: &[u8]) -> Option<Result<Option<Vec<u8>>>> {
        let first = || Ok(self.rows.prefix(prefix).next().map(|row| row.key()).transpose()?);
        Some(first().map(|key: Option<_>| key.map(|key| key.to_vec())))
    }

    fn sync(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn compact(&self) -> Option<Result<()>> {
        let compact = || {
            self.rows.rotate_memtable_and_wait()?;
            Ok(self.rows.major_compact()?)
        };
        Some(compact())
    }
}
