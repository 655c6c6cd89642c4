//! What a log gives back of what was put into it.

use super::*;
use crate::storage::hard_state::SegmentState;
use crate::storage::log_segment::{LogSegment, Room};
use crate::types::SegmentId;

#[test]
fn entries_read_back_in_order_and_after_reopening() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..50, 100);
    let batch: Vec<NewEntry> = (50..60).map(|index| entry(index, 30)).collect();
    store.log().append(&batch, Purpose::Grow, Completion::none()).unwrap();
    let before = read_log(store.log()).unwrap();
    assert_eq!(before.1.len(), 60);
    for (index, entry) in (0..).zip(&before.1) {
        assert_eq!(entry.id, id(index));
        assert_eq!(entry.clock, Timestamp(index * 10));
        assert_eq!(entry.kind, EntryKind::Normal);
        assert_eq!(entry.payload, payload(index, if index < 50 { 100 } else { 30 }));
    }
    drop(store);
    assert_eq!(read_log(open(&fs).log()).unwrap(), before);
}

#[test]
fn kinds_and_both_parts_of_a_payload_are_kept() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    let kinds = [EntryKind::Blank, EntryKind::Membership, EntryKind::Normal, EntryKind::Normal];
    for (index, kind) in (0..).zip(kinds) {
        let body = Bytes::from(payload(9, if index == 3 { 3000 } else { 5 }));
        let payload = Payload { head: vec![7; 3], body };
        let entry = NewEntry { id: id(index), clock: Timestamp(0), kind, payload };
        store.log().append_one(&entry.as_ref(), Purpose::Grow).unwrap();
    }
    for (entry, kind) in read_log(store.log()).unwrap().1.iter().zip(kinds) {
        assert_eq!(entry.kind, kind);
        assert_eq!(entry.payload[..3], [7; 3]);
        assert_eq!(entry.payload[3..], payload(9, entry.payload.len() - 3));
    }
}

#[test]
fn the_log_rolls_over_many_segments_and_takes_an_entry_longer_than_one() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..60, 500);
    append(store.log(), 60..61, 20_000);
    append(store.log(), 61..62, 1);
    let segments = store.log().segments();
    assert!(segments.len() > 9, "{segments:?}");
    assert!(segments.windows(2).all(|pair| pair[1].0.0 == pair[0].0.0 + 1));
    for (id, len) in &segments[..segments.len() - 2] {
        assert!(*len <= 4096, "{id}: {len}");
    }
    assert_eq!(indexes(store.log()), (0..62).collect::<Vec<_>>());
    store.close().unwrap();
    drop(store);
    let store = open(&fs);
    assert_eq!(indexes(store.log()), (0..62).collect::<Vec<_>>());
    assert_eq!(store.log().stats().segments, segments.len());
}

#[test]
fn truncation_keeps_its_argument_and_no_old_suffix_comes_back() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..30, 200);
    store.log().truncate_after(Some(id(12))).unwrap();
    // Shorter entries than those that stood there.
    for index in 13..16 {
        let name = LogId { term: Term(2), ..id(index) };
        store.log().append_one(&entry_with(name, vec![9; 8]).as_ref(), Purpose::Grow).unwrap();
    }
    let check = |log: &Log| {
        let entries = read_log(log).unwrap().1;
        assert_eq!(entries.len(), 16);
        for entry in &entries[13..] {
            assert_eq!((entry.id.term, &entry.payload[..]), (Term(2), &[9; 8][..]));
        }
    };
    check(store.log());
    drop(store);
    let store = open(&fs);
    check(store.log());
    store.close().unwrap();
    drop(store);
    let store = open(&fs);
    check(store.log());
    store.log().truncate_after(None).unwrap();
    assert_eq!(store.log().hard_state().last, None);
    append(store.log(), 0..1, 3);
    drop(store);
    assert_eq!(indexes(open(&fs).log()), [0]);
}

#[test]
fn truncating_at_the_end_writes_nothing() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    let operations = fs.operations();
    store.log().truncate_after(None).unwrap();
    assert_eq!(fs.operations(), operations);
    append(store.log(), 0..1, 10);
    let operations = fs.operations();
    store.log().truncate_after(Some(id(0))).unwrap();
    assert_eq!(fs.operations(), operations);
}

#[test]
fn an_empty_log_may_begin_at_any_index() {
    for first in [0, 1, 2] {
        let fs = SimFs::new(1);
        let store = open(&fs);
        append(store.log(), first..first + 3, 10);
        drop(store);
        assert_eq!(indexes(open(&fs).log()), (first..first + 3).collect::<Vec<_>>());
    }
}

#[test]
fn votes_and_commit_marks_are_kept_and_a_mark_is_clamped_to_the_log() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..3, 10);
    store.log().save_vote(vote(7)).unwrap();
    store.log().save_committed(id(2)).unwrap();
    store.log().save_committed(id(1)).unwrap();
    drop(store);
    let store = open(&fs);
    assert_eq!(store.log().hard_state().vote, Some(vote(7)));
    assert_eq!(store.log().committed(), Some(id(2)));
    store.log().save_committed(id(9)).unwrap();
    assert_eq!(store.log().committed(), Some(id(2)));
    store.log().truncate_after(Some(id(0))).unwrap();
    assert_eq!(store.log().committed(), Some(id(0)));
}

#[test]
fn a_vote_is_on_the_device_when_saving_it_returns() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..3, 10);
    store.log().save_vote(vote(7)).unwrap();
    let fs = fs.power_cut(crate::env::fs_sim::PowerCut::Nothing);
    let store = open(&fs);
    assert_eq!(store.log().hard_state().vote, Some(vote(7)));
    assert_eq!(indexes(store.log()), [0, 1, 2]);
}

#[test]
fn a_range_is_bounded_by_bytes_and_never_empty_and_never_has_a_hole() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..40, 300);
    let read = |range: std::ops::Range<u64>, most| {
        let entries =
            store.log().read_range(LogIndex(range.start)..LogIndex(range.end), most).unwrap();
        let found: Vec<u64> = entries.iter().map(|entry| entry.id.index.0).collect();
        assert!(found.windows(2).all(|pair| pair[1] == pair[0] + 1));
        found
    };
    for most in [0, 1, 299, 300, 599] {
        assert_eq!(read(5..40, most), [5], "{most}");
    }
    assert_eq!(read(5..40, 600), [5, 6]);
    assert_eq!(read(5..40, 3000).len(), 10);
    assert_eq!(read(5..8, usize::MAX), [5, 6, 7]);
    assert_eq!(read(5..5, 100), [0; 0]);
    let beyond = store.log().read_range(LogIndex(38)..LogIndex(41), usize::MAX);
    let Err(StorageError::BeyondEnd { asked, last }) = beyond else { panic!("{beyond:?}") };
    assert_eq!((asked, last), (LogIndex(40), Some(LogIndex(39))));
}

#[test]
fn completions_are_told_once_in_order_and_only_after_a_sync() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    let told = Told::default();
    for index in 0..20 {
        let log = store.log();
        log.append(&[entry(index, 300)], Purpose::Grow, told.completion(index)).unwrap();
    }
    // The segments that were sealed on the way are synced.
    let sealed = told.names().len();
    assert!(sealed > 5 && sealed < 20, "{sealed}");
    store.log().sync().unwrap();
    assert_eq!(told.names(), (0..20).collect::<Vec<_>>());
    store.log().sync().unwrap();
    drop(store);
    assert_eq!(told.names().len(), 20);
    assert!(told.all_ok());
}

#[test]
fn a_completion_that_no_sync_covered_is_told_so() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    let told = Told::default();
    store.log().append(&[entry(0, 10)], Purpose::Grow, told.completion(0)).unwrap();
    let other = told.completion(1);
    store.log().poison("the caller lost track");
    assert!(store.log().append(&[entry(1, 10)], Purpose::Grow, other).is_err());
    assert_eq!(told.names(), [0, 1]);
    assert!(told.all_err());
}

#[test]
fn the_bound_on_unsynced_bytes_makes_an_append_sync() {
    let fs = SimFs::new(1);
    let options =
        StoreOptions { segment_bytes_max: 1 << 20, unsynced_bytes_max: 2000, ..options() };
    let store = open_with(&fs, &options).unwrap();
    let syncs = fs.syncs();
    for index in 0..100 {
        append(store.log(), index..index + 1, 400);
        assert!(store.log().stats().unsynced_bytes <= 2000 + 456, "{:?}", store.log().stats());
    }
    assert!(fs.syncs() - syncs > 10);
    store.log().sync().unwrap();
    assert_eq!(store.log().stats().unsynced_bytes, 0);
}

#[test]
fn a_sync_with_nothing_to_do_costs_nothing() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..2, 10);
    store.log().sync().unwrap();
    let operations = fs.operations();
    store.log().sync().unwrap();
    assert_eq!(fs.operations(), operations);
}

#[test]
fn calls_that_are_cut_short_change_nothing() {
    let fs = SimFs::new(5);
    fs.set_hiccups(crate::env::fs_sim::Hiccups {
        interrupted_one_in: 3,
        short_read_one_in: 2,
        short_write_one_in: 2,
    });
    let store = open(&fs);
    append(store.log(), 0..40, 300);
    publish_snapshot(&store, 5).unwrap();
    store.log().purge(id(5)).unwrap();
    drop(store);
    let store = open(&fs);
    assert_eq!(indexes(store.log()), (6..40).collect::<Vec<_>>());
    assert!(read_snapshot(store.tables()).unwrap().is_some());
}

#[test]
fn room_behind_the_end_is_no_room_where_no_frame_may_follow() {
    let segment = || {
        let context = tables::context(&SimFs::new(1));
        context.env.fs.create_dir(&context.log).unwrap();
        let state = SegmentState::default();
        LogSegment::create(&context, SegmentId(1), state, &[], 4_000).unwrap()
    };
    let ask = |segment: &mut LogSegment, len, bytes_max| {
        let answer = segment.make_room(len, bytes_max, &|_| false, &|_| false);
        assert_eq!(segment.has_room(len, bytes_max), matches!(answer, Ok(Room::Fits)));
        answer
    };
    let mut open = segment();
    assert_eq!(ask(&mut open, 100, 4_000).unwrap(), Room::Fits);
    assert!(ask(&mut open, 4_000, 8_000).unwrap_err().is_disk_full());
    // A frame longer than a segment may be is the only one of its own.
    assert_eq!(ask(&mut open, 3_000, 1_000).unwrap(), Room::Fits);
    // The store was opened with shorter segments than before.
    open.end = 2_000;
    assert_eq!(ask(&mut open, 100, 1_000).unwrap(), Room::Full);
    // What is sealed may not be cut yet.
    let mut sealed = segment();
    sealed.sealed = true;
    assert_eq!(ask(&mut sealed, 100, 4_000).unwrap(), Room::Full);
    let mut cut = segment();
    cut.cut_unsynced = true;
    assert!(ask(&mut cut, 100, 4_000).unwrap_err().is_disk_full());
}

#[test]
fn entries_that_cannot_follow_leave_the_log_as_it_was() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..3, 100);
    let before = (store.log().hard_state(), read_log(store.log()).unwrap());
    let gap = [entry(3, 10), entry(5, 10)];
    let appending = std::panic::AssertUnwindSafe(|| {
        store.log().append(&gap, Purpose::Grow, Completion::none()).unwrap();
    });
    std::panic::catch_unwind(appending).unwrap_err();
    assert_eq!((store.log().hard_state(), read_log(store.log()).unwrap()), before);
    append(store.log(), 3..6, 100);
    assert_eq!(indexes(store.log()), (0..6).collect::<Vec<_>>());
    drop(store);
    assert_eq!(indexes(open(&fs).log()), (0..6).collect::<Vec<_>>());
}
