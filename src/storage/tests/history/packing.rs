//! Compressing and giving up, beside those who read.

use super::*;
use crate::storage::frame::entry_frame_len;

/// An older era of several raw files, and the newest.
fn raw(fs: &SimFs) -> (Past, SeededRng) {
    let rng = SeededRng::new(3);
    let mut past = Past::new(fs);
    past.begin_era();
    for _ in 0..5 {
        past.append(&rng, 12, 300);
    }
    past.next_era();
    past.append(&rng, 12, 300);
    (past, rng)
}

#[test]
fn the_files_of_an_older_era_become_one_with_the_same_changes() {
    let fs = SimFs::new(1);
    let (mut past, rng) = raw(&fs);
    let mut told = Vec::new();
    let step = past.archive.compress_step(ARCHIVE_COMPRESSION, &mut |bytes| {
        told.push(bytes);
        true
    });
    let summary = step.unwrap().unwrap();
    assert_eq!(summary.files, 5);
    let eras = past.archive.eras();
    assert_eq!((eras[0].files.len(), eras[0].files[0].compressed), (1, true));
    assert_eq!(eras[0].files[0].bytes, summary.bytes_after);
    assert!(!eras[1].files[0].compressed, "the newest era waits");
    assert!(!compress(&past.archive).unwrap());
    check_no_leftovers(&fs, &past.archive, "compressed");
    past.check_all(&rng, "compressed");
    past.reopen();
    past.check_all(&rng, "reopened");
}

#[test]
fn text_takes_less_than_half_of_what_the_log_took() {
    let fs = SimFs::new(1);
    let mut past = Past::new(&fs);
    past.begin_era();
    let words = ["status", "active", "pending", "user", "order", "amount", "date", "note"];
    let rng = SeededRng::new(1);
    let mut log_bytes = 0;
    let mut entry = |index: u64| {
        let mut value = String::new();
        while value.len() < 100 {
            let word = words[usize::try_from(rng.up_to(7)).unwrap()];
            value = format!("{value}\"{word}\":{},", rng.up_to(9999));
        }
        value.truncate(100);
        log_bytes += entry_frame_len(2 + 16 + 100);
        changed(index, vec![set(&format!("key-{:012}", rng.up_to(100_000)), &value, None)])
    };
    let entries: Vec<EntryChanges> = (0..20_000).map(&mut entry).collect();
    append(&past.archive, 0..=19_999, &entries).unwrap();
    past.next = 20_000;
    past.next_era();
    assert!(compress(&past.archive).unwrap());
    let bytes = usize::try_from(past.archive.eras()[0].file_bytes()).unwrap();
    println!("{log_bytes} bytes of log, {bytes} of archive");
    assert!(bytes < log_bytes / 2, "{bytes} of {log_bytes}");
    assert_eq!(read_all(&past.archive, 0..=19_999).unwrap(), entries);
}

#[test]
fn a_step_that_is_told_to_stop_changes_nothing() {
    let fs = SimFs::new(1);
    let mut past = Past::new(&fs);
    past.begin_era();
    let entry = |index: u64| changed(index, vec![set("a", &"v".repeat(50_000), None)]);
    append(&past.archive, 0..=9, &(0..10).map(entry).collect::<Vec<_>>()).unwrap();
    past.next = 10;
    past.next_era();
    let files = fs.files();
    let mut asked = 0;
    let step = past.archive.compress_step(ARCHIVE_COMPRESSION, &mut |_| {
        asked += 1;
        asked < 3
    });
    assert_eq!((step.unwrap(), asked), (None, 3));
    assert_eq!(fs.files(), files);
    assert!(compress(&past.archive).unwrap());
}

#[test]
fn a_damaged_file_is_told_once_stays_and_bars_no_other() {
    let fs = SimFs::new(1);
    let (past, _) = raw(&fs);
    let file = change_files(&fs)[2].clone();
    fs.flip_bit(&file, 8 * 100).unwrap();
    let refused = compress(&past.archive).unwrap_err();
    assert_eq!(named(&refused), Some(&*file), "{refused}");
    assert!(compress(&past.archive).unwrap());
    assert!(compress(&past.archive).unwrap());
    assert!(!compress(&past.archive).unwrap());
    assert!(change_files(&fs).contains(&file));
    assert_eq!(read_all(&past.archive, 0..=23).unwrap(), past.expected(0..=23));
    assert_eq!(read_all(&past.archive, 36..=59).unwrap(), past.expected(36..=59));
    assert_eq!(named(&read_all(&past.archive, 0..=59).unwrap_err()), Some(&*file));
}

#[test]
fn readers_go_on_while_files_are_compressed() {
    for stop in 0..60 {
        let fs = SimFs::new(1);
        let (past, _) = raw(&fs);
        let mut reader = past.archive.read(LogIndex(0)..=LogIndex(71));
        let mut found: Vec<EntryChanges> = reader.by_ref().take(stop).map(Result::unwrap).collect();
        assert!(compress(&past.archive).unwrap());
        found.extend(reader.map(Result::unwrap));
        assert_eq!(found, past.expected(0..=71), "{stop}");
    }
}

#[test]
fn readers_of_what_is_given_up_are_told_so_where_they_need_it() {
    let fs = SimFs::new(1);
    let (past, _) = raw(&fs);
    let base = past.archive.base_for(LogIndex(60)).unwrap();
    let mut of_first = past.archive.read(LogIndex(0)..=LogIndex(71));
    let mut of_last = past.archive.read(LogIndex(60)..=LogIndex(71));
    let first = of_first.next().unwrap().unwrap();
    of_last.next().unwrap().unwrap();
    assert_eq!(past.archive.clean(|_, _| false).unwrap().eras, 1);
    // The file that is open is read to its end.
    let mut found = vec![first];
    let error = loop {
        match of_first.next().unwrap() {
            Ok(entry) => found.push(entry),
            Err(error) => break error,
        }
    };
    assert_eq!(found, past.expected(0..=11));
    assert!(matches!(error, StorageError::Compacted { oldest: Some(LogIndex(60)) }), "{error}");
    assert!(of_first.next().is_none(), "it has ended");
    assert!(of_last.all(|entry| entry.is_ok()));
    past.archive.remove_all().unwrap();
    assert_eq!(values_of(&base).unwrap(), past.values_at(59), "a base that is held is read on");
    assert_eq!((past.archive.eras().len(), folders(&fs).len()), (0, 0));
}

#[test]
fn eras_go_oldest_first_as_far_as_they_may() {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(1);
    let mut past = Past::new(&fs);
    past.begin_era();
    for _ in 0..5 {
        past.append(&rng, 10, 50);
        past.next_era();
    }
    let used = fs.used_bytes();
    let summary = past.archive.clean(|_, next| next.first > LogIndex(30)).unwrap();
    assert_eq!((summary.eras, summary.oldest), (3, Some(LogIndex(30))));
    assert!(summary.file_bytes > 0 && fs.used_bytes() < used);
    past.check_all(&rng, "cleaned");
    assert_eq!(past.archive.clean(|_, _| true).unwrap().eras, 0);
    assert_eq!(past.archive.clean(|_, _| false).unwrap().eras, 2);
    assert_eq!(past.archive.eras().len(), 1, "the newest stays");
    past.append(&rng, 10, 50);
    past.reopen();
    past.check_all(&rng, "reopened");
}

#[test]
fn what_is_foreign_in_an_era_is_left_alone() {
    let fs = SimFs::new(1);
    let (past, _) = raw(&fs);
    let era = change_files(&fs)[0].parent().unwrap().to_owned();
    fs.write_file(&era.join("notes"), b"x").unwrap();
    past.archive.clean(|_, _| false).unwrap();
    drop(past);
    archive(&fs);
    let notes: Vec<String> =
        paths(&fs).into_iter().filter(|path| path.ends_with("notes")).collect();
    assert_eq!(notes.len(), 1);
    assert_eq!(archive(&fs).eras().len(), 1);
}

#[test]
fn many_short_files_of_the_newest_era_become_one() {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(1);
    let mut past = Past::new(&fs);
    past.begin_era();
    for count in 0..100 {
        past.append(&rng, 1, 50);
        let compressed = compress(&past.archive).unwrap();
        assert_eq!(compressed, count % 32 == 31);
    }
    assert_eq!(past.archive.eras()[0].files.len(), 3 + 4);
    past.check_all(&rng, "compressed");
}

#[test]
fn threads_read_while_others_append_compress_and_clean() {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(1);
    let mut past = Past::new(&fs);
    past.begin_era();
    past.append(&rng, 20, 50);
    let done = std::sync::atomic::AtomicBool::new(false);
    let archive = past.archive.clone();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut read: Vec<EntryChanges> = Vec::new();
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let eras = archive.eras();
                        let (first, last) = (eras[0].first, archive.last().unwrap());
                        for entry in archive.read(first..=last) {
                            match entry {
                                Ok(entry) => read.push(entry),
                                Err(StorageError::Compacted { .. }) => break,
                                Err(error) => panic!("{error}"),
                            }
                        }
                        match archive.base_for(first) {
                            Ok(_) | Err(StorageError::Compacted { .. }) => {}
                            Err(StorageError::BeyondEnd { .. }) if first > last => {}
                            Err(error) => panic!("{error}"),
                        }
                        read.sort_by_key(|entry| entry.index);
                        read.dedup();
                    }
                    read
                })
            })
            .collect();
        for round in 0..60 {
            past.append(&rng, 5, 50);
            if round % 4 == 0 {
                past.next_era();
            }
            compress(&past.archive).unwrap();
            past.archive.clean(|_, next| next.first.0 + 40 > past.next).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            for entry in reader.join().unwrap() {
                assert_eq!(past.entries.get(&entry.index.0), Some(&entry));
            }
        }
    });
}
