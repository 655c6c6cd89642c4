//! What the system says of this process and of the files of a store.

use std::fs;
use std::path::{Path, PathBuf};

/// A number of `/proc/self/status` in KiB; 0 where there is no such file.
pub(crate) fn status_kib(name: &str) -> u64 {
    number_of("/proc/self/status", name)
}

/// The number behind a name in a file of the system; 0 where there is none.
pub(crate) fn number_of(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// All files below a directory of a store.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of the store") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Bytes in all files below a directory, reserved room included.
pub(crate) fn bytes_below(directory: &Path) -> u64 {
    // A file may have been deleted by a compaction meanwhile.
    let size = |file: &PathBuf| fs::metadata(file).ok().map(|metadata| metadata.len());
    files(directory).iter().filter_map(size).sum()
}
