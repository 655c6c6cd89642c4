//! A power cut or a kill after every operation of the disk while the past changes.

use super::*;
use crate::env::fs_sim::{DiskImage, PowerCut};

/// Since which operation which bounds hold.
#[derive(Default)]
struct Marks(Vec<(u64, u64)>);

impl Marks {
    fn at(&self, operation: u64) -> u64 {
        self.0.iter().rev().find(|(from, _)| *from <= operation).map_or(0, |(_, value)| *value)
    }
}

/// What was done, and when it began and ended.
struct Course {
    past: Past,
    /// How many entries are archived, at least and at most.
    appended: (Marks, Marks),
    /// How many entries are given up, at least and at most.
    given_up: (Marks, Marks),
    /// How many eras were begun, at least and at most.
    begun: (Marks, Marks),
    images: Vec<DiskImage>,
}

fn course(seed: u64, links: bool) -> Course {
    let fs = SimFs::new(seed);
    if !links {
        fs.forbid_hard_links();
    }
    let rng = SeededRng::new(seed);
    drop(context(&fs));
    let mut past = Past::new(&fs);
    let (mut appended, mut given_up) = (<(Marks, Marks)>::default(), <(Marks, Marks)>::default());
    let mut begun = <(Marks, Marks)>::default();
    let mut eras = 0;
    fs.start_history();
    for step in 0..16 {
        match if step == 0 { 5 } else { rng.up_to(7) } {
            0..=3 => {
                let count = 1 + rng.up_to(5);
                appended.1.0.push((fs.operations(), past.next + count));
                past.append(&rng, count, 80);
                appended.0.0.push((fs.operations(), past.next));
            }
            4 | 5 => {
                if past.next > 0 {
                    past.publish();
                }
                begun.1.0.push((fs.operations(), eras + 1));
                past.begin_era();
                eras += 1;
                begun.0.0.push((fs.operations(), eras));
            }
            6 => drop(compress(&past.archive).unwrap()),
            _ => {
                let newest = past.archive.eras().last().map_or(0, |era| era.first.0);
                given_up.1.0.push((fs.operations(), newest));
                past.archive.clean(|_, _| false).unwrap();
                given_up.0.0.push((fs.operations(), newest));
            }
        }
    }
    let images = fs.take_history();
    Course { past, appended, given_up, begun, images }
}

/// Opens what is left and holds it against what must and may be there. Returns its ends.
fn check(fs: &SimFs, course: &Course, operation: u64, what: &str) -> (u64, u64) {
    let before = fs.files();
    let context = context(fs);
    let all = Some(LogIndex(u64::MAX));
    let reading = Archive::for_reading(&context, look(&context).unwrap(), all);
    assert_eq!(fs.files(), before, "{what}: reading changes nothing");
    course.past.check(&reading, &format!("{what}, for reading"));
    // As a store does: what tables left is theirs.
    let tables = try_tables(fs, table_options()).unwrap();
    let archive = try_archive(fs).unwrap_or_else(|error| panic!("{what}: {error}"));
    check_no_leftovers(fs, &archive, what);
    course.past.check(&archive, what);
    assert_eq!(archive.eras(), reading.eras(), "{what}");
    let eras = archive.eras();
    let appended = archive.last().map_or(0, |last| last.0 + 1);
    if eras.is_empty() {
        assert_eq!(course.begun.0.at(operation), 0, "{what}: an era is lost");
        assert!(appended == 0, "{what}");
        return (0, 0);
    }
    let least = course.appended.0.at(operation);
    let most = course.appended.1.at(operation);
    assert!((least..=most).contains(&appended), "{what}: {appended} of {least} to {most}");
    let oldest = eras[0].first.0;
    let (least, most) = (course.given_up.0.at(operation), course.given_up.1.at(operation));
    assert!((least..=most).contains(&oldest), "{what}: from {oldest}, {least} to {most}");
    // It goes on from whatever is there.
    let next = archive.last().map_or(eras[0].first.0, |last| last.0 + 1);
    let first = next..=next;
    append(&archive, first, &[changed(next, vec![set("new", "1", None)])]).unwrap();
    drop(tables);
    (oldest, appended)
}

fn cuts(image: &DiskImage) -> impl Iterator<Item = PowerCut> {
    let operation = image.operation();
    let random = (0..5).map(move |n| PowerCut::random(operation * 8 + n));
    [PowerCut::Nothing, PowerCut::Everything].into_iter().chain(random)
}

#[test]
fn a_power_cut_after_any_operation_loses_nothing_and_leaves_nothing() {
    let mut tried = 0;
    for seed in 1..=8 {
        let course = course(seed, seed != 5);
        for image in &course.images {
            for cut in cuts(image) {
                tried += 1;
                let what = format!("seed {seed} operation {} {cut:?}", image.operation());
                check(&image.power_cut(cut), &course, image.operation(), &what);
            }
        }
    }
    println!("{tried} images");
    assert!(tried > 4000, "{tried}");
}

#[test]
fn a_kill_after_any_operation_does_not_and_what_was_opened_survives_a_power_cut() {
    for seed in 11..=16 {
        let course = course(seed, true);
        for image in &course.images {
            let what = format!("seed {seed} operation {} killed", image.operation());
            let fs = image.kill();
            drop(try_archive(&fs).unwrap());
            let opened = archive(&fs.kill());
            let cut = fs.power_cut(PowerCut::Nothing);
            let after = archive(&cut);
            assert_eq!(after.last(), opened.last(), "{what}: what was seen is gone");
            check(&cut, &course, image.operation(), &what);
        }
    }
}

#[test]
fn a_cut_while_leftovers_are_removed_does_no_harm() {
    for seed in 21..=24 {
        let course = course(seed, true);
        for image in course.images.iter().step_by(3) {
            let fs = image.power_cut(PowerCut::random(image.operation()));
            fs.start_history();
            let first = archive(&fs);
            for again in fs.take_history() {
                let what = format!("seed {seed} operation {}, again", image.operation());
                let fs = again.power_cut(PowerCut::random(again.operation()));
                let found = archive(&fs);
                assert_eq!((found.last(), found.eras()), (first.last(), first.eras()), "{what}");
                check(&fs, &course, image.operation(), &what);
            }
        }
    }
}

/// Each sync of each change fails once: the store stops, and what is found is before or after.
#[test]
fn a_sync_that_fails_stops_the_store_and_costs_nothing() {
    for change in ["append", "begin", "compress", "clean"] {
        for failing in 1..8 {
            let fs = SimFs::new(failing);
            let rng = SeededRng::new(failing);
            let mut past = Past::new(&fs);
            past.begin_era();
            past.append(&rng, 10, 50);
            past.append(&rng, 10, 50);
            past.next_era();
            past.append(&rng, 10, 50);
            past.publish();
            let before = (past.archive.last(), past.archive.eras().len());
            let entries = past.make_up(&rng, 5, 50);
            past.entries.extend(entries.iter().map(|entry| (entry.index.0, entry.clone())));
            fs.fail_sync(fs.syncs() + failing);
            let done = match change {
                "append" => append(&past.archive, 30..=34, &entries),
                "begin" => past.archive.begin_era(&past.tables),
                "compress" => compress(&past.archive).map(drop),
                _ => past.archive.clean(|_, _| false).map(drop),
            };
            let what = format!("{change}, sync {failing}");
            if let Err(error) = &done {
                // Of tables and archive the latch is one in a store; here it is the archive's.
                assert!(matches!(error, StorageError::SyncFailed { .. }), "{what}: {error}");
                let refused = append(&past.archive, 35..=35, &[]).unwrap_err();
                assert!(matches!(refused, StorageError::Poisoned { .. }), "{what}: {refused}");
            }
            fs.clear_plan();
            let cuts = (0..6).map(PowerCut::random);
            let cuts = cuts.chain([PowerCut::Nothing, PowerCut::Everything]);
            for fs in cuts.map(|cut| fs.power_cut(cut)).chain([fs.kill()]) {
                let found = archive(&fs);
                past.check(&found, &what);
                check_no_leftovers(&fs, &found, &what);
                let now = (found.last(), found.eras().len());
                let grown = found.last() >= before.0;
                assert!(grown && now.1 + 1 >= before.1, "{what}: {before:?} {now:?}");
            }
        }
    }
}
