//! Random bytes, for ids and salts. Never used while a command is applied (rule R1).

use std::fmt;
use std::io;

/// A source of random bytes.
pub trait Rng: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the operating system gives none; nothing may be made up instead.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;

    /// A random number.
    ///
    /// # Errors
    /// As [`Rng::fill`].
    fn next_u64(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}
