//! What took longer than `latency-monitor-threshold`: `LATENCY`
//! (<https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/>).
//!
//! The one event is `command`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Mutex;

use bytes::Bytes;
use corgi_session::Reply;

const UNPOISONED: &str = "a panic ends the process, so nobody sees a poisoned lock";
/// As many as Redis keeps of each event.
const SAMPLES_MAX: usize = 160;
/// Rows of a drawing.
const ROWS: u64 = 8;

/// What took long, by event.
#[derive(Debug, Default)]
pub(crate) struct Latency(Mutex<BTreeMap<&'static str, Event>>);

#[derive(Debug, Default)]
struct Event {
    /// Second since 1970, and milliseconds; the longest of each second.
    samples: VecDeque<(u64, u64)>,
    longest: u64,
}

impl Latency {
    /// Notes that an event took so many milliseconds.
    pub(crate) fn add(&self, event: &'static str, at: u64, ms: u64) {
        let mut events = self.0.lock().expect(UNPOISONED);
        let event = events.entry(event).or_default();
        event.longest = event.longest.max(ms);
        match event.samples.back_mut() {
            Some((last, longest)) if *last == at => *longest = ms.max(*longest),
            _ => event.samples.push_back((at, ms)),
        }
        if event.samples.len() > SAMPLES_MAX {
            event.samples.pop_front();
        }
    }

    /// `LATENCY LATEST`: name, time and milliseconds of the last one, the longest.
    pub(crate) fn latest(&self) -> Reply {
        let events = self.0.lock().expect(UNPOISONED);
        let rows = events.iter().filter_map(|(name, event)| {
            let (at, ms) = *event.samples.back()?;
            Some(Reply::Array(vec![
                Reply::bulk(*name),
                number(at),
                number(ms),
                number(event.longest),
            ]))
        });
        Reply::Array(rows.collect())
    }

    /// `LATENCY HISTORY`.
    pub(crate) fn history(&self, name: &[u8]) -> Reply {
        let samples = self.samples(name);
        let pair = |(at, ms)| Reply::Array(vec![number(at), number(ms)]);
        Reply::Array(samples.into_iter().map(pair).collect())
    }

    /// `LATENCY GRAPH`: a column a sample, the last at the right.
    pub(crate) fn graph(&self, name: &Bytes) -> Reply {
        let samples = self.samples(name);
        let shown = String::from_utf8_lossy(name).into_owned();
        let (Some(low), Some(high)) = (
            samples.iter().map(|(_, ms)| *ms).min(),
            samples.iter().map(|(_, ms)| *ms).max(),
        ) else {
            return Reply::error(format!("ERR No samples available for event '{shown}'"));
        };
        let mut out = format!("{shown} - high {high} ms, low {low} ms (all time high {high} ms)\n");
        out.push_str(&"-".repeat(80));
        out.push('\n');
        for row in (1..=ROWS).rev() {
            for (_, ms) in samples.iter().rev().take(80).rev() {
                let height = (ms * ROWS).div_ceil(high.max(1)).max(1);
                out.push(if height >= row { '#' } else { ' ' });
            }
            out.push('\n');
        }
        Reply::Verbatim(out.into())
    }

    /// `LATENCY RESET`: how many events were forgotten.
    pub(crate) fn reset(&self, names: &[Bytes]) -> Reply {
        let mut events = self.0.lock().expect(UNPOISONED);
        let before = events.len();
        events.retain(|name, _| {
            !names.is_empty() && !names.iter().any(|other| other == name.as_bytes())
        });
        Reply::Integer((before - events.len()) as i64)
    }

    /// `LATENCY DOCTOR`.
    pub(crate) fn doctor(&self, threshold_ms: u64) -> Reply {
        let events = self.0.lock().expect(UNPOISONED);
        let mut out = String::new();
        if threshold_ms == 0 && events.is_empty() {
            out.push_str(
                "Nothing is watched: latency-monitor-threshold is 0. Set it to the milliseconds from which on \
                 you want to know (CONFIG SET latency-monitor-threshold 100).\n",
            );
        } else if events.is_empty() {
            writeln!(out, "Nothing took {threshold_ms} ms or longer. Good dog.").expect("a String");
        }
        for (name, event) in events.iter() {
            let count = event.samples.len().max(1) as u64;
            let sum: u64 = event.samples.iter().map(|(_, ms)| ms).sum();
            writeln!(
                out,
                "{name}: {count} seconds in which one took long, {} ms on average, {} ms at most. A write takes \
                 until a majority has it on disk: look at the disks and the network between the nodes, at INFO raft, \
                 and at SLOWLOG GET for which commands they were.",
                sum / count,
                event.longest
            )
            .expect("a String");
        }
        Reply::Verbatim(out.into())
    }

    fn samples(&self, name: &[u8]) -> Vec<(u64, u64)> {
        let events = self.0.lock().expect(UNPOISONED);
        let event = events.iter().find(|(known, _)| known.as_bytes() == name);
        event.map_or_else(Vec::new, |(_, event)| {
            event.samples.iter().copied().collect()
        })
    }
}

fn number(n: u64) -> Reply {
    Reply::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_each_second_is_kept() {
        let latency = Latency::default();
        for (at, ms) in [(1, 20), (1, 50), (2, 30)] {
            latency.add("command", at, ms);
        }
        let pair = |a, b| Reply::Array(vec![Reply::Integer(a), Reply::Integer(b)]);
        assert_eq!(
            latency.history(b"command"),
            Reply::Array(vec![pair(1, 50), pair(2, 30)])
        );
        let row = vec![
            Reply::bulk("command"),
            Reply::Integer(2),
            Reply::Integer(30),
            Reply::Integer(50),
        ];
        assert_eq!(latency.latest(), Reply::Array(vec![Reply::Array(row)]));
        assert!(matches!(
            latency.graph(&Bytes::from_static(b"command")),
            Reply::Verbatim(_)
        ));
        assert_eq!(
            latency.reset(&[Bytes::from_static(b"fork")]),
            Reply::Integer(0)
        );
        assert_eq!(latency.reset(&[]), Reply::Integer(1));
        assert!(matches!(
            latency.graph(&Bytes::from_static(b"command")),
            Reply::Error(_)
        ));
    }

    #[test]
    fn no_more_than_redis_keeps_are_kept() {
        let latency = Latency::default();
        (0..200).for_each(|at| latency.add("command", at, 7));
        let Reply::Array(samples) = latency.history(b"command") else {
            panic!("an array");
        };
        assert_eq!(samples.len(), SAMPLES_MAX);
    }
}
