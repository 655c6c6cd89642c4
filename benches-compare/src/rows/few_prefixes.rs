//! Prefixes of 1,000 rows of a store with 10,000, just written.

use std::time::Instant;

use super::{Group, Values, buffered, rate};
use crate::data::{GROUP_ROWS, Row, Shape};
use crate::failure::{Failure, Result};
use crate::line::{Goal, Line, Unit};
use crate::scratch::Scratch;
use crate::store::{Opening, Scanned, Store};
use crate::stores::Contender;

const SHAPE: Shape = Shape { rows: 10_000, key: 16, value: 100 };
/// How often a repetition goes over every prefix.
const PASSES: usize = 20;

pub(super) struct FewPrefixes {
    rows: Vec<Row>,
    prefixes: Vec<Vec<u8>>,
    scratch: Scratch,
}

impl FewPrefixes {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Self { rows: SHAPE.rows(), prefixes: SHAPE.prefixes(), scratch: scratch.clone() }
    }
}

/// Lines for streamed rows and for rows as one list.
pub(super) fn prefix_lines(names: [&str; 2], shape: Shape) -> [Line; 2] {
    let [scan, list] = names;
    let line = |name, goals| buffered(name, Unit::RowsPerSecond, shape, goals);
    [line(scan, vec![Goal::TimesBest(1.0)]), line(list, vec![Goal::TimesPeer(Contender::Old, 2.0)])]
}

/// Rows a second: streamed, and as a list where the store has that.
pub(super) fn prefix_rates(
    store: &dyn Store,
    prefixes: &[Vec<u8>],
    passes: usize,
) -> Result<[Option<f64>; 2]> {
    let scan = scan_rate(store, prefixes, passes)?;
    let list = rate_of(prefixes, passes, |prefix| store.list_prefix(prefix))?;
    Ok([scan, list])
}

/// Rows a second, streamed.
pub(super) fn scan_rate(
    store: &dyn Store,
    prefixes: &[Vec<u8>],
    passes: usize,
) -> Result<Option<f64>> {
    rate_of(prefixes, passes, |prefix| Some(store.scan_prefix(prefix)))
}

fn rate_of(
    prefixes: &[Vec<u8>],
    passes: usize,
    scan: impl Fn(&[u8]) -> Option<Result<Scanned>>,
) -> Result<Option<f64>> {
    let started = Instant::now();
    for _ in 0..passes {
        for prefix in prefixes {
            let Some(scanned) = scan(prefix) else { return Ok(None) };
            let rows = scanned?.rows;
            if rows != GROUP_ROWS {
                return Err(Failure::new(format!("{rows} rows with a prefix")));
            }
        }
    }
    Ok(Some(rate(prefixes.len() * passes * GROUP_ROWS, started.elapsed())))
}

impl Group for FewPrefixes {
    fn lines(&self) -> Vec<Line> {
        prefix_lines(["prefix_10k/scan", "prefix_10k/get_prefix"], SHAPE).into()
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let directory = self.scratch.new_directory()?;
        let store = contender.open(directory.path(), Opening::BUFFERED)?;
        for row in &mut self.rows.clone() {
            store.put(row)?;
        }
        Ok(prefix_rates(&*store, &self.prefixes, PASSES)?.into())
    }
}
