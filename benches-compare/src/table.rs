//! The lines as a Markdown table.

use std::fmt::Write;

use crate::line::{Goal, Line, Measured, Unit, Verdict};
use crate::stores::Contender;

/// The head of the table for these stores.
pub(crate) fn head(stores: &[Contender]) -> String {
    let mut text = "| row |".to_owned();
    let mut rule = "|---|".to_owned();
    for store in stores {
        add(&mut text, format_args!(" {} |", store.title()));
        rule.push_str("--:|");
    }
    text.push_str(" bare loop | ours / best peer | goal | | durability | data |\n");
    rule.push_str("--:|--:|---|---|---|---|");
    text + &rule
}

/// A line, judged beside all others.
pub(crate) fn line(measured: &Measured, all: &[Measured], stores: &[Contender]) -> String {
    let Line { name, unit, durability, size, goals } = &measured.line;
    let best = measured.best_peer();
    let mut text = format!("| {name}, {} |", unit.text());
    for store in stores {
        let value = measured.stores.get(store).copied();
        // Exactly: it is one of the values that it is compared with.
        let is_best = value.is_some() && value.map(f64::to_bits) == best.map(f64::to_bits);
        let strong = if is_best && *store != Contender::Ours { "**" } else { "" };
        add(&mut text, format_args!(" {strong}{}{strong} |", number(value, *unit)));
    }
    let ratio = measured.ratio().map_or("-".to_owned(), ratio_text);
    let of_bare = |goal: &Goal| {
        let times = measured.bare_times(goal, all);
        times.map_or_else(String::new, |times| format!(" (bare loop: {times:.2} x)"))
    };
    let text_of = |goal: &Goal| goal_text(goal, *unit) + &of_bare(goal);
    let goal: Vec<String> = goals.iter().map(text_of).collect();
    let verdicts: Vec<&str> =
        goals.iter().map(|goal| verdict_text(measured.judge(goal, all))).collect();
    add(
        &mut text,
        format_args!(
            " {} | {ratio} | {} | {} | {durability} | {size} |",
            number(measured.bare, *unit),
            goal.join("; "),
            verdicts.join("; "),
        ),
    );
    text
}

/// How many goals are reached, missed, and unknown.
pub(crate) fn summary(all: &[Measured]) -> String {
    let judge = |measured: &Measured| -> Vec<Verdict> {
        measured.line.goals.iter().map(|goal| measured.judge(goal, all)).collect()
    };
    let verdicts: Vec<Verdict> = all.iter().flat_map(judge).collect();
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let (reached, missed) = (count(Verdict::Reached), count(Verdict::Missed));
    format!("{reached} goals reached, {missed} missed, {} unknown.", count(Verdict::Unknown))
}

/// A goal in words.
fn goal_text(goal: &Goal, unit: Unit) -> String {
    match goal {
        Goal::TimesBest(times) => format!("{times} x best peer"),
        Goal::TimesPeer(peer, times) => format!("{times} x {}", peer.title()),
        Goal::OfBare(part) => format!("{part:.2} x bare loop"),
        Goal::TimesLine(name, times) => format!("{times:.2} x {name}"),
        Goal::AtMostTimesLine(name, times) => format!("at most {times} x {name}"),
        Goal::AtLeast(least) => format!("{} {}", thousands(*least), unit.text()),
        Goal::AtMost(most) => format!("at most {most} {}", unit.text()),
    }
}

/// A ratio; one that would be shown as nothing is shown as small.
pub(crate) fn ratio_text(ratio: f64) -> String {
    if ratio < 0.01 { "< 0.01".to_owned() } else { format!("{ratio:.2}") }
}

const fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reached => "reached",
        Verdict::Missed => "**missed**",
        Verdict::Unknown => "?",
    }
}

fn number(value: Option<f64>, unit: Unit) -> String {
    let Some(value) = value else { return "-".to_owned() };
    match unit {
        Unit::Times => format!("{value:.2}"),
        Unit::Milliseconds | Unit::Microseconds if value < 100.0 => format!("{value:.2}"),
        _ => thousands(value),
    }
}

/// A number without its fraction, with a comma every three digits.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writing to a `String` cannot fail.
fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_small_ones_a_fraction() {
        assert_eq!(thousands(999.4), "999");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(number(Some(0.25), Unit::Milliseconds), "0.25");
        assert_eq!(number(Some(10_100.4), Unit::Milliseconds), "10,100");
        assert_eq!(number(None, Unit::PerSecond), "-");
        assert_eq!(ratio_text(0.014), "0.01");
        assert_eq!(ratio_text(0.0099), "< 0.01");
    }

    #[test]
    fn a_line_shows_the_best_peer_the_ratio_and_the_goals() {
        let line_of = Line {
            name: "writes".to_owned(),
            unit: Unit::PerSecond,
            durability: "buffered",
            size: "some".to_owned(),
            goals: vec![Goal::TimesBest(2.0), Goal::OfBare(0.5)],
        };
        let stores =
            [(Contender::Ours, 3000.0), (Contender::Old, 500.0), (Contender::Sled, 1000.0)];
        let measured = Measured { line: line_of, bare: None, stores: stores.into() };
        let text = line(&measured, &[], &[Contender::Ours, Contender::Old, Contender::Sled]);
        let wanted = "| writes, ops/s | 3,000 | 500 | **1,000** | - | 3.00 | \
                      2 x best peer; 0.50 x bare loop | reached; ? | buffered | some |";
        assert_eq!(text, wanted);
        assert_eq!(summary(&[measured]), "1 goals reached, 0 missed, 1 unknown.");
    }
}
