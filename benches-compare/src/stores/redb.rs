//! redb. Each write is a transaction. Buffered: `Durability::None`, which keeps commits in its own
//! memory until one that is `Immediate`: less than the operating system having them, but it has
//! nothing between the two. Durable: `Durability::Immediate`, its default.
//!
//! Reads begin a read transaction each; values are views of its pages, not copied. Compaction wants
//! the database for itself.

use std::path::Path;

use ::redb::{Database, ReadableDatabase, TableDefinition};

use crate::data::Row;
use crate::failure::{Failure, Result, While};
use crate::store::{Durability, Opening, Scanned, Store, seen};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

struct Redb {
    database: Database,
    durability: ::redb::Durability,
}

pub(super) fn open(directory: &Path, opening: Opening) -> Result<Box<dyn Store>> {
    let database = Database::create(directory.join("data"))?;
    let durability = match opening.durability {
        Durability::Buffered => ::redb::Durability::None,
        Durability::Synced => ::redb::Durability::Immediate,
    };
    let store = Redb { database, durability };
    if !store.has_table()? {
        store.write(::redb::Durability::Immediate, |_| Ok(()))?;
    }
    Ok(Box::new(store))
}

impl Redb {
    fn has_table(&self) -> Result<bool> {
        match self.database.begin_read()?.open_table(ROWS) {
            Ok(_) => Ok(true),
            Err(::redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write(
        &self,
        durability: ::redb::Durability,
        change: impl FnOnce(&mut ::redb::Table<'_, &[u8], &[u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        change(&mut transaction.open_table(ROWS)?)?;
        Ok(transaction.commit()?)
    }
}

/// The first key above all that begin with a prefix; the keys measured are ASCII, so there is one.
fn end_of(prefix: &[u8]) -> Result<Vec<u8>> {
    let mut end = prefix.to_vec();
    let last = end.last_mut().during("a prefix has a byte")?;
    *last = last.checked_add(1).ok_or_else(|| Failure::new("a prefix in ASCII"))?;
    Ok(end)
}

impl Store for Redb {
    fn put(&self, row: &mut Row) -> Result<()> {
        self.write(self.durability, |table| {
            table.insert(row.key.as_slice(), row.value.as_slice())?;
            Ok(())
        })
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.write(self.durability, |table| {
            table.remove(key)?;
            Ok(())
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let table = self.database.begin_read()?.open_table(ROWS)?;
        Ok(table.get(key)?.map(|value| seen(value.value())))
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<usize> {
        let table = self.database.begin_read()?.open_table(ROWS)?;
        let mut there = 0;
        for key in keys {
            let value = table.get(key.as_slice())?;
            there += usize::from(value.is_some_and(|value| seen(value.value()) > 0));
        }
        Ok(there)
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Result<Scanned> {
        let table = self.database.begin_read()?.open_table(ROWS)?;
        let end = end_of(prefix)?;
        let mut scanned = Scanned::default();
        for row in table.range(prefix..end.as_slice())? {
            let (key, value) = row?;
            scanned.add(key.value(), value.value());
        }
        Ok(scanned)
    }

    fn first_key(&self, prefix: &[u8]) -> Option<Result<Option<Vec<u8>>>> {
        let first = || {
            let table = self.database.begin_read()?.open_table(ROWS)?;
            let end = end_of(prefix)?;
            let first = table.range(prefix..end.as_slice())?.next().transpose()?;
            Ok(first.map(|(key, _)| key.value().to_vec()))
        };
        Some(first())
    }

    fn sync(&self) -> Result<()> {
        // A durable commit makes those before it durable.
        self.write(::redb::Durability::Immediate, |_| Ok(()))
    }

    fn compact_alone(&mut self) -> Option<Result<()>> {
        Some(self.database.compact().map(drop).map_err(Into::into))
    }
}
