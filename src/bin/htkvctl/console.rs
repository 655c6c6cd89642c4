//! What the commands have to do with the outside: standard output, arguments, the directory.

use std::ffi::OsStr;
use std::io::{self, BufWriter, StdoutLock};
use std::path::Path;

use hightower_kv::command::is_reserved;
use hightower_kv::command::limits::ENTRY_BYTES_HARD_MAX;
use hightower_kv::env::Env;
use hightower_kv::env::fs::DirEntry;
use hightower_kv::storage::error::StorageError;
use hightower_kv::storage::format::{ARCHIVE_NAME, ERA_SUFFIX, IDENTITY_NAME};
use hightower_kv::storage::inspect::compression_of_newest;
use hightower_kv::{
    At, Error, ReadOnlyEngine, Retention, SingleNodeEngine, StateView, StoreConfig,
};

use crate::args::Args;
use crate::failure::{Failure, Result};
use crate::text::{Escaped, Hex, parse_hex};

/// Standard output, locked and buffered. Whoever takes it flushes it.
pub(crate) fn output() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

impl Args {
    /// A key, prefix or value as it was given.
    ///
    /// # Errors
    /// `Usage` when `--hex` was given and it is not hexadecimal.
    pub(crate) fn bytes(&self, argument: &OsStr) -> Result<Vec<u8>> {
        let bytes = argument.as_encoded_bytes();
        if !self.hex {
            return Ok(bytes.to_vec());
        }
        parse_hex(bytes).ok_or_else(|| {
            let found = argument.to_string_lossy();
            Failure::Usage(format!("--hex: expected pairs of hexadecimal digits, found '{found}'"))
        })
    }

    /// A key or a prefix, as it was given, that commands for keys and values reach.
    ///
    /// # Errors
    /// Those of [`Self::bytes`]; `ReservedKey`: what is there is the library's own, and is not
    /// shown as if it were not there.
    pub(crate) fn plain_key(&self, argument: &OsStr) -> Result<Vec<u8>> {
        let key = self.bytes(argument)?;
        if is_reserved(&key) { Err(Error::ReservedKey.into()) } else { Ok(key) }
    }

    /// A key or value as rows show it.
    pub(crate) fn show(&self, bytes: &[u8]) -> String {
        if self.hex { Hex(bytes).to_string() } else { Escaped(bytes).to_string() }
    }

    /// The configuration for writing: everything on this thread, each commit synced, tables as the
    /// store has them.
    pub(crate) fn config(&self) -> StoreConfig {
        let env = Env::system();
        let mut config = StoreConfig::default();
        config.data_dir.clone_from(&self.data_dir);
        config.worker_threads = 0;
        // What cannot be read is told by the opening.
        config.compression =
            compression_of_newest(&env, &self.data_dir).ok().flatten().unwrap_or_default();
        // Where a past is kept, what this tool writes becomes a part of it.
        let is_era = |entry: &DirEntry| entry.name.ends_with(ERA_SUFFIX);
        let archive = env.fs.list(&self.data_dir.join(ARCHIVE_NAME));
        if archive.is_ok_and(|entries| entries.iter().any(is_era)) {
            config.retention = Some(Retention::default());
        }
        config
    }

    /// As [`Self::config`], with room for values of so many bytes where that is said.
    ///
    /// # Errors
    /// `Validation` where values cannot have so many.
    pub(crate) fn config_for_values(&self, value_bytes_max: Option<usize>) -> Result<StoreConfig> {
        let mut config = self.config();
        if let Some(value_bytes_max) = value_bytes_max {
            config.value_bytes_max = value_bytes_max;
            config.entry_bytes_max = ENTRY_BYTES_HARD_MAX;
        }
        config.validate().map_err(Error::from)?;
        Ok(config)
    }

    /// Opens a store that exists for writing.
    pub(crate) fn open(&self) -> Result<SingleNodeEngine> {
        self.open_with(self.config())
    }

    /// As [`Self::open`], with another configuration.
    pub(crate) fn open_with(&self, config: StoreConfig) -> Result<SingleNodeEngine> {
        self.require_store()?;
        Ok(SingleNodeEngine::with_config(config)?)
    }

    /// Opens a store that exists for reading; nothing is written.
    pub(crate) fn look(&self) -> Result<ReadOnlyEngine> {
        Ok(ReadOnlyEngine::open(&self.data_dir)?)
    }

    /// The state now, or as it was.
    pub(crate) fn state(&self, at: Option<At>) -> Result<StateView> {
        let engine = self.look()?;
        Ok(match at {
            None => engine.view().clone(),
            Some(at) => engine.snapshot_at(at)?,
        })
    }

    /// Refuses a directory that would become a store by being opened.
    fn require_store(&self) -> Result<()> {
        let env = Env::system();
        let has = |path: &Path| env.fs.kind(path).is_ok_and(|kind| kind.is_some());
        let is_absent = |path: &Path| env.fs.kind(path).is_ok_and(|kind| kind.is_none());
        if is_absent(&self.data_dir) {
            return Err(StorageError::NoStore { directory: self.data_dir.clone() }.into());
        }
        if !has(&self.data_dir.join(IDENTITY_NAME)) {
            // It may be damaged, or out of reach: then this says so, and nothing is created.
            self.look()?;
        }
        Ok(())
    }
}
