//! Which operations fail, and how: the plan, and the decision for one operation.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::trace::Operation;
use crate::env::rng::SeededRng;

/// An error that the simulated disk can be told to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimError {
    /// EIO: the device failed.
    Io,
    /// ENOSPC: no room.
    NoSpace,
    /// EMFILE: too many open files.
    TooManyFiles,
    /// EINTR: a signal came; trying again is right.
    Interrupted,
    /// EROFS: the file system is read-only.
    ReadOnly,
    /// EACCES: not allowed.
    Access,
    /// EOPNOTSUPP: there is no such thing here.
    Unsupported,
}

impl From<SimError> for io::Error {
    fn from(error: SimError) -> Self {
        let errno = match error {
            SimError::Io => Errno::IO,
            SimError::NoSpace => Errno::NOSPC,
            SimError::TooManyFiles => Errno::MFILE,
            SimError::Interrupted => Errno::INTR,
            SimError::ReadOnly => Errno::ROFS,
            SimError::Access => Errno::ACCESS,
            SimError::Unsupported => Errno::OPNOTSUPP,
        };
        errno.into()
    }
}

/// How often calls are cut short, each as "one in"; 0 is never. The seed of the disk picks which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hiccups {
    /// Reads and writes that fail with `Interrupted` and do nothing.
    pub interrupted_one_in: u32,
    /// Reads that return fewer bytes than there are.
    pub short_read_one_in: u32,
    /// Writes that take fewer bytes than given.
    pub short_write_one_in: u32,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceed,
    Fail(SimError),
    Panic,
}

/// The plan. Empty at first: nothing fails.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) fail_operations: BTreeMap<u64, SimError>,
    pub(super) fail_syncs: BTreeSet<u64>,
    pub(super) fail_syncs_from: Option<u64>,
    pub(super) panic_at: Option<u64>,
    pub(super) stalls: BTreeMap<u64, Duration>,
    pub(super) denied: BTreeSet<PathBuf>,
    pub(super) read_only: bool,
    pub(super) no_hard_links: bool,
    pub(super) handles_max: Option<usize>,
    pub(super) space_bytes: Option<u64>,
    /// `None`: files take sectors.
    pub(super) block_bytes: Option<u64>,
    pub(super) hiccups: Hiccups,
}

impl Faults {
    /// Decides over operation number `number`, which is sync number `sync` if it is one.
    pub(super) fn decide(
        &self,
        operation: Operation,
        path: &Path,
        number: u64,
        sync: Option<u64>,
        rng: &SeededRng,
    ) -> Verdict {
        if self.panic_at == Some(number) {
            return Verdict::Panic;
        }
        if let Some(error) = self.fail_operations.get(&number) {
            return Verdict::Fail(*error);
        }
        if sync.is_some_and(|sync| self.sync_fails(sync)) {
            return Verdict::Fail(SimError::Io);
        }
        // An open handle goes on working when rights change.
        if !operation.is_by_handle() && self.denied.iter().any(|denied| path.starts_with(denied)) {
            return Verdict::Fail(SimError::Access);
        }
        if self.read_only && operation.is_change() {
            return Verdict::Fail(SimError::ReadOnly);
        }
        if self.no_hard_links && operation == Operation::HardLink {
            return Verdict::Fail(SimError::Unsupported);
        }
        let interruptible = matches!(operation, Operation::Read | Operation::Write);
        if interruptible && one_in(self.hiccups.interrupted_one_in, rng) {
            return Verdict::Fail(SimError::Interrupted);
        }
        Verdict::Proceed
    }

    fn sync_fails(&self, sync: u64) -> bool {
        self.fail_syncs.contains(&sync) || self.fail_syncs_from.is_some_and(|from| sync >= from)
    }

    /// How many of `count` bytes a read or write is allowed.
    pub(super) fn shorten(&self, operation: Operation, count: usize, rng: &SeededRng) -> usize {
        let how_often = match operation {
            Operation::Read => self.hiccups.short_read_one_in,
            Operation::Write => self.hiccups.short_write_one_in,
            _ => 0,
        };
        // Zero bytes would mean the end of the file, or a device that takes nothing.
        if count < 2 || !one_in(how_often, rng) {
            return count;
        }
        1 + usize::try_from(rng.up_to(count as u64 - 2)).unwrap_or(0)
    }
}

/// Draws nothing when the answer is always no, so that a fault that is off changes no other draw.
fn one_in(count: u32, rng: &SeededRng) -> bool {
    count > 0 && rng.up_to(u64::from(count) - 1) == 0
}
