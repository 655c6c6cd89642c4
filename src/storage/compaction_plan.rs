//! Which runs to merge, decided from their sizes alone. Pure.
//!
//! Two reasons to merge, looked at in this order.
//!
//! * **Space.** Bytes that no read can see any more pass what is tolerated. Which runs hold them is
//!   not known (a run does not know what newer ones replace), so all are merged: then every byte
//!   left is live.
//! * **Number of runs.** A scan asks every run, and a key that is in none is looked for in the
//!   filters of all. Past [`RUNS_MAX`] the neighbours are merged that cost least for what they
//!   bring. The measure is `bytes / (runs removed)^3`. With an exponent of 1 it would take two
//!   small runs again and again, and rewrite the same bytes at each turn; with the cube it waits
//!   until several of like size stand beside each other.
//!
//! What that costs, for runs of equal size that are only added to: with 80 of them each byte was
//! rewritten twice or three times on average, with 200 three times, with 1,000 five, with 4,000
//! eight or nine. For at most six runs at any time no schedule can do much better: merging so that
//! no byte is rewritten more than `c` times reaches `binomial(6 + c, c)` runs.

use std::ops::RangeInclusive;

/// The most runs that there are after the merges that [`plan`] asks for.
pub const RUNS_MAX: usize = 6;

/// What is known of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSize {
    /// Bytes of its keys and values, those of tombstones included.
    pub data_bytes: u64,
    /// How many of its rows are tombstones.
    pub tombstones: u64,
}

/// Neighbouring runs to be merged into one. Runs are counted from the newest, which is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The newest of them.
    pub first: usize,
    /// The oldest of them, included.
    pub last: usize,
}

/// The bytes of keys and values in tables that no read needs and that are tolerated all the same,
/// for a state with so many live bytes.
#[must_use]
pub const fn stale_bytes_max(live_bytes: u64, threshold: u64) -> u64 {
    if live_bytes / 2 > threshold { live_bytes / 2 } else { threshold }
}

/// What to merge now; `None` when all is well. `runs` are the newest first.
///
/// `live_bytes` are those of the state that the runs hold together; `threshold` is
/// `compaction_threshold`. Doing what is said and asking again comes to an end.
#[must_use]
pub fn plan(runs: &[RunSize], live_bytes: u64, threshold: u64) -> Option<Merge> {
    let data_bytes = runs.iter().fold(0_u64, |sum, run| sum.saturating_add(run.data_bytes));
    if data_bytes.saturating_sub(live_bytes) > stale_bytes_max(live_bytes, threshold) {
        // Where one merged run is left, merging it again frees nothing, whatever was said of live
        // bytes.
        if let Some(merge) = everything(runs) {
            return Some(merge);
        }
    }
    if runs.len() > RUNS_MAX { cheapest(runs) } else { None }
}

/// The merge that leaves one run without any stale byte; `None` where there is nothing to gain.
#[must_use]
pub fn everything(runs: &[RunSize]) -> Option<Merge> {
    match runs {
        [] => None,
        [only] if only.tombstones == 0 => None,
        _ => Some(Merge { first: 0, last: runs.len() - 1 }),
    }
}

/// The merge that is worth its while when nobody writes any more: into one run, if that rewrites
/// as many bytes as `bytes` allows, and the newer runs are at least an eighth of all, so that a
/// byte is not rewritten for each little that comes.
#[must_use]
pub fn rest(runs: &[RunSize], bytes: RangeInclusive<u64>) -> Option<Merge> {
    let oldest = runs.last()?.data_bytes;
    let all = runs.iter().fold(0_u64, |sum, run| sum.saturating_add(run.data_bytes));
    let is_worth_it = runs.len() > 1 && bytes.contains(&all) && (all - oldest) >= all / 8;
    is_worth_it.then(|| Merge { first: 0, last: runs.len() - 1 })
}

/// The neighbours with the least bytes for the cube of the runs that their merge removes; among
/// equals the newest.
fn cheapest(runs: &[RunSize]) -> Option<Merge> {
    let mut best: Option<(u128, u128, Merge)> = None;
    for first in 0..runs.len() {
        let mut bytes = 0_u128;
        for (last, run) in runs.iter().enumerate().skip(first) {
            bytes += u128::from(run.data_bytes.max(1));
            let removed = (last - first) as u128;
            let worth = removed * removed * removed;
            // bytes / worth < best bytes / best worth, without dividing. A worth of 0, which is
            // that of one run alone, is never less.
            let is_cheaper = best.is_none_or(|(least, its, _)| {
                bytes.saturating_mul(its) < least.saturating_mul(worth)
            });
            if worth > 0 && is_cheaper {
                best = Some((bytes, worth, Merge { first, last }));
            }
        }
    }
    best.map(|(_, _, merge)| merge)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::env::rng::SeededRng;

    fn sizes(bytes: &[u64]) -> Vec<RunSize> {
        bytes.iter().map(|&data_bytes| RunSize { data_bytes, tombstones: 0 }).collect()
    }

    #[test]
    fn few_runs_without_stale_bytes_are_left_alone() {
        assert_eq!(plan(&[], 0, 0), None);
        assert_eq!(plan(&sizes(&[10; RUNS_MAX]), 60, 0), None);
    }

    #[test]
    fn one_run_more_than_the_most_is_merged_and_the_small_ones_first() {
        let merge = plan(&sizes(&[1, 1, 1, 1, 100, 100, 1000]), 1204, 0);
        assert_eq!(merge, Some(Merge { first: 0, last: 3 }));
        let merge = plan(&sizes(&[900, 1, 1, 1, 1, 1, 1000]), 1905, 0);
        assert_eq!(merge, Some(Merge { first: 1, last: 5 }));
    }

    #[test]
    fn stale_bytes_at_the_border_are_tolerated_and_one_more_is_not() {
        assert_eq!(plan(&sizes(&[50, 100]), 100, 0), None);
        assert_eq!(plan(&sizes(&[51, 100]), 100, 0), Some(Merge { first: 0, last: 1 }));
        assert_eq!(plan(&sizes(&[70, 100]), 100, 70), None);
        assert_eq!(plan(&sizes(&[71, 100]), 100, 70), Some(Merge { first: 0, last: 1 }));
    }

    #[test]
    fn one_run_is_merged_only_for_its_tombstones() {
        assert_eq!(plan(&sizes(&[100]), 1, 0), None);
        assert_eq!(everything(&sizes(&[100])), None);
        let run = RunSize { data_bytes: 100, tombstones: 1 };
        assert_eq!(plan(&[run], 1, 0), Some(Merge { first: 0, last: 0 }));
    }

    #[test]
    fn at_rest_runs_are_merged_that_are_worth_it_and_not_too_large() {
        assert_eq!(rest(&[], 1..=1000), None);
        assert_eq!(rest(&sizes(&[100]), 1..=1000), None);
        assert_eq!(rest(&sizes(&[50, 50]), 100..=100), Some(Merge { first: 0, last: 1 }));
        assert_eq!(rest(&sizes(&[50, 50]), 1..=99), None);
        assert_eq!(rest(&sizes(&[50, 50]), 101..=999), None);
        assert_eq!(rest(&sizes(&[10, 10, 140]), 1..=1000), Some(Merge { first: 0, last: 2 }));
        assert_eq!(rest(&sizes(&[9, 9, 140]), 1..=1000), None);
    }

    #[test]
    fn sums_near_the_greatest_numbers_do_not_overflow() {
        assert_eq!(plan(&sizes(&[u64::MAX; 4]), u64::MAX, u64::MAX), None);
        assert!(plan(&sizes(&[u64::MAX; 9]), u64::MAX, u64::MAX).is_some());
    }

    /// Rows of a run: bytes of key and value, `None` for a tombstone.
    type Rows = BTreeMap<u64, Option<u64>>;
    const KEY_BYTES: u64 = 4;

    /// A store of nothing but sizes.
    #[derive(Default)]
    struct Simulation {
        runs: Vec<Rows>,
        state: BTreeMap<u64, u64>,
        threshold: u64,
        written: u64,
        rewritten: u64,
        runs_seen_max: usize,
    }

    impl Simulation {
        fn sizes(&self) -> Vec<RunSize> {
            let size = |rows: &Rows| RunSize {
                data_bytes: rows.values().map(|row| KEY_BYTES + row.unwrap_or(0)).sum(),
                tombstones: rows.values().filter(|row| row.is_none()).count() as u64,
            };
            self.runs.iter().map(size).collect()
        }

        fn data_bytes(&self) -> u64 {
            self.sizes().iter().map(|size| size.data_bytes).sum()
        }

        fn live_bytes(&self) -> u64 {
            self.state.values().map(|value| KEY_BYTES + value).sum()
        }

        /// Adds a run and does what the plan says, until it says nothing.
        fn add(&mut self, mut rows: Rows) {
            for (&key, value) in &rows {
                match value {
                    Some(value) => self.state.insert(key, *value),
                    None => self.state.remove(&key),
                };
            }
            rows.retain(|key, row| row.is_some() || self.runs.iter().any(|r| r.contains_key(key)));
            self.written += rows.values().map(|row| KEY_BYTES + row.unwrap_or(0)).sum::<u64>();
            if !rows.is_empty() {
                self.runs.insert(0, rows);
            }
            let mut merges = 0;
            while let Some(merge) = plan(&self.sizes(), self.live_bytes(), self.threshold) {
                self.merge(merge);
                merges += 1;
                assert!(merges < 4, "it does not come to an end");
            }
            self.runs_seen_max = self.runs_seen_max.max(self.runs.len());
        }

        fn merge(&mut self, merge: Merge) {
            let mut merged = Rows::new();
            for rows in self.runs.drain(merge.first..=merge.last) {
                for (key, row) in rows {
                    merged.entry(key).or_insert(row);
                }
            }
            let older = &self.runs[merge.first..];
            merged.retain(|key, row| row.is_some() || older.iter().any(|r| r.contains_key(key)));
            self.rewritten += merged.values().map(|row| KEY_BYTES + row.unwrap_or(0)).sum::<u64>();
            if !merged.is_empty() {
                self.runs.insert(merge.first, merged);
            }
        }

        fn check(&self, what: &str) {
            assert!(self.runs.len() <= RUNS_MAX, "{what}: {} runs", self.runs.len());
            let (data, live) = (self.data_bytes(), self.live_bytes());
            let most = live + stale_bytes_max(live, self.threshold);
            assert!(data <= most, "{what}: {data} bytes for {live} live ones");
            let mut seen = Rows::new();
            for rows in &self.runs {
                for (&key, &row) in rows {
                    seen.entry(key).or_insert(row);
                }
            }
            let seen: BTreeMap<u64, u64> =
                seen.into_iter().filter_map(|(key, row)| Some((key, row?))).collect();
            assert_eq!(seen, self.state, "{what}");
        }
    }

    #[test]
    fn inserts_alone_are_rewritten_a_few_times_however_many_there_are() {
        for (runs, most) in [(10, 1.0), (84, 3.0), (210, 4.0), (1000, 6.0), (4000, 9.0)] {
            let mut sizes = Vec::new();
            let mut rewritten = 0;
            for _ in 0..runs {
                sizes.insert(0, RunSize { data_bytes: 1000, tombstones: 0 });
                while let Some(Merge { first, last }) = plan(&sizes, u64::MAX, 0) {
                    let data_bytes = sizes.drain(first..=last).map(|run| run.data_bytes).sum();
                    rewritten += data_bytes;
                    sizes.insert(first, RunSize { data_bytes, tombstones: 0 });
                }
                assert!(sizes.len() <= RUNS_MAX);
            }
            let times = rewritten as f64 / (f64::from(runs) * 1000.0);
            assert!(times <= most, "{runs} runs: {times} times");
        }
    }

    #[test]
    fn random_histories_keep_the_bounds_on_runs_bytes_and_rewriting() {
        let mut worst: f64 = 0.0;
        for seed in 0..1000 {
            let rng = SeededRng::new(seed);
            let keys = 1 + rng.up_to(200);
            let rows_max = 1 + rng.up_to(40);
            // Of 8 operations: deletes. None, some, nearly all.
            let deletes = [0, 0, 1, 4, 7][usize::try_from(rng.up_to(4)).unwrap()];
            let values_max = 1 + rng.up_to(1000);
            let threshold = [0, 1000, 20_000][usize::try_from(rng.up_to(2)).unwrap()];
            let mut simulation = Simulation { threshold, ..Simulation::default() };
            for step in 0..60 {
                let mut rows = Rows::new();
                for _ in 0..=rng.up_to(rows_max) {
                    let is_delete = rng.up_to(7) < deletes;
                    let value = (!is_delete).then(|| rng.up_to(values_max));
                    rows.insert(rng.up_to(keys), value);
                }
                simulation.add(rows);
                simulation.check(&format!("seed {seed} step {step}"));
            }
            let times = simulation.rewritten as f64 / simulation.written as f64;
            worst = worst.max(times);
        }
        println!("at worst each byte was rewritten {worst} times");
        assert!(worst < 5.0, "{worst}");
    }

    #[test]
    fn overwriting_one_key_for_ever_keeps_a_small_multiple_of_it() {
        let mut simulation = Simulation::default();
        for step in 0..1000 {
            simulation.add(Rows::from([(1, Some(100))]));
            simulation.check(&format!("step {step}"));
        }
        assert!(simulation.rewritten <= simulation.written);
    }
}
