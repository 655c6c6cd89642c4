//! What happens to a disk behind the store's back: files looked at and changed out of band, and the
//! damage that devices do at rest.
//!
//! Nothing here counts as an operation, fails by plan, or waits for a sync: medium and page cache
//! change alike. Meant for a disk on which no store is open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::content::{Content, SECTOR_BYTES, Sector};
use super::disk::{Disk, Node, clean_file};
use super::file::SimFile;
use super::{DiskImage, SimFs};

impl DiskImage {
    /// All files with their bytes as reads show them, in the order of their paths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files_of(&self.disk)
    }
}

fn files_of(disk: &Disk) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    disk.visit_files(&mut |path, file| files.push((path.to_owned(), file.cache.to_vec())));
    files
}

impl SimFs {
    /// All files with their bytes as reads show them, in the order of their paths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files_of(&self.state.lock().disk)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// `NotFound`, or that it is no file.
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let node = state.disk.find(path)?;
        Ok(state.disk.file(node)?.cache.to_vec())
    }

    /// Gives a file these bytes, and makes it if it is not there. Its directory must be.
    ///
    /// # Errors
    /// That the directory is not there, or `path` is no file.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut content = Content::default();
        content.write(bytes, 0);
        self.place(path, Arc::new(content))
    }

    /// Copies a file over another, or to a new name.
    ///
    /// # Errors
    /// As [`SimFs::read_file`] and [`SimFs::write_file`].
    pub fn copy_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        let content = {
            let state = self.state.lock();
            Arc::clone(&state.disk.file(state.disk.find(from)?)?.cache)
        };
        self.place(to, content)
    }

    fn place(&self, path: &Path, content: Arc<Content>) -> io::Result<()> {
        let made = clean_file(content, Arc::default());
        self.change_names(path, |disk| match disk.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.create(path, made).map(|_| ())
            }
            Err(error) => Err(error),
            Ok(node) => {
                disk.file(node)?;
                disk.nodes.insert(node, made);
                Ok(())
            }
        })
    }

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, or that it is a directory.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change_names(path, |disk| disk.remove(path))
    }

    /// Renames a file or directory within its directory.
    ///
    /// # Errors
    /// As [`Fs::rename`](crate::env::fs::Fs::rename).
    pub fn rename_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change_names(to, |disk| disk.rename(from, to))
    }

    /// Makes a symbolic link, which leads nowhere: nothing of ours follows one.
    ///
    /// # Errors
    /// `AlreadyExists`, or that the directory is not there.
    pub fn make_symlink(&self, path: &Path) -> io::Result<()> {
        self.change_names(path, |disk| disk.create(path, Node::Symlink).map(|_| ()))
    }

    fn change_names(
        &self,
        path: &Path,
        change: impl FnOnce(&mut Disk) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        change(&mut state.disk)?;
        state.disk.settle(path)?;
        state.collect();
        Ok(())
    }

    /// Turns over one bit of a file. Bit 0 is the lowest of the first byte.
    ///
    /// # Errors
    /// As [`SimFs::read_file`]; `InvalidInput` for a bit after the end.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        self.damage(path, bit / 8, |file| {
            file.damage(|content| {
                let mut byte = [0];
                if content.read(&mut byte, bit / 8) == 1 {
                    content.write(&byte.map(|byte| byte ^ (1 << (bit % 8))), bit / 8);
                }
            });
        })
    }

    /// Makes a sector of a file read as zero.
    ///
    /// # Errors
    /// As [`SimFs::read_file`]; `InvalidInput` for a sector after the end.
    pub fn zero_sector(&self, path: &Path, sector: usize) -> io::Result<()> {
        self.damage(path, start_of(sector), |file| {
            let zeros = Sector::Data(Arc::new([0; SECTOR_BYTES]));
            file.damage(|content| replace(content, sector, zeros.clone()));
        })
    }

    /// The last write to sector `meant` went to sector `hit`: `meant` holds what it held before,
    /// and what `hit` held is gone.
    ///
    /// # Errors
    /// As [`SimFs::read_file`]; `InvalidInput` for a sector after the end.
    pub fn misdirect_sector(&self, path: &Path, meant: usize, hit: usize) -> io::Result<()> {
        self.damage(path, start_of(meant.max(hit)), |file| {
            let previous = file.previous.sector(meant).clone();
            file.damage(|content| {
                replace(content, hit, content.sector(meant).clone());
                replace(content, meant, previous.clone());
            });
        })
    }

    /// The last synced write to a sector never happened: it holds what it held before.
    ///
    /// # Errors
    /// As [`SimFs::read_file`]; `InvalidInput` for a sector after the end.
    pub fn lose_synced_write(&self, path: &Path, sector: usize) -> io::Result<()> {
        self.damage(path, start_of(sector), |file| {
            let previous = file.previous.sector(sector).clone();
            file.damage(|content| replace(content, sector, previous.clone()));
        })
    }

    fn damage(
        &self,
        path: &Path,
        offset: u64,
        change: impl FnOnce(&mut SimFile),
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        let node = state.disk.find(path)?;
        let file = state.disk.file_mut(node)?;
        if offset >= file.durable.len() {
            return Err(Errno::INVAL.into());
        }
        change(file);
        Ok(())
    }
}

/// Puts another sector in the place of one, of which the file may have only the first bytes.
fn replace(content: &mut Content, index: usize, sector: Sector) {
    let len = content.len();
    content.put(index, sector);
    content.set_len(len);
}

fn start_of(sector: usize) -> u64 {
    sector as u64 * SECTOR_BYTES as u64
}
