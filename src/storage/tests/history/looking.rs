//! What is found in the past, and what is said where nothing is.

use super::*;

fn two_eras(fs: &SimFs) -> (Past, SeededRng) {
    let rng = SeededRng::new(1);
    let mut past = Past::new(fs);
    past.begin_era();
    past.append(&rng, 30, 100);
    past.append(&rng, 30, 100);
    past.next_era();
    past.append(&rng, 30, 100);
    (past, rng)
}

#[test]
fn every_state_is_the_newest_base_before_it_and_the_changes_since() {
    let fs = SimFs::new(1);
    let (past, _) = two_eras(&fs);
    for index in 0..90 {
        let base = past.archive.base_for(LogIndex(index)).unwrap();
        assert_eq!(base.from, LogIndex(if index < 59 { 0 } else { 60 }));
        assert_eq!(base.head.is_some(), index >= 59);
        let mut values = values_of(&base).unwrap();
        for entry in past.archive.read(base.from..=LogIndex(index)) {
            apply_entry(&mut values, &entry.unwrap());
        }
        assert_eq!(values, past.values_at(index), "{index}");
    }
}

#[test]
fn every_time_has_its_entry() {
    let fs = SimFs::new(1);
    let (past, _) = two_eras(&fs);
    for time in 0..=stamp(95).0 {
        let found = past.archive.index_at(Timestamp(time)).unwrap();
        past.check_time(0, 89, Timestamp(time), found.map(|index| index.0), "time");
    }
    assert_eq!(past.archive.index_at(Timestamp(u64::MAX)).unwrap(), Some(LogIndex(89)));
    // Of those with the same stamp the last one, also where it changed nothing.
    for last in [29, 59, 89] {
        assert_eq!(past.archive.index_at(stamp(last)).unwrap(), Some(LogIndex(last)));
    }
}

#[test]
fn a_time_before_everything_and_an_empty_past_have_no_entry() {
    let fs = SimFs::new(1);
    let mut past = Past::new(&fs);
    assert_eq!(past.archive.index_at(Timestamp(5)).unwrap(), None);
    past.begin_era();
    assert_eq!(past.archive.index_at(Timestamp(5)).unwrap(), None);
    let entry = EntryChanges { timestamp: Timestamp(7), ..changed(0, vec![set("a", "1", None)]) };
    let stamps = (Timestamp(7), Timestamp(7));
    let range = LogIndex(0)..=LogIndex(0);
    past.archive.append(range, stamps, &mut std::iter::once(Ok(entry))).unwrap();
    assert_eq!(past.archive.index_at(Timestamp(6)).unwrap(), None);
    assert_eq!(past.archive.index_at(Timestamp(7)).unwrap(), Some(LogIndex(0)));
}

#[test]
fn what_is_not_there_yet_and_what_never_was_are_told_apart() {
    let fs = SimFs::new(1);
    let empty = Past::new(&fs);
    let refused = read_all(&empty.archive, 0..=0).unwrap_err();
    assert!(matches!(refused, StorageError::Compacted { oldest: None }), "{refused}");
    let refused = empty.archive.base_for(LogIndex(0)).unwrap_err();
    assert!(matches!(refused, StorageError::Compacted { oldest: None }), "{refused}");
    let (past, _) = two_eras(&fs);
    let refused = read_all(&past.archive, 80..=90).unwrap_err();
    assert!(matches!(refused, StorageError::BeyondEnd { last: Some(LogIndex(89)), .. }));
    let refused = past.archive.base_for(LogIndex(90)).unwrap_err();
    assert!(matches!(refused, StorageError::BeyondEnd { .. }), "{refused}");
    past.archive.clean(|_, _| false).unwrap();
    let refused = read_all(&past.archive, 59..=80).unwrap_err();
    assert!(matches!(refused, StorageError::Compacted { oldest: Some(LogIndex(60)) }));
    let refused = past.archive.base_for(LogIndex(58)).unwrap_err();
    assert!(matches!(refused, StorageError::Compacted { oldest: Some(LogIndex(59)) }));
    past.archive.base_for(LogIndex(59)).unwrap();
}

#[test]
fn a_range_that_ends_before_it_begins_has_nothing() {
    let fs = SimFs::new(1);
    let (past, _) = two_eras(&fs);
    let (first, last) = (LogIndex(9), LogIndex(8));
    assert_eq!(past.archive.read(first..=last).count(), 0);
    assert_eq!(past.archive.changes_of(b"key-01", first..=last).unwrap(), []);
}

#[test]
fn a_key_is_looked_for_in_few_blocks() {
    use crate::env::fs_sim::Operation;
    let fs = SimFs::new(1);
    let mut past = Past::new(&fs);
    past.begin_era();
    let entry =
        |index: u64| changed(index, vec![set(&format!("{index:06}"), &"v".repeat(990), None)]);
    let entries: Vec<EntryChanges> = (0..3000).map(entry).collect();
    append(&past.archive, 0..=2999, &entries).unwrap();
    fs.start_trace();
    let found = past.archive.changes_of(b"001234", LogIndex(0)..=LogIndex(2999)).unwrap();
    assert_eq!(found.len(), 1);
    let reads = |traced: &crate::env::fs_sim::Traced| traced.operation == Operation::Read;
    let reads = fs.take_trace().into_iter().filter(reads).count();
    // Head, end, places, filters and the block; seldom another one.
    assert!((5..=8).contains(&reads), "{reads}");
}
