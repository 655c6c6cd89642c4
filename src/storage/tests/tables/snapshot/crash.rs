//! A power cut or a kill after every operation of the disk while a snapshot is received and
//! installed.

use super::*;
use crate::env::fs_sim::{DiskImage, PowerCut, SimError};

/// What a transfer and its installation went through.
struct Course {
    from: Modelled,
    before: Modelled,
    /// The operation with which the installation began, and the one after which it was done.
    install: (u64, u64),
    images: Vec<DiskImage>,
}

fn course(seed: u64, links: bool) -> Course {
    let fs = SimFs::new(seed);
    if !links {
        fs.forbid_hard_links();
    }
    let mut from = sender(seed, 3);
    if seed.is_multiple_of(2) {
        from.tables.merge_step(MergeGoal::Everything).unwrap();
    }
    let mut before = Modelled::new(&fs);
    let rng = SeededRng::new(seed + 1000);
    for _ in 0..2 {
        before.add(&random_rows(&rng, before.index + 1, 60, 40));
    }
    if seed.is_multiple_of(3) {
        // Some tables are there already.
        transfer(&before.tables, &from.tables.hold().unwrap()).unwrap();
        before.state = from.state.clone();
        from.add(&random_rows(&rng, from.index + 1, 60, 60));
    }
    let held = from.tables.hold().unwrap();
    fs.start_history();
    let (received, _) = receive(&before.tables, &held).unwrap();
    let begun = fs.operations();
    before.tables.install(&received.into()).unwrap();
    let install = (begun, fs.operations());
    Course { from, before, install, images: fs.take_history() }
}

/// Opens what is left: the old state or the new one. Says whether it is the new one.
fn check(fs: &SimFs, course: &Course, operation: u64, what: &str) -> bool {
    let tables = try_tables(fs, table_options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = state_of(&tables);
    let head = course.from.tables.manifest_head();
    let is_new = tables.manifest_head() == head;
    let expected = if is_new { &course.from.state } else { &course.before.state };
    assert_eq!(&found, expected, "{what}: a mix");
    check_set(&tables.set(), &found, what);
    check_no_leftovers(fs, &tables, what);
    let (begun, done) = course.install;
    assert!(is_new || operation < done, "{what}: it was installed");
    assert!(!is_new || operation >= begun, "{what}: it was not installed yet");
    is_new
}

#[test]
fn a_power_cut_after_any_operation_leaves_the_old_state_or_the_new_one() {
    let (mut tried, mut new): (u64, u64) = (0, 0);
    for seed in 1..=6 {
        let course = course(seed, seed != 5);
        for image in &course.images {
            for n in 0..8 {
                let cut = match n {
                    0 => PowerCut::Nothing,
                    1 => PowerCut::Everything,
                    n => PowerCut::random(image.operation() * 8 + n),
                };
                tried += 1;
                let what = format!("seed {seed} operation {} {cut:?}", image.operation());
                let fs = image.power_cut(cut);
                let found = check(&fs, &course, image.operation(), &what);
                new += u64::from(found);
                let settled = fs.power_cut(PowerCut::Nothing);
                let again = check(&settled, &course, image.operation(), &format!("{what}, cut"));
                assert_eq!(again, found, "{what}: what one opening showed stays");
            }
        }
    }
    println!("{tried} images, {new} with the new state");
    assert!(tried > 3000 && new > 100, "{tried} {new}");
}

#[test]
fn a_kill_after_any_operation_does_and_what_was_opened_survives_a_power_cut() {
    let mut tried = 0;
    for seed in 11..=16 {
        let course = course(seed, seed != 13);
        for image in &course.images {
            tried += 1;
            let what = format!("seed {seed} operation {} killed", image.operation());
            let fs = image.kill();
            let found = check(&fs, &course, image.operation(), &what);
            let cut = fs.power_cut(PowerCut::Nothing);
            assert_eq!(check(&cut, &course, image.operation(), &what), found, "{what}, cut");
        }
    }
    println!("{tried} images");
    assert!(tried > 300, "{tried}");
}

#[test]
fn a_transfer_goes_on_and_is_installed_from_whatever_a_crash_left() {
    let mut tried = 0;
    for seed in 21..=24 {
        let course = course(seed, seed != 22);
        let held = course.from.tables.hold().unwrap();
        for image in &course.images {
            for fs in [image.kill(), image.power_cut(PowerCut::random(image.operation()))] {
                tried += 1;
                let what = format!("seed {seed} operation {}", image.operation());
                let to = tables(&fs);
                transfer(&to, &held).unwrap_or_else(|error| panic!("{what}: {error}"));
                check_installed(&fs, &to, &course.from, &what);
                assert!(incoming_names(&fs).is_empty(), "{what}");
                let cut = fs.power_cut(PowerCut::Nothing);
                check_installed(&cut, &tables(&cut), &course.from, &what);
            }
        }
    }
    println!("{tried} images");
    assert!(tried > 400, "{tried}");
}

#[test]
fn a_sync_that_fails_stops_the_store_and_leaves_the_old_state_or_the_new_one() {
    let from = sender(1, 3);
    let held = from.tables.hold().unwrap();
    for failing in 1.. {
        let fs = SimFs::new(failing);
        let mut to = Modelled::new(&fs);
        to.add(&rows([("a", put(1, "1")), ("b", put(1, "1"))]));
        fs.fail_sync(fs.syncs() + failing);
        let result = transfer(&to.tables, &held);
        fs.clear_plan();
        let Err(error) = result else {
            assert!(failing > 8, "{failing}");
            return;
        };
        assert!(matches!(error, StorageError::SyncFailed { .. }), "{failing}: {error}");
        let refused = transfer(&to.tables, &held);
        assert!(matches!(refused, Err(StorageError::Poisoned { .. })), "{failing}");
        let refused = to.tables.install(&held.clone().into());
        assert!(matches!(refused, Err(StorageError::Poisoned { .. })), "{failing}");
        to.check("readers see the old state");
        let cuts = (0..12).map(PowerCut::random).chain([PowerCut::Nothing, PowerCut::Everything]);
        for left in cuts.map(|cut| fs.power_cut(cut)).chain([fs.kill()]) {
            let opened = tables(&left);
            let found = state_of(&opened);
            assert!(found == to.state || found == from.state, "sync {failing}: a mix");
            transfer(&opened, &held).unwrap();
            check_installed(&left, &opened, &from, &format!("sync {failing}"));
        }
    }
}

#[test]
fn an_operation_that_fails_leaves_the_old_state_and_the_next_attempt_succeeds() {
    let from = sender(1, 2);
    let held = from.tables.hold().unwrap();
    for operation in 1.. {
        let fs = SimFs::new(1);
        let mut to = Modelled::new(&fs);
        to.add(&rows([("a", put(1, "1")), ("b", put(1, "1"))]));
        let before = fs.operations();
        fs.fail_operation(before + operation, SimError::Io);
        let result = transfer(&to.tables, &held);
        let was_reached = fs.operations() >= before + operation;
        fs.clear_plan();
        let what = format!("operation {operation}");
        match result {
            Ok(_) => check_set(&to.tables.set(), &from.state, &what),
            Err(error) => {
                to.check(&format!("{what}: {error}"));
                let is_final = transfer(&to.tables, &held).is_err();
                let opened = tables(&fs);
                let found = state_of(&opened);
                let is_known = found == from.state || (is_final && found == to.state);
                assert!(is_known, "{what}");
                transfer(&opened, &held).unwrap();
                check_installed(&fs, &opened, &from, &what);
            }
        }
        if !was_reached {
            assert!(operation > 60, "{operation}");
            return;
        }
    }
}
