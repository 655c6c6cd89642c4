//! What sending a snapshot reads from.

use std::fmt;
use std::io;

use bytes::Bytes;

use super::wire::request::SnapshotPart;

/// The files of a snapshot that is sent. They stay readable for as long as it is held.
pub trait SnapshotSource: Send + Sync + fmt::Debug {
    /// The files, the manifest first. Computed before: this reads no file.
    fn parts(&self) -> Vec<SnapshotPart>;

    /// Exactly `bytes` bytes of a file, from `offset` on. Waits for the disk.
    ///
    /// # Errors
    /// When the disk does not give them.
    fn read(&self, part: u32, offset: u64, bytes: usize) -> io::Result<Bytes>;
}
