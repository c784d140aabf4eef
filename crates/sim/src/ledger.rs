//! What was done, in numbers.

use crate::history::Micros;
use crate::scenario::FaultKind;
use std::collections::BTreeMap;
use std::fmt;

/// The sums of one run, or of many.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Runs.
    pub seeds: u64,
    /// Runs that broke a promise.
    pub failures: u64,
    /// Virtual time.
    pub simulated: Micros,
    /// Events handled.
    pub events: u64,
    /// Faults that were begun.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Writes sent, acknowledged, refused, and of unknown fate.
    pub writes: [u64; 4],
    /// Messages that subscribers read.
    pub deliveries: u64,
    /// Entries committed.
    pub entries: u64,
    /// Snapshots installed.
    pub snapshots: u64,
}

impl Ledger {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.failures += other.failures;
        self.simulated += other.simulated;
        self.events += other.events;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        for (sum, count) in self.writes.iter_mut().zip(other.writes) {
            *sum += count;
        }
        self.deliveries += other.deliveries;
        self.entries += other.entries;
        self.snapshots += other.snapshots;
    }

    /// Returns virtual hours.
    pub fn hours(&self) -> f64 {
        // Exact for far more than the age of the universe in seconds is not needed here.
        self.simulated as f64 / 3.6e9
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [sent, acked, refused, unknown] = self.writes;
        let faults: u64 = self.faults.values().sum();
        write!(
            f,
            "{} seeds, {:.2} simulated hours, {} events, {faults} faults (",
            self.seeds,
            self.hours(),
            self.events
        )?;
        for (k, (kind, count)) in self.faults.iter().enumerate() {
            let comma = if k == 0 { "" } else { ", " };
            write!(f, "{comma}{kind:?} {count}")?;
        }
        write!(
            f,
            "), {} entries, {} snapshots installed, {sent} writes ({acked} ok, {refused} refused, {unknown} unknown), \
             {} deliveries checked, {} failures",
            self.entries, self.snapshots, self.deliveries, self.failures
        )
    }
}
