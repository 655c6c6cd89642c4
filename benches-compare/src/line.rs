//! A line of the table: what it measures, what is wanted of it, and whether that is reached.

use std::collections::HashMap;

use crate::stores::Contender;

/// What the numbers of a line are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Operations a second.
    PerSecond,
    /// Rows a second.
    RowsPerSecond,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// So many times the bytes of the user.
    Times,
}

impl Unit {
    /// Whether more is better.
    pub(crate) const fn is_rate(self) -> bool {
        matches!(self, Self::PerSecond | Self::RowsPerSecond)
    }

    /// What stands behind the name of the line.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::PerSecond => "ops/s",
            Self::RowsPerSecond => "rows/s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Times => "x",
        }
    }
}

/// What is wanted of our value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Goal {
    /// So many times as good as the best peer.
    TimesBest(f64),
    /// So many times as good as this peer.
    TimesPeer(Contender, f64),
    /// At least this part of the bare loop's rate.
    OfBare(f64),
    /// At least so many times our own value in the line of this name.
    TimesLine(String, f64),
    /// At most so many times our own value in the line of this name.
    AtMostTimesLine(String, f64),
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

/// A line before it is measured.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// What holds when a write returns.
    pub(crate) durability: &'static str,
    /// How much of what.
    pub(crate) size: String,
    pub(crate) goals: Vec<Goal>,
}

/// Medians of a line; nothing for a store that cannot do what it measures.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) line: Line,
    pub(crate) bare: Option<f64>,
    pub(crate) stores: HashMap<Contender, f64>,
}

/// Whether a goal is reached; unknown when something that it compares was not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reached,
    Missed,
    Unknown,
}

impl Measured {
    /// Our value.
    pub(crate) fn ours(&self) -> Option<f64> {
        self.stores.get(&Contender::Ours).copied()
    }

    /// The best value of the peers.
    pub(crate) fn best_peer(&self) -> Option<f64> {
        let peers = self.stores.iter().filter(|(store, _)| **store != Contender::Ours);
        let values = peers.map(|(_, value)| *value);
        if self.line.unit.is_rate() { values.reduce(f64::max) } else { values.reduce(f64::min) }
    }

    /// How many times as good `value` is as `other`: above one is better, whatever the unit.
    pub(crate) fn times(&self, value: f64, other: f64) -> f64 {
        if self.line.unit.is_rate() { value / other } else { other / value }
    }

    /// How many times as good as the best peer we are.
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.times(self.ours()?, self.best_peer()?))
    }

    /// Whether a goal of this line is reached, which may need the other lines.
    pub(crate) fn judge(&self, goal: &Goal, all: &[Self]) -> Verdict {
        match self.reaches(goal, all) {
            Some(true) => Verdict::Reached,
            Some(false) => Verdict::Missed,
            None => Verdict::Unknown,
        }
    }

    /// What the bare loop reaches of a goal that another line sets: how many times its own value
    /// there. Nobody can be expected to do much better.
    pub(crate) fn bare_times(&self, goal: &Goal, all: &[Self]) -> Option<f64> {
        let Goal::TimesLine(name, _) = goal else { return None };
        let other = all.iter().find(|measured| measured.line.name == *name)?;
        Some(self.bare? / other.bare?)
    }

    fn reaches(&self, goal: &Goal, all: &[Self]) -> Option<bool> {
        let ours = self.ours()?;
        let line = |name: &str| {
            let found = all.iter().find(|measured| measured.line.name == name);
            found.and_then(Self::ours)
        };
        Some(match goal {
            Goal::TimesBest(times) => self.ratio()? >= *times,
            Goal::TimesPeer(peer, times) => self.times(ours, *self.stores.get(peer)?) >= *times,
            Goal::OfBare(part) => ours / self.bare? >= *part,
            Goal::TimesLine(name, times) => ours / line(name)? >= *times,
            Goal::AtMostTimesLine(name, times) => ours / line(name)? <= *times,
            Goal::AtLeast(least) => ours >= *least,
            Goal::AtMost(most) => ours <= *most,
        })
    }
}

/// The one in the middle; `None` of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(unit: Unit, ours: f64, peers: &[(Contender, f64)]) -> Measured {
        let line = Line {
            name: "a".to_owned(),
            unit,
            durability: "buffered",
            size: String::new(),
            goals: Vec::new(),
        };
        let mut stores: HashMap<_, _> = peers.iter().copied().collect();
        stores.insert(Contender::Ours, ours);
        Measured { line, bare: None, stores }
    }

    #[test]
    fn of_rates_the_greatest_is_the_best_and_of_times_the_least() {
        let peers = [(Contender::Fjall, 10.0), (Contender::Sled, 20.0)];
        assert_eq!(measured(Unit::PerSecond, 40.0, &peers).ratio(), Some(2.0));
        assert_eq!(measured(Unit::Milliseconds, 5.0, &peers).ratio(), Some(2.0));
        assert_eq!(measured(Unit::PerSecond, 40.0, &[]).ratio(), None);
    }

    #[test]
    fn a_goal_is_reached_at_its_border_and_not_below() {
        let one = measured(Unit::PerSecond, 20.0, &[(Contender::Lmdb, 10.0)]);
        assert_eq!(one.judge(&Goal::TimesBest(2.0), &[]), Verdict::Reached);
        assert_eq!(one.judge(&Goal::TimesBest(2.1), &[]), Verdict::Missed);
        assert_eq!(one.judge(&Goal::TimesPeer(Contender::Lmdb, 2.0), &[]), Verdict::Reached);
        assert_eq!(one.judge(&Goal::TimesPeer(Contender::Old, 2.0), &[]), Verdict::Unknown);
        assert_eq!(one.judge(&Goal::AtLeast(20.0), &[]), Verdict::Reached);
        assert_eq!(one.judge(&Goal::AtMost(19.0), &[]), Verdict::Missed);
    }

    #[test]
    fn a_goal_may_be_set_by_another_line_or_by_the_bare_loop() {
        let mut one = measured(Unit::PerSecond, 20.0, &[]);
        let mut two = measured(Unit::PerSecond, 36.0, &[]);
        two.line.name = "b".to_owned();
        let all = [one.clone(), two.clone()];
        let from = |times| Goal::TimesLine("a".to_owned(), times);
        assert_eq!(two.judge(&from(1.8), &all), Verdict::Reached);
        assert_eq!(two.judge(&from(1.9), &all), Verdict::Missed);
        assert_eq!(two.judge(&Goal::AtMostTimesLine("a".to_owned(), 1.8), &all), Verdict::Reached);
        assert_eq!(two.judge(&Goal::TimesLine("c".to_owned(), 1.0), &all), Verdict::Unknown);
        assert_eq!(one.judge(&Goal::OfBare(0.5), &all), Verdict::Unknown);
        assert_eq!(two.bare_times(&from(1.8), &all), None);
        (one.bare, two.bare) = (Some(40.0), Some(60.0));
        assert_eq!(two.bare_times(&from(1.8), &[one.clone()]), Some(1.5));
        one.bare = Some(40.0);
        assert_eq!(one.judge(&Goal::OfBare(0.5), &all), Verdict::Reached);
    }

    #[test]
    fn a_median_stands_in_the_middle_whatever_the_order() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
