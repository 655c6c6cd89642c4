//! sled. Defaults: a put goes into its own memory, which a thread of its own writes and syncs every
//! 500 ms: less than the operating system having it. Durable: `flush` before the put returns, which
//! threads that wait at the same time share. On Linux that is `sync_file_range`, which waits for
//! the pages and asks for no flush of the device's own cache: it promises less than the others.
//!
//! Rows are shared buffers of its cache. It moves data by itself and has no call for compaction.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::data::Row;
use crate::failure::Result;
use crate::store::{Durability, Opening, Scanned, Store, seen};

struct Sled {
    rows: ::sled::Db,
    durability: Durability,
}

/// How long an opening is tried again: a thread of a store that was dropped a moment ago may still
/// hold its lock.
const CLOSING_MAX: Duration = Duration::from_secs(5);

pub(super) fn open(directory: &Path, opening: Opening) -> Result<Box<dyn Store>> {
    let config = ::sled::Config::new().path(directory.join("data"));
    let started = Instant::now();
    let rows = loop {
        match config.open() {
            Err(::sled::Error::Io(error))
                if error.kind() == ErrorKind::WouldBlock && started.elapsed() < CLOSING_MAX =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => break opened?,
        }
    };
    Ok(Box::new(Sled { rows, durability: opening.durability }))
}

impl Sled {
    fn sync_if_durable(&self) -> Result<()> {
        if self.durability == Durability::Synced {
            self.rows.flush()?;
        }
        Ok(())
    }
}

impl Store for Sled {
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
        // It has no state that stands still.
        let mut there = 0;
        for key in keys {
            there += usize::from(self.get(key)?.is_some());
        }
        Ok(there)
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        for row in self.rows.scan_prefix(prefix) {
            let (key, value) = row?;
            scanned.add(&key, &value);
        }
        Ok(scanned)
    }

    fn first_key(&self, prefix: &[u8]) -> Option<Result<Option<Vec<u8>>>> {
        let first = self.rows.scan_prefix(prefix).next().transpose();
        Some(first.map(|row| row.map(|(key, _)| key.to_vec())).map_err(Into::into))
    }

    fn sync(&self) -> Result<()> {
        self.rows.flush()?;
        Ok(())
    }
}
