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
            full: std::env::var_os("FULL").is_some_and(|full| full != "0" && !full.is_empty()),
            chart: chart.or(usual),
        })
    }

    /// Refuses, before anything is measured, what would be of no use in the end: a filter that no
    /// row has in its name, and a chart that cannot be written.
    ///
    /// # Errors
    /// What was found and what is there.
    pub(crate) fn check(&self, names: &[String]) -> Result<()> {
        for filter in &self.filters {
            if !names.iter().any(|name| name.contains(filter.as_str())) {
                let names = names.join("\n  ");
                return Err(Failure::new(format!(
                    "no row has {filter} in its name; there are (more with FULL=1)\n  {names}"
                )));
            }
        }
        let folder = self.chart.as_ref().and_then(|path| path.parent());
        if let Some(folder) = folder.filter(|it| !it.as_os_str().is_empty() && !it.is_dir()) {
            return Err(Failure::new(format!("--chart: there is no folder {}", folder.display())));
        }
        Ok(())
    }

    /// Whether the line of this name is asked for.
    pub(crate) fn selects(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

fn stores(text: Option<&str>) -> Result<Vec<Contender>> {
    let Some(text) = text else { return Ok(Contender::ALL.to_vec()) };
    let known = Contender::ALL.map(Contender::name).join(", ");
    let mut found = Vec::new();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let store = Contender::named(name)
            .during(format_args!("STORES has {name}, expected some of {known}"))?;
        if found.contains(&store) {
            return Err(Failure::new(format!("STORES has {name} twice")));
        }
        found.push(store);
    }
    if found.is_empty() {
        return Err(Failure::new(format!("STORES names no store, expected some of {known}")));
    }
    Ok(found)
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
        for wrong in ["ours,rocks", "", ",", "ours,sled,ours"] {
            assert!(stores(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_would_be_of_no_use_is_refused_before_anything_is_measured() {
        let check = |filter: &str, chart: Option<&str>| {
            let settings = Settings {
                stores: Contender::ALL.to_vec(),
                filters: vec![filter.to_owned()],
                repetitions: 1,
                directory: PathBuf::new(),
                full: false,
                chart: chart.map(PathBuf::from),
            };
            settings.check(&["writes/put".to_owned()]).is_ok()
        };
        assert!(check("put", None));
        assert!(!check("putt", None));
        assert!(check("put", Some("chart.svg")));
        assert!(!check("put", Some("/nowhere/at/all/chart.svg")));
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
