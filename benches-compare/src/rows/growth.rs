//! What puts, gets and scans cost in stores of different sizes.

use std::time::Instant;

use super::bare_store::BareTree;
use super::few_prefixes::scan_rate;
use super::few_reads::get_each;
use super::{Group, Values, buffered, rate};
use crate::data::{Row, Shape};
use crate::failure::Result;
use crate::line::{Goal, Line, Unit};
use crate::scratch::Scratch;
use crate::store::{Opening, Store};
use crate::stores::Contender;

/// The size that the others are measured against.
const LEAST_ROWS: usize = 10_000;
/// New rows that are put.
const PUTS: usize = 20_000;
const GETS: usize = 100_000;
/// Prefixes that are scanned, some of them more than once where there are fewer.
const SCANS: usize = 100;
/// A rate in a large store is at least this part of the one in the least: cost may grow by 1.5.
const OF_LEAST: f64 = 1.0 / 1.5;

struct Growth {
    shape: Shape,
    /// Made when they are first needed: not all sizes at once.
    rows: Vec<Row>,
    scratch: Scratch,
}

pub(super) fn groups(scratch: &Scratch, full: bool) -> Vec<Box<dyn Group>> {
    let mut sizes = vec![LEAST_ROWS, 100_000, 1_000_000];
    if full {
        sizes.push(10_000_000);
    }
    let group = |rows| {
        let shape = Shape { rows, key: 16, value: 100 };
        let group: Box<dyn Group> =
            Box::new(Growth { shape, rows: Vec::new(), scratch: scratch.clone() });
        group
    };
    sizes.into_iter().map(group).collect()
}

fn name(what: &str, rows: usize) -> String {
    format!("growth/{what}/{}k", rows / 1000)
}

impl Group for Growth {
    fn lines(&self) -> Vec<Line> {
        let line = |what, unit| {
            let rows = self.shape.rows;
            let goal = Goal::TimesLine(name(what, LEAST_ROWS), OF_LEAST);
            let goals = if rows == LEAST_ROWS { Vec::new() } else { vec![goal] };
            buffered(name(what, rows), unit, self.shape, goals)
        };
        vec![
            line("put", Unit::PerSecond),
            line("get", Unit::PerSecond),
            line("scan", Unit::RowsPerSecond),
        ]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        if self.rows.is_empty() {
            self.rows = self.shape.rows();
        }
        let directory = self.scratch.new_directory()?;
        let store = contender.open(directory.path(), Opening::BUFFERED)?;
        self.measure_store(&*store)
    }

    fn measure_bare(&mut self) -> Result<Values> {
        if self.rows.is_empty() {
            self.rows = self.shape.rows();
        }
        let records = Shape { rows: self.shape.rows + PUTS, ..self.shape };
        self.measure_store(&BareTree::new(&self.scratch, records)?)
    }
}

impl Growth {
    fn measure_store(&self, store: &dyn Store) -> Result<Values> {
        self.rows.iter().try_for_each(|row| store.put(&mut row.clone()))?;
        let keys = self.shape.drawn_keys(GETS);
        let prefixes = self.shape.prefixes();
        let prefixes: Vec<Vec<u8>> = prefixes.iter().cycle().take(SCANS).cloned().collect();

        let started = Instant::now();
        get_each(store, &keys)?;
        let get = rate(GETS, started.elapsed());
        let scan = scan_rate(store, &prefixes, 1)?;
        // Made only now: memory that nobody has touched for a while is slow where the machine is a
        // virtual one, and it would be the rows that are waited for.
        let mut more = Shape { rows: PUTS, ..self.shape }.rows_from(self.shape.rows);
        let started = Instant::now();
        more.iter_mut().try_for_each(|row| store.put(row))?;
        let put = rate(PUTS, started.elapsed());
        Ok(vec![Some(put), Some(get), scan])
    }
}
