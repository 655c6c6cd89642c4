//! Rows S9 and S15 to S17: the disk fails, or is full, at any moment of a compaction, merges
//! included. No write fails because of it, nothing is lost, and a later compaction does it all.

use std::path::Path;
use std::time::Duration;

use hightower_kv::env::clock::ManualClock;
use hightower_kv::env::fs_sim::{Operation, PowerCut, SimError, SimFs, Traced};
use hightower_kv::env::rng::SeededRng;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::storage::inspect::verify;
use hightower_kv::{Error, KvEngine, SingleNodeEngine, SnapshotEngine, StoreConfig};

use crate::support::{Pairs, open_sim, pairs, sim_config};

const ERRORS: [SimError; 4] =
    [SimError::Io, SimError::NoSpace, SimError::TooManyFiles, SimError::Interrupted];

/// Nothing is synced but by a compaction, so that the first sync is where one begins.
fn config() -> StoreConfig {
    let mut config = sim_config();
    config.fsync_interval = Duration::from_hours(1);
    config.disk_reserve = 0;
    config
}

/// A store in the middle of its life: runs of several tables, tombstones, and a tail.
struct Prepared {
    fs: SimFs,
    clock: ManualClock,
    engine: SingleNodeEngine,
    expected: Pairs,
    rng: SeededRng,
    written: u64,
}

impl Prepared {
    fn new(writes: u64) -> Self {
        let Simulated { env, fs, clock } = Env::simulated(5);
        let engine = SingleNodeEngine::with_env(&config(), env).unwrap();
        let (expected, rng) = (Pairs::new(), SeededRng::new(6));
        let mut prepared = Self { fs, clock, engine, expected, rng, written: 0 };
        for _ in 0..writes {
            prepared.write().unwrap();
        }
        prepared
    }

    /// The next write, the same in every run.
    fn write(&mut self) -> Result<(), Error> {
        self.written += 1;
        let key = format!("key/{:02}", self.rng.up_to(60)).into_bytes();
        if self.written.is_multiple_of(7) {
            self.engine.delete(key.clone())?;
            self.expected.remove(&key);
        } else {
            let mut value = vec![0; 40 + usize::try_from(self.rng.up_to(250)).unwrap()];
            self.rng.fill_bytes(&mut value);
            self.engine.put(key.clone(), value.clone())?;
            self.expected.insert(key, value);
        }
        Ok(())
    }

    fn manifest(&self) -> u64 {
        self.engine.snapshot_state().tables().number()
    }

    fn check(&self, what: &str) {
        assert!(pairs(&self.engine.snapshot_state()) == self.expected, "{what}");
    }

    /// Kills the process, opens what is left, and compacts it.
    fn check_killed(&self, what: &str) {
        let fs = self.fs.kill();
        let engine = open_sim(&fs).unwrap_or_else(|error| panic!("{what}, killed: {error}"));
        assert!(pairs(&engine.snapshot_state()) == self.expected, "{what}, killed");
        engine.run_compaction_now().unwrap();
        assert!(pairs(&engine.snapshot_state()) == self.expected, "{what}, killed and compacted");
    }

    /// All is well again: writes go on, time brings a compaction that does what is to be done, and
    /// no file is left that is not needed.
    fn check_recovers(mut self, what: &str) {
        self.check(what);
        for _ in 0..3 {
            self.write().unwrap_or_else(|error| panic!("{what}, then a write: {error}"));
        }
        self.check(what);
        self.clock.advance(Duration::from_mins(10));
        let before = self.engine.latest_version();
        self.write().unwrap();
        // Behind the write, or before it, where there was no room for it.
        let compacted = self.engine.stats().snapshot_version;
        assert!(compacted >= Some(before), "{what}: {compacted:?} of {before:?}");
        let report = self.engine.run_compaction_now().unwrap();
        assert_eq!(report.version, self.engine.latest_version(), "{what}");
        assert!(self.engine.stats().runs <= 1, "{what}");
        self.check(what);
        let fs = self.fs.kill();
        let env = Env::simulated_on(fs.clone(), 1).env;
        let report = verify(&env, Path::new("/data")).unwrap();
        assert!(report.damages.is_empty() && report.leftovers.is_empty(), "{what}: {report:?}");
        let Self { engine, fs, expected, .. } = self;
        engine.close().unwrap();
        assert!(pairs(&open_sim(&fs).unwrap().snapshot_state()) == expected, "{what}, reopened");
    }
}

/// How many writes lead up to one whose compaction merges several runs in several steps.
fn writes_before_a_merge() -> u64 {
    let mut prepared = Prepared::new(60);
    for writes in 60..400 {
        let before = prepared.manifest();
        prepared.write().unwrap();
        if prepared.manifest() > before + 4 {
            return writes;
        }
    }
    panic!("nothing was merged in several steps");
}

/// A failed sync stops the store, and so does a failed write to the log, of which nobody knows how
/// much of it is there: the purge is an entry in the log, too.
fn may_stop(traced: &Traced) -> bool {
    let is_write = traced.operation == Operation::Write;
    traced.operation.is_sync() || (is_write && traced.path.starts_with("/data/log"))
}

/// Fails each operation of what `act` does, in each way. Returns how many that were, and how many
/// of them stopped the store, which few may.
fn fail_each_operation(
    writes: u64,
    name: &str,
    act: impl Fn(&mut Prepared) -> Result<(), Error>,
) -> (u64, u64) {
    let mut prepared = Prepared::new(writes);
    prepared.fs.start_trace();
    act(&mut prepared).unwrap();
    let trace = prepared.fs.take_trace();
    prepared.check_recovers(name);
    // What comes before is the write itself.
    let first = trace.iter().position(|traced| traced.operation.is_sync()).unwrap();
    let (mut tried, mut stopped) = (0, 0);
    for (at, traced) in trace.iter().enumerate().skip(first) {
        for error in ERRORS {
            // A sync opens nothing: what it needs was opened before.
            if error == SimError::TooManyFiles && traced.operation.is_sync() {
                continue;
            }
            let what = format!("{name}, {error:?} at {at} of {}: {traced:?}", trace.len());
            let mut prepared = Prepared::new(writes);
            prepared.fs.fail_operation(prepared.fs.operations() + 1 + at as u64, error);
            act(&mut prepared).unwrap_or_else(|error| panic!("{what}: {error}"));
            tried += 1;
            prepared.check(&what);
            prepared.check_killed(&what);
            if prepared.engine.flush().is_ok() {
                for cut in [PowerCut::Nothing, PowerCut::random(tried)] {
                    let engine = open_sim(&prepared.fs.power_cut(cut)).unwrap();
                    assert!(pairs(&engine.snapshot_state()) == prepared.expected, "{what}, cut");
                }
                prepared.check_recovers(&what);
            } else {
                assert!(may_stop(traced), "{what}: the store stopped");
                assert!(matches!(prepared.write(), Err(Error::Poisoned { .. })), "{what}");
                stopped += 1;
            }
        }
    }
    (tried, stopped)
}

#[test]
fn a_fault_at_any_operation_of_a_compaction_after_a_write_fails_no_write() {
    let writes = writes_before_a_merge();
    let (tried, stopped) = fail_each_operation(writes, "a write", Prepared::write);
    println!("{tried} faults, {stopped} stopped");
    assert!(tried > 400 && stopped < tried / 4, "{tried} faults, {stopped} stopped");
}

#[test]
fn a_fault_at_any_operation_of_a_compaction_that_was_asked_for_loses_nothing() {
    let writes = writes_before_a_merge() - 1;
    let asked = |prepared: &mut Prepared| {
        // It may say what failed; a failed sync says that the store stopped.
        drop(prepared.engine.run_compaction_now());
        Ok(())
    };
    let (tried, stopped) = fail_each_operation(writes, "compaction", asked);
    println!("{tried} faults, {stopped} stopped");
    assert!(tried > 400 && stopped < tried / 4, "{tried} faults, {stopped} stopped");
}

#[test]
fn with_any_number_of_file_handles_left_a_compaction_stops_no_store() {
    let writes = writes_before_a_merge() - 1;
    let (mut failed, mut done) = (0, 0);
    for left in 0..8 {
        let what = format!("{left} handles are left");
        let prepared = Prepared::new(writes);
        prepared.fs.set_handles_max(Some(prepared.fs.open_handles() + left));
        match prepared.engine.run_compaction_now() {
            Ok(_) => done += 1,
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "{what}: {error}");
                failed += 1;
            }
        }
        prepared.check(&what);
        prepared.check_killed(&what);
        prepared.fs.set_handles_max(None);
        prepared.check_recovers(&what);
    }
    assert!(failed > 2 && done > 1, "{failed} {done}");
}

#[test]
fn with_any_amount_of_room_for_a_compaction_nothing_is_lost() {
    let writes = writes_before_a_merge() - 1;
    let (mut full, mut under_way, mut done) = (0, 0, 0);
    for more in (0_u64..60_000).step_by(512) {
        let what = format!("room for {more} bytes");
        let prepared = Prepared::new(writes);
        let before = prepared.manifest();
        prepared.fs.set_space(Some(prepared.fs.used_bytes() + more));
        match prepared.engine.run_compaction_now() {
            Ok(_) => done += 1,
            Err(error) => {
                assert!(matches!(error, Error::DiskFull(_)), "{what}: {error}");
                full += 1;
                under_way += u64::from(prepared.manifest() > before + 1);
            }
        }
        prepared.check(&what);
        prepared.check_killed(&what);
        prepared.fs.set_space(None);
        prepared.check_recovers(&what);
    }
    println!("{full} times full, {under_way} of them in a merge, {done} times not");
    assert!(full > 5 && under_way > 1 && done > 5, "{full} {under_way} {done}");
}

#[test]
fn with_any_amount_of_room_for_a_close_nothing_is_lost() {
    let writes = writes_before_a_merge() - 1;
    let (mut written, mut not) = (0, 0);
    for more in (0_u64..16_384).step_by(512) {
        let what = format!("room for {more} bytes");
        let Prepared { fs, engine, expected, .. } = Prepared::new(writes);
        let had_tail = engine.stats().tail_bytes > 0;
        fs.set_space(Some(fs.used_bytes() + more));
        engine.close().unwrap_or_else(|error| panic!("{what}: {error}"));
        fs.set_space(None);
        let engine = open_sim(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(had_tail && pairs(&engine.snapshot_state()) == expected, "{what}");
        if engine.stats().tail_bytes == 0 {
            written += 1;
        } else {
            not += 1;
        }
        engine.run_compaction_now().unwrap();
        assert!(pairs(&engine.snapshot_state()) == expected, "{what}");
    }
    assert!(written > 3 && not > 1, "{written} tails were written, {not} were not");
}

#[test]
fn a_merge_that_always_fails_does_not_keep_the_tail_in_memory() {
    let Prepared { engine, fs, mut expected, .. } = Prepared::new(200);
    engine.close().unwrap();
    // The oldest table, which every merge of many runs reads, is damaged.
    let tables = fs.files().into_iter().filter(|(path, _)| path.starts_with("/data/tables"));
    let (path, bytes) = tables.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let bit = bytes.len() as u64 / 3 * 8;
    fs.flip_bit(&path, bit).unwrap();
    let Simulated { env, clock, .. } = Env::simulated_on(fs.clone(), 2);
    let engine = SingleNodeEngine::with_env(&config(), env).unwrap();
    assert!(matches!(engine.run_compaction_now(), Err(Error::Corrupt { .. })));
    for n in 0..300_u64 {
        let (key, value) = (format!("new/{:03}", n % 150).into_bytes(), vec![b'v'; 100]);
        engine.put(key.clone(), value.clone()).unwrap();
        expected.insert(key, value);
        let stats = engine.stats();
        assert!(stats.tail_bytes < 6_000 && stats.log_bytes < 12_000, "{n}: {stats:?}");
    }
    assert!(engine.stats().runs > 12, "merges wait: {:?}", engine.stats());
    // It is mended, and time passes.
    fs.flip_bit(&path, bit).unwrap();
    clock.advance(Duration::from_mins(2));
    engine.put(b"last".to_vec(), b"1".to_vec()).unwrap();
    expected.insert(b"last".to_vec(), b"1".to_vec());
    assert!(engine.stats().runs < 8, "{:?}", engine.stats());
    assert!(pairs(&engine.snapshot_state()) == expected);
}

#[test]
fn a_store_is_closed_once() {
    let Prepared { fs, engine, .. } = Prepared::new(writes_before_a_merge() - 1);
    // The tail cannot be written, so it is still there when the handle is dropped.
    fs.set_space(Some(fs.used_bytes()));
    fs.start_trace();
    engine.close().unwrap();
    let created = |traced: &Traced| traced.operation == Operation::CreateNew;
    let trace = fs.take_trace();
    let tables: Vec<_> = trace.iter().filter(|it| it.path.starts_with("/data/tables")).collect();
    assert_eq!(tables.iter().filter(|it| created(it)).count(), 1, "{tables:?}");
}
