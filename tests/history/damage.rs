//! A past with a damage: it is named, and never passed over.

use std::path::{Path, PathBuf};

use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::env::rng::SeededRng;
use hightower_kv::{At, Error, ReadOnlyEngine, Retention, Version};

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
