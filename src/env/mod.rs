//! The only door to disk, clock and randomness (rule R4).
//!
//! Everything above takes an [`Env`] and asks it, so that the same code runs on the machine and,
//! with the feature `testing`, in a simulation that one seed decides entirely.
//!
//! Nothing here knows what a file is for. What a failed call means is decided above.

pub mod clock;
pub mod rng;
pub mod fs;

use std::sync::Arc;

use self::clock::Clock;
use self::fs::Fs;
use self::rng::Rng;

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
