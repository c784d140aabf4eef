//! Writes docs/performance.md and its plots from the results that are there.

mod plots;
mod tables;

pub use tables::{Line, lines};

use crate::comparisons::Comparison;
use crate::results::Results;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Writes `performance.md` and its plots into `docs`. Returns how many comparisons had results.
///
/// # Errors
/// If results cannot be read or the folder cannot be written.
pub fn write(comparisons: &[Comparison], results: &Path, docs: &Path) -> Result<usize> {
    let mut measured = Vec::new();
    for comparison in comparisons {
        if let Some(found) = Results::read(results, &comparison.name)? {
            measured.push((comparison, found));
        }
    }
    let images = docs.join("images");
    let mut drawn = Vec::new();
    for (comparison, results) in &measured {
        let Some(plot) = &comparison.plot else {
            continue;
        };
        fs::create_dir_all(&images).with_context(|| format!("create {}", images.display()))?;
        for measure in plot.measures {
            let file = format!("performance-{}-{measure}.svg", comparison.name);
            let text = plots::draw(comparison, plot, measure, results)?;
            let path = images.join(&file);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            drawn.push((comparison.name.clone(), *measure, file));
        }
    }
    let text = page(comparisons, &measured, &drawn);
    let path = docs.join("performance.md");
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(measured.len())
}

/// Returns the page.
fn page(
    comparisons: &[Comparison],
    measured: &[(&Comparison, Results)],
    drawn: &[(String, &str, String)],
) -> String {
    let mut text = String::from(
        "# Performance\n\n<!-- Written by scripts/bench from the results in docs/performance; do not edit. -->\n\n\
         Corgi beside what its users would pick instead, in one run, on one machine, driven by one tool ([how](benchmarks.md)).\n\
         Corgi syncs before it acknowledges, always. In every run nothing was lost, doubled or out of order. A ratio is of\n\
         medians over the rounds; the smallest and the largest ratio within a round stand in parentheses.\n\n",
    );
    machines(&mut text, measured);
    text.push_str("## Budgets\n\n");
    text.push_str("| what | figure | Corgi | against | ratio | budget | aim | |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for (comparison, results) in measured {
        for line in lines(comparison, results) {
            let _infallible = writeln!(text, "{}", line.row(&comparison.title));
        }
    }
    let missing = comparisons.len() - measured.len();
    if missing > 0 {
        let names: Vec<&str> = comparisons
            .iter()
            .filter(|one| !measured.iter().any(|(found, _)| found.name == one.name))
            .map(|one| one.name.as_str())
            .collect();
        text.push_str(&wrapped(&format!(
            "\nNot measured yet: {}.\n",
            names.join(", ")
        )));
    }
    if !drawn.is_empty() {
        text.push_str("\n## How cost grows\n\nAll scales are linear and begin at zero.\n");
        for (name, measure, file) in drawn {
            let what = tables::measure_name(measure);
            let _infallible = writeln!(text, "\n![{name}: {what}](images/{file})");
        }
    }
    text.push_str(
        "\n## All figures\n\nMedians; the commands are of the first process of each server.\n",
    );
    for (comparison, results) in measured {
        tables::figures(&mut text, comparison, results);
    }
    text
}

fn machines(text: &mut String, measured: &[(&Comparison, Results)]) {
    let mut seen: Vec<String> = Vec::new();
    for (_, results) in measured {
        let machine = &results.machine;
        let quick = if results.quick { ", quick runs" } else { "" };
        let line = format!(
            "{}, {} cores, {} GiB, Linux {}, load {} before; commit {}, {}{quick}",
            machine.processor,
            machine.cores,
            machine.memory_gib,
            machine.kernel,
            machine.load,
            results.commit,
            results.date
        );
        if !seen.contains(&line) {
            seen.push(line);
        }
    }
    for line in seen {
        text.push_str(&wrapped(&format!("- {line}\n")));
    }
    let times = measured
        .iter()
        .map(|(_, results)| results.machine.fdatasync_us);
    if let Some(time) = crate::stats::spread(&times.collect::<Vec<_>>()) {
        let _infallible = writeln!(
            text,
            "- writing 4 KiB and `fdatasync` there takes {:.0} µs ({:.0} to {:.0})\n",
            time.median, time.min, time.max
        );
    }
}

/// Breaks lines at 120 columns, as the other pages are.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let mut columns = 0;
        for word in line.split_inclusive(' ') {
            let length = word.chars().count();
            if columns + length > 118 && columns > 0 {
                out.truncate(out.trim_end_matches(' ').len());
                out.push_str("\n  ");
                columns = 2;
            }
            out.push_str(word);
            columns += length;
        }
    }
    out
}

#[cfg(test)]
mod tests;
