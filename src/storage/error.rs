//! What can go wrong with the files: exact, with the file, the offset, what was expected and found.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::types::{LogIndex, SegmentId};

/// An error of the storage layer. Cheap to clone: every caller that waits for a sync gets it.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused; nothing was changed unless the text says so.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },

    /// Bytes that were known to be on the device are not what was written. Nothing was changed on
    /// disk; restore the directory from a backup or from another voter.
    #[error("{} is corrupt at offset {offset}: {found}{}", file.display(), lost(*first_index))]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage begins, in bytes.
        offset: u64,
        /// The first entry that can no longer be read, where that is known.
        first_index: Option<LogIndex>,
        /// What was expected and what was found.
        found: String,
    },

    /// The end of the log does not check, was not known to be synced, and does not look like a
    /// write that a power cut interrupted. Nothing was changed; `htkvctl repair --truncate-tail`
    /// cuts it, of a store by itself: a voter of several is replaced, not repaired.
    #[error(
        "the log ends in {} at offset {offset} in bytes that are neither whole nor recognizably \
         unwritten{}; they were not known to be synced: `htkvctl repair --truncate-tail` cuts them",
        file.display(), lost(*first_index)
    )]
    TailAmbiguous {
        /// The last segment.
        file: PathBuf,
        /// Where the bytes begin.
        offset: u64,
        /// The first entry that the bytes may hold.
        first_index: Option<LogIndex>,
    },

    /// A file that must be there is not. Nothing was changed; put it back or restore the directory.
    #[error("{} is missing: {reason}", file.display())]
    MissingFile {
        /// The file.
        file: PathBuf,
        /// Why it must be there.
        reason: String,
    },

    /// Entries that are neither purged nor in tables are in no segment.
    #[error(
        "the segment with entry {first_index} is missing from {}: the log goes on with segment \
         {next}", directory.display()
    )]
    MissingSegment {
        /// The folder of segments.
        directory: PathBuf,
        /// The first entry that is missing.
        first_index: LogIndex,
        /// The first segment that is there.
        next: SegmentId,
    },

    /// Another release wrote the directory, mostly a newer one. Nothing was changed; use that
    /// release.
    #[error(
        "{} has format version {found}, this release reads version {supported}: use {}",
        file.display(), if found > supported { "a newer release" } else { "the one that wrote it" }
    )]
    UnsupportedFormat {
        /// The file that says so.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version that this release reads.
        supported: u32,
    },

    /// The file is compressed in a way that this build leaves out. Nothing was changed; build with
    /// the feature.
    #[error("{} needs the feature `{feature}`, which this build leaves out", file.display())]
    MissingFeature {
        /// The file.
        file: PathBuf,
        /// The feature of this crate.
        feature: &'static str,
    },

    /// Somebody else has the store open, in this process or another. Nothing was changed.
    #[error("{} is in use: only one process may open a store at a time", directory.display())]
    Locked {
        /// The data directory.
        directory: PathBuf,
    },

    /// There is no store in the directory, and the call may not create one.
    #[error("there is no store in {}", directory.display())]
    NoStore {
        /// The data directory.
        directory: PathBuf,
    },

    /// The data directory is not a directory that can be used.
    #[error("{} cannot be a data directory: {reason}", directory.display())]
    UnusableDirectory {
        /// What was given as the data directory.
        directory: PathBuf,
        /// What it is, and what to do.
        reason: String,
    },

    /// A backup or a restore into the directory was interrupted. It is no store, and never becomes
    /// one: remove it, and make the copy anew.
    #[error(
        "{} holds a copy of a store that was not finished: remove the directory and copy again",
        directory.display()
    )]
    UnfinishedCopy {
        /// The directory.
        directory: PathBuf,
    },

    /// A sync failed. Nothing is known of what the device holds of the bytes that it should have
    /// covered, so none of them is acknowledged and the store stops.
    #[error("cannot sync {}: {source}", path.display())]
    SyncFailed {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },

    /// A write or a sync failed earlier, so that nothing is known of what the device holds. Final
    /// for this handle: open the store again, which finds out what survived.
    #[error("the store stopped after a failure: {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },

    /// The device has no room. Nothing was written. In a store by itself reads go on, and deletes
    /// too: one that is refused goes through when tried again, one of a large prefix in parts.
    /// Writes succeed again by themselves, as soon as there is room.
    #[error("no room on the device for {}: free some, or delete keys, fewer at once if \
        that is refused, too", path.display())]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },

    /// An entry is longer than any that the log can hold. Nothing was written.
    #[error("an entry has {got} bytes, the limit is {limit}")]
    TooLarge {
        /// The greatest length, in bytes.
        limit: u64,
        /// The length that was asked for.
        got: u64,
    },

    /// More bytes wait for a sync than the store may hold, and the device did not catch up in time.
    /// Nothing was written; try again later.
    #[error("{unsynced} bytes wait for the device, the limit is {limit}: try again later")]
    Overloaded {
        /// Bytes that wait.
        unsynced: u64,
        /// How many may.
        limit: u64,
    },

    /// The entries asked for were purged.
    #[error("entries before {first} were purged")]
    Purged {
        /// The first entry that is still there.
        first: LogIndex,
    },

    /// An entry was asked for that is not in the log yet.
    #[error("entry {asked} is not in the log, which ends with {}", show(*last))]
    BeyondEnd {
        /// The entry that was asked for.
        asked: LogIndex,
        /// The last one there is.
        last: Option<LogIndex>,
    },

    /// The past that was asked for was given up, or was never kept. Ask for a later version.
    #[error("{}", given_up(*oldest))]
    Compacted {
        /// The first entry whose changes are still there; `None`: no past is kept at all.
        oldest: Option<LogIndex>,
    },

    /// Between two parts of the past is a hole: entries whose changes are in no file. Nothing was
    /// changed; what stands before and behind the hole can be read.
    #[error(
        "the changes of the entries {first} to {last} are not in {}: a file is missing there, or \
         they were never archived",
        directory.display()
    )]
    MissingChanges {
        /// The era in which they should be, or the folder of the past.
        directory: PathBuf,
        /// The first entry of the hole.
        first: LogIndex,
        /// The last one.
        last: LogIndex,
    },

    /// What was to be archived does not follow what is archived. Nothing was written; begin a new
    /// era where entries between them are gone.
    #[error(
        "entry {asked} cannot be archived next: the past that is kept ends with {}",
        show(*last)
    )]
    NotNext {
        /// The last entry that is archived.
        last: Option<LogIndex>,
        /// The entry that was to be next.
        asked: LogIndex,
    },

    /// A part of the archive reaches further than the log and the tables: the directory was put
    /// back to an older moment without it, and other entries get the numbers of those in it. Where
    /// it cannot be set aside the store is not opened; nothing was appended to it.
    #[error(
        "the past reaches to entry {archived}, but the store ends with {}: it was put back to an \
         older moment, and {} could not be set aside: move it away: {source}",
        show(*last), directory.display()
    )]
    ArchiveAhead {
        /// The folder that could not be set aside.
        directory: PathBuf,
        /// The last entry of the past.
        archived: LogIndex,
        /// The last entry of the store.
        last: Option<LogIndex>,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },

    /// The store was closed, or opened only for reading.
    #[error("the store is {state}")]
    Closed {
        /// `closed` or `open for reading only`.
        state: &'static str,
    },

    /// What somebody sent as a snapshot, or as a part of one, cannot be it. Nothing of it was taken
    /// in; ask for it again.
    #[error("what was received is no snapshot: {found}")]
    BadSnapshot {
        /// What was expected and what was found.
        found: String,
    },

    /// A snapshot was received as a whole and is not installed yet. Nothing was changed; begin
    /// another one when it is.
    #[error("a snapshot that was received is being installed: try again when it is")]
    SnapshotWaits,

    /// The tables hold a newer state than the one that was to be put there: somebody installed a
    /// snapshot meanwhile. Nothing was changed; the newer state is the one to go on with.
    #[error("the tables hold the state after entry {last}, which is newer than entry {asked}")]
    Outdated {
        /// The last entry in the tables.
        last: LogIndex,
        /// The last entry of the state that was to be put there.
        asked: LogIndex,
    },

    /// Every number that a segment can have was used.
    #[error("all segment numbers are used up: export the data and import it into a new store")]
    SegmentsExhausted,

    /// Every number that a table can have was used.
    #[error("all table numbers are used up: export the data and import it into a new store")]
    TablesExhausted,
}

fn lost(first_index: Option<LogIndex>) -> String {
    first_index.map_or_else(String::new, |index| format!(" (entries from {index} on)"))
}

fn given_up(oldest: Option<LogIndex>) -> String {
    oldest.map_or_else(
        || "no past is kept".to_owned(),
        |oldest| format!("the past that is kept begins with entry {oldest}"),
    )
}

fn show(index: Option<LogIndex>) -> String {
    index.map_or_else(|| "nothing in it".to_owned(), |index| index.to_string())
}

impl StorageError {
    /// An error of the operating system; one that means a full device becomes [`Self::DiskFull`].
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        if is_disk_full(&source) {
            return Self::DiskFull { path: path.to_owned() };
        }
        Self::Io { operation, path: path.to_owned(), source: Arc::new(source) }
    }

    /// A function that wraps an error of the operating system, for `map_err`.
    pub(crate) fn wrap(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::io(operation, path, source)
    }

    /// Damage in a file, where no entries are known to be lost by it.
    pub(crate) fn corrupt(file: &Path, offset: u64, found: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, first_index: None, found: found.into() }
    }

    /// What was sent as a snapshot is none.
    pub(crate) fn bad_snapshot(found: impl Into<String>) -> Self {
        Self::BadSnapshot { found: found.into() }
    }

    /// Whether the device had no room.
    #[must_use]
    pub const fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }
}

/// Whether the operating system means that there is no room, by device, quota or file size limit.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
