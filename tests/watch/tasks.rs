//! Watchers as tasks, polled by hand.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::{Command, Error, KvEngine, WatchEngine, WatchEvent};

use crate::support::{changed_version, open_real, open_sim};

#[derive(Default)]
struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_task_is_woken_by_what_it_watches_and_by_nothing_else() {
    let engine = open_sim(&SimFs::new(1));
    let counts = Arc::<Counts>::default();
    let waker = Waker::from(Arc::clone(&counts));
    let mut context = Context::from_waker(&waker);
    let mut watcher = engine.watch(b"a/").unwrap();
    let mut next = Box::pin(watcher.next_async());
    assert!(next.as_mut().poll(&mut context).is_pending());
    for key in ["a", "b/1", "a0"] {
        engine.put(key.into(), b"x".to_vec()).unwrap();
    }
    // What changes nothing concerns nobody.
    engine.delete(b"a/none".to_vec()).unwrap();
    engine.submit(Command::delete_prefix("a/")).unwrap();
    assert_eq!(counts.0.load(Ordering::SeqCst), 0);
    let version = engine.put(b"a/1".to_vec(), b"x".to_vec()).unwrap().version;
    assert_eq!(counts.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(event) = next.as_mut().poll(&mut context) else { panic!("no event") };
    assert_eq!(changed_version(&event.unwrap()), version.0);
    drop(next);
    // The value that it has already: nothing has changed.
    engine.put(b"a/1".to_vec(), b"x".to_vec()).unwrap();
    assert!(watcher.poll_next(&mut context).is_pending());
    engine.close().unwrap();
    assert_eq!(counts.0.load(Ordering::SeqCst), 2);
    assert!(matches!(watcher.poll_next(&mut context), Poll::Ready(Err(Error::Closed(_)))));
}

#[test]
fn a_future_that_is_given_up_again_and_again_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_real(directory.path());
    let mut watcher = engine.watch(b"n/").unwrap();
    let waker = Waker::noop();
    let mut told = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..2_000_u32 {
                engine.put(b"n/1".to_vec(), n.to_le_bytes().to_vec()).unwrap();
            }
        });
        while told.len() < 2_000 {
            let mut next = watcher.next_async();
            if let Poll::Ready(event) = Pin::new(&mut next).poll(&mut Context::from_waker(waker)) {
                told.push(event.unwrap());
            }
        }
    });
    for (n, event) in (0_u32..).zip(told) {
        let WatchEvent::Changed(entry) = event else { panic!("not a change") };
        assert_eq!(entry.changes[0].value.as_deref(), Some(n.to_le_bytes().as_slice()));
    }
}

#[test]
fn tasks_are_told_what_other_tasks_write() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Arc::new(open_real(directory.path()));
    let mut watchers: Vec<_> = (0..3).map(|_| engine.watch(b"t/").unwrap()).collect();
    thread::scope(|scope| {
        for watcher in &mut watchers {
            scope.spawn(move || {
                block_on(async {
                    for n in 0..1_000_u32 {
                        let WatchEvent::Changed(entry) = watcher.next_async().await.unwrap() else {
                            panic!("not a change");
                        };
                        let value = entry.changes[0].value.as_deref();
                        assert_eq!(value, Some(n.to_le_bytes().as_slice()));
                    }
                });
            });
        }
        let engine = &engine;
        scope.spawn(move || {
            block_on(async {
                for n in 0..1_000_u32 {
                    let value = n.to_le_bytes().to_vec();
                    engine.submit_async(Command::set("t/1", value)).await.unwrap();
                }
            });
        });
    });
}
