//! What an application can set. Nothing is clamped: [`StoreConfig::validate`] refuses.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::command::limits::{Limits, LimitsError};
use crate::retention::{Retention, RetentionRegistry};
use crate::types::NodeId;

/// Smallest [`StoreConfig::max_segment_size`].
pub const SEGMENT_SIZE_FLOOR: u64 = 4096;
/// Greatest [`StoreConfig::max_segment_size`].
pub const SEGMENT_SIZE_CEILING: u64 = 1 << 31;
/// Most threads that [`StoreConfig::worker_threads`] may ask for.
pub const WORKER_THREADS_MAX: usize = 1024;
/// Shortest [`StoreConfig::compaction_interval`] and [`StoreConfig::fsync_interval`] but zero: with
/// less a thread would do nothing but wake.
pub const INTERVAL_FLOOR: Duration = Duration::from_millis(1);
/// Smallest [`StoreConfig::memory_budget`].
pub const MEMORY_BUDGET_FLOOR: u64 = 1 << 20;
/// Greatest [`StoreConfig::disk_reserve`]: with more, no device has room, and that would be told as
/// a full disk.
pub const DISK_RESERVE_CEILING: u64 = 1 << 40;

/// How the blocks of a table are compressed. Each table says for itself, so that a change of the
/// configuration makes no table unreadable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all: a long value shares the block that it was read with, unless its table is in
    /// memory as a whole. The default.
    #[default]
    Off,
    /// LZ4: little work, for data that repeats itself.
    Lz4,
    /// Zstandard at a low level: smaller, and several times the work of LZ4. Needs the feature
    /// `zstd`.
    Zstd,
}

/// How a store is kept. Start from the default and change what matters.
///
/// ```
/// use hightower_kv::StoreConfig;
///
/// let mut config = StoreConfig::default();
/// config.data_dir = "./kv-data".into();
/// config.validate()?;
/// # Ok::<(), hightower_kv::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreConfig {
    /// The directory that holds the store; created with mode 0700 where it is missing. Default:
    /// `.hightower` in the current directory.
    pub data_dir: PathBuf,

    /// Bytes after which the log goes on in a new file. Default 64 MiB; from 4 KiB to 2 GiB; an
    /// entry that is longer gets a file of its own. Smaller: space comes back in smaller steps, and
    /// more often a write waits for the file before it to be synced.
    pub max_segment_size: u64,

    /// How often what is only in the log is written to a table, if anything is. Default 60 s; zero:
    /// never by time; otherwise at least 1 ms. Shorter: less to replay when the store is opened
    /// after a kill, more and smaller tables to merge.
    pub compaction_interval: Duration,

    /// Bytes of overwritten and removed rows after which compaction runs: so many since the last
    /// one, or so many in the tables where it is more than half of what is live. Default 64 MiB; at
    /// most half of `max_segment_size` counts, and since the last one a quarter, so that the
    /// directory stays within twice what is live and three segments, where a row counts as 20 bytes
    /// at least, and a segment is as long as the longest entry where that is longer; with segments
    /// below 8 KiB about four of these, since manifest and heads of files count. For that, writes
    /// and deletes that merges cannot keep pace with wait for these, each for `submit_timeout` at
    /// most; where a write adds or may remove more than an eighth of a segment, one that would pass
    /// the bound compacts everything first, on its thread; and one that has removed several rows,
    /// more than that in all, as a `delete_prefix` may, returns once the merge of what it left has
    /// come so far, or after `submit_timeout`. (It is so of a store by itself, once compaction has
    /// merged what a thousand commands that were handed in, or a lease that was over, left; besides
    /// it what is kept of the past, what open views hold, and on a cluster node the last `log_kept`
    /// entries.) Zero: at once whenever anything is stale, which only makes sense in tests.
    /// Compaction also runs when a quarter of a segment, or 12 MiB, of log is in no table yet.
    pub compaction_threshold: u64,

    /// Zero, the default: `Ok` means that the write is on the device. Otherwise `Ok` means that the
    /// operating system has it: a killed process loses nothing, a power cut at most the last
    /// `fsync_interval` of writes, always the newest; at least 1 ms. With `worker_threads = 0`
    /// there is no thread to sync in time: the next write or flush after the interval does.
    pub fsync_interval: Duration,

    /// Whether compaction purges the log behind the snapshot it writes. Default true. False keeps
    /// the whole log, so that it can be replayed from the start: space never comes back, and each
    /// opening takes longer, since it reads all of the log.
    pub emit_snapshot_after_compaction: bool,

    /// Zero: no threads; everything happens on the caller's, compaction and interval syncs
    /// included. Otherwise one thread carries `submit_async`, and background threads sync, compact,
    /// expire and compress; a greater number changes nothing yet. Default: the number of cores; at
    /// most 1,024. Synchronous calls commit on the caller's thread in any case, which is faster.
    pub worker_threads: usize,

    /// Who a directory becomes that this configuration creates. Default 1. Of an existing directory
    /// its own identity counts.
    pub node_id: NodeId,

    /// Longest key in bytes. Default and greatest: 64 KiB; at least 1. A key that is given a time
    /// has at most 65,504, its scope's prefix included.
    pub key_bytes_max: usize,

    /// Longest value in bytes. Default 64 MiB; 1 to 1,073,676,224, which is 1 GiB less the longest
    /// key and 64. In the scope `ephemeral` a value counts 24 bytes more.
    pub value_bytes_max: usize,

    /// Most commands, and most guards, in a batch. Default 65,536; 1 to 1,048,576.
    pub batch_commands_max: usize,

    /// Longest entry in bytes: a command with everything in it. Default 128 MiB; 1 to 2^30.
    pub entry_bytes_max: usize,

    /// Most commands that wait for the writer. Default 65,536; at least 1. Beyond it a caller waits
    /// for `submit_timeout`, then gets `Overloaded`.
    pub queue_commands_max: usize,

    /// Most bytes of commands that wait for the writer. Default 256 MiB; at least 1. As
    /// `queue_commands_max`.
    pub queue_bytes_max: usize,

    /// Most bytes that wait for a sync when `fsync_interval` is not zero. Default 64 MiB. Beyond it
    /// a write syncs itself, or waits for whoever does.
    pub unsynced_bytes_max: u64,

    /// How long a call waits for room in a queue before it gets `Overloaded`. Default 10 s. Where
    /// compaction cannot keep pace it waits as long at most, too, and then goes on.
    pub submit_timeout: Duration,

    /// Bytes of memory for the tail (what is in no table yet and what is just being written to one:
    /// a quarter each, at most 64 MiB), for filters and indexes of the tables (about 2.5 bytes a
    /// key), and, with what these leave, for cached blocks and rows. Default 512 MiB; at least
    /// 1 MiB. Memory is taken as it is used; the process takes up to 64 MiB more, of which up to 24
    /// are what is known of the changes of the last writes, and what queues and batches hold: of a
    /// batch also 72 bytes for each change until a table has it; of a `delete_prefix` up to 25 MiB,
    /// however many rows it removes, and where somebody watches them, or the past is kept, 100
    /// bytes and the key for each while that is told; of the end of a lease some 200 bytes and the
    /// key for each row that it removes. Of several threads that write glibc's allocator keeps
    /// more, half of the budget and above, unless `MALLOC_ARENA_MAX=2` is in the environment. More:
    /// fewer reads from the operating system.
    pub memory_budget: u64,

    /// How blocks of tables that are written from now on are compressed. Default: not at all.
    pub compression: Compression,

    /// Bytes kept back on the device, so that deletes and compaction go on when it is full. Default
    /// 1 MiB. Beside them new data leaves as much free as tables still have to be written of,
    /// usually what 30 MiB of log have set, and what a merge of two runs takes: no more than all
    /// tables have, and 68 MiB unless values are so long that tables exceed 32 MiB; and for deletes
    /// a 32nd of all tables, or 16 MiB, but no more than a quarter of them. Zero: none of it.
    /// At most 1 TiB.
    pub disk_reserve: u64,

    /// How much of the past is kept. Default `None`: what handles ask for, see
    /// `retention_registry`. With `Some` every compaction writes down what changed before it lets
    /// the log go, and gives up what is beyond the limits. It takes room on the device: for what is
    /// written, compressed, and up to a copy of the state for each piece of the past (see
    /// [`eras`](crate::SingleNodeEngine::eras)), whose tables it shares with the store until merges
    /// have replaced them there. Where much is written anew, set a limit.
    pub retention: Option<Retention>,

    /// Who wants the past to be kept. Default `None`: the store makes a registry, which the engine
    /// hands out.
    pub retention_registry: Option<RetentionRegistry>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            data_dir: ".hightower".into(),
            max_segment_size: 64 << 20,
            compaction_interval: Duration::from_mins(1),
            compaction_threshold: 64 << 20,
            fsync_interval: Duration::ZERO,
            emit_snapshot_after_compaction: true,
            worker_threads: std::thread::available_parallelism().map_or(1, usize::from),
            node_id: NodeId(1),
            key_bytes_max: 64 << 10,
            value_bytes_max: 64 << 20,
            batch_commands_max: 65_536,
            entry_bytes_max: 128 << 20,
            queue_commands_max: 65_536,
            queue_bytes_max: 256 << 20,
            unsynced_bytes_max: 64 << 20,
            submit_timeout: Duration::from_secs(10),
            memory_budget: 512 << 20,
            compression: Compression::Off,
            disk_reserve: 1 << 20,
            retention: None,
            retention_registry: None,
        }
    }
}

/// A field that cannot have the value it has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} is {found}, expected {expected}")]
pub struct ConfigError {
    /// Name of the field.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: String,
}

impl StoreConfig {
    /// Whether a store can be kept like this. Called when one is opened.
    ///
    /// # Errors
    /// The first field that cannot have its value. Nothing is changed to make it fit.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, found: String, expected: &str| {
            Err(ConfigError { field, found, expected: expected.to_owned() })
        };
        if self.data_dir.as_os_str().is_empty() {
            return refuse("data_dir", "empty".to_owned(), "the path of a directory");
        }
        if !(SEGMENT_SIZE_FLOOR..=SEGMENT_SIZE_CEILING).contains(&self.max_segment_size) {
            let found = self.max_segment_size.to_string();
            return refuse("max_segment_size", found, "4,096 to 2,147,483,648 bytes");
        }
        if self.worker_threads > WORKER_THREADS_MAX {
            return refuse("worker_threads", self.worker_threads.to_string(), "0 to 1,024");
        }
        if self.queue_commands_max == 0 {
            return refuse("queue_commands_max", "0".to_owned(), "at least 1");
        }
        if self.queue_bytes_max == 0 {
            return refuse("queue_bytes_max", "0".to_owned(), "at least 1");
        }
        for (field, interval) in [
            ("compaction_interval", self.compaction_interval),
            ("fsync_interval", self.fsync_interval),
        ] {
            if !interval.is_zero() && interval < INTERVAL_FLOOR {
                return refuse(field, format!("{interval:?}"), "zero, or at least 1 ms");
            }
        }
        if self.memory_budget < MEMORY_BUDGET_FLOOR {
            return refuse("memory_budget", self.memory_budget.to_string(), "at least 1,048,576");
        }
        if self.disk_reserve > DISK_RESERVE_CEILING {
            let expected = "0 to 1,099,511,627,776 bytes";
            return refuse("disk_reserve", self.disk_reserve.to_string(), expected);
        }
        if self.compression == Compression::Zstd && !cfg!(feature = "zstd") {
            let expected = "Off or Lz4, or a build with the feature `zstd`";
            return refuse("compression", "Zstd".to_owned(), expected);
        }
        self.limits().validate().map_err(|LimitsError { limit, got, max }| ConfigError {
            field: limit,
            found: got.to_string(),
            expected: format!("1 to {max}"),
        })
    }

    /// What commands are checked against before they are proposed.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            key_bytes_max: self.key_bytes_max,
            value_bytes_max: self.value_bytes_max,
            batch_commands_max: self.batch_commands_max,
            batch_guards_max: self.batch_commands_max,
            entry_bytes_max: self.entry_bytes_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_be_used() {
        assert_eq!(StoreConfig::default().validate(), Ok(()));
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_and_the_bounds_are_not() {
        let with = |change: fn(&mut StoreConfig)| {
            let mut config = StoreConfig::default();
            change(&mut config);
            config.validate().map_err(|error| error.field)
        };
        assert_eq!(with(|config| config.max_segment_size = 4096), Ok(()));
        assert_eq!(with(|config| config.max_segment_size = 4095), Err("max_segment_size"));
        assert_eq!(with(|config| config.max_segment_size = 1 << 31), Ok(()));
        assert_eq!(with(|config| config.max_segment_size = (1 << 31) + 1), Err("max_segment_size"));
        assert_eq!(with(|config| config.worker_threads = 1024), Ok(()));
        assert_eq!(with(|config| config.worker_threads = 1025), Err("worker_threads"));
        assert_eq!(with(|config| config.fsync_interval = Duration::from_millis(1)), Ok(()));
        assert_eq!(
            with(|config| config.fsync_interval = Duration::from_nanos(1)),
            Err("fsync_interval")
        );
        assert_eq!(
            with(|config| config.compaction_interval = Duration::from_micros(999)),
            Err("compaction_interval")
        );
        assert_eq!(with(|config| config.queue_commands_max = 0), Err("queue_commands_max"));
        assert_eq!(with(|config| config.queue_bytes_max = 0), Err("queue_bytes_max"));
        assert_eq!(with(|config| config.data_dir = "".into()), Err("data_dir"));
        assert_eq!(with(|config| config.memory_budget = 1 << 20), Ok(()));
        assert_eq!(with(|config| config.memory_budget = (1 << 20) - 1), Err("memory_budget"));
        assert_eq!(with(|config| config.disk_reserve = 1 << 40), Ok(()));
        assert_eq!(with(|config| config.disk_reserve = (1 << 40) + 1), Err("disk_reserve"));
        assert_eq!(with(|config| config.key_bytes_max = 64 << 10), Ok(()));
        assert_eq!(with(|config| config.key_bytes_max = (64 << 10) + 1), Err("key_bytes_max"));
        assert_eq!(with(|config| config.value_bytes_max = 1_073_676_224), Ok(()));
        assert_eq!(with(|config| config.value_bytes_max = 1_073_676_225), Err("value_bytes_max"));
        assert_eq!(with(|config| config.batch_commands_max = 0), Err("batch_commands_max"));
        assert_eq!(with(|config| config.batch_commands_max = 1 << 20), Ok(()));
        assert_eq!(with(|config| config.entry_bytes_max = 1 << 30), Ok(()));
        assert_eq!(with(|config| config.entry_bytes_max = (1 << 30) + 1), Err("entry_bytes_max"));
    }

    #[test]
    fn a_compression_that_is_left_out_of_the_build_is_refused() {
        let config = StoreConfig { compression: Compression::Zstd, ..StoreConfig::default() };
        assert_eq!(config.validate().is_ok(), cfg!(feature = "zstd"));
    }
}
