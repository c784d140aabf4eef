//! What became of all commands of the process: `INFO commandstats|errorstats|latencystats`, `LATENCY HISTOGRAM`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use corgi_session::{Finished, Outcome, Reply, Spec, commands};

const UNPOISONED: &str = "a panic ends the process, so nobody sees a poisoned lock";
/// More kinds of errors than this are not told apart: a client cannot make them up, but a count costs memory.
const ERRORS_MAX: usize = 128;
/// Parts of each power of two in a histogram.
const PARTS: u64 = 4;
/// Up to about twelve days.
const BUCKETS: usize = 160;

/// One command.
#[derive(Debug)]
struct OfCommand {
    calls: AtomicU64,
    micros: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    took: [AtomicU64; BUCKETS],
}

impl Default for OfCommand {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            micros: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            took: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

/// All commands.
#[derive(Debug)]
pub(crate) struct Stats {
    commands: BTreeMap<&'static str, OfCommand>,
    errors: Mutex<BTreeMap<Bytes, u64>>,
    processed: AtomicU64,
}

/// How many calls of a command took how long.
#[derive(Debug)]
struct Histogram {
    /// How many calls there were.
    calls: u64,
    /// For powers of two of microseconds, ascending: how many took no longer. Only where that is more than before.
    up_to: Vec<(u64, u64)>,
}

impl Default for Stats {
    fn default() -> Self {
        let rows = commands().iter();
        let names = rows.flat_map(|row: &Spec| std::iter::once(row).chain(row.subcommands));
        Self {
            commands: names.map(|row| (row.name, OfCommand::default())).collect(),
            errors: Mutex::default(),
            processed: AtomicU64::new(0),
        }
    }
}

impl Stats {
    /// Counts some commands.
    pub(crate) fn add(&self, finished: &Finished) {
        let calls = finished.calls;
        self.processed.fetch_add(calls, Ordering::Relaxed);
        if let Some(error) = &finished.error {
            let mut errors = self.errors.lock().expect(UNPOISONED);
            if errors.len() < ERRORS_MAX || errors.contains_key(error) {
                *errors.entry(error.clone()).or_default() += calls;
            }
        }
        let Some(command) = finished.command.and_then(|name| self.commands.get(name)) else {
            return;
        };
        if finished.outcome == Outcome::Rejected {
            command.rejected.fetch_add(calls, Ordering::Relaxed);
            return;
        }
        if finished.outcome == Outcome::Failed {
            command.failed.fetch_add(calls, Ordering::Relaxed);
        }
        command.calls.fetch_add(calls, Ordering::Relaxed);
        command
            .micros
            .fetch_add(calls * finished.micros, Ordering::Relaxed);
        command.took[bucket(finished.micros)].fetch_add(calls, Ordering::Relaxed);
    }

    /// Returns how many commands there were.
    pub(crate) fn processed(&self) -> u64 {
        self.processed.load(Ordering::Relaxed)
    }

    /// Returns how many error replies there were.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.lock().expect(UNPOISONED).values().sum()
    }

    /// Forgets everything (`CONFIG RESETSTAT`).
    pub(crate) fn reset(&self) {
        self.errors.lock().expect(UNPOISONED).clear();
        self.processed.store(0, Ordering::Relaxed);
        for command in self.commands.values() {
            let counts = [
                &command.calls,
                &command.micros,
                &command.rejected,
                &command.failed,
            ];
            for count in counts.into_iter().chain(&command.took) {
                count.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Returns the lines of `INFO commandstats`.
    pub(crate) fn command_lines(&self) -> Vec<String> {
        self.seen()
            .map(|(name, command)| {
                let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
                let (calls, micros) = (get(&command.calls), get(&command.micros));
                let each = if calls == 0 {
                    0.0
                } else {
                    micros as f64 / calls as f64
                };
                format!(
                    "cmdstat_{name}:calls={calls},usec={micros},usec_per_call={each:.2},rejected_calls={},\
                     failed_calls={}",
                    get(&command.rejected),
                    get(&command.failed)
                )
            })
            .collect()
    }

    /// Returns the lines of `INFO errorstats`.
    pub(crate) fn error_lines(&self) -> Vec<String> {
        let errors = self.errors.lock().expect(UNPOISONED);
        errors
            .iter()
            .map(|(error, count)| {
                // Whatever the first word of an error is, a line of INFO must stay one.
                let name: String = String::from_utf8_lossy(error)
                    .chars()
                    .map(|c| {
                        if c.is_ascii_graphic() && c != ':' {
                            c
                        } else {
                            '_'
                        }
                    })
                    .collect();
                format!("errorstat_{name}:count={count}")
            })
            .collect()
    }

    /// Returns the lines of `INFO latencystats`.
    pub(crate) fn latency_lines(&self) -> Vec<String> {
        self.seen()
            .filter(|(_, command)| command.calls.load(Ordering::Relaxed) > 0)
            .map(|(name, command)| {
                let at = |percent| command.percentile(percent);
                format!(
                    "latency_percentiles_usec_{name}:p50={}.000,p99={}.000,p99.9={}.000",
                    at(50.0),
                    at(99.0),
                    at(99.9)
                )
            })
            .collect()
    }

    /// `LATENCY HISTOGRAM`: of the named commands, or of all that were called. A container stands for its subcommands.
    pub(crate) fn histograms(&self, names: &[Bytes]) -> Reply {
        let number = |n: u64| Reply::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        let wanted = |command: &str| {
            let container = command.split('|').next().unwrap_or_default();
            names.is_empty()
                || names
                    .iter()
                    .any(|name| name == command.as_bytes() || name == container.as_bytes())
        };
        let rows = self.seen().filter(|(name, _)| wanted(name));
        let rows = rows.filter_map(|(name, command)| {
            let Histogram { calls, up_to } = command.histogram()?;
            let buckets = up_to
                .into_iter()
                .map(|(power, sum)| (number(power), number(sum)));
            let histogram = Reply::Map(vec![
                (Reply::bulk("calls"), number(calls)),
                (Reply::bulk("histogram_usec"), Reply::Map(buckets.collect())),
            ]);
            Some((Reply::bulk(name), histogram))
        });
        Reply::Map(rows.collect())
    }

    fn seen(&self) -> impl Iterator<Item = (&'static str, &OfCommand)> {
        self.commands
            .iter()
            .filter(|(_, command)| {
                [&command.calls, &command.rejected]
                    .iter()
                    .any(|count| count.load(Ordering::Relaxed) > 0)
            })
            .map(|(name, command)| (*name, command))
    }
}

impl OfCommand {
    fn percentile(&self, percent: f64) -> u64 {
        let total: u64 = self
            .took
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum();
        let wanted = (total as f64 * percent / 100.0).ceil() as u64;
        let mut below = 0;
        for (k, count) in self.took.iter().enumerate() {
            below += count.load(Ordering::Relaxed);
            if below >= wanted {
                return upper(k);
            }
        }
        upper(BUCKETS - 1)
    }

    fn histogram(&self) -> Option<Histogram> {
        let mut up_to: Vec<(u64, u64)> = Vec::new();
        let mut below = 0;
        for (k, count) in self.took.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count == 0 {
                continue;
            }
            below += count;
            let power = upper(k).max(1).next_power_of_two();
            match up_to.last_mut() {
                Some((last, sum)) if *last == power => *sum = below,
                _ => up_to.push((power, below)),
            }
        }
        (below > 0).then_some(Histogram {
            calls: below,
            up_to,
        })
    }
}

/// Small numbers have a bucket each, larger ones share a quarter of a power of two.
fn bucket(micros: u64) -> usize {
    let index = if micros < PARTS {
        micros
    } else {
        let power = u64::from(micros.ilog2());
        let part = (micros >> (power - 2)) & (PARTS - 1);
        PARTS + (power - 2) * PARTS + part
    };
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// Returns the largest number of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let (power, part) = ((bucket - PARTS) / PARTS + 2, (bucket - PARTS) % PARTS);
    (1 << power) + ((part + 1) << (power - 2)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(command: &'static str, calls: u64, micros: u64, outcome: Outcome) -> Finished {
        Finished {
            command: Some(command),
            calls,
            micros,
            outcome,
            error: (outcome != Outcome::Done).then(|| Bytes::from_static(b"ERR")),
            args: None,
        }
    }

    #[test]
    fn every_number_is_in_the_bucket_whose_bounds_hold_it() {
        let mut last = 0;
        for micros in (0..5000).chain([1 << 20, (1 << 30) + 7, 1 << 40]) {
            let bucket = bucket(micros);
            assert!(bucket >= last, "{micros}");
            last = bucket;
            assert!(upper(bucket) >= micros, "{micros}");
            assert!(bucket == 0 || upper(bucket - 1) < micros, "{micros}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn commands_are_counted_as_redis_counts_them() {
        let stats = Stats::default();
        stats.add(&finished("publish", 3, 10, Outcome::Done));
        stats.add(&finished("publish", 1, 30, Outcome::Failed));
        stats.add(&finished("client|id", 2, 0, Outcome::Rejected));
        assert_eq!(
            stats.command_lines(),
            [
                "cmdstat_client|id:calls=0,usec=0,usec_per_call=0.00,rejected_calls=2,failed_calls=0",
                "cmdstat_publish:calls=4,usec=60,usec_per_call=15.00,rejected_calls=0,failed_calls=1",
            ]
        );
        assert_eq!(stats.error_lines(), ["errorstat_ERR:count=3"]);
        assert_eq!(
            stats.latency_lines(),
            ["latency_percentiles_usec_publish:p50=11.000,p99=31.000,p99.9=31.000"]
        );
        let histogram = stats.commands["publish"]
            .histogram()
            .expect("it was called");
        assert_eq!(
            (histogram.calls, histogram.up_to),
            (4, vec![(16, 3), (32, 4)])
        );
        assert!(stats.commands["client|id"].histogram().is_none());
        let count = |names: &[&'static str]| {
            let names: Vec<_> = names
                .iter()
                .map(|name| Bytes::from_static(name.as_bytes()))
                .collect();
            match stats.histograms(&names) {
                Reply::Map(rows) => rows.len(),
                other => panic!("not a map: {other:?}"),
            }
        };
        assert_eq!(
            (
                count(&[]),
                count(&["publish", "nosuch"]),
                count(&["client"])
            ),
            (1, 1, 0)
        );
        assert_eq!((stats.processed(), stats.errors()), (6, 3));
        stats.reset();
        assert!(stats.command_lines().is_empty() && stats.error_lines().is_empty());
    }
}
