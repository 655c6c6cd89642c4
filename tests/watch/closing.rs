//! What a watcher is told at its beginning and at the end of its store.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use hightower_kv::command::reserved_key;
use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::types::Timestamp;
use hightower_kv::{
    At, Error, KvEngine, ReadContext, SingleNodeEngine, SnapshotEngine, Version, WatchEngine,
    WatchEvent, WatchOptions,
};

use crate::support::{open_real, open_sim, sim_config, versions};
use crate::waking::{HANGS_AFTER, waits_for};

#[test]
fn closing_ends_a_watcher_that_waits() {
    let engine = open_sim(&SimFs::new(1));
    let mut watcher = engine.watch(b"a").unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(move || watcher.next_timeout(HANGS_AFTER));
        engine.close().unwrap();
        assert!(matches!(waits.join().unwrap(), Err(Error::Closed(_))));
    });
}

#[test]
fn a_failed_sync_ends_a_watcher_that_waits() {
    let sim = Env::simulated(2);
    let engine = SingleNodeEngine::with_env(&sim_config(), sim.env.clone()).unwrap();
    let mut watcher = engine.watch(b"a").unwrap();
    engine.put(b"a1".to_vec(), b"x".to_vec()).unwrap();
    let told = engine.latest_version();
    thread::scope(|scope| {
        let mut next = move || watcher.next_timeout(HANGS_AFTER);
        let waits = scope.spawn(move || (next(), next()));
        sim.fs.fail_all_syncs();
        assert!(engine.put(b"a2".to_vec(), b"x".to_vec()).is_err());
        let (first, second) = waits.join().unwrap();
        // What was acknowledged is told, what was not is not.
        let Some(WatchEvent::Changed(entry)) = first.unwrap() else { panic!("not a change") };
        assert_eq!(entry.version, told);
        assert!(matches!(second, Err(Error::Poisoned { .. })), "{second:?}");
    });
    assert!(matches!(engine.watch(b"a"), Err(Error::Poisoned { .. })));
}

#[test]
fn a_task_that_is_woken_by_a_failure_may_wait_for_another_thread() {
    let sim = Env::simulated(4);
    let engine = SingleNodeEngine::with_env(&sim_config(), sim.env.clone()).unwrap();
    let engine = Arc::new(engine);
    // It asks for what waits for writers.
    let asks = Arc::clone(&engine);
    let (waker, has_waited) = waits_for(move || {
        asks.snapshot_at(At::Time(Timestamp(u64::MAX))).unwrap_err();
    });
    let mut watcher = engine.watch(b"a").unwrap();
    let mut next = Box::pin(watcher.next_async());
    assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    sim.fs.fail_all_syncs();
    assert!(engine.put(b"c".to_vec(), b"x".to_vec()).is_err());
    assert_eq!(has_waited.recv().unwrap(), Ok(()), "the thread that failed waits for the task");
    let told = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(told, Poll::Ready(Err(Error::Poisoned { .. }))), "{told:?}");
}

#[test]
fn what_was_not_read_before_closing_is_told_from_the_position() {
    let fs = SimFs::new(3);
    let engine = open_sim(&fs);
    let mut busy = engine.watch(b"a").unwrap();
    let quiet = engine.watch(b"quiet").unwrap();
    engine.put(b"a1".to_vec(), b"1".to_vec()).unwrap();
    let first = engine.latest_version();
    assert_eq!(versions(&mut busy), [first.0]);
    engine.put(b"b".to_vec(), b"2".to_vec()).unwrap();
    let last = engine.latest_version();
    engine.close().unwrap();
    // It has missed nothing by now, so it moves on although nobody asked it in time.
    for watcher in [&busy, &quiet] {
        assert_eq!(watcher.position(), Some(Version(last.0 + 1)));
    }
    let engine = open_sim(&fs);
    let from = |version| engine.watch_with(WatchOptions::new(b"").from_version(version)).unwrap();
    assert_eq!(versions(&mut from(busy.position().unwrap())), [0; 0]);
    engine.put(b"a2".to_vec(), b"3".to_vec()).unwrap();
    assert_eq!(versions(&mut from(busy.position().unwrap())), [engine.latest_version().0]);
}

#[test]
fn a_directory_can_be_opened_while_a_watcher_of_the_last_handle_is_there() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..20_u32 {
        let engine = open_real(directory.path());
        let watchers: Vec<_> = (0..4).map(|_| engine.watch(b"").unwrap()).collect();
        thread::scope(|scope| {
            for mut watcher in watchers {
                scope.spawn(move || while watcher.next().is_ok() {});
            }
            for n in 0..50_u32 {
                engine.put(n.to_le_bytes().to_vec(), round.to_le_bytes().to_vec()).unwrap();
            }
            engine.close().unwrap();
            drop(open_real(directory.path()));
        });
    }
}

#[test]
fn the_reserved_keyspace_is_not_watched() {
    let engine = open_sim(&SimFs::new(4));
    let reserved = reserved_key(b"x");
    assert!(matches!(engine.watch(&reserved), Err(Error::ReservedKey)));
    assert!(engine.watch(&[0xff; 7]).is_ok());
}

#[test]
fn a_single_node_refuses_a_version_that_it_has_not_come_to() {
    let engine = open_sim(&SimFs::new(5));
    engine.put(b"a".to_vec(), b"1".to_vec()).unwrap();
    let last = engine.latest_version().0;
    let from = |version| engine.watch_with(WatchOptions::new(b"").from_version(Version(version)));
    let mut next = from(last + 1).unwrap();
    let asked = Version(last + 2);
    let refused = from(asked.0).unwrap_err();
    assert!(matches!(refused, Error::NotYet { asked: a, .. } if a == asked), "{refused}");
    engine.put(b"a".to_vec(), b"2".to_vec()).unwrap();
    assert_eq!(versions(&mut next), [last + 1]);
    let fresh = WatchOptions::new(b"").with_state_at(ReadContext::AtLeast(Version(last + 9)));
    assert!(matches!(engine.watch_with(fresh), Err(Error::NotYet { .. })));
}

#[test]
fn everything_there_ever_was_can_be_asked_for_while_the_log_has_it() {
    let engine = open_sim(&SimFs::new(6));
    let first = engine.latest_version().0 + 1;
    for n in 0..5 {
        engine.put(vec![b'a' + n], b"1".to_vec()).unwrap();
    }
    let from_the_first = WatchOptions::new(b"").from_version(Version(0));
    let mut watcher = engine.watch_with(from_the_first.clone()).unwrap();
    assert!(versions(&mut watcher).into_iter().eq(first..first + 5));
    engine.run_compaction_now().unwrap();
    let mut watcher = engine.watch_with(from_the_first).unwrap();
    let Err(Error::Compacted { oldest }) = watcher.try_next() else { panic!("not compacted") };
    assert!(oldest > Version(first + 4));
    let mut rest = engine.watch_with(WatchOptions::new(b"").from_version(oldest)).unwrap();
    engine.put(b"z".to_vec(), b"1".to_vec()).unwrap();
    assert_eq!(versions(&mut rest), [engine.latest_version().0]);
}

#[test]
fn a_callback_may_look_and_must_not_wait() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_real(directory.path());
    let mut watcher = engine.watch(b"a").unwrap();
    let (send, receive) = channel();
    let callback = Box::new(move |_| {
        let looked = watcher.try_next();
        let waited = (watcher.next(), watcher.next_timeout(Duration::from_secs(1)));
        send.send((looked, waited)).unwrap();
    });
    engine.submit_with(hightower_kv::Command::set("a", "1"), callback);
    let (looked, waited) = receive.recv().unwrap();
    assert!(looked.unwrap().is_some());
    assert!(matches!(waited, (Err(Error::Validation(_)), Err(Error::Validation(_)))));
}
