//! Rows that were written and compacted, taken from the front one by one: the first key of a prefix
//! is looked for and removed, until none is left.

use std::time::Instant;

use super::{Group, Values, buffered, rate};
use crate::data::{Row, Shape};
use crate::failure::{Failure, Result};
use crate::line::{Line, Unit};
use crate::scratch::Scratch;
use crate::store::Opening;
use crate::stores::Contender;

/// More would take minutes where each look goes over all that was taken before.
const SHAPE: Shape = Shape { rows: 20_000, key: 16, value: 100 };

pub(super) struct Queue {
    rows: Vec<Row>,
    scratch: Scratch,
}

impl Queue {
    pub(super) fn new(scratch: &Scratch) -> Self {
        let numbered = |(number, row): (usize, Row)| {
            let key = format!("queue/{number:010}").into_bytes();
            Row { key, ..row }
        };
        let rows = SHAPE.rows().into_iter().enumerate().map(numbered).collect();
        Self { rows, scratch: scratch.clone() }
    }
}

impl Group for Queue {
    fn lines(&self) -> Vec<Line> {
        vec![buffered("queue/take", Unit::PerSecond, SHAPE, Vec::new())]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let directory = self.scratch.new_directory()?;
        let mut store = contender.open(directory.path(), Opening::COMPACTS)?;
        self.rows.clone().iter_mut().try_for_each(|row| store.put(row))?;
        store.compact_alone().unwrap_or(Ok(()))?;
        let started = Instant::now();
        for row in &self.rows {
            let Some(first) = store.first_key(b"queue/") else { return Ok(vec![None]) };
            let first = first?.filter(|first| *first == row.key);
            store.delete(&first.ok_or_else(|| Failure::new("the first row is there"))?)?;
        }
        Ok(vec![Some(rate(SHAPE.rows, started.elapsed()))])
    }
}
