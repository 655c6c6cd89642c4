//! Bytes on the device beside the bytes of the user.

use super::{Group, Values, buffered};
use crate::bare::BareLog;
use crate::child::MILLION;
use crate::data::{Row, Shape};
use crate::failure::{Failure, Result, While};
use crate::line::{Goal, Line, Unit};
use crate::scratch::{Scratch, Written, occupied_bytes, write_synced, written};
use crate::store::Opening;
use crate::stores::Contender;

/// What is overwritten again and again.
const OVERWRITTEN: Shape = Shape { rows: 200_000, key: 16, value: 100 };
/// How often.
const ROUNDS: usize = 6;

/// What the directory occupies after a fifth of a million rows was overwritten, the store was
/// compacted, where it has that, and closed.
pub(super) struct Size {
    rows: Vec<Row>,
    scratch: Scratch,
}

impl Size {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Self { rows: MILLION.rows(), scratch: scratch.clone() }
    }
}

impl Group for Size {
    fn lines(&self) -> Vec<Line> {
        let goals = vec![Goal::AtMost(1.15)];
        vec![buffered("disk/size_compacted", Unit::Times, MILLION, goals)]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let directory = self.scratch.new_directory()?;
        let mut store = contender.open(directory.path(), Opening::COMPACTS)?;
        self.rows.clone().iter_mut().try_for_each(|row| store.put(row))?;
        for row in self.rows.iter().step_by(5) {
            store.put(&mut with_round(row, 1))?;
        }
        if let Some(compacted) = store.compact_alone() {
            compacted?;
        }
        drop(store);
        let bytes = occupied_bytes(directory.path())?;
        Ok(vec![Some(bytes as f64 / MILLION.bytes() as f64)])
    }
}

/// What a store writes for each byte put, from the first put until it is closed, with whatever it
/// does by itself meanwhile.
pub(super) struct WrittenBytes {
    rows: Vec<Row>,
    scratch: Scratch,
}

impl WrittenBytes {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Self { rows: OVERWRITTEN.rows(), scratch: scratch.clone() }
    }
}

impl Group for WrittenBytes {
    fn lines(&self) -> Vec<Line> {
        let line = |name| {
            let goals = vec![Goal::AtMost(2.2)];
            let mut line = buffered(name, Unit::Times, OVERWRITTEN, goals);
            line.size.push_str(", 6 times");
            line
        };
        vec![line("disk/written_by_calls"), line("disk/written_to_device")]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let Some(before) = written() else { return Ok(vec![None, None]) };
        let directory = self.scratch.new_directory()?;
        let store = contender.open(directory.path(), Opening::BUFFERED)?;
        for round in 0..ROUNDS {
            for row in &self.rows {
                store.put(&mut with_round(row, round))?;
            }
            // What is overwritten while it waits would never be written: not so in the long run.
            store.sync()?;
        }
        drop(store);
        times_the_bytes_put(before)
    }

    /// Each row to a log and once more to a sorted file, which is then never rewritten.
    fn measure_bare(&mut self) -> Result<Values> {
        let Some(before) = written() else { return Ok(vec![None, None]) };
        for round in 0..ROUNDS {
            let directory = self.scratch.new_directory()?;
            let Shape { rows, key, value } = OVERWRITTEN;
            let mut log = BareLog::create(directory.path(), rows, key + value);
            let mut sorted = Vec::new();
            for row in &self.rows {
                let row = with_round(row, round);
                log.append(&row.key, &row.value);
                sorted.push(row);
            }
            log.file.sync().during("the log of the bare loop")?;
            sorted.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            let rows = sorted.into_iter().flat_map(|row| [row.key, row.value].concat());
            write_synced(&directory.path().join("rows"), &rows.collect::<Vec<u8>>())?;
        }
        times_the_bytes_put(before)
    }
}

/// What was written since then for each byte put, as calls and as pages.
fn times_the_bytes_put(before: Written) -> Result<Values> {
    let after = written().ok_or_else(|| Failure::new("/proc/self/io is gone"))?;
    let bytes = OVERWRITTEN.bytes() as f64 * ROUNDS as f64;
    let times = |after: u64, before: u64| Some(after.saturating_sub(before) as f64 / bytes);
    Ok(vec![times(after.calls, before.calls), times(after.device, before.device)])
}

/// The row with another value in each round: setting the one that is there may change nothing.
fn with_round(row: &Row, round: usize) -> Row {
    let mut row = row.clone();
    let number = (round as u64).to_le_bytes();
    for (byte, changed) in row.value.iter_mut().zip(number) {
        *byte ^= changed;
    }
    row
}
