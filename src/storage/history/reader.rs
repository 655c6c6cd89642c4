//! Reads changes in the order of the log, over files and eras.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::block::BlockReader;
use super::change::EntryChanges;
use super::file::ChangeFile;
use super::name::ChangeName;
use super::shared::Shared;
use crate::storage::error::StorageError;
use crate::types::LogIndex;

/// The changes of a range of entries, in the order of the log. Entries that changed nothing are not
/// told.
///
/// Each call returns the next entry, or the error that ends it: nothing is passed over. Memory: one
/// block, and 80 bytes for each block of one file; an entry that is longer than a block as a whole.
/// Whatever is compressed or removed meanwhile, what was told is right; what is removed before it
/// was read is `Compacted`.
#[derive(Debug)]
pub struct ArchiveReader {
    shared: Arc<Shared>,
    /// What was read up to; beyond `last` when it is done.
    next: LogIndex,
    last: LogIndex,
    is_done: bool,
    open: Option<OpenFile>,
}

/// A file, and how far it was read.
#[derive(Debug)]
struct OpenFile {
    name: ChangeName,
    file: ChangeFile,
    /// The block that is being read, or is to be.
    number: usize,
    block: Option<BlockReader>,
}

impl ArchiveReader {
    pub(super) fn new(shared: &Arc<Shared>, range: &RangeInclusive<LogIndex>) -> Self {
        let (next, last) = (*range.start(), *range.end());
        Self { shared: Arc::clone(shared), next, last, is_done: next > last, open: None }
    }

    fn read_next(&mut self) -> Result<Option<EntryChanges>, StorageError> {
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(OpenFile::at(&self.shared, self.next)?),
            };
            match open.read_next(self.last)? {
                Some(entry) if entry.index < self.next => {}
                Some(entry) if entry.index > self.last => return Ok(None),
                Some(entry) => {
                    self.next = entry.index.next();
                    return Ok(Some(entry));
                }
                None if open.name.last >= self.last => return Ok(None),
                None => {
                    self.next = open.name.last.next();
                    self.open = None;
                }
            }
        }
    }
}

impl Iterator for ArchiveReader {
    type Item = Result<EntryChanges, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let next = self.read_next().transpose();
        self.is_done = !matches!(next, Some(Ok(_)));
        if self.is_done {
            self.open = None;
        }
        next
    }
}

impl OpenFile {
    fn at(shared: &Shared, index: LogIndex) -> Result<Self, StorageError> {
        let (name, file) = shared.open(index)?;
        let number = file.block_from(index);
        Ok(Self { name, file, number, block: None })
    }

    /// The next entry, as a whole; `None` at the end of the file, or where only entries behind
    /// `last` follow.
    fn read_next(&mut self, last: LogIndex) -> Result<Option<EntryChanges>, StorageError> {
        loop {
            let Some(span) = self.file.span(self.number).filter(|span| span.first <= last) else {
                return Ok(None);
            };
            let block = match &mut self.block {
                Some(block) => block,
                None => self.block.insert(self.file.block(self.number)?),
            };
            match self.file.next_of(self.number, block)? {
                None => {
                    self.block = None;
                    self.number += 1;
                }
                Some(entry) if entry.index == span.last && block.is_done() => {
                    return self.with_the_rest_of(entry).map(Some);
                }
                Some(entry) => return Ok(Some(entry)),
            }
        }
    }

    /// An entry that ends a block may go on in the next one.
    fn with_the_rest_of(&mut self, mut entry: EntryChanges) -> Result<EntryChanges, StorageError> {
        let goes_on = |file: &ChangeFile, number| {
            file.span(number).is_some_and(|span| span.first == entry.index)
        };
        while self.block.as_ref().is_some_and(BlockReader::is_done)
            && goes_on(&self.file, self.number + 1)
        {
            self.number += 1;
            let block = self.block.insert(self.file.block(self.number)?);
            if let Some(more) = self.file.next_of(self.number, block)? {
                // The block begins with it: its place says so, and was held against it.
                entry.changes.extend(more.changes);
            }
        }
        Ok(entry)
    }
}
