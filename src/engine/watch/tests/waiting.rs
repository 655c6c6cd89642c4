//! Waiting: on a thread, for a time, as a task.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::engine::watch::options::WatchOptions;
use crate::engine::watch::tests::fake::{Fake, Woken, drain, summary};
use crate::error::Error;
use crate::types::Version;

const WRITES: u64 = 3_000;

#[test]
fn a_thread_that_waits_is_told_every_write() {
    let fake = Fake::with_chunk(5);
    thread::scope(|scope| {
        for prefix in ["a", "a", "", "a1"] {
            let mut watcher = fake.watch_prefix(prefix);
            scope.spawn(move || {
                let mut next = 0;
                while next < WRITES {
                    let (version, _) = summary(watcher.next().unwrap());
                    assert_eq!(version, next);
                    next += 1;
                }
            });
        }
        for n in 0..WRITES {
            fake.set("a1", &n.to_string());
        }
    });
}

#[test]
fn a_time_that_is_over_is_no_event_and_no_error() {
    let fake = Fake::new();
    let mut watcher = fake.watch_prefix("a");
    assert_eq!(watcher.next_timeout(Duration::from_millis(1)).unwrap(), None);
    assert_eq!(watcher.next_timeout(Duration::ZERO).unwrap(), None);
    fake.set("a", "x");
    assert!(watcher.next_timeout(Duration::ZERO).unwrap().is_some());
}

#[test]
fn a_task_is_woken_once_by_what_concerns_it() {
    let fake = Fake::new();
    let mut watcher = fake.watch_prefix("a");
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    {
        let mut next = pin!(watcher.next_async());
        assert!(next.as_mut().poll(&mut context).is_pending());
        fake.set("b", "x");
        assert_eq!(woken.count(), 0);
        fake.set("a", "x");
        fake.set("a", "y");
        assert_eq!(woken.count(), 1);
        let Poll::Ready(event) = next.as_mut().poll(&mut context) else { panic!("no event") };
        assert_eq!(summary(event.unwrap()), (1, "+a".into()));
    }
    assert_eq!(drain(&mut watcher), [(2, "+a".into())]);
}

#[test]
fn a_future_that_is_dropped_loses_nothing_and_is_forgotten() {
    let fake = Fake::new();
    let mut watcher = fake.watch_prefix("a");
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    assert!(pin!(watcher.next_async()).poll(&mut context).is_pending());
    drop(waker);
    assert_eq!(Arc::strong_count(&woken), 1, "the task is kept");
    fake.set("a", "x");
    assert_eq!(woken.count(), 0);
    assert_eq!(drain(&mut watcher), [(0, "+a".into())]);
}

#[test]
fn a_task_that_is_behind_lets_others_run() {
    let fake = Fake::with_chunk(1);
    for n in 0..9 {
        fake.set(if n == 8 { "a" } else { "b" }, "x");
    }
    let mut watcher = fake.watch(WatchOptions::new("a").from_version(Version(0)));
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut polls = 0;
    let event = loop {
        polls += 1;
        match watcher.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(event) => break event.unwrap(),
            Poll::Pending => assert_eq!(woken.count(), polls),
        }
    };
    assert_eq!(summary(event), (8, "+a".into()));
    assert_eq!(polls, 9);
}

#[test]
fn the_end_of_the_store_wakes_who_waits() {
    for ends in 0..20 {
        let fake = Fake::new();
        let mut watcher = fake.watch_prefix("a");
        let mut other = fake.watch_prefix("b");
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        assert!(other.poll_next(&mut Context::from_waker(&waker)).is_pending());
        thread::scope(|scope| {
            let waits = scope.spawn(move || watcher.next());
            // At the beginning, in the middle, or when it waits already.
            (0..ends * 50).for_each(|_| thread::yield_now());
            fake.end(Error::Poisoned { cause: "test".into() });
            assert!(matches!(waits.join().unwrap(), Err(Error::Poisoned { .. })));
        });
        assert_eq!(woken.count(), 1);
        let polled = other.poll_next(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Ready(Err(Error::Poisoned { .. }))));
    }
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of the test");
        }
    }
    let fake = Fake::new();
    let mut first = fake.watch_prefix("a");
    let mut second = fake.watch_prefix("a");
    let panics = Waker::from(Arc::new(Panics));
    let woken = Arc::<Woken>::default();
    let counts = Waker::from(Arc::clone(&woken));
    assert!(first.poll_next(&mut Context::from_waker(&panics)).is_pending());
    assert!(second.poll_next(&mut Context::from_waker(&counts)).is_pending());
    fake.set("a", "x");
    assert_eq!(woken.count(), 1);
    assert_eq!(drain(&mut first), [(0, "+a".into())]);
}
