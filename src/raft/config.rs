//! What can be set for a node of a cluster.

use std::time::Duration;

use crate::config::StoreConfig;
use crate::error::{Error, Result};
use crate::types::RandomId;

/// Configuration of a [`ClusterEngine`](super::cluster_engine::ClusterEngine).
///
/// ```
/// use hightower_kv::raft::ClusterConfig;
///
/// let mut config = ClusterConfig::default();
/// config.store.data_dir = "./node-1".into();
/// config.address = "10.0.0.1:7000".into();
/// config.validate()?;
/// # Ok::<(), hightower_kv::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The directory and everything about it, `node_id` included. Of these a cluster takes no
    /// notice: `fsync_interval`, since every voter syncs before it acknowledges; `worker_threads`;
    /// `compaction_interval`; `submit_timeout`, in whose place [`Self::deadline`] stands;
    /// `emit_snapshot_after_compaction`, in whose place [`Self::log_kept`] stands. Of
    /// `disk_reserve` it keeps the bytes themselves, and no room for compaction.
    pub store: StoreConfig,
    /// How the transport of other nodes finds this one. Opaque here. Default: empty.
    pub address: String,
    /// The cluster that a directory is created for; `None`, the default, makes a new one. All nodes
    /// but the first are given what [`ClusterEngine::cluster_id`] of the first says. A directory
    /// that exists belongs to its cluster, and another id is refused.
    ///
    /// [`ClusterEngine::cluster_id`]: super::cluster_engine::ClusterEngine::cluster_id
    pub cluster: Option<RandomId>,
    /// How long a follower hears nothing before it stands for election: at least the first, less
    /// than the second, by chance. Default 150 to 300 ms, for nodes near each other. Lower: faster
    /// failover, and elections when a machine is busy. At least three times `heartbeat`, and the
    /// second longer than the first.
    pub election_timeout: (Duration, Duration),
    /// How often a leader that has nothing to say lets itself be heard. Default 50 ms; at least
    /// 1 ms.
    pub heartbeat: Duration,
    /// How long a call may take. When it is over, a write says `OutcomeUnknown` and a read
    /// `Unavailable`. Default 5 s; at least the longest `election_timeout`.
    pub deadline: Duration,
    /// Entries that the log keeps although a snapshot has them, for followers that were away for a
    /// while. Default 10,000. One that was away for longer gets the snapshot.
    pub log_kept: u64,
    /// Threads of the node's own runtime. Default 2; 1 to 1,024. Nothing on them waits for a disk.
    pub runtime_threads: usize,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            store: StoreConfig::default(),
            address: String::new(),
            cluster: None,
            election_timeout: (Duration::from_millis(150), Duration::from_millis(300)),
            heartbeat: Duration::from_millis(50),
            deadline: Duration::from_secs(5),
            log_kept: 10_000,
            runtime_threads: 2,
        }
    }
}

impl ClusterConfig {
    /// Checks every field, and those of [`Self::store`].
    ///
    /// # Errors
    /// `Validation` with the field, what was found and what is expected.
    pub fn validate(&self) -> Result<()> {
        self.store.validate()?;
        let refuse = |field: &str, found: String, expected: &str| {
            let text = format!("{field}: {found}, expected {expected}");
            Err(Error::Validation(text))
        };
        let (min, max) = self.election_timeout;
        // openraft counts in milliseconds.
        if min.as_millis() >= max.as_millis() {
            let expected = "a range of at least a millisecond";
            return refuse("election_timeout", format!("{min:?} to {max:?}"), expected);
        }
        if self.heartbeat < Duration::from_millis(1) || self.heartbeat.saturating_mul(3) > min {
            let expected = "at least 1 ms and at most a third of the election timeout";
            return refuse("heartbeat", format!("{:?}", self.heartbeat), expected);
        }
        if self.deadline < max {
            let expected = "at least the longest election timeout";
            return refuse("deadline", format!("{:?}", self.deadline), expected);
        }
        if !(1..=1024).contains(&self.runtime_threads) {
            return refuse("runtime_threads", self.runtime_threads.to_string(), "1 to 1024");
        }
        Ok(())
    }

    /// What openraft is told.
    pub(crate) fn raft(&self, cluster: RandomId) -> openraft::Config {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: cluster.to_string(),
            election_timeout_min: millis(self.election_timeout.0),
            election_timeout_max: millis(self.election_timeout.1),
            heartbeat_interval: millis(self.heartbeat),
            // The state machine asks when its tail is large enough to be a table.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.log_kept,
            purge_batch_size: self.log_kept.clamp(1, 1024),
            replication_lag_threshold: self.log_kept.max(1024),
            install_snapshot_timeout: millis(self.deadline),
            enable_pre_vote: Some(true),
            // Followers may have entries that the leader had not synced when it lost its power.
            // Leading on in the same term, it would give their ids to other entries.
            enable_leader_restore: Some(false),
            ..openraft::Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut ClusterConfig);

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_its_name() {
        assert!(ClusterConfig::default().validate().is_ok());
        let changes: [(&str, Change); 6] = [
            ("election_timeout", |c| c.election_timeout = (millis(300), millis(300))),
            ("election_timeout", |c| {
                c.election_timeout =
                    (Duration::from_micros(150_200), Duration::from_micros(150_800));
            }),
            ("heartbeat", |c| c.heartbeat = millis(60)),
            ("heartbeat", |c| c.heartbeat = Duration::MAX),
            ("deadline", |c| c.deadline = millis(299)),
            ("runtime_threads", |c| c.runtime_threads = 0),
        ];
        for (field, change) in changes {
            let mut config = ClusterConfig::default();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn openraft_accepts_what_we_tell_it() {
        let config = ClusterConfig::default().raft(RandomId([1; 16]));
        assert!(config.validate().is_ok());
    }
}
