//! Directories to measure in, what is in them, and what this process has written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::failure::{Result, While};

/// Bytes of the blocks that the system counts in.
const BLOCK_BYTES: u64 = 512;

/// Where new directories for stores are made.
#[derive(Clone, Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Below a directory, which is created where it is missing.
    pub(crate) fn below(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).during(format_args!("creating {}", directory.display()))?;
        Ok(Self(directory.to_owned()))
    }

    /// A new directory, removed when it is dropped.
    pub(crate) fn new_directory(&self) -> Result<TempDir> {
        tempfile::tempdir_in(&self.0).during(format_args!("a directory in {}", self.0.display()))
    }

    /// A new directory with a copy of everything in `directory`, on the device: whoever syncs a
    /// file of it next waits for nothing but its own writes.
    pub(crate) fn copy_of(&self, directory: &Path) -> Result<TempDir> {
        let copy = self.new_directory()?;
        for file in files(directory)? {
            let target = copy.path().join(file.strip_prefix(directory)?);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(&file, &target).during(format_args!("copying {}", file.display()))?;
            fs::File::open(&target)?.sync_all()?;
        }
        Ok(copy)
    }
}

/// Writes a new file in one call and waits until it is on the device.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes)?;
    Ok(fs::File::open(path)?.sync_data()?)
}

/// All files below a directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Bytes that the files below a directory occupy on the device, holes not counted and room that was
/// reserved counted.
pub(crate) fn occupied_bytes(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in files(directory)? {
        bytes += fs::metadata(file)?.blocks() * BLOCK_BYTES;
    }
    Ok(bytes)
}

/// What this process has written since it began, as the system counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Bytes that it handed to write calls.
    pub(crate) calls: u64,
    /// Bytes of the pages that it made the system write to a device, now or later.
    pub(crate) device: u64,
}

/// Reads `/proc/self/io`; `None` where there is no such file.
pub(crate) fn written() -> Option<Written> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some(Written { calls: number("wchar:")?, device: number("write_bytes:")? })
}
