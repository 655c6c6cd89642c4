//! A past that reaches further than the store: the directory was put back without it.

use super::*;
use crate::env::fs_sim::{PowerCut, SimError};
use crate::storage::inspect::verify;
use crate::storage::store::ReadOnlyStore;

/// What entry `index` changed before the directory was put back, and what another one of that
/// number changes afterwards.
fn old(index: u64) -> EntryChanges {
    changed(index, vec![set("a", &format!("old {index}"), None)])
}

fn new(index: u64) -> EntryChanges {
    changed(index, vec![set("a", &format!("new {index}"), None)])
}

/// A directory whose log ends with entry `last`, beside a past of three eras that end with the
/// entries 3, 7 and 11.
fn put_back(last: u64) -> SimFs {
    let fs = SimFs::new(1);
    let store = open(&fs);
    let mut older = None;
    for index in 0..12 {
        super::super::append(store.log(), index..index + 1, 40);
        store.log().sync().unwrap();
        if index == last {
            older = Some(fs.kill());
        }
    }
    for first in [0, 4, 8] {
        if first > 0 {
            publish_snapshot(&store, first - 1).unwrap();
        }
        let entries: Vec<EntryChanges> = (first..first + 4).map(old).collect();
        store.archiving(|archive| archive.begin_era(store.tables())).unwrap();
        store.archiving(|archive| append(archive, first..=first + 3, &entries)).unwrap();
    }
    store.close().unwrap();
    drop(store);
    // Everything but the archive becomes what it was.
    let is_past = |file: &Path| file.starts_with(path("archive"));
    for (file, _) in fs.files().into_iter().filter(|(file, _)| !is_past(file)) {
        fs.remove_file(&file).unwrap();
    }
    for (file, bytes) in older.unwrap().files() {
        fs.write_file(&file, &bytes).unwrap();
    }
    fs
}

fn firsts(eras: &[EraInfo]) -> Vec<u64> {
    eras.iter().map(|era| era.first.0).collect()
}

/// The names of what was set aside, oldest first.
fn aside(fs: &SimFs) -> Vec<String> {
    folders(fs).into_iter().filter(|name| name.contains(".era.")).collect()
}

/// The files of the past, each without the name of its era's folder.
fn contents(fs: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    let inner = |file: &Path| {
        let below = file.strip_prefix(path("archive")).ok()?;
        let era = below.iter().next()?.to_string_lossy().split(".era").next()?.to_owned();
        Some(Path::new(&era).join(below.iter().skip(1).collect::<PathBuf>()))
    };
    fs.files().into_iter().filter_map(|(file, bytes)| Some((inner(&file)?, bytes))).collect()
}

#[test]
fn an_archive_that_reaches_further_than_the_store_is_set_aside() {
    for (last, kept) in [(2, vec![]), (3, vec![0]), (6, vec![0]), (9, vec![0, 4])] {
        let fs = put_back(last);
        let before = contents(&fs);
        let store = open(&fs);
        let archive = store.archive();
        assert_eq!(firsts(&archive.eras()), kept, "{last}");
        let names = aside(&fs);
        assert_eq!(names.len(), 3 - kept.len(), "{last}");
        for name in &names {
            assert!(name.ends_with(&format!(".era.ahead-{last:020}")), "{name}");
            assert!(archive.set_aside().contains(&path("archive").join(name)));
        }
        assert_eq!(contents(&fs), before, "{last}");
        // What is common can be read, and the past goes on with other entries.
        let next = archive.last().map_or(0, |last| last.0 + 1);
        if kept.is_empty() {
            archive.begin_era(store.tables()).unwrap();
        } else {
            let common: Vec<_> = (0..next).map(old).collect();
            assert_eq!(read_all(archive, 0..=next - 1).unwrap(), common, "{last}");
        }
        let entries: Vec<_> =
            (next..16).map(|index| if index <= last { old(index) } else { new(index) }).collect();
        append(archive, next..=15, &entries).unwrap();
        super::super::append(store.log(), last + 1..16, 40);
        store.log().sync().unwrap();
        drop(store);
        let store = open(&fs);
        let expected: Vec<_> = (0..next).map(old).chain(entries).collect();
        assert_eq!(read_all(store.archive(), 0..=15).unwrap(), expected, "{last}");
        assert_eq!(aside(&fs), names);
        // Nor does anybody remove it.
        store.archive().remove_all().unwrap();
        drop(store);
        drop(open(&fs));
        assert_eq!((folders(&fs), store_files(&fs, &names)), (names.clone(), true));
    }
}

/// Whether each of these folders has files.
fn store_files(fs: &SimFs, names: &[String]) -> bool {
    names.iter().all(|name| paths(fs).iter().any(|file| file.starts_with(name)))
}

#[test]
fn what_is_set_aside_again_gets_another_name() {
    let fs = put_back(6);
    for again in 1..=3 {
        drop(open(&fs));
        let names = aside(&fs);
        assert_eq!(names.len(), 2 * again);
        if again > 1 {
            assert!(names.iter().any(|name| name.ends_with(&format!("-{again}"))), "{names:?}");
        }
        // The same archive is put there once more.
        for (file, bytes) in put_back(6).files() {
            let folders: Vec<_> = file.ancestors().skip(1).take(3).collect();
            for folder in folders.into_iter().rev() {
                let _ = fs.create_dir(folder);
            }
            fs.write_file(&file, &bytes).unwrap();
        }
    }
}

#[test]
fn a_cut_while_an_archive_is_set_aside_leaves_it_to_the_next_opening() {
    let clean = put_back(6);
    let before = contents(&clean);
    clean.start_history();
    drop(open(&clean));
    let images = clean.take_history();
    let mut in_between = 0;
    for image in &images {
        let random = (0..6).map(|n| PowerCut::random(image.operation() * 8 + n));
        for cut in [PowerCut::Nothing, PowerCut::Everything].into_iter().chain(random) {
            let what = format!("operation {} {cut:?}", image.operation());
            let fs = image.power_cut(cut);
            in_between += usize::from(aside(&fs).len() == 1);
            let store = open(&fs);
            assert_eq!(firsts(&store.archive().eras()), [0], "{what}");
            assert_eq!((aside(&fs).len(), contents(&fs) == before), (2, true), "{what}");
            // What is told now is told after any other cut.
            super::super::append(store.log(), 7..16, 40);
            store.log().sync().unwrap();
            let entries: Vec<_> =
                (4..16).map(|index| if index < 7 { old(index) } else { new(index) }).collect();
            store.archiving(|archive| append(archive, 4..=15, &entries)).unwrap();
            let fs = fs.power_cut(PowerCut::Nothing);
            let store = open(&fs);
            let expected: Vec<_> = (0..4).map(old).chain(entries).collect();
            assert_eq!(read_all(store.archive(), 0..=15).unwrap(), expected, "{what}");
            assert_eq!(aside(&fs).len(), 2, "{what}");
        }
    }
    assert!(in_between > 3, "{in_between} of {}", images.len());
}

#[test]
fn what_cannot_be_set_aside_is_told_and_nothing_is_changed() {
    let clean = put_back(6);
    let mut refused = 0;
    let operations = {
        let fs = clean.kill();
        let from = fs.operations();
        drop(open(&fs));
        fs.operations() - from
    };
    for failing in 1..=operations {
        let fs = clean.kill();
        let before = folders(&fs);
        fs.fail_operation(fs.operations() + failing, SimError::Access);
        if let Err(error @ StorageError::ArchiveAhead { .. }) = try_open(&fs) {
            refused += 1;
            let text = error.to_string();
            assert!(text.contains("could not be set aside: move it away"), "{text}");
            assert!(text.contains("to entry 11, but the store ends with 6"), "{text}");
            assert_eq!(folders(&fs), before);
        }
        fs.clear_plan();
        let store = open(&fs);
        assert_eq!((firsts(&store.archive().eras()), aside(&fs).len()), (vec![0], 2));
    }
    assert_eq!(refused, 3, "to open the folder, and for each name");
}

#[test]
fn a_full_disk_gets_the_reserve_to_set_something_aside() {
    let clean = put_back(6);
    let options = StoreOptions { reserve_bytes: 64 << 10, ..options() };
    // The file of the reserve is there before the disk is full.
    let with_reserve = clean.kill();
    with_reserve.write_file(&path("RESERVE"), &vec![0; 64 << 10]).unwrap();
    let mut set_aside = 0;
    for failing in 1..200 {
        let fs = with_reserve.kill();
        fs.fail_operation(fs.operations() + failing, SimError::NoSpace);
        let opened = open_with(&fs, &options);
        fs.clear_plan();
        let Ok(store) = opened else { continue };
        assert_eq!((firsts(&store.archive().eras()), aside(&fs).len()), (vec![0], 2));
        set_aside += 1;
    }
    assert!(set_aside > 100, "{set_aside}");
}

#[test]
fn a_reader_hides_what_a_writer_would_set_aside_and_changes_nothing() {
    let fs = put_back(6);
    let files = fs.files();
    let reader = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options()).unwrap();
    assert_eq!(firsts(&reader.archive().eras()), [0]);
    assert_eq!(firsts(reader.archive().ahead()), [4, 8]);
    assert_eq!(reader.archive().ahead()[1].last, Some(LogIndex(11)));
    drop(reader);
    // Nor is it damage, whatever it holds.
    let damaged = fs.kill();
    let newest = change_files(&damaged).pop().unwrap();
    damaged.flip_bit(&newest, 1000).unwrap();
    let report = verify(&env(&damaged), Path::new(ROOT)).unwrap();
    assert_eq!((report.damages, report.leftovers.len()), (vec![], 2));
    assert_eq!(fs.files(), files);
    drop(open(&damaged));
    let report = verify(&env(&damaged), Path::new(ROOT)).unwrap();
    assert_eq!((report.damages, report.leftovers.len()), (vec![], 2));
    let reader = ReadOnlyStore::open(env(&damaged), Path::new(ROOT), table_options()).unwrap();
    assert_eq!((reader.archive().ahead(), reader.archive().set_aside().len()), (&[][..], 2));
}

#[test]
fn a_past_of_entries_that_are_not_known_to_be_synced_is_not_ahead() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    super::super::append(store.log(), 0..10, 40);
    store.log().sync().unwrap();
    store.archiving(|archive| archive.begin_era(store.tables())).unwrap();
    store.archiving(|archive| append(archive, 0..=9, &[])).unwrap();
    // The watermark of a killed process says less than is there.
    let fs = fs.kill();
    fs.remove_file(&path("log/WATERMARK")).unwrap();
    let reader = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options()).unwrap();
    assert_eq!(reader.archive().last(), Some(LogIndex(9)));
    assert_eq!(reader.archive().ahead(), []);
    drop(reader);
    assert_eq!(open(&fs).archive().last(), Some(LogIndex(9)));
}
