//! What each call does.

use std::ops::Bound;

use hightower_kv::{
    Command, Condition, Durability, Guard, KvEngine, Outcome, ReadContext, Version,
};

use crate::engines::{Harness, contract};

contract!(
    a_write_is_there_for_every_later_read,
    a_value_that_a_key_has_already_moves_nothing,
    removing_tells_whether_anything_was_there,
    a_prefix_is_removed_whole_and_nothing_else,
    a_batch_is_all_or_nothing,
    guards_are_looked_at_when_the_command_is_applied,
    comparing_and_setting_goes_by_each_condition,
    rows_come_in_key_order_in_both_directions,
    prefixes_end_where_they_should,
    a_view_never_changes,
    each_read_context_sees_what_it_promises,
    versions_and_stamps_never_go_back,
    counting_counts_keys,
    large_values_come_back_whole,
    what_is_handed_in_is_applied_in_that_order,
    a_callback_gets_the_answer,
    syncing_returns,
    a_version_of_the_past_is_read_exactly,
);

fn row(key: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (key.as_bytes().to_vec(), value.as_bytes().to_vec())
}

fn put(engine: &impl KvEngine, key: &str, value: &str) -> Version {
    let (key, value) = row(key, value);
    let outcome = engine.put(key, value).unwrap();
    assert_eq!(outcome.outcome, Outcome::Applied);
    outcome.version
}

fn keys(engine: &impl KvEngine) -> Vec<String> {
    let view = engine.view(ReadContext::Linearizable).unwrap();
    view.scan::<&[u8]>(..).map(|row| String::from_utf8(row.unwrap().0.to_vec()).unwrap()).collect()
}

fn a_write_is_there_for_every_later_read<H: Harness>(harness: &H) {
    let engine = harness.engine();
    assert_eq!(engine.get(b"key").unwrap(), None);
    let outcome = engine.put(b"key".to_vec(), b"value".to_vec()).unwrap();
    assert_eq!(outcome.outcome, Outcome::Applied);
    assert_eq!(outcome.durability, Durability::Synced);
    assert_eq!(engine.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
    assert!(engine.contains(b"key").unwrap());
    let found = engine.get_versioned(b"key").unwrap().unwrap();
    assert_eq!(found.version, outcome.version);
    assert_eq!(found.timestamp, outcome.timestamp);
}

fn a_value_that_a_key_has_already_moves_nothing<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let first = put(&*engine, "key", "value");
    let again = engine.put(b"key".to_vec(), b"value".to_vec()).unwrap();
    assert_eq!((again.outcome, again.version), (Outcome::Unchanged, first));
    assert!(put(&*engine, "key", "other") > first);
}

fn removing_tells_whether_anything_was_there<H: Harness>(harness: &H) {
    let engine = harness.engine();
    assert_eq!(engine.delete(b"key".to_vec()).unwrap().outcome, Outcome::NotFound);
    put(&*engine, "key", "value");
    assert_eq!(engine.delete(b"key".to_vec()).unwrap().outcome, Outcome::Removed { keys: 1 });
    assert_eq!(engine.get(b"key").unwrap(), None);
    assert!(engine.is_empty().unwrap());
}

fn a_prefix_is_removed_whole_and_nothing_else<H: Harness>(harness: &H) {
    let engine = harness.engine();
    for key in ["a", "b/1", "b/2", "b/3", "c"] {
        put(&*engine, key, "x");
    }
    let removed = engine.submit(Command::delete_prefix("b/")).unwrap();
    assert_eq!(removed.outcome, Outcome::Removed { keys: 3 });
    assert_eq!(keys(&*engine), ["a", "c"]);
    let nothing = engine.submit(Command::delete_prefix("b/")).unwrap();
    assert_eq!(nothing.outcome, Outcome::NotFound);
}

fn a_batch_is_all_or_nothing<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let sets = vec![Command::set("a", "1"), Command::set("b", "2"), Command::delete("a")];
    let outcome = engine.submit_batch(sets).unwrap();
    assert_eq!(outcome.outcome, Outcome::Applied);
    assert_eq!(keys(&*engine), ["b"]);
    let refused =
        Command::guarded([Guard::absent("b")], [Command::set("c", "3"), Command::delete("b")]);
    let outcome = engine.submit(refused).unwrap().outcome;
    assert!(matches!(outcome, Outcome::GuardFailed { guard: 0, found: Some(_) }), "{outcome:?}");
    assert_eq!(keys(&*engine), ["b"]);
}

fn guards_are_looked_at_when_the_command_is_applied<H: Harness>(harness: &H) {
    let engine = harness.engine();
    // Handed in together: the second one's guard sees what the first one has done.
    let first = engine.submit_async(Command::set("key", "1"));
    let present = Command::guarded([Guard::present("key")], [Command::set("seen", "yes")]);
    let second = engine.submit_async(present);
    let absent = Command::guarded([Guard::absent("seen")], [Command::set("unseen", "yes")]);
    let third = engine.submit_async(absent);
    assert!(first.wait().unwrap().changed());
    assert!(second.wait().unwrap().changed());
    assert!(!third.wait().unwrap().is_applied());
    assert_eq!(keys(&*engine), ["key", "seen"]);
}

fn comparing_and_setting_goes_by_each_condition<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let cas = |condition: Condition, value: &str| {
        engine.compare_and_set(b"key".to_vec(), condition, value.as_bytes().to_vec()).unwrap()
    };
    assert!(!cas(Condition::Present, "0").is_applied());
    let first = cas(Condition::Absent, "1");
    assert!(first.is_applied() && !cas(Condition::Absent, "2").is_applied());
    let second = cas(Condition::VersionEquals(first.version), "3");
    assert!(second.is_applied());
    assert!(!cas(Condition::VersionEquals(first.version), "4").is_applied());
    assert!(cas(Condition::ValueEquals("3".into()), "5").is_applied());
    assert!(!cas(Condition::ValueEquals("3".into()), "6").is_applied());
    assert_eq!(engine.get(b"key").unwrap().as_deref(), Some(&b"5"[..]));
}

fn rows_come_in_key_order_in_both_directions<H: Harness>(harness: &H) {
    let engine = harness.engine();
    for key in ["d", "a", "c", "b"] {
        put(&*engine, key, key);
    }
    assert_eq!(keys(&*engine), ["a", "b", "c", "d"]);
    let view = engine.view(ReadContext::Linearizable).unwrap();
    let back: Vec<u8> = view.scan::<&[u8]>(..).rev().map(|row| row.unwrap().0[0]).collect();
    assert_eq!(back, b"dcba");
    let from_b = (Bound::Excluded(&b"a"[..]), Bound::Included(&b"c"[..]));
    let some: Vec<u8> = view.scan::<&[u8]>(from_b).map(|row| row.unwrap().0[0]).collect();
    assert_eq!(some, b"bc");
    let first: Vec<u8> =
        engine.scan::<&[u8], _>(..).unwrap().take(2).map(|row| row.unwrap().0[0]).collect();
    assert_eq!(first, b"ab");
}

fn prefixes_end_where_they_should<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let odd = [&b"a"[..], b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"];
    for key in odd {
        engine.put(key.to_vec(), b"x".to_vec()).unwrap();
    }
    let found = |prefix: &[u8]| engine.get_prefix(prefix).unwrap().len();
    assert_eq!(found(b"a"), 3);
    assert_eq!(found(b"a\xff"), 2);
    assert_eq!(found(b"\xff"), 2);
    assert_eq!(found(b""), 6);
    assert_eq!(found(b"c"), 0);
}

fn a_view_never_changes<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let version = put(&*engine, "key", "before");
    let view = engine.view(ReadContext::Linearizable).unwrap();
    let mut scan = engine.scan::<&[u8], _>(..).unwrap();
    put(&*engine, "key", "after");
    put(&*engine, "later", "x");
    assert_eq!(view.get(b"key").unwrap().as_deref(), Some(&b"before"[..]));
    assert_eq!((view.len(), view.version()), (1, Some(version)));
    assert_eq!(&*scan.next().unwrap().unwrap().1, b"before");
    assert!(scan.next().is_none());
}

fn each_read_context_sees_what_it_promises<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let version = put(&*engine, "key", "value");
    let fresh = [ReadContext::Linearizable, ReadContext::Lease, ReadContext::AtLeast(version)];
    for context in fresh {
        assert!(engine.view(context).unwrap().contains(b"key").unwrap(), "{context:?}");
    }
    // It was fresh just now, and no node goes back.
    assert!(engine.view(ReadContext::Local).unwrap().contains(b"key").unwrap());
}

fn versions_and_stamps_never_go_back<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let mut last = engine.put(b"key".to_vec(), b"0".to_vec()).unwrap();
    for at in 1..50_u8 {
        let next = engine.put(b"key".to_vec(), vec![at]).unwrap();
        assert!(next.version > last.version && next.timestamp >= last.timestamp);
        last = next;
    }
}

fn counting_counts_keys<H: Harness>(harness: &H) {
    let engine = harness.engine();
    assert!(engine.is_empty().unwrap());
    for at in 0..20 {
        put(&*engine, &format!("{at}"), "x");
    }
    engine.delete(b"3".to_vec()).unwrap();
    assert_eq!(engine.len().unwrap(), 19);
}

fn large_values_come_back_whole<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let value: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    engine.put(b"large".to_vec(), value.clone()).unwrap();
    assert!(engine.get(b"large").unwrap().as_deref() == Some(&*value));
}

fn what_is_handed_in_is_applied_in_that_order<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let handed: Vec<_> = (0..200_u32)
        .map(|at| engine.submit_async(Command::set("key", at.to_string().into_bytes())))
        .collect();
    let versions: Vec<Version> =
        handed.into_iter().map(|submission| submission.wait().unwrap().version).collect();
    assert!(versions.is_sorted_by(|one, other| one < other), "{versions:?}");
    assert_eq!(engine.get(b"key").unwrap().as_deref(), Some(&b"199"[..]));
}

fn a_callback_gets_the_answer<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let (send, receive) = std::sync::mpsc::channel();
    engine.submit_with(
        Command::set("key", "value"),
        Box::new(move |answer| send.send(answer).unwrap()),
    );
    let answer = receive.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
    assert!(answer.unwrap().changed());
    assert!(engine.contains(b"key").unwrap());
}

fn syncing_returns<H: Harness>(harness: &H) {
    let engine = harness.engine();
    put(&*engine, "key", "value");
    engine.flush().unwrap();
}

fn a_version_of_the_past_is_read_exactly<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let versions = ["one", "two", "three"].map(|value| put(&*engine, "key", value));
    engine.delete(b"key".to_vec()).unwrap();
    for (value, version) in ["one", "two", "three"].into_iter().zip(versions) {
        let view = engine.view(ReadContext::At(version)).unwrap();
        assert_eq!(view.get(b"key").unwrap().as_deref(), Some(value.as_bytes()));
        assert_eq!((view.version(), view.len()), (Some(version), 1));
    }
    assert!(engine.is_empty().unwrap());
}
