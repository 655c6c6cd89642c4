//! hightower-kv beside the stores that users would pick instead, on the same work in one run.
//!
//! Prints every row of the yardstick as a Markdown table, with the ratio of ours to the best peer
//! and whether the goal is reached, and draws it. README.md says how each store is set.

use std::fs;
use std::process::ExitCode;

use crate::failure::{Result, While};
use crate::line::Measured;
use crate::settings::Settings;

mod failure;
mod data;
mod store;
mod stores;
mod line;
mod table;
mod settings;
mod scratch;
mod parallel;
mod child;
#[path = "../../benches/support/bare.rs"]
#[expect(clippy::expect_used, reason = "shared with benches/, which end so when they cannot run")]
mod bare;
mod rows;
mod runner;
mod chart;

fn main() -> ExitCode {
    let run = child::run_as_child().unwrap_or_else(compare);
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("compare: {failure:?}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<()> {
    let settings = Settings::read()?;
    let mut groups = rows::all(&settings)?;
    let names = groups.iter().flat_map(|group| group.lines()).map(|line| line.name);
    settings.check(&names.collect::<Vec<_>>())?;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let setting = format!("{cores} cores, medians of {} repetitions in turn", settings.repetitions);
    println!("{setting}; only the operation is timed.\n");
    println!("{}", table::head(&settings.stores));
    let mut all: Vec<Measured> = Vec::new();
    for group in &mut groups {
        let lines = group.lines();
        let Some(first) = lines.iter().find(|line| settings.selects(&line.name)) else {
            continue;
        };
        let before = all.len();
        all.extend(runner::measure(&mut **group, &settings).during(&first.name)?);
        for measured in all.iter().skip(before) {
            println!("{}", table::line(measured, &all, &settings.stores));
        }
    }
    println!("\n{}", table::summary(&all));
    if let Some(path) = &settings.chart {
        fs::write(path, chart::svg(&all, &setting)).during(path.display())?;
        println!("Chart: {}", path.display());
    }
    Ok(())
}
