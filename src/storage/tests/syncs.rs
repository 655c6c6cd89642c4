//! A sync that fails: the store stops, nobody tries again, and what was acknowledged is there.

use super::*;
use crate::env::fs_sim::PowerCut;

/// What the workload was told before it stopped.
#[derive(Debug, Default)]
struct Outcome {
    /// The last entry of which a sync told that it is there.
    synced: Option<u64>,
    /// The last entry appended.
    appended: Option<u64>,
    snapshot: Option<u64>,
    purged: Option<u64>,
    vote: u64,
    told: Told,
    submitted: u64,
}

/// Appends, votes, compacts, closes, opens again: stops at the first error.
fn work(store: &Store, outcome: &mut Outcome) -> Result<(), StorageError> {
    let log = store.log();
    let start = log.hard_state().last.map_or(0, |last| last.index.0 + 1);
    for index in start..start + 25 {
        let completion = outcome.told.completion(index);
        outcome.submitted += 1;
        log.append(&[entry(index, 400)], Purpose::Grow, completion)?;
        outcome.appended = Some(index);
        if index % 4 == 0 {
            log.sync()?;
            outcome.synced = Some(index);
        }
    }
    log.save_vote(vote(outcome.vote + 1))?;
    outcome.vote += 1;
    outcome.synced = outcome.appended;
    publish_snapshot(store, start + 20)?;
    outcome.snapshot = Some(start + 20);
    log.purge(id(start + 20))?;
    outcome.purged = Some(start + 20);
    store.close()
}

fn run(fs: &SimFs, outcome: &mut Outcome) -> Result<(), StorageError> {
    for _ in 0..2 {
        let store = try_open(fs)?;
        let syncs_before = |error: StorageError| {
            // Poisoned: nothing is synced any more, whatever is called.
            let syncs = fs.syncs();
            assert!(matches!(store.log().check(), Err(StorageError::Poisoned { .. })), "{error}");
            let log = store.log();
            let next = log.hard_state().last.map_or(0, |last| last.index.0 + 1);
            let poisoned = [
                log.sync(),
                log.append_one(&entry(next, 5).as_ref(), Purpose::Relieve),
                log.save_vote(vote(99)),
                log.purge(id(next + 50)).map(drop),
                publish_snapshot(&store, next + 50),
                store.close(),
            ];
            for result in poisoned {
                assert!(matches!(result, Err(StorageError::Poisoned { .. })), "{result:?}");
            }
            assert_eq!(fs.syncs(), syncs);
            error
        };
        work(&store, outcome).map_err(syncs_before)?;
    }
    Ok(())
}

fn check(fs: &SimFs, outcome: &Outcome, all: bool, what: &str) {
    let store = try_open(fs).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (hard, entries) = read_log(store.log()).unwrap();
    // Whom a completion told Ok was told the truth.
    let told =
        outcome.told.0.lock().iter().filter_map(|(name, told)| told.is_ok().then_some(*name)).max();
    let least = if all { outcome.appended } else { outcome.synced.max(told) };
    assert!(hard.last.map(|last| last.index.0) >= least, "{what}: {hard:?} {outcome:?}");
    for entry in entries {
        assert_eq!(entry.payload, payload(entry.id.index.0, 400), "{what}");
    }
    assert!(hard.purged.map(|purged| purged.index.0) >= outcome.purged, "{what}");
    assert!(hard.vote.map_or(0, |vote| vote.term.0) >= outcome.vote, "{what}");
    let snapshot = read_snapshot(store.tables()).unwrap().map(|(last, _)| last);
    assert!(snapshot.map(|last| last.index.0) >= outcome.snapshot, "{what}");
}

#[test]
fn a_sync_that_fails_stops_the_store_and_loses_nothing_acknowledged() {
    let fs = SimFs::new(1);
    run(&fs, &mut Outcome::default()).unwrap();
    let syncs = fs.syncs();
    assert!(syncs > 40, "{syncs}");
    for sync in 1..=syncs {
        let fs = SimFs::new(1);
        fs.fail_sync(sync);
        let mut outcome = Outcome::default();
        let error = run(&fs, &mut outcome).unwrap_err();
        let StorageError::SyncFailed { path: above, .. } = &error else { panic!("{error}") };
        // Exactly once, and those that were not synced were told so.
        let told = &outcome.told;
        assert_eq!(told.names().len() as u64, outcome.submitted, "sync {sync}");
        for (index, result) in told.0.lock().iter() {
            assert!(result.is_err() || Some(*index) <= outcome.appended, "sync {sync}");
            assert!(result.is_ok() || Some(*index) > outcome.synced, "sync {sync}");
        }
        if above == Path::new("/") {
            continue;
        }
        let killed = fs.kill();
        check(&killed, &outcome, true, &format!("sync {sync}, killed"));
        check(&killed.power_cut(PowerCut::Nothing), &outcome, true, &format!("sync {sync}, both"));
        for seed in 0..16 {
            let cut = fs.power_cut(PowerCut::random(seed));
            check(&cut, &outcome, false, &format!("sync {sync}, cut {seed}"));
        }
        check(&fs.power_cut(PowerCut::Nothing), &outcome, false, &format!("sync {sync}, cut"));
    }
}

#[test]
fn an_acknowledgement_is_on_the_device_whichever_sync_failed_in_the_life_before() {
    let fs = SimFs::new(1);
    run(&fs, &mut Outcome::default()).unwrap();
    for sync in 1..=fs.syncs() {
        let fs = SimFs::new(1);
        fs.fail_sync(sync);
        let Err(StorageError::SyncFailed { path, .. }) = run(&fs, &mut Outcome::default()) else {
            panic!("sync {sync}")
        };
        if path == Path::new("/") {
            continue;
        }
        // The same machine, whose page cache shows what the device lacks and whose syncs say Ok.
        let mut outcome = Outcome::default();
        let store = open(&fs);
        work(&store, &mut outcome).unwrap();
        check(&fs.power_cut(PowerCut::Nothing), &outcome, true, &format!("sync {sync}"));
    }
}
