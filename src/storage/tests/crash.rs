//! A power cut or a kill after every operation of the disk, also during recovery.

use super::model::{Bounds, Model};
use super::*;
use crate::env::fs_sim::{DiskImage, Hiccups, PowerCut};
use crate::env::rng::SeededRng;

/// One step of the workload, told to the store and to the model.
fn step(store: &mut Option<Store>, fs: &SimFs, model: &mut Model, rng: &SeededRng) {
    let open_store = store.as_ref().unwrap();
    let log = open_store.log();
    let (hard, entries) = model.now().clone();
    let next = hard.last.map_or(0, |last| last.index.0 + 1);
    let term = hard.vote.map_or(1, |vote| vote.term.0);
    let new = |index: u64, rng: &SeededRng| {
        let name = LogId { term: Term(term), ..id(index) };
        // Now and then one that no segment holds beside another.
        let most = if rng.up_to(31) == 0 { 6000 } else { 400 };
        entry_with(name, payload(rng.up_to(1 << 40), usize::try_from(rng.up_to(most)).unwrap()))
    };
    match rng.up_to(19) {
        0..=7 => {
            let entry = new(next, rng);
            model.entry(&entry);
            log.append_one(&entry.as_ref(), Purpose::Grow).unwrap();
        }
        8..=10 => {
            let batch: Vec<NewEntry> = (next..next + 3).map(|index| new(index, rng)).collect();
            for entry in &batch {
                model.entry(entry);
            }
            log.append(&batch, Purpose::Grow, Completion::none()).unwrap();
        }
        11..=13 => {
            log.sync().unwrap();
            model.all_synced();
        }
        14 => {
            model.vote(vote(term + 1));
            log.save_vote(vote(term + 1)).unwrap();
            model.all_synced();
        }
        15 if rng.up_to(7) == 0 && hard.purged.is_none() && hard.last.is_some() => {
            model.truncate_all();
            log.truncate_after(None).unwrap();
        }
        15 if !entries.is_empty() => {
            let at = usize::try_from(rng.up_to(entries.len() as u64 - 1)).unwrap();
            let last = entries[at.max(entries.len().saturating_sub(4))].0;
            if Some(last) != hard.last {
                model.truncate_after(last);
            }
            log.truncate_after(Some(last)).unwrap();
        }
        16 if hard.last.is_some() => {
            model.committed(hard.last.unwrap());
            log.save_committed(hard.last.unwrap()).unwrap();
        }
        17 if entries.len() > 4 => {
            let upto = entries[usize::try_from(rng.up_to(entries.len() as u64 - 1)).unwrap()].0;
            publish_snapshot(open_store, upto.index.0).unwrap();
            model.snapshot = Some(upto.index.0);
            model.note(fs.operations());
            model.purge(upto);
            log.purge(upto).unwrap();
            model.all_synced();
        }
        18 => {
            if rng.up_to(1) == 0 {
                open_store.close().unwrap();
            }
            *store = None;
            *store = Some(open(fs));
            model.all_synced();
        }
        _ => {}
    }
    model.note(fs.operations());
}

/// A workload with its images and what may be found on each.
fn workload(seed: u64, hiccups: Hiccups) -> (Model, Vec<(DiskImage, Bounds)>) {
    let fs = SimFs::new(seed);
    let rng = SeededRng::new(seed);
    let mut model = Model::new();
    model.note(0);
    fs.set_hiccups(hiccups);
    fs.start_history();
    let mut store = Some(open(&fs));
    model.note(fs.operations());
    for _ in 0..100 {
        step(&mut store, &fs, &mut model, &rng);
    }
    let images = fs.take_history();
    let bounded = images.into_iter().map(|image| {
        let bounds = model.bounds(image.operation());
        (image, bounds)
    });
    let images = bounded.collect();
    (model, images)
}

/// Opens what is left and says which state it is in.
fn check(model: &Model, fs: &SimFs, least: usize, bounds: Bounds, what: &str) -> usize {
    let store = try_open(fs).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = model.find(&store, least, bounds.most).unwrap_or_else(|| {
        let (hard, entries) = read_log(store.log()).unwrap();
        panic!("{what}: {hard:?}, {} entries, expected {bounds:?}", entries.len())
    });
    let snapshot = read_snapshot(store.tables()).unwrap();
    let index = snapshot.as_ref().map(|(last, _)| last.index.0);
    assert!(index >= bounds.snapshot, "{what}: snapshot {index:?}, expected {bounds:?}");
    if let Some((last, values)) = snapshot {
        assert_eq!(values.len() as u64, ROWS, "{what}");
        for (n, value) in (0..).zip(values) {
            assert_eq!(value, payload(last.index.0 + n, 300), "{what}");
        }
    }
    found
}

fn cuts(seed: u64) -> Vec<PowerCut> {
    let mut cuts = vec![PowerCut::Nothing, PowerCut::Everything];
    cuts.extend((0..16).map(|n| PowerCut::random(seed * 16 + n)));
    cuts
}

#[test]
fn a_power_cut_after_any_operation_keeps_a_prefix_with_everything_synced() {
    let mut tried = 0;
    let mut crashed_again = 0;
    for seed in 1..=4 {
        let (model, images) = workload(seed, Hiccups::default());
        for (image, bounds) in &images {
            for cut in cuts(image.operation()) {
                let what = format!("seed {seed} operation {} {cut:?}", image.operation());
                let fs = image.power_cut(cut);
                tried += 1;
                let again = tried % 10 == 0;
                if again {
                    fs.start_history();
                }
                let found = check(&model, &fs, bounds.synced, *bounds, &what);
                // What one opening showed as there stays there.
                let history = fs.take_history();
                if let Some(moment) = history.get(tried / 10 % history.len().max(1)) {
                    crashed_again += 1;
                    let fs = moment.power_cut(PowerCut::random(tried as u64));
                    check(&model, &fs, bounds.synced, *bounds, &format!("{what}, again"));
                }
                let settled = fs.power_cut(PowerCut::Nothing);
                check(&model, &settled, found, *bounds, &format!("{what}, opened, cut"));
            }
        }
    }
    println!("{tried} images, {crashed_again} of them cut again during recovery");
    assert!(tried >= 20_000, "{tried} images");
}

#[test]
fn a_kill_after_any_operation_loses_nothing_and_what_was_opened_survives_a_power_cut() {
    for seed in 11..=20 {
        // Calls that are cut short: the kill may come between the parts of one write.
        let short_write_one_in = if seed % 2 == 0 { 3 } else { 0 };
        let hiccups = Hiccups { short_write_one_in, ..Hiccups::default() };
        let (model, images) = workload(seed, hiccups);
        for (image, bounds) in &images {
            let what = format!("seed {seed} operation {} killed", image.operation());
            let fs = image.kill();
            let found = check(&model, &fs, bounds.appended, *bounds, &what);
            let cut = fs.power_cut(PowerCut::Nothing);
            check(&model, &cut, found, *bounds, &format!("{what}, opened, cut"));
        }
    }
}
