//! Puts that are on the device when they return, and the bare loop beside them: append to a
//! preallocated file, `fdatasync`. Of several threads whoever syncs does it for all who wait.

use std::sync::Arc;

use hightower_kv::env::fs::FsFile;
use parking_lot::Mutex;

use super::{Group, Values, rate, size_of};
use crate::bare::BareLog;
use crate::data::{Row, Shape};
use crate::failure::{Result, While};
use crate::line::{Goal, Line, Unit};
use crate::parallel;
use crate::scratch::Scratch;
use crate::store::Opening;
use crate::stores::Contender;

struct Durable {
    threads: usize,
    shape: Shape,
    goals: Vec<Goal>,
    rows: Vec<Row>,
    scratch: Scratch,
}

pub(super) fn groups(scratch: &Scratch) -> Vec<Box<dyn Group>> {
    let specs = [
        (1, 512, vec![Goal::OfBare(0.95)]),
        (16, 128, vec![Goal::AtLeast(60_000.0), Goal::TimesBest(5.0)]),
        (64, 64, vec![Goal::AtLeast(120_000.0), Goal::TimesBest(5.0)]),
    ];
    let group = |(threads, puts_each, goals)| {
        let shape = Shape { rows: threads * puts_each, key: 16, value: 64 };
        let (rows, scratch) = (shape.rows(), scratch.clone());
        let group: Box<dyn Group> = Box::new(Durable { threads, shape, goals, rows, scratch });
        group
    };
    specs.map(group).into()
}

impl Group for Durable {
    fn lines(&self) -> Vec<Line> {
        vec![Line {
            name: format!("durable/put/{}", self.threads),
            unit: Unit::PerSecond,
            durability: "synced",
            size: size_of(self.shape),
            goals: self.goals.clone(),
        }]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let directory = self.scratch.new_directory()?;
        let store = contender.open(directory.path(), Opening::SYNCED)?;
        let mut rows = self.rows.clone();
        let parts = rows.chunks_mut(self.shape.rows / self.threads).collect();
        let time = parallel::timed(parts, |part: &mut [Row]| {
            part.iter_mut().try_for_each(|row| store.put(row))
        })?;
        Ok(vec![Some(rate(self.shape.rows, time))])
    }

    fn measure_bare(&mut self) -> Result<Values> {
        let directory = self.scratch.new_directory()?;
        let row_bytes = self.shape.key + self.shape.value;
        let log = BareLog::create(directory.path(), self.shape.rows, row_bytes);
        log.file.sync().during("a bare sync")?;
        let group = BareGroup::new(log);
        let parts = self.rows.chunks(self.shape.rows / self.threads).collect();
        let time =
            parallel::timed(parts, |part: &[Row]| part.iter().try_for_each(|row| group.put(row)))?;
        Ok(vec![Some(rate(self.shape.rows, time))])
    }
}

/// The least that commits in groups: no state, no queue, two locks.
struct BareGroup {
    file: Arc<dyn FsFile>,
    /// With how many records there are in it.
    log: Mutex<(BareLog, u64)>,
    /// How many of them are on the device. Held while somebody syncs.
    synced: Mutex<u64>,
}

impl BareGroup {
    fn new(log: BareLog) -> Self {
        let file = Arc::clone(&log.file);
        Self { file, log: Mutex::new((log, 0)), synced: Mutex::new(0) }
    }

    fn put(&self, row: &Row) -> Result<()> {
        let own = {
            let (log, records) = &mut *self.log.lock();
            log.append(&row.key, &row.value);
            *records += 1;
            *records
        };
        let mut synced = self.synced.lock();
        if *synced < own {
            let records = self.log.lock().1;
            self.file.sync().during("a bare sync")?;
            *synced = records;
        }
        Ok(())
    }
}
