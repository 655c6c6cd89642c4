//! What stands beside the stores where threads, readers or sizes are measured: the least that could
//! be called one.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use parking_lot::{Mutex, RwLock};
use tempfile::TempDir;

use crate::bare::BareLog;
use crate::data::{Row, Shape};
use crate::failure::{Failure, Result};
use crate::scratch::Scratch;
use crate::store::{Scanned, Store, seen};

/// Rows in a hash map that never changes, read without a lock. Puts only append a record to a
/// file, one after the other.
pub(super) struct BareStore {
    rows: HashMap<Vec<u8>, Vec<u8>>,
    log: Mutex<BareLog>,
    /// Where the file is.
    _directory: TempDir,
}

impl BareStore {
    /// With these rows, and with room for so many records of the shape.
    pub(super) fn new(
        scratch: &Scratch,
        rows: Vec<Row>,
        Shape { rows: records, key, value }: Shape,
    ) -> Result<Self> {
        let directory = scratch.new_directory()?;
        let log = Mutex::new(BareLog::create(directory.path(), records, key + value));
        let rows = rows.into_iter().map(|row| (row.key, row.value)).collect();
        Ok(Self { rows, log, _directory: directory })
    }
}

impl Store for BareStore {
    fn put(&self, row: &mut Row) -> Result<()> {
        self.log.lock().append(&row.key, &row.value);
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.log.lock().append(key, &[]);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.rows.get(key).map(|value| seen(value)))
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<usize> {
        let is_there = |key: &&Vec<u8>| self.rows.get(*key).is_some_and(|value| seen(value) > 0);
        Ok(keys.iter().filter(is_there).count())
    }

    fn scan_prefix(&self, _prefix: &[u8]) -> Result<Scanned> {
        Err(Failure::new("a hash map has no order"))
    }

    fn sync(&self) -> Result<()> {
        Err(Failure::new("the bare loop of buffered puts does not sync"))
    }
}

/// Rows in an ordered map behind a lock, none of them on disk but in a file of records that nobody
/// reads: what a store does that has all of its rows in memory.
pub(super) struct BareTree {
    rows: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
    log: Mutex<BareLog>,
    /// Where the file is.
    _directory: TempDir,
}

impl BareTree {
    /// Empty, with room for so many records of the shape.
    pub(super) fn new(scratch: &Scratch, shape: Shape) -> Result<Self> {
        let directory = scratch.new_directory()?;
        let log = BareLog::create(directory.path(), shape.rows, shape.key + shape.value);
        Ok(Self { rows: RwLock::default(), log: Mutex::new(log), _directory: directory })
    }

    /// Keys and values in order, one behind the other.
    pub(super) fn in_order(&self) -> Vec<u8> {
        let rows = self.rows.read();
        let mut bytes = Vec::new();
        for (key, value) in &*rows {
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
        }
        bytes
    }
}

impl Store for BareTree {
    fn put(&self, row: &mut Row) -> Result<()> {
        self.log.lock().append(&row.key, &row.value);
        let row = std::mem::take(row);
        self.rows.write().insert(row.key, row.value);
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.log.lock().append(key, &[]);
        self.rows.write().remove(key);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.rows.read().get(key).map(|value| seen(value)))
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<usize> {
        let rows = self.rows.read();
        let is_there = |key: &&Vec<u8>| rows.get(*key).is_some_and(|value| seen(value) > 0);
        Ok(keys.iter().filter(is_there).count())
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        let rows = self.rows.read();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        for (key, value) in rows.range::<[u8], _>(from) {
            if !key.starts_with(prefix) {
                break;
            }
            scanned.add(key, value);
        }
        Ok(scanned)
    }

    fn sync(&self) -> Result<()> {
        Err(Failure::new("the bare loop of buffered puts does not sync"))
    }
}
