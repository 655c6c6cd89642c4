//! How long the slowest puts take, without a compaction and during one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Group, Values, buffered};
use crate::data::{Row, Shape};
use crate::failure::{Failure, Result, While};
use crate::line::{Goal, Line, Unit};
use crate::scratch::Scratch;
use crate::store::{Opening, Store};
use crate::stores::Contender;

/// What the store holds before the puts that are timed, which overwrite.
const SHAPE: Shape = Shape { rows: 500_000, key: 16, value: 100 };
/// Puts that are timed without a compaction.
const PUTS: usize = 100_000;
/// The part of the puts that takes longer than what is told: one of so many.
const SLOWEST: usize = 100;

pub(super) struct Latency {
    rows: Vec<Row>,
    scratch: Scratch,
}

impl Latency {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Self { rows: SHAPE.rows(), scratch: scratch.clone() }
    }
}

impl Group for Latency {
    fn lines(&self) -> Vec<Line> {
        let line = |name, goals| buffered(name, Unit::Microseconds, SHAPE, goals);
        let goal = Goal::AtMostTimesLine("latency/put_p99".to_owned(), 3.0);
        vec![
            line("latency/put_p99", Vec::new()),
            line("latency/put_p99_during_compaction", vec![goal]),
        ]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let directory = self.scratch.new_directory()?;
        let store = contender.open(directory.path(), Opening::COMPACTS)?;
        if store.compact().is_none() {
            return Ok(vec![None, None]);
        }
        self.rows.clone().iter_mut().try_for_each(|row| store.put(row))?;
        // The same keys with other values, the first of them again and again.
        let mut others = self.rows.iter().map(|row| {
            let value = row.value.iter().rev().copied().collect();
            Row { key: row.key.clone(), value }
        });
        let mut before: Vec<Row> = others.by_ref().take(PUTS).collect();
        let mut during: Vec<Row> = others.collect();
        let alone = time_puts(&*store, &mut before, &AtomicBool::new(false))?;
        let beside = time_puts_beside_compaction(&*store, &mut during)?;
        Ok(vec![Some(slowest(alone)?), Some(slowest(beside)?)])
    }
}

/// Puts rows until there are no more or it is over, and tells how long each took.
fn time_puts(store: &dyn Store, rows: &mut [Row], is_over: &AtomicBool) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(rows.len());
    for row in rows {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let started = Instant::now();
        store.put(row)?;
        times.push(started.elapsed());
    }
    Ok(times)
}

fn time_puts_beside_compaction(store: &dyn Store, rows: &mut [Row]) -> Result<Vec<Duration>> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let compaction = scope.spawn(|| {
            let compacted = store.compact();
            is_over.store(true, Ordering::Relaxed);
            compacted.unwrap_or_else(|| Err(Failure::new("it has no compaction")))
        });
        let times = time_puts(store, rows, &is_over);
        compaction.join().unwrap_or_else(|_| Err(Failure::new("the compaction panicked")))?;
        times
    })
}

/// What 99 of 100 puts take at most, in microseconds.
fn slowest(mut times: Vec<Duration>) -> Result<f64> {
    times.sort_unstable();
    let at = times.len() - 1 - times.len() / SLOWEST;
    let time = times.get(at).during("a put was timed")?;
    Ok(time.as_secs_f64() * 1e6)
}
