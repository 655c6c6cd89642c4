//! This crate. Everything but the durability is at its default.
//!
//! Buffered: `fsync_interval` = 100 ms, so that `Ok` means that the operating system has the write.

use std::path::Path;
use std::time::Duration;

use hightower_kv::{KvEngine, ReadContext, SingleNodeEngine, StoreConfig};

use crate::data::Row;
use crate::failure::Result;
use crate::store::{Durability, Opening, Scanned, Store, seen};

struct Ours(SingleNodeEngine);

pub(super) fn open(directory: &Path, opening: Opening) -> Result<Box<dyn Store>> {
    let mut config = StoreConfig::default();
    config.data_dir = directory.join("data");
    config.fsync_interval = match opening.durability {
        Durability::Synced => Duration::ZERO,
        Durability::Buffered => Duration::from_millis(100),
    };
    Ok(Box::new(Ours(SingleNodeEngine::with_config(config)?)))
}

impl Store for Ours {
    fn put(&self, row: &mut Row) -> Result<()> {
        self.0.put(std::mem::take(&mut row.key), std::mem::take(&mut row.value))?;
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.0.delete(key.to_vec())?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.0.get(key)?.map(|value| seen(&value)))
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<usize> {
        let view = self.0.view(ReadContext::default())?;
        let mut there = 0;
        for key in keys {
            there += usize::from(view.get(key)?.is_some_and(|value| seen(&value) > 0));
        }
        Ok(there)
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Result<Scanned> {
        let view = self.0.view(ReadContext::default())?;
        let mut scanned = Scanned::default();
        let mut rows = view.cursor_prefix(prefix)?;
        while let Some(row) = rows.next()? {
            scanned.add(row.key, row.value);
        }
        Ok(scanned)
    }

    fn list_prefix(&self, prefix: &[u8]) -> Option<Result<Scanned>> {
        let list = || {
            let mut scanned = Scanned::default();
            for (key, value) in self.0.get_prefix(prefix)? {
                scanned.add(&key, &value);
            }
            Ok(scanned)
        };
        Some(list())
    }

    fn first_key(&self, prefix: &[u8]) -> Option<Result<Option<Vec<u8>>>> {
        let first = || {
            let view = self.0.view(ReadContext::default())?;
            let mut rows = view.cursor_prefix(prefix)?;
            Ok(rows.next()?.map(|row| row.key.to_vec()))
        };
        Some(first())
    }

    fn sync(&self) -> Result<()> {
        Ok(self.0.flush()?)
    }

    fn compact(&self) -> Option<Result<()>> {
        let compact = || {
            self.0.run_compaction_now()?;
            Ok(())
        };
        Some(compact())
    }
}
