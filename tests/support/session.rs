//! A store on a simulated disk that is worked with, and the model beside it.
//!
//! Every answer of the store is held against the model. What was promised when is noted by the
//! number of the disk's last operation, so that any later image of the disk can be judged.

use std::time::Duration;

use hightower_kv::env::Simulated;
use hightower_kv::env::clock::Clock;
use hightower_kv::{KvEngine, SingleNodeEngine, SnapshotEngine, StoreConfig, Timestamp, Version};

use crate::model::Model;
use crate::workload::Step;

/// Where the store is.
pub(crate) const DIRECTORY: &str = "/data";

/// A store with small files and no threads, so that a seed decides everything.
pub(crate) fn small_config(fsync_interval: Duration) -> StoreConfig {
    let mut config = StoreConfig::default();
    config.data_dir = DIRECTORY.into();
    config.max_segment_size = 4096;
    // A tail becomes a table every kibibyte of log, tables end at two, and half a segment of
    // useless bytes is merged: some merges take several steps.
    config.compaction_threshold = 12_000;
    config.compaction_interval = Duration::from_secs(20);
    config.disk_reserve = 8192;
    config.worker_threads = 0;
    config.fsync_interval = fsync_interval;
    config
}

/// What the store had promised from some operation of the disk on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    /// The last operation before.
    pub(crate) operation: u64,
    /// The last entry that was handed in, or may be: no later one can be found.
    pub(crate) submitted: u64,
    /// The last entry that was acknowledged: the death of the process must not lose it.
    pub(crate) acknowledged: u64,
    /// The last entry that is promised to be on the device: a power cut must not lose it.
    pub(crate) synced: u64,
    /// The term that was told last: no later opening may have it again.
    pub(crate) term: u64,
}

/// A store and its model.
pub(crate) struct Session {
    pub(crate) sim: Simulated,
    pub(crate) config: StoreConfig,
    pub(crate) engine: Option<SingleNodeEngine>,
    /// The state after each entry, by index.
    pub(crate) states: Vec<Model>,
    /// Oldest first.
    pub(crate) promises: Vec<Promise>,
    /// The promise in force.
    pub(crate) now: Promise,
    pub(crate) tally: Tally,
    interval_synced: Duration,
    log_time: LogTime,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    /// Tails that became a run.
    pub(crate) compactions: u64,
    /// Steps of merges.
    pub(crate) merge_steps: u64,
    pub(crate) reopenings: u64,
}

/// Log time as one opening of a store has it: the time of day, or while that is behind the last
/// stamp, or more than a second behind what has passed since it was last told, that.
#[derive(Clone, Copy, Debug, Default)]
struct LogTime {
    stamp: u64,
    elapsed: Duration,
    told: u64,
}

impl LogTime {
    const fn begin(last: u64, elapsed: Duration) -> Self {
        Self { stamp: last, elapsed, told: last }
    }

    fn now(&mut self, day: u64, elapsed: Duration, last: u64) -> u64 {
        const SECOND: u64 = 1_000_000;
        let floor = last.max(self.told);
        let passed = elapsed.saturating_sub(self.elapsed).as_micros();
        let by_itself = self.stamp + u64::try_from(passed).unwrap();
        if day >= floor && day < self.stamp + SECOND {
            return day;
        }
        if day >= floor && day + SECOND >= by_itself {
            (self.stamp, self.elapsed) = (day, elapsed);
            return day;
        }
        let stamp = by_itself.max(floor).max(day);
        *self = Self::begin(stamp, elapsed);
        stamp
    }
}

impl Session {
    /// Opens a new store.
    pub(crate) fn create(sim: Simulated, config: StoreConfig) -> Self {
        let mut session = Self {
            sim,
            config,
            engine: None,
            states: Vec::new(),
            promises: vec![Promise::default()],
            now: Promise::default(),
            tally: Tally::default(),
            interval_synced: Duration::ZERO,
            log_time: LogTime::default(),
        };
        // The first entry of all is the membership.
        session.push_blank();
        session.open();
        session
    }

    pub(crate) fn engine(&self) -> &SingleNodeEngine {
        self.engine.as_ref().unwrap()
    }

    pub(crate) fn model(&self) -> &Model {
        self.states.last().unwrap()
    }

    fn last(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    /// An entry without a command: it has no clock either.
    fn push_blank(&mut self) {
        let next = self.states.last().cloned().unwrap_or_default();
        self.states.push(next);
    }

    fn note(&mut self) {
        self.now.operation = self.sim.fs.operations();
        self.now.submitted = self.last();
        self.promises.push(self.now);
    }

    fn note_synced(&mut self) {
        self.now.acknowledged = self.last();
        self.now.synced = self.last();
        self.note();
    }

    pub(crate) fn open(&mut self) {
        self.push_blank();
        self.note();
        let engine = SingleNodeEngine::with_env(&self.config, self.sim.env.clone()).unwrap();
        assert_eq!(engine.latest_version().0, self.last());
        assert_eq!(self.model().difference(&engine.snapshot_state()), None);
        let term = engine.stats().term.0;
        assert!(term > self.now.term, "term {term} was given before");
        self.now.term = term;
        self.engine = Some(engine);
        self.interval_synced = self.sim.clock.elapsed();
        self.log_time = LogTime::begin(self.model().stamp, self.sim.clock.elapsed());
        self.note_synced();
    }

    /// What the next command is stamped with.
    pub(crate) fn next_stamp(&mut self) -> u64 {
        let last = self.model().stamp;
        self.log_time.now(self.sim.clock.now().0, self.sim.clock.elapsed(), last)
    }

    /// Does one step and checks the answer.
    pub(crate) fn perform(&mut self, step: &Step) {
        let before = self.tables();
        self.tally.steps += 1;
        self.perform_uncounted(step);
        let after = self.tables();
        // Each manifest is that of a new run, or of a step of a merge.
        let compactions = u64::from(before.1 != after.1);
        self.tally.compactions += compactions;
        self.tally.merge_steps += (after.0 - before.0).saturating_sub(compactions);
    }

    /// Number of the manifest, and which state it holds.
    fn tables(&self) -> (u64, Option<Version>) {
        let engine = self.engine();
        (engine.snapshot_state().tables().number(), engine.stats().snapshot_version)
    }

    fn perform_uncounted(&mut self, step: &Step) {
        match step {
            Step::Submit(command) => {
                let index = self.states.len() as u64;
                let stamp = self.next_stamp();
                let mut next = self.model().clone();
                let expected = next.apply(index, stamp, command);
                self.states.push(next);
                self.note();
                let got = self.engine().submit(command.clone()).unwrap();
                let found = (got.outcome, got.version.0, got.timestamp.0);
                let wanted = (expected.outcome, expected.version, expected.stamp);
                assert_eq!(found, wanted, "{command:?}");
                self.now.acknowledged = index;
                self.note_if_synced();
            }
            Step::Advance(by) => self.sim.clock.advance(*by),
            Step::ClockBack(by) => {
                let back = u64::try_from(by.as_micros()).unwrap();
                self.sim.clock.set_now(Timestamp(self.sim.clock.now().0 - back));
            }
            Step::Sync => {
                self.engine().flush().unwrap();
                self.note_synced();
            }
            Step::Compact => {
                self.engine().run_compaction_now().unwrap();
                self.note();
            }
            Step::Reopen(compression) => {
                self.engine.take().unwrap().close().unwrap();
                self.note_synced();
                self.tally.reopenings += 1;
                self.config.compression = *compression;
                self.open();
            }
        }
    }

    /// A write was acknowledged: what does that promise of the device?
    fn note_if_synced(&mut self) {
        let interval = self.config.fsync_interval;
        let elapsed = self.sim.clock.elapsed();
        if interval.is_zero() {
            self.note_synced();
        } else if elapsed.saturating_sub(self.interval_synced) >= interval {
            self.interval_synced = elapsed;
            self.note_synced();
        } else {
            self.note();
        }
    }
}
