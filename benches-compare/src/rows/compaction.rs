//! Puts and removals, and then a compaction of what they left, as one rate.

use std::time::Instant;

use super::{Group, Values, buffered, rate};
use crate::data::{Row, Shape};
use crate::failure::Result;
use crate::line::{Goal, Line, Unit};
use crate::scratch::Scratch;
use crate::store::Opening;
use crate::stores::Contender;

const SHAPE: Shape = Shape { rows: 20_000, key: 16, value: 100 };
const DELETES: usize = 4_000;

pub(super) struct Compaction {
    rows: Vec<Row>,
    scratch: Scratch,
}

impl Compaction {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Self { rows: SHAPE.rows(), scratch: scratch.clone() }
    }
}

impl Group for Compaction {
    fn lines(&self) -> Vec<Line> {
        // The best peer that moves data: redb finds nothing to move.
        let goals = vec![Goal::TimesPeer(Contender::Fjall, 3.0)];
        let mut line = buffered("compaction/run", Unit::PerSecond, SHAPE, goals);
        line.size.push_str(", 4,000 deletes");
        vec![line]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let directory = self.scratch.new_directory()?;
        let mut store = contender.open(directory.path(), Opening::COMPACTS)?;
        let mut rows = self.rows.clone();
        let deleted: Vec<Vec<u8>> =
            rows.iter().step_by(SHAPE.rows / DELETES).map(|row| row.key.clone()).collect();
        let started = Instant::now();
        for row in &mut rows {
            store.put(row)?;
        }
        for key in &deleted {
            store.delete(key)?;
        }
        let Some(compacted) = store.compact_alone() else { return Ok(vec![None]) };
        compacted?;
        Ok(vec![Some(rate(SHAPE.rows + deleted.len(), started.elapsed()))])
    }
}
