//! A directory that becomes a copy of a store: empty at first, then marked as unfinished, at last a
//! store.
//!
//! The mark is the file `UNFINISHED`. It is on the device before anything but `LOCK` is in the
//! directory, and goes when everything else is there, synced and checked. While it is there nobody
//! opens the directory, so whatever a crash leaves of a copy is never taken for a store, nor for an
//! empty directory in which one may be created.
//!
//! `LOCK` is held from before the mark until the end, so nobody creates a store there meanwhile. It
//! stays: to remove it would have who has opened it already lock a file that nobody else finds.
//!
//! Syncs do not go through the latch of the original: where the copy's device fails the copy is
//! given up at once, and the original goes on.

use std::io::IoSlice;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::context::absolute;
use super::error::StorageError;
use super::format::{IDENTITY_NAME, LOCK_NAME, LOG_NAME, TABLES_NAME, UNFINISHED_NAME};
use super::identity::Identity;
use super::store_lock::{Absent, Lock, take_lock};
use crate::env::Env;
use crate::env::fs::{DirEntry, FileKind, Fs, FsFile, OpenHow, read_exact_at, write_all_at};

/// How much is copied at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// Directories above a copy that are looked at for a store around it.
const LEVELS_MAX: usize = 128;

/// What a person reads who wonders what the mark is.
const MARK: &[u8] =
    b"A copy of a store that was not finished. Remove the directory and copy again.\n";

/// The directory and what was made in it.
#[derive(Debug)]
pub(crate) struct CopyTarget {
    env: Env,
    root: PathBuf,
    /// Whether the directory was made here.
    is_new: bool,
    /// Files in the order in which they were made; the first is the mark.
    made: Vec<PathBuf>,
    /// Folders that were made.
    folders: Vec<PathBuf>,
    /// Of the directory; held for as long as this lives.
    _lock: Lock,
}

impl CopyTarget {
    /// Takes a directory for a copy of the store in `source`, and marks it.
    ///
    /// # Errors
    /// Those of [`check`], and `Locked` where somebody creates a store there: nothing was changed.
    /// `DiskFull`, other `Io`: what was made is removed again, but for `LOCK` in a directory that
    /// was there.
    pub(crate) fn create(env: &Env, source: &Path, root: &Path) -> Result<Self, StorageError> {
        let root = &absolute(env, root)?;
        let is_new = check(&*env.fs, source, root)?;
        if is_new {
            env.fs.create_dir(root).map_err(StorageError::wrap("create", root))?;
        }
        let lock = match take_lock(env, root, Absent::Create) {
            Ok(lock) => lock,
            Err(error) => {
                if is_new && env.fs.remove_dir(root).is_err() {
                    tracing::debug!(directory = %root.display(), "a directory without data stays");
                }
                return Err(error);
            }
        };
        let mut target = Self {
            env: env.clone(),
            root: root.to_owned(),
            is_new,
            made: Vec::new(),
            folders: Vec::new(),
            _lock: lock,
        };
        match target.mark() {
            Ok(()) => Ok(target),
            Err(error) => {
                target.abandon();
                Err(error)
            }
        }
    }

    fn mark(&mut self) -> Result<(), StorageError> {
        // Somebody may have created a store there before the lock was taken.
        check_free(&*self.env.fs, &self.root)?;
        // Whoever made it may have died before its name was durable.
        match self.sync_dir(above(&self.root)) {
            // Nobody but who made it may look at what it stands in: then that is theirs to sync.
            Err(StorageError::Io { source, .. })
                if !self.is_new && source.kind() == std::io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
        self.write(Path::new(UNFINISHED_NAME), MARK)?;
        // Before anything else is there: what comes now may survive a power cut in any combination.
        self.sync_dir(&self.root)?;
        for folder in [LOG_NAME, TABLES_NAME] {
            let path = self.root.join(folder);
            self.env.fs.create_dir(&path).map_err(StorageError::wrap("create", &path))?;
            self.folders.push(path);
        }
        Ok(())
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Gives a file of the original, all of it on the device, a second name here. `false` where
    /// files cannot have one.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn link(&mut self, from: &Path, name: &Path) -> Result<bool, StorageError> {
        let path = self.root.join(name);
        match self.env.fs.hard_link(from, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(false),
            linked => {
                linked.map_err(StorageError::wrap("link", &path))?;
                self.made.push(path);
                Ok(true)
            }
        }
    }

    /// Copies the first `bytes` of a file and syncs them; tells `on_copied` how many each time.
    ///
    /// # Errors
    /// `Corrupt` when the file is shorter; `Io`, `DiskFull`.
    pub(crate) fn copy(
        &mut self,
        from: (&dyn FsFile, &Path),
        bytes: u64,
        name: &Path,
        on_copied: &mut dyn FnMut(u64),
    ) -> Result<(), StorageError> {
        let (source, from) = from;
        let (file, path) = self.open_new(name)?;
        let mut buffer = vec![0; usize::try_from(bytes.min(CHUNK_BYTES)).unwrap_or_default()];
        let mut at = 0;
        while at < bytes {
            let wanted = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(buffer.len());
            let chunk = buffer.get_mut(..wanted).unwrap_or_default();
            read_exact_at(source, chunk, at).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    StorageError::corrupt(from, at, format!("expected {bytes} bytes in the file"))
                }
                _ => StorageError::io("read", from, error),
            })?;
            write_all_at(&*file, &mut [IoSlice::new(chunk)], at)
                .map_err(StorageError::wrap("write", &path))?;
            at += wanted as u64;
            on_copied(wanted as u64);
        }
        file.sync().map_err(StorageError::wrap("sync", &path))
    }

    /// Writes a small file and syncs it.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub(crate) fn write(&mut self, name: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let (file, path) = self.open_new(name)?;
        write_all_at(&*file, &mut [IoSlice::new(bytes)], 0)
            .map_err(StorageError::wrap("write", &path))?;
        file.sync().map_err(StorageError::wrap("sync", &path))
    }

    /// Says that a file is going to be made by others.
    pub(crate) fn expect(&mut self, path: PathBuf) {
        self.made.push(path);
    }

    fn open_new(&mut self, name: &Path) -> Result<(Arc<dyn FsFile>, PathBuf), StorageError> {
        let path = self.root.join(name);
        let opened = self.env.fs.open(&path, OpenHow::CreateNew);
        let file = opened.map_err(StorageError::wrap("create", &path))?;
        self.made.push(path.clone());
        Ok((file, path))
    }

    /// Says who the store is, once all of its files are there: makes their names durable first.
    ///
    /// # Errors
    /// `Io`, `DiskFull`.
    pub(crate) fn identify(&mut self, identity: &Identity) -> Result<(), StorageError> {
        for folder in [LOG_NAME, TABLES_NAME] {
            self.sync_dir(&self.root.join(folder))?;
        }
        self.write(Path::new(IDENTITY_NAME), &identity.encode())?;
        self.sync_dir(&self.root)
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.env.fs.sync_dir(path).map_err(StorageError::wrap("sync", path))
    }

    /// Takes the mark away: everything is there and was checked.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn finish(&mut self) -> Result<(), StorageError> {
        let mark = self.root.join(UNFINISHED_NAME);
        self.env.fs.remove(&mark).map_err(StorageError::wrap("remove", &mark))?;
        // Until this returns a power cut may bring the mark back, and then it is no store.
        self.sync_dir(&self.root)
    }

    /// Removes what was made, as far as that is possible. What stays is refused as unfinished.
    pub(crate) fn abandon(&self) {
        if let Err(error) = self.remove_all() {
            let directory = self.root.display();
            tracing::warn!(%error, %directory, "an unfinished copy of a store stays: remove it");
        }
    }

    /// The mark goes last, when everything else is gone for good: a power cut must not leave a part
    /// that looks like a store. Where only the last step failed, it is put back first.
    fn remove_all(&self) -> std::io::Result<()> {
        let fs = &*self.env.fs;
        let remove = |path: &Path| match fs.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let (mark, others) = self.made.split_first().unzip();
        if let Some(mark) = mark
            && fs.kind(mark)?.is_none()
        {
            fs.open(mark, OpenHow::CreateNew)?;
            fs.sync_dir(&self.root)?;
        }
        for path in others.into_iter().flatten() {
            remove(path)?;
        }
        for folder in &self.folders {
            fs.sync_dir(folder)?;
            fs.remove_dir(folder)?;
        }
        fs.sync_dir(&self.root)?;
        if let Some(mark) = mark {
            remove(mark)?;
        }
        // Where it is not empty somebody has made a store of it before the lock was taken.
        if self.is_new && fs.list(&self.root)?.iter().all(is_lock) {
            remove(&self.root.join(LOCK_NAME))?;
            fs.remove_dir(&self.root)?;
            fs.sync_dir(above(&self.root))?;
        }
        Ok(())
    }
}

/// Whether a directory is to be made for a copy of the store in `source`.
///
/// # Errors
/// `UnusableDirectory` for one that is not empty, or within a store, and where the directory above
/// it is missing. `Io`.
pub(crate) fn check(fs: &dyn Fs, source: &Path, root: &Path) -> Result<bool, StorageError> {
    if let Some(store) = store_around(fs, source, root) {
        let reason =
            format!("it is within the store in {}; name a directory elsewhere", store.display());
        return Err(StorageError::UnusableDirectory { directory: root.to_owned(), reason });
    }
    check_free(fs, root)
}

/// The store that a directory lies in. Who asks for the directories above one by `..` is told of
/// those that it is in, whatever links and dots its name goes through.
fn store_around(fs: &dyn Fs, source: &Path, root: &Path) -> Option<PathBuf> {
    let is_plain = root.components().all(|part| part != Component::ParentDir);
    if is_plain && root.starts_with(source) {
        return Some(source.to_owned());
    }
    // What cannot be looked at is told by who makes the directory.
    let kind_of = |path: &Path| fs.kind(path).ok().flatten();
    let mut directory = above(root).to_owned();
    for _ in 0..LEVELS_MAX {
        if kind_of(&directory.join(IDENTITY_NAME)).is_some() {
            return Some(directory);
        }
        directory.push("..");
        if kind_of(&directory) != Some(FileKind::Directory) {
            break;
        }
    }
    None
}

fn check_free(fs: &dyn Fs, root: &Path) -> Result<bool, StorageError> {
    let unusable = |reason: &str| {
        let (directory, reason) = (root.to_owned(), reason.to_owned());
        Err(StorageError::UnusableDirectory { directory, reason })
    };
    let kind_of = |path: &Path| fs.kind(path).map_err(StorageError::wrap("look at", path));
    match kind_of(root)? {
        None if kind_of(above(root))?.is_none() => {
            unusable("the directory above it does not exist; create that first")
        }
        None => Ok(true),
        Some(FileKind::Directory) => {
            let names = fs.list(root).map_err(StorageError::wrap("list", root))?;
            if names.iter().all(is_lock) {
                Ok(false)
            } else {
                unusable("it is not empty, and nothing is overwritten; name a new directory")
            }
        }
        Some(_) => unusable("it is not a directory; name a new one"),
    }
}

fn is_lock(entry: &DirEntry) -> bool {
    entry.name == LOCK_NAME
}

/// The directory that holds the name of another.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}
