//! The real file system.
//!
//! Errors are handed up as the platform gives them, kind and code; the layer above adds operation
//! and path. Interrupted calls are retried only where that changes nothing: `open` and the
//! directory calls here, reads and writes by [`super::fs::read_exact_at`] and
//! [`super::fs::write_all_at`].

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::fs::{DirEntry, FileKind, Fs, FsDir, FsFile, LockKind, OpenHow};

/// Zeros written in one call where the platform cannot reserve room.
const ZEROS_BYTES: usize = 1 << 20;

/// The file system of the machine. Holds nothing open.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFs;

impl DiskFs {
    /// The file system.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Fs for DiskFs {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        std::path::absolute(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn FsFile>> {
        // NONBLOCK: to open a pipe would otherwise wait for somebody at its other end. It means
        // nothing for a regular file, and all others are refused below.
        let flags = OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NONBLOCK
            | match how {
                OpenHow::Read => OFlags::RDONLY,
                OpenHow::ReadWrite => OFlags::RDWR,
                OpenHow::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            };
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(retry_on_intr(|| rustix::fs::open(path, flags, mode))?);
        let found = file.metadata()?.file_type();
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !found.is_file() {
            let what = "not a regular file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(Arc::new(DiskFile { file, is_locked: AtomicBool::new(false) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Without flags `linkat` follows no link.
        let linked = retry_on_intr(|| rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()));
        linked.map_err(|errno| match errno {
            // EPERM is what Linux says where the file system has no hard links, or a setting of the
            // machine allows none to this file. EACCES is what says that access is denied.
            Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::NOSYS => Errno::OPNOTSUPP.into(),
            other => other.into(),
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn FsDir>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
        Ok(Box::new(DiskDir { dir: File::from(dir) }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // One that is no text is none of ours, however it is shown; but it is there.
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = to_kind(entry.file_type()?);
            entries.push(DirEntry { name, kind });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(to_kind(metadata.file_type()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = retry_on_intr(|| rustix::fs::statvfs(path))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

fn to_kind(file_type: fs::FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Directory
    } else if file_type.is_symlink() {
        FileKind::Symlink
    } else {
        FileKind::Other
    }
}

/// One open directory.
#[derive(Debug)]
struct DiskDir {
    dir: File,
}

impl FsDir for DiskDir {
    fn sync(&self) -> io::Result<()> {
        self.dir.sync_all()
    }
}

/// One open regular file.
#[derive(Debug)]
struct DiskFile {
    file: File,
    /// Whether a lock was taken with it.
    is_locked: AtomicBool,
}

/// A process that another thread starts has every open file too until it runs its program, and a
/// lock is held until the last of those is closed. Unlocked by name it is free at once, so that
/// whoever closes a store can open it again.
impl Drop for DiskFile {
    fn drop(&mut self) {
        if self.is_locked.load(Ordering::Relaxed) {
            // Closing the file does the same, only later.
            self.file.unlock().unwrap_or_default();
        }
    }
}

impl FsFile for DiskFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.file, buf, offset)?)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match parts {
            // Not through the C library, which makes each such call a point at which a thread may
            // be cancelled: a twentieth of a small put.
            [part] => Ok(rustix::io::pwrite(&self.file, part, offset)?),
            parts => Ok(rustix::io::pwritev(&self.file, parts, offset)?),
        }
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
        if len == 0 {
            return Ok(());
        }
        let before = self.len()?;
        let result = match reserve(&self.file, offset, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&self.file, before, end),
            result => result.map_err(io::Error::from),
        };
        // A file system may have grown the file by what it found before the room ended. Nobody was
        // promised that part, and a longer file would say that the call had worked.
        if result.is_err() && self.len()? > before {
            self.file.set_len(before)?;
        }
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        let result = match kind {
            LockKind::Shared => self.file.try_lock_shared(),
            LockKind::Exclusive => self.file.try_lock(),
        };
        match result {
            Ok(()) => {
                self.is_locked.store(true, Ordering::Relaxed);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn reserve(file: &File, offset: u64, len: u64) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), offset, len))
}

/// Elsewhere the call does not exist or, on Apple's systems, would cut a file that is longer.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn reserve(_file: &File, _offset: u64, _len: u64) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Writes zeros from the end of the file to `end`: room for what is new, where the file system
/// cannot reserve it. Holes before `from` stay holes; this crate makes none.
fn write_zeros(file: &File, from: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = from;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(ZEROS_BYTES);
        let block = zeros.get(..wanted).unwrap_or(&zeros);
        file.write_all_at(block, at)?;
        at += block.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn open_error(path: &Path) -> io::Error {
        DiskFs::new().open(path, OpenHow::ReadWrite).unwrap_err()
    }

    #[test]
    fn new_files_and_directories_are_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let fs = DiskFs::new();
        fs.create_dir(&dir.path().join("d")).unwrap();
        fs.open(&dir.path().join("f"), OpenHow::CreateNew).unwrap();
        let mode = |name| {
            let metadata = fs::metadata(dir.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!((mode("d"), mode("f")), (0o700, 0o600));
    }

    #[test]
    fn a_lock_ends_with_its_handle_though_a_starting_process_has_the_file_still() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = File::create(&path).unwrap();
        // What a process has between being forked off and running its program.
        let inherited = file.try_clone().unwrap();
        let handle = DiskFile { file, is_locked: AtomicBool::new(false) };
        assert!(handle.try_lock(LockKind::Exclusive).unwrap());
        let another = DiskFs::new().open(&path, OpenHow::ReadWrite).unwrap();
        assert!(!another.try_lock(LockKind::Exclusive).unwrap());
        drop(handle);
        assert!(another.try_lock(LockKind::Exclusive).unwrap());
        drop(inherited);
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        let fs = DiskFs::new();
        fs.open(&target, OpenHow::CreateNew).unwrap();
        symlink(&target, &link).unwrap();
        assert_eq!(open_error(&link).raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        assert_eq!(fs.kind(&link).unwrap(), Some(FileKind::Symlink));
        let created = fs.open(&link, OpenHow::CreateNew).unwrap_err();
        assert_eq!(created.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_second_name_of_a_link_is_not_one_of_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link, second) =
            (dir.path().join("target"), dir.path().join("link"), dir.path().join("second"));
        let fs = DiskFs::new();
        fs.open(&target, OpenHow::CreateNew).unwrap();
        symlink(&target, &link).unwrap();
        // Where links cannot have two names, an error is right too.
        if fs.hard_link(&link, &second).is_ok() {
            assert_eq!(fs.kind(&second).unwrap(), Some(FileKind::Symlink));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_second_name_on_another_device_is_unsupported() {
        use std::os::unix::fs::MetadataExt;
        let here = tempfile::tempdir().unwrap();
        let Ok(there) = tempfile::tempdir_in("/dev/shm") else { return };
        let device = |dir: &tempfile::TempDir| fs::metadata(dir.path()).unwrap().dev();
        let fs = DiskFs::new();
        let (from, to) = (here.path().join("f"), there.path().join("f"));
        fs.open(&from, OpenHow::CreateNew).unwrap();
        // Where both are one device there is nothing to see.
        if device(&here) != device(&there) {
            let error = fs.hard_link(&from, &to).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pipes_are_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made =
            rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
        made.unwrap();
        assert_eq!(open_error(&pipe).kind(), io::ErrorKind::InvalidInput);
        assert_eq!(DiskFs::new().kind(&pipe).unwrap(), Some(FileKind::Other));
    }

    #[test]
    fn names_that_are_not_utf8_are_there() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let odd = std::ffi::OsStr::from_bytes(b"\xFFodd");
        // Some file systems take no such name at all.
        if File::create(dir.path().join(odd)).is_ok() {
            let [entry] = &*DiskFs::new().list(dir.path()).unwrap() else {
                panic!("one name is there");
            };
            assert_eq!(entry.name, "\u{fffd}odd");
        }
    }

    #[test]
    fn writing_zeros_keeps_the_bytes_that_are_there() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        let end = ZEROS_BYTES as u64 * 2 + 5;
        write_zeros(&file, 3, end).unwrap();
        assert_eq!(file.metadata().unwrap().len(), end);
        let mut head = [1; 5];
        file.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(&head, b"abc\0\0");
    }

    // Where room cannot be reserved, this would fill the disk before it fails.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_failed_allocation_leaves_the_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = DiskFs::new().open(&path, OpenHow::CreateNew).unwrap();
        file.write_at(&[IoSlice::new(b"abc")], 0).unwrap();
        let plain = File::options().write(true).open(&path).unwrap();
        if let Err(error @ (Errno::OPNOTSUPP | Errno::NOSYS)) = reserve(&plain, 0, 1) {
            eprintln!("\n*** SKIPPED: no room can be reserved here: {error} ***\n");
            return;
        }
        assert!(file.allocate(0, 1 << 62).is_err());
        assert!(file.allocate(u64::MAX, 2).is_err());
        assert_eq!(file.len().unwrap(), 3);
    }
}
