//! Puts and removals, and then a compaction of what they left, as one rate.

use std::time::Instant;

use super::{Group, Values, buffered, rate};
use crate::bare::BareLog;
use crate::data::{Row, Shape};
use crate::failure::Result;
use crate::line::{Goal, Line, Unit};
use crate::scratch::{Scratch, write_synced};
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

    /// As many records, and then what is left in one synced file.
    fn measure_bare(&mut self) -> Result<Values> {
        let directory = self.scratch.new_directory()?;
        let operations = SHAPE.rows + DELETES;
        let mut log = BareLog::create(directory.path(), operations, SHAPE.key + SHAPE.value);
        let started = Instant::now();
        self.rows.iter().for_each(|row| log.append(&row.key, &row.value));
        let mut left = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            if at % (SHAPE.rows / DELETES) == 0 {
                log.append(&row.key, &[]);
            } else {
                left.extend_from_slice(&row.key);
                left.extend_from_slice(&row.value);
            }
        }
        write_synced(&directory.path().join("left"), &left)?;
        Ok(vec![Some(rate(operations, started.elapsed()))])
    }
}
