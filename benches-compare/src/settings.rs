//! What the command line and the environment ask for.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, While};
use crate::stores::Contender;

/// Repetitions unless `REPS` says otherwise.
const REPETITIONS: usize = 5;

/// What to measure, where, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) stores: Vec<Contender>,
    /// A line is measured when its name contains one of these; all lines when there is none.
    pub(crate) filters: Vec<String>,
    pub(crate) repetitions: usize,
    /// Where the stores are put.
    pub(crate) directory: PathBuf,
    /// Whether the rows are measured that take many minutes.
    pub(crate) full: bool,
    /// Where the chart goes; nowhere when only a part is measured and no path is given.
    pub(crate) chart: Option<PathBuf>,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// What cannot be understood.
    pub(crate) fn read() -> Result<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let stores = stores(std::env::var("STORES").ok().as_deref())?;
        let (filters, chart) = arguments(std::env::args().skip(1))?;
        let repetitions = match std::env::var("REPS") {
            Ok(text) => text.parse().during("REPS is a number")?,
            Err(_) => REPETITIONS,
        };
        let is_whole = filters.is_empty() && stores.len() == Contender::ALL.len();
        let usual = is_whole.then(|| package.join("../docs/compare.svg"));
        Ok(Self {
            stores,
            filters,
            repetitions: std::cmp::max(repetitions, 1),
            directory: std::env::var_os("DIR")
                .map_or_else(|| package.join("target/stores"), PathBuf::from),
            full: std::env::var_os("FULL").is_some_and(|full| full != "0"),
            chart: chart.or(usual),
        })
    }

    /// Whether the line of this name is asked for.
    pub(crate) fn selects(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

fn stores(text: Option<&str>) -> Result<Vec<Contender>> {
    let Some(text) = text else { return Ok(Contender::ALL.to_vec()) };
    let names = text.split(',').filter(|name| !name.is_empty());
    names
        .map(|name| {
            let known = Contender::ALL.map(Contender::name).join(", ");
            Contender::named(name).during(format_args!("STORES has {name}, not one of {known}"))
        })
        .collect()
}

fn arguments(all: impl Iterator<Item = String>) -> Result<(Vec<String>, Option<PathBuf>)> {
    let (mut filters, mut chart) = (Vec::new(), None);
    let mut all = all;
    while let Some(argument) = all.next() {
        if argument == "--chart" {
            chart = Some(all.next().during("--chart needs a path")?.into());
        } else if argument.starts_with('-') {
            return Err(Failure::new(format!(
                "{argument}? Usage: [STORES=ours,fjall,..] [REPS=5] [DIR=path] [FULL=1] compare \
                 [part of a row's name].. [--chart path.svg]"
            )));
        } else {
            filters.push(argument);
        }
    }
    Ok((filters, chart))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_and_all_when_none_is() {
        assert_eq!(stores(None).unwrap(), Contender::ALL);
        assert_eq!(stores(Some("ours,sled")).unwrap(), [Contender::Ours, Contender::Sled]);
        assert!(stores(Some("ours,rocks")).is_err());
    }

    #[test]
    fn arguments_are_filters_but_for_the_chart() {
        let read = |words: &[&str]| arguments(words.iter().map(|word| (*word).to_owned()));
        let (filters, chart) = read(&["put", "--chart", "a.svg", "get"]).unwrap();
        assert_eq!(filters, ["put", "get"]);
        assert_eq!(chart, Some("a.svg".into()));
        assert!(read(&["--chart"]).is_err());
        assert!(read(&["--help"]).is_err());
    }
}
