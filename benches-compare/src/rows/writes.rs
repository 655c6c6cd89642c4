//! Puts from one thread into a new store, and the bare loop beside them: encode, checksum, one
//! write call.

use std::time::{Duration, Instant};

use super::{Group, Values, buffered, rate};
use crate::bare::BareLog;
use crate::data::{Row, Shape};
use crate::failure::Result;
use crate::line::{Goal, Line, Unit};
use crate::scratch::Scratch;
use crate::store::Opening;
use crate::stores::Contender;

/// How often a repetition of a short row is run, each time in a new store; what counts is the sum.
const SHORT_RUNS: usize = 5;
/// The least part of the bare loop's rate: within 1.5 times its time.
const OF_BARE: f64 = 1.0 / 1.5;

struct Writes {
    name: &'static str,
    shape: Shape,
    runs: usize,
    /// How many times the best peer's rate is wanted.
    times_best: f64,
    rows: Vec<Row>,
    scratch: Scratch,
}

pub(super) fn groups(scratch: &Scratch) -> Vec<Box<dyn Group>> {
    let shape = |rows, key, value| Shape { rows, key, value };
    let specs = [
        ("writes/put_1k/small", shape(1024, 16, 64), SHORT_RUNS, 2.0),
        ("writes/put_1k/medium", shape(1024, 16, 512), SHORT_RUNS, 2.0),
        ("writes/put_1k/large", shape(1024, 32, 4096), SHORT_RUNS, 1.5),
        ("writes/put_200k", shape(200_000, 16, 100), 1, 2.0),
    ];
    let group = |(name, shape, runs, times_best): (_, Shape, _, _)| {
        let (rows, scratch) = (shape.rows(), scratch.clone());
        let group: Box<dyn Group> =
            Box::new(Writes { name, shape, runs, times_best, rows, scratch });
        group
    };
    specs.map(group).into()
}

impl Writes {
    fn put_all(&self, contender: Contender) -> Result<Duration> {
        let directory = self.scratch.new_directory()?;
        let store = contender.open(directory.path(), Opening::BUFFERED)?;
        let mut rows = self.rows.clone();
        let started = Instant::now();
        for row in &mut rows {
            store.put(row)?;
        }
        Ok(started.elapsed())
    }

    fn append_all(&self) -> Result<Duration> {
        let directory = self.scratch.new_directory()?;
        let row_bytes = self.shape.key + self.shape.value;
        let mut log = BareLog::create(directory.path(), self.shape.rows, row_bytes);
        let started = Instant::now();
        for row in &self.rows {
            log.append(&row.key, &row.value);
        }
        Ok(started.elapsed())
    }

    fn rate_of(&self, run: impl Fn() -> Result<Duration>) -> Result<Values> {
        let mut time = Duration::ZERO;
        for _ in 0..self.runs {
            time += run()?;
        }
        Ok(vec![Some(rate(self.shape.rows * self.runs, time))])
    }
}

impl Group for Writes {
    fn lines(&self) -> Vec<Line> {
        let goals = vec![Goal::TimesBest(self.times_best), Goal::OfBare(OF_BARE)];
        vec![buffered(self.name, Unit::PerSecond, self.shape, goals)]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        self.rate_of(|| self.put_all(contender))
    }

    fn measure_bare(&mut self) -> Result<Values> {
        self.rate_of(|| self.append_all())
    }
}
