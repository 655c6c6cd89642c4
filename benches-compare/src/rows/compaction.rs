//! Puts and removals, and then a compaction of what they left, as one rate.

use std::time::Instant;

use super::bare_store::BareTree;
use super::{Group, Values, buffered, rate};
use crate::data::{Row, Shape};
use crate::failure::Result;
use crate::line::{Goal, Line, Unit};
use crate::scratch::{Scratch, write_synced};
use crate::store::{Opening, Store};
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

    /// As many records, the rows in a map in memory, and then what is left, in order, in one synced
    /// file: no checksum, no index, and nothing that a crash in between would leave whole.
    fn measure_bare(&mut self) -> Result<Values> {
        let directory = self.scratch.new_directory()?;
        let operations = SHAPE.rows + DELETES;
        let store = BareTree::new(&self.scratch, Shape { rows: operations, ..SHAPE })?;
        let mut rows = self.rows.clone();
        let deleted: Vec<Vec<u8>> =
            rows.iter().step_by(SHAPE.rows / DELETES).map(|row| row.key.clone()).collect();
        let started = Instant::now();
        rows.iter_mut().try_for_each(|row| store.put(row))?;
        deleted.iter().try_for_each(|key| store.delete(key))?;
        write_synced(&directory.path().join("left"), &store.in_order())?;
        Ok(vec![Some(rate(operations, started.elapsed()))])
    }
}
