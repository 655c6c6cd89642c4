//! Writers and watchers at the same time.

use std::collections::BTreeMap;
use std::thread;

use hightower_kv::{Command, KvEngine, SnapshotEngine, WatchEngine, WatchEvent, WatchOptions};

use crate::support::open_real;

const WRITERS: u32 = 3;
const WRITES: u32 = 2_500;

/// What writer `writer` writes: now and then a batch, whose keys must be told together.
fn write(engine: &impl KvEngine, writer: u32, n: u32) {
    let key = |part: u32| format!("w{writer}/{part}").into_bytes();
    let value = n.to_le_bytes().to_vec();
    if n.is_multiple_of(5) {
        let sets = (0..3).map(|part| Command::set(key(part), value.clone()));
        engine.submit(Command::batch(sets)).unwrap();
    } else {
        engine.put(key(0), value).unwrap();
    }
}

#[test]
fn every_watcher_is_told_the_writes_of_every_thread_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_real(directory.path());
    let watchers: Vec<_> =
        (0..WRITERS).map(|n| (n, engine.watch(format!("w{n}/").as_bytes()).unwrap())).collect();
    let mut all = engine.watch(b"w").unwrap();
    thread::scope(|scope| {
        for (writer, mut watcher) in watchers {
            scope.spawn(move || {
                let mut last = 0;
                for n in 0..WRITES {
                    let WatchEvent::Changed(entry) = watcher.next().unwrap() else {
                        panic!("not a change");
                    };
                    assert!(entry.version.0 > last);
                    last = entry.version.0;
                    let parts = if n.is_multiple_of(5) { 3 } else { 1 };
                    assert_eq!(entry.changes.len(), parts);
                    for (part, change) in entry.changes.iter().enumerate() {
                        assert_eq!(change.key, format!("w{writer}/{part}"));
                        assert_eq!(change.value.as_deref(), Some(n.to_le_bytes().as_slice()));
                    }
                }
            });
        }
        scope.spawn(move || {
            let mut last = 0;
            for _ in 0..WRITERS * WRITES {
                let WatchEvent::Changed(entry) = all.next().unwrap() else {
                    panic!("not a change");
                };
                assert!(entry.version.0 > last);
                last = entry.version.0;
            }
        });
        for writer in 0..WRITERS {
            let engine = &engine;
            scope.spawn(move || (0..WRITES).for_each(|n| write(engine, writer, n)));
        }
        scope.spawn(|| (0..3).for_each(|_| engine.flush().unwrap()));
    });
}

#[test]
fn a_state_that_is_followed_while_it_changes_ends_as_the_state() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_real(directory.path());
    (0..40).for_each(|n| write(&engine, 0, n));
    thread::scope(|scope| {
        let engine = &engine;
        for _ in 0..3 {
            scope.spawn(move || {
                let options = WatchOptions::new(b"w").with_state();
                let mut watcher = engine.watch_with(options).unwrap();
                let mut rows = BTreeMap::new();
                let mut is_over = false;
                while !is_over {
                    match watcher.next().unwrap() {
                        WatchEvent::Row { key, value, .. } => {
                            assert!(rows.insert(key, value).is_none());
                        }
                        WatchEvent::Current { .. } => {}
                        WatchEvent::Changed(entry) => {
                            for change in entry.changes {
                                is_over |= change.key == "w-end";
                                match change.value {
                                    Some(value) => rows.insert(change.key, value),
                                    None => rows.remove(&change.key),
                                };
                            }
                        }
                        other => panic!("unknown: {other:?}"),
                    }
                }
                let expected = engine.snapshot_state().rows_with_prefix(b"w").unwrap();
                assert!(rows.into_iter().eq(expected));
            });
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || (0..WRITES).for_each(|n| write(engine, writer, n))))
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        engine.submit(Command::delete_prefix("w1/")).unwrap();
        // A compaction takes the log that a watcher may still need: only behind the last write.
        engine.put(b"w-end".to_vec(), b"1".to_vec()).unwrap();
    });
}
