//! Puts from several threads into one store.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use hightower_kv::{KvEngine, SingleNodeEngine};

use crate::data::Rows;

/// How long so many threads take that share the rows, each beginning when all are there: from the
/// first put of any to the last answer.
pub(crate) fn puts(store: &SingleNodeEngine, rows: Rows, threads: usize) -> Duration {
    shared_out(rows, threads, |key, value| {
        store.put(key, value).expect("a put");
    })
}

/// As [`puts`], with anything else in the place of a store.
pub(crate) fn shared_out(
    mut rows: Rows,
    threads: usize,
    put: impl Fn(Vec<u8>, Vec<u8>) + Sync,
) -> Duration {
    let each = rows.len() / threads;
    let start = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let mut handles = Vec::new();
        for _ in 0..threads {
            let mine = rows.split_off(rows.len() - each);
            let (start, put) = (&start, &put);
            handles.push(scope.spawn(move || {
                start.wait();
                let started = Instant::now();
                for (key, value) in mine {
                    put(key, value);
                }
                (started, Instant::now())
            }));
        }
        handles.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    let first = spans.iter().map(|span| span.0).min().expect("a thread");
    let last = spans.iter().map(|span| span.1).max().expect("a thread");
    last - first
}
