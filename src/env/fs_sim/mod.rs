//! The simulated disk: each promise of [`Fs`](super::fs::Fs) given its worst lawful meaning, and
//! one seed decides everything.
//!
//! # Bytes
//!
//! * A file is what the medium holds and the changes since its last sync. Reads show both.
//! * A power cut decides for each 512-byte sector by itself how many of the unsynced writes to it
//!   survive, in order, from none to all: the page cache writes whole sectors, so what survives is
//!   one of the contents that the sector had. With none, it holds what it held at the last sync;
//!   zero if it held nothing, or random bytes if the cut says so ([`LostSector`]).
//! * The length is any between the shortest and the longest that the file had since its last sync.
//! * A reservation is a change of the length; the room itself is lost with it.
//! * A sync that fails returns an error, and the changes that it should have covered will never be
//!   on the medium. Reads still show them and **the next sync returns `Ok`**.
//!
//! # Names
//!
//! * A name made, removed or renamed is pending until its directory is synced. A power cut keeps
//!   the oldest pending changes or any subset of them ([`NameLoss`]). A rename whose creation was
//!   lost still gives the file its new name; a removal removes only the file that it was meant for.
//! * A rename is one change, as every journal has it: the file has its old name or its new one. A
//!   rename across directories is refused with EXDEV, since it would need more than these promises.
//! * A second name of a file is pending like a first one, and may be lost by itself. Bytes, and
//!   what is unsynced of them, are the file's, whichever name it was opened by.
//! * A file that no surviving name leads to is gone, whatever was synced of it.
//! * Syncing a file says nothing of its name. A directory sync that fails is as a failed file sync.
//!
//! # Faults
//!
//! * Space is counted in sectors written or reserved, of files that have a name or are open. Past
//!   the budget a write takes what fits, and fails when nothing does.
//! * Operations are counted from 1, over all calls of all handles; plans name them by number. An
//!   operation that fails by plan does nothing; a sync that does is a failed sync.
//! * Read-only: changes fail with EROFS; so does a sync that has something to do, as a failed sync.
//!
//! # What is not simulated
//!
//! The page cache writes nothing by itself: what a cut may keep is decided only when it happens.
//! Access rights are by path. Symbolic links lead nowhere.

mod content;
mod directory;
mod file;
mod disk;
mod power_cut;
mod trace;
mod fault;
mod state;
mod handle;
mod at_rest;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::disk::Disk;
use self::state::{Moment, State};
use super::clock::ManualClock;

pub use self::content::{FILE_BYTES_MAX, SECTOR_BYTES};
pub use self::fault::{Hiccups, SimError};
pub use self::power_cut::{LostSector, NameLoss, PowerCut};
pub use self::trace::{Operation, Traced};

/// A simulated disk, empty but for `/`. Clones are the same disk.
///
/// It implements [`Fs`](super::fs::Fs); the methods here are the hand of fate. Threads may share
/// it; a seed replays exactly only if the order of their calls does.
#[derive(Clone)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("SimFs").field("operations", &state.operations).finish_non_exhaustive()
    }
}

impl SimFs {
    /// An empty disk. The seed decides its [`Hiccups`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_disk(Disk::new(), seed)
    }

    fn with_disk(disk: Disk, seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(disk, seed))) }
    }

    /// The disk as it is now. Costs a pointer a file.
    #[must_use]
    pub fn image(&self) -> DiskImage {
        let state = self.state.lock();
        DiskImage { operation: state.operations, disk: state.disk.clone() }
    }

    /// What a power cut now would leave; see [`DiskImage::power_cut`].
    #[must_use]
    pub fn power_cut(&self, cut: PowerCut) -> Self {
        self.image().power_cut(cut)
    }

    /// What is there after the death of the process now; see [`DiskImage::kill`].
    #[must_use]
    pub fn kill(&self) -> Self {
        self.image().kill()
    }

    /// From now on keeps an image after every operation that may have changed something.
    pub fn start_history(&self) {
        self.state.lock().history = Some(Vec::new());
    }

    /// Stops keeping images and returns those kept, oldest first.
    #[must_use]
    pub fn take_history(&self) -> Vec<DiskImage> {
        let history = self.state.lock().history.take().unwrap_or_default();
        let image = |Moment { operation, disk }| DiskImage { operation, disk };
        history.into_iter().map(image).collect()
    }

    /// From now on notes every operation.
    pub fn start_trace(&self) {
        self.state.lock().trace = Some(Vec::new());
    }

    /// Stops noting operations and returns those noted, oldest first.
    #[must_use]
    pub fn take_trace(&self) -> Vec<Traced> {
        self.state.lock().trace.take().unwrap_or_default()
    }

    /// How many operations there have been; the number of the last one.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// How many syncs of files and directories there have been, failed ones included.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// How many files and directories are open.
    #[must_use]
    pub fn open_handles(&self) -> usize {
        self.state.lock().handles.len()
    }

    /// Room taken, in bytes: whole sectors, or [blocks](Self::set_block_bytes), of files that have
    /// a name or are open.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }
}

/// The plan of faults.
impl SimFs {
    /// Lets operation `number` fail. A sync that fails so loses what it should have covered, unless
    /// the error is [`SimError::Access`]: then it was never tried.
    pub fn fail_operation(&self, number: u64, error: SimError) {
        self.state.lock().faults.fail_operations.insert(number, error);
    }

    /// Lets sync `number`, of a file or a directory, fail with EIO.
    pub fn fail_sync(&self, number: u64) {
        self.state.lock().faults.fail_syncs.insert(number);
    }

    /// Lets every sync from now on fail with EIO.
    pub fn fail_all_syncs(&self) {
        let mut state = self.state.lock();
        state.faults.fail_syncs_from = Some(state.syncs + 1);
    }

    /// Panics instead of doing operation `number`.
    pub fn panic_at_operation(&self, number: u64) {
        self.state.lock().faults.panic_at = Some(number);
    }

    /// Forgets which operations and syncs are to fail, stall or panic.
    pub fn clear_plan(&self) {
        let faults = &mut self.state.lock().faults;
        faults.fail_operations.clear();
        faults.fail_syncs.clear();
        faults.fail_syncs_from = None;
        faults.panic_at = None;
        faults.stalls.clear();
    }

    /// Sets how often calls are cut short.
    pub fn set_hiccups(&self, hiccups: Hiccups) {
        self.state.lock().faults.hiccups = hiccups;
    }

    /// Sets how many bytes the disk holds in all; `None` for no limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state.lock().faults.space_bytes = bytes;
    }

    /// Sets that files take the disk in blocks of so many bytes, as they do of most file systems,
    /// not in sectors.
    ///
    /// # Panics
    /// Where these are no whole sectors.
    pub fn set_block_bytes(&self, bytes: u64) {
        let is_whole = bytes > 0 && bytes.is_multiple_of(SECTOR_BYTES as u64);
        assert!(is_whole, "a block of {bytes} bytes");
        self.state.lock().faults.block_bytes = Some(bytes);
    }

    /// Sets how many files may be open; `None` for no limit. Directory calls need one to spare.
    pub fn set_handles_max(&self, most: Option<usize>) {
        self.state.lock().faults.handles_max = most;
    }

    /// From now on changes fail with EROFS.
    pub fn make_read_only(&self) {
        self.state.lock().faults.read_only = true;
    }

    /// Undoes [`SimFs::make_read_only`].
    pub fn make_writable(&self) {
        self.state.lock().faults.read_only = false;
    }

    /// From now on no file gets a second name: `hard_link` fails with EOPNOTSUPP.
    pub fn forbid_hard_links(&self) {
        self.state.lock().faults.no_hard_links = true;
    }

    /// From now on calls that name `path`, or anything below it, fail with EACCES.
    pub fn deny(&self, path: &Path) {
        self.state.lock().faults.denied.insert(path.to_owned());
    }

    /// Undoes [`SimFs::deny`].
    pub fn permit(&self, path: &Path) {
        self.state.lock().faults.denied.remove(path);
    }

    /// Lets every operation take `cost` on `clock`.
    pub fn set_clock(&self, clock: ManualClock, cost: Duration) {
        self.state.lock().clock = Some((clock, cost));
    }

    /// Lets operation `number` take this much longer on the clock that was set.
    pub fn stall_operation(&self, number: u64, by: Duration) {
        self.state.lock().faults.stalls.insert(number, by);
    }
}

/// A simulated disk at one moment. Shares its bytes with the disk and with other images.
#[derive(Clone, Debug)]
pub struct DiskImage {
    operation: u64,
    disk: Disk,
}

impl DiskImage {
    /// The number of the last operation before this moment.
    #[must_use]
    pub fn operation(&self) -> u64 {
        self.operation
    }

    /// What a power cut at this moment leaves: another disk, all of it durable, with no open file,
    /// no lock, no faults, no limit, no clock, and counters at 0.
    #[must_use]
    pub fn power_cut(&self, cut: PowerCut) -> SimFs {
        let seed = match cut {
            PowerCut::Nothing | PowerCut::Everything => 0,
            PowerCut::Random { seed, .. } => seed,
        };
        SimFs::with_disk(power_cut::cut(&self.disk, cut), seed)
    }

    /// What is there when the process dies at this moment: another disk that shows the same and has
    /// the same unsynced changes, without the open files, locks, faults, limits, clock and counts.
    #[must_use]
    pub fn kill(&self) -> SimFs {
        let fs = SimFs::with_disk(self.disk.clone(), 0);
        fs.state.lock().collect();
        fs
    }
}

#[cfg(test)]
mod tests;
