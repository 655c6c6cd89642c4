//! Row S28: a panic in the thread that commits. Everybody who waits is told, the store stops, and
//! opening it again finds what was acknowledged.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};

use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::{Command, Error, KvEngine, SingleNodeEngine, SnapshotEngine, StoreConfig};
use parking_lot::Mutex;

use crate::support::{Pairs, open_sim, open_sim_with, pairs, sim_config, within_reason};
use crate::waking::waits_for;

const THREADS: u8 = 6;

/// Submits from one thread until the store has stopped; returns what was acknowledged.
fn submit_until_stopped(engine: &SingleNodeEngine, thread: u8, asynchronous: bool) -> Pairs {
    let mut acknowledged = Pairs::new();
    for count in 0_u32.. {
        let key = vec![thread, u8::try_from(count % 7).unwrap()];
        let value = count.to_le_bytes().to_vec();
        let command = Command::set(key.clone(), value.clone());
        let submitted = catch_unwind(AssertUnwindSafe(|| {
            if asynchronous { engine.submit_async(command).wait() } else { engine.submit(command) }
        }));
        match submitted {
            Ok(Ok(_)) => drop(acknowledged.insert(key, value)),
            // This thread was the one that committed.
            Err(_) => return acknowledged,
            Ok(Err(error)) => {
                let is_told =
                    matches!(error, Error::OutcomeUnknown { .. } | Error::Poisoned { .. });
                assert!(is_told, "{error}");
                return acknowledged;
            }
        }
    }
    acknowledged
}

fn panic_while_committing(after: u64, workers: usize) {
    let fs = SimFs::new(after);
    let mut config = sim_config();
    config.worker_threads = workers;
    let engine = open_sim_with(&fs, &config).unwrap();
    fs.panic_at_operation(fs.operations() + after);
    let acknowledged = Mutex::new(Pairs::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, acknowledged) = (&engine, &acknowledged);
            // Half of them hand in and wait, where there is somebody to hand in to.
            let asynchronous = workers > 0 && thread % 2 == 0;
            scope.spawn(move || {
                let mine = submit_until_stopped(engine, thread, asynchronous);
                acknowledged.lock().extend(mine);
            });
        }
    });
    let acknowledged = acknowledged.into_inner();
    for _ in 0..3 {
        let error = engine.put(b"later".to_vec(), b"x".to_vec()).unwrap_err();
        assert!(matches!(error, Error::Poisoned { .. }), "{error}");
        let error = engine.submit_async(Command::delete("k")).wait().unwrap_err();
        assert!(matches!(error, Error::Poisoned { .. }), "{error}");
    }
    let image = fs.kill();
    fs.clear_plan();
    drop(engine);
    let reopened = open_sim(&image).unwrap();
    let found = pairs(&reopened.snapshot_state());
    for (key, value) in &acknowledged {
        let as_number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let is_there = found.get(key).is_some_and(|found| as_number(found) >= as_number(value));
        assert!(is_there, "panic after {after} operations: {key:?} is gone");
    }
}

#[test]
fn everybody_is_told_when_the_leader_panics() {
    within_reason(|| (1..60).for_each(|after| panic_while_committing(after, 0)));
}

#[test]
fn everybody_is_told_when_the_worker_panics() {
    within_reason(|| (1..60).for_each(|after| panic_while_committing(after, 2)));
}

#[test]
fn a_callback_that_panics_stops_the_store_and_not_its_callers() {
    within_reason(|| {
        let fs = SimFs::new(1);
        let mut config = sim_config();
        config.worker_threads = 1;
        let engine = open_sim_with(&fs, &config).unwrap();
        engine.put(b"before".to_vec(), b"1".to_vec()).unwrap();
        engine.submit_with(
            Command::set("with", "2"),
            Box::new(|_| panic!("planned panic in a callback")),
        );
        // Whatever becomes of the store, nobody waits for ever.
        let later = engine.submit_async(Command::set("later", "3")).wait();
        let told = match later {
            Ok(_) => true,
            Err(error) => {
                matches!(error, Error::OutcomeUnknown { .. } | Error::Poisoned { .. })
            }
        };
        assert!(told);
        drop(engine);
        let reopened = open_sim(&fs.kill()).unwrap();
        assert_eq!(reopened.get(b"before").unwrap().as_deref(), Some(b"1".as_slice()));
    });
}

/// Writes when it is dropped, as a lock does that is given back.
struct Unlocks(Arc<SingleNodeEngine>);

impl Drop for Unlocks {
    fn drop(&mut self) {
        self.0.put(b"lock".to_vec(), b"free".to_vec()).unwrap();
        self.0.run_compaction_now().unwrap();
    }
}

#[test]
fn a_panic_of_a_caller_does_not_stop_a_store_that_its_destructors_write_to_or_close() {
    for workers in [0, 1] {
        let fs = SimFs::new(3);
        let mut config = sim_config();
        config.worker_threads = workers;
        let engine = Arc::new(open_sim_with(&fs, &config).unwrap());
        engine.put(b"lock".to_vec(), b"held".to_vec()).unwrap();
        let lock = Unlocks(Arc::clone(&engine));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _lock = lock;
            panic!("of the caller");
        }));
        assert!(panicked.is_err());
        engine.put(b"later".to_vec(), b"1".to_vec()).unwrap();
        assert_eq!(engine.get(b"lock").unwrap().unwrap(), "free");
        // Closing writes what is in memory to a table.
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _last = engine;
            panic!("of the caller");
        }));
        assert!(panicked.is_err());
        let engine = open_sim_with(&fs, &config).unwrap();
        assert_eq!(engine.get(b"later").unwrap().unwrap(), "1");
        assert_eq!(engine.stats().tail_bytes, 0);
    }
}

/// Panics when it is woken.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker");
    }
}

#[test]
fn a_waker_that_panics_harms_nobody() {
    let engine = open_sim_with(&SimFs::new(7), &with_a_worker()).unwrap();
    for key in 0..20_u8 {
        let held = hold_the_worker(&engine);
        let mut handed_in = engine.submit_async(Command::set(vec![key], "1"));
        let panics = Waker::from(Arc::new(Panics));
        assert!(Pin::new(&mut handed_in).poll(&mut Context::from_waker(&panics)).is_pending());
        drop(held);
        // In the same round, or in the next one.
        assert!(engine.put(vec![100 + key], b"1".to_vec()).is_ok());
        assert!(handed_in.wait().is_ok());
    }
}

#[test]
fn a_task_that_is_answered_may_wait_for_a_writer() {
    let engine = Arc::new(open_sim_with(&SimFs::new(8), &with_a_worker()).unwrap());
    let writes = Arc::clone(&engine);
    let (waker, has_waited) = waits_for(move || {
        writes.put(b"by another".to_vec(), b"x".to_vec()).unwrap();
    });
    let held = hold_the_worker(&engine);
    let mut handed_in = engine.submit_async(Command::set("a", "1"));
    assert!(Pin::new(&mut handed_in).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(held);
    assert_eq!(has_waited.recv().unwrap(), Ok(()), "who commits waits for the task");
    assert!(handed_in.wait().is_ok());
}

/// Until what is returned is dropped, nothing that is handed in is committed: the thread that
/// commits is in a callback.
fn hold_the_worker(engine: &SingleNodeEngine) -> mpsc::Sender<()> {
    let (held, until) = mpsc::channel();
    engine.submit_with(
        Command::set("held", "1"),
        Box::new(move |answer| {
            assert!(answer.is_ok());
            assert!(until.recv().is_err(), "it is dropped");
        }),
    );
    held
}

fn with_a_worker() -> StoreConfig {
    let mut config = sim_config();
    config.worker_threads = 1;
    config
}
