//! The same work on several threads, timed from the first beginning to the last end.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result, While};

/// Does the work with each part on a thread of its own, all beginning at once; on this thread when
/// there is one part.
pub(crate) fn timed<P: Send>(
    parts: Vec<P>,
    work: impl Fn(P) -> Result<()> + Sync,
) -> Result<Duration> {
    let start = Barrier::new(parts.len());
    let run = |part| {
        start.wait();
        let started = Instant::now();
        work(part)?;
        Ok((started, Instant::now()))
    };
    let is_alone = parts.len() == 1;
    let spans: Vec<Result<(Instant, Instant)>> = if is_alone {
        parts.into_iter().map(run).collect()
    } else {
        thread::scope(|scope| {
            let run = &run;
            let threads = parts.into_iter().map(|part| scope.spawn(move || run(part)));
            let threads: Vec<_> = threads.collect();
            let panicked = |_| Err(Failure::new("a thread panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        })
    };
    let spans: Vec<(Instant, Instant)> = spans.into_iter().collect::<Result<_>>()?;
    let first = spans.iter().map(|span| span.0).min().during("at least one thread")?;
    let last = spans.iter().map(|span| span.1).max().during("at least one thread")?;
    Ok(last - first)
}
