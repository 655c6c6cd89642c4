//! What can be appended, where, and how it is read back.

use super::*;

fn begun(fs: &SimFs) -> Past {
    let mut past = Past::new(fs);
    past.begin_era();
    past
}

#[test]
fn what_is_appended_is_read_back_in_order_over_files_and_openings() {
    let fs = SimFs::new(1);
    let mut past = begun(&fs);
    assert_eq!(past.archive.last(), None);
    let entries = [
        changed(0, vec![set("a", "1", None), set("b", "", None)]),
        changed(2, vec![KeyChange { value: None, ..set("a", "", Some(1)) }]),
    ];
    append(&past.archive, 0..=3, &entries).unwrap();
    let more = [changed(5, vec![set("b", "2", Some(0))])];
    append(&past.archive, 4..=5, &more).unwrap();
    for _ in 0..2 {
        assert_eq!(past.archive.last(), Some(LogIndex(5)));
        let all = [entries.as_slice(), more.as_slice()].concat();
        assert_eq!(read_all(&past.archive, 0..=5).unwrap(), all);
        assert_eq!(read_all(&past.archive, 1..=4).unwrap(), entries[1..]);
        assert_eq!(read_all(&past.archive, 3..=4).unwrap(), []);
        past.reopen();
    }
}

#[test]
fn a_range_in_which_nothing_changed_is_covered() {
    let fs = SimFs::new(1);
    let past = begun(&fs);
    append(&past.archive, 0..=9, &[]).unwrap();
    append(&past.archive, 10..=10, &[]).unwrap();
    assert_eq!(archive(&fs).last(), Some(LogIndex(10)));
    assert_eq!(read_all(&past.archive, 0..=10).unwrap(), []);
    let info = &past.archive.eras()[0];
    assert_eq!((info.files.len(), info.content_bytes, info.last_stamp), (2, 0, stamp(10)));
}

#[test]
fn only_what_follows_is_appended() {
    let fs = SimFs::new(1);
    let mut past = Past::new(&fs);
    let refused = append(&past.archive, 0..=1, &[]).unwrap_err();
    assert!(matches!(refused, StorageError::NotNext { last: None, .. }), "{refused}");
    past.begin_era();
    let refused = append(&past.archive, 1..=1, &[]).unwrap_err();
    assert!(matches!(refused, StorageError::NotNext { last: None, .. }), "{refused}");
    append(&past.archive, 0..=4, &[]).unwrap();
    for range in [4..=6, 6..=6, 0..=4] {
        let files = fs.files();
        let refused = append(&past.archive, range, &[]).unwrap_err();
        assert!(matches!(refused, StorageError::NotNext { last: Some(LogIndex(4)), .. }));
        assert_eq!(fs.files(), files);
    }
    append(&past.archive, 5..=5, &[]).unwrap();
}

#[test]
fn an_entry_that_is_longer_than_a_block_is_one_entry() {
    let fs = SimFs::new(1);
    let past = begun(&fs);
    let change = |n: usize| set(&format!("key-{n:05}"), &"v".repeat(90), None);
    let long = changed(1, (0..3000).map(change).collect());
    let huge = changed(2, vec![set("huge", &"x".repeat(3 << 20), None)]);
    let after = changed(4, vec![set("a", "1", None)]);
    let entries = [changed(0, vec![set("a", "0", None)]), long, huge, after];
    append(&past.archive, 0..=4, &entries).unwrap();
    assert_eq!(read_all(&past.archive, 0..=4).unwrap(), entries);
    assert_eq!(read_all(&past.archive, 1..=1).unwrap(), entries[1..2]);
    assert_eq!(read_all(&past.archive, 2..=3).unwrap(), entries[2..3]);
    for key in ["key-00000", "key-01500", "key-02999", "huge"] {
        let found = past.archive.changes_of(key.as_bytes(), LogIndex(0)..=LogIndex(4)).unwrap();
        assert_eq!(found.len(), 1, "{key}");
    }
}

#[test]
fn an_error_of_the_entries_leaves_the_archive_as_it_was() {
    let fs = SimFs::new(1);
    let past = begun(&fs);
    append(&past.archive, 0..=0, &[]).unwrap();
    let files = fs.files();
    let failed = StorageError::Closed { state: "closed" };
    let mut entries = [Ok(changed(1, vec![set("a", "1", None)])), Err(failed)].into_iter();
    let range = LogIndex(1)..=LogIndex(2);
    let refused = past.archive.append(range, (stamp(1), stamp(2)), &mut entries).unwrap_err();
    assert!(matches!(refused, StorageError::Closed { .. }));
    assert_eq!(fs.files(), files);
    append(&past.archive, 1..=2, &[]).unwrap();
}

#[test]
fn an_era_begins_with_the_newest_manifest_and_shares_its_tables() {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(1);
    let mut past = begun(&fs);
    past.append(&rng, 40, 60);
    let used = fs.used_bytes();
    past.publish();
    let with_tables = fs.used_bytes();
    past.begin_era();
    assert!(fs.used_bytes() - with_tables < 512, "{used} {with_tables} {}", fs.used_bytes());
    let eras = past.archive.eras();
    assert_eq!(eras.len(), 2);
    assert_eq!((eras[1].first, eras[1].base_last()), (LogIndex(40), Some(LogIndex(39))));
    assert_eq!((eras[1].last, eras[1].last_stamp), (Some(LogIndex(39)), eras[1].base_stamp));
    assert_eq!(eras[1].base_bytes, past.tables.set().bytes());
    // Whatever becomes of the store's own tables.
    past.append(&rng, 40, 60);
    past.publish();
    while past.tables.merge_step(MergeGoal::Everything).unwrap().is_some() {}
    past.check_all(&rng, "merged");
    past.reopen();
    past.check_all(&rng, "reopened");
}

#[test]
fn where_files_get_no_second_name_they_are_copied() {
    let fs = SimFs::new(1);
    fs.forbid_hard_links();
    let rng = SeededRng::new(1);
    let mut past = begun(&fs);
    past.append(&rng, 40, 60);
    past.next_era();
    past.append(&rng, 10, 60);
    let cut = fs.power_cut(crate::env::fs_sim::PowerCut::Nothing);
    past.check(&archive(&cut), "cut");
    past.check_all(&rng, "copied");
}

#[test]
fn beginning_the_same_era_again_does_nothing() {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(1);
    let mut past = begun(&fs);
    past.begin_era();
    past.append(&rng, 40, 60);
    past.next_era();
    let files = fs.files();
    past.begin_era();
    assert_eq!(fs.files(), files);
    past.append(&rng, 4, 60);
    past.begin_era();
    assert_eq!(past.archive.eras().len(), 2);
    past.append(&rng, 4, 60);
}

#[test]
fn no_era_begins_with_a_state_that_is_older_than_what_is_archived() {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(1);
    let mut past = begun(&fs);
    past.append(&rng, 10, 60);
    past.publish();
    // As after a crash between the change file and the manifest.
    past.append(&rng, 10, 60);
    let refused = past.archive.begin_era(&past.tables).unwrap_err();
    assert!(matches!(refused, StorageError::NotNext { last: Some(LogIndex(19)), .. }));
    past.next_era();
    past.check_all(&rng, "with a manifest");
}

#[test]
fn what_was_not_archived_is_a_hole_with_a_name() {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(1);
    let mut past = begun(&fs);
    past.append(&rng, 10, 60);
    // The log went on without the archive.
    let entries = past.make_up(&rng, 10, 60);
    past.entries.extend(entries.into_iter().map(|entry| (entry.index.0, entry)));
    past.next += 10;
    let refused = append(&past.archive, 20..=20, &[]).unwrap_err();
    assert!(matches!(refused, StorageError::NotNext { .. }));
    past.next_era();
    past.append(&rng, 10, 60);
    assert_eq!(read_all(&past.archive, 0..=9).unwrap(), past.expected(0..=9));
    assert_eq!(read_all(&past.archive, 20..=29).unwrap(), past.expected(20..=29));
    for range in [5..=25, 10..=10, 0..=u64::MAX, 19..=29] {
        match read_all(&past.archive, range).unwrap_err() {
            StorageError::MissingChanges { first, last, .. } => {
                assert_eq!((first, last), (LogIndex(10), LogIndex(19)));
            }
            other => panic!("{other}"),
        }
    }
    for index in 10..19 {
        let refused = past.archive.base_for(LogIndex(index)).unwrap_err();
        assert!(matches!(refused, StorageError::MissingChanges { .. }), "{index}: {refused}");
    }
    let base = past.archive.base_for(LogIndex(19)).unwrap();
    assert_eq!(values_of(&base).unwrap(), past.values_at(19));
}
