//! A moment of the past as a store by itself.

use std::path::Path;

use hightower_kv::env::fs_sim::{LostSector, NameLoss, PowerCut};
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{
    Error, KvEngine, ReadOnlyEngine, Retention, SingleNodeEngine, SnapshotEngine, StoreConfig,
    Version,
};

use crate::checks::{assert_state, kept};
use crate::session::Session;
use crate::workload::Workload;

fn config(directory: &str) -> StoreConfig {
    let mut config = kept(Some(Retention::default()));
    config.data_dir = directory.into();
    config
}

fn session(seed: u64, steps: usize) -> Session {
    let mut session = Session::create(Env::simulated(seed), config("/data"));
    let mut workload = Workload::new(seed);
    for _ in 0..steps {
        session.engine().set_era_bytes(4_000);
        let step = workload.next_step(session.model());
        session.perform(&step);
    }
    session
}

#[test]
fn a_restored_moment_is_a_store_that_goes_on_behind_it() {
    let session = session(3, 120);
    let env = &session.sim.env;
    let last = session.states.len() as u64 - 1;
    let mut own = session.engine().snapshot_at(Version(last)).unwrap();
    for (n, index) in [2, last / 3, last / 2, last - 1, last].into_iter().enumerate() {
        let directory = format!("/copy{n}");
        let report = session.engine().restore_at(Version(index), &directory).unwrap();
        assert_eq!(report.version, Version(index));
        let closed = ReadOnlyEngine::open_in(env.clone(), Path::new(&directory)).unwrap();
        let mut states = session.states[..=usize::try_from(index).unwrap()].to_vec();
        for state in &mut states {
            state.sessions.clear();
        }
        assert_state(&states, index, closed.view());
        let other = ReadOnlyEngine::open_in(
            Env::simulated_on(session.sim.fs.kill(), 9).env,
            Path::new("/data"),
        );
        assert_ne!(closed.identity(), other.unwrap().identity());
        drop(closed);
        let engine = SingleNodeEngine::with_env(&config(&directory), env.clone()).unwrap();
        // A blank entry of its own term comes first.
        let put = engine.put(b"new".to_vec(), b"1".to_vec()).unwrap();
        assert_eq!(put.version, Version(index + 2));
        assert!(put.timestamp.0 >= states.last().unwrap().stamp);
        engine.run_compaction_now().unwrap();
        assert_eq!(engine.get(b"new").unwrap().as_deref(), Some(&b"1"[..]));
        let then = engine.snapshot_at(Version(index + 1)).unwrap();
        assert_eq!(states.last().unwrap().difference(&then), None);
        engine.close().unwrap();
        own = session.engine().snapshot_at(Version(last)).unwrap();
    }
    // The store itself has not changed.
    assert_eq!(session.model().difference(&own), None);
}

#[test]
fn a_directory_that_is_in_use_is_refused_and_left_alone() {
    let session = session(4, 60);
    for directory in ["/data", "/data/inside", "/no/such"] {
        let refused = session.engine().restore_at(Version(5), directory).unwrap_err();
        assert!(matches!(refused, Error::UnusableDirectory(_)), "{directory}: {refused}");
    }
    session.engine().flush().unwrap();
}

#[test]
fn a_crash_leaves_nothing_a_whole_store_or_one_that_is_refused() {
    let session = session(5, 80);
    let index = session.states.len() as u64 / 2;
    session.sim.fs.start_history();
    session.engine().restore_at(Version(index), "/copy").unwrap();
    let images = session.sim.fs.take_history();
    let mut states = session.states[..=usize::try_from(index).unwrap()].to_vec();
    states.last_mut().unwrap().sessions.clear();
    let (mut whole, mut refused, mut nothing) = (0, 0, 0);
    for (seed, image) in (0..).zip(&images) {
        let (names, sectors) = (NameLoss::Subset, LostSector::AsBefore);
        let cuts = [
            image.kill(),
            image.power_cut(PowerCut::Nothing),
            image.power_cut(PowerCut::Random { seed, names, sectors }),
        ];
        for fs in cuts {
            let Simulated { env, .. } = Env::simulated_on(fs, seed);
            match ReadOnlyEngine::open_in(env.clone(), Path::new("/copy")) {
                Ok(engine) => {
                    assert_state(&states, index, engine.view());
                    whole += 1;
                }
                Err(Error::UnusableDirectory(_)) => refused += 1,
                Err(Error::NoStore(_)) => nothing += 1,
                Err(error) => panic!("{error}"),
            }
            let engine = SingleNodeEngine::with_env(&config("/data"), env).unwrap();
            assert!(engine.latest_version().0 >= session.now.synced);
        }
    }
    assert!(whole > 0 && refused > 0 && nothing > 0, "{whole} {refused} {nothing}");
}
