//! Every order in which a write and the steps of a watcher can meet.
//!
//! The source is come to and left at each point where a watcher lets go of its locks; between two
//! such points nothing can happen. So a write that is done at each of them in turn, and whose
//! wake-up comes at each later one, meets the watcher in every way there is.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::engine::watch::options::WatchOptions;
use crate::engine::watch::tests::fake::{Fake, Happens, Woken, summary};
use crate::engine::watch::watcher::Watcher;

/// More points than any run has: steps that were not due by then are done when the task sleeps.
const POINTS: usize = 26;

fn write(fake: &Fake) {
    let value = format!("{}", fake.len());
    fake.apply(&[("a", Some(value.as_str()))]);
}

fn write_elsewhere(fake: &Fake) {
    fake.apply(&[("b", Some("x"))]);
}

fn wake(fake: &Fake) {
    fake.registry.wake();
}

/// Polls as an executor does: only who was woken. Returns the versions that were told.
fn run(fake: &Arc<Fake>, watcher: &mut Watcher) -> Vec<u64> {
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut told = Vec::new();
    loop {
        let before = woken.count();
        loop {
            match watcher.poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(event) => {
                    let (version, what) = summary(event.unwrap());
                    assert_eq!(what, "+a");
                    told.push(version);
                }
                Poll::Pending if woken.count() > before => break,
                Poll::Pending => {
                    // It sleeps. What is still to be done is done now.
                    while woken.count() == before {
                        if !fake.do_next() {
                            return told;
                        }
                    }
                    break;
                }
            }
        }
    }
}

#[test]
fn a_write_at_any_point_of_the_work_of_a_watcher_is_told_once() {
    let mut runs = 0;
    for first in 0..POINTS {
        for first_wake in first..POINTS {
            for second in first_wake..POINTS {
                for second_wake in second..POINTS {
                    let fake = Fake::with_chunk(1);
                    fake.apply(&[("a", Some("0"))]);
                    let mut watcher =
                        fake.watch(WatchOptions::new("a").from_version(crate::types::Version(0)));
                    let steps: [Happens; 4] =
                        [(first, write), (first_wake, wake), (second, write), (second_wake, wake)];
                    fake.schedule(steps);
                    let told = run(&fake, &mut watcher);
                    assert_eq!(told, [0, 1, 2], "{first} {first_wake} {second} {second_wake}");
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 10_000, "{runs}");
}

#[test]
fn writes_without_a_wake_up_between_them_are_both_told() {
    for first in 0..POINTS {
        for elsewhere in first..POINTS {
            for second in elsewhere..POINTS {
                let fake = Fake::with_chunk(1);
                let mut watcher = fake.watch_prefix("a");
                let steps: [Happens; 4] =
                    [(first, write), (elsewhere, write_elsewhere), (second, write), (second, wake)];
                fake.schedule(steps);
                assert_eq!(run(&fake, &mut watcher), [0, 2], "{first} {elsewhere} {second}");
            }
        }
    }
}

#[test]
fn a_write_at_any_point_while_the_state_is_told_is_told_once() {
    for at in 0..POINTS {
        for wakes in at..POINTS {
            let fake = Fake::with_chunk(1);
            fake.apply(&[("a", Some("0"))]);
            let mut watcher = fake.watch(WatchOptions::new("a").with_state());
            let steps: [Happens; 2] = [(at, write), (wakes, wake)];
            fake.schedule(steps);
            let mut last_row = None;
            let mut changed = Vec::new();
            let mut current = None;
            for _ in 0..12 {
                match watcher.try_next().unwrap().map(summary) {
                    Some((version, what)) if what == "row a" => last_row = Some(version),
                    Some((version, what)) if what == "current" => current = Some(version),
                    Some((version, _)) => changed.push(version),
                    None => {
                        fake.do_next();
                    }
                }
            }
            assert_eq!(last_row, current, "{at} {wakes}");
            let both = match current {
                Some(0) => changed == [1],
                Some(1) => changed.is_empty(),
                _ => false,
            };
            assert!(both, "{at} {wakes}: {current:?}, then {changed:?}");
        }
    }
}
