//! Which ordered structure holds the newest rows in memory, the tail: candidates on the same rows.
//!
//! Prints one Markdown table. All but the skip list stand behind one lock for readers and a writer,
//! as they would in the engine. `REPS=` and `ROWS=` (thousands, separated by commas) change what is
//! done.

use std::process::ExitCode;

use crate::candidate::{Candidate, Tail};
use crate::costs::Costs;
use crate::failure::{Failure, Result, While};

#[path = "../../failure.rs"]
mod failure;
#[path = "../../data.rs"]
#[expect(dead_code, reason = "shared with the other program, which needs more of it")]
mod data;
mod memory;
mod candidate;
mod btree;
mod hash;
mod radix;
mod skip;
mod shared_tree;
mod costs;
#[cfg(test)]
mod tests;

/// Repetitions unless `REPS` says otherwise.
const REPETITIONS: usize = 3;
/// Rows that a structure holds, unless `ROWS` says otherwise.
const SIZES: [usize; 3] = [1000, 200_000, 1_000_000];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tail: {failure:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    if let Some(argument) = std::env::args().nth(1) {
        return Err(Failure::new(format!(
            "{argument}? Usage: [REPS={REPETITIONS}] [ROWS=1,200] tail (rows in thousands)"
        )));
    }
    let repetitions = match std::env::var("REPS") {
        Ok(text) => text.parse::<usize>().during("REPS is a number")?.max(1),
        Err(_) => REPETITIONS,
    };
    let sizes = sizes()?;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cores} cores, medians of {repetitions} repetitions in turn, nanoseconds; keys of 16 B, \
         values of 100 B, which are shared and not counted as memory\n"
    );
    println!("{}", Costs::head());
    for rows in sizes {
        let work = costs::Work::new(rows);
        let mut found: Vec<Vec<Costs>> = Candidate::ALL.map(|_| Vec::new()).into();
        for repetition in 0..repetitions {
            for at in 0..found.len() {
                // Another one begins each time.
                let at = (at + repetition) % found.len();
                if let (Some(candidate), Some(costs)) = (Candidate::ALL.get(at), found.get_mut(at))
                {
                    costs.push(candidate.measure(&work));
                }
            }
        }
        for (candidate, costs) in Candidate::ALL.into_iter().zip(found) {
            println!("| {} | {} | {} |", candidate.title(), rows, Costs::medians(&costs));
        }
    }
    Ok(())
}

fn sizes() -> Result<Vec<usize>> {
    let Ok(text) = std::env::var("ROWS") else { return Ok(SIZES.to_vec()) };
    let thousands = text.split(',').map(|number| number.parse::<usize>().map(|rows| rows * 1000));
    let sizes = thousands.collect::<std::result::Result<Vec<_>, _>>();
    let sizes = sizes.during("ROWS has thousands, with commas")?;
    if sizes.contains(&0) {
        return Err(Failure::new("ROWS has 0, expected thousands of rows from 1 on"));
    }
    Ok(sizes)
}

impl Candidate {
    fn measure(self, work: &costs::Work) -> Costs {
        match self {
            Self::BTreeMap => work.measure::<btree::Behind>(),
            Self::HashMap => work.measure::<hash::Behind>(),
            Self::Radix => work.measure::<radix::Behind>(),
            Self::VersionedRadix => work.measure::<radix::VersionedBehind>(),
            Self::SkipList => work.measure::<skip::List>(),
            Self::SharedTree => work.measure::<shared_tree::Behind>(),
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::BTreeMap => btree::Behind::TITLE,
            Self::HashMap => hash::Behind::TITLE,
            Self::Radix => radix::Behind::TITLE,
            Self::VersionedRadix => radix::VersionedBehind::TITLE,
            Self::SkipList => skip::List::TITLE,
            Self::SharedTree => shared_tree::Behind::TITLE,
        }
    }
}
