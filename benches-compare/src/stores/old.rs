//! hightower-kv 0.1.5. Defaults: each put is two write calls. It never syncs by itself, whatever
//! its `fsync_interval` says; durable is a put and then its `flush`.
//!
//! It compacts only files that it no longer writes to, and those only when there are as many bytes
//! of them as one file holds: where a row compacts, a file has [`SEGMENT_BYTES_COMPACTING`].

use std::path::Path;

use hightower_old::{KvEngine, SingleNodeEngine, StoreConfig};

use crate::data::Row;
use crate::failure::Result;
use crate::store::{Durability, Opening, Scanned, Store, seen};

const SEGMENT_BYTES_COMPACTING: u64 = 1 << 20;

struct Old {
    engine: SingleNodeEngine,
    durability: Durability,
}

pub(super) fn open(directory: &Path, opening: Opening) -> Result<Box<dyn Store>> {
    let data_dir = directory.join("data").to_string_lossy().into_owned();
    let mut config = StoreConfig { data_dir, ..StoreConfig::default() };
    if opening.compacts {
        config.max_segment_size = SEGMENT_BYTES_COMPACTING;
    }
    let engine = SingleNodeEngine::with_config(config)?;
    Ok(Box::new(Old { engine, durability: opening.durability }))
}

impl Old {
    fn sync_if_durable(&self) -> Result<()> {
        if self.durability == Durability::Synced {
            self.engine.flush()?;
        }
        Ok(())
    }
}

impl Store for Old {
    fn put(&self, row: &mut Row) -> Result<()> {
        self.engine.put(std::mem::take(&mut row.key), std::mem::take(&mut row.value))?;
        self.sync_if_durable()
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.engine.delete(key.to_vec())?;
        self.sync_if_durable()
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.engine.get(key)?.map(|value| seen(&value)))
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<usize> {
        // It has a state to read from, but one that copies everything to get it.
        let mut there = 0;
        for key in keys {
            there += usize::from(self.get(key)?.is_some());
        }
        Ok(there)
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        for (key, value) in self.engine.get_prefix(prefix)? {
            scanned.add(&key, &value);
        }
        Ok(scanned)
    }

    fn list_prefix(&self, prefix: &[u8]) -> Option<Result<Scanned>> {
        Some(self.scan_prefix(prefix))
    }

    fn sync(&self) -> Result<()> {
        Ok(self.engine.flush()?)
    }

    fn compact(&self) -> Option<Result<()>> {
        Some(self.engine.run_compaction_now().map_err(Into::into))
    }
}
