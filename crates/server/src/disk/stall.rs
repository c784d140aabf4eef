//! A disk that hangs: a process that waits for it without end is neither there nor gone, so it ends.
//!
//! A leader gives leadership away long before (`node`, `stalls`); this is for the process itself, whose clients, and
//! whose operator, should learn what is the matter.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use slog::Logger;

use crate::stop::{Stop, disk_hangs};

/// The most that may pass between two looks.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

/// Counts the beginnings and the ends of the steps of the disk thread: an odd number is a step under way.
#[derive(Debug, Default)]
pub(crate) struct Steps(AtomicU64);

impl Steps {
    /// Does one step.
    pub(crate) fn during<T>(&self, step: impl FnOnce() -> T) -> T {
        self.0.fetch_add(1, Ordering::Relaxed);
        let result = step();
        self.0.fetch_add(1, Ordering::Relaxed);
        result
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Adds up for how long a step has been under way.
#[derive(Debug)]
struct Watch {
    steps_seen: u64,
    lasted: Duration,
    /// The most that one look may count: more has passed in a pause of the whole process.
    look_max: Duration,
}

impl Watch {
    fn new(look_every: Duration) -> Self {
        Self {
            steps_seen: 0,
            lasted: Duration::ZERO,
            look_max: 2 * look_every,
        }
    }

    /// Takes how many beginnings and ends there were, and how long ago the last look was; returns for how long the same
    /// step has certainly been under way.
    fn look(&mut self, steps: u64, passed: Duration) -> Duration {
        let same = steps % 2 == 1 && steps == self.steps_seen;
        self.steps_seen = steps;
        self.lasted = if same {
            self.lasted + passed.min(self.look_max)
        } else {
            Duration::ZERO
        };
        self.lasted
    }
}

/// Starts the thread that ends the process when a step takes longer than `limit`. It runs as long as the process.
pub(crate) fn watch(
    steps: Arc<Steps>,
    limit: Duration,
    stop: Stop,
    dir: &Path,
    log: &Logger,
) -> anyhow::Result<()> {
    let every = (limit / 8).min(LOOK_EVERY_MAX);
    let (dir, log): (PathBuf, _) = (dir.to_owned(), log.clone());
    let look = move || {
        let mut watch = Watch::new(every);
        let mut looked = Instant::now();
        loop {
            std::thread::sleep(every);
            let passed = looked.elapsed();
            looked = Instant::now();
            if watch.look(steps.count(), passed) >= limit {
                disk_hangs(&log, &stop, &dir, limit);
            }
        }
    };
    let thread = std::thread::Builder::new().name("stall".to_owned());
    thread.spawn(look).context("start the stall thread")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(1);

    #[test]
    fn only_one_and_the_same_step_counts() {
        let mut watch = Watch::new(LOOK);
        for steps in [0, 0, 1, 3, 5, 6, 6] {
            assert_eq!(watch.look(steps, LOOK), Duration::ZERO, "{steps}");
        }
        assert_eq!(watch.look(7, LOOK), Duration::ZERO, "it has just begun");
        assert_eq!(watch.look(7, LOOK), LOOK);
        assert_eq!(watch.look(7, LOOK), 2 * LOOK);
        assert_eq!(watch.look(8, LOOK), Duration::ZERO);
    }

    #[test]
    fn a_pause_of_the_whole_process_is_not_the_disks() {
        let mut watch = Watch::new(LOOK);
        watch.look(1, LOOK);
        assert_eq!(watch.look(1, 60 * LOOK), 2 * LOOK);
    }

    #[test]
    fn a_step_is_under_way_until_it_returns() {
        let steps = Steps::default();
        steps.during(|| assert_eq!(steps.count(), 1));
        assert_eq!(steps.count(), 2);
    }
}
