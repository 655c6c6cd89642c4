//! What is sent and what is not.

use super::*;

#[test]
fn a_snapshot_makes_the_state_that_of_the_sender_and_nothing_else() {
    let from = sender(1, 5);
    let fs = SimFs::new(2);
    let mut to = Modelled::new(&fs);
    to.add(&rows([("only here", put(1, "1")), ("key-0001", put(1, "other"))]));
    let held = from.tables.hold().unwrap();
    assert_eq!(transfer(&to.tables, &held).unwrap(), bytes_of(&held));
    check_installed(&fs, &to.tables, &from, "installed");
    assert_eq!(get(&to.tables.set(), b"only here"), None);
    assert!(incoming_names(&fs).is_empty());
    let reopened = tables(&fs);
    check_installed(&fs, &reopened, &from, "reopened");
}

#[test]
fn a_store_goes_on_from_what_was_installed() {
    let mut from = sender(1, 3);
    let fs = SimFs::new(2);
    let to = tables(&fs);
    transfer(&to, &from.tables.hold().unwrap()).unwrap();
    let new = rows([("key-0001", put(500, "new")), ("key-0002", None), ("z", put(500, "z"))]);
    apply(&mut from.state, &new);
    add(&to, 500, &new, &from.state).unwrap();
    while to.merge_step(MergeGoal::Everything).unwrap().is_some() {
        check_set(&to.set(), &from.state, "merging");
    }
    let reopened = tables(&fs);
    check_set(&reopened.set(), &from.state, "reopened");
    check_no_leftovers(&fs, &reopened, "reopened");
}

#[test]
fn a_table_that_is_there_is_not_sent() {
    let mut from = sender(1, 3);
    let fs = SimFs::new(2);
    let to = tables(&fs);
    let before = from.tables.hold().unwrap();
    transfer(&to, &before).unwrap();
    assert_eq!(transfer(&to, &before).unwrap(), 0, "all of it is there");
    from.add(&rows([("key-0001", put(200, "new")), ("key-0002", None)]));
    let after = from.tables.hold().unwrap();
    let names_before = names(&fs).0;
    let sent = transfer(&to, &after).unwrap();
    assert_eq!(sent, bytes_of(&after) - bytes_of(&before));
    check_installed(&fs, &to, &from, "with the new run");
    let kept = names(&fs).0.iter().filter(|name| names_before.contains(name)).count();
    assert_eq!(kept, names_before.len(), "the same files under the same names");
}

#[test]
fn a_table_stays_the_same_by_however_many_stores_it_is_passed_on() {
    let first = sender(1, 4);
    let held = first.tables.hold().unwrap();
    let (second_fs, third_fs) = (SimFs::new(2), SimFs::new(3));
    let second = tables_in(&context_of(&second_fs, 8), table_options()).unwrap();
    transfer(&second, &held).unwrap();
    let third = tables(&third_fs);
    transfer(&third, &second.hold().unwrap()).unwrap();
    check_installed(&third_fs, &third, &first, "passed on");
    assert_eq!(third.hold().unwrap().parts(), held.parts());
    // Back to where the tables were written, and across a reopening of the others.
    assert_eq!(transfer(&first.tables, &third.hold().unwrap()).unwrap(), 0);
    let third = tables(&third_fs);
    let again = tables_in(&context_of(&second_fs, 8), table_options()).unwrap();
    assert_eq!(transfer(&again, &third.hold().unwrap()).unwrap(), 0);
    check_installed(&second_fs, &again, &first, "reopened");
}

#[test]
fn a_snapshot_amid_a_merge_is_one_and_the_receiver_goes_on_with_the_merge() {
    let from = sender(1, 6);
    let fs = SimFs::new(2);
    let to = tables(&fs);
    let mut amid = 0;
    while let Some(step) = from.tables.merge_step(MergeGoal::Everything).unwrap() {
        amid += usize::from(step.progress == MergeProgress::UnderWay);
        transfer(&to, &from.tables.hold().unwrap()).unwrap();
        check_installed(&fs, &to, &from, "amid a merge");
        let reopened = tables(&fs);
        check_installed(&fs, &reopened, &from, "amid a merge, reopened");
    }
    assert!(amid > 0);
    let from = sender(4, 6);
    from.tables.merge_step(MergeGoal::Everything).unwrap().unwrap();
    let to = tables(&SimFs::new(3));
    transfer(&to, &from.tables.hold().unwrap()).unwrap();
    while to.merge_step(MergeGoal::Everything).unwrap().is_some() {
        check_set(&to.set(), &from.state, "the receiver merges");
    }
    assert_eq!(to.set().runs().len(), 1);
}

#[test]
fn what_is_known_of_a_merge_is_forgotten_with_the_runs_that_it_was_of() {
    let from = sender(1, 6);
    from.tables.merge_step(MergeGoal::Everything).unwrap().unwrap();
    let held = from.tables.hold().unwrap();
    let kept = [false, true].map(|has_merged| {
        let mut to = Modelled::new(&SimFs::new(2));
        for version in 1..=6 {
            let row = |n: u64| (format!("k{n:03}").into_bytes(), put(version, &"x".repeat(90)));
            to.add(&(0..60).map(row).collect());
        }
        if has_merged {
            let step = to.tables.merge_step(MergeGoal::Everything).unwrap().unwrap();
            assert_eq!(step.progress, MergeProgress::UnderWay);
        }
        transfer(&to.tables, &held).unwrap();
        to.tables.room_to_keep()
    });
    assert_eq!(kept[0], kept[1]);
}

#[test]
fn what_is_held_does_not_change_whatever_the_store_does() {
    let mut from = sender(1, 5);
    let held = from.tables.hold().unwrap();
    let state = Modelled { tables: tables(&SimFs::new(9)), state: from.state.clone(), index: 0 };
    let (manifest, parts) = (held.manifest_bytes(), held.parts().to_vec());
    from.add(&rows([("key-0001", put(200, "new")), ("other", put(200, "new"))]));
    from.merge_all(MergeGoal::Everything);
    assert_eq!((held.manifest_bytes(), held.parts().to_vec()), (manifest, parts));
    let to = tables(&SimFs::new(2));
    transfer(&to, &held).unwrap();
    check_set(&to.set(), &state.state, "the state of then");
    assert_eq!(to.manifest_head().as_ref(), Some(held.head()));
}

#[test]
fn a_store_without_a_manifest_has_no_snapshot_and_one_without_tables_has() {
    let from = tables(&SimFs::new(1));
    assert!(from.hold().is_none());
    from.add_run(head_of(3, &State::new()), &mut std::iter::empty()).unwrap();
    let held = from.hold().unwrap();
    assert!(held.parts().is_empty());
    let fs = SimFs::new(2);
    let mut to = Modelled::new(&fs);
    to.add(&rows([("a", put(1, "1"))]));
    transfer(&to.tables, &held).unwrap();
    assert!(to.tables.is_empty());
    check_set(&tables(&fs).set(), &State::new(), "reopened");
    check_no_leftovers(&fs, &to.tables, "nothing left");
}

#[test]
fn pieces_are_bounded_and_end_with_the_table() {
    let from = sender(1, 2);
    let held = from.tables.hold().unwrap();
    let bytes = held.parts()[0].bytes;
    assert_eq!(held.read(0, 0, usize::MAX).unwrap().len() as u64, bytes);
    assert_eq!(held.read(0, bytes - 3, 10).unwrap().len(), 3);
    for offset in [bytes, bytes + 1, u64::MAX] {
        assert!(held.read(0, offset, 10).unwrap().is_empty());
    }
    let refused = held.read(held.parts().len(), 0, 10);
    assert!(matches!(refused, Err(StorageError::BadSnapshot { .. })));
}
