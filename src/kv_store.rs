//! [`KvStore`]: the store for text, in three methods.

use std::path::PathBuf;

use crate::config::StoreConfig;
use crate::engine::api::KvEngine;
use crate::engine::single_node::SingleNodeEngine;
use crate::error::{Error, Result};
use crate::state::Outcome;

/// Stale bytes after which a [`KvStore`] compacts, unless it is told otherwise.
const COMPACTION_THRESHOLD: u64 = 1 << 20;

/// A store of text under text, for programs that want no more than that.
///
/// It is a [`SingleNodeEngine`] underneath, with the same guarantees: `Ok` means that the write is
/// on the device. The directory can be opened with either. Compaction runs on the caller's thread
/// when [the threshold](Self::set_compaction_threshold) is passed.
///
/// ```
/// use hightower_kv::KvStore;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("data");
/// let mut store = KvStore::open(&path)?;
/// store.set("user".to_string(), "Alice".to_string())?;
/// if let Some(value) = store.get("user")? {
///     println!("user = {value}");
/// }
/// store.remove("user".to_string())?;
/// assert_eq!(store.get("user")?, None);
/// # Ok::<(), hightower_kv::Error>(())
/// ```
#[derive(Debug)]
pub struct KvStore {
    engine: SingleNodeEngine,
}

impl KvStore {
    /// Opens the store in a directory; creates it where it is missing.
    ///
    /// # Errors
    /// Those of [`SingleNodeEngine::with_config`].
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let config = StoreConfig {
            data_dir: directory.into(),
            compaction_threshold: COMPACTION_THRESHOLD,
            worker_threads: 0,
            ..StoreConfig::default()
        };
        Ok(Self { engine: SingleNodeEngine::with_config(config)? })
    }

    /// Gives a key a value, whatever it had before. Returns when it is on the device.
    ///
    /// # Errors
    /// `Validation` for an empty key, `TooLarge`, and those of [`KvEngine::submit`].
    pub fn set(&mut self, key: String, value: String) -> Result<()> {
        self.engine.put(key.into_bytes(), value.into_bytes()).map(drop)
    }

    /// The value of a key; `None` when it is not there. Reads the disk where the value is in a
    /// table that is not cached.
    ///
    /// # Errors
    /// `Validation` when the value is not UTF-8: it was not written through this facade. Those of
    /// [`KvEngine::get`].
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        let Some(value) = self.engine.get(key.as_bytes())? else {
            return Ok(None);
        };
        String::from_utf8(value.into()).map(Some).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Error::Validation(format!(
                "the value of {key:?} is not text (not UTF-8 at byte {at}): read it with the engine"
            ))
        })
    }

    /// Removes a key. Returns when that is on the device.
    ///
    /// # Errors
    /// `KeyNotFound` when it is not there, and those of [`KvEngine::submit`].
    pub fn remove(&mut self, key: String) -> Result<()> {
        match self.engine.delete(key.into_bytes())?.outcome {
            Outcome::NotFound => Err(Error::KeyNotFound),
            _ => Ok(()),
        }
    }

    /// Bytes of overwritten and removed entries after which compaction runs. Default 1 MiB; as
    /// [`StoreConfig::compaction_threshold`].
    pub fn set_compaction_threshold(&mut self, bytes: u64) {
        self.engine.set_compaction_threshold(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, KvStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = KvStore::open(directory.path().join("data")).unwrap();
        (directory, store)
    }

    #[test]
    fn what_was_set_is_there_when_it_is_opened_again() {
        let (directory, mut store) = store();
        store.set("user".to_owned(), "Alice".to_owned()).unwrap();
        store.set("user".to_owned(), "Bob".to_owned()).unwrap();
        drop(store);
        let store = KvStore::open(directory.path().join("data")).unwrap();
        assert_eq!(store.get("user").unwrap().as_deref(), Some("Bob"));
        assert_eq!(store.get("email").unwrap(), None);
    }

    #[test]
    fn removing_a_key_that_is_not_there_is_an_error_that_says_so() {
        let (_directory, mut store) = store();
        store.set("user".to_owned(), "Alice".to_owned()).unwrap();
        store.remove("user".to_owned()).unwrap();
        let error = store.remove("user".to_owned()).unwrap_err();
        assert!(matches!(error, Error::KeyNotFound));
        assert_eq!(error.to_string(), "Key not found");
    }

    #[test]
    fn a_value_that_is_not_text_is_refused_and_its_key_named() {
        let (_directory, store) = store();
        store.engine.put(b"photo".to_vec(), vec![b'a', 0xff]).unwrap();
        let error = store.get("photo").unwrap_err().to_string();
        assert!(error.contains("\"photo\"") && error.contains("at byte 1"), "{error}");
    }

    #[test]
    fn an_empty_key_is_refused() {
        let (_directory, mut store) = store();
        let refused = store.set(String::new(), "x".to_owned()).unwrap_err();
        assert!(matches!(refused, Error::Validation(_)), "{refused}");
    }

    #[test]
    fn it_compacts_when_the_threshold_is_passed() {
        let (_directory, mut store) = store();
        store.set_compaction_threshold(2000);
        for n in 0..100 {
            store.set("key".to_owned(), format!("{n:0100}")).unwrap();
        }
        let stats = store.engine.stats();
        assert!(stats.snapshot_version.is_some(), "{stats:?}");
        assert!(stats.stale_bytes < 4000, "{stats:?}");
    }
}
