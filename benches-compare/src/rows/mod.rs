//! The rows of the yardstick. Lines that share their preparation are a group.

use crate::data::Shape;
use crate::failure::Result;
use crate::line::{Goal, Line, Unit};
use crate::scratch::Scratch;
use crate::settings::Settings;
use crate::stores::Contender;
use crate::table::thousands;

mod bare_store;
mod writes;
mod parallel_writes;
mod durable;
mod few_reads;
mod million;
mod few_prefixes;
mod compaction;
mod queue;
mod latency;
mod reopen;
mod disk;
mod growth;

/// One value a line, in the unit of the line; `None` where the store cannot do what is measured.
pub(crate) type Values = Vec<Option<f64>>;

/// Lines that are measured together.
pub(crate) trait Group {
    /// What is measured, in this order.
    fn lines(&self) -> Vec<Line>;

    /// One repetition with one store.
    fn measure(&mut self, contender: Contender) -> Result<Values>;

    /// One repetition of the bare loop; empty when there is none beside these lines.
    fn measure_bare(&mut self) -> Result<Values> {
        Ok(Vec::new())
    }
}

/// All groups, in the order of the table.
pub(crate) fn all(settings: &Settings) -> Result<Vec<Box<dyn Group>>> {
    let scratch = Scratch::below(&settings.directory)?;
    let mut groups: Vec<Box<dyn Group>> = Vec::new();
    groups.extend(writes::groups(&scratch));
    groups.extend(parallel_writes::groups(&scratch));
    groups.extend(durable::groups(&scratch));
    groups.push(Box::new(few_reads::FewReads::new(&scratch)));
    groups.push(Box::new(million::MillionReads::new(&scratch)));
    groups.push(Box::new(few_prefixes::FewPrefixes::new(&scratch)));
    groups.push(Box::new(compaction::Compaction::new(&scratch)));
    groups.push(Box::new(queue::Queue::new(&scratch)));
    groups.push(Box::new(latency::Latency::new(&scratch)));
    groups.extend(reopen::groups(&scratch));
    groups.push(Box::new(disk::Size::new(&scratch)));
    groups.push(Box::new(disk::WrittenBytes::new(&scratch)));
    groups.extend(growth::groups(&scratch, settings.full));
    Ok(groups)
}

/// A line about rows of a shape that are written buffered.
fn buffered(name: impl Into<String>, unit: Unit, shape: Shape, goals: Vec<Goal>) -> Line {
    let size = size_of(shape);
    Line { name: name.into(), unit, durability: "buffered", size, goals }
}

/// A shape as the table says it.
fn size_of(Shape { rows, key, value }: Shape) -> String {
    format!("{} x {key} B / {value} B", thousands(rows as f64))
}

/// So many operations in this time, as a rate.
fn rate(operations: usize, time: std::time::Duration) -> f64 {
    operations as f64 / time.as_secs_f64()
}
