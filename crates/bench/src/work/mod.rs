//! The workloads: one run of each starts its server, loads it, and returns figures.

use crate::load::closed::{self, Closed, Group};
use crate::load::open::{self, Open};
use crate::load::{Figures, Listen, Verb, hold};
use crate::targets::{Binaries, Running, Setup};
use anyhow::Result;
use std::net::TcpStream;
use std::time::Duration;

/// How much of a workload is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Short runs of small things: shows that nothing is far off.
    Quick,
    /// What docs/performance.md is made of.
    Full,
}

impl Scale {
    /// Returns the first for quick runs, else the second.
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// One workload.
#[derive(Clone, Debug)]
pub enum Work {
    /// Publishers and subscribers, as fast as they are answered.
    Closed(Closed),
    /// The same while other connections hold so many patterns that match nothing.
    Patterns(usize, Closed),
    /// A fixed rate.
    Open(Open),
}

impl Work {
    /// Starts a server and runs this on it.
    ///
    /// # Errors
    /// If the server is missing or does not serve, or what it did was wrong.
    pub fn run(&self, setup: &Setup, binaries: &Binaries) -> Result<Ran> {
        let running = setup.start(binaries)?;
        let figures = match self {
            Self::Closed(plan) => closed::run(plan, &running)?,
            Self::Patterns(count, plan) => {
                let _held = hold_patterns(running.port(), *count)?;
                closed::run(plan, &running)?
            }
            Self::Open(plan) => open::run(plan, &running)?,
        };
        Ok(Ran::new(figures, &running))
    }

    /// Says in a few words what is done.
    pub fn describe(&self) -> String {
        match self {
            Self::Closed(plan) => describe(plan),
            Self::Patterns(count, plan) => {
                format!("{}, {count} patterns that match nothing", describe(plan))
            }
            Self::Open(plan) => format!(
                "{} of {} B at {}/s{}, {} messages",
                plan.verb.name(),
                plan.payload,
                plan.rate,
                if plan.delivered {
                    ", one subscriber"
                } else {
                    ""
                },
                plan.measure
            ),
        }
    }
}

/// Holds patterns that match nothing, on several connections: Redis looks through all of one connection for each more.
fn hold_patterns(port: u16, count: usize) -> Result<Vec<TcpStream>> {
    const EACH: usize = 1000;
    let firsts = (0..count).step_by(EACH);
    firsts
        .map(|first| {
            let names = (first..count.min(first + EACH)).map(|number| format!("other:{number}:*"));
            hold::subscribe(port, "PSUBSCRIBE", names)
        })
        .collect()
}

fn describe(plan: &Closed) -> String {
    let mut text = format!(
        "{} of {} B, {} × depth {}",
        plan.verb.name(),
        plan.payload,
        plan.publishers,
        plan.depth
    );
    if let Some(group) = plan.group {
        text.push_str(&format!(", then {}", group.words.join(" ")));
    }
    if plan.subscribers > 0 {
        let how = match plan.listen {
            Listen::Exact => "subscribers",
            Listen::Pattern => "subscribers by pattern",
            Listen::Sharded => "shard subscribers",
        };
        let channels = plan.channels;
        text.push_str(&format!(
            ", {} {how}, {channels} channels",
            plan.subscribers
        ));
    }
    text.push_str(&format!(", {} s", plan.measure.as_secs_f64()));
    text
}

/// One run: its figures, and what ran.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What was measured.
    pub figures: Figures,
    /// The server's version.
    pub version: String,
    /// The server's command.
    pub command: String,
}

impl Ran {
    fn new(figures: Figures, running: &Running) -> Self {
        Self {
            figures,
            version: running.version.clone(),
            command: running.command().to_owned(),
        }
    }
}

/// Returns a closed load of `PUBLISH` without subscribers.
pub fn publishing(scale: Scale, publishers: usize, depth: usize, payload: usize) -> Closed {
    Closed {
        verb: Verb::Publish,
        group: None,
        publishers,
        depth,
        channels: 1,
        payload,
        subscribers: 0,
        listen: Listen::Exact,
        warm: scale.pick(Duration::from_millis(200), Duration::from_secs(1)),
        measure: scale.pick(Duration::from_millis(500), Duration::from_secs(4)),
    }
}

/// The second of two Redis vouches for what was written before.
pub const WAIT: Group = Group {
    words: &["WAIT", "1", "0"],
    at_least: 1,
};

/// The disks of two Valkeys vouch for what was written before.
pub const WAIT_AOF: Group = Group {
    words: &["WAITAOF", "1", "1", "0"],
    at_least: 1,
};
