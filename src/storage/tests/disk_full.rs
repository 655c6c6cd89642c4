//! A full disk is a state: nothing acknowledged is lost, what relieves it works, and it ends.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::env::fs::Fs as _;
use crate::env::fs_sim::{Operation, SimError};
use crate::storage::format::segment_name;
use crate::storage::merge_choice::KeptRoom;

const RESERVE_BYTES: u64 = 16 * 1024;

fn with_reserve() -> StoreOptions {
    StoreOptions { reserve_bytes: RESERVE_BYTES, ..options() }
}

/// Appends and syncs until the disk is full. Returns how many entries were acknowledged.
fn fill(store: &Store, from: u64) -> u64 {
    for index in from.. {
        let appended = store.log().append_one(&entry(index, 300).as_ref(), Purpose::Grow);
        match appended.and_then(|()| store.log().sync()) {
            Ok(()) => {}
            Err(error) => {
                assert!(error.is_disk_full(), "{error}");
                return index;
            }
        }
    }
    unreachable!("the disk is not endless")
}

fn full(space: u64) -> (SimFs, Store, u64) {
    let fs = SimFs::new(1);
    let store = open_with(&fs, &with_reserve()).unwrap();
    fs.set_space(Some(space));
    let next = fill(&store, 0);
    (fs, store, next)
}

#[test]
fn new_data_is_refused_with_nothing_written_and_reads_go_on() {
    let (fs, store, next) = full(60_000);
    assert!(next > 50, "{next}");
    assert!(store.log().stats().disk_full);
    let before = fs.files();
    let told = Told::default();
    let refused =
        store.log().append(&[entry(next, 300)], Purpose::Grow, told.completion(next)).unwrap_err();
    assert!(refused.is_disk_full(), "{refused}");
    assert_eq!(told.names(), [next]);
    assert!(told.all_err());
    assert_eq!(fs.files(), before);
    store.log().check().unwrap();
    assert_eq!(indexes(store.log()), (0..next).collect::<Vec<_>>());
}

#[test]
fn room_is_asked_for_wherever_there_is_none_also_for_a_segment_to_begin() {
    for space in (60_000..66_000).step_by(200) {
        let (_, store, _) = full(space);
        assert!(store.log().was_full(), "{space}");
    }
}

#[test]
fn what_relieves_finds_the_reserve_and_writing_resumes_with_the_room() {
    let (fs, store, next) = full(60_000);
    for index in next..next + 20 {
        store.log().append_one(&entry(index, 100).as_ref(), Purpose::Relieve).unwrap();
    }
    store.log().save_vote(vote(5)).unwrap();
    assert!(fs.read_file(&path("RESERVE")).is_err(), "it was given back");
    assert!(store.log().stats().disk_full);
    let refused =
        store.log().append_one(&entry(next + 20, 100).as_ref(), Purpose::Grow).unwrap_err();
    assert!(refused.is_disk_full(), "what room there is is not for new data: {refused}");
    fs.set_space(Some(120_000));
    append(store.log(), next + 20..next + 21, 100);
    assert!(!store.log().stats().disk_full);
    assert!(fs.read_file(&path("RESERVE")).is_ok(), "it is back");
    drop(store);
    let store = open_with(&fs, &with_reserve()).unwrap();
    assert_eq!(indexes(store.log()), (0..next + 21).collect::<Vec<_>>());
    assert_eq!(store.log().hard_state().vote, Some(vote(5)));
}

#[test]
fn compaction_makes_room_without_more_space() {
    let (fs, store, next) = full(60_000);
    publish_snapshot(&store, next - 1).unwrap();
    store.log().purge(id(next - 1)).unwrap();
    assert!(fill(&store, next) > next + 50);
    store.log().check().unwrap();
    drop(store);
    open_with(&fs, &with_reserve()).unwrap();
}

#[test]
fn nothing_acknowledged_is_lost_at_any_budget_also_when_opened_on_the_full_disk() {
    let created = {
        let fs = SimFs::new(1);
        drop(open_with(&fs, &with_reserve()).unwrap());
        fs.used_bytes()
    };
    for step in 0..60 {
        let space = created + step * 512;
        let (fs, store, next) = full(space);
        if step % 2 == 0 {
            store.close().unwrap();
        } else {
            // An unsynced tail, which opening writes again.
            store.log().append_one(&entry(next, 100).as_ref(), Purpose::Relieve).unwrap();
        }
        let end = store.log().hard_state().last.map_or(0, |last| last.index.0 + 1);
        drop(store);
        let what = format!("budget {space}");
        let store = open_with(&fs, &with_reserve()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(indexes(store.log()), (0..end).collect::<Vec<_>>(), "{what}");
        store.log().save_vote(vote(2)).unwrap_or_else(|e| panic!("{what}: {e}"));
        let refused = store.log().append_one(&entry(end, 8000).as_ref(), Purpose::Grow);
        assert!(refused.is_err_and(|error| error.is_disk_full()), "{what}");
        fs.set_space(None);
        append(store.log(), end..end + 1, 8000);
        store.close().unwrap();
        assert!(!store.log().stats().disk_full, "{what}");
        assert!(fs.read_file(&path("RESERVE")).is_ok(), "{what}");
    }
}

#[test]
fn a_reserve_that_is_shorter_than_wanted_is_made_anew() {
    let fs = SimFs::new(1);
    drop(open_with(&fs, &StoreOptions { reserve_bytes: 512, ..options() }).unwrap());
    drop(open_with(&fs, &with_reserve()).unwrap());
    assert_eq!(fs.read_file(&path("RESERVE")).unwrap().len() as u64, RESERVE_BYTES);
}

#[test]
fn creation_on_a_full_disk_is_told_so_and_begins_anew() {
    let fs = SimFs::new(1);
    for space in (0..8192).step_by(512) {
        fs.set_space(Some(space));
        if let Err(error) = open_with(&fs, &with_reserve()) {
            assert!(error.is_disk_full(), "{error}");
        }
    }
    fs.set_space(None);
    let store = open_with(&fs, &with_reserve()).unwrap();
    append(store.log(), 0..1, 10);
}

#[test]
fn a_write_that_cannot_be_taken_back_stops_the_store() {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..2, 10);
    store.log().sync().unwrap();
    // The write and the cut of what it left.
    for operation in 1..=2 {
        fs.fail_operation(fs.operations() + operation, SimError::NoSpace);
    }
    let refused = store.log().append_one(&entry(2, 10).as_ref(), Purpose::Grow).unwrap_err();
    assert!(matches!(refused, StorageError::Io { .. }), "nobody knows what is there: {refused}");
    assert!(matches!(store.log().check(), Err(StorageError::Poisoned { .. })));
    drop(store);
    assert_eq!(indexes(open(&fs).log()), [0, 1]);
}

#[test]
fn a_write_that_finds_no_room_is_taken_back_before_it_is_refused() {
    use crate::env::fs_sim::PowerCut;
    for written in 1..40 {
        let fs = SimFs::new(written);
        let store = open(&fs);
        append(store.log(), 0..2, 10);
        store.log().sync().unwrap();
        fs.set_hiccups(crate::env::fs_sim::Hiccups {
            short_write_one_in: 1,
            ..crate::env::fs_sim::Hiccups::default()
        });
        fs.fail_operation(fs.operations() + 2, SimError::NoSpace);
        let batch: Vec<NewEntry> = (2..12).map(|index| entry(index, 10)).collect();
        let refused = store.log().append(&batch, Purpose::Grow, Completion::none()).unwrap_err();
        assert!(refused.is_disk_full(), "{refused}");
        fs.set_hiccups(crate::env::fs_sim::Hiccups::default());
        for seed in 0..8 {
            let fs = fs.power_cut(PowerCut::random(seed));
            assert_eq!(indexes(open(&fs).log()), [0, 1], "{written} {seed}");
        }
        append(store.log(), 2..5, 10);
        store.log().sync().unwrap();
        assert_eq!(indexes(store.log()), [0, 1, 2, 3, 4]);
        let fs = fs.power_cut(PowerCut::Nothing);
        assert_eq!(indexes(open(&fs).log()), [0, 1, 2, 3, 4]);
    }
}

/// Has new data leave so many bytes to tables.
fn owe(store: &Store, bytes: u64) {
    store.begin_debt(Arc::new(AtomicU64::new(bytes)));
}

#[test]
fn a_write_that_is_refused_leaves_the_room_of_the_reserve_to_what_makes_more() {
    let (fs, store, mut next) = full(60_000);
    while fs.read_file(&path("RESERVE")).is_ok() {
        store.log().append_one(&entry(next, 100).as_ref(), Purpose::Relieve).unwrap();
        next += 1;
    }
    fs.set_space(Some(fs.used_bytes() + 5 * RESERVE_BYTES));
    owe(&store, 4 * RESERVE_BYTES + 1);
    let before = fs.files();
    fs.start_trace();
    let refused = store.log().append_one(&entry(next, 300).as_ref(), Purpose::Grow);
    assert!(refused.unwrap_err().is_disk_full());
    assert_eq!(fs.files(), before);
    let trace = fs.take_trace();
    assert!(trace.is_empty(), "not even for a moment: {trace:?}");
    owe(&store, 0);
    store.log().append_one(&entry(next, 300).as_ref(), Purpose::Grow).unwrap();
    assert!(fs.read_file(&path("RESERVE")).is_ok());
}

#[test]
fn opening_leaves_the_room_of_merges_to_them_and_makes_no_reserve_of_it() {
    let fs = SimFs::new(1);
    let store = open_with(&fs, &with_reserve()).unwrap();
    for index in 0..200 {
        store.log().append_one(&entry(index, 300).as_ref(), Purpose::Grow).unwrap();
    }
    publish_snapshot(&store, 150).unwrap();
    let kept = store.tables().room_to_keep().bytes(0);
    assert!(kept > 1000, "{kept}");
    store.log().sync().unwrap();
    drop(store);
    fs.remove(&path("RESERVE")).unwrap();
    // Opening takes a segment's room for itself.
    for (room, is_made) in [(kept - 1, false), (kept + 8192, true)] {
        let fs = fs.kill();
        fs.set_space(Some(fs.used_bytes() + RESERVE_BYTES + room));
        let store = open_with(&fs, &with_reserve()).unwrap();
        owe(&store, 0);
        assert_eq!(fs.read_file(&path("RESERVE")).is_ok(), is_made);
        assert_eq!(store.log().stats().disk_full, !is_made);
        // Whoever deletes finds room in any case.
        store.log().append_one(&entry(200, 100).as_ref(), Purpose::Relieve).unwrap();
    }
}

#[test]
fn a_segment_that_a_purge_begins_takes_room_for_new_data_when_that_comes() {
    let segment_bytes_max = 64 * 1024;
    for has_room in [true, false] {
        let fs = SimFs::new(1);
        let options = StoreOptions { segment_bytes_max, ..with_reserve() };
        let store = open_with(&fs, &options).unwrap();
        for index in 0..20 {
            store.log().append_one(&entry(index, 300).as_ref(), Purpose::Grow).unwrap();
        }
        let room = 3 * segment_bytes_max;
        fs.set_space(Some(fs.used_bytes() + room));
        owe(&store, if has_room { 0 } else { room - segment_bytes_max / 2 });
        store.log().roll_now().unwrap();
        store.log().save_vote(vote(5)).unwrap();
        let active = || {
            let segments = store.log().segments();
            let &(active, end) = segments.last().unwrap();
            let file = Path::new("log").join(segment_name(active));
            (fs.read_file(&path(file.to_str().unwrap())).unwrap().len() as u64, end)
        };
        let (len, end) = active();
        assert!(len <= end + 64, "{len} bytes for {end}");
        store.log().append_one(&entry(20, 300).as_ref(), Purpose::Grow).unwrap();
        let (len, end) = active();
        if has_room {
            assert!(len >= segment_bytes_max / 4, "{len} bytes");
        } else {
            assert!(len <= end + 128, "{len} bytes for {end}");
        }
    }
}

/// What deletes find where the reserve was given back for something else, and all other room is
/// others'.
fn delete_in_the_room_of_the_reserve(is_opened_anew: bool) {
    let fs = SimFs::new(1);
    let mut store = open_with(&fs, &with_reserve()).unwrap();
    append(store.log(), 0..10, 100);
    store.log().sync().unwrap();
    assert!(store.log().give_back_reserve());
    fs.set_space(Some(fs.used_bytes() + RESERVE_BYTES - 512));
    if is_opened_anew {
        drop(store);
        store = open_with(&fs, &with_reserve()).unwrap();
    }
    assert!(fs.read_file(&path("RESERVE")).is_err());
    owe(&store, 0);
    let mut kept = KeptRoom::default();
    kept.deletes = 4 * RESERVE_BYTES;
    store.log().keep_room(kept);
    for index in 10..30 {
        store.log().append_one(&entry(index, 100).as_ref(), Purpose::Relieve).unwrap();
    }
}

#[test]
fn a_reserve_that_was_given_back_for_something_else_is_there_for_deletes() {
    delete_in_the_room_of_the_reserve(false);
}

#[test]
fn a_reserve_that_is_missing_when_a_store_is_opened_is_there_for_deletes() {
    delete_in_the_room_of_the_reserve(true);
}

#[test]
fn a_full_disk_is_told_until_there_is_room_though_nobody_writes() {
    let (fs, store, mut next) = full(60_000);
    let is_full = || store.log().stats().disk_full;
    assert!(is_full() && store.log().lacks_room());
    fs.set_space(Some(120_000));
    assert!(!is_full());
    assert!(store.log().lacks_room(), "compaction goes on until a write has found it");
    fs.set_space(Some(60_000));
    while fs.read_file(&path("RESERVE")).is_ok() {
        store.log().append_one(&entry(next, 100).as_ref(), Purpose::Relieve).unwrap();
        next += 1;
    }
    assert!(is_full());
    fs.set_space(Some(fs.used_bytes() + 2 * RESERVE_BYTES));
    assert!(!is_full());
    // What tables still have to get is no room for new data, nor is that of the reserve.
    owe(&store, RESERVE_BYTES);
    assert!(is_full());
    owe(&store, 0);
    append(store.log(), next..next + 1, 100);
    assert!(!is_full());
}

#[test]
fn a_file_system_that_has_no_room_and_says_otherwise_is_not_believed() {
    let prepare = || {
        let fs = SimFs::new(1);
        let store = open_with(&fs, &with_reserve()).unwrap();
        append(store.log(), 0..5, 100);
        (fs, store)
    };
    let long = entry(5, 8000);
    let (fs, store) = prepare();
    fs.start_trace();
    store.log().append_one(&long.as_ref(), Purpose::Grow).unwrap();
    let trace = fs.take_trace();
    let at = trace.iter().position(|call| call.operation == Operation::CreateNew).unwrap();
    let (fs, store) = prepare();
    fs.fail_operation(fs.operations() + 1 + at as u64, SimError::NoSpace);
    let refused = store.log().append_one(&long.as_ref(), Purpose::Grow).unwrap_err();
    assert!(refused.is_disk_full(), "{refused}");
    assert!(store.log().stats().disk_full);
    store.log().append_one(&long.as_ref(), Purpose::Grow).unwrap();
    assert!(!store.log().stats().disk_full);
}
