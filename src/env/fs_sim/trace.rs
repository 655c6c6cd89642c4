//! What was asked of a simulated disk, to be compared between two runs.

use std::path::PathBuf;

/// A call of [`Fs`](crate::env::fs::Fs), [`FsFile`](crate::env::fs::FsFile) or
/// [`FsDir`](crate::env::fs::FsDir).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `Fs::create_dir`.
    CreateDir,
    /// `Fs::open` with `OpenHow::Read`.
    OpenRead,
    /// `Fs::open` with `OpenHow::ReadWrite`.
    OpenReadWrite,
    /// `Fs::open` with `OpenHow::CreateNew`.
    CreateNew,
    /// `Fs::rename`; the path is the new one.
    Rename,
    /// `Fs::hard_link`; the path is the new one.
    HardLink,
    /// `Fs::remove`.
    Remove,
    /// `Fs::remove_dir`.
    RemoveDir,
    /// `Fs::open_dir`.
    OpenDir,
    /// `FsDir::sync`; the path is the one by which the directory was opened.
    SyncDir,
    /// `Fs::list`.
    List,
    /// `Fs::kind`.
    Kind,
    /// `FsFile::read_at`; the length is what was asked for.
    Read,
    /// `FsFile::write_at`; the length is what was given.
    Write,
    /// `FsFile::allocate`.
    Allocate,
    /// `FsFile::set_len`; the length is the new one.
    SetLen,
    /// `FsFile::len`.
    Len,
    /// `FsFile::sync`.
    Sync,
    /// `FsFile::try_lock`.
    TryLock,
}

impl Operation {
    /// Whether it syncs a file or a directory.
    #[must_use]
    pub const fn is_sync(self) -> bool {
        matches!(self, Self::Sync | Self::SyncDir)
    }

    /// Whether it changes names or bytes. A sync does not: it makes durable.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(
            self,
            Self::CreateDir
                | Self::CreateNew
                | Self::Rename
                | Self::HardLink
                | Self::Remove
                | Self::RemoveDir
                | Self::Write
                | Self::Allocate
                | Self::SetLen
        )
    }

    /// Whether it is a call on an open file or directory.
    pub(super) const fn is_by_handle(self) -> bool {
        matches!(
            self,
            Self::Read
                | Self::Write
                | Self::Allocate
                | Self::SetLen
                | Self::Len
                | Self::Sync
                | Self::SyncDir
                | Self::TryLock
        )
    }
}

/// One operation as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Which call.
    pub operation: Operation,
    /// The path given, or the one by which the file was opened.
    pub path: PathBuf,
    /// Bytes from the beginning of the file; 0 where the call has none.
    pub offset: u64,
    /// Bytes; 0 where the call has none.
    pub len: u64,
}
