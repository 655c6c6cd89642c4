//! Opening what an earlier life left: a clean close, a kill, a power cut.

use super::*;
use crate::env::fs_sim::{Operation, PowerCut};
use crate::storage::frame::entry_frame_len;
use crate::storage::store::ReadOnlyStore;

#[test]
fn a_clean_close_leaves_nothing_to_repair_however_often() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..30, 300);
    publish_snapshot(&store, 9).unwrap();
    store.log().purge(id(9)).unwrap();
    store.close().unwrap();
    drop(store);
    let before = fs.files();
    for _ in 0..100 {
        fs.start_trace();
        let store = open(&fs);
        assert!(!fs.take_trace().iter().any(|call| call.operation == Operation::Write));
        store.close().unwrap();
    }
    assert_eq!(fs.files(), before);
}

#[test]
fn kills_do_not_grow_the_directory() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..3, 300);
    store.log().sync().unwrap();
    append(store.log(), 3..5, 300);
    drop(store);
    for _ in 0..100 {
        drop(open(&fs));
    }
    let store = open(&fs);
    assert_eq!(indexes(store.log()), [0, 1, 2, 3, 4]);
    assert_eq!(store.log().stats().segments, 2);
}

#[test]
fn a_kill_keeps_what_was_never_synced_and_opening_puts_it_on_the_device() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..3, 300);
    let killed = fs.kill();
    let opened = open(&killed);
    assert_eq!(indexes(opened.log()), [0, 1, 2]);
    let cut = killed.power_cut(PowerCut::Nothing);
    assert_eq!(indexes(open(&cut).log()), [0, 1, 2]);
}

#[test]
fn survivors_of_a_failed_sync_are_written_again_before_they_count() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..3, 300);
    fs.fail_all_syncs();
    assert!(store.log().sync().is_err());
    drop(store);
    fs.clear_plan();
    // The page cache shows the entries, the device lacks them, and a sync would say Ok.
    let store = open(&fs);
    assert_eq!(indexes(store.log()), [0, 1, 2]);
    let cut = fs.power_cut(PowerCut::Nothing);
    assert_eq!(indexes(open(&cut).log()), [0, 1, 2]);
    assert_eq!(store.log().segments()[0].0.0, 2, "in a fresh segment");
}

/// A store whose last segment has three synced entries and three that are not.
fn with_unsynced_tail() -> (SimFs, u64) {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..3, 300);
    store.log().sync().unwrap();
    let end = store.log().segments()[0].1;
    append(store.log(), 3..6, 300);
    (fs.kill(), end)
}

#[test]
fn a_torn_tail_is_cut_and_kept_as_evidence() {
    let (fs, end) = with_unsynced_tail();
    let file = segment(1);
    let whole = fs.read_file(&file).unwrap();
    // Of the third entry a sector was never written.
    let third = usize::try_from(end).unwrap() + 2 * entry_frame_len(300);
    let hole = third.next_multiple_of(512);
    let mut torn = whole.clone();
    torn[hole..].fill(0);
    torn[hole + 600] = 7;
    fs.write_file(&file, &torn).unwrap();
    let store = open(&fs);
    assert_eq!(indexes(store.log()), [0, 1, 2, 3, 4]);
    let name = format!("log/0000000001-{third}.torn");
    let evidence = fs.read_file(&path(&name)).unwrap();
    assert_eq!(evidence, torn[third..hole + 601]);
    assert_eq!(fs.read_file(&file).unwrap(), torn, "the old segment is left as it was");
    append(store.log(), 5..6, 10);
    drop(store);
    assert_eq!(indexes(open(&fs).log()), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn evidence_is_bounded() {
    let (fs, end) = with_unsynced_tail();
    drop(open(&fs));
    for round in 0..12_u64 {
        let store = open(&fs);
        append(store.log(), 6 + round..7 + round, 300);
        let (last, at) = *store.log().segments().last().unwrap();
        drop(store);
        let mut bytes = fs.read_file(&segment(last.0)).unwrap();
        bytes.truncate(usize::try_from(at).unwrap() - 1);
        fs.write_file(&segment(last.0), &bytes).unwrap();
        let store = open(&fs);
        append(store.log(), 6 + round..7 + round, 10);
    }
    let torn = |(path, _): &&(PathBuf, Vec<u8>)| path.extension() == Some("torn".as_ref());
    assert_eq!(fs.files().iter().filter(torn).count(), 8, "{end}");
}

#[test]
fn an_ambiguous_tail_is_refused_until_the_operator_cuts_it() {
    let (fs, end) = with_unsynced_tail();
    let mut bytes = fs.read_file(&segment(1)).unwrap();
    let second = usize::try_from(end).unwrap() + entry_frame_len(300);
    bytes[second + 100] ^= 1;
    fs.write_file(&segment(1), &bytes).unwrap();
    let before = fs.files();
    let error = try_open(&fs).unwrap_err();
    let StorageError::TailAmbiguous { file, offset, first_index } = &error else {
        panic!("{error}")
    };
    assert_eq!((file, *offset, *first_index), (&segment(1), second as u64, Some(LogIndex(4))));
    assert_eq!(fs.files(), before);
    let options = StoreOptions { tail: TailPolicy::Truncate, ..options() };
    let store = open_with(&fs, &options).unwrap();
    assert_eq!(indexes(store.log()), [0, 1, 2, 3]);
    drop(store);
    assert_eq!(indexes(open(&fs).log()), [0, 1, 2, 3]);
}

#[test]
fn damage_below_what_was_synced_is_never_cut() {
    let (fs, end) = with_unsynced_tail();
    let good = fs.read_file(&segment(1)).unwrap();
    for policy in [TailPolicy::Refuse, TailPolicy::Truncate] {
        let mut bytes = good.clone();
        let at = usize::try_from(end).unwrap() - 100;
        bytes[at..].fill(0);
        fs.write_file(&segment(1), &bytes).unwrap();
        let before = fs.files();
        let error = open_with(&fs, &StoreOptions { tail: policy, ..options() }).unwrap_err();
        let StorageError::Corrupt { file, first_index, .. } = &error else { panic!("{error}") };
        assert_eq!((file, *first_index), (&segment(1), Some(LogIndex(2))));
        assert_eq!(fs.files(), before);
    }
}

#[test]
fn a_reader_changes_nothing_and_sees_the_unsynced_tail() {
    let (fs, _) = with_unsynced_tail();
    let before = fs.files();
    let operations = fs.operations();
    fs.start_trace();
    let reader = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options()).unwrap();
    let other = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options()).unwrap();
    let entries = reader.read_range(LogIndex(0)..LogIndex(6), usize::MAX).unwrap();
    assert_eq!(entries.len(), 6);
    assert_eq!(reader.hard_state().last, Some(id(5)));
    assert!(read_snapshot(reader.tables()).unwrap().is_none());
    assert!(matches!(try_open(&fs), Err(StorageError::Locked { .. })));
    drop((reader, other));
    assert!(fs.operations() > operations);
    assert!(!fs.take_trace().iter().any(|call| call.operation.is_change()));
    assert_eq!(fs.files(), before);
}

#[test]
fn a_second_opener_is_locked_out_and_the_lock_goes_with_the_first() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..1, 10);
    let before = fs.files();
    assert!(matches!(try_open(&fs), Err(StorageError::Locked { .. })));
    let reader = ReadOnlyStore::open(env(&fs), Path::new(ROOT), table_options());
    assert!(matches!(reader, Err(StorageError::Locked { .. })));
    assert_eq!(fs.files(), before);
    drop(store);
    assert_eq!(indexes(open(&fs).log()), [0]);
}
