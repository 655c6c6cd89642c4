//! A past with a damage: it is named, and never passed over.

use std::path::{Path, PathBuf};

use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::env::rng::SeededRng;
use hightower_kv::{
    At, Error, KvEngine, ReadOnlyEngine, Retention, SingleNodeEngine, SnapshotEngine, Version,
};

use crate::checks::{assert_state, kept};
use crate::model::Model;
use crate::session::{DIRECTORY, Session};
use crate::workload::Workload;

/// A store with a past of some eras, as it lies on the disk, and the states that it had.
fn store(seed: u64) -> (SimFs, Vec<Model>) {
    let config = kept(Some(Retention::default()));
    let mut session = Session::create(Env::simulated(seed), config);
    let mut workload = Workload::new(seed);
    for _ in 0..150 {
        session.engine().set_era_bytes(4_000);
        let step = workload.next_step(session.model());
        session.perform(&step);
    }
    session.engine.take().unwrap().close().unwrap();
    (session.sim.fs.clone(), session.states.clone())
}

fn of_the_past(fs: &SimFs) -> Vec<PathBuf> {
    let files = fs.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with("/data/archive")).collect()
}

/// Asks for every version. Returns the errors.
fn ask(fs: &SimFs, states: &[Model]) -> Vec<Error> {
    let env = Env::simulated_on(fs.clone(), 1).env;
    let engine = match ReadOnlyEngine::open_in(env, Path::new(DIRECTORY)) {
        Ok(engine) => engine,
        // A table that the past shares with the store is one file with two names.
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    for index in 0..states.len() as u64 {
        match engine.snapshot_at(At::Version(Version(index))) {
            Ok(view) => {
                // Reading the rows may find the damage, too.
                let read: Result<Vec<_>, _> = view.iter().collect();
                match read {
                    Ok(_) => assert_state(states, index, &view),
                    Err(error) => errors.push(error.into()),
                }
            }
            Err(error) => errors.push(error),
        }
    }
    errors
}

fn is_named(error: &Error) -> bool {
    matches!(error, Error::Corrupt(_) | Error::MissingSegment(_) | Error::Compacted { .. })
}

#[test]
fn a_missing_file_of_the_past_is_named_or_not_needed() {
    let (fs, states) = store(11);
    assert!(ask(&fs, &states).is_empty());
    let mut named = 0;
    for path in of_the_past(&fs) {
        let fs = fs.kill();
        fs.remove_file(&path).unwrap();
        let errors = ask(&fs, &states);
        for error in &errors {
            assert!(is_named(error), "{}: {error}", path.display());
        }
        named += usize::from(!errors.is_empty());
    }
    assert!(named > 2, "{named}");
}

#[test]
fn a_flipped_bit_of_the_past_is_named_and_no_other_state_is_shown() {
    let (fs, states) = store(12);
    let rng = SeededRng::new(12);
    let mut named = 0;
    for path in of_the_past(&fs) {
        let fs = fs.kill();
        let bits = fs.read_file(&path).unwrap().len() as u64 * 8;
        fs.flip_bit(&path, rng.up_to(bits - 1)).unwrap();
        let errors = ask(&fs, &states);
        for error in &errors {
            assert!(is_named(error), "{}: {error}", path.display());
        }
        named += usize::from(!errors.is_empty());
    }
    assert!(named > 2, "{named}");
}

/// Flips a bit of the log where these bytes stand.
fn flip_in_log(fs: &SimFs, bytes: &[u8]) {
    let in_log = |path: &Path| path.starts_with("/data/log");
    for (path, content) in fs.files().into_iter().filter(|(path, _)| in_log(path)) {
        if let Some(at) = content.windows(bytes.len()).position(|found| found == bytes) {
            return fs.flip_bit(&path, at as u64 * 8).unwrap();
        }
    }
    panic!("the log does not have it");
}

#[test]
fn a_damaged_frame_of_the_log_costs_nothing_but_what_it_was_in_the_past() {
    let sim = Env::simulated(21);
    let config = kept(Some(Retention::default()));
    let engine = SingleNodeEngine::with_env(&config, sim.env.clone()).unwrap();
    let put = |value: &str| engine.put(b"k".to_vec(), value.into()).unwrap().version;
    let before = put("before");
    engine.run_compaction_now().unwrap();
    let damaged = engine.put(b"other".to_vec(), b"to be damaged".to_vec()).unwrap().version;
    put("last");
    flip_in_log(&sim.fs, b"to be damaged");
    // What is in memory goes into tables.
    engine.run_compaction_now().unwrap();
    assert_eq!(engine.stats().snapshot_version, Some(engine.latest_version()));
    assert_eq!(engine.get(b"other").unwrap().as_deref(), Some(&b"to be damaged"[..]));
    assert_eq!(engine.get(b"k").unwrap().as_deref(), Some(&b"last"[..]));
    // The past goes on behind what is damaged, although the log still has it.
    let after = put("after");
    engine.run_compaction_now().unwrap();
    let next = put("next");
    engine.run_compaction_now().unwrap();
    for (version, value) in [(before, "before"), (after, "after"), (next, "next")] {
        let then = engine.snapshot_at(version).unwrap();
        assert_eq!(then.get(b"k").unwrap().as_deref(), Some(value.as_bytes()));
    }
    let refused = engine.snapshot_at(damaged).unwrap_err();
    let goes_on = |oldest: Version| oldest > damaged && oldest < after;
    assert!(matches!(refused, Error::Compacted { oldest } if goes_on(oldest)), "{refused}");
    engine.close().unwrap();
}
