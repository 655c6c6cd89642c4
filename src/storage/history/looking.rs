//! Finding in the past: a key's changes, a state to begin with, the entry at a time.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::archive::Archive;
use super::base::{self, Base};
use super::catalog::Era;
use super::change::KeyChange;
use super::file::ChangeFile;
use super::folder::era_path;
use super::name::ChangeName;
use crate::storage::error::StorageError;
use crate::storage::record::Record;
use crate::storage::table::KeyHash;
use crate::types::{LogIndex, Timestamp};

/// One change of a key: the entry, its stamp, what it did.
type Changed = (LogIndex, Timestamp, KeyChange);

impl Archive {
    /// All changes of one key by the entries of a range, oldest first.
    ///
    /// Reads of each file in the range its places and filters, and the blocks whose filter does not
    /// deny the key: seldom one in vain.
    ///
    /// # Errors
    /// `Compacted`, `MissingChanges`, `BeyondEnd` when changes of the range are not here; `Corrupt`
    /// with file and offset, `MissingFile`, `Io`.
    pub fn changes_of(
        &self,
        key: &[u8],
        range: RangeInclusive<LogIndex>,
    ) -> Result<Vec<Changed>, StorageError> {
        let (mut next, last) = (*range.start(), *range.end());
        let mut found = Vec::new();
        while next <= last {
            let (name, file) = self.shared.open(next)?;
            changes_in(&file, key, &(next..=last), &mut found)?;
            if name.last >= last {
                break;
            }
            next = name.last.next();
        }
        Ok(found)
    }

    /// The newest base at or before the state after entry `index`, from which the changes up to it
    /// can be read.
    ///
    /// # Errors
    /// `Compacted` before the oldest base, `BeyondEnd` behind the newest era, `MissingChanges` in
    /// or behind a hole; `MissingFile`, `Corrupt`, `UnsupportedFormat` with the file, when the base
    /// cannot be opened; `Io`.
    pub fn base_for(&self, index: LogIndex) -> Result<Base, StorageError> {
        self.find_base(index, None)
    }

    /// What a key has in the base that [`Self::base_for`] finds; a tombstone is nothing. Opens no
    /// tables of it but those that may have the key.
    ///
    /// # Errors
    /// Those of [`Self::base_for`].
    pub(crate) fn base_row_for(
        &self,
        index: LogIndex,
        key: &[u8],
    ) -> Result<Option<Record>, StorageError> {
        let row = self.find_base(index, Some(key))?.set.get(key)?;
        Ok(row.filter(|row| !row.is_tombstone()))
    }

    fn find_base(&self, index: LogIndex, key: Option<&[u8]>) -> Result<Base, StorageError> {
        loop {
            let catalog = self.shared.catalog();
            let at_or_before = |era: &&Arc<Era>| era.name.base_last() <= Some(index);
            let Some(era) = catalog.eras.iter().rev().find(at_or_before) else {
                let oldest = catalog.eras.first().and_then(|era| era.name.base_last());
                return Err(StorageError::Compacted { oldest });
            };
            if era.name.base_last() != Some(index) {
                // A file that covers the last entry covers all of those before it, or there is a
                // hole, which is found here or by whoever reads.
                self.check_whole(era, index)?;
            }
            let folder = era_path(&self.shared.context, &era.name);
            match base::open(&self.shared.context, &folder, &era.name, key, &self.shared.cache) {
                // It was removed meanwhile.
                Err(_) if !Arc::ptr_eq(&catalog, &self.shared.catalog()) => {}
                opened => return opened,
            }
        }
    }

    /// Whether an era's files cover everything from its base up to `index`.
    fn check_whole(&self, era: &Era, index: LogIndex) -> Result<(), StorageError> {
        let mut next = era.name.first;
        for file in &era.files {
            if file.first != next || file.covers(index) {
                break;
            }
            next = file.last.next();
        }
        let catalog = self.shared.catalog();
        self.shared.find(&catalog, next.min(index))?;
        self.shared.find(&catalog, index).map(drop)
    }

    /// The last archived entry whose stamp is at or before `time`; of several with the same stamp
    /// the last in the log. `None` when all are later, or nothing is archived.
    ///
    /// Entries that changed nothing have no stamp here but at the ends of files, so it may be an
    /// earlier one with the same state. Reads one block at most.
    ///
    /// # Errors
    /// `Corrupt`, `MissingFile`, `Io`.
    pub fn index_at(&self, time: Timestamp) -> Result<Option<LogIndex>, StorageError> {
        loop {
            let catalog = self.shared.catalog();
            let Some((era, file)) = catalog.eras.iter().rev().find_map(|era| {
                let begun = |file: &&ChangeName| file.stamps.0 <= time;
                let file = era.files.iter().rev().find(begun);
                let has_begun = era.name.base_last().is_some() && era.name.stamp <= time;
                (file.is_some() || has_begun).then_some((era, file))
            }) else {
                return Ok(None);
            };
            let Some(file) = file else { return Ok(era.name.base_last()) };
            if file.stamps.1 <= time {
                return Ok(Some(file.last));
            }
            match self.shared.open(file.first) {
                Ok((name, open)) if name == *file => return last_at(&open, file, time).map(Some),
                // It was compressed or given up meanwhile.
                Ok(_) => {}
                Err(_) if !Arc::ptr_eq(&catalog, &self.shared.catalog()) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Takes the changes of a key out of one file.
fn changes_in(
    file: &ChangeFile,
    key: &[u8],
    range: &RangeInclusive<LogIndex>,
    found: &mut Vec<Changed>,
) -> Result<(), StorageError> {
    let first = file.block_from(*range.start());
    let within = |number: &usize| file.span(*number).is_some_and(|s| s.first <= *range.end());
    let end = first + (first..file.blocks()).take_while(within).count();
    for number in file.blocks_with(first..end, KeyHash::of(key))? {
        let mut block = file.block(number)?;
        while let Some(entry) = file.next_of(number, &mut block)? {
            let (index, stamp) = (entry.index, entry.timestamp);
            if range.contains(&index) {
                let of_key = entry.changes.into_iter().find(|change| change.key == key);
                found.extend(of_key.map(|change| (index, stamp, change)));
            }
        }
    }
    Ok(())
}

/// The last entry of a file at or before a time that lies within it.
fn last_at(
    file: &ChangeFile,
    name: &ChangeName,
    time: Timestamp,
) -> Result<LogIndex, StorageError> {
    let mut last = name.first;
    let Some(number) = file.blocks_until(time).checked_sub(1) else { return Ok(last) };
    let mut block = file.block(number)?;
    while let Some(entry) = file.next_of(number, &mut block)? {
        if entry.timestamp > time {
            break;
        }
        last = entry.index;
    }
    Ok(last)
}
