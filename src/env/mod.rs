//! The only door to disk, clock and randomness (rule R4).
//!
//! Everything above takes an [`Env`] and asks it, so that the same code runs on the machine and,
//! with the feature `testing`, in a simulation that one seed decides entirely.
//!
//! Nothing here knows what a file is for. What a failed call means is decided above.

pub mod clock;
pub mod rng;
pub mod fs;
pub mod fs_disk;

use std::sync::Arc;

use self::clock::{Clock, SystemClock};
use self::fs::Fs;
use self::fs_disk::DiskFs;
use self::rng::{OsRng, Rng};

/// The machine, as the rest of the crate sees it. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Env {
    /// Files and directories.
    pub fs: Arc<dyn Fs>,
    /// Time of day and elapsed time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub rng: Arc<dyn Rng>,
}

impl Env {
    /// The machine itself: its files, its clocks, its random source.
    #[must_use]
    pub fn system() -> Self {
        Self {
            fs: Arc::new(DiskFs::new()),
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(OsRng::new()),
        }
    }
}
