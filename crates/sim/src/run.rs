//! Runs of seeds.

use crate::history::Violation;
use crate::ledger::Ledger;
use crate::trace::Keep;
use crate::world::World;
use std::any::Any;

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What becomes of the text of events.
    pub keep: Keep,
    /// No fault begins at or after this event: how a failing run is shortened.
    pub faults_until: u64,
    /// Three nodes and little load, whatever else the seed draws.
    pub light: bool,
    /// A mistake that the checkers must catch.
    #[cfg(feature = "seeded-bugs")]
    pub bug: Option<corgi_consensus::SeededBug>,
}

impl Options {
    /// Returns a run whose text is kept, with the faults that begin before an event.
    pub fn new(keep: Keep, faults_until: u64) -> Self {
        Self {
            keep,
            faults_until,
            light: false,
            #[cfg(feature = "seeded-bugs")]
            bug: None,
        }
    }
}

impl Default for Options {
    /// A silent run with all its faults.
    fn default() -> Self {
        Self::new(Keep::Nothing, u64::MAX)
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The promise that was broken, if any.
    pub violation: Option<Violation>,
    /// A hash over everything that happened: equal for two runs of a seed.
    pub hash: u64,
    /// The sums.
    pub ledger: Ledger,
    /// The last lines of the trace, if they were to be kept.
    pub lines: Vec<String>,
}

/// Runs a seed.
///
/// A panic of a node is a violation, unless its disk is damaged, where panics unwind, as in tests
/// and the profile `sim`. Where they abort, as in the shipped profile, it ends the process; the
/// binary's panic hook then says which seed it was.
pub fn run(seed: u64, options: Options) -> Outcome {
    let mut world = World::new(seed, options);
    let violation = world.run().err();
    let mut ledger = world.sums();
    ledger.failures = u64::from(violation.is_some());
    Outcome {
        seed,
        violation,
        hash: world.trace.hash(),
        ledger,
        lines: world.trace.lines(),
    }
}

/// Returns what a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "without a text".to_owned())
}

/// Finds how early faults may stop so that a seed still breaks the same promise: no fault that
/// begins at or after the returned event is needed. Returns `None` if the seed breaks none.
pub fn shorten(seed: u64, options: Options) -> Option<u64> {
    let whole = run(seed, options);
    let invariant = whole.violation?.invariant;
    let breaks = |faults_until| {
        let options = Options {
            faults_until,
            ..options
        };
        let violation = run(seed, options).violation;
        violation.is_some_and(|violation| violation.invariant == invariant)
    };
    // More faults need not break more, so this finds a short prefix, not always the shortest.
    let (mut low, mut high) = (0, whole.ledger.events + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if breaks(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(high)
}
