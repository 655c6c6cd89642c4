//! Gets of 4,096 keys: just written, after the store was closed and opened again, and once more
//! and again.

use std::time::Duration;

use super::bare_store::BareTree;
use super::{Group, Values, buffered, rate};
use crate::data::{Row, Shape, keys_shuffled};
use crate::failure::{Failure, Result, While};
use crate::line::{Goal, Line, Unit, median};
use crate::parallel;
use crate::scratch::Scratch;
use crate::store::{Opening, Store};
use crate::stores::Contender;

const SHAPE: Shape = Shape { rows: 4096, key: 16, value: 64 };
/// Stores that a repetition writes, reads once and opens again; what counts is the median.
const STORES: usize = 5;
/// How often every key is got in the warm rows.
const PASSES: usize = 20;

pub(super) struct FewReads {
    rows: Vec<Row>,
    /// The keys in another order than they are written.
    keys: Vec<Vec<u8>>,
    scratch: Scratch,
}

impl FewReads {
    pub(super) fn new(scratch: &Scratch) -> Self {
        let rows = SHAPE.rows();
        let keys = keys_shuffled(&rows);
        Self { rows, keys, scratch: scratch.clone() }
    }

    fn get(&self, store: &dyn Store, readers: usize, passes: usize) -> Result<f64> {
        // Readers begin in different places: they do not ask for the same key at the same time.
        let begins = (0..readers).map(|reader| self.keys.len() / readers * reader);
        let time = parallel::timed(begins.collect(), |begin| {
            let (later, sooner) = self.keys.split_at(begin);
            (0..passes).try_for_each(|_| {
                get_each(store, sooner)?;
                get_each(store, later)
            })
        })?;
        Ok(rate(SHAPE.rows * readers * passes, time))
    }

    fn get_by_view(&self, store: &dyn Store) -> Result<f64> {
        let time: Duration = parallel::timed(vec![()], |()| {
            for _ in 0..PASSES {
                if store.get_all(&self.keys)? != self.keys.len() {
                    return Err(Failure::new("a key is not there"));
                }
            }
            Ok(())
        })?;
        Ok(rate(SHAPE.rows * PASSES, time))
    }
}

/// Gets each key by itself; all are there.
pub(super) fn get_each(store: &dyn Store, keys: &[Vec<u8>]) -> Result<()> {
    for key in keys {
        if store.get(key)?.is_none() {
            return Err(Failure::new("a key is not there"));
        }
    }
    Ok(())
}

impl Group for FewReads {
    fn lines(&self) -> Vec<Line> {
        let line = |name, goals| buffered(name, Unit::PerSecond, SHAPE, goals);
        let two = vec![Goal::TimesLine("gets_4k/warm".to_owned(), 1.8)];
        vec![
            line("gets_4k/hot", vec![Goal::TimesBest(1.5)]),
            line("gets_4k/reopened", vec![Goal::TimesBest(1.5)]),
            line("gets_4k/warm", Vec::new()),
            line("gets_4k/warm_view", Vec::new()),
            line("gets_4k/warm_2_readers", two),
        ]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let (mut hot, mut reopened) = (Vec::new(), Vec::new());
        let mut last = None;
        for _ in 0..STORES {
            drop(last.take());
            let directory = self.scratch.new_directory()?;
            let store = contender.open(directory.path(), Opening::BUFFERED)?;
            for row in &mut self.rows.clone() {
                store.put(row)?;
            }
            hot.push(self.get(&*store, 1, 1)?);
            drop(store);
            let store = contender.open(directory.path(), Opening::BUFFERED)?;
            reopened.push(self.get(&*store, 1, 1)?);
            // The store first: it is closed before its directory is removed.
            last = Some((store, directory));
        }
        let last = last.during("a store was written")?;
        let store = &*last.0;
        let warm = self.get(store, 1, PASSES)?;
        let view = self.get_by_view(store)?;
        let two = self.get(store, 2, PASSES)?;
        Ok(vec![median(hot), median(reopened), Some(warm), Some(view), Some(two)])
    }

    /// An ordered map in memory behind a lock: what a store comes down to that has all of its rows
    /// in memory and in order.
    fn measure_bare(&mut self) -> Result<Values> {
        let store = BareTree::new(&self.scratch, SHAPE)?;
        self.rows.clone().iter_mut().try_for_each(|row| store.put(row))?;
        let once = self.get(&store, 1, 1)?;
        let warm = self.get(&store, 1, PASSES)?;
        let view = self.get_by_view(&store)?;
        let two = self.get(&store, 2, PASSES)?;
        Ok([once, once, warm, view, two].map(Some).into())
    }
}
