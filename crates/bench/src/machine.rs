//! What the figures were measured on.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

/// A machine, as far as it explains figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// What the processor calls itself.
    pub processor: String,
    /// How many threads run at once.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// The kernel's release.
    pub kernel: String,
    /// How many threads wanted to run before it began, on average over a minute.
    pub load: f64,
    /// The median time of `write` of 4 KiB and `fdatasync` in the temporary folder, in microseconds.
    pub fdatasync_us: f64,
}

/// Looks at this machine.
///
/// # Errors
/// If the temporary folder cannot be written.
pub fn look() -> Result<Machine> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let meminfo = read("/proc/meminfo");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next();
    let kilobytes: f64 = field(&meminfo, "MemTotal")
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    Ok(Machine {
        processor: field(&cpuinfo, "model name")
            .unwrap_or("unknown")
            .to_owned(),
        cores: thread::available_parallelism().map_or(1, usize::from),
        memory_gib: (kilobytes / 1024.0 / 1024.0 * 10.0).round() / 10.0,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        load: load.and_then(|load| load.parse().ok()).unwrap_or_default(),
        fdatasync_us: fdatasync()?.as_nanos() as f64 / 1e3,
    })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| found.trim() == name)?;
    Some(value.trim())
}

fn fdatasync() -> Result<Duration> {
    let mut file = tempfile::tempfile().context("create a temporary file")?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        file.write_all(&[0x55; 4096])
            .context("write a temporary file")?;
        file.sync_data().context("sync a temporary file")?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// Returns today's date in UTC, `2026-11-25`.
pub fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    date(since.unwrap_or_default().as_secs() / 86_400)
}

/// Returns the date of a day that is counted from 1970-01-01. (Years are counted from March, so that the leap day is
/// the last of its year.)
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_782, "2026-11-25"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn fields_are_found_by_name() {
        let text = "model\t: 1\nmodel name\t: A B\n";
        assert_eq!(field(text, "model name"), Some("A B"));
        assert_eq!(field(text, "none"), None);
    }
}
