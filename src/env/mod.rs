//! The only door to disk, clock and randomness (rule R4).
//!
//! Everything above takes an [`Env`] and asks it, so that the same code runs on the machine and,
//! with the feature `testing`, in a simulation that one seed decides entirely.
//!
//! Nothing here knows what a file is for. What a failed call means is decided above.

#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub mod clock;
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub mod rng;
pub(crate) mod priority;
pub mod fs;
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub mod fs_disk;
#[cfg(any(test, feature = "testing"))]
pub mod fs_sim;
#[cfg(test)]
mod fs_contract;

use std::sync::Arc;

#[cfg(any(test, feature = "testing"))]
use self::clock::ManualClock;
use self::clock::{Clock, SystemClock};
use self::fs::Fs;
use self::fs_disk::DiskFs;
#[cfg(any(test, feature = "testing"))]
use self::fs_sim::SimFs;
#[cfg(any(test, feature = "testing"))]
use self::rng::SeededRng;
use self::rng::{OsRng, Rng};
#[cfg(any(test, feature = "testing"))]
use crate::types::Timestamp;

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

/// A simulated machine: what the store is given, and the strings to pull.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Debug)]
pub struct Simulated {
    /// What the store is given.
    pub env: Env,
    /// Its disk.
    pub fs: SimFs,
    /// Its clock, which stands at 1,000,000 seconds past the epoch until told otherwise. Operations
    /// of the disk take no time unless [`SimFs::set_clock`] says so.
    pub clock: ManualClock,
}

#[cfg(any(test, feature = "testing"))]
impl Env {
    /// A machine with an empty disk. `seed` decides its random numbers and hiccups.
    #[must_use]
    pub fn simulated(seed: u64) -> Simulated {
        Self::simulated_on(SimFs::new(seed), seed)
    }

    /// A machine that starts with what is on `fs`, such as after a power cut.
    #[must_use]
    pub fn simulated_on(fs: SimFs, seed: u64) -> Simulated {
        let clock = ManualClock::new(Timestamp(1_000_000_000_000));
        let env = Self {
            fs: Arc::new(fs.clone()),
            clock: Arc::new(clock.clone()),
            rng: Arc::new(SeededRng::new(seed)),
        };
        Simulated { env, fs, clock }
    }
}
