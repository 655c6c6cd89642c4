//! Purging: what is hidden, what is deleted, in which order, and what a crash leaves.

use super::*;
use crate::env::fs_sim::{Operation, PowerCut, SimError};

/// Sixty entries over many segments, and a snapshot of all of them.
fn filled(fs: &SimFs) -> Store {
    let store = open(fs);
    append(store.log(), 0..60, 500);
    publish_snapshot(&store, 59).unwrap();
    store
}

#[test]
fn purged_entries_are_hidden_and_whole_segments_deleted() {
    let fs = SimFs::new(1);
    let mut store = filled(&fs);
    let mut segments = store.log().stats().segments;
    for upto in [0, 3, 30, 31, 58] {
        store.log().purge(id(upto)).unwrap();
        let now = store.log().stats().segments;
        assert!(now <= segments);
        segments = now;
        for _ in 0..2 {
            let rest: Vec<u64> = (upto + 1..60).collect();
            assert_eq!(indexes(store.log()), rest);
            let error = store.log().read_range(LogIndex(upto)..LogIndex(60), 1).unwrap_err();
            let StorageError::Purged { first } = error else { panic!("{error}") };
            assert_eq!(first, LogIndex(upto + 1));
            let files = fs.files();
            let there = files.iter().filter(|(path, _)| path.extension() == Some("seg".as_ref()));
            assert_eq!(there.count(), store.log().stats().segments);
            drop(store);
            store = open(&fs);
        }
    }
    assert!(segments <= 2, "{segments}");
}

#[test]
fn purging_everything_leaves_an_empty_log_that_goes_on() {
    for (upto, next) in [(59, 60), (99, 100)] {
        let fs = SimFs::new(1);
        let store = filled(&fs);
        if upto > 59 {
            publish_snapshot(&store, upto).unwrap();
        }
        store.log().purge(id(upto)).unwrap();
        assert_eq!(store.log().stats().segments, 1);
        drop(store);
        let store = open(&fs);
        let hard = store.log().hard_state();
        assert_eq!((hard.purged, hard.last), (Some(id(upto)), Some(id(upto))));
        let error = store.log().read_range(LogIndex(upto)..LogIndex(upto + 1), 1).unwrap_err();
        assert!(matches!(error, StorageError::Purged { .. }), "{error}");
        let error = store.log().read_range(LogIndex(next)..LogIndex(next + 1), 1).unwrap_err();
        assert!(matches!(error, StorageError::BeyondEnd { .. }), "{error}");
        append(store.log(), next..next + 2, 10);
        drop(store);
        assert_eq!(indexes(open(&fs).log()), [next, next + 1]);
    }
}

#[test]
fn an_older_snapshot_replaces_entries_of_a_newer_term_that_lost() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    let lost = LogId { term: Term(9), ..id(0) };
    store.log().append_one(&entry_with(lost, vec![1]).as_ref(), Purpose::Grow).unwrap();
    publish_snapshot(&store, 5).unwrap();
    store.log().purge(id(5)).unwrap();
    append(store.log(), 6..7, 10);
    drop(store);
    let store = open(&fs);
    assert_eq!(indexes(store.log()), [6]);
    assert_eq!(store.log().hard_state().purged, Some(id(5)));
}

#[test]
fn the_purge_is_on_the_device_before_a_segment_goes_and_the_oldest_goes_first() {
    let fs = SimFs::new(1);
    let store = filled(&fs);
    fs.start_trace();
    store.log().purge(id(40)).unwrap();
    let trace = fs.take_trace();
    let removed: Vec<usize> =
        (0..trace.len()).filter(|&at| trace[at].operation == Operation::Remove).collect();
    assert!(removed.len() > 3);
    let synced = trace.iter().position(|call| call.operation == Operation::Sync).unwrap();
    assert!(synced < removed[0]);
    for pair in removed.windows(2) {
        assert!(trace[pair[0]].path < trace[pair[1]].path);
        let between = &trace[pair[0]..pair[1]];
        assert!(between.iter().any(|call| call.operation == Operation::SyncDir));
    }
}

#[test]
fn a_segment_that_cannot_be_deleted_is_tried_again_before_any_newer_one() {
    let fs = SimFs::new(1);
    let store = filled(&fs);
    fs.deny(&segment(1));
    store.log().purge(id(20)).unwrap();
    store.log().purge(id(40)).unwrap();
    assert!(fs.read_file(&segment(2)).is_ok());
    drop(store);
    fs.permit(&segment(1));
    let store = open(&fs);
    assert_eq!(indexes(store.log()), (41..60).collect::<Vec<_>>());
    assert!(fs.read_file(&segment(1)).is_err());
    fs.deny(&segment(store.log().segments()[0].0.0));
    store.log().purge(id(50)).unwrap();
    let first = store.log().segments()[0].0;
    fs.permit(&segment(first.0));
    store.log().purge(id(50)).unwrap();
    assert!(store.log().segments()[0].0 > first);
}

#[test]
fn without_a_file_handle_to_spare_purged_segments_stay_and_the_store_goes_on() {
    let fs = SimFs::new(1);
    let store = filled(&fs);
    fs.set_handles_max(Some(fs.open_handles()));
    store.log().purge(id(40)).unwrap();
    assert!(fs.read_file(&segment(1)).is_ok());
    append(store.log(), 60..61, 10);
    fs.set_handles_max(None);
    store.log().purge(id(40)).unwrap();
    assert!(fs.read_file(&segment(1)).is_err());
}

#[test]
fn truncating_back_to_the_purge_does_not_make_deleted_segments_missed() {
    let fs = SimFs::new(1);
    let store = filled(&fs);
    store.log().purge(id(20)).unwrap();
    store.log().truncate_after(Some(id(20))).unwrap();
    append(store.log(), 21..60, 500);
    for _ in 0..3 {
        store.log().purge(id(20)).unwrap();
        store.log().truncate_after(Some(id(20))).unwrap();
    }
    drop(store);
    for _ in 0..3 {
        let store = open(&fs);
        assert_eq!(store.log().hard_state().last, Some(id(20)));
        append(store.log(), 21..22, 10);
        store.log().truncate_after(Some(id(20))).unwrap();
    }
}

#[test]
fn a_purge_that_is_told_again_still_waits_for_the_sync() {
    let fs = SimFs::new(1);
    let store = filled(&fs);
    store.log().sync().unwrap();
    let next = fs.operations() + 2;
    fs.fail_operation(next, SimError::Io);
    assert!(store.log().purge(id(20)).is_err());
    assert!(matches!(store.log().purge(id(20)), Err(StorageError::Poisoned { .. })));
    let fs = fs.power_cut(PowerCut::Nothing);
    let store = open(&fs);
    assert_eq!(store.log().hard_state().purged, None);
    assert_eq!(indexes(store.log()), (0..60).collect::<Vec<_>>());
}
