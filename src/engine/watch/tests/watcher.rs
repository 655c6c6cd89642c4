//! What a watcher tells, and from where to where it reads.

use crate::command::reserved_key;
use crate::engine::watch::options::WatchOptions;
use crate::engine::watch::tests::fake::{Fake, drain};
use crate::error::Error;
use crate::types::Version;

#[test]
fn it_tells_what_is_committed_from_then_on() {
    let fake = Fake::new();
    fake.set("a1", "before");
    let mut watcher = fake.watch_prefix("a");
    assert_eq!(drain(&mut watcher), []);
    fake.set("a1", "x");
    fake.set("b", "x");
    fake.write(&[("a3", Some("x")), ("a2", None), ("b", None)]);
    assert_eq!(drain(&mut watcher), [(1, "+a1".into()), (3, "-a2 +a3".into())]);
    assert_eq!(drain(&mut watcher), []);
}

#[test]
fn it_begins_with_the_version_that_it_is_asked_for() {
    let fake = Fake::with_chunk(2);
    for n in 0..7 {
        fake.set(&format!("a{n}"), "x");
    }
    let mut watcher = fake.watch(WatchOptions::new("a").from_version(Version(4)));
    assert_eq!(drain(&mut watcher), [(4, "+a4".into()), (5, "+a5".into()), (6, "+a6".into())]);
}

#[test]
fn a_version_that_is_not_there_yet_is_waited_for() {
    let fake = Fake::new();
    fake.set("a", "0");
    let mut watcher = fake.watch(WatchOptions::new("a").from_version(Version(4)));
    assert_eq!(watcher.position(), Some(Version(4)));
    for n in 1..4 {
        fake.set("a", &n.to_string());
        assert_eq!(drain(&mut watcher), [], "{n}");
    }
    assert_eq!(watcher.position(), Some(Version(4)));
    fake.set("a", "4");
    assert_eq!(drain(&mut watcher), [(4, "+a".into())]);
}

#[test]
fn it_tells_the_state_and_then_what_follows() {
    let fake = Fake::new();
    fake.write(&[("a1", Some("x")), ("a2", Some("x")), ("b", Some("x"))]);
    fake.set("a3", "x");
    let mut watcher = fake.watch(WatchOptions::new("a").with_state());
    // Before the first call: a part of the state.
    fake.set("a4", "x");
    assert_eq!(watcher.position(), None);
    let first = watcher.try_next().unwrap().unwrap();
    assert_eq!(super::fake::summary(first), (0, "row a1".into()));
    // After it: not.
    fake.write(&[("a1", None), ("a9", Some("x"))]);
    assert_eq!(watcher.position(), None);
    assert_eq!(
        drain(&mut watcher),
        [
            (0, "row a2".into()),
            (1, "row a3".into()),
            (2, "row a4".into()),
            (2, "current".into()),
            (3, "-a1 +a9".into()),
        ]
    );
    assert_eq!(watcher.position(), Some(Version(4)));
}

#[test]
fn a_state_without_rows_is_current_at_once() {
    let fake = Fake::new();
    let mut watcher = fake.watch(WatchOptions::new("a").with_state());
    assert_eq!(drain(&mut watcher), [(0, "current".into())]);
    fake.set("a", "x");
    assert_eq!(drain(&mut watcher), [(0, "+a".into())]);
}

#[test]
fn a_long_state_is_told_in_pieces_and_whole() {
    let fake = Fake::new();
    let value = "x".repeat(3000);
    for n in 0..200 {
        fake.set(&format!("a{n:03}"), &value);
    }
    let mut watcher = fake.watch(WatchOptions::new("a").with_state());
    let told = drain(&mut watcher);
    let expected = (0..200).map(|n| (n, format!("row a{n:03}")));
    assert!(told.into_iter().eq(expected.chain([(199, "current".to_owned())])));
}

#[test]
fn its_position_is_where_another_goes_on() {
    let fake = Fake::with_chunk(2);
    let mut watcher = fake.watch_prefix("a");
    for n in 0..6 {
        fake.set(if n % 3 == 2 { "b" } else { "a" }, &n.to_string());
    }
    let mut told = Vec::new();
    loop {
        let position = watcher.position().unwrap();
        let mut other = fake.watch(WatchOptions::new("a").from_version(position));
        let rest = drain(&mut other);
        let Some(event) = watcher.try_next().unwrap() else {
            assert_eq!(rest, []);
            break;
        };
        let event = super::fake::summary(event);
        assert_eq!(rest.first(), Some(&event));
        told.push(event.0);
    }
    assert_eq!(told, [0, 1, 3, 4]);
}

#[test]
fn its_position_moves_with_what_does_not_concern_it() {
    let fake = Fake::new();
    let mut watcher = fake.watch_prefix("a");
    for _ in 0..5 {
        fake.set("b", "x");
    }
    assert_eq!(watcher.position(), Some(Version(5)));
    fake.set("a", "x");
    fake.set("b", "x");
    assert_eq!(watcher.position(), Some(Version(5)));
    assert_eq!(drain(&mut watcher), [(5, "+a".into())]);
    assert_eq!(watcher.position(), Some(Version(7)));
}

#[test]
fn what_does_not_concern_it_is_not_read() {
    let fake = Fake::with_chunk(100);
    let mut watcher = fake.watch_prefix("a");
    for n in 0..40 {
        fake.set(if n == 30 { "a" } else { "b" }, "x");
    }
    assert_eq!(drain(&mut watcher), [(30, "+a".into())]);
    for _ in 0..10 {
        fake.set("b", "x");
        assert_eq!(drain(&mut watcher), []);
    }
    let read = fake.read.lock();
    assert_eq!((read.len(), read.first()), (1, Some(&(30..40))));
}

#[test]
fn what_is_gone_is_told_and_the_watcher_stays_where_it_was() {
    let fake = Fake::new();
    let mut watcher = fake.watch_prefix("a");
    fake.set("a", "x");
    fake.set("a", "y");
    fake.purge(1);
    for _ in 0..2 {
        let error = watcher.try_next().unwrap_err();
        assert!(matches!(error, Error::Compacted { oldest: Version(1) }), "{error}");
    }
    assert_eq!(watcher.position(), Some(Version(0)));
}

#[test]
fn a_purge_of_what_does_not_concern_it_goes_unnoticed() {
    let fake = Fake::new();
    let mut watcher = fake.watch_prefix("a");
    for _ in 0..9 {
        fake.set("b", "x");
    }
    fake.purge(9);
    fake.set("a", "x");
    assert_eq!(drain(&mut watcher), [(9, "+a".into())]);
}

#[test]
fn a_state_that_is_put_in_place_of_another_leaves_no_silent_gap() {
    let fake = Fake::new();
    fake.set("a", "x");
    let mut quiet = fake.watch_prefix("quiet");
    let mut with_state = fake.watch(WatchOptions::new("a").with_state());
    fake.install(3);
    let error = quiet.try_next().unwrap_err();
    assert!(matches!(error, Error::Compacted { oldest: Version(4) }), "{error}");
    // The state is that of now: there is no gap behind it.
    assert_eq!(drain(&mut with_state), [(0, "row a".into()), (3, "current".into())]);
    fake.install(2);
    assert!(matches!(with_state.try_next(), Err(Error::Compacted { .. })));
}

#[test]
fn reserved_rows_are_not_shown() {
    let fake = Fake::new();
    let mut watcher = fake.watch_prefix("");
    let reserved = reserved_key(b"x");
    {
        // The key is no text, so it goes in by itself.
        let keys: [&[u8]; 1] = [&reserved];
        fake.registry.changed(crate::types::LogIndex(0), &keys);
    }
    assert_eq!(drain(&mut watcher), []);
    assert!(matches!(WatchOptions::new(&reserved).validate(), Err(Error::ReservedKey)));
    assert!(WatchOptions::new([0xff; 7]).validate().is_ok());
}

#[test]
fn dropping_it_takes_it_out() {
    let fake = Fake::new();
    let watchers: Vec<_> = (0..5).map(|n| fake.watch_prefix(&"abc"[..n % 3])).collect();
    assert_eq!(fake.registry.len(), 5);
    drop(watchers);
    assert!(fake.registry.is_empty());
    assert_eq!(fake.registry.prefixes(), 0);
}

#[test]
fn one_that_never_reads_is_marked_once() {
    let fake = Fake::new();
    let watcher = fake.watch_prefix("a");
    for n in 0..1000 {
        fake.set("a", &n.to_string());
    }
    assert_eq!(watcher.position(), Some(Version(0)));
    assert_eq!(*fake.read.lock(), []);
}

#[test]
fn everything_is_told_before_the_end_is() {
    let fake = Fake::new();
    let mut watcher = fake.watch_prefix("a");
    fake.set("a", "x");
    fake.end(Error::Poisoned { cause: "test".into() });
    assert_eq!(drain_until_error(&mut watcher), 1);
    assert!(matches!(watcher.try_next(), Err(Error::Poisoned { .. })));
}

fn drain_until_error(watcher: &mut crate::engine::watch::watcher::Watcher) -> usize {
    let mut told = 0;
    while let Ok(event) = watcher.try_next() {
        assert!(event.is_some());
        told += 1;
    }
    told
}

#[test]
fn one_whose_store_is_gone_is_closed() {
    let fake = Fake::new();
    let mut watcher = fake.watch_prefix("a");
    fake.set("b", "x");
    drop(fake);
    assert!(matches!(watcher.try_next(), Err(Error::Closed(_))));
    assert!(matches!(watcher.next(), Err(Error::Closed(_))));
    assert_eq!(watcher.position(), Some(Version(0)));
}
