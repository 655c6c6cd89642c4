//! A disk that notes which thread waits for it.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use parking_lot::Mutex;

use crate::env::fs::{DirEntry, FileKind, Fs, FsDir, FsFile, LockKind, OpenHow};

/// What was waited for, and by whom.
pub(super) type Waits = Arc<Mutex<Vec<(&'static str, ThreadId)>>>;

#[derive(Debug)]
pub(super) struct WatchedFs {
    pub(super) under: Arc<dyn Fs>,
    pub(super) waits: Waits,
}

#[derive(Debug)]
struct WatchedFile {
    under: Arc<dyn FsFile>,
    waits: Waits,
}

#[derive(Debug)]
struct WatchedDir {
    under: Box<dyn FsDir>,
    waits: Waits,
}

impl FsDir for WatchedDir {
    fn sync(&self) -> io::Result<()> {
        note(&self.waits, "sync a directory");
        self.under.sync()
    }
}

fn note(waits: &Waits, what: &'static str) {
    waits.lock().push((what, thread::current().id()));
}

impl Fs for WatchedFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.under.create_dir(path)
    }

    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn FsFile>> {
        let under = self.under.open(path, how)?;
        Ok(Arc::new(WatchedFile { under, waits: Arc::clone(&self.waits) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.under.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.under.hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        note(&self.waits, "remove");
        self.under.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.under.remove_dir(path)
    }

    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn FsDir>> {
        let under = self.under.open_dir(path)?;
        Ok(Box::new(WatchedDir { under, waits: Arc::clone(&self.waits) }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.under.list(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        self.under.kind(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.under.free_bytes(path)
    }
}

impl FsFile for WatchedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        note(&self.waits, "read");
        self.under.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.under.write_at(parts, offset)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.under.allocate(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.under.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.under.len()
    }

    fn sync(&self) -> io::Result<()> {
        note(&self.waits, "sync");
        self.under.sync()
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        self.under.try_lock(kind)
    }
}
