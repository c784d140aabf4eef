//! Latencies, with the same precision from a microsecond to minutes.

use super::Figures;
use hdrhistogram::Histogram;
use std::time::Duration;

/// Three digits are kept.
const DIGITS: u8 = 3;

/// An hour in nanoseconds: what takes longer counts as an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// The percentiles that are told, and their names.
const TOLD: [(&str, f64); 4] = [
    ("p50", 50.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("p99.99", 99.99),
];

/// Many latencies.
#[derive(Clone, Debug)]
pub struct Latency {
    nanoseconds: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        Self {
            nanoseconds: histogram.expect("the bounds are in order"),
        }
    }
}

impl Latency {
    /// Adds `count` messages that took so long.
    pub fn add(&mut self, took: Duration, count: u64) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds
            .saturating_record_n(nanoseconds.max(1), count);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.nanoseconds.clear();
    }

    /// Writes percentiles and the largest, in microseconds, under names that begin with `name`; nothing if there were
    /// no messages.
    pub fn tell(&self, name: &str, figures: &mut Figures) {
        if self.nanoseconds.is_empty() {
            return;
        }
        let mut put = |what: &str, nanoseconds: u64| {
            figures.insert(format!("{name}_{what}_us"), nanoseconds as f64 / 1e3);
        };
        for (what, percentile) in TOLD {
            put(what, self.nanoseconds.value_at_percentile(percentile));
        }
        put("max", self.nanoseconds.max());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_told_in_microseconds() {
        let mut latency = Latency::default();
        let mut figures = Figures::new();
        latency.tell("ack", &mut figures);
        assert!(figures.is_empty());
        latency.add(Duration::from_micros(100), 9_998);
        latency.add(Duration::from_millis(5), 2);
        latency.tell("ack", &mut figures);
        let near = |name: &str, expected: f64| {
            let found = figures[name];
            assert!((found / expected - 1.0).abs() < 0.002, "{name} {found}");
        };
        near("ack_p50_us", 100.0);
        near("ack_p99.9_us", 100.0);
        near("ack_p99.99_us", 5000.0);
        near("ack_max_us", 5000.0);
    }
}
