//! The rows of the report.

use crate::comparisons::{Against, Budget, Comparison, Good};
use crate::results::{Measured, Results};
use crate::stats::{Spread, ratio, spread};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A budget and its figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Which figure.
    pub measure: &'static str,
    /// The median of ours.
    pub ours: Option<f64>,
    /// Against whom, with the median of theirs.
    pub against: String,
    /// The ratio, or the figure itself.
    pub ratio: Option<Spread>,
    /// `≥ 1`.
    pub budget: String,
    /// `≥ 1.5`.
    pub aim: String,
    /// Whether the budget is met; `None` without a budget or a figure.
    pub met: Option<bool>,
    /// Who was missing.
    pub missing: Vec<String>,
}

impl Line {
    /// Returns the row of a table.
    pub fn row(&self, title: &str) -> String {
        let met = match (self.met, self.ratio) {
            (Some(true), _) => "met",
            (Some(false), _) => "**not met**",
            (None, Some(_)) => "",
            (None, None) => "missing",
        };
        let ratio = self.ratio.map_or_else(String::new, |ratio| {
            let show = |value| format!("{value:.2}");
            format!(
                "{} ({} to {})",
                show(ratio.median),
                show(ratio.min),
                show(ratio.max)
            )
        });
        let ours = self.ours.map(|ours| shown(self.measure, ours));
        let mut against = self.against.clone();
        for missing in &self.missing {
            against.push_str(if against.is_empty() { "" } else { "; " });
            against.push_str(missing);
        }
        format!(
            "| {title} | {} | {} | {against} | {ratio} | {} | {} | {met} |",
            measure_name(self.measure),
            ours.unwrap_or_default(),
            self.budget,
            self.aim
        )
    }
}

/// Returns the budgets of a comparison with their figures.
pub fn lines(comparison: &Comparison, results: &Results) -> Vec<Line> {
    let budgets = comparison.budgets.iter();
    budgets
        .map(|budget| line(comparison, budget, results))
        .collect()
}

fn line(comparison: &Comparison, budget: &Budget, results: &Results) -> Line {
    // A file may be of an older list of contenders: they are found by label and size, not by place.
    let find = |at: usize| -> Option<&Measured> {
        let wanted = &comparison.contenders[at];
        let mut found = results.contenders.iter();
        found.find(|one| one.label == wanted.label && one.x == wanted.x)
    };
    let ours = find(budget.of).map(|one| one.figures(budget.measure));
    let ours = ours.unwrap_or_default();
    let mut missing = Vec::new();
    let (against, ratio) = match &budget.against {
        Against::Itself => (String::new(), spread(&ours)),
        Against::Best(places) => {
            let mut best: Option<(f64, &Measured)> = None;
            for rival in places.iter().filter_map(|at| find(*at)) {
                if rival.missing.is_some() {
                    missing.push(format!("{} is missing", rival.label));
                }
                let Some(theirs) = spread(&rival.figures(budget.measure)) else {
                    continue;
                };
                let better = best.is_none_or(|(so_far, _)| match budget.good {
                    Good::High => theirs.median > so_far,
                    Good::Low => theirs.median < so_far,
                });
                if better {
                    best = Some((theirs.median, rival));
                }
            }
            let text = best.map_or_else(String::new, |(median, rival)| {
                let x = rival.x.map_or_else(String::new, |x| format!(" at {x}"));
                format!("{}{x}: {}", rival.label, shown(budget.measure, median))
            });
            let theirs = best.map(|(_, rival)| rival.figures(budget.measure));
            (text, ratio(&ours, &theirs.unwrap_or_default()))
        }
    };
    let sign = match budget.good {
        Good::High => "≥",
        Good::Low => "≤",
    };
    let limit =
        |value: Option<f64>| value.map_or_else(String::new, |value| format!("{sign} {value}"));
    let met = budget
        .limit
        .zip(ratio)
        .map(|(limit, ratio)| match budget.good {
            Good::High => ratio.median >= limit,
            Good::Low => ratio.median <= limit,
        });
    Line {
        measure: budget.measure,
        ours: spread(&ours).map(|ours| ours.median),
        against,
        ratio,
        budget: limit(budget.limit),
        aim: limit(budget.aim),
        met,
        missing,
    }
}

/// Writes all figures of a comparison.
pub(super) fn figures(text: &mut String, comparison: &Comparison, results: &Results) {
    let _infallible = writeln!(
        text,
        "\n### {}\n\n`{}`, {}, {} rounds\n",
        comparison.title,
        comparison.name,
        results.date,
        results
            .contenders
            .iter()
            .map(|one| one.rounds.len())
            .max()
            .unwrap_or(0)
    );
    let names: BTreeSet<&String> = results
        .contenders
        .iter()
        .flat_map(|one| one.rounds.iter().flat_map(|round| round.keys()))
        .collect();
    text.push_str("| |");
    for name in &names {
        let _infallible = write!(text, " {} |", measure_name(name));
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(names.len()));
    text.push('\n');
    for one in &results.contenders {
        let x = one.x.map_or_else(String::new, |x| format!(", {x}"));
        let _infallible = write!(text, "| {}{x} |", one.label);
        for name in &names {
            let median = spread(&one.figures(name)).map(|spread| shown(name, spread.median));
            let _infallible = write!(text, " {} |", median.unwrap_or_default());
        }
        text.push('\n');
    }
    text.push('\n');
    let mut seen = BTreeSet::new();
    for one in &results.contenders {
        let line = match &one.missing {
            Some(why) => format!("- {}: {why}\n", one.label),
            None => format!(
                "- {}: {}; `{}`; {}\n",
                one.label, one.version, one.command, one.work
            ),
        };
        if seen.insert(line.clone()) {
            text.push_str(&super::wrapped(&line));
        }
    }
}

/// Returns the name of a figure for people; its own name ends with the unit.
pub(super) fn measure_name(measure: &str) -> String {
    let units = [
        ("_per_s", "/s"),
        ("_us_per_message", ", µs of CPU per message"),
        ("_us_per_delivery", ", µs of CPU per delivery"),
        ("_us", ", µs"),
        ("_ms", ", ms"),
        ("_seconds", ", s"),
        ("_bytes", ", MiB"),
        ("_bytes_each", ", bytes each"),
    ];
    let found = units
        .iter()
        .find_map(|(end, unit)| Some((measure.strip_suffix(end)?, *unit)));
    let (name, unit) = found.unwrap_or((measure, ""));
    format!("{}{unit}", name.replace('_', " "))
}

/// Shows a figure with about three digits; bytes as MiB.
fn shown(measure: &str, value: f64) -> String {
    let value = if measure.ends_with("_bytes") {
        value / 1024.0 / 1024.0
    } else {
        value
    };
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_with_three_digits_and_their_unit() {
        for (measure, value, expected) in [
            ("acknowledged_per_s", 1_234_567.8, "1,234,568"),
            ("ack_p50_us", 203.44, "203"),
            ("ack_p50_us", 20.344, "20.3"),
            ("server_us_per_message", 0.1234, "0.123"),
            ("server_pss_bytes", 10_485_760.0, "10.0"),
            ("server_cores", 1.5, "1.50"),
        ] {
            assert_eq!(shown(measure, value), expected);
        }
        assert_eq!(measure_name("ack_p99.9_us"), "ack p99.9, µs");
        assert_eq!(measure_name("delivered_per_s"), "delivered/s");
    }
}
