//! What a check of a whole directory found.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::storage::error::StorageError;

/// Something in a file that is not what was written, or a file that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where the damage begins, in bytes.
    pub offset: u64,
    /// What was found.
    pub found: String,
}

/// A file, or the end of one, that is not part of the store and does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The file.
    pub file: PathBuf,
    /// What it is.
    pub what: &'static str,
}

/// What all files of a directory turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Files that were read.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Frames that check.
    pub frames: u64,
    /// Checksums that were compared: of each frame its own and its header's, of each file's head.
    pub checksums: u64,
    /// Everything that is damaged, file by file. Empty: every checksum is right. Opening may still
    /// refuse what a newer release wrote.
    pub damages: Vec<Damage>,
    /// Everything that is there and is not part of the store.
    pub leftovers: Vec<Leftover>,
    obstacle: Option<Obstacle>,
}

/// The first error that says nothing of the bytes: no file handle was left, say, or a block could
/// not be read. It counts as a damage of its file; who gives a whole copy up for it says what it
/// was.
#[derive(Clone, Debug)]
struct Obstacle(StorageError);

impl PartialEq for Obstacle {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl Eq for Obstacle {}

impl VerifyReport {
    pub(super) fn damage(&mut self, file: &Path, offset: u64, found: impl Into<String>) {
        self.damages.push(Damage { file: file.to_owned(), offset, found: found.into() });
    }

    pub(super) fn leftover(&mut self, file: PathBuf, what: &'static str) {
        self.leftovers.push(Leftover { file, what });
    }

    /// Takes an error that concerns one file as a damage of it: the walk goes on with the next.
    pub(super) fn refused(&mut self, file: &Path, error: StorageError) {
        match error {
            StorageError::Corrupt { file, offset, found, .. } => self.damage(&file, offset, found),
            other => {
                self.damage(file, 0, other.to_string());
                if !is_of_the_bytes(&other) {
                    self.obstacle.get_or_insert(Obstacle(other));
                }
            }
        }
    }

    /// What bars the files from being taken for a whole store: the first error that says nothing of
    /// the bytes, since what was told behind it may only follow from it; or the first damage.
    ///
    /// # Errors
    /// That error as it was; `Corrupt`.
    pub(crate) fn check_whole(&self) -> Result<(), StorageError> {
        if let Some(Obstacle(error)) = &self.obstacle {
            return Err(error.clone());
        }
        let Some(Damage { file, offset, found }) = self.damages.first() else { return Ok(()) };
        Err(StorageError::corrupt(file, *offset, found.clone()))
    }

    pub(super) fn read(&mut self, bytes: u64, checksums: u64) {
        self.files += 1;
        self.bytes += bytes;
        self.checksums += checksums;
    }
}

/// Whether an error says that bytes are not what was written, or not there.
fn is_of_the_bytes(error: &StorageError) -> bool {
    match error {
        StorageError::Io { source, .. } => {
            matches!(source.kind(), ErrorKind::UnexpectedEof | ErrorKind::NotFound)
        }
        StorageError::Corrupt { .. }
        | StorageError::TailAmbiguous { .. }
        | StorageError::MissingFile { .. }
        | StorageError::MissingSegment { .. }
        | StorageError::MissingChanges { .. } => true,
        _ => false,
    }
}
