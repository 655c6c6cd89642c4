//! What an installed state does to what was there.

use super::*;

#[test]
fn a_snapshot_of_a_store_in_this_process_is_installed_without_a_transfer() {
    let from = sender(1, 5);
    let fs = SimFs::new(2);
    let mut to = Modelled::new(&fs);
    to.add(&rows([("only here", put(1, "1"))]));
    let held = from.tables.hold().unwrap();
    let (set, state) = to.tables.install(&held.clone().into()).unwrap();
    check_set(&set, &from.state, "installed");
    assert_eq!(&state, held.head());
    check_installed(&fs, &tables(&fs), &from, "reopened");
}

#[test]
fn readers_of_the_set_before_go_on_reading_it() {
    let from = sender(1, 5);
    let fs = SimFs::new(2);
    let mut to = Modelled::new(&fs);
    for version in 1..4 {
        let row = |n: u64| (format!("key-{n:04}").into_bytes(), put(version, &"v".repeat(50)));
        to.add(&(0..50).map(row).collect());
    }
    let old = to.tables.set();
    let mut cursors = old.cursors(Direction::Forward, Bound::Unbounded).unwrap();
    transfer(&to.tables, &from.tables.hold().unwrap()).unwrap();
    check_installed(&fs, &to.tables, &from, "installed");
    check_set(&old, &to.state, "the set before");
    let mut rows = 0;
    while cursors[0].row().is_some() {
        cursors[0].advance().unwrap();
        rows += 1;
    }
    assert_eq!(rows, 50);
}

#[test]
fn nothing_of_the_state_before_is_left_in_the_hot_map() {
    let fs = SimFs::new(1);
    let to = hot::small_memory(&fs);
    let old = to.tables.set();
    for _ in 0..3 {
        get(&old, b"k00001").unwrap();
        get(&old, b"k00002").unwrap();
    }
    // An older version of one key and none of the other: no key of the new tables tells.
    let row = |key: u64| (hot::name(key), put(1, "another value of 30 bytes....."));
    let mut from = sender(3, 0);
    let context = context_of(&SimFs::new(4), 7);
    from.tables = tables_in(&context, hot::small_options()).unwrap();
    from.add(&(0..30_000).filter(|key| *key != 2).map(row).collect());
    transfer(&to.tables, &from.tables.hold().unwrap()).unwrap();
    let new = to.tables.set();
    // The map is asked once the block cache is full again; until then nothing may push out of it
    // what should not be there.
    for key in 3..30_000 {
        get(&new, &hot::name(key)).unwrap();
        if key % 8 == 0 {
            assert_eq!(get(&new, b"k00001").as_ref(), from.state.get(&b"k00001"[..]));
            assert_eq!(get(&new, b"k00002"), None);
            get(&old, b"k00002").unwrap();
        }
    }
}

#[test]
fn a_table_that_was_there_when_the_transfer_began_may_be_merged_away_meanwhile() {
    let mut from = sender(1, 3);
    let fs = SimFs::new(2);
    let to = tables(&fs);
    transfer(&to, &from.tables.hold().unwrap()).unwrap();
    from.add(&rows([("key-0001", put(200, "new"))]));
    let held = from.tables.hold().unwrap();
    let (received, sent) = receive(&to, &held).unwrap();
    assert!(sent < bytes_of(&held));
    while to.merge_step(MergeGoal::Everything).unwrap().is_some() {}
    to.install(&received.into()).unwrap();
    check_installed(&fs, &to, &from, "installed");
    check_installed(&fs, &tables(&fs), &from, "reopened");
}

#[test]
fn where_files_have_no_second_names_they_are_copied() {
    let from = sender(1, 4);
    let fs = SimFs::new(2);
    fs.forbid_hard_links();
    let to = tables(&fs);
    transfer(&to, &from.tables.hold().unwrap()).unwrap();
    check_installed(&fs, &to, &from, "installed");
    assert!(incoming_names(&fs).is_empty());
    check_installed(&fs, &tables(&fs), &from, "reopened");
}

#[test]
fn a_state_is_never_replaced_by_an_older_one() {
    let from = sender(1, 2);
    let old = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let mut to = Modelled::new(&fs);
    let (received, _) = receive(&to.tables, &old).unwrap();
    to.index = 500;
    to.add(&rows([("a", put(501, "1"))]));
    let is_outdated = |error: StorageError| matches!(error, StorageError::Outdated { .. });
    assert!(is_outdated(to.tables.install(&old.clone().into()).unwrap_err()));
    assert!(is_outdated(to.tables.install(&received.into()).unwrap_err()));
    assert!(is_outdated(begin(&to.tables, &old).unwrap_err()));
    to.check("as before");
    // Nor by a run that was begun before the snapshot was installed.
    let (fs, new) = (SimFs::new(3), sender(3, 3));
    let to = tables(&fs);
    transfer(&to, &new.tables.hold().unwrap()).unwrap();
    let run = rows([("key-0001", put(9, "old"))]);
    assert!(is_outdated(add(&to, 9, &run, &State::new()).unwrap_err()));
    check_installed(&fs, &to, &new, "as before");
}

#[test]
fn of_two_transfers_the_one_that_began_last_goes_on() {
    let from = sender(1, 3);
    let fs = SimFs::new(2);
    let to = tables(&fs);
    let held = from.tables.hold().unwrap();
    let (mut first, needs) = begin(&to, &held).unwrap();
    let (received, _) = receive(&to, &held).unwrap();
    let refused = send(&mut first, &held, &needs, 1).unwrap_err();
    assert!(matches!(refused, StorageError::BadSnapshot { .. }), "{refused}");
    assert!(matches!(first.finish(), Err(StorageError::BadSnapshot { .. })));
    to.install(&received.into()).unwrap();
    check_installed(&fs, &to, &from, "installed");
}

#[test]
fn nobody_takes_the_files_away_from_a_snapshot_that_waits_to_be_installed() {
    let from = sender(1, 3);
    let fs = SimFs::new(2);
    let to = tables(&fs);
    let held = from.tables.hold().unwrap();
    let (received, _) = receive(&to, &held).unwrap();
    let refused = begin(&to, &held).unwrap_err();
    assert!(matches!(refused, StorageError::SnapshotWaits), "{refused}");
    to.discard_incoming();
    assert!(!incoming_names(&fs).is_empty());
    // Given up instead of installed: another one may begin, and nothing is sent twice.
    drop(received);
    let (received, sent) = receive(&to, &held).unwrap();
    assert_eq!(sent, 0);
    to.install(&received.into()).unwrap();
    check_installed(&fs, &to, &from, "installed");
    assert!(begin(&to, &held).is_ok(), "what was installed keeps nobody up");
}

#[test]
fn what_was_received_of_a_state_that_is_here_by_now_is_removed() {
    let from = sender(1, 3);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let mut to = Modelled::new(&fs);
    let (mut broken_off, needs) = begin(&to.tables, &held).unwrap();
    send(&mut broken_off, &held, &needs, 4).unwrap();
    to.tables.discard_incoming();
    assert!(!incoming_names(&fs).is_empty(), "it goes further than the tables");
    to.index = held.head().last.index.0;
    to.add(&rows([("a", put(to.index + 1, "1"))]));
    to.tables.discard_incoming();
    assert!(incoming_names(&fs).is_empty());
    let refused = send(&mut broken_off, &held, &needs, 9).unwrap_err();
    assert!(matches!(refused, StorageError::BadSnapshot { .. }), "{refused}");
    // Where nobody is at it, it is removed whatever it is.
    let fs = SimFs::new(3);
    let to = tables(&fs);
    let (mut broken_off, needs) = begin(&to, &held).unwrap();
    send(&mut broken_off, &held, &needs, 4).unwrap();
    drop(broken_off);
    to.discard_incoming();
    assert!(incoming_names(&fs).is_empty());
}

#[test]
fn a_damaged_table_of_the_other_store_is_found_before_anything_is_installed() {
    let from = sender(1, 3);
    let source = SimFs::new(4);
    let other = tables_in(&context_of(&source, 9), table_options()).unwrap();
    transfer(&other, &from.tables.hold().unwrap()).unwrap();
    let held = other.hold().unwrap();
    let file = path(&format!("tables/{}", names(&source).0[0]));
    source.flip_bit(&file, 8 * 60).unwrap();
    let fs = SimFs::new(2);
    let mut to = Modelled::new(&fs);
    to.add(&rows([("a", put(1, "1"))]));
    let error = to.tables.install(&held.clone().into()).unwrap_err();
    assert!(matches!(error, StorageError::BadSnapshot { .. }), "{error}");
    let error = receive(&to.tables, &held).unwrap_err();
    assert!(matches!(error, StorageError::BadSnapshot { .. }), "{error}");
    to.check("as before");
    check_no_leftovers(&fs, &to.tables, "as before");
}
