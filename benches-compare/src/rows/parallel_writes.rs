//! Puts from several threads into a new store.

use std::time::Duration;

use super::bare_store::BareStore;
use super::{Group, Values, buffered, rate};
use crate::data::{Row, Shape};
use crate::failure::Result;
use crate::line::{Goal, Line, Unit};
use crate::parallel;
use crate::scratch::Scratch;
use crate::store::{Opening, Store};
use crate::stores::Contender;

const SHAPE: Shape = Shape { rows: 4096, key: 32, value: 256 };
/// How often a repetition is run, each time in a new store; what counts is the sum.
const RUNS: usize = 3;

struct ParallelWrites {
    threads: usize,
    rows: Vec<Row>,
    scratch: Scratch,
}

pub(super) fn groups(scratch: &Scratch) -> Vec<Box<dyn Group>> {
    let group = |threads| {
        let (rows, scratch) = (SHAPE.rows(), scratch.clone());
        let group: Box<dyn Group> = Box::new(ParallelWrites { threads, rows, scratch });
        group
    };
    [1, 2, 4, 8].map(group).into()
}

fn name(threads: usize) -> String {
    format!("writes_parallel/{threads}")
}

impl ParallelWrites {
    fn put_all(&self, store: &dyn Store) -> Result<Duration> {
        let mut rows = self.rows.clone();
        let parts = rows.chunks_mut(SHAPE.rows / self.threads).collect();
        parallel::timed(parts, |part: &mut [Row]| {
            part.iter_mut().try_for_each(|row| store.put(row))
        })
    }
}

impl Group for ParallelWrites {
    fn lines(&self) -> Vec<Line> {
        let mut goals = vec![Goal::TimesBest(2.0)];
        if self.threads > 1 {
            goals.push(Goal::TimesLine(name(1), 1.0));
        }
        vec![buffered(name(self.threads), Unit::PerSecond, SHAPE, goals)]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let mut time = Duration::ZERO;
        for _ in 0..RUNS {
            let directory = self.scratch.new_directory()?;
            let store = contender.open(directory.path(), Opening::BUFFERED)?;
            time += self.put_all(&*store)?;
        }
        Ok(vec![Some(rate(SHAPE.rows * RUNS, time))])
    }

    /// One bare loop, which the threads take turns in.
    fn measure_bare(&mut self) -> Result<Values> {
        let mut time = Duration::ZERO;
        for _ in 0..RUNS {
            let store = BareStore::new(&self.scratch, Vec::new(), SHAPE)?;
            time += self.put_all(&store)?;
        }
        Ok(vec![Some(rate(SHAPE.rows * RUNS, time))])
    }
}
