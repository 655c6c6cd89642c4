//! Opening a store with a million rows in a new process, until it has answered one get.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tempfile::TempDir;

use super::{Group, Values, buffered};
use crate::child::{self, Ended, MILLION};
use crate::failure::Result;
use crate::line::{Goal, Line, Unit};
use crate::scratch::Scratch;
use crate::stores::Contender;

struct Reopen {
    name: &'static str,
    ended: Ended,
    /// At most so many milliseconds are wanted.
    millis_max: f64,
    /// Written when a store is measured for the first time.
    written: HashMap<Contender, TempDir>,
    scratch: Scratch,
}

pub(super) fn groups(scratch: &Scratch) -> Vec<Box<dyn Group>> {
    let specs =
        [("reopen/after_close", Ended::Closed, 20.0), ("reopen/after_kill", Ended::Killed, 300.0)];
    let group = |(name, ended, millis_max)| {
        let (written, scratch) = (HashMap::new(), scratch.clone());
        let group: Box<dyn Group> = Box::new(Reopen { name, ended, millis_max, written, scratch });
        group
    };
    specs.map(group).into()
}

impl Group for Reopen {
    fn lines(&self) -> Vec<Line> {
        let goals = vec![Goal::AtMost(self.millis_max)];
        vec![buffered(self.name, Unit::Milliseconds, MILLION, goals)]
    }

    fn measure(&mut self, contender: Contender) -> Result<Values> {
        let directory = match self.written.entry(contender) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(missing) => {
                let directory = self.scratch.new_directory()?;
                child::write(contender, directory.path(), self.ended)?;
                missing.insert(directory)
            }
        };
        // A copy: opening a store may put right what the kill left.
        let copy = self.scratch.copy_of(directory.path())?;
        let time = child::open(contender, copy.path())?;
        Ok(vec![Some(time.as_secs_f64() * 1e3)])
    }
}
