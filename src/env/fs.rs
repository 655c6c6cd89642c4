//! What the crate asks of a file system: [`Fs`] for names, [`FsFile`] for the bytes of one open
//! file, [`FsDir`] for the names in one open directory.
//!
//! The traits are as small as the promises that the store makes allow, so that the simulated disk
//! can give each of them its worst lawful meaning:
//!
//! * bytes written are the operating system's until [`FsFile::sync`] returns `Ok`; then the
//!   device's;
//! * a name created, changed or removed may be as before after a power cut until [`Fs::sync_dir`]
//!   of its directory returns `Ok`;
//! * after a `sync` that failed nothing is known of the bytes it should have covered, and a later
//!   `Ok` does not change that (rule R7).

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How [`Fs::open`] opens a file. A symbolic link is never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenHow {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet, with mode 0600 whatever the umask allows more.
    CreateNew,
}

/// What a name stands for; a symbolic link is told as such, not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, a device or whatever else the platform has.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory. One that is no UTF-8 has U+FFFD for what is not, and is
    /// none of ours.
    pub name: String,
    /// What it stands for.
    pub kind: FileKind,
}

/// Who else may hold a lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Others that ask for a shared lock.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A file system. All paths are given whole; nothing depends on a current directory.
pub trait Fs: Send + Sync + fmt::Debug {
    /// The whole path of what a process names from its current directory, which it may change
    /// later. As it is where there is no such directory.
    ///
    /// # Errors
    /// For an empty path; those of the platform.
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    /// Makes one directory with mode 0700; its parent must exist.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, whatever it stands for.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Opens a regular file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `PermissionDenied`; an error for a symbolic link or a
    /// directory.
    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn FsFile>>;

    /// Gives `from` the name `to`, replacing what `to` named, in one step: whoever looks sees the
    /// old or the new file, also after a power cut (which of them, until the directory is synced,
    /// is open).
    ///
    /// # Errors
    /// Those of the platform; then both names are as before.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives the file `from` a second name `to`, which must not be there yet: the same bytes under
    /// two names, each of which can be removed by itself. No byte is copied or synced; the new name
    /// is durable when its directory is synced. A symbolic link is never followed.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound`; `Unsupported` when such a file can have no second name there:
    /// the file system has none, or it is another one than that of `from`, or it allows no more of
    /// them for this file. Then copying is what is left. Others of the platform.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file. Who has it open keeps reading it.
    ///
    /// # Errors
    /// `NotFound` and those of the platform.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory that holds no name.
    ///
    /// # Errors
    /// `NotFound`, `DirectoryNotEmpty`, `NotADirectory` and those of the platform.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Opens a directory, to make its names durable later: whatever could be missing for that, such
    /// as a file handle, is missed before a name is changed. A symbolic link is followed.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory` and those of the platform; nothing was synced.
    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn FsDir>>;

    /// Makes durable which names the directory holds: opens it and syncs it.
    ///
    /// # Errors
    /// Those of [`Self::open_dir`] and [`FsDir::sync`], which cannot be told apart: whoever has
    /// changed names that something relies on opens the directory before.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.open_dir(path)?.sync()
    }

    /// The names in a directory, sorted. One that is no UTF-8 is given with U+FFFD for what is not.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, `PermissionDenied`.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// What a name stands for; `None` when there is no such name.
    ///
    /// # Errors
    /// Those of the platform, other than that the name does not exist.
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>>;

    /// Bytes that may still be written in the file system of a directory, as far as it says so.
    ///
    /// # Errors
    /// Those of the platform.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// One open directory.
pub trait FsDir: Send + Sync + fmt::Debug {
    /// Makes durable which names the directory holds.
    ///
    /// # Errors
    /// As [`FsFile::sync`]: after an error nothing is known, and trying again proves nothing.
    fn sync(&self) -> io::Result<()>;
}

/// One open file. Offsets are given with each call: there is no cursor that threads could disturb.
pub trait FsFile: Send + Sync + fmt::Debug {
    /// Reads at `offset`; returns how many bytes were read, 0 at the end. May read fewer than asked
    /// for: use [`read_exact_at`].
    ///
    /// # Errors
    /// Those of the platform, `Interrupted` included.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes the parts one after the other at `offset` in one call; returns how many bytes were
    /// written. May write fewer: use [`write_all_at`]. What is written is the operating system's,
    /// not the device's, until [`FsFile::sync`].
    ///
    /// # Errors
    /// Those of the platform, `Interrupted` and `StorageFull` included.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Reserves room for `offset..offset + len`, growing the file where it is shorter. Room that
    /// was never written reads as zero; writing into it cannot fail for want of space.
    ///
    /// # Errors
    /// `StorageFull` when the device has no room; then the length is as before.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Cuts the file, or grows it by a hole that reads as zero and has no room reserved.
    ///
    /// # Errors
    /// Those of the platform.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Those of the platform.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Those of the platform.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes durable all bytes written so far and the length (`fdatasync`).
    ///
    /// # Errors
    /// Any error is final: the bytes may be gone from the device while reads still show them, and
    /// the next call may return `Ok` for bytes that are not there.
    fn sync(&self) -> io::Result<()>;

    /// Tries to lock the file until the last handle to it is dropped or the process ends. `false`
    /// when somebody else holds it, in this process or another.
    ///
    /// # Errors
    /// Those of the platform.
    fn try_lock(&self, kind: LockKind) -> io::Result<bool>;
}

/// Fills `buf` from `offset` on, asking again after an interruption or a short read.
///
/// # Errors
/// `UnexpectedEof` when the file ends before; then what `buf` holds is not to be used.
pub fn read_exact_at(file: &dyn FsFile, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let wanted = buf.len();
    let got = read_up_to_at(file, buf, offset)?;
    if got == wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Fills as much of `buf` as the file has from `offset` on; returns how much that is.
///
/// # Errors
/// Those of [`FsFile::read_at`], but for interruptions, which are tried again.
pub fn read_up_to_at(file: &dyn FsFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of `parts` at `offset`, going on after an interruption or a short write.
///
/// One call of [`FsFile::write_at`] in the ordinary case.
///
/// # Errors
/// Those of [`FsFile::write_at`]; then any part of the bytes may have been written.
#[inline]
pub fn write_all_at(file: &dyn FsFile, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if len == 0 {
        return Ok(());
    }
    match file.write_at(parts, offset) {
        Ok(count) if count == len => Ok(()),
        written => write_rest_at(file, parts, offset, written),
    }
}

/// As [`write_all_at`], behind a first call that did not write all.
#[cold]
fn write_rest_at(
    file: &dyn FsFile,
    parts: &mut [IoSlice<'_>],
    mut offset: u64,
    mut written: io::Result<usize>,
) -> io::Result<()> {
    let mut parts = parts;
    loop {
        match written {
            // Of an empty part nothing can be written.
            Ok(0) if parts.first().is_some_and(|part| !part.is_empty()) => {
                return Err(io::ErrorKind::WriteZero.into());
            }
            Ok(count) => {
                offset += count as u64;
                IoSlice::advance_slices(&mut parts, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if parts.is_empty() {
            return Ok(());
        }
        written = file.write_at(parts, offset);
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// A file that takes as many bytes of each call as it is told to.
    #[derive(Debug, Default)]
    struct Reluctant {
        takes: Mutex<Vec<io::Result<usize>>>,
        taken: Mutex<Vec<u8>>,
    }

    impl FsFile for Reluctant {
        fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
            let count = self.takes.lock().remove(0)?;
            let mut taken = self.taken.lock();
            assert_eq!(offset, 100 + taken.len() as u64);
            let bytes = parts.iter().flat_map(|part| part.iter());
            let before = taken.len();
            taken.extend(bytes.take(count));
            Ok(taken.len() - before)
        }

        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            unreachable!("only written to")
        }

        fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
            unreachable!("only written to")
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!("only written to")
        }

        fn len(&self) -> io::Result<u64> {
            unreachable!("only written to")
        }

        fn sync(&self) -> io::Result<()> {
            unreachable!("only written to")
        }

        fn try_lock(&self, _: LockKind) -> io::Result<bool> {
            unreachable!("only written to")
        }
    }

    /// Writes these parts where each call takes so much; returns what was written, how many calls
    /// there were not, and how it ended.
    fn write(parts: &[&str], takes: Vec<io::Result<usize>>) -> (String, usize, io::Result<()>) {
        let file = Reluctant { takes: Mutex::new(takes), ..Reluctant::default() };
        let mut parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part.as_bytes())).collect();
        let done = write_all_at(&file, &mut parts, 100);
        let left = file.takes.lock().len();
        (String::from_utf8(file.taken.into_inner()).unwrap(), left, done)
    }

    #[test]
    fn what_a_call_leaves_the_next_one_writes() {
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        for (parts, takes) in [
            (&["abcdef"][..], vec![Ok(6)]),
            (&["abc", "", "def"], vec![Ok(6)]),
            (&["abcdef"], vec![Ok(1), interrupted(), interrupted(), Ok(2), Ok(9)]),
            (&["ab", "cd", "ef"], vec![interrupted(), Ok(2), Ok(1), Ok(1), Ok(2)]),
            // Nothing was asked of the device yet that it could have refused.
            (&["", "abc", "def"], vec![Ok(0), Ok(4), Ok(2)]),
            (&["abc", "", "", "def"], vec![Ok(3), Ok(3)]),
        ] {
            let (written, left, done) = write(parts, takes);
            assert!(done.is_ok(), "{parts:?}: {done:?}");
            assert_eq!((written.as_str(), left), ("abcdef", 0), "{parts:?}");
        }
        for nothing in [&[][..], &[""], &["", ""]] {
            assert!(matches!(write(nothing, Vec::new()), (_, 0, Ok(()))));
        }
    }

    #[test]
    fn a_device_that_takes_nothing_and_one_that_fails_end_it() {
        let full = || Err(io::ErrorKind::StorageFull.into());
        for (takes, expected, written) in [
            (vec![Ok(0), Ok(3)], io::ErrorKind::WriteZero, ""),
            (vec![Ok(2), Ok(0), Ok(3)], io::ErrorKind::WriteZero, "ab"),
            (vec![full(), Ok(3)], io::ErrorKind::StorageFull, ""),
            (vec![Ok(3), full(), Ok(3)], io::ErrorKind::StorageFull, "abc"),
        ] {
            let (is, left, done) = write(&["ab", "cd"], takes);
            assert_eq!((is.as_str(), left), (written, 1));
            assert_eq!(done.unwrap_err().kind(), expected);
        }
    }
}
